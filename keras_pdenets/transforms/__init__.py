"""From one model to another."""

from keras_pdenets.transforms.conversion.distilling import distil as distil
from keras_pdenets.transforms.convert import ConversionPlan as ConversionPlan
from keras_pdenets.transforms.convert import ConvertReport as ConvertReport
from keras_pdenets.transforms.convert import convert as convert
from keras_pdenets.transforms.convert import plan_conversion as plan_conversion
from keras_pdenets.transforms.deepening import deepen as deepen
from keras_pdenets.transforms.fine_tuning import features as features
from keras_pdenets.transforms.fine_tuning import freeze as freeze
from keras_pdenets.transforms.fold import FoldReport as FoldReport
from keras_pdenets.transforms.fold import fold as fold
from keras_pdenets.transforms.folding import fold_block_norms as fold_block_norms
from keras_pdenets.transforms.operations import count_operations as count_operations
from keras_pdenets.transforms.pde_forms import to_linear_form as to_linear_form
from keras_pdenets.transforms.pde_forms import to_quadratic_form as to_quadratic_form
from keras_pdenets.transforms.refine import RefineReport as RefineReport
from keras_pdenets.transforms.refine import refine as refine
from keras_pdenets.transforms.resample import ResampleReport as ResampleReport
from keras_pdenets.transforms.resample import resample as resample
from keras_pdenets.transforms.sparsify import SparsifyReport as SparsifyReport
from keras_pdenets.transforms.sparsify import prune as prune
from keras_pdenets.transforms.sparsify import sparsify as sparsify
from keras_pdenets.transforms.stages import StageSymmetry as StageSymmetry
from keras_pdenets.transforms.stages import symmetry_group as symmetry_group
from keras_pdenets.transforms.symmetry import TransformReport as TransformReport
from keras_pdenets.transforms.symmetry import transform as transform

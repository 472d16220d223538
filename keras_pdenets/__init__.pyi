"""The public names: for type checkers, and for `__init__.py`, which reads them here."""

from keras_pdenets import analysis as analysis
from keras_pdenets import applications as applications
from keras_pdenets import data as data
from keras_pdenets import export as export
from keras_pdenets import hub as hub
from keras_pdenets import layers as layers
from keras_pdenets import operators as operators
from keras_pdenets import presets as presets
from keras_pdenets import training as training
from keras_pdenets import transforms as transforms
from keras_pdenets.analysis import VerifyReport as VerifyReport
from keras_pdenets.analysis import measure_perturbation as measure_perturbation
from keras_pdenets.analysis import suggest_depth as suggest_depth
from keras_pdenets.analysis import verify as verify
from keras_pdenets.applications import *
from keras_pdenets.finetuning import FinetuneReport as FinetuneReport
from keras_pdenets.finetuning import finetune as finetune
from keras_pdenets.hub.errors import IntegrityError as IntegrityError
from keras_pdenets.hub.errors import UnreachableError as UnreachableError
from keras_pdenets.hub.errors import WeightsError as WeightsError
from keras_pdenets.hub.files import LoadReport as LoadReport
from keras_pdenets.hub.files import load_weights as load_weights
from keras_pdenets.hub.files import write_weights as write_weights
from keras_pdenets.hub.prefetch import prefetch as prefetch
from keras_pdenets.operators import stopping_rule as stopping_rule
from keras_pdenets.presets import Checkpoint as Checkpoint
from keras_pdenets.presets import get_preset as get_preset
from keras_pdenets.presets import list_models as list_models
from keras_pdenets.presets import list_presets as list_presets
from keras_pdenets.training.trainer import train as train
from keras_pdenets.transforms import features as features
from keras_pdenets.transforms import fold_block_norms as fold_block_norms
from keras_pdenets.transforms import freeze as freeze
from keras_pdenets.transforms import sparsify as sparsify
from keras_pdenets.transforms import symmetry_group as symmetry_group
from keras_pdenets.transforms import transform as transform

__version__: str

def _register() -> None: ...

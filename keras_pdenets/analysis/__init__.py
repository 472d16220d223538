"""What a trained net does, measured."""

from keras_pdenets.analysis.graph import ResidualBlock as ResidualBlock
from keras_pdenets.analysis.graph import find_blocks as find_blocks
from keras_pdenets.analysis.perturbation import PerturbationReport as PerturbationReport
from keras_pdenets.analysis.perturbation import measure_perturbation as measure_perturbation
from keras_pdenets.analysis.perturbation import suggest_depth as suggest_depth
from keras_pdenets.analysis.scaling import fit_exponent as fit_exponent
from keras_pdenets.analysis.verification import VerifyReport as VerifyReport
from keras_pdenets.analysis.verification import record_golden as record_golden
from keras_pdenets.analysis.verification import verify as verify

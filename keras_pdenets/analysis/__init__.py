"""Measurements of trained nets."""

from keras_pdenets.analysis.action import PathIntegral as PathIntegral
from keras_pdenets.analysis.action import path_integral as path_integral
from keras_pdenets.analysis.block_changes import BlockChanges as BlockChanges
from keras_pdenets.analysis.block_changes import drop_blocks as drop_blocks
from keras_pdenets.analysis.block_changes import swap_blocks as swap_blocks
from keras_pdenets.analysis.equations import OperatorDescription as OperatorDescription
from keras_pdenets.analysis.equations import describe_operators as describe_operators
from keras_pdenets.analysis.fourier import FourierSymbols as FourierSymbols
from keras_pdenets.analysis.fourier import fourier_symbols as fourier_symbols
from keras_pdenets.analysis.gradient_norms import GradientNorms as GradientNorms
from keras_pdenets.analysis.gradient_norms import gradient_norms as gradient_norms
from keras_pdenets.analysis.jacobians import JacobianSpectrum as JacobianSpectrum
from keras_pdenets.analysis.jacobians import jacobian_spectrum as jacobian_spectrum
from keras_pdenets.analysis.perturbation import PerturbationReport as PerturbationReport
from keras_pdenets.analysis.perturbation import measure_perturbation as measure_perturbation
from keras_pdenets.analysis.perturbation import suggest_depth as suggest_depth
from keras_pdenets.analysis.receptive_field import ReceptiveField as ReceptiveField
from keras_pdenets.analysis.receptive_field import (
    effective_receptive_field as effective_receptive_field,
)
from keras_pdenets.analysis.scaling import fit_exponent as fit_exponent
from keras_pdenets.analysis.spectral_norms import SpectralNorms as SpectralNorms
from keras_pdenets.analysis.spectral_norms import spectral_norms as spectral_norms
from keras_pdenets.analysis.trajectory import Trajectories as Trajectories
from keras_pdenets.analysis.trajectory import trajectories as trajectories
from keras_pdenets.analysis.variance import FeatureVariance as FeatureVariance
from keras_pdenets.analysis.variance import feature_variance as feature_variance
from keras_pdenets.analysis.verification import record_golden as record_golden
from keras_pdenets.analysis.verification import verify as verify
from keras_pdenets.analysis.verify_report import VerifyReport as VerifyReport
from keras_pdenets.analysis.weight_noise import WeightNoise as WeightNoise
from keras_pdenets.analysis.weight_noise import weight_noise_robustness as weight_noise_robustness
from keras_pdenets.graphs.residual import ResidualBlock as ResidualBlock
from keras_pdenets.graphs.residual import find_blocks as find_blocks

"""Plots of results."""

from keras_pdenets.plots.benchmark import plot_benchmark as plot_benchmark
from keras_pdenets.plots.blocks import plot_block_changes as plot_block_changes
from keras_pdenets.plots.blocks import plot_receptive_field as plot_receptive_field
from keras_pdenets.plots.confusion import plot_confusion as plot_confusion
from keras_pdenets.plots.conversion import plot_conversion as plot_conversion
from keras_pdenets.plots.depth import plot_search as plot_search
from keras_pdenets.plots.depth import plot_sweep as plot_sweep
from keras_pdenets.plots.experiments import plot_terms as plot_terms
from keras_pdenets.plots.experiments import plot_zoo as plot_zoo
from keras_pdenets.plots.fields import plot_feature_variance as plot_feature_variance
from keras_pdenets.plots.fields import plot_path_integral as plot_path_integral
from keras_pdenets.plots.fields import plot_trajectories as plot_trajectories
from keras_pdenets.plots.fields import plot_weight_noise as plot_weight_noise
from keras_pdenets.plots.flow import plot_flow as plot_flow
from keras_pdenets.plots.nets import plot_kernels as plot_kernels
from keras_pdenets.plots.nets import plot_log as plot_log
from keras_pdenets.plots.nets import plot_perturbations as plot_perturbations
from keras_pdenets.plots.nets import plot_predictions as plot_predictions
from keras_pdenets.plots.operators import plot_fourier_symbols as plot_fourier_symbols
from keras_pdenets.plots.operators import plot_operators as plot_operators
from keras_pdenets.plots.spectra import plot_gradient_norms as plot_gradient_norms
from keras_pdenets.plots.spectra import plot_jacobian_spectrum as plot_jacobian_spectrum
from keras_pdenets.plots.spectra import plot_spectral_norms as plot_spectral_norms

"""Pictures of results."""

from keras_pdenets.plots.benchmark import plot_benchmark as plot_benchmark
from keras_pdenets.plots.depth import plot_search as plot_search
from keras_pdenets.plots.depth import plot_sweep as plot_sweep
from keras_pdenets.plots.flow import plot_flow as plot_flow
from keras_pdenets.plots.nets import plot_kernels as plot_kernels
from keras_pdenets.plots.nets import plot_log as plot_log
from keras_pdenets.plots.nets import plot_perturbations as plot_perturbations
from keras_pdenets.plots.nets import plot_predictions as plot_predictions

"""Training: one recipe, one command, resumed where it was."""

from keras_pdenets.training.divergence import RecoverFromDivergence as RecoverFromDivergence
from keras_pdenets.training.neighbours import penalize_differences as penalize_differences
from keras_pdenets.training.nonfinite import skip_nonfinite as skip_nonfinite
from keras_pdenets.training.nonfinite import skipped_steps as skipped_steps
from keras_pdenets.training.perturbation_log import PerturbationLogger as PerturbationLogger
from keras_pdenets.training.recipe import Recipe as Recipe
from keras_pdenets.training.recipe import Stage as Stage
from keras_pdenets.training.trainer import evaluate as evaluate
from keras_pdenets.training.trainer import train as train

"""What watches a training: divergence, steps that are not finite, neighbours, perturbations."""

from keras_pdenets.training.callbacks.divergence import (
    RecoverFromDivergence as RecoverFromDivergence,
)
from keras_pdenets.training.callbacks.neighbours import penalize_differences as penalize_differences
from keras_pdenets.training.callbacks.nonfinite import skip_nonfinite as skip_nonfinite
from keras_pdenets.training.callbacks.nonfinite import skipped_steps as skipped_steps

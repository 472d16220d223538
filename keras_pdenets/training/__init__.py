"""Training: one recipe, one command, resumed where it was."""

from keras_pdenets.training.recipe import Recipe as Recipe
from keras_pdenets.training.recipe import Stage as Stage
from keras_pdenets.training.trainer import evaluate as evaluate
from keras_pdenets.training.trainer import train as train

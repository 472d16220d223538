"""From one model to another."""

from keras_pdenets.transforms.fine_tuning import features as features
from keras_pdenets.transforms.fine_tuning import freeze as freeze

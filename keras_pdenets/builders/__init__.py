"""Families of nets: a frozen config, the function that builds it, and its builders' signature."""

from keras_pdenets.builders.common import ModelOptions as ModelOptions
from keras_pdenets.builders.common import Preprocessing as Preprocessing
from keras_pdenets.builders.family import Family as Family
from keras_pdenets.builders.remat import REMAT_OPTIONS as REMAT_OPTIONS
from keras_pdenets.builders.steps import TRAINING_ONLY as TRAINING_ONLY

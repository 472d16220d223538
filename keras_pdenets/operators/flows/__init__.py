"""Layers of plain nets as flows: decompositions, logarithms, schemes, times, activations."""

from keras_pdenets.operators.flows.activations import ActivationFlow as ActivationFlow
from keras_pdenets.operators.flows.activations import activation_flow as activation_flow
from keras_pdenets.operators.flows.activations import largest_invertible as largest_invertible
from keras_pdenets.operators.flows.linear import LinearFlow as LinearFlow
from keras_pdenets.operators.flows.linear import linear_flow as linear_flow
from keras_pdenets.operators.flows.rotations import proper_polar as proper_polar
from keras_pdenets.operators.flows.rotations import proper_svd as proper_svd
from keras_pdenets.operators.flows.rotations import rotation_logarithm as rotation_logarithm
from keras_pdenets.operators.flows.schemes import SCHEMES as SCHEMES
from keras_pdenets.operators.flows.schemes import Scheme as Scheme
from keras_pdenets.operators.flows.times import TIMES as TIMES
from keras_pdenets.operators.flows.times import increments as increments

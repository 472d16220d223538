"""Keras layers: learnable differential operators."""

from keras_pdenets.layers.decomposed_conv import DecomposedConv2D as DecomposedConv2D
from keras_pdenets.layers.pde_conv import PDEConv2D as PDEConv2D

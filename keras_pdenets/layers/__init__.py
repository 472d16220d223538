"""Keras layers: learnable differential operators, their products, activations and steps."""

from keras_pdenets.layers.backward_euler import BackwardEulerStep as BackwardEulerStep
from keras_pdenets.layers.balls import Hardball as Hardball
from keras_pdenets.layers.balls import HardTanh as HardTanh
from keras_pdenets.layers.balls import Softball as Softball
from keras_pdenets.layers.carry_flow_step import CarryFlowStep as CarryFlowStep
from keras_pdenets.layers.clip_flow_step import ClipFlowStep as ClipFlowStep
from keras_pdenets.layers.decomposed_conv import DecomposedConv2D as DecomposedConv2D
from keras_pdenets.layers.depthwise_stencil import DepthwiseStencil2D as DepthwiseStencil2D
from keras_pdenets.layers.linear_steps import FitChannels as FitChannels
from keras_pdenets.layers.linear_steps import LinearFlowStep as LinearFlowStep
from keras_pdenets.layers.newton_flow_step import NewtonFlowStep as NewtonFlowStep
from keras_pdenets.layers.pde_conv import PDEConv2D as PDEConv2D
from keras_pdenets.layers.polynomial_conv import PolynomialConv2D as PolynomialConv2D
from keras_pdenets.layers.quasi_linear import QuasiLinear2D as QuasiLinear2D
from keras_pdenets.layers.scalar_gain import ScalarGain as ScalarGain
from keras_pdenets.layers.scaled_residual import ScaledResidual as ScaledResidual

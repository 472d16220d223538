"""The mathematics, in NumPy: nothing here imports Keras."""

from keras_pdenets.operators.eq44 import discriminant as discriminant
from keras_pdenets.operators.eq44 import nearest_eq44 as nearest_eq44
from keras_pdenets.operators.pde import derivative_factors as derivative_factors
from keras_pdenets.operators.pde import pde_basis as pde_basis
from keras_pdenets.operators.pde import pde_coefficients as pde_coefficients
from keras_pdenets.operators.pde import pde_initial_scales as pde_initial_scales
from keras_pdenets.operators.pde import pde_kernel as pde_kernel
from keras_pdenets.operators.pde import pde_orthonormal_basis as pde_orthonormal_basis
from keras_pdenets.operators.stencils import PDE_STENCILS as PDE_STENCILS
from keras_pdenets.operators.stencils import STENCILS as STENCILS
from keras_pdenets.operators.stencils import Stencil as Stencil
from keras_pdenets.operators.stopping import stopping_rule as stopping_rule

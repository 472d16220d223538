"""One step of the implicit Euler scheme, as the increment of a residual block."""

import keras
from keras import ops

from keras_pdenets.compat.keras import layers_inside, variables_as_they_are
from keras_pdenets.layers import newton_krylov
from keras_pdenets.layers.autodiff import pullback
from keras_pdenets.layers.branch import OnBranch
from keras_pdenets.layers.precision import widen
from keras_pdenets.utils.checks import check_integer, check_number

# Rounding error of the residual, relative to x.
_ROUNDING = {"float32": 1e-6, "float64": 1e-15}


@keras.saving.register_keras_serializable(package="keras_pdenets")
class BackwardEulerStep(OnBranch):
    r"""Increment of one step of the backward Euler scheme.

    $$y = x + h F(y), \qquad \text{output } d = y - x$$

    d is computed by Newton's method; its linear systems are solved matrix-free, with products
    $J v$ only (generalised conjugate residuals, equivalent to GMRES, `newton_krylov`). The gradient
    follows from the implicit function theorem, not from the iterations; it takes one more linear
    solve and stores no iterates:

    $$\nabla_x = h J^T \lambda, \quad \nabla_w = h\,(\partial_w F)^T \lambda, \qquad
      (I - h J^T)\,\lambda = \nabla_d, \quad J = \partial_y F(y)$$

    If h times the one-sided Lipschitz constant of F is below 1 (true for any h if
    $F = -W^T \sigma(W x)$ with an increasing $\sigma$), y exists and is unique, and neither solver
    can break down. Otherwise there may be no solution, or several. If the solver does not converge,
    each example keeps its best d so far, whose residual never exceeds that of d = 0, and `residual`
    shows it. Everything is computed in float32 or better, except layers of F with a lower precision
    of their own; only first derivatives in reverse mode are supported.

    Args:
        branch: F, a functional model whose output has the shape of its input and which treats
            examples independently: without batch norm or dropout.
        step_size: h.
        tolerance: Tolerance of the residual $|d - h F(x + d)|$ relative to $|h F(x)|$, for each
            example; also that of the gradient's linear system.
        max_products: Number of products with J after which Newton's method starts no further step,
            and largest number of products with its transpose for the gradient.
        **kwargs: Arguments of `keras.layers.Layer`.

    Attributes:
        residual: Relative residual after the last training step, the largest in the batch: a
            variable that is saved with the weights.

    Input and output shape:
        Those of the branch.

    Raises:
        ValueError: If an argument is out of range, or the branch has batch norms or random layers.

    Example:
    >>> import keras
    >>> import numpy as np
    >>> from keras_pdenets.layers import BackwardEulerStep
    >>> x = keras.Input((1,))
    >>> stiff = keras.Model(x, keras.layers.Rescaling(-100.0)(x))
    >>> d = keras.ops.convert_to_numpy(BackwardEulerStep(stiff)(np.ones((1, 1), "float32")))
    >>> round(1 + float(d[0, 0]), 4)  # 1 / (1 + 100); explicit Euler: -99
    0.0099
    """

    def __init__(self, branch, step_size=1.0, tolerance=1e-5, max_products=300, **kwargs):
        super().__init__(branch, step_size, **kwargs)
        norm = keras.layers.BatchNormalization
        norms = [layer.name for layer in layers_inside(branch) if isinstance(layer, norm)]
        if norms or len(branch.variables) > len(branch.weights):
            raise ValueError(
                "`branch` must be deterministic and treat examples independently: no batch norm or "
                f"dropout. Received: {', '.join(norms) or 'a layer with a random state'}"
            )
        self.tolerance = check_number("tolerance", tolerance, "in (0, 1)", lambda t: 0 < t < 1)
        self.max_products = check_integer("max_products", max_products, 1)

    def build(self, input_shape):
        """Create the variable of the residual."""
        self.residual = self.add_weight(
            name="residual", shape=(), initializer="zeros", trainable=False, aggregation="mean"
        )

    def call(self, x, training=None):
        """The increment; in training its residual is stored."""
        increment, residual = self.solve(x)
        if training:
            self.residual.assign(ops.max(residual))
        return ops.cast(increment, self.compute_dtype)

    def solve(self, x):
        """The increment d of a batch, and the relative residuals of shape (b,)."""
        # Keras does not cast these inputs, and would convert float64 arrays to float32.
        double = self.compute_dtype == "float64"
        x = widen(ops.convert_to_tensor(x, "float64" if double else None))
        # Not `convert_to_tensor`, which outside a graph gives TensorFlow Keras' variables.
        with variables_as_they_are():
            weights = [ops.copy(v) for v in self.branch.variables]
        fixed, *fixed_weights = map(ops.stop_gradient, (x, *weights))

        def equation(d):
            return d - self.step_size * self._apply(fixed + d, fixed_weights)

        start = ops.zeros_like(fixed)
        whole = newton_krylov.norm(equation(start))
        rounding = _ROUNDING[keras.backend.standardize_dtype(x.dtype)] * newton_krylov.norm(fixed)
        d, left = newton_krylov.solve(
            equation, start, self.tolerance * whole + rounding, self.max_products
        )
        relative = ops.reshape(left / ops.where(whole > 0, whole, 1.0), (-1,))
        return self._with_gradient(x, ops.stop_gradient(d), weights), ops.stop_gradient(relative)

    def _apply(self, x, weights):
        """F as a function of its weights."""
        state_mapping = list(zip(self.branch.variables, weights, strict=True))
        with variables_as_they_are(), keras.StatelessScope(state_mapping):
            return ops.cast(self.branch(x, training=False), x.dtype)

    def _with_gradient(self, x, d, weights):
        """The solution d, with its gradient by the implicit function theorem."""
        h = self.step_size

        @ops.custom_gradient
        def attach(x, d, *weights):
            def gradient(*args, upstream=None):
                # torch passes the arguments too, the others only the upstream gradient.
                upstream = args[0] if upstream is None else upstream
                _, product = pullback(lambda y, *w: self._apply(y, w), x + d, *weights)
                adjoint, _ = newton_krylov.solve_linear(
                    lambda v: v - h * product(v)[0], upstream, self.tolerance, self.max_products
                )
                of_x, *of_weights = product(h * adjoint)
                return (of_x, ops.zeros_like(d), *of_weights)

            return d, gradient

        return attach(x, d, *weights)

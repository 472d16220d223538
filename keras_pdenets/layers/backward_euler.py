"""One step of the implicit Euler scheme, as the increment of a residual block."""

import keras
from keras import ops

from keras_pdenets.compat.keras import layers_inside, variables_as_they_are
from keras_pdenets.layers import newton_krylov
from keras_pdenets.layers.autodiff import pullback
from keras_pdenets.layers.branch import OnBranch
from keras_pdenets.layers.precision import widen
from keras_pdenets.utils.checks import check_integer, check_number

# What rounding leaves of the residual, relative to x.
_ROUNDING = {"float32": 1e-6, "float64": 1e-15}


@keras.saving.register_keras_serializable(package="keras_pdenets")
class BackwardEulerStep(OnBranch):
    r"""Increment of one step of the backward Euler scheme, which asks where it arrives.

    $$y = x + h F(y), \qquad \text{output } d = y - x$$

    d is found by Newton's method; its linear equations are solved with products $J v$ alone
    (GMRES in its form of conjugate residuals, `newton_krylov`), so that no matrix is ever made. The
    gradient is that of the equation (implicit function theorem), not of the iterations, and takes
    one more linear solve and no memory of the steps:

    $$\nabla_x = h J^T \lambda, \quad \nabla_w = h\,(\partial_w F)^T \lambda, \qquad
      (I - h J^T)\,\lambda = \nabla_d, \quad J = \partial_y F(y)$$

    If h times the one-sided Lipschitz constant of F is below 1 (for $F = -W^T \sigma(W x)$ with an
    increasing $\sigma$ any h will do), there is one y, and neither solver can break down. Else
    there may be none, or several. Where it is not found in time, each example keeps the best d so
    far, whose residual is never above that of d = 0, and `residual` tells. All is computed in
    float32 or better, but for layers of F whose own policy is below that; derivatives are of first
    order, in reverse mode.

    Args:
        branch: F, a functional model whose output has the shape of its input and which treats every
            example by itself: without batch norm or dropout.
        step_size: h.
        tolerance: Residual $|d - h F(x + d)|$ that is small enough, relative to $|h F(x)|$, for
            each example; the gradient's linear equation gets the same.
        max_products: Number of products with J after which Newton's method makes no other step, and
            largest number of products with its transpose for the gradient.
        **kwargs: Arguments of `keras.layers.Layer`.

    Attributes:
        residual: The relative residual that was left in the last training step, the largest of the
            batch: a variable that is saved with the weights.

    Input and output shape:
        Those of the branch.

    Raises:
        ValueError: If an argument is out of range, or the branch has layers that know of other
            examples, or of chance.

    Example:
    >>> import keras
    >>> import numpy as np
    >>> from keras_pdenets.layers import BackwardEulerStep
    >>> x = keras.Input((1,))
    >>> stiff = keras.Model(x, keras.layers.Rescaling(-100.0)(x))
    >>> d = keras.ops.convert_to_numpy(BackwardEulerStep(stiff)(np.ones((1, 1), "float32")))
    >>> round(1 + float(d[0, 0]), 4)  # 1 / (1 + 100); Euler's own step: -99
    0.0099
    """

    def __init__(self, branch, step_size=1.0, tolerance=1e-5, max_products=300, **kwargs):
        super().__init__(branch, step_size, **kwargs)
        norm = keras.layers.BatchNormalization
        norms = [layer.name for layer in layers_inside(branch) if isinstance(layer, norm)]
        if norms or len(branch.variables) > len(branch.weights):
            raise ValueError(
                "`branch` must treat every example by itself, and alike every time: without batch "
                f"norm or dropout. Received: {', '.join(norms) or 'a layer with a random state'}"
            )
        self.tolerance = check_number("tolerance", tolerance, "in (0, 1)", lambda t: 0 < t < 1)
        self.max_products = check_integer("max_products", max_products, 1)

    def build(self, input_shape):
        """Create the record of the residual."""
        self.residual = self.add_weight(
            name="residual", shape=(), initializer="zeros", trainable=False, aggregation="mean"
        )

    def call(self, x, training=None):
        """The increment; in training its residual is recorded."""
        increment, residual = self.solve(x)
        if training:
            self.residual.assign(ops.max(residual))
        return ops.cast(increment, self.compute_dtype)

    def solve(self, x):
        """The increment d of a batch, and the relative residual of each example, of shape (b,)."""
        # Keras does not cast what comes in here, and takes float64 arrays for float32.
        double = self.compute_dtype == "float64"
        x = widen(ops.convert_to_tensor(x, "float64" if double else None))
        # Not `convert_to_tensor`: out of a graph TensorFlow would be given Keras' variables.
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
        """The solution d with the gradient that the equation gives it."""
        h = self.step_size

        @ops.custom_gradient
        def attach(x, d, *weights):
            def gradient(*args, upstream=None):
                # torch hands over the arguments too, the others the upstream gradient alone.
                upstream = args[0] if upstream is None else upstream
                _, product = pullback(lambda y, *w: self._apply(y, w), x + d, *weights)
                adjoint, _ = newton_krylov.solve_linear(
                    lambda v: v - h * product(v)[0], upstream, self.tolerance, self.max_products
                )
                of_x, *of_weights = product(h * adjoint)
                return (of_x, ops.zeros_like(d), *of_weights)

            return d, gradient

        return attach(x, d, *weights)

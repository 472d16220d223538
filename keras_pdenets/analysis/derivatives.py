"""Derivatives of functions of tensors, for arrays; compiled on JAX."""

import keras
import numpy as np
from keras import ops

from keras_pdenets.layers.autodiff import pullback, push_forward


def vjp(function):
    r"""The product of a cotangent with the Jacobian, $J^T u$.

    Args:
        function: Function of tensors to one tensor.

    Returns:
        Function of a list of arrays to differentiate by, the cotangent u, and further arguments of
        `function`; it returns the value of `function` and a list of products, one for each array.

    Example:
    >>> import numpy as np
    >>> from keras_pdenets.analysis.derivatives import vjp
    >>> three, one, two = np.float32([3, 1, 2])
    >>> value, (gradient,) = vjp(lambda x, a: a * x * x)([three], one, two)
    >>> float(value), float(gradient)
    (18.0, 12.0)
    """

    def pull(xs, cotangent, constants):
        value, product = pullback(lambda *xs: function(*xs, *constants), *xs)
        return value, product(ops.cast(cotangent, value.dtype))

    pull = _compiled(pull)

    def call(xs, cotangent, *constants):
        value, products = pull(_tensors(xs), *_tensors([cotangent]), _tensors(constants))
        return _array(value), [_array(product) for product in products]

    return call


def jvp(function):
    r"""The product of the Jacobian with a tangent, $J v$.

    Args:
        function: Function of tensors, differentiated by the first, to one tensor.

    Returns:
        Function of the first array, the tangent v, and further arguments of `function`.
    """

    def push(x, tangent, constants):
        return push_forward(lambda x: function(x, *constants), x, tangent)

    push = _compiled(push)

    def call(x, tangent, *constants):
        (x,), constants = _tensors([x]), _tensors(constants)
        return _array(push(x, ops.cast(ops.convert_to_tensor(tangent), x.dtype), constants))

    return call


def evaluate(function, *arrays):
    """The values of a function of tensors, without recording derivatives.

    Args:
        function: Function of tensors to a list of tensors.
        *arrays: Its arguments.

    Returns:
        List of arrays.
    """
    if _runs("torch"):
        import torch

        with torch.no_grad():
            return [_array(value) for value in function(*_tensors(arrays))]
    return [_array(value) for value in function(*_tensors(arrays))]


def _tensors(arrays):
    return [ops.convert_to_tensor(array) for array in arrays]


def _array(value):
    return np.asarray(ops.convert_to_numpy(value))


def _compiled(function):
    if not _runs("jax"):
        return function
    import jax

    return jax.jit(function)


def _runs(name):
    return keras.backend.backend() == name

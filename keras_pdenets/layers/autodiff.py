"""Products with the derivative and with its transpose, for which Keras has no word."""

import warnings

import keras
from keras import ops


def push_forward(function, primal, tangent):
    """The product of the derivative of a function of one tensor with a tangent."""
    with warnings.catch_warnings():
        # torch loads its rules by a function of its own that it calls deprecated.
        warnings.simplefilter("ignore", DeprecationWarning)
        return ops.jvp(function, (primal,), (tangent,))[1]


def pullback(function, *primals):
    r"""Value of a function, and the products $v \mapsto J^T v$ with its transposed derivative.

    `keras.ops.jvp` gives the products with J; of those with its transpose Keras has none, so they
    are the backend's own.

    Args:
        function: Function of tensors that returns one tensor.
        *primals: Tensors that it is differentiated at.

    Returns:
        The value, and a function of a tensor of its shape that gives one tensor for each primal.
    """
    if keras.backend.backend() == "jax":
        import jax

        return jax.vjp(function, *primals)
    if keras.backend.backend() == "torch":
        return _torch_pullback(function, primals)
    import tensorflow as tf

    with tf.GradientTape(persistent=True) as tape:
        tape.watch(primals)
        value = function(*primals)

    def product(v):
        return tuple(tape.gradient(value, primals, v, unconnected_gradients="zero"))

    return value, product


def _torch_pullback(function, primals):
    """Not `torch.func.vjp`, which refuses the functions that `keras.ops.custom_gradient` makes."""
    import torch

    with torch.enable_grad():
        primals = tuple(primal.detach().requires_grad_() for primal in primals)
        value = function(*primals)

    def product(v):
        return torch.autograd.grad(value, primals, v, retain_graph=True, materialize_grads=True)

    return value.detach(), product

"""Jacobian-vector and vector-Jacobian products."""

import warnings

import keras
from keras import ops


def push_forward(function, primal, tangent):
    """Jacobian-vector product of a function of one tensor."""
    with warnings.catch_warnings():
        # torch loads its rules by a deprecated function of its own.
        warnings.simplefilter("ignore", DeprecationWarning)
        return ops.jvp(function, (primal,), (tangent,))[1]


def pullback(function, *primals):
    r"""Value of a function, and its vector-Jacobian product $v \mapsto J^T v$.

    Keras has only `keras.ops.jvp`, so this uses the backend's own.

    Args:
        function: Function of tensors that returns one tensor.
        *primals: Tensors at which it is differentiated.

    Returns:
        The value, and a function of a tensor of its shape that returns one tensor per primal.
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
    """Not by `torch.func.vjp`, which rejects functions from `keras.ops.custom_gradient`."""
    import torch

    with torch.enable_grad():
        primals = tuple(primal.detach().requires_grad_() for primal in primals)
        value = function(*primals)

    def product(v):
        return torch.autograd.grad(value, primals, v, retain_graph=True, materialize_grads=True)

    return value.detach(), product

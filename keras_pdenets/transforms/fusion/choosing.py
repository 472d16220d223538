"""One convolution or two: which is faster on this machine."""

import math
import time

import keras
import numpy as np

from keras_pdenets.transforms.fusion import expand

_BATCH = 8
_ROUNDS = 9


class Choice:
    """Decides whether a layer of several convolutions in sequence becomes one.

    Args:
        decomposed: `"keep"`, `"merge"` or `"measure"`.
        form: Form of the convolutions, one of `forms.FORMS` or None.
    """

    def __init__(self, decomposed, form):
        self.decomposed = decomposed
        self.form = form
        self.measured = {}

    def __call__(self, layer, x):
        """Whether to merge a layer with this symbolic input."""
        if self.decomposed != "measure":
            return self.decomposed == "merge"
        if None in x.shape[1:]:
            return _has_fewer_products(layer)
        shapes = (tuple(kernel.shape) for kernel in layer.kernels())
        key = (tuple(x.shape[1:]), *shapes, layer.strides, layer.boundary)
        if key not in self.measured:
            models = []
            for merge in (False, True):
                inputs = keras.Input(x.shape[1:], dtype=x.dtype)
                made = expand.convolution(layer, inputs, merge, self.form)
                models.append(keras.Model(inputs, made.tensor()))
            self.measured[key] = second_is_faster(*models)
        return self.measured[key]

    @property
    def others(self):
        """The uniform choices for all layers that differ from the measured ones."""
        found = set(self.measured.values())
        alike = (("keep", {False}), ("merge", {True}))
        return [decomposed for decomposed, same in alike if found and found != same]


def second_is_faster(*models):
    """Whether the second of two models with one input of known size is faster, run alternately."""
    shape = tuple(models[0].inputs[0].shape[1:])
    batch = np.random.default_rng(0).uniform(0, 255, (_BATCH, *shape)).astype("float32")
    seconds = ([], [])
    for _ in range(_ROUNDS):
        for times, net in zip(seconds, models, strict=True):
            begin = time.perf_counter()
            net.predict_on_batch(batch)
            times.append(time.perf_counter() - begin)
    # The minimum: other load on the machine only adds time.
    first, second = (min(times[1:]) for times in seconds)
    return second < first


def _has_fewer_products(layer):
    (whole,) = layer.linear_map().kernels()
    return whole.size <= sum(math.prod(kernel.shape) for kernel in layer.kernels())

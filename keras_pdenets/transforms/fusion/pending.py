"""Linear layers that are created late, so that what follows can be merged into them."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from keras import layers

from keras_pdenets.transforms.fusion import forms

_CONVOLUTIONS = (layers.Conv1D, layers.Conv2D)
# Attributes that are copied from the layers.
_KEPT = ("strides", "padding", "dilation_rate", "groups", "data_format")


class Delayed:
    """A layer that is created when its output is needed; until then others may be merged into it.

    Attributes:
        shared: Whether its output is read more than once, so that nothing may be merged.
    """

    shared = False
    _output = None

    def tensor(self):
        """The symbolic output, created at the first call."""
        if self._output is None:
            self._output = self.make()
        return self._output

    def make(self):
        """Create the layers and return their symbolic output."""
        raise NotImplementedError

    def __mul__(self, other):
        """The product of two outputs."""
        return self.tensor() * (other.tensor() if isinstance(other, Delayed) else other)


@dataclass
class Pending(Delayed):
    """A convolution, a depthwise convolution or a dense layer, as arrays.

    Args:
        kind: Its Keras class.
        source: Symbolic input.
        kernel: Its kernel, in the layout of Keras.
        bias: Its bias, or None.
        config: Other arguments of the class.
        merged: Names of the layers merged into it.
        form: One of `forms.FORMS`, or None for a plain layer.
    """

    kind: type
    source: Any
    kernel: np.ndarray
    bias: np.ndarray | None
    config: dict[str, Any]
    merged: list[str] = field(default_factory=list)
    form: str | None = None

    @property
    def depthwise(self):
        """Whether each channel has kernels of its own."""
        return self.kind is layers.DepthwiseConv2D

    @property
    def channels(self):
        """Number of output channels."""
        last = self.kernel.shape[-2:] if self.depthwise else self.kernel.shape[-1:]
        return int(np.prod(last))

    @property
    def axis(self):
        """Channel axis."""
        first = self.config.get("data_format") == "channels_first"
        return 1 if first else len(self.source.shape) - 1

    @property
    def pointwise(self):
        """Whether it only mixes the channels of each pixel."""
        if self.kind is layers.Dense:
            return True
        ones = all(side == 1 for side in self.kernel.shape[:-2])
        steps = all(s == 1 for s in np.ravel(self.config.get("strides", 1)))
        return self.kind in _CONVOLUTIONS and ones and steps and self.config["groups"] == 1

    def scaled(self, scale, shift, name):
        """The same with its output times `scale` plus `shift`, per channel or scalar."""
        scale, shift = (np.broadcast_to(v, (self.channels,)) for v in (scale, shift))
        factors = scale.reshape(self.kernel.shape[-2:]) if self.depthwise else scale
        bias = shift if self.bias is None else self.bias * scale + shift
        if self.bias is None and not np.any(shift):
            bias = None
        return dataclasses.replace(
            self, kernel=self.kernel * factors, bias=bias, merged=[*self.merged, name]
        )

    def followed_by(self, matrix, bias, name):
        """The same followed by a matrix on the channels, as one convolution."""
        kernel = np.einsum("...im,mo->...io", self.full_kernel(), matrix)
        if self.bias is not None:
            bias = self.bias @ matrix + (0.0 if bias is None else bias)
        kind = layers.Conv2D if self.depthwise else self.kind
        config = {k: v for k, v in self.config.items() if k != "depth_multiplier"}
        if kind is layers.Conv2D:
            config.setdefault("groups", 1)
        return dataclasses.replace(
            self, kind=kind, kernel=kernel, bias=bias, config=config, merged=[*self.merged, name]
        )

    def full_kernel(self):
        """The kernel with an entry for each pair of channels."""
        if not self.depthwise:
            return self.kernel
        *sides, channels, multiplier = self.kernel.shape
        full = np.zeros((*sides, channels, channels, multiplier), self.kernel.dtype)
        index = np.arange(channels)
        full[..., index, index, :] = self.kernel
        return full.reshape(*sides, channels, channels * multiplier)

    def make(self):
        output = forms.formed(self, self.form)
        return self.layer(self.source) if output is None else output

    def layer(self, source, **changes):
        """The output of this layer for a source, with changes to its config."""
        layer = self.kind(use_bias=self.bias is not None, **self._arguments() | changes)
        output = layer(source)
        layer.set_weights([self.kernel, *([] if self.bias is None else [self.bias])])
        if self.form == "torch" and self.kind is layers.Conv2D:
            forms.store_for_torch(layer.kernel)
        return output

    def _arguments(self):
        if self.kind is layers.Dense:
            return {"units": self.channels, **self.config}
        arguments = {"kernel_size": self.kernel.shape[:-2], **self.config}
        if self.depthwise:
            return arguments | {"depth_multiplier": self.kernel.shape[-1]}
        return arguments | {"filters": self.channels}


def pending_of(layer, source, values, name):
    """The `Pending` of a Keras layer without activation."""
    kernel, bias = values
    config = {key: getattr(layer, key) for key in _KEPT if hasattr(layer, key)}
    if isinstance(layer, layers.DepthwiseConv2D):
        config.pop("groups", None)
    config |= {"name": name, "dtype": layer.dtype_policy, "trainable": layer.trainable}
    return Pending(type(layer), source, kernel, bias, config)

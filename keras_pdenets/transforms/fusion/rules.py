"""What each layer becomes: merged into the one before, expanded, dropped, or copied."""

import keras
import numpy as np
from keras import layers

from keras_pdenets import layers as own
from keras_pdenets.layers.bordered_conv import BorderedConv2D
from keras_pdenets.layers.precision import as_float64
from keras_pdenets.transforms.batch_norms import scale_and_offset
from keras_pdenets.transforms.copying import copy_layer, give_weights
from keras_pdenets.transforms.fusion import expand, forms
from keras_pdenets.transforms.fusion.activations import PiecewiseLinear, SmoothFlow
from keras_pdenets.transforms.fusion.pending import Pending, pending_of

_LINEAR = (layers.Conv1D, layers.Conv2D, layers.DepthwiseConv2D, layers.Dense)
_IDLE = (
    layers.Identity, layers.Dropout, layers.SpatialDropout1D, layers.SpatialDropout2D,
    layers.GaussianNoise, layers.GaussianDropout, layers.AlphaDropout,
    layers.ActivityRegularization,
)  # fmt: skip


def tensor_of(value):
    """The symbolic tensor behind a pending value, or the value itself."""
    return value.tensor() if hasattr(value, "tensor") else value


class Rules:
    """Folds one call after the other.

    Args:
        prefer_merged: Function of a layer that is several convolutions in sequence, and of its
            symbolic input: whether they become one.
        form: Form of the convolutions, one of `forms.FORMS` or None.
    """

    def __init__(self, prefer_merged, form=None):
        self.prefer_merged = prefer_merged
        self.form = form
        self.expanded, self.dropped, self.left, self.merged = [], [], {}, {}
        self._again = {}

    def apply(self, layer, args, kwargs, once):
        """The folded output of a call.

        Args:
            layer: The layer or operation.
            args: Its arguments, with tensors or pending values.
            kwargs: Likewise.
            once: Whether the layer is called only once; if not, it stays a layer of its own.
        """
        rule = _rule_of(layer) if once else None
        if rule is not None and len(args) == 1 and not kwargs.get("training"):
            found = rule(self, layer, args[0])
            if found is not None:
                return found
        if type(layer).__module__.startswith("keras_pdenets.") and layer.name not in self.left:
            self.left[layer.name] = f"{type(layer).__name__} has no form in Keras' own layers here"
        args, kwargs = keras.tree.map_structure(tensor_of, (args, kwargs))
        return self._layer(layer)(*args, **kwargs)

    def _layer(self, layer):
        """The copy of a layer, which gets its weights once built; operations are used directly."""
        if not isinstance(layer, layers.Layer):
            return layer
        if id(layer) not in self._again:
            self._again[id(layer)] = (layer, copy_layer(layer))
        return self._again[id(layer)][1]

    def finish(self):
        """Give the copies their weights; they are built by now."""
        for old, new in self._again.values():
            if new is not old:
                give_weights(old, new)

    # Rules: functions of a layer and its input that return the output, or None to keep the layer.

    def linear(self, layer, x, name=None):
        """A layer that takes later ones in, or a matrix merged into the one before."""
        quantized = getattr(layer.dtype_policy, "quantization_mode", None)
        if layer.activation is not keras.activations.linear or quantized:
            return None
        kernel = as_float64(layer.kernel)
        bias = as_float64(layer.bias) if layer.use_bias else None
        name = name or layer.name
        alone = pending_of(layer, None, (kernel, bias), name)
        alone.form = self.form
        follows = _absorbs(x, _axis(layer)) and x.config.get("groups", 1) == 1
        follows = follows and x.config["dtype"].name == layer.dtype_policy.name
        if follows and alone.pointwise and _cheaper(x, kernel):
            self.merged[name] = x.config["name"]
            return x.followed_by(kernel.reshape(kernel.shape[-2:]), bias, name)
        alone.source = tensor_of(x)
        return alone

    def batch_norm(self, layer, x, name=None):
        """A scale and an offset per channel."""
        if not _absorbs(x, layer.axis):
            return None
        name = name or layer.name
        self.merged[name] = x.config["name"]
        return x.scaled(*scale_and_offset(layer), name)

    def rescaling(self, layer, x):
        """A scalar scale and offset."""
        if not _absorbs(x) or np.ndim(layer.scale) or np.ndim(layer.offset):
            return None
        self.merged[layer.name] = x.config["name"]
        return x.scaled(layer.scale, layer.offset, layer.name)

    def scalar_gain(self, layer, x):
        """A scalar, or a root mean square and a scalar."""
        if layer.normalize:
            return self._expanded(layer, expand.gain(layer, tensor_of(x)))
        if _absorbs(x):
            self.merged[layer.name] = x.config["name"]
            return x.scaled(float(as_float64(layer.gain)), 0.0, layer.name)
        rescaling = layers.Rescaling(
            float(as_float64(layer.gain)), name=layer.name, dtype=layer.dtype_policy
        )
        return self._expanded(layer, rescaling(tensor_of(x)))

    def idle(self, layer, x):
        """No effect in inference."""
        self.dropped.append(layer.name)
        return x

    def activation(self, layer, x):
        """`linear` is the identity."""
        return self.idle(layer, x) if layer.activation is keras.activations.linear else None

    def _expanded(self, layer, value):
        self.expanded.append(layer.name)
        return value

    def convolution(self, layer, x):
        """See `expand`; coordinates need a known image size."""
        x = tensor_of(x)
        if layer.varies:
            if None in x.shape[1:]:
                return None
            return self._expanded(layer, expand.polynomial(layer, x, self.form))
        merge = len(layer.kernels()) > 1 and self.prefer_merged(layer, x)
        return self._expanded(layer, expand.convolution(layer, x, merge, self.form))

    def pool(self, layer, x):
        """In the axis order that is faster here."""
        return forms.viewed_pool(layer, tensor_of(x)) if self.form == "torch" else None

    def operations(self, layer, x):
        """Its own operations; it has no weights."""
        return self._expanded(layer, layer.call(tensor_of(x)))

    def quasi_linear(self, layer, x):
        """The parts of a product, merged where possible."""
        self.expanded.append(layer.name)

        def apply(name, value):
            inner, full_name = getattr(layer, name), f"{layer.name}_{name}"
            if name == "stencil_norm":
                return self.batch_norm(inner, value, full_name)
            if name != "stencils":
                return self.linear(inner, value, full_name)
            made = expand.convolution(inner, tensor_of(value), True, self.form, full_name)
            return made.tensor() if layer.stencil_norm is None else made

        return layer.combine(tensor_of(x), apply)

    def clip_step(self, layer, x):
        """Another factor of the slope beyond the ends, or convolutions."""
        if layer.promote is not None:
            return self._expanded(layer, expand.promoted_step(layer, tensor_of(x), self.form))
        self.expanded.append(layer.name)
        ends, slope, name = (layer.low, layer.high), 1 - layer.rate, layer.name
        follows = isinstance(x, PiecewiseLinear) and not x.shared and (x.low, x.high) == ends
        if follows and slope >= 0 and x.slope >= 0:
            source, slope, name = x.source, x.slope * slope, x.name
        else:
            source = tensor_of(x)
        return PiecewiseLinear(source, *ends, slope, name, layer.dtype_policy)

    def newton_step(self, layer, x):
        """Another step of the flow to an activation."""
        if layer.promote is not None:
            return None
        follows = (
            isinstance(x, SmoothFlow) and not x.shared and x.activation == layer.activation
            and abs(x.reached - layer.left) < 1e-9
        )  # fmt: skip
        if not follows and layer.left != 0:
            return None
        reached = layer.left + layer.step
        steps = [*x.steps, layer] if follows else [layer]
        source = x.source if follows else tensor_of(x)
        name = x.name if follows else layer.name
        self.expanded.append(layer.name)
        return SmoothFlow(
            source, layer.activation, reached, steps, self._keep, name, layer.dtype_policy
        )

    def _keep(self, step):
        """Keep a flow step of an activation."""
        self.expanded.remove(step.name)
        self.left[step.name] = "its flow does not end at the activation"


def _axis(layer):
    """Channel axis that a layer mixes."""
    first = getattr(layer, "data_format", None) == "channels_first"
    return 1 if first and not isinstance(layer, layers.Dense) else -1


def _cheaper(first, kernel):
    """Whether one convolution takes no more products than the two."""
    *_, middle, outputs = kernel.shape
    merged = first.full_kernel()[..., :1].size * outputs
    return merged <= first.kernel.size + middle * outputs


def _absorbs(x, axis=None):
    """Whether a per-channel operation can be merged into a value."""
    if not isinstance(x, Pending) or x.shared:
        return False
    return axis is None or axis % len(x.source.shape) == x.axis


def _rule_of(layer):
    rule = _RULES.get(type(layer))
    return Rules.convolution if rule is None and isinstance(layer, BorderedConv2D) else rule


_RULES = {
    **dict.fromkeys(_LINEAR, Rules.linear),
    **dict.fromkeys(_IDLE, Rules.idle),
    layers.BatchNormalization: Rules.batch_norm,
    layers.Rescaling: Rules.rescaling,
    **dict.fromkeys((layers.MaxPooling2D, layers.AveragePooling2D), Rules.pool),
    layers.Activation: Rules.activation,
    own.QuasiLinear2D: Rules.quasi_linear,
    own.ScalarGain: Rules.scalar_gain,
    **dict.fromkeys((own.Softball, own.Hardball, own.HardTanh), Rules.operations),
    own.ClipFlowStep: Rules.clip_step,
    own.NewtonFlowStep: Rules.newton_step,
}

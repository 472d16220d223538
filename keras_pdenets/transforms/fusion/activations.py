"""Chains of flow steps, folded back into an activation."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from keras import layers, ops

from keras_pdenets.transforms.fusion.pending import Delayed


@dataclass
class PiecewiseLinear(Delayed):
    """A straight line with a reduced slope beyond its ends, not created yet.

    Args:
        source: Symbolic input.
        low: Lower end.
        high: Upper end, or None.
        slope: Slope beyond the ends so far.
        name: Name of the new layer.
        dtype: Dtype policy.
    """

    source: Any
    low: float
    high: float | None
    slope: float
    name: str
    dtype: Any

    def make(self):
        slope = self.slope if abs(self.slope) > 1e-12 else 0.0
        common = {"name": self.name, "dtype": self.dtype}
        # A negative slope is a step that overshot, which Keras' ReLU does not take.
        if self.low == 0 and slope >= 0 and (self.high is None or slope == 0):
            return layers.ReLU(self.high, negative_slope=slope, **common)(self.source)
        x = self.source
        clipped = (
            ops.clip(x, self.low, self.high) if self.high is not None else ops.maximum(x, self.low)
        )
        return clipped if slope == 0 else clipped + slope * (x - clipped)


@dataclass
class SmoothFlow(Delayed):
    """The flow of a smooth activation up to h, not created yet; an activation only at h = 1.

    Args:
        source: Symbolic input.
        activation: Name of the activation.
        reached: h at the end of the last step.
        steps: The steps so far, which are recreated if the flow does not end at 1.
        keep: Function that is called with each of these then.
        name: Name of the new layer.
        dtype: Dtype policy.
    """

    source: Any
    activation: str
    reached: float
    steps: list
    keep: Callable[[Any], None]
    name: str
    dtype: Any

    def make(self):
        if abs(self.reached - 1) < 1e-9:
            layer = layers.Activation(self.activation, name=self.name, dtype=self.dtype)
            return layer(self.source)
        output = self.source
        for step in self.steps:
            self.keep(step)
            output = type(step).from_config(step.get_config())(output)
        return output

"""Chains of flow steps that are an activation again."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from keras import layers, ops

from keras_pdenets.transforms.fusion.pending import Delayed


@dataclass
class PiecewiseLinear(Delayed):
    """A straight line whose ends were bent by so many steps, not made yet.

    Args:
        source: Symbolic input.
        low: Lower end.
        high: Upper end, or None.
        slope: Slope beyond the ends so far.
        name: Name of the layer that will stand here.
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
        # A slope below 0 is a step that overshot; Keras' ReLU takes none.
        if self.low == 0 and slope >= 0 and (self.high is None or slope == 0):
            return layers.ReLU(self.high, negative_slope=slope, **common)(self.source)
        x = self.source
        clipped = (
            ops.clip(x, self.low, self.high) if self.high is not None else ops.maximum(x, self.low)
        )
        return clipped if slope == 0 else clipped + slope * (x - clipped)


@dataclass
class SmoothFlow(Delayed):
    """The flow of a smooth activation up to h, not made yet: exact at h = 1 only.

    Args:
        source: Symbolic input.
        activation: Name of the activation.
        reached: h at the end of the last step.
        steps: The steps so far, which are made again where the flow does not end at 1.
        keep: Function that is told of each of them then.
        name: Name of the layer that will stand here.
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

"""The step of a residual block: one step of x' = F(x)."""

from dataclasses import dataclass, replace

import keras

from keras_pdenets.layers import BackwardEulerStep, ScaledResidual
from keras_pdenets.operators.flows import SCHEMES

BLOCK_SCHEMES = (*(name for name, row in SCHEMES.items() if row.explicit), "backward_euler")


@dataclass(frozen=True)
class Step:
    """The step of a block.

    Args:
        zero: Whether the branch F starts at zero, so that the untrained block is its shortcut.
        step_size: h, a constant factor; None: 1.
        scheme: One of `BLOCK_SCHEMES`.
        leak: beta of `layers.ScaledResidual`, or None.
        drop: Share of the examples that skip the step in training.
    """

    zero: bool = False
    step_size: float | None = None
    scheme: str = "euler"
    leak: float | None = None
    drop: float = 0.0

    @property
    def gain(self):
        """Initial gain of a batch norm at the end of the residual branch."""
        return 0.0 if self.zero else 1.0

    def increment(self, parts, x, branch, name):
        """The increment of a block whose shortcut is the identity.

        Args:
            parts: Layer factory.
            x: Input of the block.
            branch: Function of a layer factory and a tensor that applies F.
            name: Name of the block.
        """
        h = 1.0 if self.step_size is None else self.step_size
        common = {"step_size": h, "dtype": parts.dtype, "name": f"{name}_step"}
        if self.scheme == "backward_euler":
            y = BackwardEulerStep(_as_model(_wide(parts), x, branch, name), **common)(x)
        elif self.leak is not None:
            model = _as_model(replace(parts, norms=False), x, branch, name)
            y = ScaledResidual(model, self.leak, **common)(x)
        elif SCHEMES[self.scheme].nodes:
            model = _as_model(parts, x, branch, name)
            y = _runge_kutta(parts, x, model, name, SCHEMES[self.scheme], h)
        else:
            return self.euler(parts, branch(parts, x), name)
        return self._dropped(parts, y, name)

    def euler(self, parts, y, name):
        """The residual y times the step size, for any shortcut."""
        if self.step_size is not None:
            y = parts.scale(y, self.step_size, f"{name}_step")
        return self._dropped(parts, y, name)

    def _dropped(self, parts, y, name):
        return parts.drop(y, self.drop, f"{name}_drop") if self.drop else y


def _wide(parts):
    """The factory for an implicit step, whose equation half precision cannot solve."""
    double = keras.dtype_policies.get(parts.dtype).compute_dtype == "float64"
    return replace(parts, norms=False, dtype="float64" if double else "float32")


def _as_model(parts, x, branch, name):
    """F as a model of its own, to be called several times."""
    dtype = keras.dtype_policies.get(parts.dtype).compute_dtype
    inputs = keras.Input(x.shape[1:], dtype=dtype, name=f"{name}_input")
    return keras.Model(inputs, branch(parts, inputs), name=f"{name}_branch")


def _runge_kutta(parts, x, model, name, scheme, h):
    """Weighted sum of the slopes at all nodes, which share the layers of the model."""
    slopes = [model(x)]
    for stage, node in enumerate(scheme.nodes, 1):
        # Subtraction of a negative: a sum with x would look like another residual block.
        back = parts.scale(slopes[-1], -h * node, f"{name}_back{stage}")
        place = keras.layers.Subtract(dtype=parts.dtype, name=f"{name}_place{stage}")([x, back])
        slopes.append(model(place))
    terms = [
        parts.scale(slope, h * weight, f"{name}_slope{stage}")
        for stage, (slope, weight) in enumerate(zip(slopes, scheme.weights, strict=True))
        if weight
    ]
    if len(terms) == 1:
        return terms[0]
    return keras.layers.Add(dtype=parts.dtype, name=f"{name}_step")(terms)

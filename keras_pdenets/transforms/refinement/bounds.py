"""Rigorous bounds and an estimate of the difference between a refined net and its plain one."""

from dataclasses import dataclass

import keras
import numpy as np
from keras import ops

from keras_pdenets.graphs.graph import has_graph, read_graph
from keras_pdenets.layers.precision import as_float64
from keras_pdenets.transforms.refinement.chains import is_exact
from keras_pdenets.transforms.refinement.cutting import apply_chains
from keras_pdenets.transforms.refinement.lipschitz import combined, lipschitz, slope_of

_CHUNK = 64
# Share of the errors at which the estimate is evaluated.
_SHARE = 1e-2


@dataclass(frozen=True)
class Bounds:
    r"""Largest 2-norm over the data of the difference of an example's outputs, and bounds of it.

    With the Lipschitz constants $\lambda_k$ of the plain layers and the errors $\delta_k$ of each
    chain on its own input, $E_k \le \lambda_k E_{k-1} + \delta_k$. Exact arithmetic is assumed.

    Args:
        measured: The difference on the data.
        posteriori: Rigorous: $\delta_k$ measured on the refined net's own features of the data.
            None: see `posteriori_reason`.
        priori: Rigorous for every input whose norm is at most `radius`: $\delta_k$ from norms
            alone. None: see `priori_reason`.
        estimate: Not a bound: the derivative of the difference by the size of the errors.
        radius: Largest norm of an input in the data.
        posteriori_reason: Why there is no such bound, or "".
        priori_reason: Likewise.
        layers: Measured $\delta_k$, the largest over the data, by layer.
    """

    measured: float
    posteriori: float | None
    priori: float | None
    estimate: float
    radius: float
    posteriori_reason: str
    priori_reason: str
    layers: dict[str, float]

    def __str__(self) -> str:
        """A labelled line for each number."""
        lines = [f"2-norm of the difference, measured: {self.measured:.3g}"]
        ball = f"inputs of norm <= {self.radius:.3g}"
        for label, value, reason in (
            ("rigorous a-posteriori bound", self.posteriori, self.posteriori_reason),
            (f"rigorous a-priori bound for {ball}", self.priori, self.priori_reason),
        ):
            if value is None:
                lines.append(f"{label}: none ({reason})")
            else:
                loose = value / self.measured if self.measured else float("inf")
                lines.append(f"{label}, rounding apart: {value:.3g} ({loose:.3g} times that)")
        lines.append(f"first-order estimate, not a bound: {self.estimate:.3g}")
        return "\n".join(lines)


@dataclass(frozen=True)
class _Size:
    """A tensor's values in the refined net, and bounds of its error.

    Args:
        value: Batch of values.
        error: Bound of the error of each example, or why there is none.
        ball: Bounds of the error and of the plain net's norm for any input in the ball, or why
            there are none.
    """

    value: object
    error: np.ndarray | str
    ball: tuple[float, float] | str


def measure_bounds(model, plan, data, max_step):
    """The `Bounds` of a refined model on data; None if all chains are exact."""
    inexact = {
        id(chain)
        for chain in (*plan.linears.values(), *plan.activations.values())
        if not is_exact(chain, plan.scheme, max_step)
    }
    if not inexact:
        return None
    graph, worst = read_graph(model), {}
    symbols = keras.tree.flatten(graph.inputs)
    arrays = [a.astype(s.dtype) for a, s in zip(_in_order(model, data), symbols, strict=True)]
    # The joint norm of all inputs bounds that of each.
    radius = float(np.sqrt(sum(_norms(a) ** 2 for a in arrays)).max())
    rules = _Rules(plan, inexact)
    for begin in range(0, len(arrays[0]), _CHUNK):
        batch = [a[begin : begin + _CHUNK] for a in arrays]
        plain = _run(graph, batch, lambda layer, args, kwargs: layer(*args, **kwargs))
        blended = _run(graph, batch, rules.blend)
        sizes = [_Size(b, np.zeros(len(b)), (0.0, radius)) for b in batch]
        sizes = _run(graph, sizes, rules.size)
        for found in map(_compare, plain, blended, sizes):
            worst = {k: _larger(worst[k], v) if worst else v for k, v in found.items()}
    bounds = {key: (None, v) if isinstance(v, str) else (float(v), "") for key, v in worst.items()}
    return Bounds(
        bounds["measured"][0], bounds["error"][0], bounds["ball"][0], bounds["estimate"][0],
        radius, bounds["error"][1], bounds["ball"][1], rules.layers,
    )  # fmt: skip


def _in_order(model, data):
    """The arrays of the data in the order of the model's inputs."""
    if isinstance(data, dict) and not isinstance(model.input, dict):
        data = [data[symbol.name] for symbol in model.inputs]
    return [np.asarray(array) for array in keras.tree.flatten(data)]


def _compare(plain, blended, size):
    """The numbers for one output of one chunk."""
    return {
        "measured": _norms(as_float64(size.value) - as_float64(plain)).max(),
        "estimate": _norms(as_float64(blended) - as_float64(plain)).max() / _SHARE,
        "error": size.error if isinstance(size.error, str) else size.error.max(),
        "ball": size.ball if isinstance(size.ball, str) else size.ball[0],
    }


def _larger(a, b):
    return next((x for x in (a, b) if isinstance(x, str)), None) or max(a, b)


def _norms(array):
    """2-norm of each example."""
    return np.linalg.norm(np.asarray(array, "float64").reshape(len(array), -1), axis=1)


def _run(graph, inputs, apply):
    """The outputs of a model with `apply` in place of each call, nested models included."""

    def make(call, args, kwargs):
        if has_graph(call.layer):
            return _run(read_graph(call.layer), args, apply)
        # No derivatives are needed, and their record would keep every tensor.
        return [
            value if isinstance(value, _Size) else ops.stop_gradient(value)
            for value in keras.tree.flatten(apply(call.layer, args, kwargs))
        ]

    return keras.tree.flatten(graph(*inputs, make=make))


class _Rules:
    """What a layer makes of values and their bounds."""

    def __init__(self, plan, inexact):
        self.plan, self.inexact = plan, inexact
        self.layers, self.constants = {}, {}

    def blend(self, layer, args, kwargs):
        """The plain layer plus a small share of its chain's error."""
        plain = layer(*args, **kwargs)
        if not self._errs(layer):
            return plain
        refined = self._refined(layer, *args, **kwargs)
        return plain + _SHARE * (refined - plain)

    def size(self, layer, args, kwargs):
        """The refined layer's output, with bounds of its error."""
        sizes = [s for s in keras.tree.flatten((args, kwargs)) if isinstance(s, _Size)]

        def value_of(x):
            return x.value if isinstance(x, _Size) else x

        args, kwargs = keras.tree.map_structure(value_of, (args, kwargs))
        value = self._refined(layer, *args, **kwargs)
        values = keras.tree.flatten(value)
        if len(values) > 1:
            reason = f"{layer.name!r} has several outputs"
            return [_Size(ops.stop_gradient(v), reason, reason) for v in values]
        value = ops.stop_gradient(values[0])
        error, ball = self._propagate(layer, sizes, kwargs, tuple(value.shape))
        if self._errs(layer):
            own = _norms(as_float64(value) - as_float64(layer(*args, **kwargs)))
            path = self.plan.paths[id(layer)]
            self.layers[path] = max(self.layers.get(path, 0.0), float(own.max()))
            error = error if isinstance(error, str) else error + own
            ball = ball if isinstance(ball, str) else self._erring_ball(layer, sizes[0], ball)
        return _Size(value, error, ball)

    def _errs(self, layer):
        return any(id(chain) in self.inexact for chain in self.plan.chains_of(layer))

    def _refined(self, layer, *args, activate=True, **kwargs):
        """A layer's output in the refined net."""
        first = self.plan.first_of(layer)
        return apply_chains(self.plan, layer, first(*args, **kwargs), activate)

    def _constant(self, layer, size):
        """Lipschitz constant of the plain layer, or None."""
        shape = (None, *size.value.shape[1:])
        key = (id(layer), shape)
        if key not in self.constants:
            self.constants[key] = lipschitz(layer, shape)
        return self.constants[key]

    def _propagate(self, layer, sizes, kwargs, shape):
        """Bounds of the output's error and norm from those of the inputs."""
        unknown = f"no Lipschitz constant is known for {layer.name!r}"
        error = next((s.error for s in sizes if isinstance(s.error, str)), None)
        ball = next((s.ball for s in sizes if isinstance(s.ball, str)), None)
        if len(sizes) == 1:
            constant = None if kwargs.get("training") else self._constant(layer, sizes[0])
            if constant is None:
                return error or unknown, ball or unknown
            error = error or constant * sizes[0].error
            if ball is None:
                still = _norms(as_float64(layer(_zeros(sizes[0]))))[0]
                own, reach = sizes[0].ball
                ball = (constant * own, constant * reach + still)
            return error, ball
        shapes = [tuple(s.value.shape) for s in sizes]

        def merge(values):
            found = combined(layer, values, shapes, shape) if len(sizes) > 1 else None
            return unknown if found is None else found

        if error is None:
            error = merge([s.error for s in sizes])
        if ball is None:
            parts = [merge(list(part)) for part in zip(*(s.ball for s in sizes), strict=True)]
            ball = next((part for part in parts if isinstance(part, str)), None) or tuple(parts)
        return error, ball or unknown

    def _erring_ball(self, layer, size, ball):
        """Add the errors of a layer's chains within the ball to its bounds."""
        linear, activation = self.plan.chains_of(layer)
        # The norm of the refined net's input is at most that of the plain one's plus the error.
        reach = sum(size.ball)
        own = 0.0 if linear is None else linear.error * reach
        if activation is not None and id(activation) in self.inexact:
            if activation.leak is None:
                return f"the error of the steps of {layer.name!r} is not bounded by norms"
            # Both the chain and the exact activation are non-expansive.
            still = self._refined(layer, _zeros(size), activate=False)
            steepest = self._constant(layer, size)
            own += activation.leak * (steepest * reach + own + _norms(as_float64(still))[0])
        elif linear is not None:
            own *= slope_of(layer.activation)
        return ball[0] + own, ball[1]


def _zeros(size):
    """One input of zeros."""
    return ops.zeros_like(size.value[:1])

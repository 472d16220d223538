"""How far a refined net may be from its plain one: bounds that hold, and an estimate."""

from dataclasses import dataclass

import keras
import numpy as np

from keras_pdenets.transforms.refinement.chains import is_exact
from keras_pdenets.transforms.refinement.graph import apply_chains, has_graph
from keras_pdenets.transforms.refinement.lipschitz import combined, lipschitz

_CHUNK = 64
# Size of the errors that the estimate is taken at, relative to their own.
_SHARE = 1e-2


@dataclass(frozen=True)
class Bounds:
    r"""Differences of the outputs of one example, in the 2-norm; the largest over the data.

    With the constants $\lambda_k$ of the plain layers and the errors $\delta_k$ that each chain
    makes on its own input, $E_k \le \lambda_k E_{k-1} + \delta_k$. Exact arithmetic is assumed.

    Args:
        measured: The difference on the data.
        posteriori: Rigorous: $\delta_k$ measured on what the refined net computes of the data.
            None: `reason`.
        priori: Rigorous for every input whose norm is at most `radius`: $\delta_k$ from norms
            alone. None: `reason`.
        estimate: No bound: the derivative of the difference by the size of the errors.
        radius: Largest norm of an input of the data.
        reason: Why there is no bound, or "".
        layers: Measured $\delta_k$, the largest over the data, by layer.
    """

    measured: float
    posteriori: float | None
    priori: float | None
    estimate: float
    radius: float
    reason: str
    layers: dict[str, float]

    def __str__(self) -> str:
        """A line for each number, labelled."""
        lines = [f"2-norm of the difference, measured: {self.measured:.3g}"]
        for label, value in (
            ("rigorous a-posteriori bound", self.posteriori),
            (f"rigorous a-priori bound for inputs of norm <= {self.radius:.3g}", self.priori),
        ):
            if value is None:
                lines.append(f"{label}: none ({self.reason})")
            else:
                loose = value / self.measured if self.measured else float("inf")
                lines.append(f"{label}: {value:.3g} ({loose:.3g} times the measured)")
        lines.append(f"first-order estimate, not a bound: {self.estimate:.3g}")
        return "\n".join(lines)


@dataclass(frozen=True)
class _Size:
    """What is known of a tensor: its values in the refined net, and bounds.

    Args:
        value: Batch of values.
        error: Bound of the error of each example; None: none is known.
        ball: Bound of the error of any example in the ball, and of its norm in the plain net.
        reason: Why a bound is None.
    """

    value: object
    error: np.ndarray | None
    ball: tuple[float, float] | None
    reason: str = ""


def measure_bounds(model, refined, plan, data, max_step):
    """The `Bounds` of a refined model on data; None where all chains are exact."""
    inexact = {
        id(chain)
        for chain in (*plan.linears.values(), *plan.activations.values())
        if not is_exact(chain, plan.scheme, max_step)
    }
    if not inexact:
        return None
    arrays = [np.asarray(a) for a in keras.tree.flatten(data)]
    radius = float(np.sqrt(sum(_norms(a) ** 2 for a in arrays)).max())
    tape, worst, layers = plan.tapes[id(refined)], {}, {}
    # A norm of the network's input as a whole bounds that of each of its inputs.
    rules = _Rules(plan, inexact, layers)
    for begin in range(0, len(arrays[0]), _CHUNK):
        batch = [a[begin : begin + _CHUNK] for a in arrays]
        plain = _walk(tape, batch, lambda node, args, kwargs: node.old(*args, **kwargs), plan)
        blended = _walk(tape, batch, rules.blend, plan)
        sizes = _walk(
            tape, [_Size(b, np.zeros(len(b)), (0.0, radius)) for b in batch], rules.size, plan
        )
        for plain_out, blended_out, size in zip(plain, blended, sizes, strict=True):
            found = {
                "measured": _norms(_array(size.value) - _array(plain_out)).max(),
                "estimate": _norms(_array(blended_out) - _array(plain_out)).max() / _SHARE,
                "posteriori": None if size.error is None else size.error.max(),
                "priori": None if size.ball is None else size.ball[0],
                "reason": size.reason,
            }
            for key, value in found.items():
                worst[key] = _larger(worst[key], value) if key in worst else value
    return Bounds(
        float(worst["measured"]), _number(worst["posteriori"]), _number(worst["priori"]),
        float(worst["estimate"]), radius, worst["reason"], layers,
    )  # fmt: skip


def _larger(a, b):
    return None if a is None or b is None else max(a, b)


def _number(value):
    return None if value is None else float(value)


def _array(value):
    return np.asarray(keras.ops.convert_to_numpy(value), "float64")


def _norms(array):
    """2-norm of each example."""
    return np.linalg.norm(np.asarray(array, "float64").reshape(len(array), -1), axis=1)


def _walk(tape, inputs, apply, plan):
    """Run a model node by node; values are whatever `apply` makes and takes."""
    known = {id(symbol): value for symbol, value in zip(tape.inputs, inputs, strict=True)}

    def value_of(x):
        return known.get(id(x), x)

    for node in tape.nodes:
        args, kwargs = keras.tree.map_structure(value_of, (node.args, node.kwargs))
        if has_graph(node.new):
            inner = plan.tapes[id(node.new)]
            outputs = _walk(inner, keras.tree.flatten(args), apply, plan)
        else:
            outputs = [apply(node, args, kwargs)]
        symbols = keras.tree.flatten(node.output)
        if len(symbols) != len(outputs):  # a layer with several outputs
            outputs = keras.tree.flatten(outputs[0])
        known.update({id(s): v for s, v in zip(symbols, outputs, strict=True)})
    return [known[id(symbol)] for symbol in keras.tree.flatten(tape.outputs)]


class _Rules:
    """What a node does to a value."""

    def __init__(self, plan, inexact, layers):
        self.plan, self.inexact, self.layers = plan, inexact, layers
        self.constants = {}

    def blend(self, node, args, kwargs):
        """The plain layer with a small share of the error of its chain."""
        plain = node.old(*args, **kwargs)
        if not self._errs(node):
            return plain
        refined = apply_chains(self.plan, node.new, node.new(*args, **kwargs))
        return plain + _SHARE * (refined - plain)

    def size(self, node, args, kwargs):
        """The refined layer, with bounds of its error."""
        sizes = [s for s in keras.tree.flatten((args, kwargs)) if isinstance(s, _Size)]

        def value_of(x):
            return x.value if isinstance(x, _Size) else x

        args, kwargs = keras.tree.map_structure(value_of, (args, kwargs))
        value = apply_chains(self.plan, node.new, node.new(*args, **kwargs))
        reason = next((s.reason for s in sizes if s.reason), "")
        error, ball = self._propagate(node, sizes)
        if error is None and not reason:
            reason = f"no Lipschitz constant is known for {node.old.name!r}"
        if not self._errs(node):
            return _Size(value, error, ball, reason)
        own = _norms(_array(value) - _array(node.old(*args, **kwargs)))
        path = self.plan.paths[id(node.new)]
        self.layers[path] = max(self.layers.get(path, 0.0), float(own.max()))
        if ball is not None:
            ball, reason = self._own_in_the_ball(node, sizes[0], ball, reason)
        return _Size(value, None if error is None else error + own, ball, reason)

    def _errs(self, node):
        return any(id(chain) in self.inexact for chain in self.plan.chains_of(node.new))

    def _constant(self, node, sizes):
        key = id(node.old)
        if key not in self.constants:
            self.constants[key] = lipschitz(node.old, tuple(sizes[0].value.shape))
        return self.constants[key]

    def _propagate(self, node, sizes):
        """Bounds of the error and of the norm that the inputs' ones lead to."""
        if len(sizes) > 1:
            errors = [s.error for s in sizes]
            balls = [s.ball for s in sizes]
            error = None if any(e is None for e in errors) else combined(node.old, errors)
            if any(b is None for b in balls):
                return error, None
            ball = tuple(combined(node.old, list(part)) for part in zip(*balls, strict=True))
            return error, None if None in ball else ball
        constant = self._constant(node, sizes)
        if constant is None:
            return None, None
        (size,) = sizes
        ball = None
        if size.ball is not None:
            still = _norms(_array(node.old(_zeros(size))))[0]
            ball = (constant * size.ball[0], constant * size.ball[1] + still)
        return None if size.error is None else constant * size.error, ball

    def _own_in_the_ball(self, node, size, ball, reason):
        """Add to the bounds of the ball what the chains of a node err there."""
        linear, activation = self.plan.chains_of(node.new)
        # The refined net's own input is not farther out than the plain one's and the error.
        reach = sum(size.ball)
        own = 0.0 if linear is None else linear.error * reach
        if activation is not None and id(activation) in self.inexact:
            if activation.leak is None:
                return None, reason or f"no a-priori bound for the steps of {node.old.name!r}"
            still = apply_chains(self.plan, node.new, node.new(_zeros(size)), activate=False)
            steepest = self.constants[id(node.old)]
            own += activation.leak * (steepest * reach + own + _norms(_array(still))[0])
        return (ball[0] + own, ball[1]), reason


def _zeros(size):
    """One input of zeros."""
    return keras.ops.zeros_like(size.value[:1])

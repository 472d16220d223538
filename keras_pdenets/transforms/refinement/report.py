"""What came of a refinement: steps, sizes, invertibility, and how near the nets are."""

import math
from dataclasses import dataclass

import keras
from keras import layers

from keras_pdenets.layers import CarryFlowStep
from keras_pdenets.transforms.copying import has_graph, largest_difference
from keras_pdenets.transforms.refinement.bounds import Bounds, measure_bounds

_TRANSPOSED = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
_PLAIN = (
    layers.Dense, layers.Conv1D, layers.Conv2D, layers.Conv3D, layers.DepthwiseConv1D,
    layers.DepthwiseConv2D, layers.SeparableConv1D, layers.SeparableConv2D,
)  # fmt: skip
_VECTORS = ("gamma", "beta", "moving_mean", "moving_variance", "mean", "variance", "count", "alpha")
_STRICTLY_INCREASING = ("tanh", "sigmoid", "softplus", "softsign", "elu", "celu", "selu")


@dataclass(frozen=True)
class RefineReport:
    """What `refine` did.

    Args:
        steps: Number of steps of every activation that was cut, by the name of its layer; a layer
            inside another model is `"model/layer"`.
        linear: Number of steps of every matrix that was cut, likewise.
        left: Why other layers were left whole.
        invertible: Whether every step of an activation can be inverted; None where weights decide
            it. Carried flows cannot.
        lipschitz: Largest Lipschitz constant of a step's residual, for layers where it is known.
        leak: What is left of a value that an activation would cut off, where that is not 0.
        parameters: Number of weights before and after.
        flops: Operations for one example, before and after: two for each product with a kernel's
            number, `operations` of a flow step and one of any other layer for each number that
            comes out. None where a shape is open, or a layer has kernels that we cannot count.
        difference: Largest difference of the outputs on `data`, or None.
        relative_difference: The same, divided by the largest output.
        bounds: How far the nets may be apart, where some flow is not exact and `data` are given.
    """

    steps: dict[str, int]
    linear: dict[str, int]
    left: dict[str, str]
    invertible: dict[str, bool | None]
    lipschitz: dict[str, float]
    leak: dict[str, float]
    parameters: tuple[int, int]
    flops: tuple[int, int] | None
    difference: float | None = None
    relative_difference: float | None = None
    bounds: Bounds | None = None

    def __str__(self) -> str:
        """The report in a few lines."""
        lines = [f"{len(self.steps)} activations in {sum(self.steps.values())} steps"]
        if self.linear:
            lines.append(f"{len(self.linear)} matrices in {sum(self.linear.values())} steps")
        lines.append(f"weights: {self.parameters[0]:,} before, {self.parameters[1]:,} after")
        if self.flops:
            lines.append(f"operations for an example: {self.flops[0]:,}, {self.flops[1]:,} after")
        if self.difference is not None:
            lines.append(
                f"largest difference, measured: {self.difference:.3g} "
                f"({self.relative_difference:.3g} of the largest output)"
            )
        if self.bounds is not None:
            lines.append(str(self.bounds))
        elif self.difference is not None:
            lines.append("every flow is exact: the difference is rounding")
        if self.leak:
            lines.append(f"largest leak: {max(self.leak.values()):.3g}")
        lines += [f"left whole: {name} ({reason})" for name, reason in self.left.items()]
        return "\n".join(lines)


def make_report(model, refined, plan, data, max_step):
    """The `RefineReport` of a refined model."""
    chains = plan.activations
    lipschitz = {
        path: max(step.rate for step in chain.steps)
        for path, chain in chains.items()
        if chain.clipped and not chain.promoted
    }
    leak = {path: chain.leak for path, chain in chains.items() if chain.leak}
    difference = relative = bounds = None
    if data is not None:
        difference, relative = largest_difference(model, refined, data)
        bounds = measure_bounds(model, refined, plan, data, max_step)
    return RefineReport(
        {path: len(chain.steps) for path, chain in chains.items()},
        {path: len(chain.steps) for path, chain in plan.linears.items()},
        plan.left,
        {path: _invertible(chain.steps, lipschitz.get(path)) for path, chain in chains.items()},
        lipschitz, leak, (model.count_params(), refined.count_params()),
        _flops(refined, plan), difference, relative, bounds,
    )  # fmt: skip


def _invertible(steps, rate):
    """Whether every step is, or None where weights decide it."""
    if isinstance(steps[0], CarryFlowStep):
        return False
    if steps[0].promote is not None:
        return None
    if rate is not None:
        return rate < 1
    # An increment of the paper's may lead beyond h = 1, where the flow turns back.
    forward = all(step.left + step.step <= 1 + 1e-9 for step in steps)
    return forward and steps[0].activation in _STRICTLY_INCREASING


def _flops(refined, plan):
    """Operations for one example, of the plain and of the refined net."""
    before = after = 0
    for node in _all_nodes(plan.tapes[id(refined)], plan):
        shapes = [tuple(t.shape)[1:] for t in keras.tree.flatten(node.output)]
        inputs = [x for x in keras.tree.flatten(node.args) if isinstance(x, keras.KerasTensor)]
        shapes += [tuple(x.shape)[1:] for x in inputs[:1]]
        if any(None in shape for shape in shapes) or not _countable(node.old):
            return None
        numbers, given = sum(map(math.prod, shapes[: -1 if inputs else None])), shapes[-1]
        linear, activation = plan.chains_of(node.new)
        before += _operations(node.old, numbers, math.prod(given))
        if linear is None:
            after += _operations(node.new, numbers, math.prod(given))
        else:
            wide = numbers // linear.last.channels * linear.first.channels
            after += numbers + sum(_operations(step, wide, wide) for step in linear.steps)
        if activation is not None:
            after += sum(_operations(step, numbers, numbers) for step in activation.steps)
    return before, after


def _all_nodes(tape, plan):
    for node in tape.nodes:
        if has_graph(node.new):
            yield from _all_nodes(plan.tapes[id(node.new)], plan)
        else:
            yield node


def _countable(layer):
    """Whether all products of a layer are known: plain kernels, or no kernel at all."""
    if isinstance(layer, (*_TRANSPOSED, *_PLAIN)) or hasattr(layer, "assemble_kernel"):
        return True
    return all(v.name in _VECTORS for v in getattr(layer, "weights", ()))


def _operations(layer, numbers, given):
    """Operations of a layer with so many numbers in its output and in its input."""
    if type(layer) is keras.layers.Identity:
        return 0
    total = numbers * getattr(layer, "operations", 1)
    if hasattr(layer, "assemble_kernel"):
        kernels = [layer.assemble_kernel()]
    else:
        kernels = [v for v in getattr(layer, "weights", ()) if "kernel" in v.name]
    for kernel in kernels:
        # A number of the input of a transposed convolution goes to all places of the kernel.
        if isinstance(layer, _TRANSPOSED):
            total += 2 * math.prod(kernel.shape) * given // kernel.shape[-1]
        else:
            total += 2 * math.prod(kernel.shape) * numbers // _channels(layer, kernel.shape)
    return total


def _channels(layer, shape):
    """Number of channels that a layer puts out."""
    for name in ("filters", "units"):
        if hasattr(layer, name):
            return getattr(layer, name)
    # Of a flow step it is the number of its inputs.
    return math.prod(shape[-2:]) if "Depthwise" in type(layer).__name__ else shape[-2]

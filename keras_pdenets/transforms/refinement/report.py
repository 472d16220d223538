"""The report on a refinement: steps, sizes, invertibility, and the difference of the nets."""

from dataclasses import dataclass

from keras_pdenets.graphs.graph import all_calls
from keras_pdenets.layers import CarryFlowStep
from keras_pdenets.transforms.copying import largest_difference
from keras_pdenets.transforms.operations import countable, operations_of, size_of
from keras_pdenets.transforms.refinement.bounds import Bounds, measure_bounds

_STRICTLY_INCREASING = ("tanh", "sigmoid", "softplus", "softsign", "elu", "celu", "selu")


@dataclass(frozen=True)
class RefineReport:
    """What `refine` did.

    Args:
        steps: Number of steps of every activation that was divided, by the name of its layer; a
            layer of a nested model is `"model/layer"`.
        linear: Number of steps of every matrix that was divided, likewise.
        left: Why other layers were left whole.
        invertible: Whether every step of an activation is invertible; None if that depends on
            weights. Steps of carried flows are not.
        lipschitz: Largest Lipschitz constant of a step's residual, for layers where it is known.
        leak: Share of a value that remains where the activation would clip it, if not 0.
        parameters: Number of weights before and after.
        flops: Operations for one example, before and after: two for each product with an element
            of a kernel; for each output element `operations` of a flow step and one of any other
            layer. None if a shape is open, or the products of a layer cannot be counted.
        difference: Largest difference of the outputs on `data`, or None.
        relative_difference: The same, divided by the largest output.
        bounds: Bounds of the difference, if some flow is not exact and `data` are given.

    Example:
    >>> import keras
    >>> from keras_pdenets.transforms import refine
    >>> relu = keras.layers.Conv2D(4, 3, activation="relu", name="conv")
    >>> _, report = refine(keras.Sequential([keras.Input((8, 8, 1)), relu]), steps=4)
    >>> report.steps, report.parameters, report.flops
    ({'conv': 4}, (40, 40), (2736, 5040))
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
        bounds = measure_bounds(model, plan, data, max_step)
    return RefineReport(
        {path: len(chain.steps) for path, chain in chains.items()},
        {path: len(chain.steps) for path, chain in plan.linears.items()},
        plan.left,
        {path: _invertible(chain.steps, lipschitz.get(path)) for path, chain in chains.items()},
        lipschitz, leak, (model.count_params(), refined.count_params()),
        _flops(model, plan), difference, relative, bounds,
    )  # fmt: skip


def _invertible(steps, rate):
    """Whether every step is invertible; None if that depends on weights."""
    if isinstance(steps[0], CarryFlowStep):
        return False
    if steps[0].promote is not None:
        return None
    if rate is not None:
        return rate < 1
    # The paper's increments may lead beyond h = 1, where the flow turns back.
    forward = all(step.left + step.step <= 1 + 1e-9 for step in steps)
    return forward and steps[0].activation in _STRICTLY_INCREASING


def _flops(model, plan):
    """Operations for one example of the plain and the refined net."""
    before = after = 0
    for call in all_calls(model):
        numbers, given = size_of(call.outputs), size_of(call.inputs[:1])
        if numbers is None or given is None or not countable(call.layer):
            return None
        linear, activation = plan.chains_of(call.layer)
        before += operations_of(call.layer, numbers, given)
        if linear is None:
            after += operations_of(plan.first_of(call.layer), numbers, given)
        else:
            wide = numbers // linear.last.channels * linear.first.channels
            after += numbers + sum(operations_of(step, wide, wide) for step in linear.steps)
        if activation is not None:
            after += sum(operations_of(step, numbers, numbers) for step in activation.steps)
    return before, after

"""What each layer of a net could become, measured; and the choice under one budget."""

from dataclasses import dataclass

import numpy as np

from keras_pdenets.operators import pde_orthonormal_basis
from keras_pdenets.transforms.conversion.counting import count_layer
from keras_pdenets.transforms.conversion.forms import PDEForm
from keras_pdenets.transforms.conversion.groups import FORMS, decomposed
from keras_pdenets.transforms.conversion.least_squares import NormalEquations
from keras_pdenets.utils.checks import check_number
from keras_pdenets.utils.tables import write_rows

SHARES = (0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)
BUDGETS = ("operations", "parameters", "error")


@dataclass(frozen=True)
class Option:
    """What a layer could become.

    Args:
        operator: `"pde"` or `"decomposed"`; `"left"`: it stays.
        share: Channels between the two convolutions, relative to the filters, or None.
        error: Energy of the error of its outputs, relative to theirs, with exact inputs.
        parameters: Numbers of its kernels.
        operations: Its operations for one example; None where sizes are open.
    """

    operator: str
    share: float | None
    error: float
    parameters: int
    operations: int | None


@dataclass(frozen=True)
class ConversionPlan:
    """What the layers of a net could become.

    Args:
        layers: The `Option`s of each layer by its name, the first of them `"left"`.
        left: Why other convolutions stay, by name.
        parameters: Weights of the net.
        operations: Operations of all its linear layers for one example, or None.

    Example:
    >>> import keras
    >>> import numpy as np
    >>> from keras_pdenets.transforms import plan_conversion
    >>> conv = keras.layers.Conv2D(4, 3, padding="same", name="conv")
    >>> net = keras.Sequential([keras.Input((8, 8, 4)), conv])
    >>> plan = plan_conversion(net, np.random.default_rng(0).normal(size=(20, 8, 8, 4)), verbose=0)
    >>> {name: option.parameters for name, option in plan.choose({"parameters": 0.5}).items()}
    {'conv': 48}
    """

    layers: dict[str, tuple[Option, ...]]
    left: dict[str, str]
    parameters: int
    operations: int | None

    def choose(self, budget):
        """The option of each layer by its name.

        Args:
            budget: Share of the operations of the net that may remain, in (0, 1]; or
                `{"operations": share}`, `{"parameters": share}`, or `{"error": largest}`: the most
                that the outputs of a layer may be off, relative to their energy.

        Raises:
            ValueError: If it is none of these, or cannot be met: the least possible is named.
        """
        what, value = check_budget(budget)
        if what == "error":
            return {name: _cheapest(options, value) for name, options in self.layers.items()}
        whole = getattr(self, what)
        if whole is None:
            raise ValueError(
                "`budget` of operations needs a model whose sides are known. Received: "
                f"budget={budget!r}; take parameters or error"
            )
        return _knapsack(self.layers, what, whole, value)

    def __str__(self) -> str:
        """A table, one line for each option."""
        lines = [f"{'layer':<32}{'operator':>12}{'share':>7}{'error':>10}{'weights':>12}"]
        for name, options in self.layers.items():
            lines += [
                f"{name:<32}{x.operator:>12}{x.share or '':>7}{x.error:>10.2g}{x.parameters:>12,}"
                for x in options
            ]
        return "\n".join(lines)

    def write_csv(self, path):
        """Write one row for each option, whole or not at all."""
        write_rows(
            path,
            [
                {"layer": name, "operator": x.operator, "share": x.share,
                 "error": f"{x.error:.6g}", "parameters": x.parameters,
                 "operations": x.operations}
                for name, options in self.layers.items() for x in options
            ],
        )  # fmt: skip


def check_budget(budget):
    """What a budget is of, and its number; see `ConversionPlan.choose`."""
    what, value = "operations", budget
    if isinstance(budget, dict):
        if len(budget) != 1 or next(iter(budget)) not in BUDGETS:
            raise ValueError(
                f"`budget` must be a number, or a dictionary of one of {', '.join(BUDGETS)}. "
                f"Received: budget={budget!r}"
            )
        ((what, value),) = budget.items()
    return what, check_number("budget", value, "in (0, 1]", lambda number: 0 < number <= 1)


def options_of(target, operators, normal, ridge, shares=SHARES):
    """What a layer could become, and what it costs.

    Args:
        target: Its `Target`.
        operators: Names of those that are possible.
        normal: Its `NormalEquations` on the pixels themselves.
        ridge: As of `convert`.
        shares: Widths of decomposed layers.
    """
    whole = count_layer(decomposed(target))
    costs = (whole.parameters[0], whole.operations and whole.operations[0])
    found = [Option("left", None, 0.0, *costs)]
    if "pde" in operators:
        derivatives = _on_derivatives(normal, target)
        found.append(_option(PDEForm(target), None, derivatives, ridge=ridge))
    for share in shares if "decomposed" in operators else ():
        # Half the turns of `convert`, which are slow for many channels.
        form = decomposed(target, share)
        found.append(_option(form, share, normal, ridge=ridge, sweeps=1))
    return tuple(found)


def _option(form, share, normal, **options):
    count = count_layer(form)
    error = normal.error(form.solve(normal, **options))
    operations = count.operations and count.operations[1]
    return Option(form.name, share, error, count.parameters[1], operations)


def _on_derivatives(normal, target):
    """Normal equations on derivatives, from those on pixels."""
    basis, channels = pde_orthonormal_basis().reshape(6, 9), target.shape[2]
    new = NormalEquations(6 * channels, target.shape[3], normal.centred)
    gram = normal.gram.reshape(9, channels, 9, channels)
    new.gram = np.einsum("ja,anbm,kb->jnkm", basis, gram, basis, optimize=True).reshape(
        new.gram.shape
    )
    new.cross = np.tensordot(basis, normal.cross.reshape(9, channels, -1), 1).reshape(
        new.cross.shape
    )
    new.energy, new.rows = normal.energy, normal.rows
    return new


def form_of(target, option):
    """The form of an option."""
    return FORMS[option.operator](target, option.share or 1.0)


def _cheapest(options, most):
    """The option of the fewest operations, then parameters, with no more error."""
    fits = [x for x in options if x.error <= most]
    return min(fits, key=lambda x: (x.operations or 0, x.parameters))


def _knapsack(layers, what, whole, share):
    """Save cost where an operation costs the least error, until the budget is met."""

    def cost(option):
        return getattr(option, what)

    chosen = {name: options[0] for name, options in layers.items()}
    total = whole
    while total > share * whole:
        steps = [
            (
                (option.error - chosen[name].error) / (cost(chosen[name]) - cost(option)),
                name,
                option,
            )
            for name, options in layers.items()
            for option in options
            if cost(option) < cost(chosen[name])
        ]
        if not steps:
            raise ValueError(
                f"`budget` cannot be met: {total / whole:.3f} of the {what} of the net is the "
                f"least with these layers and operators. Received: {share:g}"
            )
        # The lower convex hull of every layer, from the side of no error.
        _, name, option = min(steps, key=lambda step: step[:2])
        total += cost(option) - cost(chosen[name])
        chosen[name] = option
    return chosen

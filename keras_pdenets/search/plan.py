"""What to train next: the stopping rule as a plan, from the results so far and nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass

from keras_pdenets.layers.images import check_positive_integer
from keras_pdenets.operators.stopping import stopping_rule

GROW, ANNEAL = "grow", "anneal"


@dataclass(frozen=True)
class GrowthRules:
    """How a net grows.

    Args:
        start: Blocks in each section of the first net.
        epsilons: Bounds on the mean relative change of a block, falling.
        target: Share of epsilon that the depths aim at: annealing pushes the means up.
        growth: Largest factor of a section's depth from one stage to the next.
        max_blocks: Largest depth of a section.
        tolerance: Gain of the objective that a smaller epsilon must bring.
        patience: Number of epsilons without that gain before growth stops.
        repairs: Number of times that a net whose means rise above epsilon in annealing grows and
            is annealed again.
        max_cost: Block-epochs after which nothing but annealing starts, or None.
        largest: Bound the largest change of a block (equation 7) in place of the mean.
        maximize: Whether a larger objective is better.
    """

    start: tuple[int, ...] = (2, 2, 2)
    epsilons: tuple[float, ...] = (0.5, 0.3, 0.2, 0.1)
    target: float = 0.9
    growth: float = 2.0
    max_blocks: int = 64
    tolerance: float = 0.002
    patience: int = 2
    repairs: int = 2
    max_cost: float | None = None
    largest: bool = False
    maximize: bool = True

    def __post_init__(self) -> None:
        """Check every number; the message names the field."""
        for name in ("start", "epsilons"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for value in self.start:
            check_positive_integer("start", value)
        check_positive_integer("max_blocks", self.max_blocks)
        check_positive_integer("patience", self.patience)
        falling = all(a > b for a, b in zip(self.epsilons, self.epsilons[1:], strict=False))
        for name, holds, rule in (
            ("start", bool(self.start), "name at least one section"),
            ("epsilons", bool(self.epsilons) and falling and self.epsilons[-1] > 0,
             "hold at least one number, all positive, each smaller than the one before"),
            ("target", 0 < self.target <= 1, "be in (0, 1]"),
            ("growth", self.growth > 1, "be above 1"),
            ("repairs", self.repairs >= 0, "not be negative"),
            ("max_cost", self.max_cost is None or self.max_cost > 0, "be None or positive"),
        ):  # fmt: skip
            if not holds:
                raise ValueError(f"`{name}` must {rule}. Received: {name}={getattr(self, name)!r}")


@dataclass(frozen=True)
class Stage:
    """One training of a growing net.

    Args:
        depths: Blocks in each section.
        epsilon: Bound that the depths are chosen for.
        kind: `"grow"` (a constant learning rate) or `"anneal"` (it falls to 0).
        parent: Identifier of the stage whose weights it starts from, or None.
    """

    depths: tuple[int, ...]
    epsilon: float
    kind: str
    parent: str | None


@dataclass(frozen=True)
class StageResult:
    """A finished stage.

    Args:
        stage: What was trained.
        identifier: Its name, as later stages refer to it.
        objective: Value of the objective.
        distances: Scaled distance of each section after the last epoch.
        largest: Largest scaled perturbation in each section.
        cost: Block-epochs spent.
    """

    stage: Stage
    identifier: str
    objective: float
    distances: tuple[float, ...]
    largest: tuple[float, ...]
    cost: float

    def changes(self, rules: GrowthRules) -> tuple[float, ...]:
        """What epsilon bounds, for each section."""
        if rules.largest:
            return self.largest
        return tuple(d / n for d, n in zip(self.distances, self.stage.depths, strict=True))

    def satisfied(self, rules: GrowthRules) -> bool:
        """Whether every section's change is at or below the stage's epsilon."""
        return all(c <= self.stage.epsilon for c in self.changes(rules))


def next_stage(
    results: Sequence[StageResult], rules: GrowthRules, failed: frozenset[Stage] = frozenset()
) -> Stage | None:
    """The stage that follows on `results`, or None at the end of the search.

    Grow at one epsilon until the rule proposes the depths that the net has; go on with the next
    epsilon while the objective gains; then anneal the best of these nets, and grow and anneal it
    again if that has pushed a change above epsilon.

    Args:
        results: Finished stages of one net, in order.
        rules: The rules.
        failed: Stages that were tried in vain; the search ends with what it has.
    """
    if not results:
        first = Stage(rules.start, rules.epsilons[0], GROW, None)
        return None if first in failed else first
    annealed = [result for result in results if result.stage.kind == ANNEAL]
    if annealed:
        stage = _repair(annealed, rules)
        return None if stage in failed else stage
    best, proposal = _grow(results, rules)
    if proposal is not None and proposal not in failed:
        return proposal
    stage = Stage(best.stage.depths, best.stage.epsilon, ANNEAL, best.identifier)
    return None if stage in failed else stage


def _repair(annealed, rules):
    last = annealed[-1]
    grown = _proposed(last, last.stage.epsilon, rules)
    done = last.satisfied(rules) or len(annealed) > rules.repairs
    if done or grown == last.stage.depths:
        return None
    return Stage(grown, last.stage.epsilon, ANNEAL, last.identifier)


def _grow(results, rules):
    """The net to anneal if growth ends here, and the stage to grow to, or None."""
    sign = 1.0 if rules.maximize else -1.0
    best, stalls, index = None, 0, 0
    for result in results:
        fixed = None
        while index < len(rules.epsilons):
            epsilon = rules.epsilons[index]
            proposal = _proposed(result, epsilon, rules)
            if proposal != result.stage.depths:
                break
            fixed, index = epsilon, index + 1
        if fixed is None:
            continue
        # Named after the smallest epsilon that these depths do for.
        found = _at_epsilon(result, fixed)
        if best is None or sign * (found.objective - best.objective) >= rules.tolerance:
            best, stalls = found, 0
        else:
            stalls += 1
        if stalls >= rules.patience:
            break
    last = results[-1]
    over = rules.max_cost is not None and sum(r.cost for r in results) >= rules.max_cost
    if over or stalls >= rules.patience or index == len(rules.epsilons):
        return best or last, None
    epsilon = rules.epsilons[index]
    proposal = Stage(_proposed(last, epsilon, rules), epsilon, GROW, last.identifier)
    return best or last, proposal


def _at_epsilon(result, epsilon):
    stage = Stage(result.stage.depths, epsilon, result.stage.kind, result.stage.parent)
    return StageResult(
        stage, result.identifier, result.objective, result.distances, result.largest, result.cost
    )


def _proposed(result, epsilon, rules):
    """Depths by the stopping rule: never fewer than there are, never more than the caps."""
    depths = []
    for has, change in zip(result.stage.depths, result.changes(rules), strict=True):
        wants = stopping_rule(change * has, rules.target * epsilon, max_blocks=10**9)
        cap = max(has, min(int(rules.growth * has), rules.max_blocks))
        depths.append(min(max(has, wants), cap))
    return tuple(depths)

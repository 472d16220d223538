"""What to train next: the stopping rule as a plan, from the results so far and nothing else."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import linear_regression

from keras_pdenets.operators.stopping import MOST_BLOCKS, stopping_rule
from keras_pdenets.utils.records import Record, check_count

GROW, ANNEAL = "grow", "anneal"
# A distance is taken to grow with depth by this power at most, whatever the last nets say.
_STEEPEST = 0.5
_POINTS = 3


@dataclass(frozen=True)
class GrowthRules(Record):
    """How a net grows.

    Args:
        start: Blocks in each section of the first net.
        epsilons: Bounds on the mean relative change of a block, falling.
        target: Share of epsilon that the depths aim at: annealing pushes the means up.
        growth: Largest factor of a section's depth from one proposal to the next.
        extrapolate: Follow a distance that grows with depth as a power law through the last
            nets; else take it for constant, as the paper does.
        max_blocks: Largest depth of a section.
        tolerance: Gain of the objective that a smaller epsilon must bring.
        patience: Number of epsilons without that gain before growth stops.
        repairs: Number of times that a net whose means rise above epsilon in annealing grows and
            is annealed again.
        max_cost: Block-epochs after which nothing but annealing starts, or None.
        largest: Bound the largest change of a block (equation 7) in place of the mean.
        maximize: Whether a larger objective is better.

    Raises:
        ValueError: If a field is out of range.

    Example:
    >>> from keras_pdenets.search import GrowthRules
    >>> GrowthRules(epsilons=[0.3]).epsilons
    (0.3,)
    """

    start: tuple[int, ...] = (2, 2, 2)
    epsilons: tuple[float, ...] = (0.5, 0.3, 0.2, 0.1)
    target: float = 0.9
    growth: float = 2.0
    extrapolate: bool = True
    max_blocks: int = 64
    tolerance: float = 0.002
    patience: int = 2
    repairs: int = 2
    max_cost: float | None = None
    largest: bool = False
    maximize: bool = True

    def __post_init__(self) -> None:
        """Check every number; the message names the field."""
        super().__post_init__()
        object.__setattr__(self, "epsilons", tuple(map(float, self.epsilons)))
        for value in self.start:
            check_count("start", value, MOST_BLOCKS)
        check_count("max_blocks", self.max_blocks, MOST_BLOCKS)
        check_count("patience", self.patience)
        check_count("repairs", self.repairs, least=0)
        falling = all(a > b for a, b in zip(self.epsilons, self.epsilons[1:], strict=False))
        self.check(
            ("start", bool(self.start), "name at least one section"),
            ("epsilons", bool(self.epsilons) and falling and self.epsilons[-1] > 0,
             "hold at least one number, all positive, each smaller than the one before"),
            ("target", 0 < self.target <= 1, "be in (0, 1]"),
            ("growth", self.growth > 1, "be above 1"),
            ("max_cost", self.max_cost is None or self.max_cost > 0, "be None or positive"),
        )  # fmt: skip


@dataclass(frozen=True)
class Proposal:
    """One training of a growing net.

    Args:
        depths: Blocks in each section.
        epsilon: Bound that the depths are chosen for.
        kind: `"grow"` (a constant learning rate) or `"anneal"` (it falls to 0).
        parent: Identifier of the proposal whose weights it starts from, or None.
    """

    depths: tuple[int, ...]
    epsilon: float
    kind: str
    parent: str | None


@dataclass(frozen=True)
class Outcome:
    """A proposal that was trained.

    Args:
        proposal: What was trained.
        identifier: Its name, as later proposals refer to it.
        objective: Value of the objective.
        distances: Scaled distance of each section after the last epoch.
        largest: Largest scaled perturbation in each section.
        cost: Block-epochs spent.
    """

    proposal: Proposal
    identifier: str
    objective: float
    distances: tuple[float, ...]
    largest: tuple[float, ...]
    cost: float

    def changes(self, rules: GrowthRules) -> tuple[float, ...]:
        """What epsilon bounds, for each section."""
        if rules.largest:
            return self.largest
        return tuple(d / n for d, n in zip(self.distances, self.proposal.depths, strict=True))

    def satisfied(self, rules: GrowthRules) -> bool:
        """Whether every section's change is at or below the proposal's epsilon."""
        return all(c <= self.proposal.epsilon for c in self.changes(rules))


def propose(
    results: Sequence[Outcome], rules: GrowthRules, failed: frozenset[Proposal] = frozenset()
) -> Proposal | None:
    """The proposal that follows on `results`, or None at the end of the search.

    Grow at one epsilon until every change is below its target; go on with the next
    epsilon while the objective gains; then anneal the best of these nets, and grow and anneal it
    again if that has pushed a change above epsilon.

    Args:
        results: What was trained of one net, in order.
        rules: The rules.
        failed: Stages that were tried in vain; the search ends with what it has.
    """
    if not results:
        first = Proposal(rules.start, rules.epsilons[0], GROW, None)
        return None if first in failed else first
    if results[-1].proposal.kind == ANNEAL:
        proposal = _repair(results, rules)
        return None if proposal in failed else proposal
    best, proposal = _grow(results, rules)
    if proposal is not None and proposal not in failed:
        return proposal
    proposal = Proposal(best.proposal.depths, best.proposal.epsilon, ANNEAL, best.identifier)
    return None if proposal in failed else proposal


def _repair(results, rules):
    last = results[-1]
    grown = _proposed(results, last.proposal.epsilon, rules)
    annealed = sum(result.proposal.kind == ANNEAL for result in results)
    if last.satisfied(rules) or annealed > rules.repairs or grown == last.proposal.depths:
        return None
    return Proposal(grown, last.proposal.epsilon, ANNEAL, last.identifier)


def _grow(results, rules):
    """The net to anneal if growth ends here, and the proposal to grow to, or None."""
    sign = 1.0 if rules.maximize else -1.0
    best, stalls, index = None, 0, 0
    for result in results:
        fixed = None
        while index < len(rules.epsilons):
            epsilon = rules.epsilons[index]
            if max(result.changes(rules)) >= rules.target * epsilon:
                break
            fixed, index = epsilon, index + 1
        if fixed is None:
            continue
        # Named after the smallest epsilon that these depths do for.
        found = replace(result, proposal=replace(result.proposal, epsilon=fixed))
        if best is None or sign * (found.objective - best.objective) >= rules.tolerance:
            best, stalls = found, 0
        else:
            stalls += 1
        if stalls >= rules.patience:
            break
    last = results[-1]
    if stalls >= rules.patience or index == len(rules.epsilons):
        return best, None
    best = _better_end(best, last, rules)
    if rules.max_cost is not None and sum(r.cost for r in results) >= rules.max_cost:
        return best, None
    depths = _proposed(results, rules.epsilons[index], rules)
    if depths == last.proposal.depths:  # held back by `max_blocks`
        return best, None
    return best, Proposal(depths, rules.epsilons[index], GROW, last.identifier)


def _better_end(best, last, rules):
    """The net to anneal where growth is cut short: the last one, if it is better."""
    kept = [e for e in rules.epsilons if max(last.changes(rules)) < rules.target * e]
    if best is None and not kept:
        return last
    sign = 1.0 if rules.maximize else -1.0
    if kept and (best is None or sign * (last.objective - best.objective) >= rules.tolerance):
        return replace(last, proposal=replace(last.proposal, epsilon=kept[-1]))
    return best


def _proposed(results, epsilon, rules):
    """Depths by the stopping rule: never fewer than there are, never more than the caps."""
    last, bound = results[-1], rules.target * epsilon
    depths = []
    for section, (has, change) in enumerate(
        zip(last.proposal.depths, last.changes(rules), strict=True)
    ):
        wants = has
        if change >= bound:
            power = _power(results, section, rules) if rules.extrapolate else 0.0
            # d(L) = d(has) (L / has)^power, and d(L) / L = bound.
            ratio = (change / bound) ** (1.0 / (1.0 - power))
            # Clipped first: a tiny epsilon asks for more blocks than there are numbers.
            cap = max(has, min(max(has + 1, math.floor(rules.growth * has)), rules.max_blocks))
            wants = min(max(has + 1, stopping_rule(min(ratio * has, cap), 1.0)), cap)
        depths.append(wants)
    return tuple(depths)


def _power(results, section, rules):
    """Power of the depth that a section's distance grew by, over the last different depths."""
    points = {}
    for result in results:
        depth = result.proposal.depths[section]
        points[depth] = result.changes(rules)[section] * depth
    points = list(points.items())[-_POINTS:]
    if len(points) < 2 or min(distance for _, distance in points) <= 0:
        return 0.0
    logarithms = [(math.log(depth), math.log(distance)) for depth, distance in points]
    slope = linear_regression(*zip(*logarithms, strict=True)).slope
    return min(max(slope, 0.0), _STEEPEST)

"""The next training by the stopping rule, from the results so far and nothing else."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import linear_regression

from keras_pdenets.operators.stopping import MOST_BLOCKS, stopping_rule
from keras_pdenets.utils.records import Record, check_count

GROW, ANNEAL = "grow", "anneal"
# Largest power of the depth that a distance is assumed to grow by, whatever was measured.
_STEEPEST = 0.5
_POINTS = 3


@dataclass(frozen=True)
class GrowthRules(Record):
    """How a net grows.

    Args:
        start: Blocks in each section of the first net.
        epsilons: Decreasing bounds on the mean relative change by a block.
        target: Share of epsilon that the depths aim at, since annealing raises the means.
        growth: Largest factor of a section's depth from one proposal to the next.
        extrapolate: Extrapolate a distance that grows with depth by a power law through the last
            nets; otherwise assume it to be constant, as in the paper.
        max_blocks: Largest depth of a section.
        tolerance: Improvement of the objective required of a smaller epsilon.
        patience: Number of epsilons without that improvement before growth stops.
        repairs: How often a net whose means rise above epsilon in annealing is grown and annealed
            again.
        max_cost: Block-epochs after which only annealing starts, or None.
        largest: Bound the largest change by a block (equation 7) instead of the mean.
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
        """Check every field; the message names it."""
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
             "hold at least one number, all positive and decreasing"),
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
        kind: `"grow"` (a constant learning rate) or `"anneal"` (decaying to 0).
        parent: Identifier of the outcome whose weights it starts from, or None.
    """

    depths: tuple[int, ...]
    epsilon: float
    kind: str
    parent: str | None


@dataclass(frozen=True)
class Outcome:
    """The outcome of a proposal.

    Args:
        proposal: What was trained.
        identifier: The name by which later proposals refer to it.
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
        """The change of each section that epsilon bounds."""
        if rules.largest:
            return self.largest
        return tuple(d / n for d, n in zip(self.distances, self.proposal.depths, strict=True))

    def satisfied(self, rules: GrowthRules) -> bool:
        """Whether every section's change is at or below the proposal's epsilon."""
        return all(c <= self.proposal.epsilon for c in self.changes(rules))


def propose(
    results: Sequence[Outcome], rules: GrowthRules, failed: frozenset[Proposal] = frozenset()
) -> Proposal | None:
    """The proposal that follows `results`, or None at the end of the search.

    Grow at one epsilon until every change is below its target; continue with the next epsilon while
    the objective improves; then anneal the best of these nets, and grow and anneal it again if that
    has raised a change above epsilon.

    Args:
        results: The outcomes for one net, in order.
        rules: The rules.
        failed: Proposals that failed; the search ends at one of them.
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
        # Labelled with the smallest epsilon that these depths satisfy.
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
    if depths == last.proposal.depths:  # limited by `max_blocks`
        return best, None
    return best, Proposal(depths, rules.epsilons[index], GROW, last.identifier)


def _better_end(best, last, rules):
    """The net to anneal if growth is cut short: the last one, if it is better."""
    kept = [e for e in rules.epsilons if max(last.changes(rules)) < rules.target * e]
    if best is None and not kept:
        return last
    sign = 1.0 if rules.maximize else -1.0
    if kept and (best is None or sign * (last.objective - best.objective) >= rules.tolerance):
        return replace(last, proposal=replace(last.proposal, epsilon=kept[-1]))
    return best


def _proposed(results, epsilon, rules):
    """Depths by the stopping rule, at least the present ones and at most the caps."""
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
            # Clipped first: for a tiny epsilon the ratio overflows.
            cap = max(has, min(max(has + 1, math.floor(rules.growth * has)), rules.max_blocks))
            wants = min(max(has + 1, stopping_rule(min(ratio * has, cap), 1.0)), cap)
        depths.append(wants)
    return tuple(depths)


def _power(results, section, rules):
    """Exponent of a section's distance as a power of the depth, over the last depths."""
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

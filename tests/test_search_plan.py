"""The plan of a depth search: pure arithmetic, on laws whose answer is known."""

import dataclasses
import itertools
import math

import pytest

from keras_pdenets.search.plan import ANNEAL, GROW, GrowthRules, Outcome, Proposal, propose


def run(rules, distance, objective=lambda depths, proposals: 0.5, failed=frozenset(), limit=60):
    """Play the search with `distance(section, depth)`; `objective(depths, proposals so far)`."""
    results = []
    while (proposal := propose(results, rules, failed)) is not None:
        assert len(results) < limit, "the search does not end"
        d = tuple(distance(s, depth, proposal.kind) for s, depth in enumerate(proposal.depths))
        largest = tuple(1.5 * x / n for x, n in zip(d, proposal.depths, strict=True))
        value = objective(proposal.depths, len(results))
        cost = sum(proposal.depths) / len(proposal.depths)
        results.append(Outcome(proposal, str(len(results)), value, d, largest, cost))
    return results


CONSTANT = (1.0, 2.0, 0.4)


def constant(section, depth, kind):
    return CONSTANT[section]


@pytest.mark.parametrize("epsilon", [0.5, 0.3, 0.07])
def test_constant_distances_give_the_rules_depths(epsilon):
    rules = GrowthRules(start=(1, 1, 1), epsilons=(epsilon,))
    last = run(rules, constant)[-1]
    assert last.proposal.kind == ANNEAL
    assert last.proposal.depths == tuple(math.floor(d / (0.9 * epsilon)) + 1 for d in CONSTANT)
    assert last.satisfied(rules)


def test_depths_grow_by_the_factor_at_most_and_never_shrink():
    rules = GrowthRules(start=(2, 2, 2), epsilons=(0.05,), growth=2.0)
    proposals = [result.proposal.depths for result in run(rules, constant)]
    for before, after in itertools.pairwise(proposals):
        assert all(a <= b <= 2 * a for a, b in zip(before, after, strict=True))
    assert proposals[0] == (2, 2, 2)


def test_every_stage_starts_from_the_one_before():
    results = run(GrowthRules(epsilons=(0.1,)), constant)
    for before, after in itertools.pairwise(results):
        assert after.proposal.parent == before.identifier


def test_distances_that_grow_with_depth_are_followed_to_a_fixed_point():
    rules = GrowthRules(start=(2, 2, 2), epsilons=(0.3,))

    def distance(section, depth, kind):
        return CONSTANT[section] * depth**0.4

    results = run(rules, distance)
    # The smallest depths with d(L) / L below 0.9 epsilon, or a little more: it overshoots.
    for section, depth in enumerate(results[-1].proposal.depths):
        smallest = math.floor((CONSTANT[section] / 0.27) ** (1 / 0.6)) + 1
        assert smallest <= depth <= max(2, 1.2 * smallest)
    blind = run(dataclasses.replace(rules, extrapolate=False), distance)
    assert len(results) < len(blind), "extrapolation saves no proposal"


def test_a_steep_fit_is_not_believed():
    rules = GrowthRules(start=(2, 2, 2), epsilons=(0.05,), growth=100.0, max_blocks=1000)
    results = run(rules, lambda s, depth, kind: 0.3 * depth**0.95, limit=30)
    _first, second, third = (r.proposal.depths[0] for r in results[:3])
    change = 0.3 * second**0.95 / second
    assert third <= second * (change / 0.045) ** 2 + 1


def test_epsilon_falls_while_the_objective_gains_and_the_best_is_annealed():
    # Gains to a mean depth of 4, none beyond.
    rules = GrowthRules(epsilons=(0.5, 0.4, 0.3, 0.2, 0.1, 0.05), patience=2, start=(1, 1, 1))
    results = run(rules, constant, lambda depths, _: min(sum(depths) / 3, 4.0) / 10)
    grown = [r for r in results if r.proposal.kind == GROW]
    assert results[-1].proposal.kind == ANNEAL
    assert min(r.proposal.epsilon for r in grown) > 0.05, "patience did not stop it"
    best = max(r.objective for r in grown)
    assert results[-1].objective == pytest.approx(best)
    assert sum(results[-1].proposal.depths) < sum(grown[-1].proposal.depths)


def test_smaller_is_better_for_a_loss():
    rules = GrowthRules(epsilons=(0.5, 0.2, 0.1), patience=1, maximize=False, start=(1, 1, 1))
    results = run(rules, constant, lambda depths, _: float(sum(depths)))
    # A loss that rises with depth: the net of the first epsilon is the best.
    assert results[-1].proposal.depths == tuple(math.floor(d / 0.45) + 1 for d in CONSTANT)
    assert results[-1].proposal.epsilon == 0.5


def test_what_annealing_pushes_over_epsilon_is_repaired():
    rules = GrowthRules(epsilons=(0.3,), start=(1, 1, 1), repairs=2)

    def distance(section, depth, kind):
        return CONSTANT[section] * (1.3 if kind == ANNEAL else 1.0)

    results = run(rules, distance)
    assert [r.proposal.kind for r in results[-2:]] == [ANNEAL, ANNEAL]
    assert not results[-2].satisfied(rules)
    assert results[-1].satisfied(rules)
    assert results[-1].proposal.parent == results[-2].identifier


def test_without_repairs_a_violation_stays_one():
    rules = GrowthRules(epsilons=(0.3,), start=(1, 1, 1), repairs=0)
    results = run(rules, lambda s, n, kind: CONSTANT[s] * (1.3 if kind == ANNEAL else 1.0))
    assert [r.proposal.kind for r in results].count(ANNEAL) == 1
    assert not results[-1].satisfied(rules)


def test_the_depth_limit_ends_growth():
    rules = GrowthRules(epsilons=(0.01,), max_blocks=5, start=(1, 1, 1))
    last = run(rules, constant)[-1]
    assert max(last.proposal.depths) == 5
    assert not last.satisfied(rules)


def test_the_depth_limit_is_no_answer_to_a_smaller_epsilon():
    rules = GrowthRules(epsilons=(0.5, 0.1), max_blocks=8, start=(2, 2, 2))
    last = run(rules, constant, lambda depths, _: sum(depths) / 100)[-1]
    # (8, 8, 5) does not keep to 0.1; it keeps to 0.5, and is better than the first net that did.
    assert last.proposal.epsilon == 0.5
    assert last.proposal.depths == (8, 8, 5)
    assert last.satisfied(rules)
    last = run(rules, constant, lambda depths, _: -sum(depths) / 100)[-1]
    assert last.proposal.depths == (*tuple(math.floor(d / 0.45) + 1 for d in CONSTANT[:1]), 5, 2)
    assert last.satisfied(rules)


def test_slow_growth_grows():
    rules = GrowthRules(epsilons=(0.3,), growth=1.5, start=(1, 1, 1))
    last = run(rules, constant)[-1]
    assert last.satisfied(rules)
    assert max(last.proposal.depths) > 4


def test_a_tiny_epsilon_grows_to_the_limit():
    rules = GrowthRules(epsilons=(1e-9,), max_blocks=12)
    assert run(rules, constant)[-1].proposal.depths == (12, 12, 12)


def test_the_cost_limit_ends_growth():
    free = run(GrowthRules(epsilons=(0.05,), start=(1, 1, 1)), constant)
    capped = run(GrowthRules(epsilons=(0.05,), start=(1, 1, 1), max_cost=6.0), constant)
    assert len(capped) < len(free)
    assert capped[-1].proposal.kind == ANNEAL


def test_the_largest_change_can_be_bounded():
    mean = run(GrowthRules(epsilons=(0.3,)), constant)[-1]
    rules = GrowthRules(epsilons=(0.3,), largest=True)
    largest = run(rules, constant)[-1]
    assert sum(largest.proposal.depths) > sum(mean.proposal.depths)
    assert max(largest.largest) <= 0.3


def test_a_stage_that_failed_ends_growth_not_the_search():
    rules = GrowthRules(epsilons=(0.1,), start=(1, 1, 1))
    proposals = [r.proposal for r in run(rules, constant)]
    results = run(rules, constant, failed=frozenset({proposals[2]}))
    assert [r.proposal for r in results[:2]] == proposals[:2]
    assert results[2].proposal == Proposal(proposals[1].depths, 0.1, ANNEAL, "1")
    assert run(rules, constant, failed=frozenset({proposals[0]})) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("start", ()), ("start", (0, 1)), ("epsilons", ()), ("epsilons", (0.2, 0.3)),
        ("epsilons", (0.1, -0.1)), ("target", 0.0), ("target", 1.2), ("growth", 1.0),
        ("max_blocks", 0), ("patience", 0), ("repairs", -1), ("max_cost", 0.0),
    ],
)  # fmt: skip
def test_rules_name_what_is_wrong(field, value):
    with pytest.raises(ValueError, match=f"`{field}`"):
        GrowthRules(**{field: value})


def test_rules_are_complete_data():
    rules = GrowthRules(start=[1, 2], epsilons=[0.2])
    assert GrowthRules(**dataclasses.asdict(rules)) == rules
    assert rules.start == (1, 2)


def test_the_first_stage():
    rules = GrowthRules()
    assert propose([], rules) == Proposal(rules.start, rules.epsilons[0], GROW, None)

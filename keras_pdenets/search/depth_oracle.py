"""The oracle of the stopping rule."""

import keras_tuner

from keras_pdenets.search.oracles import (
    COMBINATION,
    DONE,
    OBJECTIVE,
    WAITING,
    SafeOracle,
    declare_combination,
)
from keras_pdenets.search.plan import ANNEAL, GROW, Outcome, Proposal, propose


class DepthOracle(SafeOracle):
    """Proposes depths by the stopping rule, from the measured distances of trained nets.

    Every choice of operator, width and learning rate is trained once at the smallest depth; the
    best `space.tracks` of them grow (`plan.propose`). Proposals depend only on the finished trials,
    so that nothing else must survive a kill.

    Args:
        space: The `SearchSpace`.
        objective: A `keras_tuner.Objective`.
        **kwargs: Arguments of `keras_tuner.Oracle`.

    Example:
    >>> from keras_pdenets.search import DepthOracle, SearchSpace
    >>> space = SearchSpace(rules={"start": (1, 2, 2), "epsilons": (0.3,)}, stage_epochs=2)
    >>> first = DepthOracle(space).populate_space("0000")["values"]
    >>> [first[f"depth_{section}"] for section in range(3)], first["tuner/epochs"]
    ([1, 2, 2], 2)
    """

    def __init__(self, space, objective=OBJECTIVE, **kwargs):
        hyperparameters = keras_tuner.HyperParameters()
        for section, start in enumerate(space.rules.start):
            largest = max(space.rules.max_blocks, start)
            hyperparameters.Int(f"depth_{section}", 1, largest, default=start)
        epsilons = list(space.rules.epsilons)
        hyperparameters.Choice("epsilon", epsilons, default=epsilons[0], ordered=True)
        declare_combination(hyperparameters, space)
        super().__init__(objective=objective, hyperparameters=hyperparameters, **kwargs)
        self.space = space

    def populate_space(self, trial_id):
        """The next proposal of a track without a running trial."""
        tracks = [self._track(combination) for combination in self.space.combinations]
        for track in tracks:
            if not track.results and not track.busy and (proposal := self._next(track)):
                return self._values(track, proposal)
        if any(track.busy and not track.results for track in tracks):
            return WAITING
        for track in self._best(tracks):
            if not track.busy and (proposal := self._next(track)):
                return self._values(track, proposal)
        return WAITING if self.ongoing_trials else DONE

    def results(self):
        """The outcomes by choice of operator, width and learning rate, best start first."""
        tracks = [self._track(combination) for combination in self.space.combinations]
        return [(t.combination, t.results) for t in self._best(tracks, everything=True)]

    def _best(self, tracks, everything=False):
        started = [track for track in tracks if track.results]
        sign = -1 if self.objective.direction == "max" else 1
        started.sort(key=lambda track: sign * track.results[0].objective)
        return started if everything else started[: self.space.tracks]

    def _next(self, track):
        return propose(track.results, self.space.rules, frozenset(track.failed))

    def _track(self, combination):
        track = _Track(combination)
        for identifier in self.start_order:
            trial = self.trials[identifier]
            values = trial.hyperparameters.values
            if {name: values[name] for name in COMBINATION} != combination:
                continue
            if trial.status == "COMPLETED":
                track.results.append(outcome_of(trial, self.space))
            elif trial.status == "FAILED":
                track.failed.append(proposal_of(values, self.space))
            else:
                track.busy = True
        return track

    def _values(self, track, proposal):
        space = self.space
        annealed = proposal.kind == ANNEAL
        values = {f"depth_{s}": depth for s, depth in enumerate(proposal.depths)}
        values |= {"epsilon": proposal.epsilon, **track.combination}
        epochs = space.stage_epochs
        if annealed:  # half as long for a repair
            again = any(result.proposal.kind == ANNEAL for result in track.results)
            epochs = -(-space.anneal_epochs // 2) if again else space.anneal_epochs
        # Counted on from the parent's, as in Hyperband: the order of the images continues too.
        done = 0
        if proposal.parent is not None:
            values["tuner/trial_id"] = proposal.parent
            done = self.trials[proposal.parent].hyperparameters.values["tuner/epochs"]
        values["tuner/initial_epoch"], values["tuner/epochs"] = done, done + epochs
        values["tuner/anneal"] = epochs if annealed else 0
        return {"status": "RUNNING", "values": values}


class _Track:
    """The state of one choice of operator, width and learning rate."""

    def __init__(self, combination):
        self.combination = combination
        self.results, self.failed, self.busy = [], [], False


def proposal_of(values, space):
    """The `Proposal` of a depth search's trial."""
    depths = tuple(int(values[f"depth_{s}"]) for s in range(space.sections))
    kind = ANNEAL if values["tuner/anneal"] else GROW
    return Proposal(depths, values["epsilon"], kind, values.get("tuner/trial_id"))


def outcome_of(trial, space):
    """The `Outcome` of a depth search's finished trial."""

    def of_sections(name):
        return tuple(
            trial.metrics.get_last_value(f"{name}_s{section}") for section in range(space.sections)
        )

    return Outcome(
        proposal_of(trial.hyperparameters.values, space), trial.trial_id, trial.score,
        of_sections("d_scaled"), of_sections("largest"),
        trial.metrics.get_last_value("block_epochs"),
    )  # fmt: skip

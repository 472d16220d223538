"""The oracle that asks the stopping rule."""

import keras_tuner

from keras_pdenets.search.oracles import (
    COMBINATION,
    DONE,
    OBJECTIVE,
    WAITING,
    SafeOracle,
    declare_combination,
)
from keras_pdenets.search.plan import ANNEAL, GROW, Stage, StageResult, next_stage


class DepthOracle(SafeOracle):
    """Proposes depths by the stopping rule, from the distances that trained nets measure.

    Every choice of operator, width and learning rate is trained once at the smallest depth; the
    best `space.tracks` of them grow (`plan.next_stage`). Proposals follow from the finished trials
    alone, so that nothing else has to survive a kill.

    Args:
        space: The `SearchSpace`.
        objective: A `keras_tuner.Objective`.
        **kwargs: Arguments of `keras_tuner.Oracle`.
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
        """The next stage of any track that is not waiting for one."""
        tracks = [self._track(combination) for combination in self.space.combinations]
        for track in tracks:
            if not track.results and not track.busy and (stage := self._next(track)):
                return self._values(track, stage)
        if any(track.busy and not track.results for track in tracks):
            return WAITING
        for track in self._best(tracks):
            if not track.busy and (stage := self._next(track)):
                return self._values(track, stage)
        return WAITING if self.ongoing_trials else DONE

    def results(self):
        """Finished stages, by choice of operator, width and learning rate, best start first."""
        tracks = [self._track(combination) for combination in self.space.combinations]
        return [(t.combination, t.results) for t in self._best(tracks, everything=True)]

    def _best(self, tracks, everything=False):
        started = [track for track in tracks if track.results]
        sign = -1 if self.objective.direction == "max" else 1
        started.sort(key=lambda track: sign * track.results[0].objective)
        return started if everything else started[: self.space.tracks]

    def _next(self, track):
        return next_stage(track.results, self.space.rules, frozenset(track.failed))

    def _track(self, combination):
        track = _Track(combination)
        for identifier in self.start_order:
            trial = self.trials[identifier]
            values = trial.hyperparameters.values
            if {name: values[name] for name in COMBINATION} != combination:
                continue
            if trial.status == "COMPLETED":
                track.results.append(stage_result(trial, self.space))
            elif trial.status == "FAILED":
                track.failed.append(stage_of(values, self.space))
            else:
                track.busy = True
        return track

    def _values(self, track, stage):
        space = self.space
        annealed = stage.kind == ANNEAL
        values = {f"depth_{s}": depth for s, depth in enumerate(stage.depths)}
        values |= {"epsilon": stage.epsilon, **track.combination}
        epochs = space.stage_epochs
        if annealed:  # half as long where a net is only repaired
            again = any(result.stage.kind == ANNEAL for result in track.results)
            epochs = -(-space.anneal_epochs // 2) if again else space.anneal_epochs
        # Counted on from the parent's, as Hyperband does: the order of the images goes on too.
        values["tuner/initial_epoch"] = done = self._epochs_of(stage.parent)
        values["tuner/epochs"] = done + epochs
        values["tuner/anneal"] = epochs if annealed else 0
        if stage.parent is not None:
            values["tuner/trial_id"] = stage.parent
        return {"status": "RUNNING", "values": values}

    def _epochs_of(self, identifier):
        if identifier is None:
            return 0
        return self.trials[identifier].hyperparameters.values["tuner/epochs"]


class _Track:
    """What is known of one choice of operator, width and learning rate."""

    def __init__(self, combination):
        self.combination = combination
        self.results, self.failed, self.busy = [], [], False


def stage_of(values, space):
    """The `Stage` of a depth search's trial."""
    depths = tuple(int(values[f"depth_{s}"]) for s in range(space.sections))
    kind = ANNEAL if values["tuner/anneal"] else GROW
    return Stage(depths, values["epsilon"], kind, values.get("tuner/trial_id"))


def stage_result(trial, space):
    """The `StageResult` of a depth search's finished trial."""

    def of_sections(name):
        return tuple(
            trial.metrics.get_last_value(f"{name}_s{section}") for section in range(space.sections)
        )

    return StageResult(
        stage_of(trial.hyperparameters.values, space), trial.trial_id, trial.score,
        of_sections("d_scaled"), of_sections("largest"),
        trial.metrics.get_last_value("block_epochs"),
    )  # fmt: skip

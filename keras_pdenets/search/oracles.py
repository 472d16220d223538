"""KerasTuner's oracles, made safe against kills, crashes and NaN."""

import itertools
import json
import logging
from pathlib import Path

import keras_tuner

from keras_pdenets.hub.atomic import replace_file
from keras_pdenets.search.plan import ANNEAL, Stage, StageResult, next_stage

_LOG = logging.getLogger("keras_pdenets")

OBJECTIVE = keras_tuner.Objective("val_accuracy", "max")
# Choices of a trial that decide its training; the depth is chosen apart.
_COMBINATION = ("operator", "width", "learning_rate")
_WAITING = {"status": "IDLE"}
_DONE = {"status": "STOPPED"}


class SafeOracle(keras_tuner.Oracle):
    """Mends what a kill or a failure breaks in KerasTuner's oracles.

    Files are written whole or not at all; a trial that was finished is not run again, and one
    that was begun is not forgotten, wherever between the two files of a trial a kill came; too
    many failures end the search, without holding the lock that other workers wait for.
    """

    _aborted = None

    def save(self):
        """Write the state of the search."""
        text = json.dumps(self.get_state())
        replace_file(Path(self._get_oracle_fname()), lambda path: path.write_text(text))

    def _save_trial(self, trial):
        text = json.dumps(trial.get_state())
        path = Path(self._get_trial_dir(trial.trial_id)) / "trial.json"
        replace_file(path, lambda temporary: temporary.write_text(text))

    def reload(self):
        """Read the state, then bring it up to date with the files of the trials."""
        for folder in Path(self._project_dir).glob("trial_*"):
            if not (folder / "trial.json").exists():  # killed before its first file
                for file in folder.iterdir():
                    file.unlink()
                folder.rmdir()
        super().reload()
        ended = {i for i, trial in self.trials.items() if trial.status in ("COMPLETED", "FAILED")}
        for identifier in sorted(self.trials):
            if identifier not in self.start_order:
                self.start_order.append(identifier)
            if identifier in ended and identifier not in self.end_order:
                self.end_order.append(identifier)
            if identifier not in ended and identifier not in self._retry_queue:
                self._retry_queue.append(identifier)
        self._retry_queue = [i for i in self._retry_queue if i not in ended]
        for identifier in self._retry_queue:
            _forget_metrics(self.trials[identifier])

    def _retry(self, trial):
        again = super()._retry(trial)
        if again:
            _forget_metrics(trial)
        return again

    def create_trial(self, tuner_id):
        """The next trial, or one that says that the search has ended."""
        if self._aborted is not None:
            self.tuner_ids.discard(tuner_id)
            return keras_tuner.engine.trial.Trial(self.get_space(), status="STOPPED")
        return super().create_trial(tuner_id)

    def end_trial(self, trial):
        """Record a finished trial."""
        # gRPC carries 32-bit floats: what was chosen stays as it was chosen.
        trial.hyperparameters = self.trials[trial.trial_id].hyperparameters
        super().end_trial(trial)

    def _check_consecutive_failures(self):
        try:
            super()._check_consecutive_failures()
        except RuntimeError as error:
            # Raised here it would leave KerasTuner's lock held for ever.
            self._aborted = str(error)
            _LOG.error("The search stops: %s", error)


def _forget_metrics(trial):
    """Else KerasTuner would not take the metrics of the next attempt."""
    trial.metrics = type(trial.metrics)()


class ListOracle(SafeOracle):
    """Runs every choice of a list, in order; KerasTuner's grid loses its place after a kill.

    Args:
        candidates: Dictionaries of hyperparameters.
        **kwargs: Arguments of `keras_tuner.Oracle`.
    """

    def __init__(self, candidates, **kwargs):
        super().__init__(**kwargs)
        self.candidates = list(candidates)

    def populate_space(self, trial_id):
        """The first candidate that no trial has."""
        tried = [trial.hyperparameters.values for trial in self.trials.values()]
        for candidate in self.candidates:
            if not any(candidate.items() <= values.items() for values in tried):
                return {"status": "RUNNING", "values": dict(candidate)}
        return _WAITING if self.ongoing_trials else _DONE


class RandomOracle(SafeOracle, keras_tuner.oracles.RandomSearchOracle):
    """KerasTuner's random search."""


class BayesianOracle(SafeOracle, keras_tuner.oracles.BayesianOptimizationOracle):
    """KerasTuner's Bayesian optimisation."""


class HyperbandOracle(SafeOracle, keras_tuner.oracles.HyperbandOracle):
    """KerasTuner's Hyperband."""


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
            return _WAITING
        for track in self._best(tracks):
            if not track.busy and (stage := self._next(track)):
                return self._values(track, stage)
        return _WAITING if self.ongoing_trials else _DONE

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
            if {name: values[name] for name in _COMBINATION} != combination:
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
        values["tuner/epochs"] = epochs
        values["tuner/anneal"] = epochs if annealed else 0
        if stage.parent is not None:
            values["tuner/trial_id"] = stage.parent
        return {"status": "RUNNING", "values": values}


class _Track:
    """What is known of one choice of operator, width and learning rate."""

    def __init__(self, combination):
        self.combination = combination
        self.results, self.failed, self.busy = [], [], False


def stage_of(values, space):
    """The `Stage` of a depth search's trial."""
    depths = tuple(int(values[f"depth_{s}"]) for s in range(space.sections))
    kind = ANNEAL if values["tuner/anneal"] else "grow"
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


def declare_combination(hyperparameters, space):
    """Register operator, width and learning rate."""
    for name, choices in zip(
        _COMBINATION, (space.operators, space.widths, space.learning_rates), strict=True
    ):
        hyperparameters.Choice(name, list(choices), default=choices[0])


def make_oracle(kind, space, max_trials=None):
    """An oracle over a `SearchSpace`: one of `ORACLES`.

    Args:
        kind: `"depth"` (the stopping rule), `"grid"`, `"random"`, `"bayesian"` or `"hyperband"`.
        space: The `SearchSpace`.
        max_trials: Number of trials at most, for all but Hyperband; random and Bayesian search
            need it.
    """
    if kind not in ORACLES:
        raise ValueError(f"`kind` must be one of {', '.join(ORACLES)}. Received: {kind!r}")
    # One failure, or three in a row, say nothing of the other choices.
    common = {"max_retries_per_trial": 1, "max_consecutive_failed_trials": 10}
    if kind == "hyperband":
        common |= {"max_epochs": space.epochs, "seed": space.seed or 1}
    else:
        common["max_trials"] = max_trials
    if kind == "depth":
        return DepthOracle(space, **common)
    if kind in ("random", "bayesian"):
        common["seed"] = space.seed or 1
        if max_trials is None:
            raise ValueError(f"`max_trials` must be given for {kind} search. Received: None")
    hyperparameters = keras_tuner.HyperParameters()
    hyperparameters.Choice("depth", list(space.depths), default=space.depths[0], ordered=True)
    declare_combination(hyperparameters, space)
    common |= {"objective": OBJECTIVE, "hyperparameters": hyperparameters}
    if kind == "grid":
        grid = itertools.product(space.depths, space.combinations)
        return ListOracle([{"depth": n, **combination} for n, combination in grid], **common)
    if kind == "hyperband":
        _check_hyperband(space)
    return ORACLES[kind](**common)


ORACLES = {
    "depth": DepthOracle,
    "grid": ListOracle,
    "random": RandomOracle,
    "bayesian": BayesianOracle,
    "hyperband": HyperbandOracle,
}


def _check_hyperband(space):
    """Hyperband on fewer choices than its brackets hold runs one-epoch trials and ends."""
    oracle = keras_tuner.oracles.HyperbandOracle(max_epochs=space.epochs)
    brackets = range(oracle._get_num_brackets())
    needed = sum(oracle._get_size(bracket, 0) for bracket in brackets)
    choices = len(space.depths) * len(space.combinations)
    if choices < needed:
        raise ValueError(
            f"`space` must have at least {needed} choices for Hyperband with {space.epochs} "
            f"epochs: with fewer it ends after one-epoch trials. Received: {choices} choices; add "
            "learning rates, widths or depths, or lower `epochs`"
        )

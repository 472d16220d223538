"""KerasTuner's oracles, made robust against kills, crashes and NaN."""

import json
import logging
import shutil

import keras_tuner

from keras_pdenets.compat.keras_tuner import (
    OracleHooks,
    lock_freed,
    oracle_file,
    run_again,
    trial_folder,
)
from keras_pdenets.utils.atomic import write_file
from keras_pdenets.utils.json_files import load_json
from keras_pdenets.utils.text import printable

_LOG = logging.getLogger("keras_pdenets")

OBJECTIVE = keras_tuner.Objective("val_accuracy", "max")
# Choices of a trial beside its depth.
COMBINATION = ("operator", "width", "learning_rate")
WAITING = {"status": "IDLE"}
DONE = {"status": "STOPPED"}


class SafeOracle(OracleHooks, keras_tuner.Oracle):
    """Repairs what a kill or a failure breaks in KerasTuner's oracles.

    Files are written atomically; a finished trial is not repeated and a started one not lost,
    even if a kill came between writing the two files of a trial; too many failures end the search.
    After an error, the lock that other workers wait for is released.
    """

    _aborted = False
    _failures = 0

    def save(self):
        """Write the state of the search."""
        write_file(oracle_file(self), json.dumps(self.get_state()))

    def save_trial(self, trial):
        """Write the state of a trial."""
        path = trial_folder(self, trial.trial_id) / "trial.json"
        write_file(path, json.dumps(trial.get_state()))

    def reload(self):
        """Read the state and update it from the files of the trials.

        Raises:
            ValueError: If a file is damaged or of another search.
        """
        path = oracle_file(self)
        try:
            known = set(load_json(path, nan=True)["start_order"]) if path.exists() else set()
            self._reload(known)
        # KerasTuner does not check what it reads.
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise ValueError(
                f"{path.parent} holds a search with a damaged file "
                f"({printable(f'{type(error).__name__}: {error}', 300)}). Restore a copy, or use "
                "another folder for a new search."
            ) from error

    def _reload(self, known):
        for folder in oracle_file(self).parent.glob("trial_*"):
            # Killed before the oracle recorded the trial, so that no worker has it.
            if folder.name.removeprefix("trial_") not in known:
                shutil.rmtree(folder)
        super().reload()
        self.trials = {identifier: self.trials[identifier] for identifier in self.start_order}
        ended = {i for i, trial in self.trials.items() if trial.status in ("COMPLETED", "FAILED")}
        self.end_order += [i for i in self.start_order if i in ended and i not in self.end_order]
        # KerasTuner starts with the last one.
        broken_off = [i for i in reversed(self.start_order) if i not in ended]
        run_again(self, broken_off)
        for identifier in broken_off:
            self.begin_again(self.trials[identifier])

    def begin_again(self, trial):
        """Reset a trial's metrics, or KerasTuner would ignore those of the next attempt."""
        trial.metrics = type(trial.metrics)()

    def create_trial(self, tuner_id):
        """The next trial, or one whose status says that the search has ended."""
        if self._aborted:
            self.tuner_ids.discard(tuner_id)
            self.ongoing_trials.pop(tuner_id, None)
            return keras_tuner.engine.trial.Trial(self.get_space(), status="STOPPED")
        with lock_freed(self):
            return super().create_trial(tuner_id)

    def update_trial(self, trial_id, metrics, step=0):
        """Record the metrics of a trial."""
        with lock_freed(self):
            return super().update_trial(trial_id, metrics, step)

    def end_trial(self, trial):
        """Record a finished trial; one without a score counts as failed."""
        # gRPC transmits 32-bit floats: keep the hyperparameters as chosen.
        trial.hyperparameters = self.trials[trial.trial_id].hyperparameters
        with lock_freed(self):
            super().end_trial(trial)

    def score_trial(self, trial):
        """Set a trial's score, NaN if it has reported none."""
        reported = trial.metrics.exists(self.objective.name)
        if reported:
            super().score_trial(trial)
        if not reported or trial.score is None:
            trial.score = float("nan")
            trial.message = f"The trial has reported no {self.objective.name}."
            _LOG.warning("Trial %s has reported no %s", trial.trial_id, self.objective.name)

    def count_failure(self):
        """End the search after too many failures in a row."""
        # KerasTuner raises an error here with its lock held, and counts failures before a resume.
        failed = self.trials[self.end_order[-1]].status == "FAILED"
        self._failures = self._failures + 1 if failed else 0
        if self._failures >= self.max_consecutive_failed_trials:
            self._aborted = True
            _LOG.error("The search stops: %d trials in a row failed.", self._failures)


class ListOracle(SafeOracle):
    """Runs every choice of a list in order; KerasTuner's grid loses its position after a kill.

    Args:
        candidates: Dictionaries of hyperparameters.
        **kwargs: Arguments of `keras_tuner.Oracle`.
    """

    def __init__(self, candidates, **kwargs):
        super().__init__(**kwargs)
        self.candidates = list(candidates)

    def populate_space(self, trial_id):
        """The first candidate without a trial."""
        tried = [trial.hyperparameters.values for trial in self.trials.values()]
        for candidate in self.candidates:
            if not any(candidate.items() <= values.items() for values in tried):
                return {"status": "RUNNING", "values": dict(candidate)}
        return WAITING if self.ongoing_trials else DONE


class RandomOracle(SafeOracle, keras_tuner.oracles.RandomSearchOracle):
    """KerasTuner's random search."""


class BayesianOracle(SafeOracle, keras_tuner.oracles.BayesianOptimizationOracle):
    """KerasTuner's Bayesian optimisation."""


class HyperbandOracle(SafeOracle, keras_tuner.oracles.HyperbandOracle):
    """KerasTuner's Hyperband."""


def declare_combination(hyperparameters, space):
    """Register operator, width and learning rate."""
    for name, choices in zip(
        COMBINATION, (space.operators, space.widths, space.learning_rates), strict=True
    ):
        hyperparameters.Choice(name, list(choices), default=choices[0])

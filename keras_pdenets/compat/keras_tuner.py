"""Private names of KerasTuner."""

import contextlib
import threading
from pathlib import Path

from keras_tuner.src.engine import oracle as engine


class OracleHooks:
    """Public names for the private methods that KerasTuner calls on its oracles."""

    def _save_trial(self, trial):
        self.save_trial(trial)

    def _retry(self, trial):
        again = super()._retry(trial)
        if again:
            self.begin_again(trial)
        return again

    def _check_consecutive_failures(self):
        self.count_failure()


class TunerHooks:
    """Overrides of private methods of KerasTuner's tuners."""

    def _configure_tensorboard_dir(self, callbacks, trial, execution=0):
        # KerasTuner imports tensorboard here, which TensorFlow no longer installs.
        pass


def oracle_file(oracle):
    """File with the state of an oracle."""
    return Path(oracle._get_oracle_fname())


def trial_folder(oracle, trial_id):
    """Folder of a trial of an oracle; it is created."""
    return Path(oracle._get_trial_dir(trial_id))


def run_again(oracle, trial_ids):
    """Make an oracle hand out trials again, the last one first."""
    oracle._retry_queue = list(trial_ids)


def draw_often(oracle, times):
    """How often an oracle may draw a known combination before it considers all of them tried."""
    oracle._max_collisions = times


def first_round_sizes(oracle):
    """Number of trials in the first round of each bracket of a Hyperband oracle."""
    return [oracle._get_size(bracket, 0) for bracket in range(oracle._get_num_brackets())]


@contextlib.contextmanager
def lock_freed(oracle):
    """Release KerasTuner's lock of an oracle after an error, which KerasTuner does not do."""
    name = threading.current_thread().name
    outermost = engine.THREADS[oracle] != name
    try:
        yield
    except BaseException:
        if outermost and engine.THREADS[oracle] == name:
            engine.THREADS[oracle] = None
            engine.LOCKS[oracle].release()
        raise


def is_worker(tuner):
    """Whether a tuner uses the oracle of another process."""
    return tuner._is_worker()


def tuner_file(tuner):
    """File with the state of a tuner."""
    return Path(tuner._get_tuner_fname())


def checkpoint_file(tuner, trial_id):
    """File with the weights of a trial."""
    return tuner._get_checkpoint_fname(trial_id)


def build_model(tuner, hyperparameters):
    """The model of a trial, with KerasTuner's checks."""
    return tuner._try_build(hyperparameters)

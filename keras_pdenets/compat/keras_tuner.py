"""Private names of KerasTuner."""

import contextlib
import threading
from pathlib import Path

from keras_tuner.src.engine import oracle as engine


class OracleHooks:
    """What KerasTuner calls of its oracles under private names, under public ones."""

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
    """What KerasTuner's tuners do under private names."""

    def _configure_tensorboard_dir(self, callbacks, trial, execution=0):
        # KerasTuner imports tensorboard here, which TensorFlow does not bring any more.
        pass


def oracle_file(oracle):
    """Where an oracle keeps its state."""
    return Path(oracle._get_oracle_fname())


def trial_folder(oracle, trial_id):
    """Where an oracle keeps a trial; it is made."""
    return Path(oracle._get_trial_dir(trial_id))


def run_again(oracle, trial_ids):
    """Have an oracle give out trials once more, the last one first."""
    oracle._retry_queue = list(trial_ids)


def draw_often(oracle, times):
    """Have an oracle draw so often until it takes all combinations for tried."""
    oracle._max_collisions = times


def first_round_sizes(oracle):
    """Number of trials in the first round of each bracket of a Hyperband oracle."""
    return [oracle._get_size(bracket, 0) for bracket in range(oracle._get_num_brackets())]


@contextlib.contextmanager
def lock_freed(oracle):
    """Free KerasTuner's lock of an oracle after an error, which KerasTuner leaves held."""
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
    """Whether a tuner asks the oracle of another process."""
    return tuner._is_worker()


def tuner_file(tuner):
    """Where a tuner keeps its state."""
    return Path(tuner._get_tuner_fname())


def checkpoint_file(tuner, trial_id):
    """Where a tuner keeps the weights of a trial."""
    return tuner._get_checkpoint_fname(trial_id)


def build_model(tuner, hyperparameters):
    """The model of a trial, with KerasTuner's checks."""
    return tuner._try_build(hyperparameters)

"""The tuner: each trial is one training, of a growing net or from scratch."""

import json
import logging
import os
import time
from pathlib import Path

import keras
import keras_tuner

from keras_pdenets.compat.keras_tuner import (
    TunerHooks,
    build_model,
    checkpoint_file,
    is_worker,
    tuner_file,
)
from keras_pdenets.search.fitting import HoldThenDecay, SaveState, ShuffledBatches
from keras_pdenets.search.folder import (
    check_folder,
    count_start,
    describe,
    read_result,
    writable,
)
from keras_pdenets.search.oracles import SafeOracle
from keras_pdenets.search.results import best_trial
from keras_pdenets.search.space import depths_of
from keras_pdenets.training import PerturbationLogger, state
from keras_pdenets.training.models import without_eager_jax
from keras_pdenets.transforms.deepening import deepen
from keras_pdenets.utils.atomic import remove_leftovers, write_file
from keras_pdenets.utils.locking import hold
from keras_pdenets.utils.text import printable

_LOG = logging.getLogger("keras_pdenets")
_STATE, _RESULT, _ERROR = "state.safetensors", "result.json", "error.txt"
_STARTS = "starts.txt"
_NOT_TAKEN = (
    "executions_per_trial", "optimizer", "loss", "metrics", "distribution_strategy",
)  # fmt: skip
_PROBE_IMAGES = 512
_LONGEST_WAIT = 5.0
_LONGEST_REASON = 500  # characters


class DepthTuner(TunerHooks, keras_tuner.Tuner):
    """Runs the trials of any oracle of this package with the same training code.

    A trial starts from the weights of its parent, if any (`"tuner/trial_id"`, with inserted blocks
    if it is deeper), keeps the learning rate constant and lets it decay to 0 in its last
    `"tuner/anneal"` epochs. Its state is saved after every epoch, from which a killed trial
    resumes. A trial that fails, by an error or a loss that is not finite, does not end the search;
    `error.txt` in its folder says why.

    Args:
        oracle: An oracle made by `make_oracle`, or any other that is a `SafeOracle`.
        hypermodel: A `DepthHyperModel`.
        **kwargs: Arguments of `keras_tuner.Tuner`, such as `directory` and `project_name`; not
            those of the training, which the space sets.

    Raises:
        ValueError: If the folder holds the search of another space or oracle.
        RuntimeError: If another process is using the folder.

    Example:
    >>> import numpy as np, tempfile
    >>> from keras_pdenets.search import DepthHyperModel, DepthTuner, SearchSpace, make_oracle
    >>> space = SearchSpace(filters=(4, 4, 4), rules={"start": (1, 1, 1), "max_blocks": 1})
    >>> model = DepthHyperModel(space, input_shape=(8, 8, 1), classes=2)
    >>> tuner = DepthTuner(make_oracle("depth", space), model, directory=tempfile.mkdtemp())
    """

    def __init__(self, oracle, hypermodel, **kwargs):
        if not isinstance(oracle, SafeOracle):
            raise ValueError(
                "`oracle` must be one of keras_pdenets.search, since KerasTuner's own lose trials "
                f"when they are killed. Received: {type(oracle).__name__}"
            )
        refused = [name for name in _NOT_TAKEN if name in kwargs]
        if refused:
            raise ValueError(
                f"`{refused[0]}` is set by the search space. Received: "
                f"{refused[0]}={kwargs[refused[0]]!r}"
            )
        self.space = hypermodel.space
        self._idle = 0
        project = kwargs.get("project_name") or "untitled_project"
        folder = Path(kwargs.get("directory") or ".", project)
        going_on = (folder / "oracle.json").exists() and not kwargs.get("overwrite")
        if going_on:
            check_folder(folder, oracle, self.space)
        worker = os.environ.get("KERASTUNER_TUNER_ID", "chief") != "chief"
        _reach_chief_directly()
        if not worker:
            hold(folder)
        super().__init__(oracle, hypermodel, **kwargs)
        if worker:
            return
        write_file(folder / "space.json", describe(oracle, self.space))
        # KerasTuner itself resumes only if a tuner of this name has finished a trial.
        if going_on:
            oracle.reload()
        self.save()

    def save(self):
        """Save the state of oracle and tuner."""
        if not is_worker(self):
            self.oracle.save()
        write_file(tuner_file(self), json.dumps(self.get_state()))

    def pre_create_trial(self):
        """Wait longer each time the oracle has nothing to do."""
        if self._idle:
            time.sleep(min(_LONGEST_WAIT, 0.1 * 2.0 ** min(self._idle, 10)))
        self._idle += 1

    def on_trial_begin(self, trial):
        """Stop waiting."""
        self._idle = 0
        super().on_trial_begin(trial)

    def on_trial_end(self, trial):
        """Save the reason of a failure, which gRPC would drop, then report."""
        if trial.message:
            trial.message = writable(trial.message)
            path = Path(self.get_trial_dir(trial.trial_id)) / _ERROR
            write_file(path, trial.message)
            reason = printable(trial.message.rpartition("\n")[2], _LONGEST_REASON)
            _LOG.warning("Trial %s failed: %s (%s)", trial.trial_id, reason, path)
        super().on_trial_end(trial)

    def run_trial(self, trial, x, y, validation_data, verbose=0, callbacks=()):
        """Train the model of a trial and return its metrics.

        Args:
            trial: The `keras_tuner` trial.
            x: Images, pixels 0-255.
            y: Integer labels.
            validation_data: Images and labels for the objective.
            verbose: As in `keras.Model.fit`.
            callbacks: Additional callbacks.
        """
        folder = Path(self.get_trial_dir(trial.trial_id))
        remove_leftovers(folder)
        if (folder / _RESULT).exists():
            return read_result(folder / _RESULT)
        values = trial.hyperparameters.values
        first = values.get("tuner/initial_epoch", 0)
        epochs = values.get("tuner/epochs", self.space.epochs) - first
        keras.utils.set_random_seed(self.space.seed)
        model = build_model(self, trial.hyperparameters)
        steps = max(1, len(x) // self.space.batch_size)
        self._compile(model, values, epochs, steps)
        history = []
        if (folder / _STATE).exists():
            restored, history, _ = state.read_state(folder / _STATE, self.space)
            state.restore(model, restored)
        elif values.get("tuner/trial_id") is not None:
            self._start_from(model, values["tuner/trial_id"])
        done = len(history)
        count_start(folder / _STARTS, done)
        if done < epochs:
            probe = PerturbationLogger(
                validation_data[0][:_PROBE_IMAGES], folder / "perturbations.csv"
            )
            model.fit(
                ShuffledBatches(x, y, self.space.batch_size, self.space.seed, first + done),
                initial_epoch=done,
                epochs=epochs,
                validation_data=validation_data,
                validation_batch_size=500,
                shuffle=False,
                verbose=verbose,
                callbacks=[probe, *callbacks, SaveState(folder / _STATE, self.space, history)],
            )
        model.save_weights(checkpoint_file(self, trial.trial_id))
        result = self._result(model, values, history, len(x))
        write_file(folder / _RESULT, json.dumps(result))
        (folder / _STATE).unlink(missing_ok=True)
        return result

    def _compile(self, model, values, epochs, steps):
        full = epochs + values.get("tuner/initial_epoch", 0) >= self.space.epochs
        anneal = values.get("tuner/anneal", self.space.anneal_epochs if full else 0)
        anneal = min(anneal, epochs)
        rate = HoldThenDecay(
            values["learning_rate"], steps // 2, (epochs - anneal) * steps, anneal * steps
        )
        model.compile(
            keras.optimizers.Adam(rate),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=[keras.metrics.SparseCategoricalAccuracy("accuracy")],
            jit_compile=without_eager_jax(self.space.jit_compile),
            # More than one step raises an error on torch.
            steps_per_execution=1,
        )
        model.optimizer.build(model.trainable_variables)

    def _start_from(self, model, parent):
        """Start from a finished trial's weights; new blocks keep their initial ones."""
        deepen(self.load_model(self.oracle.get_trial(parent)), model)

    def get_best_models(self, num_models=1):
        """The net that is the result of the search, in a list of one.

        In a depth search it is the last annealed net, not an intermediate one.
        """
        if num_models != 1:
            raise ValueError(f"`num_models` must be 1. Received: num_models={num_models}")
        return [self.load_model(best_trial(self.oracle, self.space))]

    def load_model(self, trial):
        """The trained model of a trial."""
        model = self.hypermodel.build(trial.hyperparameters)
        model.load_weights(checkpoint_file(self, trial.trial_id))
        return model

    def _result(self, model, values, history, images):
        depths = depths_of(values, self.space.sections)
        return history[-1] | {
            "block_epochs": len(history) * sum(depths) / len(depths),
            "sample_passes": float(len(history) * images),
            "parameters": float(model.count_params()),
            "seconds": sum(row["seconds"] for row in history),
        }


def _reach_chief_directly():
    """Bypass proxies for the chief, which mostly runs on this machine."""
    chief = os.environ.get("KERASTUNER_ORACLE_IP")
    if chief:
        own, others = "no_grpc_proxy", "no_proxy"  # gRPC reads the second if the first is not set
        directly = os.environ.get(own, os.environ.get(others, ""))
        os.environ[own] = ",".join(filter(None, [directly, chief]))

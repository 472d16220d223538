"""The tuner: one trial is one training, of a growing net or of one built at once."""

import json
import logging
import time
from pathlib import Path

import keras
import keras_tuner
import numpy as np

from keras_pdenets.hub.atomic import replace_file
from keras_pdenets.search.batches import ShuffledBatches
from keras_pdenets.search.oracles import SafeOracle, declare_combination
from keras_pdenets.search.space import depths_of
from keras_pdenets.training import PerturbationLogger, state
from keras_pdenets.transforms.growth import grow

_LOG = logging.getLogger("keras_pdenets")
_STATE, _RESULT, _ERROR = "state.safetensors", "result.json", "error.txt"
_PROBE_IMAGES = 512
_LONGEST_WAIT = 5.0


class HoldThenDecay(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises in a straight line, stays, and falls to 0 at the end.

    Args:
        learning_rate: The rate.
        warmup_steps: Steps in which it rises: Adam's first steps would undo what a net brings.
        hold_steps: Steps before it falls.
        decay_steps: Steps in which it falls; 0: it does not.
    """

    def __init__(self, learning_rate, warmup_steps, hold_steps, decay_steps):
        self.learning_rate = learning_rate
        self.warmup_steps = warmup_steps
        self.hold_steps = hold_steps
        self.decay_steps = decay_steps

    def __call__(self, step):
        """The rate at a step."""
        step = keras.ops.cast(step, "float32")
        share = keras.ops.clip((step + 1.0) / max(self.warmup_steps, 1), 0.0, 1.0)
        if self.decay_steps:
            done = (step - self.hold_steps) / self.decay_steps
            share = share * (1.0 - keras.ops.clip(done, 0.0, 1.0))
        return self.learning_rate * share

    def get_config(self):
        """The arguments."""
        return {
            "learning_rate": self.learning_rate,
            "warmup_steps": self.warmup_steps,
            "hold_steps": self.hold_steps,
            "decay_steps": self.decay_steps,
        }


class DepthHyperModel(keras_tuner.HyperModel):
    """The models of a `SearchSpace`.

    Args:
        space: The space.
        input_shape: Shape of an image.
        classes: Number of classes.
    """

    def __init__(self, space, input_shape, classes):
        super().__init__()
        self.space = space
        self.input_shape = tuple(input_shape)
        self.classes = classes

    def declare_hyperparameters(self, hp):
        """Register what an oracle without a space of its own has to choose."""
        if "depth_0" not in hp:
            hp.Choice("depth", list(self.space.depths), ordered=True)
        declare_combination(hp, self.space)

    def build(self, hp):
        """The untrained model of a trial, with logits as its output."""
        return self.space.build(hp.values, self.input_shape, self.classes)


class _SaveState(keras.callbacks.Callback):
    """Puts everything on disk that a resume needs, after every epoch."""

    def __init__(self, path, space, history):
        super().__init__()
        self.path, self.space, self.history = path, space, history

    def on_epoch_begin(self, epoch, logs=None):
        self.begin = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        if not np.isfinite(logs["loss"]):
            raise keras_tuner.errors.FailedTrialError(
                f"The loss is {logs['loss']} after epoch {epoch + 1}: the training diverged."
            )
        row = {key: float(value) for key, value in logs.items()}
        self.history.append(row | {"seconds": time.monotonic() - self.begin})
        state.write_state(self.path, state.capture(self.model), self.history, self.space)


class DepthTuner(keras_tuner.Tuner):
    """Runs the trials of any oracle of this package, one training code for all of them.

    A trial begins from its parent's weights where it has one (`"tuner/trial_id"`, with inserted
    blocks where it is deeper), holds the learning rate and lets it fall to 0 in its last
    `"tuner/anneal"` epochs. Its state is on disk after every epoch: a trial that was killed goes
    on there. A trial that fails, by an error or a loss that is not finite, ends nothing but
    itself; `error.txt` in its folder says why.

    Args:
        oracle: An oracle made by `make_oracle`, or any other that is a `SafeOracle`.
        hypermodel: A `DepthHyperModel`.
        **kwargs: Arguments of `keras_tuner.Tuner`, such as `directory` and `project_name`.

    Raises:
        ValueError: If the folder holds the search of another space or oracle.

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
                "`oracle` must be one of keras_pdenets.search: KerasTuner's own lose trials when "
                f"they are killed. Received: {type(oracle).__name__}"
            )
        self.space = hypermodel.space
        self._idle = 0
        folder = Path(kwargs.get("directory") or ".") / (
            kwargs.get("project_name") or "untitled_project"
        )
        if not kwargs.get("overwrite"):
            _check_folder(folder, oracle, self.space)
        going_on = (folder / "oracle.json").exists() and not kwargs.get("overwrite")
        super().__init__(oracle, hypermodel, **kwargs)
        text = _description(oracle, self.space)
        replace_file(folder / "space.json", lambda path: path.write_text(text))
        if not self._is_worker():
            # KerasTuner goes on only with what a tuner of this name left after a whole trial.
            if going_on:
                oracle.reload()
            self.save()

    def _configure_tensorboard_dir(self, callbacks, trial, execution=0):
        # KerasTuner imports tensorboard here, which TensorFlow does not bring any more.
        pass

    def save(self):
        """Write the state of oracle and tuner."""
        if not self._is_worker():
            self.oracle.save()
        text = json.dumps(self.get_state())
        replace_file(Path(self._get_tuner_fname()), lambda path: path.write_text(text))

    def pre_create_trial(self):
        """Wait a little longer every time that the oracle has nothing to do."""
        if self._idle:
            time.sleep(min(_LONGEST_WAIT, 0.1 * 2.0 ** min(self._idle, 10)))
        self._idle += 1

    def on_trial_begin(self, trial):
        """Stop waiting."""
        self._idle = 0
        super().on_trial_begin(trial)

    def on_trial_end(self, trial):
        """Keep the reason of a failure, which gRPC would drop, then report."""
        if trial.message:
            path = Path(self.get_trial_dir(trial.trial_id)) / _ERROR
            replace_file(path, lambda temporary: temporary.write_text(trial.message))
            reason = trial.message.strip().splitlines()[-1]
            _LOG.warning("Trial %s failed: %s (%s)", trial.trial_id, reason, path)
        super().on_trial_end(trial)

    def run_trial(self, trial, x, y, validation_data, verbose=0, callbacks=()):
        """Train the model of a trial and return its metrics.

        Args:
            trial: The `keras_tuner` trial.
            x: Images, pixels 0-255.
            y: Integer labels.
            validation_data: Images and labels that the objective is measured on.
            verbose: As in `keras.Model.fit`.
            callbacks: More callbacks.
        """
        folder = Path(self.get_trial_dir(trial.trial_id))
        if (folder / _RESULT).exists():
            return json.loads((folder / _RESULT).read_text())
        values = trial.hyperparameters.values
        first = values.get("tuner/initial_epoch", 0)
        epochs = values.get("tuner/epochs", self.space.epochs) - first
        keras.utils.set_random_seed(self.space.seed)
        model = self._try_build(trial.hyperparameters)
        steps = max(1, len(x) // self.space.batch_size)
        self._compile(model, values, epochs, steps)
        history = []
        if (folder / _STATE).exists():
            restored, history, _ = state.read_state(folder / _STATE, self.space)
            state.restore(model, restored)
        elif values.get("tuner/trial_id") is not None:
            self._start_from(model, values["tuner/trial_id"])
        done = len(history)
        if done < epochs:
            model.fit(
                ShuffledBatches(x, y, self.space.batch_size, self.space.seed, first + done),
                initial_epoch=done,
                epochs=epochs,
                validation_data=validation_data,
                validation_batch_size=500,
                shuffle=False,
                verbose=verbose,
                callbacks=[
                    PerturbationLogger(x[:_PROBE_IMAGES], folder / "perturbations.csv"),
                    *callbacks,
                    _SaveState(folder / _STATE, self.space, history),
                ],
            )
        model.save_weights(self._get_checkpoint_fname(trial.trial_id))
        result = self._result(model, values, history, len(x))
        replace_file(folder / _RESULT, lambda path: path.write_text(json.dumps(result)))
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
            jit_compile=self.space.jit_compile,
            # More would raise an error on torch.
            steps_per_execution=1,
        )
        model.optimizer.build(model.trainable_variables)

    def _start_from(self, model, parent):
        """Take a finished trial's weights; blocks that it has not keep their start."""
        source = self.load_model(self.oracle.get_trial(parent))
        grow(source, model)

    def load_model(self, trial):
        """The trained model of a trial."""
        model = self.hypermodel.build(trial.hyperparameters)
        model.load_weights(self._get_checkpoint_fname(trial.trial_id))
        return model

    def _result(self, model, values, history, images):
        depths = depths_of(values, self.space.sections)
        return history[-1] | {
            "block_epochs": len(history) * sum(depths) / len(depths),
            "sample_passes": float(len(history) * images),
            "parameters": float(model.count_params()),
            "seconds": sum(row["seconds"] for row in history),
        }


def _description(oracle, space):
    kind = type(oracle).__name__
    return json.dumps({"oracle": kind, "space": json.loads(space.to_json())}, indent=1) + "\n"


def _check_folder(folder, oracle, space):
    path = folder / "space.json"
    if not path.exists():
        return
    old, new = json.loads(path.read_text()), json.loads(_description(oracle, space))
    if old == new:
        return
    if old["oracle"] != new["oracle"]:
        difference = f"oracle {old['oracle']}, not {new['oracle']}"
    else:
        fields = [k for k in new["space"] if old["space"].get(k) != new["space"][k]]
        difference = ", ".join(
            f"{k} {old['space'].get(k)!r}, not {new['space'][k]!r}" for k in fields
        )
    raise ValueError(
        f"{folder} holds another search ({difference}). Give it the old space to go on, another "
        "folder to start anew, or overwrite=True to throw the old one away."
    )

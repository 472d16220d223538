"""What `fit` does besides training in the epochs of a run: measure, write down, stop in time."""

import time

import keras

from keras_pdenets.data.keras_layers import Augmenter
from keras_pdenets.hub.files import write_weights
from keras_pdenets.training import state
from keras_pdenets.training.callbacks.divergence import RecoverFromDivergence
from keras_pdenets.training.models import compiled_model
from keras_pdenets.utils.tables import write_rows


class Measure(keras.callbacks.Callback):
    """Takes the batches to each epoch, and measures the net after it; goes before all others.

    Others find what is measured as `val_loss` and `val_accuracy`. Where the run averages the
    weights, it is the average that is measured.

    Args:
        run: The `Run`.
        batches: The `data.Batches` of the phase.
        tests: Batches to measure on.
    """

    def __init__(self, run, batches, tests):
        super().__init__()
        self._run, self._batches, self._tests = run, batches, tests

    def on_epoch_begin(self, epoch, logs=None):
        """The batches of this epoch."""
        self._run.begin = time.monotonic()
        self._batches.set_epoch(epoch)

    def on_epoch_end(self, epoch, logs=None):
        """Measure."""
        run, model = self._run, self.model
        run.group.merge(model)
        trained = state.capture(model) if run.recipe.ema else None
        if trained:
            model.optimizer.finalize_variable_values(model.trainable_variables)
        with run.group.alone():
            evaluated = run.group.to_evaluate(model, run.build)
            measured = evaluated.evaluate(self._tests, verbose=0, return_dict=True)
        row = {f"test_{key}": value for key, value in measured.items()}
        if run.recipe.keep == "best" and run.group.first and is_better(row, best_of(run.history)):
            write_weights(model, run.weights, run.recipe.checkpoint)
        if trained:
            state.restore(model, trained)
        logs |= {f"val_{key}": value for key, value in measured.items()}


class Record(keras.callbacks.Callback):
    """Writes state and log after each epoch; goes behind all others, which may change the net.

    Args:
        run: The `Run`.
        side: Side of the images, for the log.
    """

    def __init__(self, run, side):
        super().__init__()
        self._run, self._side = run, side

    def on_epoch_end(self, epoch, logs=None):
        """Write, and stop where the next epoch would end too late."""
        run = self._run
        names = ("loss", "accuracy")
        row = run.group.mean({name: logs[name] for name in names})
        row |= {f"test_{name}": logs[f"val_{name}"] for name in names}
        row = {"epoch": epoch + 1, "image_size": self._side} | row
        row["seconds"] = round(time.monotonic() - run.begin, 2)
        if run.guards:
            row["recoveries"] = sum(guard.total for guard in run.guards)
        run.history.append(run.group.share(row))
        run.values = state.capture(self.model)
        if run.group.first:
            state.write_state(run.paths[0], run.values, run.history, run.recipe)
            write_rows(run.paths[1], run.history)
        if run.must_stop():
            run.stopped = self.model.stop_training = True


class Run:
    """A run of a recipe: how far it is, and what its callbacks share.

    Args:
        recipe: The recipe.
        group: The `DeviceGroup`.
        sources: Images to train on, and images to measure on.
        paths: State, log and weights.
        limit: Minutes, or None.
        started: When the run was started, of `time.monotonic`.

    Attributes:
        history: Rows of the log so far.
        values: State after the last epoch.
        augment: What Keras' layers do to the batches, or None.
        guards: The callbacks that may cut the learning rate.
        begin: When the epoch began.
        stopped: Whether time was short.
    """

    def __init__(self, recipe, group, sources, paths, limit, started):
        self.recipe, self.group = recipe, group
        *self.paths, self.weights = paths
        self.source, self.test = sources
        self.limit, self.started = limit, started
        layers, classes = recipe.augmentations, recipe.checkpoint.classes
        self.augment = Augmenter(layers, classes) if layers else None
        self.history, self.guards = [], []
        self.values, self.begin, self.stopped = None, started, False

    def build(self):
        """Another model like the one that is trained."""
        return compiled_model(self.recipe, self.source)

    def must_stop(self):
        """Whether an epoch is left that would end too late."""
        if len(self.history) == self.recipe.epochs:
            return False
        end = time.monotonic() - self.started + expected_seconds(self.recipe, self.history)
        return self.group.share(self.limit is not None and end > 60 * self.limit)

    def end_of_phase(self):
        """Number of epochs at the end of the phase that the run is in."""
        end = 0
        for phase in self.recipe.stages:
            end += phase.epochs
            if end > len(self.history):
                break
        return end


def is_better(row, best):
    """Whether a row of a log is better than another, or than none: accuracy, then loss."""
    if best is None:
        return True
    return (row["test_accuracy"], -row["test_loss"]) > (best["test_accuracy"], -best["test_loss"])


def best_of(history):
    """The best row of a log, or None; of equals the first."""
    best = None
    for row in history:
        best = row if is_better(row, best) else best
    return best


def expected_seconds(recipe, history):
    """Length of the next epoch: as the last one, in proportion to the pixels."""
    if not history:
        return 0.0
    size = recipe.image_size(len(history)) or max(recipe.checkpoint.input_shape[:2])
    before = recipe.image_size(len(history) - 1) or max(recipe.checkpoint.input_shape[:2])
    return history[-1]["seconds"] * max(1.0, size / before) ** 2


def guards_of(callbacks, model, history):
    """The guards against divergence among callbacks, told what they cut before a resume."""
    guards = [c for c in callbacks if isinstance(c, RecoverFromDivergence)]
    cut = int(history[-1].get("recoveries", 0)) if history else 0
    if guards and cut:
        guards[0].resume(model, cut)
    return guards

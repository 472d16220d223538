"""A complete search: data, trials, the resulting net and its cost."""

from pathlib import Path

import numpy as np

from keras_pdenets.analysis import measure_perturbation
from keras_pdenets.builders.pixels import warn_of_small_pixels
from keras_pdenets.compat.keras_tuner import is_worker
from keras_pdenets.data import DataSource
from keras_pdenets.search.choose import make_oracle
from keras_pdenets.search.hypermodel import DepthHyperModel
from keras_pdenets.search.oracles import COMBINATION
from keras_pdenets.search.results import SearchResult, best_trial, metric, write_trials
from keras_pdenets.search.space import depths_of
from keras_pdenets.search.tuner import DepthTuner

PROJECT, TRIALS, RESULT = "trials", "trials.csv", "result.json"


def load_split(space, split, data_dir=None):
    """Images (float32, 0-255) and labels of a split, as arrays."""
    source = DataSource(space.dataset, split, data_dir)
    batches = source.batches(1000, space.image_size)
    images, labels = (np.concatenate(part) for part in zip(*batches, strict=True))
    return images, labels


def run_search(
    kind, space, folder, max_trials=None, data=None, data_dir=None, verbose=0, oracle=None
):  # fmt: skip
    """Run or resume a search; write its table and its result.

    Run with KerasTuner's environment variables (`keras-pdenets search --workers` sets them), this
    is the chief or a worker of a distributed search: a worker returns None.

    Args:
        kind: `"depth"`, `"grid"`, `"random"`, `"bayesian"` or `"hyperband"`.
        space: The `SearchSpace`.
        folder: Folder of the search: trials, `trials.csv`, `result.json`.
        max_trials: Largest number of trials; required for random and Bayesian search.
        data: Three pairs of images and labels: for training, for validation, and for the test of
            the result. None: the data set that the space names.
        data_dir: Folder of TFDS.
        verbose: As in `keras.Model.fit`.
        oracle: An oracle to use instead of that of `kind`.

    Returns:
        The `SearchResult`.

    Raises:
        ValueError: If the folder holds another search.
        RuntimeError: If no trial succeeded, or another process uses the folder.

    Example:
    >>> import tempfile
    >>> import keras_pdenets
    >>> from keras_pdenets.search import SearchSpace, run_search
    >>> images, labels = keras_pdenets.data.load_sample()
    >>> small = images[:200, ::4, ::4].astype("float32"), labels[:200]
    >>> space = SearchSpace(filters=(8, 8, 8), depths=(1,), epochs=1, anneal_epochs=1)
    >>> result = run_search("grid", space, tempfile.mkdtemp(), data=(small, small, small))
    >>> result.depths, result.trials
    ((1, 1, 1), 1)
    """
    folder = Path(folder)
    oracle = oracle or make_oracle(kind, space, max_trials)
    if data is None:
        splits = (space.train_split, space.validation_split, space.test_split)
        data = [load_split(space, split, data_dir) for split in splits]
    (x, y), validation, test = data
    model = DepthHyperModel(space, x.shape[1:], int(np.max(y)) + 1)
    tuner = DepthTuner(oracle, model, directory=str(folder), project_name=PROJECT)
    warn_of_small_pixels(None, x)  # hours before the measurement would
    tuner.search(x, y, validation_data=validation, verbose=verbose)
    if is_worker(tuner):
        return None
    write_trials(oracle, space, folder / TRIALS)
    best = best_trial(oracle, space)
    result = _measure(kind, oracle, space, tuner, best, validation, test)
    result.write(folder / RESULT)
    return result


def _measure(kind, oracle, space, tuner, best, validation, test):
    model = tuner.load_model(best)
    values = best.hyperparameters.values
    report = measure_perturbation(model, validation[0])
    accuracies = [_accuracy(model, *split) for split in (validation, test)]
    means = tuple(float(s.mean) for s in report.sections)
    largest = tuple(float(s.largest) for s in report.sections)
    epsilon = values.get("epsilon")
    bounded = largest if space.rules.largest else means
    costs = {
        name: sum(metric(t, name) for t in oracle.trials.values())
        for name in ("block_epochs", "sample_passes", "seconds")
    }
    return SearchResult(
        kind, best.trial_id, depths_of(values, space.sections),
        {name: values[name] for name in COMBINATION},
        epsilon, means, largest,
        None if epsilon is None else all(value <= epsilon for value in bounded),
        *accuracies, model.count_params(), **costs, trials=len(oracle.trials),
        failed=sum(t.status == "FAILED" for t in oracle.trials.values()),
    )  # fmt: skip


def _accuracy(model, images, labels):
    logits = model.predict(images, batch_size=500, verbose=0)
    return float((logits.argmax(axis=-1) == labels).mean())

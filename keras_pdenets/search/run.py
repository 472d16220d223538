"""A whole search: data, trials, the net that it returns, and what it cost."""

import csv
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from keras_pdenets.analysis import measure_perturbation
from keras_pdenets.data import DataSource
from keras_pdenets.hub.atomic import replace_file
from keras_pdenets.search.oracles import DepthOracle, make_oracle
from keras_pdenets.search.plan import ANNEAL
from keras_pdenets.search.space import depths_of
from keras_pdenets.search.tuner import DepthHyperModel, DepthTuner

PROJECT, TRIALS, RESULT = "trials", "trials.csv", "result.json"


@dataclass(frozen=True)
class SearchResult:
    """What a search returns.

    Args:
        oracle: Kind of search.
        trial: Name of the trial of the net.
        depths: Blocks in each section.
        choice: Operator, width and learning rate.
        epsilon: Bound that the depths were chosen for, or None in searches without one.
        means: Mean scaled perturbation of each section of the net that is returned, measured
            again after its last epoch.
        largest: Largest scaled perturbation of each section.
        satisfied: Whether every mean (or largest change, if the rules bound that) is at or below
            epsilon; None without epsilon.
        validation_accuracy: Of that net.
        test_accuracy: Of that net, measured once.
        parameters: Number of weights.
        block_epochs: Cost of the search: epochs times mean blocks of a section, over all trials.
        sample_passes: Images trained on, over all trials.
        seconds: Time spent in training, over all trials.
        trials: Number of trials.
        failed: Number of trials that failed.
    """

    oracle: str
    trial: str
    depths: tuple[int, ...]
    choice: dict
    epsilon: float | None
    means: tuple[float, ...]
    largest: tuple[float, ...]
    satisfied: bool | None
    validation_accuracy: float
    test_accuracy: float
    parameters: int
    block_epochs: float
    sample_passes: float
    seconds: float
    trials: int
    failed: int

    def __str__(self) -> str:
        """The answer in a few lines."""
        verdict = ""
        if self.epsilon is not None:
            word = "satisfied" if self.satisfied else "VIOLATED"
            verdict = f"epsilon {self.epsilon}: {word}; "
        return (
            f"{self.oracle}: {self.depths} blocks, {self.choice}, {self.parameters:,} parameters\n"
            f"{verdict}mean changes {', '.join(f'{m:.3f}' for m in self.means)}\n"
            f"accuracy: validation {100 * self.validation_accuracy:.2f} %, "
            f"test {100 * self.test_accuracy:.2f} %\n"
            f"cost: {self.block_epochs:.0f} block-epochs, {self.sample_passes:,.0f} images, "
            f"{self.seconds:.0f} s in {self.trials} trials ({self.failed} failed)"
        )


def load_split(space, split, data_dir=None):
    """Images (float32, 0-255) and labels of a split, as arrays."""
    source = DataSource(space.dataset, split, data_dir)
    batches = list(source.batches(1000, space.image_size).as_numpy_iterator())
    images, labels = (np.concatenate(part) for part in zip(*batches, strict=True))
    return images, labels


def make_tuner(oracle, space, folder, images, labels):
    """The tuner of a search in `folder`."""
    model = DepthHyperModel(space, images.shape[1:], int(labels.max()) + 1)
    return DepthTuner(oracle, model, directory=str(folder), project_name=PROJECT)


def run_search(kind, space, folder, max_trials=None, data_dir=None, verbose=0, oracle=None):
    """Run a search, or go on with it where it stopped; write its table and its result.

    Run with KerasTuner's environment variables (`keras-pdenets search --workers` sets them), this
    is the chief or a worker of a distributed search: a worker returns None.

    Args:
        kind: `"depth"`, `"grid"`, `"random"`, `"bayesian"` or `"hyperband"`.
        space: The `SearchSpace`.
        folder: Folder of the search: trials, `trials.csv`, `result.json`.
        max_trials: Number of trials at most; random and Bayesian search need it.
        data_dir: Folder of TFDS.
        verbose: As in `keras.Model.fit`.
        oracle: An oracle in place of the one of `kind`.

    Returns:
        The `SearchResult`.

    Raises:
        ValueError: If the folder holds another search.
        RuntimeError: If no trial succeeded.
    """
    folder = Path(folder)
    oracle = oracle or make_oracle(kind, space, max_trials)
    x, y = load_split(space, space.train_split, data_dir)
    validation = load_split(space, space.validation_split, data_dir)
    tuner = make_tuner(oracle, space, folder, x, y)
    tuner.search(x, y, validation_data=validation, verbose=verbose)
    if tuner._is_worker():
        return None
    write_trials(oracle, space, folder / TRIALS)
    best = best_trial(oracle, space)
    result = _measure(kind, oracle, space, tuner, best, validation, data_dir)
    text = json.dumps(asdict(result), indent=1) + "\n"
    replace_file(folder / RESULT, lambda path: path.write_text(text))
    return result


def best_trial(oracle, space):
    """The trial whose net a search returns.

    In a depth search the last annealed net of the best track, in others the best objective.
    """
    finished = [t for t in oracle.get_best_trials(len(oracle.trials)) if t.status == "COMPLETED"]
    if isinstance(oracle, DepthOracle):
        annealed = []
        for _, results in oracle.results()[: space.tracks]:
            last = [r for r in results if r.stage.kind == ANNEAL][-1:]
            annealed.extend(last)
        if annealed:
            sign = 1 if oracle.objective.direction == "max" else -1
            return oracle.get_trial(max(annealed, key=lambda r: sign * r.objective).identifier)
    if not finished:
        raise RuntimeError(
            "No trial of the search succeeded; error.txt in the folders of the trials says why."
        )
    return finished[0]


def _measure(kind, oracle, space, tuner, best, validation, data_dir):
    model = tuner.load_model(best)
    values = best.hyperparameters.values
    report = measure_perturbation(model, validation[0])
    accuracies = [
        _accuracy(model, *split)
        for split in (validation, load_split(space, space.test_split, data_dir))
    ]
    means = tuple(float(s.mean) for s in report.sections)
    largest = tuple(float(s.largest) for s in report.sections)
    epsilon = values.get("epsilon")
    bounded = largest if space.rules.largest else means
    costs = {
        name: sum(_metric(t, name) for t in oracle.trials.values())
        for name in ("block_epochs", "sample_passes", "seconds")
    }
    return SearchResult(
        kind, best.trial_id, depths_of(values, space.sections),
        {name: values[name] for name in ("operator", "width", "learning_rate")},
        epsilon, means, largest,
        None if epsilon is None else all(value <= epsilon for value in bounded),
        *accuracies, model.count_params(), **costs, trials=len(oracle.trials),
        failed=sum(t.status == "FAILED" for t in oracle.trials.values()),
    )  # fmt: skip


def _accuracy(model, images, labels):
    logits = model.predict(images, batch_size=500, verbose=0)
    return float((logits.argmax(axis=-1) == labels).mean())


def _metric(trial, name):
    return trial.metrics.get_last_value(name) if trial.metrics.exists(name) else 0.0


def write_trials(oracle, space, path):
    """Write one row for each trial, in the order of their start."""
    rows = []
    for identifier in oracle.start_order:
        trial = oracle.trials[identifier]
        values = trial.hyperparameters.values
        row = {"trial": identifier, "status": trial.status}
        row["depths"] = " ".join(map(str, depths_of(values, space.sections)))
        row |= {k: values.get(k, "") for k in ("operator", "width", "learning_rate", "epsilon")}
        row["epochs"] = values.get("tuner/epochs", space.epochs)
        row["parent"] = values.get("tuner/trial_id", "")
        for name in ("val_accuracy", "block_epochs", "sample_passes", "seconds"):
            row[name] = _metric(trial, name)
        for section in range(space.sections):
            for name in ("d_scaled", "mean", "largest"):
                row[f"{name}_s{section}"] = _metric(trial, f"{name}_s{section}")
        rows.append(row)

    def write(temporary):
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    if rows:
        replace_file(path, write)

"""The result of a search and its cost."""

from dataclasses import dataclass

from keras_pdenets.search.depth_oracle import DepthOracle
from keras_pdenets.search.plan import ANNEAL
from keras_pdenets.search.space import depths_of
from keras_pdenets.utils.records import Measured, Record
from keras_pdenets.utils.tables import write_rows


@dataclass(frozen=True)
class SearchResult(Record):
    """The result of a search.

    Args:
        oracle: Kind of search.
        trial: Name of the best trial.
        depths: Blocks in each section of its net.
        choice: Operator, width and learning rate.
        epsilon: Bound that the depths were chosen for, or None in searches without one.
        means: Mean scaled perturbation of each section of the net, measured after its last epoch.
        largest: Largest scaled perturbation of each section.
        satisfied: Whether every mean (or largest change, if the rules bound that) is at most
            epsilon; None without epsilon.
        validation_accuracy: Validation accuracy of the net.
        test_accuracy: Test accuracy of the net, measured once.
        parameters: Number of weights.
        block_epochs: Cost of the search: epochs times mean blocks per section, over all
            successful trials.
        sample_passes: Number of training images over all epochs of these trials.
        seconds: Training time of these trials.
        trials: Number of trials.
        failed: Number of trials that failed.

    Example:
    >>> import tempfile
    >>> from pathlib import Path
    >>> from keras_pdenets.search import SearchResult
    >>> choice = {"operator": "pde", "width": 1.0, "learning_rate": 0.003}
    >>> result = SearchResult(
    ...     "depth", "0004", (3, 5, 4), choice, epsilon=0.3, means=(0.21, 0.28, 0.29),
    ...     largest=(0.4, 0.5, 0.5), satisfied=True, validation_accuracy=0.93, test_accuracy=0.92,
    ...     parameters=250_000, block_epochs=48, sample_passes=660_000, seconds=900, trials=5,
    ...     failed=0,
    ... )
    >>> print(str(result).splitlines()[1])
    epsilon 0.3: satisfied; mean changes 0.210, 0.280, 0.290
    >>> path = Path(tempfile.mkdtemp(), "result.json")
    >>> result.write(path)  # as `run_search` does
    >>> SearchResult.from_file(path).depths
    (3, 5, 4)
    """

    oracle: str
    trial: str
    depths: tuple[int, ...]
    choice: dict
    epsilon: float | None
    means: tuple[Measured, ...]
    largest: tuple[Measured, ...]
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
        """The result in a few lines."""
        verdict = ""
        if self.epsilon is not None:
            word = "satisfied" if self.satisfied else "VIOLATED"
            verdict = f"epsilon {self.epsilon}: {word}; "
        if self.satisfied is False:
            verdict += "limited by `max_blocks` or `repairs`; "
        return (
            f"{self.oracle}: {self.depths} blocks, {self.choice}, {self.parameters:,} parameters\n"
            f"{verdict}mean changes {', '.join(f'{m:.3f}' for m in self.means)}\n"
            f"accuracy: validation {100 * self.validation_accuracy:.2f} %, "
            f"test {100 * self.test_accuracy:.2f} %\n"
            f"cost: {self.block_epochs:.0f} block-epochs, {self.sample_passes:,.0f} images, "
            f"{self.seconds:.0f} s in {self.trials} trials ({self.failed} failed)"
        )


def best_trial(oracle, space):
    """The trial whose net is the result of a search.

    In a depth search the last annealed net of the best track, otherwise the best objective.
    """
    finished = [t for t in oracle.get_best_trials(len(oracle.trials)) if t.status == "COMPLETED"]
    if isinstance(oracle, DepthOracle):
        annealed = []
        for _, results in oracle.results()[: space.tracks]:
            last = [r for r in results if r.proposal.kind == ANNEAL][-1:]
            annealed.extend(last)
        if annealed:
            sign = 1 if oracle.objective.direction == "max" else -1
            return oracle.get_trial(max(annealed, key=lambda r: sign * r.objective).identifier)
    if not finished:
        raise RuntimeError(
            "No trial of the search succeeded; see error.txt in the folders of the trials."
        )
    return finished[0]


def metric(trial, name):
    """Last value of a metric, or 0 if a trial has none."""
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
            row[name] = metric(trial, name)
        for section in range(space.sections):
            for name in ("d_scaled", "mean", "largest"):
                row[f"{name}_s{section}"] = metric(trial, f"{name}_s{section}")
        rows.append(row)

    if rows:
        write_rows(path, rows)

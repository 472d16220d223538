"""What a search has found, and what it has cost."""

from dataclasses import dataclass

from keras_pdenets.search.depth_oracle import DepthOracle
from keras_pdenets.search.plan import ANNEAL
from keras_pdenets.search.space import depths_of
from keras_pdenets.utils.records import Measured, Record
from keras_pdenets.utils.tables import write_rows


@dataclass(frozen=True)
class SearchResult(Record):
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
        block_epochs: Cost of the search: epochs times mean blocks of a section, over all
            trials that ended well.
        sample_passes: Images trained on, over the same trials.
        seconds: Time spent in training, over the same trials.
        trials: Number of trials.
        failed: Number of trials that failed.
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
        """The answer in a few lines."""
        verdict = ""
        if self.epsilon is not None:
            word = "satisfied" if self.satisfied else "VIOLATED"
            verdict = f"epsilon {self.epsilon}: {word}; "
        if self.satisfied is False:
            verdict += "`max_blocks` or `repairs` stood in the way; "
        return (
            f"{self.oracle}: {self.depths} blocks, {self.choice}, {self.parameters:,} parameters\n"
            f"{verdict}mean changes {', '.join(f'{m:.3f}' for m in self.means)}\n"
            f"accuracy: validation {100 * self.validation_accuracy:.2f} %, "
            f"test {100 * self.test_accuracy:.2f} %\n"
            f"cost: {self.block_epochs:.0f} block-epochs, {self.sample_passes:,.0f} images, "
            f"{self.seconds:.0f} s in {self.trials} trials ({self.failed} failed)"
        )


def best_trial(oracle, space):
    """The trial whose net a search returns.

    In a depth search the last annealed net of the best track, in others the best objective.
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
            "No trial of the search succeeded; error.txt in the folders of the trials says why."
        )
    return finished[0]


def metric(trial, name):
    """Last value of a metric, or 0 where a trial has none."""
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

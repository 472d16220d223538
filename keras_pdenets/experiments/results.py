"""The results of a protocol's runs, one small file each."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from keras_pdenets.hub.files import load_weights
from keras_pdenets.training.models import build_model, trainable_parameters
from keras_pdenets.training.recipe import Recipe
from keras_pdenets.training.trainer import RECIPE, WEIGHTS, evaluate
from keras_pdenets.transforms import count_operations, fold
from keras_pdenets.utils.machine import machine
from keras_pdenets.utils.names import check_name
from keras_pdenets.utils.records import Measured, Record, check_count, make
from keras_pdenets.utils.text import printable, shown

RESULT = "result.json"
_COLUMNS = {"accuracy", "test_accuracy"}  # those that are plotted


@dataclass(frozen=True)
class RunResult(Record):
    """A finished run.

    Args:
        entry: Name of the net in the protocol.
        seed: Its seed.
        recipe: The recipe, as in `recipe.json`.
        accuracy: Test accuracy in percent, after the last epoch.
        loss: Test cross-entropy.
        images: Number of test images.
        parameters: Trainable weights.
        operations: Operations of the folded net per image, 2 for each product.
        epoch_seconds: Median time of an epoch at full image size.
        machine: Hardware of the run.
        history: Rows of the log.

    Example:
    >>> from keras_pdenets.experiments import RunResult
    >>> net = {"architecture": "preact_resnet20", "input_shape": (28, 28, 1), "classes": 10}
    >>> recipe = {"preset": "conv", "checkpoint": net, "dataset": "fashion_mnist"}
    >>> recipe["stages"] = [{"epochs": 15}]
    >>> log = [{"epoch": 15, "accuracy": 0.95, "test_accuracy": 0.931}]
    >>> result = RunResult(
    ...     "conv", 0, recipe, accuracy=93.1, loss=0.2, images=10_000, parameters=294_842,
    ...     operations=66_100_000, epoch_seconds=60.0, machine="a CPU", history=log,
    ... )
    >>> result.net["architecture"], result.protocol["batch_size"]
    ('preact_resnet20', 128)
    """

    title = "the result of a run"

    entry: str
    seed: int
    recipe: dict[str, Any]
    accuracy: float
    loss: Measured
    images: int
    parameters: int
    operations: int
    epoch_seconds: float
    machine: str
    history: list[dict[str, Measured]]

    def __post_init__(self) -> None:
        """Check every field: the file may come from elsewhere."""
        super().__post_init__()
        check_name("entry", self.entry)
        for name in ("images", "parameters", "operations"):
            check_count(name, getattr(self, name), 2**53)
        # A run of another version may have other fields.
        names = {field.name for field in fields(Recipe)}
        known = make(Recipe, {k: v for k, v in self.recipe.items() if k in names}, "`recipe`")
        whole = {**self.recipe, **json.loads(known.to_json())}
        object.__setattr__(self, "recipe", whole)
        if not self.history or any(not row.keys() >= _COLUMNS for row in self.history):
            raise ValueError(
                f"`history` must be rows with {', '.join(sorted(_COLUMNS))}. "
                f"Received: history={shown(self.history)}"
            )

    @property
    def protocol(self) -> dict[str, Any]:
        """The part of the recipe that must agree in compared runs: all but the net."""
        shared = {k: v for k, v in self.recipe.items() if k not in ("preset", "seed")}
        model = {k: v for k, v in shared["checkpoint"].items()
                 if k not in ("architecture", "options")}  # fmt: skip
        return shared | {"checkpoint": model}

    @property
    def net(self) -> dict[str, Any]:
        """The net of the run."""
        return {k: self.recipe["checkpoint"][k] for k in ("architecture", "options")}


def measure_run(recipe: Recipe, run: Path, history: Any, data_dir: Any) -> RunResult:
    """The result of a trained run."""
    measured = evaluate(
        recipe.checkpoint, run / WEIGHTS, recipe.dataset, recipe.test_split, data_dir
    )
    model = build_model(recipe.checkpoint, sides=recipe.checkpoint.input_shape[:2])
    load_weights(model, run / WEIGHTS)
    whole = max(row["image_size"] for row in history)
    return RunResult(
        entry=recipe.preset,
        seed=recipe.seed,
        recipe=json.loads(recipe.to_json()),
        accuracy=round(measured["accuracy"], 4),
        loss=round(measured["loss"], 6),
        images=measured["images"],
        parameters=trainable_parameters(model),
        operations=count_operations(fold(model, "keep", portable=True)[0]),
        epoch_seconds=float(np.median([r["seconds"] for r in history if r["image_size"] == whole])),
        machine=machine(),
        history=history,
    )


def read_result(folder: Path) -> RunResult:
    """The result in the folder of a run.

    Raises:
        ValueError: If the file is not a result, or the recipe beside it is another.
    """
    path = folder / RESULT
    result = RunResult.from_file(path, nan=True)
    if (folder / RECIPE).is_file():
        beside = json.loads(Recipe.from_file(folder / RECIPE).to_json())
        if beside != result.recipe:
            raise ValueError(
                f"{path} is of another recipe than {folder / RECIPE}. Delete one of the two."
            )
    return result


def read_results(folder: Path, varied: Iterable[str] = ()) -> tuple[list[RunResult], list[str]]:
    """The results in the folder of a protocol, and the names of unfinished runs.

    Args:
        folder: The folder.
        varied: Fields of the recipe that may differ between nets (`Protocol.varied`), but not
            between the runs of one net.

    Raises:
        FileNotFoundError: If there is no run in it.
        ValueError: If the runs are not comparable: their recipes differ.

    Example:
    >>> import tempfile
    >>> from pathlib import Path
    >>> from keras_pdenets.experiments import read_results
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / "pde-seed1").mkdir()  # a run that has not finished
    >>> read_results(folder)
    ([], ['pde-seed1'])
    """
    folder = Path(folder)
    runs = sorted(path for path in folder.glob("*-seed*") if path.is_dir())
    if not runs:
        raise FileNotFoundError(
            f"There is no run in {folder}: `keras-pdenets dev zoo run` creates them."
        )
    done = [path for path in runs if (path / RESULT).is_file()]
    results = [read_result(path) for path in done]
    varied = set(varied)
    shared = [{k: v for k, v in r.protocol.items() if k not in varied} for r in results]
    nets: dict[str, tuple[dict[str, Any], Path]] = {}
    for result, recipe, path in zip(results, shared, done, strict=True):
        _check_alike(shared[0], recipe, done[0], path)
        whole = result.protocol | result.net
        net, first = nets.setdefault(result.entry, (whole, path))
        _check_alike(net, whole, first, path)
    return results, [path.name for path in runs if path not in done]


def _check_alike(first: dict[str, Any], other: dict[str, Any], path: Path, where: Path) -> None:
    names = first | other  # a run of another version may have more
    different = [
        f"{printable(k)} {shown(first.get(k))} and {shown(other.get(k))}"
        for k in names
        if first.get(k) != other.get(k)
    ]
    if different:
        raise ValueError(
            f"Runs of different recipes cannot share a table: {path} and {where} have "
            f"{'; '.join(different)}."
        )

"""How good a fine-tuned net is, and on what images that was found."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_pdenets.utils.json_files import load_json
from keras_pdenets.utils.text import printable

REPORT = "report.json"


@dataclass(frozen=True)
class FinetuneReport:
    """What `finetune` found.

    Args:
        folder: Where its files are.
        preset: What the net was before.
        class_names: Names of the classes.
        images: Number of images of each class in each set.
        phase: `"frozen"` or `"unfrozen"`: where the best epoch was.
        epoch: Its number in that phase, from 1.
        scores: For `validation`, whose images chose the epoch, so that they flatter the net, and
            for `test`, if the folder has such a part: `accuracy` in percent, `confusion` (rows:
            what an image is; columns: what the net says), `precision` and `recall` by class.
        logs: Rows of the log of each phase.
        seconds: Seconds of all epochs.
        machine: What it ran on.

    Example:
    >>> import tempfile
    >>> from pathlib import Path
    >>> from keras_pdenets import FinetuneReport
    >>> folder = tempfile.mkdtemp()
    >>> scores = {"validation": {"accuracy": 75.0, "confusion": [[2, 0], [1, 1]]}}
    >>> report = FinetuneReport(
    ...     folder, "pde_resnet20_fashion_mnist", class_names=("cat", "dog"),
    ...     images={"validation": {"cat": 2, "dog": 2}}, phase="unfrozen", epoch=3, scores=scores,
    ...     logs={}, seconds=60.0, machine="a CPU",
    ... )
    >>> file = Path(folder, "report.json")
    >>> file.write_text(report.to_json()) > 0  # as `finetune` does
    True
    >>> FinetuneReport.read(folder).accuracy
    75.0
    """

    folder: str
    preset: str
    class_names: tuple[str, ...]
    images: dict[str, dict[str, int]]
    phase: str
    epoch: int
    scores: dict[str, dict[str, Any]]
    logs: dict[str, list[dict[str, float]]]
    seconds: float
    machine: str

    @property
    def accuracy(self):
        """In percent, on the images of `test` where there are any, else of `validation`."""
        return self.scores.get("test", self.scores["validation"])["accuracy"]

    def __str__(self):
        """The report in some lines."""
        lines = [
            f"{self.preset} fine-tuned: best after epoch {self.epoch} of phase {self.phase}, "
            f"{self.seconds:.0f} s of training"
        ]
        for name, score in self.scores.items():
            count = sum(self.images[name].values())
            note = ", which chose the epoch" if name == "validation" else ""
            lines.append(f"{score['accuracy']:.2f} % of {count} images ({name}{note})")
            lines += [f"  {line}" for line in _confused(score["confusion"], self.class_names)]
        lines.append(f"Files: {self.folder}")
        return "\n".join(lines)

    def to_json(self):
        """All fields as JSON text; the folder is where the file is."""
        values = asdict(self)
        del values["folder"]
        return json.dumps(values, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def read(cls, folder):
        """The report in a folder.

        Raises:
            ValueError: If the file is none.
        """
        path = Path(folder, REPORT)
        values = load_json(path, nan=True)
        try:
            values["class_names"] = tuple(values["class_names"])
            return cls(folder=str(folder), **values)
        except (TypeError, KeyError) as error:
            raise ValueError(f"{path} is no report of fine-tuning ({error}).") from error


def score(probabilities, labels, classes):
    """Accuracy, confusion matrix, precision and recall of predictions."""
    found = np.asarray(probabilities).argmax(-1)
    confusion = np.zeros((classes, classes), int)
    np.add.at(confusion, (labels, found), 1)
    right = np.diag(confusion)
    shares = {}
    for name, axis in (("precision", 0), ("recall", 1)):
        total = confusion.sum(axis)
        shares[name] = [float(r / t) if t else None for r, t in zip(right, total, strict=True)]
    accuracy = 100 * float(right.sum() / confusion.sum())
    return {"accuracy": accuracy, "confusion": confusion.tolist(), **shares}


def _confused(confusion, names, most=3):
    """What is taken for something else most often."""
    pairs = [
        (count, names[i], names[j])
        for i, row in enumerate(confusion)
        for j, count in enumerate(row)
        if i != j and count
    ]
    for count, is_, said in sorted(pairs, reverse=True)[:most]:
        yield f"{count} of {printable(is_)} taken for {printable(said)}"

"""Plots of perturbations against depth, and of searches for the depth."""

from pathlib import Path

import numpy as np

from keras_pdenets.plots.figure import finish, save_figure, subplots
from keras_pdenets.utils.tables import read_rows

KINDS = (
    ("perturbation", "change of the features"),
    ("scaled", "change / norm of the features"),
)


def plot_sweep(rows, folder):
    """Plot figures 2-7 of Hauser 2019, arXiv 1902.04106, for each start of a sweep.

    `perturbations_START.png`: change by each block, absolute (figure 2) and scaled (5), against its
    place in the section, one line per depth. `distances_START.png`: their sums (3, 6) and means
    (4, 7) against the number of blocks, with 1/L.

    Args:
        rows: Rows of `experiments.sweep.collect`.
        folder: Folder of the PNG files.

    Example:
    >>> import tempfile
    >>> from keras_pdenets.plots import plot_sweep
    >>> row = {"start": "zero", "section": "0", "kind": "identity"}
    >>> row |= {"perturbation": "3", "scaled": "0.3"}
    >>> rows = [row | {"depth": "1"}, row | {"depth": "2"}, row | {"depth": "2", "scaled": "0.2"}]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plot_sweep(rows, folder)
    """
    for start in dict.fromkeys(row["start"] for row in rows):
        chosen = [row for row in rows if row["start"] == start]
        name = start.replace("/", "_")
        _plot_blocks(chosen, Path(folder) / f"perturbations_{name}.png", f"start: {start}")
        _plot_depths(chosen, Path(folder) / f"distances_{name}.png", f"start: {start}")


def _plot_blocks(rows, path, title):
    sections = sorted({int(row["section"]) for row in rows})
    figure, panels = subplots(4 * len(sections), 6.5, title, 2, len(sections), squeeze=False)
    for line, (key, label) in zip(panels, KINDS, strict=True):
        for section, axes in zip(sections, line, strict=True):
            for depth in sorted({int(row["depth"]) for row in rows}):
                values = _values(rows, section, depth, key)
                places = (np.arange(len(values)) + 0.5) / len(values)
                axes.plot(places, values, "o-", ms=3, label=f"L = {depth}")
            axes.set_title(f"section {section + 1}", fontsize=9)
            finish(axes, xlabel="place in the section")
            axes.set_ylim(bottom=0)
        line[0].set_ylabel(label)
    save_figure(figure, path)


def _plot_depths(rows, path, title):
    depths = sorted({int(row["depth"]) for row in rows})
    sections = sorted({int(row["section"]) for row in rows})
    figure, panels = subplots(10, 7, title, 2, 2)
    for line, (key, label) in zip(panels, KINDS, strict=True):
        for section in [*sections, None]:
            name = "whole net" if section is None else f"section {section + 1}"
            values = [_values(rows, section, depth, key) for depth in depths]
            line[0].plot(depths, [v.sum() for v in values], "o-", ms=4, label=name)
            line[1].plot(depths, [v.mean() for v in values], "o-", ms=4, label=name)
        middle = np.mean([_values(rows, None, depth, key).mean() * depth for depth in depths])
        line[1].plot(depths, middle / np.array(depths), "k:", label="1 / L")
        line[1].set_yscale("log")
        for axes, what in zip(line, ("distance", "mean"), strict=True):
            axes.set_xscale("log", base=2)
            finish(axes, xlabel="blocks in a section, L", ylabel=f"{what}: {label}")
    save_figure(figure, path)


def _values(rows, section, depth, key):
    return np.array(
        [
            float(row[key])
            for row in rows
            if int(row["depth"]) == depth and section in (None, int(row["section"]))
            and row["kind"] != "projection"
        ]
    )  # fmt: skip


def plot_search(trials, path):
    r"""Plot the objective and the depths of every trial of a search against its cost.

    Args:
        trials: The file `trials.csv` of a search.
        path: The PNG file.

    Example:
    >>> import tempfile
    >>> from pathlib import Path
    >>> from keras_pdenets.plots import plot_search
    >>> trials = "status,block_epochs,val_accuracy,depths\nCOMPLETED,6,0.8,2 2 2\n"
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "trials.csv")
    ...     _ = path.write_text(trials)
    ...     plot_search(path, f"{folder}/search.png")
    """
    rows = [row for row in read_rows(trials) if row["status"] == "COMPLETED"]
    cost = np.cumsum([float(row["block_epochs"]) for row in rows])
    accuracy = [100 * float(row["val_accuracy"]) for row in rows]
    figure, (above, below) = subplots(8, 6, rows=2, sharex=True)
    above.plot(cost, accuracy, "o", ms=4, label="trial")
    above.plot(cost, np.maximum.accumulate(accuracy), "-", label="best so far")
    finish(above, ylabel="validation accuracy (%)")
    depths = np.array([[int(n) for n in row["depths"].split()] for row in rows])
    for section, values in enumerate(depths.T):
        below.step(cost, values, "o-", ms=3, where="post", label=f"section {section + 1}")
    finish(below, ylabel="blocks", xlabel="cost so far (block-epochs)")
    save_figure(figure, path)

"""Plots of nets trained with the same recipe."""

from pathlib import Path

import numpy as np

from keras_pdenets.operators.pde import PDE_TERMS
from keras_pdenets.plots.figure import save_figure, subplots

_CONVOLUTION = ("convolution",)
_SIGNS = {
    "dxx": r"$\partial_{xx}$", "dyy": r"$\partial_{yy}$", "dxy": r"$\partial_{xy}$",
    "dx": r"$\partial_x$", "dy": r"$\partial_y$", "id": "$1$", "dxxy": r"$\partial_{xxy}$",
    "dxyy": r"$\partial_{xyy}$", "dxxyy": r"$\partial_{xxyy}$",
}  # fmt: skip
_COLORS = 10  # of matplotlib's cycle, which then repeats


def plot_learning_curves(results, path):
    """Plot accuracy against epochs: figure 6 of Yin et al. 2019, arXiv 1904.07568.

    The line is the mean over the seeds, the band their range.

    Args:
        results: List of `experiments.RunResult`s.
        path: The PNG file.
    """
    figure, panels = subplots(11, 4.5, columns=2, sharex=True)
    kinds = (("accuracy", "training accuracy (%)"), ("test_accuracy", "test accuracy (%)"))
    for axes, (key, label) in zip(panels, kinds, strict=True):
        for index, (name, runs) in enumerate(_by_net(results).items()):
            values = 100 * np.array([[row[key] for row in run.history] for run in runs])
            epochs = np.arange(1, values.shape[1] + 1)
            style = "-" if index < _COLORS else "--"
            line = axes.plot(epochs, values.mean(0), style, label=name)[0]
            axes.fill_between(
                epochs, values.min(0), values.max(0), color=line.get_color(), alpha=0.15
            )
        axes.set(xlabel="epoch", ylabel=label, ylim=(np.floor(_lowest(results, key)), None))
        axes.grid(alpha=0.3)
    panels[1].legend(fontsize=8, loc="lower right")
    save_figure(figure, path)


def _lowest(results, key):
    """Lowest value after the first epoch, in percent."""
    return 100 * min(row[key] for run in results for row in run.history[1:] or run.history)


def plot_sizes(results, path):
    """Plot accuracy against trainable parameters and operations, with a point per run.

    Args:
        results: List of `experiments.RunResult`s.
        path: The PNG file.
    """
    figure, panels = subplots(11, 4.5, columns=2, sharey=True)
    for axes, key, label in zip(
        panels, ("parameters", "operations"), ("trainable parameters", "operations/image"),
        strict=True,
    ):  # fmt: skip
        for index, (name, runs) in enumerate(_by_net(results).items()):
            accuracies = [run.accuracy for run in runs]
            places = [getattr(run, key) for run in runs]
            marker = "o" if index < _COLORS else "s"
            points = axes.plot(places, accuracies, marker, alpha=0.6, label=name)[0]
            axes.plot(places[0], np.mean(accuracies), "_", ms=18, color=points.get_color())
        axes.set(xscale="log", xlabel=label)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("test accuracy (%), bar: mean")
    panels[1].legend(fontsize=8)
    save_figure(figure, path)


def plot_terms(results, path):
    """Plot accuracy against the number of derivatives of a PDE net per pair of channels.

    Each run is a point, with mean and standard deviation over the seeds, and a line joins the best
    of each number; on the right the net of plain convolutions, with nine weights per pair.

    Args:
        results: List of `experiments.RunResult`s. Runs with another recipe than the first, and
            nets with options other than the terms, are left out.
        path: The PNG file.

    Returns:
        Whether there are at least two numbers of terms; otherwise no file is written.

    Example:
    >>> import tempfile
    >>> from keras_pdenets.experiments import RunResult
    >>> from keras_pdenets.plots import plot_terms
    >>> net = {"architecture": "pde_preact_resnet20", "input_shape": (28, 28, 1), "classes": 10}
    >>> recipe = {"preset": "pde-seed0", "checkpoint": net, "dataset": "sample"}
    >>> recipe |= {"stages": [{"epochs": 1}], "warmup_epochs": 0.0}
    >>> row = {"epoch": 1, "accuracy": 0.8, "loss": 0.6, "test_accuracy": 0.7, "test_loss": 0.9}
    >>> run = RunResult("pde", 0, recipe, 70.0, 0.9, 1000, 198362, 66_100_000, 9.0, "a CPU", [row])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plot_terms([run], f"{folder}/terms.png")  # one number of terms: nothing to plot
    False
    """
    nets = {}
    for run in results:
        terms = _terms(run)
        if terms is not None and run.protocol == results[0].protocol:
            nets.setdefault(terms, []).append(run.accuracy)
    if len({len(terms) for terms in nets if terms != _CONVOLUTION}) < 2:
        return False
    figure, axes = subplots(8, 5)
    best = {}
    for terms, accuracies in nets.items():
        plain = terms == _CONVOLUTION
        count, color = (9.25, "C1") if plain else (len(terms), "C0")
        side = -0.1 if count in best else 0.1  # of two with as many terms, one on each side
        best[count] = max(best.get(count, 0.0), np.mean(accuracies))
        axes.plot([count] * len(accuracies), accuracies, ".", color=color, alpha=0.6)
        spread = np.std(accuracies, ddof=1) if len(accuracies) > 1 else 0.0
        axes.errorbar(count, np.mean(accuracies), spread, fmt="_", ms=16, capsize=4, color=color)
        words = "convolution" if plain else "\n".join(_SIGNS[name] for name in terms)
        place, align = (count + side, np.mean(accuracies)), "left" if side > 0 else "right"
        axes.annotate(words, place, fontsize=7, va="top", ha=align)
    axes.plot(*zip(*sorted(best.items())[: -1 if 9.25 in best else None], strict=True), lw=0.8)
    axes.set(xlabel="derivatives for a pair of channels", ylabel="test accuracy (%)")
    axes.set(xticks=range(1, 10), xlim=(0.5, 10.2))
    axes.grid(alpha=0.3)
    save_figure(figure, path)
    return True


def _terms(run):
    """The stencils of a net whose operators differ only in these, or None."""
    options = run.net["options"].get("operator_options", {})
    if run.net["options"].keys() - {"operator_options"} or options.keys() - {"form", "terms"}:
        return None
    if not run.net["architecture"].startswith("pde_"):
        return _CONVOLUTION if run.net["architecture"].startswith("preact_") else None
    linear = options.get("form", "linear") == "linear"
    return tuple(options.get("terms") or PDE_TERMS) if linear else None


def plot_zoo(results, folder):
    """Write `learning_curves.png`, `sizes.png` and, for PDE nets, `terms.png` to a folder.

    Args:
        results: `experiments.RunResult`s.
        folder: The folder.

    Example:
    >>> import tempfile
    >>> from keras_pdenets.experiments import RunResult
    >>> from keras_pdenets.plots import plot_zoo
    >>> net = {"architecture": "pde_preact_resnet20", "input_shape": (28, 28, 1), "classes": 10}
    >>> recipe = {"preset": "pde-seed0", "checkpoint": net, "dataset": "sample"}
    >>> recipe |= {"stages": [{"epochs": 1}], "warmup_epochs": 0.0}
    >>> row = {"epoch": 1, "accuracy": 0.8, "loss": 0.6, "test_accuracy": 0.7, "test_loss": 0.9}
    >>> run = RunResult("pde", 0, recipe, 70.0, 0.9, 1000, 198362, 66_100_000, 9.0, "a CPU", [row])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plot_zoo([run], folder)
    """
    plot_learning_curves(results, Path(folder) / "learning_curves.png")
    plot_sizes(results, Path(folder) / "sizes.png")
    plot_terms(results, Path(folder) / "terms.png")


def _by_net(results):
    names = dict.fromkeys(run.entry for run in results)
    return {name: [run for run in results if run.entry == name] for name in names}

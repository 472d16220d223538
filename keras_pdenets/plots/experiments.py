"""Pictures of nets that were trained alike."""

from pathlib import Path

import numpy as np

from keras_pdenets.plots.figure import new_figure, save_figure

_COLORS = 10  # of matplotlib's cycle, which begins again behind them


def plot_learning_curves(results, path):
    """Draw accuracy against epochs: figure 6 of Yin et al. 2019, arXiv 1904.07568.

    The line is the mean over the seeds, the band goes from the worst to the best.

    Args:
        results: List of `experiments.RunResult`s.
        path: The PNG file.
    """
    figure = new_figure(11, 4.5)
    panels = figure.subplots(1, 2, sharex=True)
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
    """Where the interesting part of the curves begins: after the first epoch."""
    return 100 * min(row[key] for run in results for row in run.history[1:] or run.history)


def plot_sizes(results, path):
    """Draw accuracy against trainable parameters and against operations, a point for each run.

    Args:
        results: List of `experiments.RunResult`s.
        path: The PNG file.
    """
    figure = new_figure(11, 4.5)
    panels = figure.subplots(1, 2, sharey=True)
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


def plot_zoo(results, folder):
    """Draw `learning_curves.png` and `sizes.png` into a folder."""
    plot_learning_curves(results, Path(folder) / "learning_curves.png")
    plot_sizes(results, Path(folder) / "sizes.png")


def _by_net(results):
    names = dict.fromkeys(run.entry for run in results)
    return {name: [run for run in results if run.entry == name] for name in names}

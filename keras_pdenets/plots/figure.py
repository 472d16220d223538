"""Figures for the plots."""

from pathlib import Path

from keras_pdenets.utils.atomic import replace_file
from keras_pdenets.utils.extras import require


def subplots(width, height, title="", rows=1, columns=1, **options):
    """A figure of a size in inches and its axes: `pyplot.subplots` without a window system."""
    figure_module = require("matplotlib.figure", "plots")
    figure = figure_module.Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(title)
    return figure, figure.subplots(rows, columns, **options)


def finish(axes, **properties):
    """Set properties of axes (`Axes.set`), a grid, and a legend if there are labels."""
    axes.set(**properties)
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8)


def save_figure(figure, path):
    """Write a PNG file atomically; its folder is created."""
    path = Path(path)
    path = path if path.suffix else path.with_suffix(".png")
    replace_file(path, lambda temporary: figure.savefig(temporary, dpi=80))

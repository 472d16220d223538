"""The paper that pictures are drawn on."""

from pathlib import Path

from keras_pdenets.data.extras import require


def new_figure(width, height, title=""):
    """A figure of a size in inches, made without pyplot, so that no window system is touched."""
    figure_module = require("matplotlib.figure", "plots")
    figure = figure_module.Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(title)
    return figure


def save_figure(figure, path):
    """Write a PNG file; its folder is made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)

"""Plots of receptive fields, and of nets with changed blocks."""

import numpy as np

from keras_pdenets.plots.figure import save_figure, subplots


def plot_receptive_field(fields, path, title=""):
    """Plot one or more effective receptive fields, each relative to its largest weight.

    Args:
        fields: List of `analysis.ReceptiveField`, such as those of several layers.
        path: The PNG file.
        title: Title of the figure.

    Example:
    >>> import tempfile
    >>> import keras_pdenets
    >>> import numpy as np
    >>> from keras_pdenets.analysis import effective_receptive_field
    >>> from keras_pdenets.plots import plot_receptive_field
    >>> net = keras_pdenets.PreActResNet20(weights=None, input_shape=(16, 16, 1), num_blocks=1)
    >>> images = np.random.default_rng(0).uniform(0, 255, (8, 16, 16, 1))
    >>> field = effective_receptive_field(net, images, "stage1_block0_add")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plot_receptive_field([field], f"{folder}/field.png")
    """
    figure, panels = subplots(3 * len(fields), 3.6, title, columns=len(fields), squeeze=False)
    for axes, field in zip(panels[0], fields, strict=True):
        weights = field.weights / field.weights.max()
        axes.imshow(np.log10(np.maximum(weights, 1e-4)), cmap="viridis", vmin=-4, vmax=0)
        axes.set_title(
            f"{field.layer}\nwidth {field.width:.1f} of {max(field.support)} pixels", fontsize=8
        )
        axes.set_axis_off()
    save_figure(figure, path)


def plot_block_changes(changes, path, title=""):
    """Plot the accuracy with each block dropped, or each pair of blocks swapped.

    The upper panel shows each block's relative change.

    Args:
        changes: An `analysis.BlockChanges`.
        path: The PNG file.
        title: Title of the figure.

    Example:
    >>> import tempfile
    >>> import keras_pdenets
    >>> import numpy as np
    >>> from keras_pdenets.analysis import drop_blocks
    >>> from keras_pdenets.plots import plot_block_changes
    >>> net = keras_pdenets.PreActResNet20(weights=None, input_shape=(16, 16, 1), num_blocks=1)
    >>> images = np.random.default_rng(0).uniform(0, 255, (8, 16, 16, 1))
    >>> labels = np.arange(8)
    >>> changes = drop_blocks(net, images, labels)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plot_block_changes(changes, f"{folder}/dropped.png")
    """
    places = np.arange(len(changes.names))
    figure, (above, below) = subplots(max(6, 0.25 * len(places)), 6.5, title, rows=2, sharex=True)
    above.bar(places, changes.ratios, color="tab:orange")
    above.set_ylabel("||hF|| / ||x||")
    below.bar(places, 100 * changes.accuracies, color="tab:blue")
    below.axhline(100 * changes.accuracy, color="black", lw=1, ls="--", label="whole net")
    below.set_ylabel(f"accuracy (%) after each {changes.change}")
    below.set_ylim(0, 100)
    below.legend(fontsize=8, loc="lower right")
    below.set_xticks(places, changes.names, rotation=90, fontsize=6)
    for axes in (above, below):
        axes.grid(axis="y", alpha=0.3)
    save_figure(figure, path)

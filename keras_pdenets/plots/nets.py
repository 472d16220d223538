"""Plots of nets: predictions, training logs, perturbations, kernels."""

import numpy as np

from keras_pdenets.plots.depth import KINDS
from keras_pdenets.plots.figure import finish, save_figure, subplots

_COLUMNS = 8


def plot_predictions(images, labels, probabilities, class_names, path, title=""):
    """Plot images with a net's predictions; wrong ones are red.

    Args:
        images: Pixels 0-255, of shape (n, height, width, 1 or 3); up to 40 are shown.
        labels: True classes, integers of shape (n,).
        probabilities: The net's predictions, of shape (n, classes).
        class_names: Names of the classes.
        path: The PNG file.
        title: Title of the figure.

    Raises:
        ImportError: If matplotlib is missing; the message says how to install it.

    Example:
    >>> import tempfile
    >>> import numpy as np
    >>> from keras_pdenets.plots import plot_predictions
    >>> images = np.zeros((2, 16, 16, 1))
    >>> probabilities = np.array([[0.9, 0.1], [0.6, 0.4]])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plot_predictions(images, [0, 1], probabilities, ("cat", "dog"), f"{folder}/p.png")
    """
    count = min(len(images), 5 * _COLUMNS)
    rows = -(-count // _COLUMNS)
    figure, panels = subplots(
        1.6 * _COLUMNS, 1.9 * rows + 0.5, title, rows, _COLUMNS, squeeze=False
    )
    for index, axes in enumerate(panels.ravel()):
        axes.set_axis_off()
        if index < count:
            _show(axes, images[index], int(labels[index]), probabilities[index], class_names)
    save_figure(figure, path)


def _show(axes, image, label, probabilities, class_names):
    guess = int(np.argmax(probabilities))
    axes.imshow(np.squeeze(image), cmap="gray", vmin=0, vmax=255)
    text = f"{class_names[guess]} {100 * probabilities[guess]:.0f} %"
    if guess != label:
        text += f"\n(is {class_names[label]})"
    axes.set_title(text, fontsize=8, color="black" if guess == label else "red")


def plot_log(logs, path, title=""):
    """Plot the training logs of one or more runs.

    Args:
        logs: The rows of `train`, by name of the run.
        path: The PNG file.
        title: Title of the figure.

    Example:
    >>> import tempfile
    >>> from keras_pdenets.plots import plot_log
    >>> rows = [{"epoch": i, "accuracy": 0.3 * i, "test_accuracy": 0.2 * i} for i in (1, 2)]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plot_log({"run": rows}, f"{folder}/log.png")
    """
    figure, axes = subplots(7, 4)
    for name, rows in logs.items():
        epochs = [row["epoch"] for row in rows]
        for key, style in (("accuracy", "--"), ("test_accuracy", "-")):
            axes.plot(epochs, [100 * row[key] for row in rows], style, label=f"{name} {key}")
    finish(axes, xlabel="epoch", ylabel="accuracy (%)", title=title)
    save_figure(figure, path)


def plot_perturbations(reports, path, title=""):
    """Plot the perturbations of one or more nets, block by block.

    Args:
        reports: `PerturbationReport` by name of the net.
        path: The PNG file.
        title: Title of the figure.

    Example:
    >>> import tempfile
    >>> import keras_pdenets
    >>> import numpy as np
    >>> from keras_pdenets.plots import plot_perturbations
    >>> net = keras_pdenets.PreActResNet20(weights=None, input_shape=(16, 16, 1), num_blocks=1)
    >>> images = np.random.default_rng(0).uniform(0, 255, (8, 16, 16, 1))
    >>> report = keras_pdenets.measure_perturbation(net, images)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plot_perturbations({"net": report}, f"{folder}/perturbations.png")
    """
    figure, panels = subplots(11, 4, title, columns=2)
    for axes, (key, label) in zip(panels, KINDS, strict=True):
        for name, report in reports.items():
            blocks = [(i, block) for i, block in enumerate(report.blocks) if block.measured]
            places, values = [i for i, _ in blocks], [getattr(block, key) for _, block in blocks]
            line = axes.plot(places, values, "o-", ms=3, label=name)[0]
            starts = [i for i, b in blocks[1:] if b.section != report.blocks[i - 1].section]
            for start in starts:
                axes.axvline(start - 0.5, color=line.get_color(), lw=0.5, ls=":")
        finish(axes, xlabel="block", ylabel=label)
        axes.set_ylim(bottom=0)
    save_figure(figure, path)


def plot_kernels(models, layer, path, title=""):
    """Plot one layer's weights in several models, such as before and after `sparsify`.

    Weights are shown relative to the largest of each panel; those below 1 % are white.

    Args:
        models: Models by the title of their panel.
        layer: Name of a layer in all of them; for a `QuasiLinear2D`, its mixing matrix is shown.
        path: The PNG file.
        title: Title of the figure.

    Example:
    >>> import tempfile
    >>> import keras_pdenets
    >>> from keras_pdenets.plots import plot_kernels
    >>> net = keras_pdenets.PreActResNet20(weights=None, input_shape=(16, 16, 1), num_blocks=1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plot_kernels({"net": net}, "stage1_block0_conv0", f"{folder}/kernels.png")
    """
    count = len(models)
    figure, panels = subplots(4 * count, 4.6, title or layer, columns=count, squeeze=False)
    for axes, (name, model) in zip(panels[0], models.items(), strict=True):
        found = model.get_layer(layer)
        kernel = np.abs(np.asarray(getattr(found, "mixing", found).get_weights()[0]))
        kernel = kernel.reshape(-1, kernel.shape[-1]) / kernel.max()
        small = float((kernel < 0.01).mean())
        axes.imshow(
            np.log10(np.maximum(kernel, 1e-2)), cmap="Greys", aspect="auto", vmin=-2, vmax=0
        )
        axes.set_title(f"{name}\n{100 * small:.0f} % below 1 % of the largest", fontsize=9)
        axes.set(xlabel="output channel", ylabel="input channel")
    save_figure(figure, path)

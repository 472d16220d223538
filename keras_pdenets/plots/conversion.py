"""Plots of conversions."""

from keras_pdenets.plots.figure import finish, save_figure, subplots


def plot_conversion(reports, path, title=""):
    """Plot the error of each converted layer along the depth of the net.

    Args:
        reports: A `transforms.ConvertReport`, or a dictionary of several by name.
        path: The PNG file.
        title: Title of the figure.

    Raises:
        ImportError: If matplotlib is missing; the message says how to install it.

    Example:
    >>> import tempfile
    >>> import keras_pdenets
    >>> import numpy as np
    >>> from keras_pdenets.transforms import convert
    >>> from keras_pdenets.plots import plot_conversion
    >>> net = keras_pdenets.PreActResNet20(weights=None, input_shape=(16, 16, 1), num_blocks=1)
    >>> images = np.random.default_rng(0).uniform(0, 255, (8, 16, 16, 1))
    >>> _, report = convert(net, "pde", images, layers="stage0*", verbose=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plot_conversion(report, f"{folder}/errors.png")
    """
    reports = reports if isinstance(reports, dict) else {"": reports}
    figure, axes = subplots(8, 4, title)
    for name, report in reports.items():
        # Errors of exact layers are 0, which has no logarithm.
        errors = [max(layer.error, 1e-12) for layer in report.layers]
        axes.semilogy(range(len(errors)), errors, "o-", label=name)
    longest = max(reports.values(), key=lambda report: len(report.layers))
    axes.set_xticks(range(len(longest.layers)), [x.name for x in longest.layers], rotation=90)
    axes.tick_params(axis="x", labelsize=6)
    finish(axes, ylabel="error of the outputs / their energy")
    save_figure(figure, path)

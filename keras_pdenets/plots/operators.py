"""Plots of learned operators: their kernels and Fourier symbols."""

import numpy as np

from keras_pdenets.analysis.fourier import kernel_of
from keras_pdenets.plots.figure import save_figure, subplots


def plot_operators(layer_or_kernel, path, title="", channels=8, filters=8):
    """Plot learned kernels; rows are input channels, columns filters.

    Red is positive, blue negative, on a common scale.

    Args:
        layer_or_kernel: A convolution layer or its kernel, as in `analysis.fourier_symbols`.
        path: The PNG file.
        title: Title of the figure.
        channels: Largest number of input channels shown.
        filters: Largest number of filters shown.

    Raises:
        ValueError: As in `analysis.fourier_symbols`.
        ImportError: If matplotlib is missing; the message says how to install it.

    Example:
    >>> import tempfile
    >>> import keras_pdenets
    >>> from keras_pdenets.plots import plot_operators
    >>> net = keras_pdenets.PDEPreActResNet20(weights=None, input_shape=(16, 16, 1), num_blocks=1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plot_operators(net.get_layer("stage0_block0_conv0"), f"{folder}/operators.png")
    """
    kernel = kernel_of(layer_or_kernel)[:, :, :channels, :filters]
    reach = max(float(np.abs(kernel).max()), 1e-12)
    _grid(kernel, path, title, {"cmap": "RdBu_r", "vmin": -reach, "vmax": reach})


def plot_fourier_symbols(waves, path, title="", channels=8, filters=8):
    """Plot amplitudes against frequency; rows are input channels, columns filters.

    Each map extends from -pi to pi radians per pixel, with the constant image at its centre.

    Args:
        waves: `FourierSymbols`.
        path: The PNG file.
        title: Title of the figure.
        channels: Largest number of input channels shown.
        filters: Largest number of filters shown.

    Raises:
        ImportError: If matplotlib is missing; the message says how to install it.

    Example:
    >>> import tempfile
    >>> import keras_pdenets
    >>> from keras_pdenets.analysis import fourier_symbols
    >>> from keras_pdenets.plots import plot_fourier_symbols
    >>> net = keras_pdenets.PDEPreActResNet20(weights=None, input_shape=(16, 16, 1), num_blocks=1)
    >>> symbols = fourier_symbols(net.get_layer("stage0_block0_conv0"))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plot_fourier_symbols(symbols, f"{folder}/symbols.png")
    """
    amplitude = waves.amplitude[:, :, :channels, :filters]
    _grid(amplitude, path, title, {"cmap": "viridis", "vmin": 0, "vmax": float(amplitude.max())})


def _grid(maps, path, title, style):
    """Maps of shape (height, width, rows, columns) in a grid, on a common scale."""
    rows, columns = maps.shape[2:]
    size = 0.9 * columns + 1.5, 0.9 * rows + 0.8
    figure, panels = subplots(*size, title, rows, columns, squeeze=False)
    # Otherwise the labels of the rows are cut off at the edge.
    figure.get_layout_engine().set(rect=(0.02, 0, 0.98, 1))
    for row in range(rows):
        for column in range(columns):
            axes = panels[row, column]
            drawn = axes.imshow(maps[:, :, row, column], **style)
            axes.set_xticks([])
            axes.set_yticks([])
        panels[row, 0].set_ylabel(f"in {row}", fontsize=7)
    for column in range(columns):
        panels[0, column].set_title(f"filter {column}", fontsize=7)
    figure.colorbar(drawn, ax=panels.ravel().tolist(), shrink=0.8)
    save_figure(figure, path)

"""Plots of norms and singular values along the depth of nets."""

import numpy as np

from keras_pdenets.plots.figure import finish, save_figure, subplots


def plot_spectral_norms(norms, path, title=""):
    """Plot the 2-norms of a net's layers, from the lower to the upper bound.

    Args:
        norms: An `analysis.SpectralNorms`.
        path: The PNG file.
        title: Title of the figure.

    Example:
    >>> import tempfile
    >>> import keras_pdenets
    >>> from keras_pdenets.analysis import spectral_norms
    >>> from keras_pdenets.plots import plot_spectral_norms
    >>> net = keras_pdenets.PreActResNet20(weights=None, input_shape=(16, 16, 1), num_blocks=1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plot_spectral_norms(spectral_norms(net), f"{folder}/norms.png")
    """
    places = np.arange(len(norms.names))
    figure, axes = subplots(max(6, 0.22 * len(places)), 5, title)
    axes.vlines(places, norms.lower, norms.upper, color="tab:blue", lw=3, alpha=0.5)
    axes.plot(places, norms.upper, "v", ms=4, color="tab:blue", label="upper bound")
    axes.plot(places, norms.lower, "^", ms=4, color="tab:orange", label="reached")
    axes.axhline(1.0, color="black", lw=0.5, ls=":")
    axes.set_xticks(places, norms.names, rotation=90, fontsize=6)
    _finish(axes, norms.upper, ylabel="2-norm")
    save_figure(figure, path)


def plot_gradient_norms(gradients, path, title=""):
    """Plot the norm of the loss's gradient along the depth of one or more nets.

    Lines are means over the images, bands the 10th to the 90th percentile; the first point is the
    input of the first block, the others are outputs of blocks.

    Args:
        gradients: `analysis.GradientNorms` by name of the net.
        path: The PNG file.
        title: Title of the figure.

    Example:
    >>> import tempfile
    >>> import keras_pdenets
    >>> import numpy as np
    >>> from keras_pdenets.analysis import gradient_norms
    >>> from keras_pdenets.plots import plot_gradient_norms
    >>> net = keras_pdenets.PreActResNet20(weights=None, input_shape=(16, 16, 1), num_blocks=1)
    >>> images = np.random.default_rng(0).uniform(0, 255, (8, 16, 16, 1))
    >>> labels = np.arange(8)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plot_gradient_norms({"net": gradient_norms(net, images, labels)}, f"{folder}/g.png")
    """
    figure, axes = subplots(7, 4.5, title)
    for name, found in gradients.items():
        norms = np.concatenate([found.inputs[:1], found.outputs])
        places = np.arange(len(norms))
        line = axes.plot(places, norms.mean(axis=1), "o-", ms=3, label=name)[0]
        low, high = np.percentile(norms, [10, 90], axis=1)
        axes.fill_between(places, low, high, color=line.get_color(), alpha=0.2)
    values = np.concatenate([found.outputs.ravel() for found in gradients.values()])
    _finish(axes, values, xlabel="block", ylabel="norm of the loss's gradient")
    save_figure(figure, path)


def plot_jacobian_spectrum(spectra, path, title=""):
    """Plot the leading singular values along the depth of one or more nets.

    One line for each singular value, the mean over the images; the band around the first is its
    range over the images.

    Args:
        spectra: `analysis.JacobianSpectrum` by name of the net.
        path: The PNG file.
        title: Title of the figure.

    Example:
    >>> import tempfile
    >>> import keras_pdenets
    >>> import numpy as np
    >>> from keras_pdenets.analysis import jacobian_spectrum
    >>> from keras_pdenets.plots import plot_jacobian_spectrum
    >>> net = keras_pdenets.PreActResNet20(weights=None, input_shape=(16, 16, 1), num_blocks=1)
    >>> images = np.random.default_rng(0).uniform(0, 255, (8, 16, 16, 1))
    >>> spectrum = jacobian_spectrum(net, images[:2])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plot_jacobian_spectrum({"net": spectrum}, f"{folder}/jacobian.png")
    """
    figure, axes = subplots(7, 4.5, title)
    for name, spectrum in spectra.items():
        first, places = spectrum.values[..., 0], np.arange(len(spectrum.names))
        line = axes.plot(places, first.mean(axis=1), "o-", ms=3, label=name)[0]
        color = line.get_color()
        axes.fill_between(places, first.min(axis=1), first.max(axis=1), color=color, alpha=0.2)
        for values in np.moveaxis(spectrum.values.mean(axis=1), 1, 0)[1:]:
            axes.plot(places, values, "-", lw=0.7, color=color)
        axes.set_xticks(places, spectrum.names, rotation=90, fontsize=6)
    axes.axhline(1.0, color="black", lw=0.5, ls=":")
    values = np.concatenate([s.values.ravel() for s in spectra.values()])
    _finish(axes, values, ylabel="singular values of the Jacobian")
    save_figure(figure, path)


def _finish(axes, values, **labels):
    """Finish axes, with a logarithmic scale if the values are positive and far apart."""
    if values.min() > 0 and values.max() > 10 * values.min():
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    finish(axes, **labels)

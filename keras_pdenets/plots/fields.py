"""Plots along the depth of a net, and of its robustness to noise."""

import numpy as np

from keras_pdenets.plots.figure import finish, save_figure, subplots


def plot_feature_variance(reports, path, title=""):
    """Plot figure 5 of Yin 2019, arXiv 1904.07568: variance along the depth.

    Solid lines: shortcut + residual, or outputs of a plain net's activations. Dashed lines: the
    residual alone, or outputs of a plain net's convolutions. Dotted lines separate sections.

    Args:
        reports: `FeatureVariance` by name of the net.
        path: The PNG file.
        title: Title of the figure.

    Example:
    >>> import tempfile
    >>> import keras_pdenets
    >>> import numpy as np
    >>> from keras_pdenets.analysis import feature_variance
    >>> from keras_pdenets.plots import plot_feature_variance
    >>> net = keras_pdenets.PreActResNet20(weights=None, input_shape=(16, 16, 1), num_blocks=1)
    >>> images = np.random.default_rng(0).uniform(0, 255, (8, 16, 16, 1))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plot_feature_variance({"net": feature_variance(net, images)}, f"{folder}/variance.png")
    """
    figure, axes = subplots(8, 4.5, title)
    for index, (name, report) in enumerate(reports.items()):
        color = f"C{index % 10}"
        places = (np.arange(len(report.names)) + 0.5) / len(report.names)
        for (label, shown, values), style in zip(_curves(report), ("o-", "s--"), strict=True):
            if shown.any():
                axes.plot(
                    places[shown], values[shown], style, ms=3, color=color, label=f"{name}: {label}"
                )
        for start in np.flatnonzero(np.diff(report.sections)):
            axes.axvline(places[start : start + 2].mean(), color=color, lw=0.5, ls=":")
    finish(
        axes, yscale="log", ylabel="variance of the features",
        xlabel="place in the net (0: input, 1: output)",
    )  # fmt: skip
    save_figure(figure, path)


def _curves(report):
    """Label, places and values of the two curves of a net."""
    kinds = np.array(report.kinds)
    if (kinds == "block").all():
        return (
            ("with shortcut", kinds == "block", report.total),
            ("residual", kinds == "block", report.residual),
        )
    return tuple((f"{k}s", kinds == k, report.output) for k in ("activation", "convolution"))


def plot_weight_noise(curves, path, title=""):
    """Plot figure 7 of Yin 2019, arXiv 1904.07568: accuracy against noise on the weights.

    Error bars are one standard deviation over the draws.

    Args:
        curves: `WeightNoise` by name of the net.
        path: The PNG file.
        title: Title of the figure.

    Example:
    >>> import tempfile
    >>> import keras_pdenets
    >>> import numpy as np
    >>> from keras_pdenets.analysis import weight_noise_robustness
    >>> from keras_pdenets.plots import plot_weight_noise
    >>> net = keras_pdenets.PreActResNet20(weights=None, input_shape=(16, 16, 1), num_blocks=1)
    >>> images = np.random.default_rng(0).uniform(0, 255, (8, 16, 16, 1))
    >>> labels = np.arange(8)
    >>> curve = weight_noise_robustness(net, images, labels, levels=(0.0, 0.5), draws=2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plot_weight_noise({"net": curve}, f"{folder}/noise.png")
    """
    figure, axes = subplots(7, 4.5, title)
    for name, curve in curves.items():
        order = np.argsort(curve.levels)
        axes.errorbar(
            100 * curve.levels[order], 100 * curve.mean[order], 100 * curve.spread[order],
            fmt="o-", ms=4, capsize=3, label=name,
        )  # fmt: skip
    finish(axes, xlabel="noise / size of the weight (%)", ylabel="accuracy (%)")
    save_figure(figure, path)


def plot_trajectories(ways, path, title="", names=None):
    """Plot figure 4(c) of Yin 2019, arXiv 1904.07568: trajectories through each stage.

    A ring marks the first block of a stage, a disc the last.

    Args:
        ways: `Trajectories`.
        path: The PNG file.
        title: Title of the figure.
        names: Names of all classes, or None for their numbers.

    Example:
    >>> import tempfile
    >>> import keras_pdenets
    >>> import numpy as np
    >>> from keras_pdenets.analysis import trajectories
    >>> from keras_pdenets.plots import plot_trajectories
    >>> net = keras_pdenets.PreActResNet20(weights=None, input_shape=(16, 16, 1), num_blocks=2)
    >>> images = np.random.default_rng(0).uniform(0, 255, (8, 16, 16, 1))
    >>> labels = np.arange(8)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plot_trajectories(trajectories(net, images, labels), f"{folder}/ways.png")
    """
    count = len(ways.stages)
    figure, panels = subplots(4 * count, 4.2, title, columns=count, squeeze=False)
    for number, (axes, stage) in enumerate(zip(panels[0], ways.stages, strict=True)):
        for way, points in enumerate(np.moveaxis(stage.coordinates, 1, 0)):
            label = None
            if ways.classes is not None:
                label = ways.classes[way] if names is None else names[ways.classes[way]]
            color = f"C{way % 10}"
            axes.plot(*points.T, ".-", ms=3, lw=1, color=color, label=label)
            axes.plot(*points[0], "o", ms=6, mfc="none", color=color)
            axes.plot(*points[-1], "o", ms=6, color=color)
        first, second = 100 * stage.explained
        axes.set_title(f"stage {number + 1}: {len(stage.names)} blocks", fontsize=9)
        axes.set_xlabel(f"first direction ({first:.0f} % of the variance)", fontsize=8)
        axes.set_ylabel(f"second direction ({second:.0f} %)", fontsize=8)
        axes.grid(alpha=0.3)
    if ways.classes is not None:
        panels[0, -1].legend(fontsize=7)
    save_figure(figure, path)


def plot_path_integral(reports, path, title=""):
    """Plot energies and action along the depth; Yin 2019, arXiv 1904.07568.

    Args:
        reports: `PathIntegral` by name of the net.
        path: The PNG file.
        title: Title of the figure.

    Example:
    >>> import tempfile
    >>> import keras_pdenets
    >>> from keras_pdenets.analysis import path_integral
    >>> from keras_pdenets.plots import plot_path_integral
    >>> net = keras_pdenets.PDEPreActResNet20(weights=None, input_shape=(16, 16, 1), num_blocks=1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plot_path_integral({"net": path_integral(net)}, f"{folder}/action.png")
    """
    figure, (energies, actions) = subplots(11, 4.2, title, columns=2)
    for name, report in reports.items():
        depth = np.arange(1, len(report.layers) + 1)
        color = actions.plot(depth, report.action, "o-", ms=3, label=name)[0].get_color()
        for values, style, what in (
            (report.kinetic, "o-", "kinetic T"),
            (report.potential, "s--", "potential V"),
            (report.lagrangian, ":", "Lagrangian T - V"),
        ):
            energies.plot(depth, values, style, ms=3, color=color, label=f"{name}: {what}")
    finish(energies, xlabel="PDE layer", ylabel="energy (median of the layer's operators)")
    finish(actions, xlabel="PDE layer", ylabel="action (sum of the medians of T - V)")
    save_figure(figure, path)

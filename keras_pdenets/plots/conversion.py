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

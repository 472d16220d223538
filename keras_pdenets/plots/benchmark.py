"""Bar plot of the times of a benchmark."""

from keras_pdenets.plots.figure import save_figure, subplots


def plot_benchmark(results, path):
    """Plot the time of a step of each case, with quartiles, and its ratio to the first.

    Args:
        results: List of `benchmark.Timing`s.
        path: The PNG file.

    Example:
    >>> import tempfile
    >>> from keras_pdenets.benchmark import Timing
    >>> from keras_pdenets.plots import plot_benchmark
    >>> timing = Timing("ResNet18@torch", 1, None, (0.1, 0.3, 0.2), (1.0, 1.0, 1.0), None)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plot_benchmark([timing], f"{folder}/times.png")
    """
    title = f"number beside a bar: time / {results[0].name}"
    figure, axes = subplots(9, 1.4 + 0.35 * len(results), title)
    for place, result in enumerate(reversed(results)):
        low, middle, high = (1e3 * t for t in result.quartiles(result.seconds))
        color = "tab:blue" if ":" in result.name else "tab:orange"
        axes.barh(place, middle, xerr=[[middle - low], [high - middle]], color=color, capsize=2)
        ratio = result.quartiles(result.ratios)[1]
        axes.text(high, place, f" {ratio:.2f}", va="center", fontsize=8)
    axes.set_yticks(range(len(results)), [result.name for result in reversed(results)], fontsize=8)
    axes.set_xlabel("ms/step (median, quartiles)")
    axes.set_xlim(0, 1.1 * axes.get_xlim()[1])
    axes.grid(axis="x", alpha=0.3)
    save_figure(figure, path)

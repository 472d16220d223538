"""Which classes a net takes for which."""

import numpy as np

from keras_pdenets.plots.figure import save_figure, subplots

_MOST_NUMBERS = 30  # classes; beyond, numbers would be too small to read


def plot_confusion(matrix, class_names, path, title=""):
    """Write a confusion matrix: colours are shares of each row, numbers count images.

    Args:
        matrix: Counts of shape (classes, classes): rows are what images are, columns what the net
            says.
        class_names: Names of the classes.
        path: The PNG file.
        title: Line above the picture.

    Raises:
        ValueError: If the matrix does not fit the names.
        ImportError: If matplotlib is missing; the message says how to install it.

    Example:
    >>> import tempfile
    >>> from pathlib import Path
    >>> path = Path(tempfile.mkdtemp(), "confusion.png")
    >>> plot_confusion([[9, 1], [2, 8]], ["boot", "shirt"], path)
    >>> path.exists()
    True
    """
    matrix, count = np.asarray(matrix), len(class_names)
    if matrix.shape != (count, count):
        raise ValueError(
            f"`matrix` must be of shape {(count, count)}, as there are names. "
            f"Received: shape {matrix.shape}"
        )
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    side = min(3 + 0.35 * count, 16)
    figure, axes = subplots(side + 1, side, title)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the row", shrink=0.8)
    names = [name if len(name) <= 20 else f"{name[:18]}..." for name in class_names]
    axes.set(xlabel="what the net says", ylabel="what the image is")
    # A dollar sign in a name would begin a formula.
    names = [name.replace("$", r"\$") for name in names]
    axes.set_xticks(range(count), names, rotation=90, fontsize=8)
    axes.set_yticks(range(count), names, fontsize=8)
    if count <= _MOST_NUMBERS:
        for (row, column), number in np.ndenumerate(matrix):
            if number:
                color = "white" if shares[row, column] > 0.5 else "black"
                axes.text(
                    column, row, str(number), ha="center", va="center", color=color, fontsize=8
                )
    save_figure(figure, path)

"""Plots of one image's features through the steps of a refined net."""

import keras
import numpy as np

from keras_pdenets.layers.images import channel_axis
from keras_pdenets.plots.figure import save_figure, subplots


def plot_flow(model, image, layers, path, title="", channels=1):
    """Plot the features of one image along the flow of some activations.

    Each row is a channel, from the pre-activation on the left, one step per column, to the
    activation; the channels that change most are shown. Red is positive, blue negative, on one
    scale per row.

    Args:
        model: A result of `transforms.refine`, or a refined plain net.
        image: One input, without the batch axis.
        layers: Names of layers of the model itself whose activation is divided into steps, such as
            `"stem_relu0"`.
        path: The PNG file.
        title: Title of the figure.
        channels: Number of channels to show per layer.

    Raises:
        ValueError: If a layer has no steps, or its features are not images.
        ImportError: If matplotlib is missing; the message says how to install it.

    Example:
    >>> import tempfile
    >>> import keras_pdenets
    >>> import numpy as np
    >>> from keras_pdenets.plots import plot_flow
    >>> net = keras_pdenets.RefinedPlainNet20(weights=None, input_shape=(16, 16, 1))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plot_flow(net, np.zeros((16, 16, 1)), ["stem_relu0"], f"{folder}/flow.png")
    """
    rows = [row for name in layers for row in _rows(model, image, name, channels)]
    columns = max(len(frames) for _, frames in rows)
    size = 1.5 * columns, 1.6 * len(rows) + 0.5
    figure, panels = subplots(*size, title, len(rows), columns, squeeze=False)
    for line, (label, frames) in zip(panels, rows, strict=True):
        reach = max(float(np.abs(frames).max()), 1e-12)
        for axes in line:
            axes.set_axis_off()
        for index, (axes, frame) in enumerate(zip(line, frames, strict=False)):
            axes.imshow(frame, cmap="RdBu_r", vmin=-reach, vmax=reach)
            axes.set_title(label if index == 0 else f"step {index}", fontsize=7)
    save_figure(figure, path)


def _rows(model, image, name, channels):
    """Label and frames of the channels of a layer that change most."""
    known = {layer.name: layer for layer in model.layers}
    steps = []
    while f"{name}_flow{len(steps)}" in known:
        steps.append(known[f"{name}_flow{len(steps)}"])
    if not steps:
        raise ValueError(f"`layers` must name activations divided into steps. Received: {name!r}")
    # Carried steps have two inputs, the first of which is the pre-activation.
    tensors = [keras.tree.flatten(steps[0].input)[0], *(step.output for step in steps)]
    if len(tensors[0].shape) != 4:
        raise ValueError(
            f"`layers` must have images as features. Received: {name!r} of shape {tensors[0].shape}"
        )
    outputs = keras.Model(model.inputs, tensors).predict(np.asarray(image)[None], verbose=0)
    axis = channel_axis(getattr(steps[0], "data_format", "channels_last"))
    frames = np.moveaxis(np.stack([np.asarray(o)[0] for o in outputs]), axis, 0)
    change = np.abs(frames[:, -1] - frames[:, 0]).sum(axis=(1, 2))
    most = np.argsort(change)[::-1][:channels]
    return [(f"{name}\nchannel {index}", frames[index]) for index in most]

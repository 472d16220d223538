"""Which pixels of the image a feature in the middle hears, and how much."""

from dataclasses import dataclass

import numpy as np
from keras import ops

from keras_pdenets.analysis.derivatives import vjp
from keras_pdenets.analysis.inputs import batches, check_images, check_model
from keras_pdenets.graphs.graph import read_graph
from keras_pdenets.utils.checks import check_integer

# Two standard deviations of a Gaussian hold 95.45 % of it; Luo et al. count from here on.
_SHARE = 1 - 0.9545


@dataclass(frozen=True)
class ReceptiveField:
    """How much the pixels of the image act on a feature in the middle.

    Args:
        layer: Name of the layer.
        weights: Mean absolute derivatives, of shape (height, width), summed over the image's
            channels.
        images: Number of images.
    """

    layer: str
    weights: np.ndarray
    images: int

    @property
    def support(self) -> tuple[int, int]:
        """Height and width in pixels of the smallest box that holds all that is not zero."""
        return _extent(self.weights.any(axis=1)), _extent(self.weights.any(axis=0))

    @property
    def width(self) -> float:
        """Root of the number of pixels with at least 4.55 % of the largest weight, in pixels."""
        return float(np.sqrt((self.weights >= _SHARE * self.weights.max()).sum()))

    @property
    def deviation(self) -> tuple[float, float]:
        """Standard deviations of the weights along height and width, in pixels."""
        return _deviation(self.weights.sum(axis=1)), _deviation(self.weights.sum(axis=0))

    def __str__(self) -> str:
        """One line."""
        (height, width), deviation = self.support, self.deviation
        return (
            f"{self.layer}: effective width {self.width:.1f} pixels, standard deviation "
            f"{deviation[0]:.2f} x {deviation[1]:.2f}, of a field of {height} x {width}"
        )


def effective_receptive_field(model, images, layer, batch_size=32):
    r"""How much each pixel of the image acts on the centre of a layer's output.

    $$w_p = \frac1n \sum_{\text{images}} \sum_{c} \Bigl|
    \frac{\partial}{\partial x_{p,c}} \sum_o y_{\text{centre},o} \Bigr|$$

    Luo et al. 2016, arXiv 1701.04128, with all channels o of the layer at the pixel
    (height // 2, width // 2). They find a Gaussian, much narrower than the field that is possible.

    Args:
        model: Any functional or sequential Keras model on images. It is not changed.
        images: Array of images.
        layer: Name of a layer whose output is a batch of images.
        batch_size: Images in a step.

    Returns:
        A `ReceptiveField`.

    Raises:
        ValueError: If there is no such layer, its output is no image or does not depend on the
            model's input, or a number comes out that is not finite.

    Example:
    >>> import keras_pdenets
    >>> from keras_pdenets.analysis import effective_receptive_field
    >>> images, _ = keras_pdenets.data.load_sample()
    >>> model = keras_pdenets.PreActResNet20(weights="hub")
    >>> effective_receptive_field(model, images[:8], "stage0_block0_add").support
    (7, 7)
    """
    check_integer("batch_size", batch_size, 1)
    flat = check_model(model)
    images = check_images(flat, images)
    graph = read_graph(flat)
    end = _output_of(graph, layer)
    shapes = tuple(flat.inputs[0].shape), tuple(end.shape)
    if any(len(shape) != 4 for shape in shapes):
        raise ValueError(
            "`layer` must give a batch of images, from images. Received: "
            f"layer={layer!r} of shape {shapes[1]} from inputs of shape {shapes[0]}"
        )
    part = graph.between(flat.inputs[0], end)
    if not part.calls:
        raise ValueError(
            f"`layer` must depend on the model's input. Received: layer={layer!r}, which does not"
        )
    first = any(getattr(x, "data_format", "") == "channels_first" for x in flat.layers)

    def centre(x):
        y = ops.moveaxis(part(x), 1, -1) if first else part(x)
        height, width = ops.shape(y)[1:3]
        # (b, h, w, c) -> (b,)
        return ops.sum(ops.cast(y[:, height // 2, width // 2], "float32"), axis=-1)

    pull, total = vjp(centre), 0.0
    for (x,) in batches(batch_size, images):
        gradient = np.abs(pull([x], np.ones(len(x), "float32"))[1][0].astype("float64"))
        total = total + gradient.sum(axis=(0, 1 if first else 3))
    if not np.isfinite(total).all():
        raise ValueError(f"The derivatives of {layer!r} are not finite: the net has diverged.")
    if not total.any():
        raise ValueError(
            f"`layer` must depend on the images. Received: layer={layer!r}, whose centre has the "
            "derivative 0 by every pixel"
        )
    return ReceptiveField(layer, total / len(images), len(images))


def _output_of(graph, name):
    """Symbolic output of the last call of a layer."""
    calls = [call for call in graph.calls if call.layer.name == name]
    if not calls:
        names = [call.layer.name for call in graph.calls]
        raise ValueError(
            f"`layer` must be one of {', '.join(names[:3])}, ..., {names[-1]}. "
            f"Received: layer={name!r}"
        )
    return calls[-1].outputs[0]


def _extent(present):
    places = np.flatnonzero(present)
    return int(places[-1] - places[0] + 1) if len(places) else 0


def _deviation(weights):
    places = np.arange(len(weights))
    shares = weights / weights.sum()
    centre = (shares * places).sum()
    return float(np.sqrt((shares * (places - centre) ** 2).sum()))

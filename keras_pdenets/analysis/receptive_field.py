"""The effective receptive field: the weight of each pixel for a feature at the centre."""

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
    """The weight of each pixel for the features at the centre.

    Args:
        layer: Name of the layer.
        weights: Mean absolute derivatives, of shape (height, width), summed over the image's
            channels.
        images: Number of images.

    Example:
    >>> import keras
    >>> import numpy as np
    >>> from keras_pdenets.analysis import effective_receptive_field
    >>> box = keras.layers.Conv2D(1, 3, padding="same", kernel_initializer="ones", name="box")
    >>> net = keras.Sequential([keras.Input((9, 9, 1)), box])
    >>> print(effective_receptive_field(net, np.ones((2, 9, 9, 1)), "box"))
    box: effective width 3.0 pixels, standard deviation 0.82 x 0.82, in a field of 3 x 3
    """

    layer: str
    weights: np.ndarray
    images: int

    @property
    def support(self) -> tuple[int, int]:
        """Height and width in pixels of the smallest box with all non-zero weights."""
        return _extent(self.weights.any(axis=1)), _extent(self.weights.any(axis=0))

    @property
    def width(self) -> float:
        """Square root of the number of pixels with at least 4.55 % of the largest weight."""
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
            f"{deviation[0]:.2f} x {deviation[1]:.2f}, in a field of {height} x {width}"
        )


def effective_receptive_field(model, images, layer, batch_size=32):
    r"""The influence of each pixel on the centre of a layer's output.

    $$w_p = \frac1n \sum_{\text{images}} \sum_{c} \Bigl|
    \frac{\partial}{\partial x_{p,c}} \sum_o y_{\text{centre},o} \Bigr|$$

    Luo et al. 2016, arXiv 1701.04128, with all channels o of the layer at the pixel
    (height // 2, width // 2). They find a Gaussian, much narrower than the theoretical field.

    Args:
        model: Any functional or sequential Keras model on images. It is not changed.
        images: Array of images.
        layer: Name of a layer whose output is a batch of images.
        batch_size: Images per batch.

    Returns:
        A `ReceptiveField`.

    Raises:
        ValueError: If there is no such layer, its output is not an image or does not depend on the
            model's input, or a derivative is not finite.

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
            f"`layer` must depend on the images. Received: layer={layer!r}, whose centre has "
            "derivative 0 with respect to every pixel"
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
    centre = np.average(places, weights=weights)
    return float(np.sqrt(np.average((places - centre) ** 2, weights=weights)))

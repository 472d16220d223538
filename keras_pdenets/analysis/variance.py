"""The variance of the features along the depth of a net."""

from dataclasses import dataclass

import keras
import numpy as np
from keras import ops

from keras_pdenets.analysis.feature_maps import feature_maps
from keras_pdenets.analysis.inputs import check_model
from keras_pdenets.analysis.streams import batches_of, check_finite
from keras_pdenets.utils.tables import write_rows


@dataclass(frozen=True, eq=False)
class FeatureVariance:
    """Variances along the depth of a net, over images, pixels and channels together.

    Args:
        images: Number of images.
        names: Names of the layers; for a block, of its addition layer.
        kinds: `"block"`, or for a plain net `"activation"` and `"convolution"`.
        sections: Number of the section of each.
        output: Variance of the output of the block or layer; shape (places,).
        total: Variance of shortcut + residual, before an activation; NaN without blocks.
        residual: Variance of the residual alone; NaN without blocks.

    Example:
    >>> import tempfile
    >>> from pathlib import Path
    >>> import keras
    >>> import numpy as np
    >>> from keras_pdenets.analysis import feature_variance
    >>> x = keras.Input((4, 4, 1))
    >>> model = keras.Model(x, keras.layers.Add(name="block")([x, 2.0 * x]))
    >>> report = feature_variance(model, np.random.default_rng(0).normal(size=(10, 4, 4, 1)))
    >>> report.names, (report.total / report.residual).round(2)
    (('block',), array([2.25]))
    >>> file = Path(tempfile.mkdtemp(), "variance.csv")
    >>> report.write_csv(file)
    >>> file.read_text().splitlines()[0]
    'name,kind,section,output,total,residual'
    """

    images: int
    names: tuple[str, ...]
    kinds: tuple[str, ...]
    sections: tuple[int, ...]
    output: np.ndarray
    total: np.ndarray
    residual: np.ndarray

    def write_csv(self, path):
        """Write one row for each place, atomically."""
        columns = ("names", "kinds", "sections", "output", "total", "residual")
        keys = [name.removesuffix("s") for name in columns]
        values = zip(*(getattr(self, name) for name in columns), strict=True)
        write_rows(path, [dict(zip(keys, row, strict=True)) for row in values])


def feature_variance(model, images, batch_size=128):
    r"""Variance of the features after every block, with and without the shortcut.

    $$\mathrm{Var}(u_t), \qquad \mathrm{Var}(x_t + F(x_t)), \qquad \mathrm{Var}(F(x_t))$$

    Figure 5 and section 6.1, Yin et al. 2019, arXiv 1904.07568. Its red curve is `total`, the sum
    of shortcut and residual; its blue curve is `residual`, the branch alone. Both are measured in
    the same net: the shortcut is left out of the measure, not out of the net. If an activation
    follows the sum, `output` is the variance after it.

    The paper does not say over what the variance is taken. Here it is that of a random element of
    any image, pixel and channel, as in He et al. 2015, arXiv 1502.01852.

    Args:
        model: Any functional or sequential Keras model, of this package or not, nested models
            included. It is not changed; its layers run in inference mode. In a net without
            residual blocks, the places are its activations (except softmax) and convolutions.
        images: Array of images, or an iterable of batches (also with labels).
        batch_size: Images per batch, if `images` is an array.

    Returns:
        A `FeatureVariance`, in the square of the features' unit.

    Raises:
        ValueError: If the model has no graph, or no block, activation or convolution; there are no
            images or they have another shape; or features are not finite (the message names the
            place).

    Example:
    >>> import keras_pdenets
    >>> images, _ = keras_pdenets.data.load_sample()
    >>> model = keras_pdenets.PreActResNet20(weights="hub")
    >>> keras_pdenets.analysis.feature_variance(model, images[:100]).residual.shape
    (9,)
    """
    flat = check_model(model)
    places = feature_maps(flat)
    tensors = [tensor for place in places for tensor in _tensors(place)]
    rows = ops.stack([_moments(tensor) for tensor in tensors], axis=1)  # (images, tensors, 2)
    probe = keras.Model(flat.input, rows, name="variance_probe")
    names = [place.name for place in places for _ in _tensors(place)]
    means, variances = _measure(probe, names, batches_of(flat, images, batch_size))
    # Images have equal sizes: variance = mean of the variances + variance of the means.
    found = variances.mean(axis=0) + means.var(axis=0)
    blank = np.full(len(places), np.nan)
    residual, total, output = found.reshape(len(places), -1).T if places[0].block else (
        blank, blank, found
    )  # fmt: skip
    return FeatureVariance(
        len(means),
        tuple(place.name for place in places),
        tuple(place.kind for place in places),
        tuple(place.section for place in places),
        output,
        total,
        residual,
    )


def _tensors(place):
    if place.block is None:
        return (place.output,)
    return (place.block.residual, place.block.total, place.output)


def _moments(x):
    """Mean and variance of each image, of shape (images, 2)."""
    axes = tuple(range(1, len(x.shape)))
    x = ops.cast(x, "float32")
    mean = ops.mean(x, axis=axes, keepdims=True)
    # Mean of squared differences: mean of squares minus squared mean would cancel.
    variance = ops.mean(ops.square(x - mean), axis=axes)
    return ops.stack([ops.reshape(mean, (-1,)), variance], axis=-1)


def _measure(probe, names, batches):
    found, count = [], 0
    for batch in batches:
        values = np.asarray(probe.predict_on_batch(batch), dtype="float64")
        check_finite(values, lambda i, _: f"{names[i]!r} gives non-finite features", count)
        found.append(values)
        count += len(values)
    return np.moveaxis(np.concatenate(found), -1, 0)

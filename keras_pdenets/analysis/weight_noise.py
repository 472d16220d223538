"""Robustness of a net to noise on its convolution weights."""

from dataclasses import dataclass

import numpy as np
from keras import ops

from keras_pdenets.analysis.inputs import (
    batches,
    check_floats,
    check_images,
    check_labels,
    check_model,
)
from keras_pdenets.compat.keras import layers_inside
from keras_pdenets.layers.linear_maps import is_convolution
from keras_pdenets.utils.checks import check_integer
from keras_pdenets.utils.tables import write_rows


@dataclass(frozen=True, eq=False)
class WeightNoise:
    """Accuracy of a net under noise on its convolutions.

    Args:
        images: Number of images.
        levels: Size of the noise relative to each weight; shape (levels,).
        accuracy: Accuracy, 0-1; shape (levels, draws).

    Example:
    >>> import keras
    >>> import numpy as np
    >>> from keras_pdenets.analysis import weight_noise_robustness
    >>> layers = [keras.Input((4, 4, 1)), keras.layers.Conv2D(2, 3), keras.layers.Flatten()]
    >>> net = keras.Sequential([*layers, keras.layers.Dense(2)])
    >>> curve = weight_noise_robustness(net, np.ones((4, 4, 4, 1)), [0, 0, 1, 1], levels=(0.0, 0.5))
    >>> curve.accuracy.shape, curve.mean[:1], curve.spread[:1]
    ((2, 5), array([0.5]), array([0.]))
    """

    images: int
    levels: np.ndarray
    accuracy: np.ndarray

    @property
    def mean(self):
        """Mean over the draws, of shape (levels,)."""
        return self.accuracy.mean(axis=1)

    @property
    def spread(self):
        """Standard deviation over the draws, of shape (levels,); 0 for one draw."""
        draws = self.accuracy.shape[1]
        return self.accuracy.std(axis=1, ddof=min(1, draws - 1))

    def write_csv(self, path):
        """Write one row for each level and draw, atomically."""
        rows = [
            {"level": self.levels[place], "draw": draw, "accuracy": accuracy}
            for (place, draw), accuracy in np.ndenumerate(self.accuracy)
        ]
        write_rows(path, rows)


def weight_noise_robustness(
    model, images, labels, levels=(0.0, 0.1, 0.2, 0.3, 0.4, 0.5), draws=5, seed=0, batch_size=128
):
    r"""Accuracy of a net under noise proportional to its convolution weights.

    $$\tilde w = w + \varepsilon\,|w|\,\xi, \qquad \xi \sim U(-1, 1)$$

    Section 6.3 and figure 7, Yin et al. 2019, arXiv 1904.07568: noise "proportional to the absolute
    value of convolutional weights". The paper does not give the distribution; here it is uniform
    and symmetric, since one-sided noise would also enlarge every weight on average. A draw is one
    direction $\xi$ for the whole net, the same at all levels.

    The noise is added to the kernels of all convolutions; for a `PDEConv2D`, to the parameters
    $\sigma, b, c$ whose products are its kernels. Biases, dense layers and batch norms are
    unchanged.

    Args:
        model: Any functional or sequential Keras model with one input and one output (logits or
            probabilities of the classes). Its weights are restored, also after an error or an
            interrupt.
        images: Array of images.
        labels: Their classes, integers of shape (n,).
        levels: Sizes $\varepsilon$ of the noise, finite and not negative.
        draws: Number of draws.
        seed: Seed of the draws, a non-negative integer; equal on every backend.
        batch_size: Images per batch.

    Returns:
        A `WeightNoise`. A prediction that is not finite counts as wrong.

    Raises:
        ValueError: If the model has no convolution or does not classify, the data do not fit it,
            or an argument is out of range.

    Example:
    >>> import keras_pdenets
    >>> images, labels = keras_pdenets.data.load_sample()
    >>> model = keras_pdenets.PreActResNet20(weights="hub")
    >>> curve = keras_pdenets.analysis.weight_noise_robustness(
    ...     model, images[:50], labels[:50], levels=(0.0, 0.2), draws=2
    ... )
    >>> curve.accuracy.shape
    (2, 2)
    """
    levels = _check_levels(levels)
    draws = check_integer("draws", draws, 1)
    seed = check_integer("seed", seed, 0)
    flat = check_model(model)
    images = check_images(flat, images)
    labels = check_labels(flat, labels, len(images))
    variables = conv_variables(flat)
    # A copy: `convert_to_numpy` may return the variable's own memory.
    kept = [np.array(ops.convert_to_numpy(variable)) for variable in variables]
    wide = [np.asarray(kernel, "float64") for kernel in kept]
    accuracy = np.zeros((len(levels), draws))
    try:
        for draw in range(draws):
            rng = np.random.default_rng([seed, draw])
            noise = [np.abs(w) * rng.uniform(-1.0, 1.0, w.shape) for w in wide]
            for place, level in enumerate(levels):
                for variable, w, change in zip(variables, wide, noise, strict=True):
                    variable.assign(w + level * change)
                accuracy[place, draw] = _accuracy(flat, images, labels, batch_size)
    finally:
        for variable, kernel in zip(variables, kept, strict=True):
            variable.assign(kernel)
    return WeightNoise(len(labels), levels, accuracy)


def conv_variables(model):
    """The variables behind the kernels of all convolutions, also inside other layers.

    Raises:
        ValueError: If there is none.
    """
    found = [
        variable
        for layer in layers_inside(model)
        if is_convolution(layer)
        for variable in layer.weights
        if variable.name != "bias"
    ]
    if not found:
        raise ValueError(
            "`model` must have convolutions, whose weights get the noise. "
            f"Received: {model.name!r} without any"
        )
    return found


def _check_levels(levels):
    found = np.atleast_1d(check_floats("levels", levels))
    if found.ndim != 1 or not found.size or not (np.isfinite(found) & (found >= 0)).all():
        raise ValueError(f"`levels` must be finite numbers >= 0. Received: levels={levels!r}")
    return found


def _accuracy(model, images, labels, batch_size):
    right = 0
    for batch, truth in batches(batch_size, images, labels):
        answers = np.asarray(model.predict_on_batch(batch), "float64")
        finite = np.isfinite(answers).all(axis=1)
        right += int(((answers.argmax(axis=1) == truth) & finite).sum())
    return right / len(images)

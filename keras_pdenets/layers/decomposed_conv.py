"""A 3x3 convolution decomposed into two one-dimensional ones."""

import keras

from keras_pdenets.layers.bordered_conv import BorderedConv2D
from keras_pdenets.utils.checks import check_integer


@keras.saving.register_keras_serializable(package="keras_pdenets")
class DecomposedConv2D(BorderedConv2D):
    r"""1x3 convolution followed by a 3x1 convolution, with nothing in between.

    $$y_o = \sum_m k^{col}_{mo} * \Big(\sum_n k^{row}_{nm} * x_n\Big)$$

    The decomposed net of section 6.2, Yin et al. 2019, arXiv 1904.07568: 3 + 3 parameters per pair
    of channels instead of 9, and two thirds of the multiplications.

    Deviation from the paper: it does not specify the width between the two; here it is
    `mid_filters`. Initial variances are 1/(3n) and 2/(3m) for n input and m middle channels: He's,
    with the factor 2 only before a ReLU.

    Args:
        filters: Number of output channels.
        mid_filters: Number of channels between the two convolutions: an integer, `"output"`
            (`filters`) or `"input"` (the input channels).
        strides: Step of the output grid, in pixels.
        boundary: Values beyond the border: `"zero"`, `"replicate"` (Neumann), `"reflect"` or
            `"periodic"`.
        use_bias: Whether to add a trainable constant to each filter.
        data_format: `"channels_last"`, `"channels_first"`, or None for Keras' default.
        seed: Seed of the initial values, or None.

    Input shape:
        `(batch, height, width, channels)`, or `(batch, channels, height, width)`.

    Output shape:
        The same with `filters` channels and sides `ceil(side / strides)`.

    Raises:
        ValueError: If an argument is outside its range, or the input is not a batch of images.

    Example:
    >>> import numpy as np
    >>> import keras_pdenets
    >>> layer = keras_pdenets.layers.DecomposedConv2D(8, mid_filters="input", strides=2)
    >>> tuple(layer(np.ones((2, 5, 5, 3), "float32")).shape)
    (2, 3, 3, 8)
    """

    def __init__(
        self,
        filters,
        mid_filters="output",
        strides=1,
        boundary="zero",
        use_bias=True,
        data_format=None,
        seed=None,
        **kwargs,
    ):
        super().__init__(filters, strides, boundary, use_bias, data_format, seed, **kwargs)
        if mid_filters not in ("output", "input"):
            check_integer("mid_filters", mid_filters, 1)
        self.mid_filters = mid_filters

    def add_kernels(self, channels):
        """Create the kernel along the rows and the one along the columns."""
        middle = {"output": self.filters, "input": channels}.get(self.mid_filters, self.mid_filters)
        self.row_kernel = self._add_kernel("row_kernel", (1, 3, channels, middle), gain=1.0)
        self.column_kernel = self._add_kernel("column_kernel", (3, 1, middle, self.filters), 2.0)

    def _add_kernel(self, name, shape, gain):
        initializer = keras.initializers.RandomNormal(
            stddev=(gain / (3 * shape[2])) ** 0.5, seed=self.seed_of(shape[0] - 1)
        )
        return self.add_weight(name=name, shape=shape, initializer=initializer)

    def kernels(self):
        """The kernel along the rows, then the one along the columns."""
        return self.row_kernel, self.column_kernel

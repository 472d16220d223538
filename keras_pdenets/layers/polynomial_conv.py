"""Convolution whose coefficients depend on the position."""

import keras
from keras import ops

from keras_pdenets.layers import images
from keras_pdenets.layers.bordered_conv import BorderedConv2D
from keras_pdenets.utils.checks import check_choice


@keras.saving.register_keras_serializable(package="keras_pdenets")
class PolynomialConv2D(BorderedConv2D):
    r"""3x3 convolution whose weights are polynomials of the position, of degree 0 or 1.

    $$y = K_0 * u + x\,(K_1 * u) + y\,(K_2 * u)$$

    The variable coefficients of section 3, Liu et al. 2023, arXiv 2308.01621; an example is
    $\partial_t u = -y\,\partial_x u + x\,\partial_y u$, which rotates the image. x runs along the
    columns and y along the rows, from the centre of the image, in units of half its longer side:
    from -1 to 1.

    Args:
        filters: Number of output channels.
        degree: 0 (a plain convolution with a boundary condition) or 1.
        strides: Step of the output grid, in pixels.
        boundary: Values beyond the border: `"zero"`, `"replicate"` (Neumann), `"reflect"` or
            `"periodic"`.
        use_bias: Whether to add a trainable constant to each filter.
        data_format: `"channels_last"`, `"channels_first"`, or None for Keras' default.
        seed: Seed of the initial values, or None. $K_0$ is He-normal, $K_1$ and $K_2$ start at 0.

    Input shape:
        `(batch, height, width, channels)`, or `(batch, channels, height, width)`.

    Output shape:
        The same with `filters` channels and sides `ceil(side / strides)`.

    Raises:
        ValueError: If an argument is outside its range, or the input is not a batch of images.

    Example:
    >>> import numpy as np
    >>> import keras_pdenets
    >>> layer = keras_pdenets.layers.PolynomialConv2D(8, degree=1, boundary="replicate")
    >>> tuple(layer(np.ones((2, 5, 5, 3), "float32")).shape)
    (2, 5, 5, 8)
    """

    def __init__(
        self,
        filters,
        degree=1,
        strides=1,
        boundary="zero",
        use_bias=True,
        data_format=None,
        seed=None,
        **kwargs,
    ):
        super().__init__(filters, strides, boundary, use_bias, data_format, seed, **kwargs)
        self.degree = check_choice("degree", degree, (0, 1))

    def add_kernels(self, channels):
        """Create the kernel of the constant term, and those of the two coordinates."""
        shape = (3, 3, channels, self.filters)
        self.kernel = self.add_weight(
            name="kernel", shape=shape, initializer=keras.initializers.HeNormal(self.seed)
        )
        self.slope_kernels = []
        if self.degree:
            self.slope_kernels = [
                self.add_weight(name=f"kernel_{axis}", shape=shape, initializer="zeros")
                for axis in "xy"
            ]

    def kernels(self):
        """All kernels, concatenated."""
        return (ops.concatenate([self.kernel, *self.slope_kernels], axis=-1),)

    @property
    def varies(self):
        """Whether the coefficients depend on the position."""
        return self.degree > 0

    def kernels_by_term(self):
        """One term per kernel."""
        return tuple((kernel,) for kernel in (self.kernel, *self.slope_kernels))

    def call(self, inputs):
        """Convolve a batch of images."""
        outputs = self.convolve(inputs, *self.kernels())
        if self.degree:
            axis = images.channel_axis(self.data_format)
            constant, along_x, along_y = ops.split(outputs, 3, axis=axis)
            x, y = self._coordinates(inputs)
            outputs = constant + x * along_x + y * along_y
        return self.add_bias(outputs)

    def _coordinates(self, inputs):
        """Coordinates x and y of the output's pixels, shaped to broadcast over images."""
        axes = images.spatial_axes(self.data_format)
        height, width = (ops.shape(inputs)[axis] for axis in axes)
        # Half precision is too coarse for the pixels of a large image.
        wide = "float64" if self.compute_dtype == "float64" else "float32"
        half = ops.cast(ops.maximum(height, width), wide) / 2.0
        found = []
        for side, axis in ((width, axes[1]), (height, axes[0])):
            places = ops.cast(ops.arange(0, side, self.strides), wide)
            centre = (ops.cast(side, wide) - 1.0) / 2.0
            shape = [-1 if a == axis else 1 for a in range(4)]
            found.append(ops.reshape((places - centre) / half, shape))
        return [ops.cast(values, self.compute_dtype) for values in found]

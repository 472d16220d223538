"""Products of features and their derivatives: a step of a quasi-linear hyperbolic system."""

from dataclasses import dataclass

import keras
from keras import ops

from keras_pdenets.layers import images
from keras_pdenets.layers.depthwise_stencil import DepthwiseStencil2D
from keras_pdenets.layers.on_images import OnImages
from keras_pdenets.utils.checks import check_choice, check_flag, check_integer

_LARGEST_FULL_TENSOR = 64


@dataclass(frozen=True)
class Form:
    """The parts of one form of the product, for n input and o output channels and multiplier m.

    Args:
        coefficients: Width of the 1x1 convolution C that computes the coefficients: `"hidden"`
            (m n), `"input"` (n), `"output"` (o), or None.
        shared: Valid values of `shared_stencil`, the default first.
        lift: Whether a 1x1 convolution precedes the stencils.
        derivative_of_product: Whether the stencils act on the product (a conservation law).
        stencil_per_hidden: Whether each hidden channel has one stencil, instead of m for each input
            channel.
        stencil_norm: Whether batch norm follows the stencils.
        mixing: Whether a 1x1 convolution to o channels follows.
        symmetric: Whether the weights can absorb every invertible matrix that mixes the channels.
    """

    coefficients: str | None = "hidden"
    shared: tuple[bool, ...] = (True, False)
    lift: bool = False
    derivative_of_product: bool = False
    stencil_per_hidden: bool = False
    stencil_norm: bool = True
    mixing: bool = True
    symmetric: bool = False


FORMS = {
    3: Form(),
    4: Form(coefficients="output"),
    5: Form(mixing=False),
    6: Form(coefficients="input", derivative_of_product=True),
    7: Form(shared=(False,), derivative_of_product=True, stencil_per_hidden=True),
    "cp": Form(shared=(False,), lift=True, stencil_per_hidden=True, symmetric=True),
    "full": Form(coefficients=None, shared=(True,), stencil_norm=False, symmetric=True),
}


def check_equation(equation, shared_stencil):
    """Return the form's `shared_stencil`, or raise a ValueError with the valid values."""
    defined = FORMS[check_choice("equation", equation, FORMS)].shared
    if shared_stencil is None:
        return defined[0]
    check_flag("shared_stencil", shared_stencil)
    if shared_stencil not in defined:
        raise ValueError(
            f"`shared_stencil` must be {' or '.join(map(str, defined))} for equation={equation!r}: "
            f"the paper defines no other. Received: shared_stencil={shared_stencil!r}"
        )
    return bool(shared_stencil)


@keras.saving.register_keras_serializable(package="keras_pdenets")
class QuasiLinear2D(OnImages):
    r"""Products of features and their derivatives, in seven forms.

    With $D_d$ trainable 3x3 stencils (`DepthwiseStencil2D`) and A, C, P, Q, R matrices (1x1
    convolutions without bias), the output $F(u)$ is

    | equation | F(u) |
    |---|---|
    | 3 | $\sum_{j,d} A_{i,jd}\; N(D_d u_j) \sum_k C_{jd,k} u_k$ |
    | 4 | $\big(\sum_{j,d} A_{i,jd}\, N(D_d u_j)\big) \sum_k C_{ik} u_k$ |
    | 5 | $\sum_d N(D_d u_i) \sum_k C_{id,k} u_k$ |
    | 6 | $\sum_{j,d} A_{i,jd}\, N\big(D_d (u_j \sum_k C_{jk} u_k)\big)$ |
    | 7 | $\sum_{j,d} A_{i,jd}\, N\big(D_{jd} (u_j \sum_k C_{jd,k} u_k)\big)$ |
    | `"cp"` | $\sum_r P_{ir}\; N\big(D_r \sum_j Q_{rj} u_j\big) \sum_k R_{rk} u_k$ |
    | `"full"` | $\sum_{d,j,k} A_{i,djk}\; D_d u_j\; u_k$ |

    Eq. (3)-(7) and (1)-(2), Liu et al. 2023, arXiv 2308.01621; N is batch norm. `"cp"` is the full
    tensor as a sum of r = m n products of three vectors (CP decomposition). It and the full tensor
    keep their form when the channels are mixed by any invertible matrix; Eq. (3)-(7) only when they
    are permuted and scaled.

    Deviations from the paper: Eq. (4) has one C, consistent with its parameter counts, and the
    initial values preserve the variance (the paper gives none).

    Args:
        filters: Number o of output channels.
        equation: 3, 4, 5, 6, 7, `"cp"` or `"full"`.
        multiplier: Hidden channels per input channel, m; the paper uses 4 and 6.
        shared_stencil: Whether all channels share the stencils. None: True for 3-6 and `"full"`,
            False for 7 and `"cp"`, the only value for `"full"`, 7 and `"cp"`.
        strides: Step of the output grid, in pixels. Eq. (6) and (7) multiply on the full grid.
        boundary: Values beyond the border: `"zero"`, `"replicate"` (Neumann), `"reflect"` or
            `"periodic"`.
        use_bias: Whether the last 1x1 convolution has a bias, as after folding a batch norm.
        train_norm: Whether the batch norm is trained and updates its averages, if the layer is
            trainable.
        data_format: `"channels_last"`, `"channels_first"`, or None for Keras' default.
        seed: Seed of the initial values, or None.

    Input shape:
        `(batch, height, width, channels)`, or `(batch, channels, height, width)`.

    Output shape:
        The same with `filters` channels and sides `ceil(side / strides)`.

    Raises:
        ValueError: If an argument is outside its range, the paper does not define the
            combination, or the input is not a batch of images.

    Example:
    >>> import numpy as np
    >>> import keras_pdenets
    >>> layer = keras_pdenets.layers.QuasiLinear2D(16, equation="cp", multiplier=2, strides=2)
    >>> tuple(layer(np.ones((2, 8, 8, 8), "float32")).shape)
    (2, 4, 4, 16)
    """

    def __init__(
        self,
        filters,
        equation=3,
        multiplier=4,
        shared_stencil=None,
        strides=1,
        boundary="zero",
        use_bias=False,
        train_norm=True,
        data_format=None,
        seed=None,
        **kwargs,
    ):
        super().__init__(filters, strides, boundary, use_bias, data_format, seed, **kwargs)
        self.shared_stencil = check_equation(equation, shared_stencil)
        self.equation = equation
        self.form = FORMS[equation]
        self.multiplier = check_integer("multiplier", multiplier, 1)
        if self.use_bias and equation in (4, 5):
            raise ValueError(
                f"`use_bias` must be False for equation={equation}: it ends in a product. "
                "Received: use_bias=True"
            )
        self.train_norm = check_flag("train_norm", train_norm)

    def add_own_weights(self, input_shape, channels):
        """Create the convolutions inside, and the batch norm."""
        hidden = self.multiplier * channels
        self._check_channels(channels, hidden)
        form, axis = self.form, images.channel_axis(self.data_format)

        def shape(width, strides=1):
            return images.strided_shape(input_shape, width, strides, self.data_format)

        product_strides = 1 if form.derivative_of_product else self.strides
        self.lift = self.coefficients = self.stencil_norm = self.mixing = None
        if form.lift:
            self.lift = self._pointwise("lift", hidden, shape(channels))
        if form.coefficients:
            widths = {"hidden": hidden, "input": channels, "output": self.filters}
            self.coefficients = self._pointwise(
                "coefficients", widths[form.coefficients], shape(channels), product_strides
            )
        self.stencils = DepthwiseStencil2D(
            1 if form.stencil_per_hidden else self.multiplier,
            shared=self.shared_stencil,
            strides=self.strides,
            boundary=self.boundary,
            data_format=self.data_format,
            seed=self.seed_of(1),
            dtype=self.dtype_policy,
            name="stencils",
        )
        self.stencils.build(shape(hidden if form.stencil_per_hidden else channels))
        if form.stencil_norm:
            self.stencil_norm = keras.layers.BatchNormalization(
                axis=axis, momentum=0.9, epsilon=1e-5, dtype=self.dtype_policy, name="stencil_norm"
            )
            self.stencil_norm.build(shape(hidden, self.strides))
        if form.mixing:
            products = hidden * channels if self.equation == "full" else hidden
            self.mixing = self._pointwise(
                "mixing", self.filters, shape(products, self.strides), use_bias=self.use_bias
            )
        # The layers inside are new and do not have the flag yet.
        for part in (self.lift, self.stencils, self.coefficients, self.mixing):
            if part is not None:
                part.trainable = self.trainable
        self.set_norm_trainable(self.train_norm)

    def _check_channels(self, channels, hidden):
        if self.equation == 5 and hidden % self.filters:
            raise ValueError(
                f"`filters` must divide multiplier * channels = {hidden} for equation=5, which "
                f"sums groups of these. Received: filters={self.filters}"
            )
        if self.equation == "full" and channels > _LARGEST_FULL_TENSOR:
            raise ValueError(
                f"`equation='full'` allows up to {_LARGEST_FULL_TENSOR} channels: its tensor grows "
                f"with their cube. 'cp' has the same symmetry. Received: {channels} channels"
            )

    def _pointwise(self, name, filters, input_shape, strides=1, use_bias=False):
        layer = keras.layers.Conv2D(
            filters,
            1,
            strides,
            use_bias=use_bias,
            kernel_initializer=keras.initializers.LecunNormal(
                self.seed_of(("lift", "stencils", "coefficients", "mixing").index(name))
            ),
            data_format=self.data_format,
            dtype=self.dtype_policy,
            name=name,
        )
        layer.build(input_shape)
        return layer

    @property
    def trainable(self):
        """Whether the layer is trained; its batch norm only if `train_norm` is set too."""
        return keras.layers.Layer.trainable.fget(self)

    @trainable.setter
    def trainable(self, value):
        # Keras would unfreeze all layers inside.
        keras.layers.Layer.trainable.fset(self, value)
        self._hold_norm()

    def set_norm_trainable(self, trainable):
        """Freeze or unfreeze the batch norm alone; this is part of the config."""
        self.train_norm = bool(trainable)
        self._hold_norm()

    def _hold_norm(self):
        norm = getattr(self, "stencil_norm", None)
        if norm is not None:
            norm.trainable = self.train_norm and self.trainable

    def call(self, inputs, training=None):
        """Multiply features and derivatives."""

        def apply(name, x):
            mode = {"training": training} if name == "stencil_norm" else {}
            return getattr(self, name)(x, **mode)

        return self.combine(ops.cast(inputs, self.compute_dtype), apply)

    def combine(self, inputs, apply):
        """The output, with the layers inside applied by a function.

        Args:
            inputs: Batch of images.
            apply: Function of a layer's name and its input; the results must support products.
        """
        if self.equation == "full":
            return apply("mixing", self._all_products(apply("stencils", inputs), inputs))
        factor = apply("coefficients", inputs)
        if self.form.derivative_of_product:
            axis, repeats = images.channel_axis(self.data_format), self.multiplier
            repeated = inputs if self.equation == 6 else ops.repeat(inputs, repeats, axis)
            return apply("mixing", apply("stencil_norm", apply("stencils", factor * repeated)))
        lifted = inputs if self.lift is None else apply("lift", inputs)
        derivatives = apply("stencil_norm", apply("stencils", lifted))
        if self.equation == 4:
            return apply("mixing", derivatives) * factor
        products = derivatives * factor
        return self._sum_groups(products) if self.mixing is None else apply("mixing", products)

    def _sum_groups(self, products):
        """Sums over groups of neighbouring channels, one group for each filter."""
        axis = 3 if self.data_format == "channels_last" else 1
        shape = [-1, *products.shape[1:]]
        if None in shape:
            shape = list(ops.shape(products))
        shape[axis : axis + 1] = [self.filters, products.shape[axis] // self.filters]
        return ops.sum(ops.reshape(products, shape), axis=axis + 1)

    def _all_products(self, derivatives, inputs):
        s, axis = self.strides, 3 if self.data_format == "channels_last" else 1
        values = inputs[:, ::s, ::s] if axis == 3 else inputs[:, :, ::s, ::s]
        left = ops.repeat(derivatives, inputs.shape[axis], axis=axis)
        right = ops.concatenate([values] * derivatives.shape[axis], axis=axis)
        return left * right

"""The learnable second-order differential operator."""

import difflib

import keras
from keras import ops

from keras_pdenets.layers.bordered_conv import BorderedConv2D
from keras_pdenets.operators.pde import (
    derivative_factors,
    pde_basis,
    pde_initial_scales,
    pde_orthonormal_basis,
)
from keras_pdenets.utils.checks import check_flag

FORMS = ("quadratic", "linear")


def check_form(form, normalize):
    """Return `form`, or raise ValueError with the nearest name."""
    if form not in FORMS:
        near = difflib.get_close_matches(str(form), FORMS, n=1, cutoff=0.0)[0]
        raise ValueError(
            f"`form` must be one of {', '.join(FORMS)}; the nearest is {near}. "
            f"Received: form={form!r}"
        )
    if form == "linear" and normalize:
        raise ValueError(
            "`normalize` must be False for form='linear', whose numbers belong to no stencil: "
            "`coefficients()` gives those of the true derivatives. Received: normalize=True"
        )
    return form


@keras.saving.register_keras_serializable(package="keras_pdenets")
class PDEConv2D(BorderedConv2D):
    r"""3x3 convolution whose every kernel is a second-order differential operator.

    For each pair of an input channel and a filter

    $$\sigma_1^2 \partial_{xx} + \sigma_2^2 \partial_{yy} + b_1 b_2 \partial_{xy}
      + b_1 c_2 \partial_x + b_2 c_1 \partial_y + c_1 c_2$$

    Eq. (44), Yin et al. 2019, arXiv 1904.07568, summed over the input channels. The six
    parameters of a pair are trainable: 6 in place of the 9 of `Conv2D`. x runs along the columns,
    y along the rows, the grid spacing is 1 pixel. That is `form="quadratic"`: diffusion is never
    negative, and the four last factors are products of four numbers. With `form="linear"` all six
    are free,

    $$d_{xx} \partial_{xx} + d_{yy} \partial_{yy} + d_{xy} \partial_{xy} + d_x \partial_x
      + d_y \partial_y + d$$

    which holds every operator of Eq. (44), with as many parameters. They are trained as
    coordinates in an orthonormal basis of the six stencils (`operators.pde_orthonormal_basis`), so
    that weight decay and optimizer see the kernel itself; `coefficients` gives the six factors.

    Deviations from the paper: stencils are cross-correlations `[-1, 0, 1]` (the paper's
    `[1, 0, -1]` is a true convolution; the class of operators is the same); the initialisation,
    which the paper does not give, matches He's second moment (`operators.pde_initial_scales`).

    Args:
        filters: Number of output channels.
        strides: Step of the output grid, in pixels.
        boundary: Values beyond the border: `"zero"`, `"replicate"` (Neumann), `"reflect"` or
            `"periodic"`.
        normalize: False: the stencils as printed, without the factors 1/2. True: true
            derivatives, $\tfrac12\sigma_1^2\partial_{xx}$ and so on (Eq. 18-20). For the quadratic
            form only.
        form: `"quadratic"` (Eq. 44) or `"linear"` (six free factors).
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
    >>> layer = keras_pdenets.layers.PDEConv2D(8, boundary="periodic")
    >>> tuple(layer(np.ones((2, 5, 5, 3), "float32")).shape)
    (2, 5, 5, 8)
    """

    def __init__(
        self,
        filters,
        strides=1,
        boundary="zero",
        normalize=False,
        form="quadratic",
        use_bias=True,
        data_format=None,
        seed=None,
        **kwargs,
    ):
        super().__init__(filters, strides, boundary, use_bias, data_format, seed, **kwargs)
        self.normalize = check_flag("normalize", normalize)
        self.form = check_form(form, self.normalize)

    def add_kernels(self, channels):
        """The parameters of the operators."""
        shape = (channels, self.filters)
        if self.form == "linear":
            # E|K|^2 = 6 / (3 n) = 2 / n, as of He's kernels: the basis is orthonormal.
            scale = (1.0 / (3.0 * channels)) ** 0.5
            self.coordinates = self._add("kernel_coordinates", (6, *shape), scale, 0)
            return
        scales = pde_initial_scales(channels, self.normalize)
        self.sigma, self.b, self.c = (
            self._add(name, (2, *shape), scale, index)
            for index, (name, scale) in enumerate(zip(("sigma", "b", "c"), scales, strict=True))
        )

    def _add(self, name, shape, scale, index):
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=keras.initializers.RandomNormal(stddev=scale, seed=self.seed_of(index)),
            # Sums and products of parameters lose half of bfloat16's digits: the kernel is
            # assembled in float32.
            autocast=False,
        )

    def coefficients(self):
        r"""Factors of $\partial_{xx}, \partial_{yy}, \partial_{xy}, \partial_x, \partial_y, 1$.

        They are those of the true derivatives, for a grid spacing of 1 pixel, whatever the form.

        Returns:
            Tensor of shape (6, input channels, filters), in the variables' dtype.
        """
        basis, numbers = self._expansion()
        change = ops.cast(derivative_factors(basis), numbers.dtype)
        return ops.einsum("jk,kno->jno", change, numbers)

    def assemble_kernel(self):
        """The 3x3 kernel, of shape (3, 3, input channels, filters), in the variables' dtype."""
        basis, numbers = self._expansion()
        # matmul and tensordot would round float64 to float32 on torch.
        return ops.einsum("khw,kno->hwno", ops.cast(basis, numbers.dtype), numbers)

    def _expansion(self):
        """Six kernels, and what each of them is multiplied by for every pair."""
        if self.form == "linear":
            return pde_orthonormal_basis(), ops.convert_to_tensor(self.coordinates)
        s, b, c = (ops.convert_to_tensor(w) for w in (self.sigma, self.b, self.c))
        # (2, n, o) -> (6, n, o), the order of the rows of PDE_STENCILS
        products = ops.concatenate(
            [ops.square(s), ops.stack([b[0] * b[1], b[0] * c[1], b[1] * c[0], c[0] * c[1]])]
        )
        return pde_basis(self.normalize), products

    def kernels(self):
        """One."""
        return (self.assemble_kernel(),)

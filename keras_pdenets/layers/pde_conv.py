"""The learnable second-order differential operator."""

import keras
import numpy as np
from keras import ops

from keras_pdenets.layers.bordered_conv import BorderedConv2D
from keras_pdenets.layers.precision import as_float64
from keras_pdenets.operators.pde import (
    PDE_TERMS,
    check_terms,
    derivative_factors,
    pde_basis,
    pde_coefficients,
    pde_initial_scales,
    pde_orthonormal_basis,
)
from keras_pdenets.utils.checks import check_flag, lookup

# The names of the weights of each form. They differ, lest one be loaded for the other.
_WEIGHTS = {
    "quadratic": ("sigma", "b", "c"),
    "signed": ("signed_sigma", "b", "c"),
    "linear": ("kernel_coordinates",),
    "stencils": ("kernel_factors",),
}
FORMS = tuple(_WEIGHTS)
COEFFICIENTS = tuple(dict.fromkeys(_WEIGHTS["quadratic"] + _WEIGHTS["signed"]))


def check_form(form, terms, normalize):
    """Return the form and its terms, or raise ValueError."""
    names = lookup("form", form, _WEIGHTS)
    if form == "linear" and normalize:
        raise ValueError(
            "`normalize` must be False for form='linear', whose numbers belong to no stencil: "
            "`coefficients()` gives those of the true derivatives. Received: normalize=True"
        )
    if terms is None:
        return form, None
    if len(names) > 1:
        raise ValueError(
            f"`terms` must be None for form={form!r}: Eq. (44) has six. The other forms take any "
            f"stencils. Received: terms={terms!r}"
        )
    return form, check_terms(terms)


def form_in(names):
    """The form of PDE layers among names of variables, or None."""
    last = [name.rpartition("/")[2] for name in names]
    for form, (first, *_) in _WEIGHTS.items():
        if any(name.startswith(first) for name in last):
            return form
    return None


@keras.saving.register_keras_serializable(package="keras_pdenets")
class PDEConv2D(BorderedConv2D):
    r"""3x3 convolution whose every kernel is a second-order differential operator.

    For each pair of an input channel and a filter

    $$\sigma_1^2 \partial_{xx} + \sigma_2^2 \partial_{yy} + b_1 b_2 \partial_{xy}
      + b_1 c_2 \partial_x + b_2 c_1 \partial_y + c_1 c_2$$

    Eq. (44), Yin et al. 2019, arXiv 1904.07568, summed over the input channels. The six
    parameters of a pair are trainable: 6 in place of the 9 of `Conv2D`. x runs along the columns,
    y along the rows, the grid spacing is 1 pixel. That is `form="quadratic"`: diffusion is never
    negative, and the four last factors are products of four numbers. With `form="linear"`, the
    default, all six are free,

    $$d_{xx} \partial_{xx} + d_{yy} \partial_{yy} + d_{xy} \partial_{xy} + d_x \partial_x
      + d_y \partial_y + d$$

    which holds every operator of Eq. (44), with as many parameters. They are trained as
    coordinates in an orthonormal basis of the six stencils (`operators.pde_orthonormal_basis`), so
    that weight decay and optimizer see the kernel itself; `coefficients` gives the six factors.
    It is the default because nets of it learn as well as those of full convolutions, which nets of
    Eq. (44) do not (`tuning/results/zoo/fashion_mnist_20_pde`).
    Two more forms are there for comparison: `"signed"` is Eq. (44) with
    $\sigma |\sigma|$ in place of $\sigma^2$, `"stencils"` has the factors of the six stencils
    themselves as its parameters.

    The free forms take other `terms` as well: fewer, or $\partial_{xxy}$, $\partial_{xyy}$ and
    $\partial_{xxyy}$, with which the nine span all 3x3 kernels, those of `Conv2D`.

    Deviations from the paper: the default form; stencils are cross-correlations `[-1, 0, 1]` (the
    paper's `[1, 0, -1]` is a true convolution; the class of operators is the same); the
    initialisation, which the paper does not give, matches He's second moment
    (`operators.pde_initial_scales`).

    Args:
        filters: Number of output channels.
        strides: Step of the output grid, in pixels.
        boundary: Values beyond the border: `"zero"`, `"replicate"` (Neumann), `"reflect"` or
            `"periodic"`.
        normalize: False: the stencils as printed, without the factors 1/2. True: true
            derivatives, $\tfrac12\sigma_1^2\partial_{xx}$ and so on (Eq. 18-20). Not for the linear
            form.
        form: `"linear"` (free factors), `"quadratic"` (Eq. 44), `"signed"` or `"stencils"`.
        terms: Names of the k stencils, of `"dxx"`, `"dyy"`, `"dxy"`, `"dx"`, `"dy"`, `"id"`,
            `"dxxy"`, `"dxyy"` and `"dxxyy"`; None: the first six, those of Eq. (44).
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
        form="linear",
        terms=None,
        use_bias=True,
        data_format=None,
        seed=None,
        **kwargs,
    ):
        super().__init__(filters, strides, boundary, use_bias, data_format, seed, **kwargs)
        self.normalize = check_flag("normalize", normalize)
        self.form, self.terms = check_form(form, terms, self.normalize)
        self.stencils = self.terms or PDE_TERMS

    def add_kernels(self, channels):
        """The parameters of the operators."""
        shape = (channels, self.filters)
        names = _WEIGHTS[self.form]
        if len(names) == 1:
            self.coordinates = self._add_coordinates(names[0], len(self.stencils), shape)
            return
        scales = pde_initial_scales(channels, self.normalize)
        self.sigma, self.b, self.c = (
            self._add(name, (2, *shape), self._normal(scale, index))
            for index, (name, scale) in enumerate(zip(names, scales, strict=True))
        )

    def _add_coordinates(self, name, count, shape):
        # E|K|^2 = k * 2 / (k n) = 2 / n, as of He's kernels: the basis is orthonormal.
        start = self._normal((2.0 / (count * shape[0])) ** 0.5, 0)
        if self.form == "stencils":  # the same kernels, in other coordinates
            start = _changed(start, self._basis().reshape(count, 9), self.stencils)
        name = "_".join((name, *(self.terms or ())))
        return self._add(name, (count, *shape), start)

    def _normal(self, scale, index):
        return keras.initializers.RandomNormal(stddev=scale, seed=self.seed_of(index))

    def _add(self, name, shape, initializer):
        # Sums and products of parameters lose half of bfloat16's digits: the kernel is assembled
        # in float32.
        return self.add_weight(name=name, shape=shape, initializer=initializer, autocast=False)

    def coefficients(self):
        r"""Factors of $\partial_{xx}, \partial_{yy}, \partial_{xy}, \partial_x, \partial_y, 1$.

        They are those of the true derivatives, for a grid spacing of 1 pixel, whatever the form.
        A layer with other `terms` gives those of its own, in the order of `operators.STENCILS`.

        Returns:
            Tensor of shape (6 or k, input channels, filters), in the variables' dtype.

        Example:
        >>> import keras_pdenets
        >>> layer = keras_pdenets.layers.PDEConv2D(8, form="linear", terms=["dxx", "dyy", "id"])
        >>> layer.build((None, 5, 5, 2))
        >>> tuple(layer.coefficients().shape)
        (3, 2, 8)
        """
        numbers = self._numbers()
        change = ops.cast(derivative_factors(self._basis(), self.stencils), numbers.dtype)
        return ops.einsum("jk,kno->jno", change, numbers)

    def assemble_kernel(self):
        """The 3x3 kernel, of shape (3, 3, input channels, filters), in the variables' dtype."""
        numbers = self._numbers()
        # matmul and tensordot would round float64 to float32 on torch.
        return ops.einsum("khw,kno->hwno", ops.cast(self._basis(), numbers.dtype), numbers)

    def _basis(self):
        """Kernels, shape (k, 3, 3), in NumPy."""
        if self.form == "linear":
            return pde_orthonormal_basis(self.stencils)
        return pde_basis(self.normalize, self.stencils)

    def _numbers(self):
        """What each of them is multiplied by for every pair; shape (k, inputs, filters)."""
        if len(_WEIGHTS[self.form]) == 1:
            return ops.convert_to_tensor(self.coordinates)
        s, b, c = (ops.convert_to_tensor(w) for w in (self.sigma, self.b, self.c))
        diffusion = ops.square(s) if self.form == "quadratic" else s * ops.abs(s)
        # (2, n, o) -> (6, n, o), the order of the rows of PDE_STENCILS
        return ops.concatenate(
            [diffusion, ops.stack([b[0] * b[1], b[0] * c[1], b[1] * c[0], c[0] * c[1]])]
        )

    def exact_expansion(self):
        """The kernels that those of all pairs are sums of, and their factors, in 64 bits.

        Returns:
            NumPy arrays of shape (k, 3, 3) and (k, input channels, filters).
        """
        if len(_WEIGHTS[self.form]) == 1:
            return self._basis(), as_float64(self.coordinates)
        parameters = (as_float64(w) for w in (self.sigma, self.b, self.c))
        return self._basis(), pde_coefficients(*parameters, signed=self.form == "signed")

    def kernels(self):
        """One."""
        return (self.assemble_kernel(),)


def _changed(start, stencils, terms):
    """An initialiser of factors of stencils, from one of coordinates in the orthonormal basis."""
    orthonormal = pde_orthonormal_basis(terms).reshape(-1, 9)
    change = np.linalg.solve(stencils @ stencils.T, stencils @ orthonormal.T)

    def draw(shape, dtype=None):
        return ops.einsum("jk,kno->jno", ops.cast(change, dtype), start(shape, dtype))

    return draw

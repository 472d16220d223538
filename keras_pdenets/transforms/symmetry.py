"""Other weights for the same function: mixing the channels of a hyperbolic net."""

from collections.abc import Mapping
from dataclasses import dataclass

import keras
import numpy as np
from keras import layers

from keras_pdenets.layers.precision import as_float64
from keras_pdenets.transforms.copying import check_data
from keras_pdenets.transforms.stages import read_blocks, symmetry_group
from keras_pdenets.utils.checks import check_number

# Largest relative difference of the outputs that counts as rounding, by compute dtype.
_TOLERANCES = {"float64": 1e-4, "float32": 1e-4, "float16": 2e-2, "bfloat16": 2e-1}
_MEMBERSHIP = 1e-4
_WORST_CONDITION = 1e5


@dataclass(frozen=True)
class TransformReport:
    """What a transformation did.

    Args:
        stages: Numbers of the transformed stages.
        difference: Largest difference of the outputs, relative to their largest value.
        images: Number of images that it was measured on.

    Example:
    >>> import numpy as np
    >>> import keras_pdenets
    >>> net = keras_pdenets.HyperbolicResNet20(weights=None, input_shape=(8, 8, 1), classes=2)
    >>> _, report = keras_pdenets.transform(net, {0: np.eye(16)[::-1]})
    >>> report.stages, report.difference < 1e-5
    ((0,), True)
    """

    stages: tuple[int, ...]
    difference: float
    images: int

    def __str__(self) -> str:
        """One line."""
        names = ", ".join(map(str, self.stages))
        return (
            f"stages {names} transformed; outputs differ by {self.difference:.1e} of their "
            f"largest value on {self.images} images"
        )


def transform(model, matrices, images=None, tolerance=None):
    r"""Mix the channels of a hyperbolic net without changing what it computes.

    $u \to T u$ in a stage: layers that read u absorb $T^{-1}$, layers that write u absorb T.
    In the symmetric form, $P \to T P$, $Q \to Q T^{-1}$, $R \to R T^{-1}$ (section 4, Liu et al.
    2023, arXiv 2308.01621, for the full tensor).

    Args:
        model: A `HyperbolicResNet...`; it is not changed. With batch norm at the block ends, only
            monomial matrices are possible: call `fold_block_norms` first.
        matrices: An invertible matrix T for each stage to transform, by stage number.
        images: Batch to compare the outputs on; None: four images of random pixels 0-255.
        tolerance: Largest relative difference of the outputs (before softmax) that counts as
            rounding; None: 1e-4, or more if a layer computes in half precision.

    Returns:
        The new model, and a `TransformReport`.

    Raises:
        ValueError: If a matrix is singular, of the wrong size or not in the group of its stage,
            or the model is of another family.
        ArithmeticError: If the outputs differ by more than `tolerance`, or are not finite.

    Example:
    >>> import numpy as np
    >>> import keras_pdenets
    >>> model = keras_pdenets.HyperbolicResNet20(weights=None, classes=10)
    >>> rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(16, 16)))[0]
    >>> new, report = keras_pdenets.transform(model, {0: rotation})
    >>> report.difference < 1e-5
    True
    """
    symmetries = symmetry_group(model)
    if not isinstance(matrices, Mapping):
        raise ValueError(
            "`matrices` must be a dictionary with a matrix for each stage. "
            f"Received: matrices={matrices!r}"
        )
    if tolerance is not None:
        tolerance = check_number("tolerance", tolerance, "a number >= 0", lambda t: t >= 0)
    if images is None:
        images = _random_images(model)
    check_data("images", images)
    checked = {s: _check(symmetries, s, matrix) for s, matrix in matrices.items()}
    new = apply_matrices(model, checked)
    if tolerance is None:
        tolerance = max(_TOLERANCES.get(layer.compute_dtype, 0.0) for layer in model.layers)
    difference = output_difference(model, new, images)
    report = TransformReport(tuple(sorted(checked)), difference, len(images))
    if not difference <= tolerance:  # also where it is NaN
        raise ArithmeticError(
            f"The transformed model gives other outputs: {report}; `tolerance` is {tolerance}. "
            "A matrix with a smaller condition number or layers in float32 lose fewer digits."
        )
    return new, report


def _check(symmetries, stage, matrix):
    """The matrix in float64, checked to be in the group of its stage."""
    if stage not in symmetries:
        raise ValueError(
            f"`matrices` must have stages {', '.join(map(str, symmetries))} as keys. "
            f"Received: stage {stage!r}"
        )
    symmetry = symmetries[stage]
    size = symmetry.filters
    matrix = np.asarray(matrix, dtype="float64")
    if matrix.shape != (size, size) or not np.isfinite(matrix).all():
        raise ValueError(
            f"`matrices[{stage}]` must be a finite matrix of shape ({size}, {size}). "
            f"Received: shape {matrix.shape}"
        )
    condition = np.linalg.cond(matrix)
    if not condition < _WORST_CONDITION:
        raise ValueError(
            f"`matrices[{stage}]` must be invertible, with a condition number below "
            f"{_WORST_CONDITION:.0e}. Received: condition number {condition:.1e}"
        )
    distance = symmetry.group.distance(matrix)
    if distance > _MEMBERSHIP:
        raise ValueError(
            f"`matrices[{stage}]` must be in the group of {symmetry}. "
            f"Received: a matrix at distance {distance:.1e} from it"
        )
    return matrix


def apply_matrices(model, matrices):
    """The transformed copy of a model, unchecked."""
    new = keras.models.clone_model(model)
    new.set_weights(model.get_weights())
    blocks = read_blocks(new)
    sizes = {block.stage: block.product.filters for block in blocks}
    matrices = {s: matrices.get(s, np.eye(size)) for s, size in sizes.items()}
    stem_is_free = blocks[0].shortcut_conv is None
    matrices[-1] = matrices[0] if stem_is_free else np.eye(sizes[0])
    for block in blocks:
        before = matrices[block.stage - 1 if block.first else block.stage]
        _transform_block(block, before, matrices[block.stage])
    if stem_is_free:
        _write(new.get_layer("stem_conv"), new.get_layer("stem_bn0"), matrices[0])
    head = next((layer for layer in new.layers if layer.name == "classifier"), None)
    if head is not None:
        assign(head.kernel, _read(head.kernel, matrices[blocks[-1].stage]))
    return new


def _transform_block(block, before, after):
    if block.shortcut_conv is not None:
        assign(block.shortcut_conv.kernel, _read(block.shortcut_conv.kernel, before))
        _write(block.shortcut_conv, block.shortcut_norm, after)
    product = block.product
    if product.equation == "full":
        kernel = as_float64(product.mixing.kernel)
        n = len(before)
        inverse = np.linalg.inv(before)
        tensor = kernel.reshape(n, -1, n, kernel.shape[-1])
        tensor = np.einsum("jdko,ja,kb->adbo", tensor, inverse, inverse)
        assign(product.mixing.kernel, tensor.reshape(kernel.shape))
        _write(product.mixing, block.norm, after)
        return
    assign(product.coefficients.kernel, _read(product.coefficients.kernel, before))
    if product.form.symmetric:
        assign(product.lift.kernel, _read(product.lift.kernel, before))
        _write(product.mixing, block.norm, after)
    else:
        _permute_hidden(product, before)
        if product.equation == 5:
            # Each output sums hidden channels; the coefficients carry their scale.
            scale = np.repeat(np.diag(after), product.multiplier * len(before) // len(after))
            assign(product.coefficients.kernel, as_float64(product.coefficients.kernel) * scale)
        elif product.equation == 4:
            _write(product.mixing, None, _permutation(after))
            _write(product.coefficients, block.norm, after)
        else:
            _write(product.mixing, block.norm, after)


def _permute_hidden(product, before):
    """Apply a monomial change of the input channels to the hidden ones, which absorb it."""
    order, scale = np.abs(before).argmax(axis=1), before.sum(axis=1)
    m = product.multiplier
    hidden = (order[:, None] * m + np.arange(m)).ravel()
    kernel = as_float64(product.stencils.kernel)
    if product.form.stencil_per_hidden:
        assign(product.stencils.kernel, kernel[:, :, hidden])
    elif not product.shared_stencil:
        assign(product.stencils.kernel, kernel[:, :, order])
    columns = {"hidden": hidden, "input": order, "output": slice(None)}[product.form.coefficients]
    coefficients = product.coefficients.kernel
    assign(coefficients, as_float64(coefficients)[..., columns])
    _scale_norm_input(product.stencil_norm, hidden, np.repeat(scale, m))
    if product.mixing is not None:
        assign(product.mixing.kernel, as_float64(product.mixing.kernel)[:, :, hidden])


def _scale_norm_input(norm, order, scale):
    """Adapt a batch norm to permuted and scaled inputs: its outputs are only permuted."""
    gamma, beta, mean, variance = (as_float64(v)[order] for v in norm_variables(norm))
    # Epsilon does not scale with the variance.
    gamma = gamma * np.sqrt((scale**2 * variance + norm.epsilon) / (variance + norm.epsilon))
    for variable, value in zip(
        norm_variables(norm), (gamma / scale, beta, scale * mean, scale**2 * variance), strict=True
    ):
        assign(variable, value)


def _read(kernel, matrix):
    """Kernel of a layer whose input changes from u to T u."""
    return np.einsum("ji,...jo->...io", np.linalg.inv(matrix), as_float64(kernel))


def _write(conv, norm, matrix):
    """Make a convolution and the norm after it give T u instead of u."""
    if isinstance(norm, layers.BatchNormalization):
        # The norm absorbs the scale exactly, the convolution only the permutation.
        order = np.abs(matrix).argmax(axis=1)
        scales = matrix.sum(axis=1), matrix.sum(axis=1), 1.0, 1.0
        for variable, scale in zip(norm_variables(norm), scales, strict=True):
            assign(variable, as_float64(variable)[order] * scale)
        matrix = _permutation(matrix)
    assign(conv.kernel, as_float64(conv.kernel) @ matrix.T)
    if conv.use_bias:
        assign(conv.bias, matrix @ as_float64(conv.bias))


def norm_variables(norm):
    """The four variables of a batch norm: gain, offset, mean and variance."""
    return norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance


def _permutation(matrix):
    """The permutation matrix of a monomial matrix."""
    return np.eye(len(matrix))[np.abs(matrix).argmax(axis=1)]


def assign(variable, value):
    """Assign a value in float64 to a variable of any dtype."""
    variable.assign(value.astype(keras.backend.standardize_dtype(variable.dtype)))


def _random_images(model):
    shape = [side or 32 for side in model.input_shape[1:]]
    return np.random.default_rng(0).uniform(0, 255, (4, *shape)).astype("float32")


def output_difference(model, other, images) -> float:
    """Largest difference of the outputs of two models, relative to their largest value."""
    first, second = (_outputs(m, images) for m in (model, other))
    if not np.isfinite(first).all():
        raise ArithmeticError(
            f"The outputs of model {model.name!r} itself are not finite on the images to compare "
            "on. Pass other `images`, in the range that the model takes."
        )
    return float(np.abs(first - second).max() / np.abs(first).max())


def _outputs(model, images):
    """The model's outputs in float64, before the softmax of its classifier."""
    head = next((layer for layer in model.layers if layer.name == "classifier"), None)
    if head is None:
        return np.asarray(model.predict(images, verbose=0), "float64")
    features = keras.Model(model.input, head.input).predict(images, verbose=0)
    return np.asarray(features, "float64") @ as_float64(head.kernel) + as_float64(head.bias)

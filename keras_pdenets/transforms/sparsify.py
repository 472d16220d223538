"""Sparser weights for the same function: a search over the symmetry group of a hyperbolic net."""

from dataclasses import dataclass

import keras
import numpy as np
from keras import ops

from keras_pdenets.layers.precision import as_float64
from keras_pdenets.transforms.stages import read_blocks, symmetry_group
from keras_pdenets.transforms.symmetry import TransformReport, transform
from keras_pdenets.utils.checks import check_integer, check_number

_MOST_STEPS = 10_000_000

# Weights below this share of the largest of their layer count as small.
SMALL = 0.01


@dataclass(frozen=True)
class SparsifyReport:
    """What `sparsify` reached.

    Args:
        before: Share of small weights (below 1 % of the largest of their layer) before.
        after: The same after.
        cost_before: Mean absolute weight, relative to the layer's root mean square, before.
        cost_after: The same after, relative to the root mean square before.
        transform: Report of the transformation: how much the outputs changed.

    Example:
    >>> import keras_pdenets
    >>> net = keras_pdenets.HyperbolicResNet20(weights=None, input_shape=(8, 8, 1), classes=2)
    >>> _, report = keras_pdenets.sparsify(net, steps=5, verbose=0)
    >>> report.cost_after < report.cost_before, report.transform.stages
    (True, (0, 1, 2))
    """

    before: float
    after: float
    cost_before: float
    cost_after: float
    transform: TransformReport

    def __str__(self) -> str:
        """One line."""
        factor = self.after / self.before if self.before else float("inf")
        return (
            f"weights below 1 % of their layer's largest: {self.before:.2%} to {self.after:.2%} "
            f"(x {factor:.2f}); L1 cost {self.cost_before:.4f} to {self.cost_after:.4f}; "
            f"{self.transform}"
        )


def mixed_kernels(model):
    """The 1x1 kernels that read or write the channels of a stage.

    Returns:
        List of (variable, stage that it reads or None, stage that it writes or None).
    """
    blocks = read_blocks(model)
    found = []
    for block in blocks:
        before = block.stage - 1 if block.first else block.stage
        before, product = before if before >= 0 else None, block.product
        if block.shortcut_conv is not None:
            found.append((block.shortcut_conv.kernel, before, block.stage))
        for reader in (product.lift, product.coefficients):
            if reader is not None:
                found.append((reader.kernel, before, None))
        if product.mixing is not None:
            found.append((product.mixing.kernel, None, block.stage))
    found += [
        (layer.kernel, blocks[-1].stage, None)
        for layer in model.layers
        if layer.name == "classifier"
    ]
    return found


class _Rotations(keras.Model):
    """Cost of the transformed kernels as a function of one matrix per stage.

    O(n): the Cayley transform of a skew-symmetric matrix, T = (I - S)(I + S)^-1, times a fixed
    start. GL(n): such a rotation, a positive diagonal and another rotation.
    """

    def __init__(self, kernels, stages, starts, smoothing):
        super().__init__(name="rotations")
        self.stages, self.starts, self.smoothing = stages, starts, smoothing
        self.terms = [(value / _rms(value), before, after) for value, before, after in kernels]
        self.count = sum(value.size for value, _, _ in self.terms)
        self.coordinates = {
            (stage, part): self.add_weight(
                name=f"stage{stage}_{part}",
                shape=(1 if part == "scale" else 2) * (symmetry.filters,),
                initializer="zeros",
            )
            for stage, symmetry in stages.items()
            for part in (("left", "scale", "right") if symmetry.group.scales else ("left",))
        }

    def matrices(self):
        """T and its inverse, by stage."""
        found = {}
        for stage, symmetry in self.stages.items():
            left, start = self._rotation(stage, "left"), self.starts[stage]
            if not symmetry.group.scales:
                matrix = ops.matmul(left, start)
                found[stage] = matrix, ops.transpose(matrix)
                continue
            right, scale = self._rotation(stage, "right"), self.coordinates[stage, "scale"]
            right = ops.matmul(right, start)
            found[stage] = (
                ops.matmul(left * ops.exp(scale), right),
                ops.matmul(ops.transpose(right) * ops.exp(-scale), ops.transpose(left)),
            )
        return found

    def _rotation(self, stage, part):
        free = ops.convert_to_tensor(self.coordinates[stage, part])
        skew = free - ops.transpose(free)
        one = ops.eye(skew.shape[0], dtype=skew.dtype)
        return ops.matmul(one - skew, ops.inv(one + skew))

    def call(self, inputs):
        """The cost, as one number for each row of `inputs`."""
        matrices = self.matrices()
        cost = 0.0
        for kernel, before, after in self.terms:
            value = ops.convert_to_tensor(kernel)
            if before is not None:
                value = ops.matmul(ops.transpose(matrices[before][1]), value)
            if after is not None:
                value = ops.matmul(value, ops.transpose(matrices[after][0]))
            cost = cost + ops.sum(ops.sqrt(ops.square(value) + self.smoothing**2))
        return 0.0 * inputs + cost / self.count


def sparsify(
    model, steps=500, learning_rate=0.01, seed=None, images=None, smoothing=0.05, verbose="auto"
):
    r"""Search for the channel basis in which a hyperbolic net has the most small weights.

    Gradient descent over one matrix $T_s$ per stage minimises
    $\sum_W \sum_{ij} \sqrt{(W'_{ij} / \mathrm{rms}\,W)^2 + \delta^2}$ over the transformed kernels
    $W'$: O(n) by the Cayley transform $(I - S)(I + S)^{-1}$ of a skew-symmetric matrix, GL(n) by
    two such rotations and a diagonal. Proposed in the section on symmetry of Liu et al. 2023, arXiv
    2308.01621; the cost is ours. The outputs are unchanged up to rounding.

    Args:
        model: A `HyperbolicResNet...` with the symmetric form `"cp"` and a head.
        steps: Number of steps of Adam.
        learning_rate: Its initial learning rate, which decays to 0 as a cosine.
        seed: Seed of a random rotation to start from; None: the model's own basis.
        images: Batch to compare the outputs on, as in `transform`.
        smoothing: Smoothing $\delta$ of the cost at 0, in units of a layer's root mean square.
        verbose: As in `keras.Model.fit`.

    Returns:
        The new model, and a `SparsifyReport`.

    Raises:
        ValueError: If an argument is out of range, or no stage of the model can be rotated; the
            message says why.

    Example:
    >>> import keras_pdenets
    >>> model = keras_pdenets.HyperbolicResNet20(weights=None, classes=10)
    >>> new, report = keras_pdenets.sparsify(model, steps=20, verbose=0)
    >>> report.cost_after < report.cost_before
    True
    """
    steps = check_integer("steps", steps, 0, _MOST_STEPS)
    check_number("learning_rate", learning_rate, "a positive number", lambda rate: 0 < rate < 1e3)
    check_number("smoothing", smoothing, "a positive number", lambda width: 0 < width < 1e6)
    seed = None if seed is None else check_integer("seed", seed, 0)
    symmetries = symmetry_group(model)
    free = {s: g for s, g in symmetries.items() if g.group.pattern == "all"}
    if not free or any(block.product.equation != "cp" for block in read_blocks(model)):
        raise ValueError(
            "`model` must have the symmetric form equation='cp', and a stage whose channels can be "
            f"rotated. Received: {'. '.join(map(str, symmetries.values()))}"
        )
    starts = {s: np.eye(g.filters, dtype="float32") for s, g in free.items()}
    if seed is not None:
        rng = np.random.default_rng(seed)
        for s, start in starts.items():
            starts[s] = np.linalg.qr(rng.normal(size=start.shape))[0].astype("float32")
    kernels = [
        (_matrix(v), i if i in free else None, o if o in free else None)
        for v, i, o in mixed_kernels(model)
    ]
    search = _Rotations(kernels, free, starts, smoothing)
    search.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(learning_rate, steps)),
        lambda _, cost: ops.mean(cost),
    )
    zeros = np.zeros((steps, 1), "float32")
    search.fit(zeros, zeros, batch_size=1, verbose=verbose)
    matrices = {
        s: _orthogonal(pair[0], free[s].group.scales) for s, pair in search.matrices().items()
    }
    new, report = transform(model, matrices, images)
    before, after = ([_matrix(v) for v, _, _ in mixed_kernels(m)] for m in (model, new))
    return new, SparsifyReport(
        _share_of_small(before), _share_of_small(after), _cost(before, before),
        _cost(after, before), report,
    )  # fmt: skip


def _orthogonal(matrix, general):
    """The matrix in float64; a rotation is made orthogonal to that precision."""
    matrix = as_float64(matrix)
    if general:
        return matrix
    left, _, right = np.linalg.svd(matrix)
    return left @ right


def _matrix(variable):
    value = np.asarray(ops.convert_to_numpy(variable), dtype="float32")
    return value.reshape(value.shape[-2:])


def _rms(kernel):
    """Root mean square; 1 for a zero kernel."""
    return float(np.sqrt(np.mean(kernel**2))) or 1.0


def _share_of_small(kernels):
    small = sum((np.abs(k) < SMALL * np.abs(k).max()).sum() for k in kernels)
    return float(small / sum(k.size for k in kernels))


def _cost(kernels, units):
    total = sum(np.abs(k).sum() / _rms(u) for k, u in zip(kernels, units, strict=True))
    return float(total / sum(k.size for k in kernels))


def prune(model, share):
    """Set the smallest weights of every mixed kernel to 0.

    Args:
        model: A `HyperbolicResNet...`; it is left as it is.
        share: Share of each kernel's weights to set to 0, in [0, 1).

    Returns:
        The pruned model.

    Raises:
        ValueError: If `share` is outside [0, 1).

    Example:
    >>> import keras_pdenets
    >>> model = keras_pdenets.HyperbolicResNet20(weights=None, classes=10)
    >>> pruned = keras_pdenets.transforms.prune(model, 0.5)
    """
    share = check_number("share", share, "in [0, 1)", lambda number: 0 <= number < 1)
    new = keras.models.clone_model(model)
    new.set_weights(model.get_weights())
    for variable, _, _ in mixed_kernels(new):
        value = np.array(ops.convert_to_numpy(variable))
        order = np.argsort(np.abs(value), axis=None)
        value.ravel()[order[: int(share * value.size)]] = 0.0
        variable.assign(value)
    return new

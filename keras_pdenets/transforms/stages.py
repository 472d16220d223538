"""The blocks of a hyperbolic net and the symmetry group of each stage."""

import functools
import re
from dataclasses import dataclass, field
from typing import Any

from keras import layers

from keras_pdenets.graphs.graph import read_graph
from keras_pdenets.graphs.names import blocks_of, parse
from keras_pdenets.layers import Hardball, HardTanh, QuasiLinear2D, ScalarGain, Softball
from keras_pdenets.operators import groups
from keras_pdenets.utils.checks import check_keras_model

_OWN_LAYER = re.compile(r"stem_.*|pool|dropout|classifier")
_PARTS = ("product", "norm", "shortcut_conv", "shortcut_norm", "activation")
_ACTIVATIONS = {
    layers.ReLU: (groups.POSITIVE_MONOMIAL, "ReLU acts on every channel"),
    HardTanh: (groups.SIGNED_PERMUTATION, "hardtanh clips every channel"),
    Softball: (groups.ORTHOGONAL, "softball keeps rotations only"),
    Hardball: (groups.ORTHOGONAL, "hardball keeps rotations only"),
}


@dataclass
class HyperbolicBlock:
    """The layers of one block of a hyperbolic net; None where it lacks one.

    Args:
        stage: Number of its stage.
        first: Whether it is the first of its stage.
        product: The quasi-linear product.
        norm: Norm at the end of the residual branch.
        shortcut_conv: Projection shortcut.
        shortcut_norm: Norm after the projection.
        activation: Activation after the sum.
    """

    stage: int
    first: bool
    product: Any = None
    norm: Any = None
    shortcut_conv: Any = None
    shortcut_norm: Any = None
    activation: Any = None


@dataclass(frozen=True)
class StageSymmetry:
    """The group of matrices that may mix the channels of a stage.

    Args:
        stage: Number of the stage.
        filters: Number of its channels, the size of the matrices.
        group: The group that leaves the model's outputs unchanged.
        reasons: Why it is not larger.

    Example:
    >>> import keras_pdenets
    >>> net = keras_pdenets.HyperbolicResNet20(weights=None, input_shape=(8, 8, 1), classes=2)
    >>> stage = keras_pdenets.symmetry_group(net)[0]
    >>> stage.filters, stage.group.name
    (16, 'O(n)')
    """

    stage: int
    filters: int
    group: groups.Group
    reasons: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        """One line."""
        text = f"stage {self.stage}, {self.filters} channels: {self.group.name}"
        return "; ".join((text, *self.reasons))


def read_blocks(model):
    """The blocks of a hyperbolic net, in order.

    Raises:
        ValueError: If the model is of another family.
    """
    check_keras_model(model)
    found = [
        HyperbolicBlock(b.stage, b.number == 0, **{key: b.parts.get(key) for key in _PARTS})
        for b in sorted(blocks_of(model), key=lambda b: (b.stage, b.number))
    ]
    if not found or not all(isinstance(block.product, QuasiLinear2D) for block in found):
        raise ValueError(
            "`model` must be a hyperbolic net of this package (HyperbolicResNet...), not nested in "
            f"another. Received: model {model.name!r} with layers such as "
            f"{', '.join(layer.name for layer in model.layers[:4])}"
        )
    return found


def symmetry_group(model):
    """The changes of channel basis that the weights of a hyperbolic net can absorb.

    The features u of a stage may be replaced by T u, with one invertible T for the whole stage,
    if its layers can absorb T into their weights without changing the model's outputs.
    Section 4, Liu et al. 2023, arXiv 2308.01621; deviation: the paper gives GL(n) or O(n) to
    Eq. (3), whose factorised tensor is kept by monomial matrices only.

    Args:
        model: A `HyperbolicResNet...`.

    Returns:
        Dictionary of `StageSymmetry` by stage number.

    Raises:
        ValueError: If the model is of another family, or a layer other than its own reads an
            inner stage.

    Example:
    >>> import keras_pdenets
    >>> model = keras_pdenets.HyperbolicResNet20(weights=None, classes=10)
    >>> print(keras_pdenets.symmetry_group(model)[2])
    stage 2, 64 channels: O(n); root mean square keeps rotations only; softball keeps rotations only
    """
    blocks = read_blocks(model)
    last = blocks[-1].stage
    stranger = _reader_of_the_last_stage(model, last)
    found = {}
    for stage in range(last + 1):
        limits = [limit for block in blocks for limit in _limits(block, stage)]
        if stage == last and stranger is not None:
            limits.append((groups.IDENTITY, stranger))
        group = functools.reduce(lambda a, b: a & b, (limit for limit, _ in limits))
        reasons = dict.fromkeys(reason for _, reason in limits if reason)
        filters = next(block.product.filters for block in blocks if block.stage == stage)
        found[stage] = StageSymmetry(stage, filters, group, tuple(reasons))
    return found


def _reader_of_the_last_stage(model, last):
    """Why the last stage is fixed; None if only the classifier reads it.

    Raises:
        ValueError: If something else reads an inner stage.
    """
    if len(model.outputs) > 1:
        raise ValueError(
            "`model` must have one output, since features that are outputs cannot be mixed. "
            f"Received: model {model.name!r} with {len(model.outputs)} outputs"
        )
    graph = read_graph(model)
    names = {key: call.layer.name for key, call in graph.makers.items()}
    reason = None if names.get(id(model.outputs[0])) == "classifier" else (
        "its features are the model's output"
    )  # fmt: skip
    for call in graph.calls:
        place = parse(call.layer.name)
        if (place and place.block is not None) or _OWN_LAYER.fullmatch(call.layer.name):
            continue
        for name in (names.get(id(tensor), "") for tensor in call.inputs):
            place = parse(name)
            if place and place.stage < last:
                raise ValueError(
                    "`model` must be unchanged up to its last stage, as built by its builder. "
                    f"Received: layer {call.layer.name!r}, which reads {name!r}"
                )
            if place or name in ("pool", "dropout"):
                reason = f"layer {call.layer.name!r} reads its features"
    return reason


def _limits(block, stage):
    """Groups that one block allows the stage that it writes or reads, with reasons."""
    reads_before = block.first and block.stage == stage + 1
    if block.stage != stage and not reads_before:
        return
    yield _limit_of_product(block.product)
    if reads_before:
        return
    for norm in (block.norm, block.shortcut_norm):
        if isinstance(norm, layers.BatchNormalization):
            yield groups.MONOMIAL, "batch norm acts on every channel (fold_block_norms removes it)"
        elif isinstance(norm, ScalarGain) and norm.normalize:
            yield groups.ORTHOGONAL, "root mean square keeps rotations only"
    if block.activation is not None:
        yield _ACTIVATIONS[type(block.activation)]
    if stage == 0 and block.first and block.shortcut_conv is None:
        yield groups.POSITIVE_MONOMIAL, "the stem's ReLU acts on every channel"


def _limit_of_product(product):
    if product.form.symmetric:
        return groups.GENERAL_LINEAR, ""
    if product.equation == 5:
        return groups.DIAGONAL, "Eq. (5) ties every channel to its own derivatives"
    return groups.MONOMIAL, f"Eq. ({product.equation}) keeps its form for monomial matrices only"

"""Folding of the batch norms at the block ends of a hyperbolic net."""

from typing import Any

import keras
from keras import layers

from keras_pdenets.layers.precision import as_float64
from keras_pdenets.transforms.batch_norms import scale_and_offset
from keras_pdenets.transforms.stages import read_blocks
from keras_pdenets.transforms.symmetry import assign


def fold_block_norms(model) -> Any:
    """Fold the batch norms at the block ends and of the shortcuts into the weights.

    With its statistics fixed, a batch norm is a scale, which is merged into the 1x1 convolution
    before it, and an offset, which becomes a bias. The folded model gives the same predictions,
    and in the symmetric form `transform` may mix its channels. It is for inference: further
    training would lack batch norm.

    Args:
        model: A `HyperbolicResNet...` whose blocks end in a 1x1 convolution (not Eq. 4 and 5).

    Returns:
        A new model; layers that were folded away are `keras.layers.Identity`.

    Raises:
        ValueError: If the model is of another family, or its blocks end in a product.

    Example:
    >>> import keras_pdenets
    >>> model = keras_pdenets.HyperbolicResNet20(weights=None, classes=10, block_norm="batch")
    >>> print(keras_pdenets.symmetry_group(keras_pdenets.fold_block_norms(model))[0])
    stage 0, 16 channels: GL(n)
    """
    pairs = {}
    for block in read_blocks(model):
        if block.product.equation in (4, 5):
            raise ValueError(
                f"`model` has blocks of Eq. ({block.product.equation}), which end in a product: "
                "their norm has no convolution to be folded into."
            )
        for conv, norm in ((block.product, block.norm), (block.shortcut_conv, block.shortcut_norm)):
            if isinstance(norm, layers.BatchNormalization):
                pairs[conv.name] = norm.name
    folded_away = set(pairs.values())

    def clone(layer):
        if layer.name in folded_away:
            return layers.Identity(name=layer.name, dtype=layer.dtype_policy.name)
        config = layer.get_config()
        if layer.name in pairs:
            config["use_bias"] = True
        return type(layer).from_config(config)

    def call(layer, *args, **kwargs):
        # The graph keeps the arguments of batch norm, which Identity does not take.
        return layer(*args) if layer.name in folded_away else layer(*args, **kwargs)

    new = keras.models.clone_model(model, clone_function=clone, call_function=call)
    for layer in model.layers:
        target = new.get_layer(layer.name)
        if layer.name in pairs:
            _fold(layer, model.get_layer(pairs[layer.name]), target)
        elif layer.name not in folded_away:
            target.set_weights(layer.get_weights())
    return new


def _fold(source, norm, target):
    """Weights of `source` followed by `norm`, for `target`, which has a bias."""
    scale, offset = scale_and_offset(norm)
    conv, new = source, target
    if hasattr(source, "mixing"):
        conv, new = source.mixing, target.mixing
        rest = [w for w in target.weights if w is not new.bias]
        for variable, old in zip(rest, source.weights, strict=True):
            assign(variable, as_float64(old))
    bias = as_float64(conv.bias) if conv.use_bias else 0.0
    assign(new.kernel, as_float64(conv.kernel) * scale)
    assign(new.bias, offset + scale * bias)

"""Nets without shortcuts: the baselines of He et al. 2015 and VGG, and their refinements."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import keras

from keras_pdenets.builders import family
from keras_pdenets.builders.common import check_depth, make_head, make_input, make_parts
from keras_pdenets.builders.stem import STEMS, make_stem
from keras_pdenets.layers.flow_step import PROMOTIONS
from keras_pdenets.utils.checks import check_choice, check_integer

DOWNSAMPLINGS = ("stride", "pool")
STEPS_OPTIONS = {
    "steps": "Residual steps of every ReLU; None: the model's default.",
    "promote": 'Weights of every step: None, `"channel"`, `"depthwise"` or `"conv"` (see '
    '`layers.ClipFlowStep`); `"default"`: the model\'s default.',
}


@dataclass(frozen=True)
class PlainNetConfig:
    """Architecture of a plain net: layers of a 3x3 operator, batch norm and ReLU.

    Args:
        num_layers: Number of layers in each stage, not counting the stem.
        downsampling: `"stride"` (the first layer of every stage but the first has stride 2, as in
            He et al.) or `"pool"` (every stage ends in 2x2 max-pooling, as in VGG).
        steps: Residual steps of every ReLU, or None for the ReLU itself.
        promote: Weights of every step (see `layers.ClipFlowStep`).
        operator: `"conv"`, `"pde"` or `"decomposed"`.
        operator_options: Arguments of the operator's layer, such as `boundary`.
        stem: `"cifar"` (3x3), `"imagenet"` (7x7 with stride 2, max-pool), or None: `"cifar"` up
            to 64 pixels.
        filters: Width of each stage.
    """

    num_layers: tuple[int, ...]
    downsampling: str = "stride"
    steps: int | None = None
    promote: str | None = None
    operator: str = "conv"
    operator_options: Mapping[str, Any] = field(default_factory=dict)
    stem: str | None = None
    filters: tuple[int, ...] = (64, 128, 256, 512)

    def __post_init__(self):
        """Check the arguments that the layers cannot check."""
        object.__setattr__(self, "filters", tuple(self.filters))
        layers = check_depth(self.num_layers, len(self.filters), "num_layers")
        object.__setattr__(self, "num_layers", layers)
        check_choice("stem", self.stem, STEMS)
        check_choice("downsampling", self.downsampling, DOWNSAMPLINGS)
        check_choice("promote", self.promote, PROMOTIONS)
        if self.steps is not None:
            object.__setattr__(self, "steps", check_integer("steps", self.steps, 1))
        elif self.promote is not None:
            raise ValueError(
                "`promote` must be None without `steps`, whose weights it selects. "
                f"Received: promote={self.promote!r}, steps=None"
            )

    @property
    def blocks(self):
        """Number of layers with the operator."""
        return sum(self.num_layers)

    @property
    def depth(self):
        """Number of layers in sequence."""
        return self.blocks * (2 + (self.steps or 1))


def build_plain_net(config, options):
    """The `keras.Model` of a `PlainNetConfig` with the given `ModelOptions`."""
    inputs, x = make_input(options)
    parts = replace(make_parts(config, options), steps=config.steps, promote=config.promote)
    x = make_stem(config, options, parts, x)
    strided = config.downsampling == "stride"
    for stage, (layers, filters) in enumerate(zip(config.num_layers, config.filters, strict=True)):
        for layer in range(layers):
            name = f"stage{stage}_layer{layer}"
            strides = 2 if strided and stage > 0 and layer == 0 else 1
            x = parts.operator_conv(x, filters, strides, f"{name}_conv")
            x = parts.norm_relu(x, name, 0)
        if not strided:
            x = parts.pool(x, f"stage{stage}_pool")
    return keras.Model(inputs, make_head(options, x), name=options.name)


def plain_net(
    include_top: bool = True,
    weights: family.Weights = "hub",
    input_tensor: Any = None,
    input_shape: family.Shape = None,
    pooling: str | None = None,
    classes: int | None = None,
    classifier_activation: family.Activation = "softmax",
    name: str | None = None,
    *,
    include_preprocessing: bool = True,
    stem: str | None = None,
    operator_options: family.OperatorOptions = None,
    dropout: float = 0.0,
    data_format: str | None = None,
    dtype: Any = None,
    revision: str | None = None,
    cache_dir: family.Folder = None,
    local_files_only: bool = False,
) -> keras.Model:
    """Nets without shortcuts."""


def refined_plain_net(
    include_top: bool = True,
    weights: family.Weights = "hub",
    input_tensor: Any = None,
    input_shape: family.Shape = None,
    pooling: str | None = None,
    classes: int | None = None,
    classifier_activation: family.Activation = "softmax",
    name: str | None = None,
    *,
    include_preprocessing: bool = True,
    stem: str | None = None,
    operator_options: family.OperatorOptions = None,
    steps: int | None = None,
    promote: str | None = "default",
    dropout: float = 0.0,
    data_format: str | None = None,
    dtype: Any = None,
    revision: str | None = None,
    cache_dir: family.Folder = None,
    local_files_only: bool = False,
) -> keras.Model:
    """Nets without shortcuts whose ReLUs are flows of several steps."""


_OPTIONS = {**family.STEM_OPTIONS, **family.OPERATOR_OPTIONS}
PLAIN_NET = family.Family("plain_net", PlainNetConfig, build_plain_net, plain_net, _OPTIONS)
REFINED_PLAIN_NET = family.Family(
    "refined_plain_net", PlainNetConfig, build_plain_net, refined_plain_net,
    {**_OPTIONS, **STEPS_OPTIONS},
)  # fmt: skip

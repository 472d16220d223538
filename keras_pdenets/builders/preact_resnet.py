"""Pre-activation nets of 6 L + 2 layers, Hauser 2019."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras

from keras_pdenets.blocks.residual import preactivation_block
from keras_pdenets.builders import family
from keras_pdenets.builders.common import make_input, make_model, make_parts
from keras_pdenets.builders.remat import REMAT_OPTIONS
from keras_pdenets.builders.steps import STEP_OPTIONS, ResidualConfig, make_step


@dataclass(frozen=True)
class PreActResNetConfig(ResidualConfig):
    """Architecture of section 3, Hauser 2019, arXiv 1902.04106.

    Three sections of L blocks of two layers, a stem and a classifier: 6 L + 2 layers. A 1x1
    convolution of stride 2 connects consecutive sections, so that every shortcut is the identity.

    Args:
        filters: Width of each section.
    """

    filters: tuple[int, ...] = (16, 32, 64)


def preact_shapes(config):
    """Channels and filters of every 3x3 operator of a `PreActResNetConfig`."""
    sections = zip(config.num_blocks, config.filters, strict=True)
    return [(filters, filters) for blocks, filters in sections for _ in range(2 * blocks)]


def build_preact_resnet(config, options):
    """The `keras.Model` of a `PreActResNetConfig` with the given `ModelOptions`."""
    inputs, x = make_input(options)
    parts = make_parts(config, options)
    x = parts.conv(x, config.filters[0], 3, 1, "stem_conv")
    for stage, (blocks, filters) in enumerate(zip(config.num_blocks, config.filters, strict=True)):
        if stage > 0:
            x = parts.conv(x, filters, 1, 2, f"stage{stage}_transition_conv")
        for block in range(blocks):
            step = make_step(config, stage, block)
            x = preactivation_block(parts, x, filters, f"stage{stage}_block{block}", step)
    x = parts.norm_relu(x, "head", 0)
    return make_model(config, options, inputs, x)


def preact_resnet(
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
    num_blocks: int | Sequence[int] | None = None,
    operator_options: family.OperatorOptions = None,
    zero_start: bool | None = None,
    step_size: float | str | None = None,
    scheme: str | None = None,
    leak: float | str | None = None,
    stochastic_depth: float | None = None,
    remat: bool | None = None,
    dropout: float = 0.0,
    data_format: str | None = None,
    dtype: Any = None,
    revision: str | None = None,
    cache_dir: family.Folder = None,
    local_files_only: bool = False,
) -> keras.Model:
    """Pre-activation nets and their PDE and decomposed forms."""


PREACT_RESNET = family.Family(
    "preact_resnet", PreActResNetConfig, build_preact_resnet, preact_resnet,
    {
        "num_blocks": "Blocks in a section: an integer, or one for each section.",
        **family.OPERATOR_OPTIONS, **STEP_OPTIONS, **REMAT_OPTIONS,
    },
    preact_shapes,
)  # fmt: skip

"""Post-activation residual nets of He et al. 2015, with a choice of the 3x3 operator."""

from dataclasses import dataclass, field
from typing import Any

import keras

from keras_pdenets.blocks.residual import BLOCKS
from keras_pdenets.builders import family
from keras_pdenets.builders.common import make_input, make_model, make_parts
from keras_pdenets.builders.remat import REMAT_OPTIONS
from keras_pdenets.builders.stem import STEMS, make_stem
from keras_pdenets.builders.steps import STEP_OPTIONS, ResidualConfig, make_step
from keras_pdenets.utils.checks import check_choice


@dataclass(frozen=True)
class ResNetConfig(ResidualConfig):
    """Architecture of a ResNet, a PDE-Net or a decomposed net.

    The `operator` replaces every 3x3 convolution of the residual branches: both of a basic block,
    the middle one of a bottleneck. Stem, 1x1 convolutions and classifier stay dense (Yin et al.
    2019 do not specify this; the accuracies they report are consistent with it).

    Args:
        block: `"basic"` or `"bottleneck"`.
        stem: `"cifar"` (3x3), `"imagenet"` (7x7 with stride 2, max-pool), or None: `"cifar"` up
            to 64 pixels.
        filters: Width of each stage.
    """

    block: str = field(kw_only=True)
    stem: str | None = None
    filters: tuple[int, ...] = (64, 128, 256, 512)

    def __post_init__(self):
        """Check the arguments that the layers cannot check."""
        super().__post_init__()
        check_choice("stem", self.stem, STEMS)


def resnet_shapes(config):
    """Channels and filters of every 3x3 operator of a `ResNetConfig`."""
    widths = [f for n, f in zip(config.num_blocks, config.filters, strict=True) for _ in range(n)]
    if config.block == "bottleneck":
        return [(filters, filters) for filters in widths]
    first = zip([config.filters[0], *widths], widths, strict=False)
    return [shape for c, filters in first for shape in ((c, filters), (filters, filters))]


def build_resnet(config, options):
    """The `keras.Model` of a `ResNetConfig` with the given `ModelOptions`."""
    inputs, x = make_input(options)
    parts = make_parts(config, options)
    x = make_stem(config, options, parts, x)
    for stage, (blocks, filters) in enumerate(zip(config.num_blocks, config.filters, strict=True)):
        for block in range(blocks):
            strides = 2 if stage > 0 and block == 0 else 1
            name = f"stage{stage}_block{block}"
            step = make_step(config, stage, block)
            x = BLOCKS[config.block](parts, x, filters, strides, name, step)
    return make_model(config, options, inputs, x)


def resnet(
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
    """Post-activation nets and their PDE and decomposed forms."""


RESNET = family.Family(
    "resnet", ResNetConfig, build_resnet, resnet,
    {**family.STEM_OPTIONS, **family.OPERATOR_OPTIONS, **STEP_OPTIONS, **REMAT_OPTIONS},
    resnet_shapes,
)  # fmt: skip

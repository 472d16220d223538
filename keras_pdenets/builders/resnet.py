"""Post-activation residual nets of He et al. 2015, with the 3x3 operator of choice."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from keras_pdenets.blocks.residual import BLOCKS
from keras_pdenets.builders.common import check_depth, make_input, make_model, make_parts
from keras_pdenets.builders.stem import check_stem, make_stem
from keras_pdenets.builders.steps import check_steps, make_step


@dataclass(frozen=True)
class ResNetConfig:
    """Architecture of a ResNet, a PDE-Net or a decomposed net.

    Every 3x3 convolution of the residual branches becomes the `operator`: both of a basic block,
    the middle one of a bottleneck. Stem, 1x1 convolutions and classifier stay dense (Yin et al.
    2019 leave this open; the accuracies they print fit it).

    Args:
        num_blocks: Number of blocks in each of the four stages.
        block: `"basic"` or `"bottleneck"`.
        operator: `"conv"`, `"pde"` or `"decomposed"`.
        operator_options: Arguments of the operator's layer, such as `boundary`.
        stem: `"cifar"` (3x3), `"imagenet"` (7x7 with stride 2, max-pool), or None: `"cifar"` up
            to 64 pixels.
        zero_start: Whether the residual branches start at zero.
        step_size: Constant factor of the residual branches: a number, `"1/L"` or None.
        scheme: `"euler"`, `"midpoint"`, `"rk4"` or `"backward_euler"` (see `builders.steps`).
        leak: None, a number in (0, 1) or `"1/depth"` (see `layers.ScaledResidual`).
        stochastic_depth: Share of the examples that skip the last block in training.
        filters: Width of each stage.
        remat: Whether training computes every block twice, to keep its input only.
    """

    num_blocks: tuple[int, ...]
    block: str
    operator: str = "conv"
    operator_options: Mapping[str, Any] = field(default_factory=dict)
    stem: str | None = None
    zero_start: bool = False
    step_size: float | str | None = None
    scheme: str = "euler"
    leak: float | str | None = None
    stochastic_depth: float = 0.0
    filters: tuple[int, ...] = (64, 128, 256, 512)
    remat: bool = False

    def __post_init__(self):
        """Check the arguments that the layers cannot check."""
        object.__setattr__(self, "num_blocks", check_depth(self.num_blocks, len(self.filters)))
        check_stem(self.stem)
        check_steps(self)


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

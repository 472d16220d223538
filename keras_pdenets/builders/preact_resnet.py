"""Pre-activation nets of 6 L + 2 layers, Hauser 2019."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from keras_pdenets.blocks.residual import preactivation_block
from keras_pdenets.builders.common import check_depth, make_input, make_model, make_parts
from keras_pdenets.builders.steps import check_steps, make_step


@dataclass(frozen=True)
class PreActResNetConfig:
    """Architecture of section 3, Hauser 2019, arXiv 1902.04106.

    Three sections of L blocks of two layers, a stem and a classifier: 6 L + 2 layers. A 1x1
    convolution of stride 2 leads from a section to the next, so that every block's shortcut is
    the identity.

    Args:
        num_blocks: Number of blocks in each section, or one number for all.
        operator: `"conv"`, `"pde"` or `"decomposed"`.
        operator_options: Arguments of the operator's layer, such as `boundary`.
        zero_start: Whether the residual branches start at zero.
        step_size: Constant factor of the residual branches: a number, `"1/L"` or None.
        scheme: `"euler"`, `"midpoint"`, `"rk4"` or `"backward_euler"` (see `builders.steps`).
        leak: None, a number in (0, 1) or `"1/depth"` (see `layers.ScaledResidual`).
        stochastic_depth: Share of the examples that skip the last block in training.
        filters: Width of each section.
        remat: Whether training computes every block twice, to keep its input only.
    """

    num_blocks: tuple[int, ...] | int
    operator: str = "conv"
    operator_options: Mapping[str, Any] = field(default_factory=dict)
    zero_start: bool = False
    step_size: float | str | None = None
    scheme: str = "euler"
    leak: float | str | None = None
    stochastic_depth: float = 0.0
    filters: tuple[int, ...] = (16, 32, 64)
    remat: bool = False

    def __post_init__(self):
        """Expand `num_blocks` to one number for each section; check the steps."""
        object.__setattr__(self, "num_blocks", check_depth(self.num_blocks, len(self.filters)))
        check_steps(self)


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

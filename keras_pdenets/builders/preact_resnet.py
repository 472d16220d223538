"""Pre-activation nets of 6 L + 2 layers, Hauser 2019."""

from dataclasses import dataclass

from keras_pdenets.blocks.residual import preactivation_block
from keras_pdenets.builders.common import make_input, make_model, make_parts
from keras_pdenets.builders.steps import ResidualConfig, make_step


@dataclass(frozen=True)
class PreActResNetConfig(ResidualConfig):
    """Architecture of section 3, Hauser 2019, arXiv 1902.04106.

    Three sections of L blocks of two layers, a stem and a classifier: 6 L + 2 layers. A 1x1
    convolution of stride 2 leads from a section to the next, so that every block's shortcut is
    the identity.

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

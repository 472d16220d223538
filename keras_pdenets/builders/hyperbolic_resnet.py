"""Hyperbolic nets of Liu et al. 2023: products instead of activations."""

from dataclasses import dataclass
from typing import Any

import keras

from keras_pdenets.blocks.hyperbolic import ACTIVATIONS, NORMS, hyperbolic_block
from keras_pdenets.blocks.parts import Parts
from keras_pdenets.builders import family
from keras_pdenets.builders.common import check_depth, make_input, make_model
from keras_pdenets.builders.remat import REMAT_OPTIONS
from keras_pdenets.builders.stem import STEMS, make_stem
from keras_pdenets.layers.boundary import check_boundary
from keras_pdenets.layers.quasi_linear import FORMS, check_equation
from keras_pdenets.utils.checks import as_integer, check_choice, check_integer

PLACES = ("downsampling", "first", "all")
_PRODUCT = ("equation", "multiplier", "shared_stencil", "boundary")
OPTIONS = {
    "equation": 'Form of the product: 3 to 7 as in the paper, or the symmetric `"cp"` and '
    '`"full"` (see `layers.QuasiLinear2D`).',
    "multiplier": "Hidden channels per input channel; 4 or 6 in the paper.",
    "shared_stencil": "Whether all channels share the stencils; None: the equation's default.",
    "activation": '`"softball"`, `"hardball"`, `"hardtanh"`, `"relu"` or None, after the sum; '
    '`"default"`: softball, or the checkpoint\'s.',
    "activation_at": 'Blocks that end in it: `"downsampling"` (those of stride 2, and the last), '
    '`"first"` (the first of each stage: clips the first stage too) or `"all"`.',
    "block_norm": 'Norm at the end of the residual branch, with initial gain 0: `"batch"` (default '
    'of the published equations), `"rms"` (root mean square and a scalar gain: preserves '
    'rotations; default of the symmetric forms), `"scale"` (a scalar gain: preserves every '
    "symmetry).",
    "boundary": 'Values beyond the border: `"zero"`, `"replicate"`, `"reflect"`, `"periodic"`.',
    **family.STEM_OPTIONS,
    **REMAT_OPTIONS,
}


@dataclass(frozen=True)
class HyperbolicResNetConfig:
    """Architecture of section 5.1, Liu et al. 2023, arXiv 2308.01621.

    The blocks have no bottleneck: the widths are those of `filters`. In the symmetric forms the
    first block of every stage has a projection shortcut, so that the channels of every stage can be
    mixed; in the published equations the first stage has none.

    Args:
        num_blocks: Number of blocks in each stage, or one number for all.
        equation: See `OPTIONS`, as for the following.
        multiplier: Hidden channels per input channel.
        shared_stencil: Whether all channels share the stencils.
        activation: Activation after the sum.
        activation_at: Blocks that end in it.
        block_norm: Norm at the end of the residual branch.
        boundary: Values beyond the border.
        stem: First layers.
        filters: Width of each stage.
        remat: Whether training uses gradient checkpointing of the blocks.
    """

    num_blocks: tuple[int, ...] | int
    equation: int | str = 3
    multiplier: int = 4
    shared_stencil: bool | None = None
    activation: str | None = "softball"
    activation_at: str = "downsampling"
    block_norm: str | None = None
    boundary: str = "zero"
    stem: str | None = None
    filters: tuple[int, ...] = (64, 128, 256, 512)
    remat: bool = False

    def __post_init__(self):
        """Check every argument; set the defaults that depend on the equation."""
        object.__setattr__(self, "filters", tuple(self.filters))
        object.__setattr__(self, "num_blocks", check_depth(self.num_blocks, len(self.filters)))
        shared = check_equation(self.equation, self.shared_stencil)
        # NumPy's integers become Python's, for JSON.
        object.__setattr__(self, "equation", as_integer(self.equation) or self.equation)
        object.__setattr__(self, "shared_stencil", shared)
        if self.block_norm is None:
            object.__setattr__(self, "block_norm", "rms" if self.symmetric else "batch")
        object.__setattr__(self, "multiplier", check_integer("multiplier", self.multiplier, 1))
        check_boundary(self.boundary)
        check_choice("stem", self.stem, STEMS)
        check_choice("activation", self.activation, (*ACTIVATIONS, None))
        check_choice("activation_at", self.activation_at, PLACES)
        check_choice("block_norm", self.block_norm, NORMS)
        if self.equation == 5 and self.block_norm != "batch":
            raise ValueError(
                "`block_norm` must be 'batch' (of the shortcuts) for equation=5, whose blocks end "
                f"in the product. Received: block_norm={self.block_norm!r}"
            )

    @property
    def blocks(self):
        """Number of blocks."""
        return sum(self.num_blocks)

    @property
    def depth(self):
        """Number of layers in sequence."""
        return 2 * self.blocks

    @property
    def symmetric(self):
        """Whether the channels of a stage can be mixed by any invertible matrix."""
        return FORMS[self.equation].symmetric

    def activation_of(self, stage, block):
        """Activation at the end of a block, or None."""
        places = {
            "all": True,
            "first": block == 0,
            "downsampling": (block == 0 and stage > 0)
            or (stage == len(self.filters) - 1 and block == self.num_blocks[stage] - 1),
        }
        return self.activation if places[self.activation_at] else None


def build_hyperbolic_resnet(config, options):
    """The `keras.Model` of a `HyperbolicResNetConfig` with the given `ModelOptions`."""
    inputs, x = make_input(options)
    parts = Parts(data_format=options.data_format, dtype=options.dtype)
    x = make_stem(config, options, parts, x)
    product = {key: getattr(config, key) for key in _PRODUCT}
    for stage, (blocks, filters) in enumerate(zip(config.num_blocks, config.filters, strict=True)):
        for block in range(blocks):
            x = hyperbolic_block(
                parts,
                x,
                filters,
                2 if stage > 0 and block == 0 else 1,
                f"stage{stage}_block{block}",
                product,
                norm=config.block_norm,
                project=config.symmetric and block == 0,
                activation=config.activation_of(stage, block),
            )
    return make_model(config, options, inputs, x)


def hyperbolic_resnet(
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
    equation: int | str | None = None,
    multiplier: int | None = None,
    shared_stencil: bool | None = None,
    activation: str | None = "default",
    activation_at: str | None = None,
    block_norm: str | None = None,
    boundary: str | None = None,
    stem: str | None = None,
    remat: bool | None = None,
    dropout: float = 0.0,
    data_format: str | None = None,
    dtype: Any = None,
    revision: str | None = None,
    cache_dir: family.Folder = None,
    local_files_only: bool = False,
) -> keras.Model:
    """Nets of products instead of activations."""


HYPERBOLIC_RESNET = family.Family(
    "hyperbolic_resnet", HyperbolicResNetConfig, build_hyperbolic_resnet, hyperbolic_resnet,
    OPTIONS,
)  # fmt: skip

"""The table of models, one row per size."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from keras_pdenets.blocks.operators import OPERATORS, Operator
from keras_pdenets.builders import Family, ModelOptions
from keras_pdenets.builders.hyperbolic_resnet import HYPERBOLIC_RESNET
from keras_pdenets.builders.plain_net import PLAIN_NET, REFINED_PLAIN_NET
from keras_pdenets.builders.preact_resnet import PREACT_RESNET
from keras_pdenets.builders.resnet import RESNET
from keras_pdenets.utils.checks import matching
from keras_pdenets.utils.text import printable, shown


@dataclass(frozen=True)
class Architecture:
    """A model size.

    Args:
        name: Key of the row and default name of the model.
        builder: Name of the public function.
        family: Its family: config, function, signature.
        options: Arguments of the family's config.
        side: Default height and width of the input, in pixels.
        parameters: Trainable parameters with the small stem, 10 classes and 3 input channels.
        reference: Source of the architecture.
        preset: Name of the checkpoint behind `weights="hub"`, or None.

    Example:
    >>> from keras_pdenets.presets import ARCHITECTURES
    >>> row = ARCHITECTURES["pde_preact_resnet20"]
    >>> row.builder, row.operator, row.parameters
    ('PDEPreActResNet20', 'pde', 198650)
    >>> row.config({"num_blocks": 2}).blocks
    6
    """

    name: str
    builder: str
    family: Family
    options: dict[str, Any]
    side: int
    parameters: int
    reference: str
    preset: str | None = None

    @property
    def operator(self) -> str:
        """What replaces a 3x3 convolution in the residual branch."""
        return str(self.options.get("operator", "quasi-linear"))

    def config(self, options: Mapping[str, Any]) -> Any:
        """The family's config: the row's options, overridden by `options`.

        Raises:
            ValueError: If the family has no such option, or a value is not valid.
        """
        kind: Any = self.family.config
        known = [field.name for field in fields(kind)]
        unknown = sorted(set(options) - set(known))
        if unknown:
            raise ValueError(
                f"`options` of {self.builder} must be among {', '.join(known)}. "
                f"Received: {shown(unknown)}"
            )
        try:
            return kind(**{**self.options, **options})
        except (TypeError, AttributeError, KeyError, IndexError, ArithmeticError) as error:
            raise ValueError(
                f"`options` of {self.builder} must have values of the right type "
                f"({printable(str(error), 200)}). Received: options={shown(dict(options))}"
            ) from error

    def build(self, options: Mapping[str, Any], model_options: ModelOptions) -> Any:
        """The untrained `keras.Model` with `options` (see `config`)."""
        return self.family.build(self.config(options), model_options)


_HE, _HAUSER = "He et al. 2015, arXiv 1512.03385", "Hauser 2019, arXiv 1902.04106, Eq. (13)"
_LIU = "Liu et al. 2023, arXiv 2308.01621"
_VGG = "Simonyan and Zisserman 2014, arXiv 1409.1556, with batch norm and one dense layer"
_LI = "Li and Shi 2017, arXiv 1708.05115, section 3"

# depth, blocks in each stage, block, trainable parameters with plain convolutions
_RESNETS = (
    (18, (2, 2, 2, 2), "basic", 11_173_962),
    (34, (3, 4, 6, 3), "basic", 21_282_122),
    (50, (3, 4, 6, 3), "bottleneck", 23_520_842),
    (101, (3, 4, 23, 3), "bottleneck", 42_512_970),
)
# depth = 6 L + 2, L, trainable parameters with plain convolutions
_PREACT_RESNETS = (
    (20, 3, 295_418), (32, 5, 489_850), (44, 7, 684_282), (56, 9, 878_714), (110, 18, 1_753_658)
)  # fmt: skip
# depth, blocks in each stage, trainable parameters; without bottleneck blocks, 34 and 50 are the
# same net
_HYPERBOLIC_RESNETS = (
    (18, (2, 2, 2, 2), 4_046_954),
    (34, (3, 4, 6, 3), 8_555_018),
    (50, (3, 4, 6, 3), 8_555_018),
    (101, (3, 4, 23, 3), 17_512_046),
)
# depth = 9 L + 2 (three convolutions in a row in each block), L, trainable parameters
_SMALL_HYPERBOLIC_RESNETS = ((20, 2, 51_843), (38, 4, 121_289), (56, 6, 190_735), (74, 8, 260_181))
_SMALL_HYPERBOLIC = {
    "equation": "cp", "multiplier": 2, "stem": "cifar", "filters": (16, 32, 64)
}  # fmt: skip
_SMALL_PLAIN = {"stem": "cifar", "filters": (16, 32, 64)}
_VGG16 = {"stem": "cifar", "filters": (64, 128, 256, 512, 512), "downsampling": "pool"}
_STEPS = {"steps": 2, "promote": "depthwise"}
# builder, options, side, trainable parameters of the plain and the refined net, reference
_PLAIN_NETS = (
    ("PlainNet18", {"num_layers": (4, 4, 4, 4)}, 224, (11_000_138, 11_140_682), _HE),
    ("PlainNet34", {"num_layers": (6, 8, 12, 6)}, 224, (21_108_298, 21_382_474), _HE),
    ("PlainNet20", {"num_layers": (6, 6, 6), **_SMALL_PLAIN}, 32, (269_722, 294_490), _HE),
    ("PlainNet56", {"num_layers": (18, 18, 18), **_SMALL_PLAIN}, 32, (853_018, 926_170), _HE),
    ("VGG16", {"num_layers": (1, 2, 3, 3, 3), **_VGG16}, 32, (14_724_042, 14_876_106), _VGG),
)
_DEFAULT_PRESETS = {
    "pde_resnet50": "pde_resnet50_fashion_mnist",
    "preact_resnet20": "resnet20_fashion_mnist",
    "pde_preact_resnet20": "pde_resnet20_fashion_mnist",
    "decomposed_preact_resnet20": "decomposed_resnet20_fashion_mnist",
    "hyperbolic_resnet56": "hyperbolic_resnet56_fashion_mnist",
    "plain_net20": "plain_net20_fashion_mnist",
    "refined_plain_net20": "refined_plain_net20_fashion_mnist",
}


def _row(
    family: Family,
    builder: str,
    options: dict[str, Any],
    side: int,
    parameters: int,
    reference: str,
    operator: Operator | None = None,
) -> Architecture:
    name = re.sub(r"(PreAct|Hyperbolic|Plain|Refined)", r"\1_", builder)
    if operator is not None:
        options = {**options, "operator": operator.name}
        parameters += _more_parameters(family, options, operator)
        # PDEPreActResNet20: pde_preact_resnet20
        builder = f"{operator.prefix}{builder}"
        name = f"{operator.prefix}_{name}" if operator.prefix else name
        reference = "; ".join(filter(None, (reference, operator.reference)))
    name = name.lower()
    preset = _DEFAULT_PRESETS.get(name)
    return Architecture(name, builder, family, options, side, parameters, reference, preset)


def _more_parameters(family: Family, options: dict[str, Any], operator: Operator) -> int:
    """Number of additional parameters with an operator instead of plain convolutions."""
    shapes = family.operator_shapes
    if shapes is None:
        return 0
    return sum(
        operator.parameters(*shape) - OPERATORS["conv"].parameters(*shape)
        for shape in shapes(family.config(**options))
    )


ARCHITECTURES = {
    row.name: row
    for row in (
        *(
            row
            for operator in OPERATORS.values()
            if operator.prefix is not None
            for row in (
                *(
                    _row(RESNET, f"ResNet{depth}", {"num_blocks": n, "block": block}, 224,
                         count, _HE, operator)
                    for depth, n, block, count in _RESNETS
                ),
                *(
                    _row(PREACT_RESNET, f"PreActResNet{depth}", {"num_blocks": n}, 32,
                         count, _HAUSER, operator)
                    for depth, n, count in _PREACT_RESNETS
                ),
            )
        ),
        *(
            _row(PLAIN_NET, builder, options, side, counts[0], reference, OPERATORS["conv"])
            for builder, options, side, counts, reference in _PLAIN_NETS
        ),
        *(
            _row(REFINED_PLAIN_NET, f"Refined{builder}", {**options, **_STEPS}, side, counts[1],
                 f"{reference}; {_LI}", OPERATORS["conv"])
            for builder, options, side, counts, reference in _PLAIN_NETS
        ),
        *(
            _row(HYPERBOLIC_RESNET, f"HyperbolicResNet{depth}", {"num_blocks": n}, 224, count,
                 f"{_LIU}, Eq. (3)")
            for depth, n, count in _HYPERBOLIC_RESNETS
        ),
        *(
            _row(HYPERBOLIC_RESNET, f"HyperbolicResNet{depth}",
                 {"num_blocks": n, **_SMALL_HYPERBOLIC}, 32, count,
                 f"{_LIU}, Eq. (1)-(2) as a sum of products")
            for depth, n, count in _SMALL_HYPERBOLIC_RESNETS
        ),
    )
}  # fmt: skip


def list_models(pattern: str | None = None) -> list[str]:
    """Names of the builders, as `getattr(keras_pdenets, name)` takes them.

    Args:
        pattern: Shell pattern such as `"pde*"`, ignoring case; None: all.

    Raises:
        ValueError: If the pattern is not a string.

    Example:
    >>> import keras_pdenets
    >>> keras_pdenets.list_models("pderesnet*")
    ['PDEResNet18', 'PDEResNet34', 'PDEResNet50', 'PDEResNet101']
    """
    return matching(pattern, [row.builder for row in ARCHITECTURES.values()])

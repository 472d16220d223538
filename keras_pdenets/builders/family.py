"""A family of nets: its config, the function that builds it, the signature of its builders.

A public builder is a row of the table with the signature of its family, for type checkers and
`inspect.signature`. `None` (`"default"` where None is a valid value) means the value of the row or
of the checkpoint.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from keras_pdenets.blocks.operators import options_documented
from keras_pdenets.builders.common import ModelOptions

Weights: TypeAlias = str | os.PathLike[str] | None
Folder: TypeAlias = str | os.PathLike[str] | None
Shape: TypeAlias = Sequence[int | None] | None
Activation: TypeAlias = str | Callable[[Any], Any] | None
OperatorOptions: TypeAlias = Mapping[str, Any] | None

STEM_OPTIONS = {"stem": '`"cifar"`, `"imagenet"`, or None: by input size, or the checkpoint\'s.'}
OPERATOR_OPTIONS = {"operator_options": options_documented()}


@dataclass(frozen=True)
class Family:
    """One family of nets, defined at the end of the file that builds it.

    Args:
        name: Its name, which the cards of its checkpoints show.
        config: Its frozen dataclass of architecture arguments; `blocks` is the number of blocks,
            `depth` the number of layers in sequence.
        build: Function of a config and `ModelOptions` that returns a `keras.Model`.
        signature: Function without a body, with the arguments of its public builders.
        options: Fields of the config among these, with their documentation.
        operator_shapes: Function of a config: channels and filters of every 3x3 operator.

    Example:
    >>> from keras_pdenets.presets import ARCHITECTURES
    >>> family = ARCHITECTURES["resnet50"].family
    >>> family.name, family.config(num_blocks=(2, 2), filters=(8, 16), block="basic").blocks
    ('resnet', 4)
    """

    name: str
    config: Callable[..., Any]
    build: Callable[[Any, ModelOptions], Any]
    signature: Callable[..., Any]
    options: dict[str, str]
    operator_shapes: Callable[[Any], list[tuple[int, int]]] | None = None

"""Families of nets: a frozen config and the function that builds it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from keras_pdenets.builders.common import ModelOptions as ModelOptions
from keras_pdenets.builders.common import Preprocessing as Preprocessing
from keras_pdenets.builders.preact_resnet import PreActResNetConfig, build_preact_resnet
from keras_pdenets.builders.resnet import ResNetConfig, build_resnet


@dataclass(frozen=True)
class Family:
    """One family of nets.

    Args:
        config: Its frozen dataclass of architecture arguments.
        build: Function of a config and `ModelOptions` that returns a `keras.Model`.
        default_side: Side of the input, in pixels, where nobody gives one.
        option: Field of the config that the public builders offer.
        option_text: Its documentation.
    """

    config: Callable[..., Any]
    build: Callable[[Any, ModelOptions], Any]
    default_side: int
    option: str
    option_text: str


FAMILIES = {
    "resnet": Family(
        ResNetConfig,
        build_resnet,
        default_side=224,
        option="stem",
        option_text='`"cifar"`, `"imagenet"`, or None: by input size, or the checkpoint\'s.',
    ),
    "preact_resnet": Family(
        PreActResNetConfig,
        build_preact_resnet,
        default_side=32,
        option="num_blocks",
        option_text="Blocks in a section: an integer, or one for each section.",
    ),
}

"""Families of nets: a frozen config and the function that builds it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from keras_pdenets.blocks.operators import options_documented
from keras_pdenets.builders import hyperbolic_resnet as _hyperbolic
from keras_pdenets.builders.common import ModelOptions as ModelOptions
from keras_pdenets.builders.common import Preprocessing as Preprocessing
from keras_pdenets.builders.plain_net import STEPS_OPTIONS, PlainNetConfig, build_plain_net
from keras_pdenets.builders.preact_resnet import (
    PreActResNetConfig,
    build_preact_resnet,
    preact_shapes,
)
from keras_pdenets.builders.remat import REMAT_OPTIONS as REMAT_OPTIONS
from keras_pdenets.builders.resnet import ResNetConfig, build_resnet, resnet_shapes
from keras_pdenets.builders.steps import STEP_OPTIONS
from keras_pdenets.builders.steps import TRAINING_ONLY as TRAINING_ONLY

_STEM = {"stem": '`"cifar"`, `"imagenet"`, or None: by input size, or the checkpoint\'s.'}
_OPERATOR_OPTIONS = {"operator_options": options_documented()}


@dataclass(frozen=True)
class Family:
    """One family of nets.

    Args:
        config: Its frozen dataclass of architecture arguments.
        build: Function of a config and `ModelOptions` that returns a `keras.Model`.
        options: Fields of the config that the public builders offer, with their documentation.
        operator_shapes: Function of a config: channels and filters of every 3x3 operator.
    """

    config: Callable[..., Any]
    build: Callable[[Any, ModelOptions], Any]
    options: dict[str, str]
    operator_shapes: Callable[[Any], list[tuple[int, int]]] | None = None


FAMILIES = {
    "resnet": Family(
        ResNetConfig,
        build_resnet,
        {
            **_STEM,
            **_OPERATOR_OPTIONS,
            **STEP_OPTIONS,
            **REMAT_OPTIONS,
        },
        resnet_shapes,
    ),
    "preact_resnet": Family(
        PreActResNetConfig,
        build_preact_resnet,
        {
            "num_blocks": "Blocks in a section: an integer, or one for each section.",
            **_OPERATOR_OPTIONS,
            **STEP_OPTIONS,
            **REMAT_OPTIONS,
        },
        preact_shapes,
    ),
    "plain_net": Family(PlainNetConfig, build_plain_net, {**_STEM, **_OPERATOR_OPTIONS}),
    "refined_plain_net": Family(
        PlainNetConfig, build_plain_net, {**_STEM, **_OPERATOR_OPTIONS, **STEPS_OPTIONS}
    ),
    "hyperbolic_resnet": Family(
        _hyperbolic.HyperbolicResNetConfig,
        _hyperbolic.build_hyperbolic_resnet,
        _hyperbolic.OPTIONS,
    ),
}

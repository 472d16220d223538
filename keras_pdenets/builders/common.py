"""Shared by all families: the options of a model, its input, preprocessing and head."""

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import keras

from keras_pdenets.blocks.parts import Parts
from keras_pdenets.builders.remat import RematModel
from keras_pdenets.layers.images import channel_axis, check_data_format
from keras_pdenets.utils.checks import (
    as_integer,
    as_shape,
    check_choice,
    check_flag,
    check_integer,
    check_number,
)

_MANY_CHANNELS = 16  # more than images have
_MOST_BLOCKS = 10_000
_MOST = 2**31 - 1  # largest size of an axis


@dataclass(frozen=True)
class Preprocessing:
    """Normalisation of pixels: (pixel - mean) / std, in the range 0-255.

    Args:
        mean: One number per channel, or one for all.
        std: Likewise; positive.

    Example:
    >>> from keras_pdenets.builders import Preprocessing
    >>> Preprocessing(mean=(72.9,), std=(90.0,)).for_channels(3)
    ([72.9, 72.9, 72.9], [90.0, 90.0, 90.0])
    """

    mean: tuple[float, ...] = (127.5,)
    std: tuple[float, ...] = (127.5,)

    def for_channels(self, channels):
        """Mean and std for another number of channels: repeated cyclically, or averaged."""
        return tuple(_spread(values, channels) for values in (self.mean, self.std))


def _spread(values, channels):
    if channels < len(values):
        return [sum(values) / len(values)] * channels
    return [values[i % len(values)] for i in range(channels)]


def _known(name, value, find):
    """The object that Keras resolves a value to, or a ValueError that names the argument."""
    try:
        return find(value)
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(
            f"`{name}` must be a value that Keras accepts. Received: {name}={value!r} ({error})"
        ) from error


@dataclass(frozen=True)
class ModelOptions:
    """The options of models of all families (see `applications`).

    Example:
    >>> from keras_pdenets.builders import ModelOptions
    >>> from keras_pdenets.presets import ARCHITECTURES
    >>> options = ModelOptions((28, 28, 1), name="net", classes=10, include_top=False)
    >>> ARCHITECTURES["preact_resnet20"].build({"num_blocks": 1}, options).output_shape
    (None, 7, 7, 64)
    """

    input_shape: tuple[int | None, ...] | None  # None: that of the input tensor
    name: str
    classes: int = 1000
    include_top: bool = True
    input_tensor: Any = None
    pooling: str | None = None
    classifier_activation: str | None = "softmax"
    preprocessing: Preprocessing | None = Preprocessing()
    dropout: float = 0.0
    data_format: str | None = None
    dtype: Any = None

    def __post_init__(self):
        """Check every option."""
        object.__setattr__(self, "data_format", check_data_format(self.data_format))
        object.__setattr__(self, "dtype", _known("dtype", self.dtype, keras.dtype_policies.get))
        # Only checked, not converted.
        _known("classifier_activation", self.classifier_activation, keras.activations.get)
        object.__setattr__(self, "classes", check_integer("classes", self.classes, 1, _MOST))
        object.__setattr__(self, "include_top", check_flag("include_top", self.include_top))
        check_choice("pooling", self.pooling, (None, "avg", "max"))
        rule = "in [0, 1)"
        dropout = check_number("dropout", self.dropout, rule, lambda rate: 0 <= rate < 1)
        object.__setattr__(self, "dropout", dropout)
        named = self.name is None or (isinstance(self.name, str) and self.name)
        if not named or "/" in (self.name or ""):
            raise ValueError(f"`name` must be text without a slash. Received: name={self.name!r}")
        self._check_shape()

    def _check_shape(self):
        shape = as_shape(self.input_shape)
        if self.input_tensor is not None:
            if not keras.backend.is_keras_tensor(self.input_tensor):
                raise ValueError(
                    "`input_tensor` must be a symbolic Keras tensor, such as keras.Input(...). "
                    f"Received: {type(self.input_tensor).__name__}"
                )
            found = tuple(self.input_tensor.shape[1:])
            if self.input_shape is not None and shape != found:
                raise ValueError(
                    "`input_shape` must be that of `input_tensor`, or None. Received: "
                    f"input_shape={self.input_shape}, input_tensor of shape {found}"
                )
            shape = found
        if shape is not None and len(shape) == 3 and all((n or 1) <= _MOST for n in shape):
            object.__setattr__(self, "input_shape", shape)
            if self.channels is not None:
                return self._warn_of_the_order()
        raise ValueError(
            "`input_shape` must be three positive integers in the order of "
            f"data_format={self.data_format!r}; height and width may be None. "
            f"Received: input_shape={self.input_shape}"
        )

    def _warn_of_the_order(self):
        """Warn of a shape that seems to have the other order of the axes."""
        sides = self.sides
        if self.channels > _MANY_CHANNELS and not {1, 3}.isdisjoint(sides):
            other = "channels_last" if self.data_format == "channels_first" else "channels_first"
            warnings.warn(
                f"`input_shape={self.input_shape}` means images of {sides[0]} x {sides[1]} pixels "
                f"and {self.channels} channels, because of data_format={self.data_format!r}. For "
                f"the other order, reorder the axes or use data_format={other!r}.",
                stacklevel=4,
            )

    @property
    def channels(self):
        """Number of channels of the input."""
        return self.input_shape[0 if self.data_format == "channels_first" else -1]

    @property
    def sides(self):
        """Height and width of the input in pixels, None where one is unknown."""
        start = 1 if self.data_format == "channels_first" else 0
        return self.input_shape[start : start + 2]


def make_input(options):
    """The model's input tensor and the normalised images."""
    if options.input_tensor is None:
        inputs = images = keras.Input(options.input_shape, name="image")
    else:
        # The tensor may be an output of the user's own layers: they become part of the model.
        images = options.input_tensor
        sources = keras.utils.get_source_inputs(images)
        inputs = sources[0] if len(sources) == 1 else sources
    if options.preprocessing is None:
        return inputs, images
    mean, std = options.preprocessing.for_channels(options.channels)
    normalized = keras.layers.Normalization(
        axis=channel_axis(options.data_format),
        mean=mean,
        variance=[s * s for s in std],
        # bfloat16 cannot represent 256 grey levels.
        dtype="float32" if options.dtype.compute_dtype != "float64" else "float64",
        name="preprocessing",
    )(images)
    return inputs, normalized


def make_parts(config, options):
    """The layer factory of a net."""
    if not isinstance(config.operator_options, Mapping):
        raise ValueError(
            "`operator_options` must be a dictionary of arguments. "
            f"Received: operator_options={config.operator_options!r}"
        )
    return Parts(config.operator, dict(config.operator_options), options.data_format, options.dtype)


def make_head(options, x):
    """Global pooling, dropout and classifier, depending on the options."""
    layout = {"data_format": options.data_format, "dtype": options.dtype}
    if options.include_top or options.pooling == "avg":
        x = keras.layers.GlobalAveragePooling2D(name="pool", **layout)(x)
    elif options.pooling == "max":
        x = keras.layers.GlobalMaxPooling2D(name="pool", **layout)(x)
    if not options.include_top:
        return x
    if options.dropout:
        x = keras.layers.Dropout(options.dropout, name="dropout", dtype=options.dtype)(x)
    return keras.layers.Dense(
        options.classes,
        activation=options.classifier_activation,
        # Softmax and loss need more than half precision.
        dtype="float32" if options.dtype.compute_dtype != "float64" else "float64",
        name="classifier",
    )(x)


def make_model(config, options, inputs, x):
    """The model from `inputs` to the head on `x`, with gradient checkpointing if configured.

    Raises:
        ValueError: If the field `remat` of the config is not valid.
    """
    kind = RematModel if check_flag("remat", config.remat) else keras.Model
    return kind(inputs, make_head(options, x), name=options.name)


def check_depth(num_blocks, sections, name="num_blocks"):
    """Return `num_blocks` as a tuple of `sections` positive integers."""
    if as_integer(num_blocks) is not None:
        return (check_integer(name, num_blocks, 1, _MOST_BLOCKS),) * sections
    iterable = isinstance(num_blocks, Iterable) and not isinstance(num_blocks, str | bytes)
    numbers = list(num_blocks) if iterable else []
    if len(numbers) != sections:
        raise ValueError(
            f"`{name}` must be one integer or {sections}, one for each section. "
            f"Received: {name}={num_blocks}"
        )
    return tuple(check_integer(name, number, 1, _MOST_BLOCKS) for number in numbers)

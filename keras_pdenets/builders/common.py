"""What every family shares: the options of a model, its input, its preprocessing and its head."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras

from keras_pdenets.blocks.parts import Parts
from keras_pdenets.builders.remat import RematModel
from keras_pdenets.layers.images import channel_axis, check_data_format, check_positive_integer

_MANY_CHANNELS = 16  # more than images have


@dataclass(frozen=True)
class Preprocessing:
    """Normalisation of pixels: (pixel - mean) / std, in the range 0-255.

    Args:
        mean: One number for each channel, or one for all.
        std: Likewise; positive.
    """

    mean: tuple[float, ...] = (127.5,)
    std: tuple[float, ...] = (127.5,)

    def for_channels(self, channels):
        """The same for another number of channels: repeated in turn, averaged for one."""
        return tuple(_spread(values, channels) for values in (self.mean, self.std))


def _spread(values, channels):
    if channels < len(values):
        return [sum(values) / len(values)] * channels
    return [values[i % len(values)] for i in range(channels)]


@dataclass(frozen=True)
class ModelOptions:
    """The options that every model has, whatever its family (see `applications`)."""

    input_shape: tuple[int | None, ...]
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
        """Check every option; the message names it and what was received."""
        object.__setattr__(self, "data_format", check_data_format(self.data_format))
        object.__setattr__(self, "dtype", keras.dtype_policies.get(self.dtype))
        check_positive_integer("classes", self.classes)
        if self.pooling not in (None, "avg", "max"):
            raise ValueError(
                f"`pooling` must be None, 'avg' or 'max'. Received: pooling={self.pooling!r}"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"`dropout` must be in [0, 1). Received: dropout={self.dropout}")
        self._check_shape()

    def _check_shape(self):
        shape = self.input_shape
        valid = isinstance(shape, Sequence) and len(shape) == 3
        valid = valid and all(n is None or (isinstance(n, int) and n > 0) for n in shape)
        if not valid or self.channels is None:
            raise ValueError(
                "`input_shape` must be three positive integers, in the order of "
                f"`data_format={self.data_format!r}`; the two sides may be None. "
                f"Received: input_shape={shape}"
            )
        self._warn_of_the_order()

    def _warn_of_the_order(self):
        """Warn of a shape that looks as if it were in the other order of the axes."""
        channels_first = self.data_format == "channels_first"
        sides = self.input_shape[1:] if channels_first else self.input_shape[:2]
        if self.channels > _MANY_CHANNELS and not {1, 3}.isdisjoint(sides):
            other = "channels_last" if channels_first else "channels_first"
            warnings.warn(
                f"`input_shape={self.input_shape}` means images of {sides[0]} x {sides[1]} pixels "
                f"and {self.channels} channels, as data_format={self.data_format!r}. If they are "
                f"in the other order, turn them, or give data_format={other!r}.",
                stacklevel=4,
            )

    @property
    def channels(self):
        """Number of channels of the input."""
        return self.input_shape[0 if self.data_format == "channels_first" else -1]

    @property
    def longest_side(self):
        """The longer side of the input in pixels, or None where a side is open."""
        sides = (
            self.input_shape[1:] if self.data_format == "channels_first" else self.input_shape[:2]
        )
        return None if None in sides else max(sides)


def make_input(options):
    """The model's input tensor and the normalised images."""
    if options.input_tensor is None:
        inputs = images = keras.Input(options.input_shape, name="image")
    elif keras.backend.is_keras_tensor(options.input_tensor):
        # The tensor may come out of the user's own layers: they stay in the model.
        images = options.input_tensor
        sources = keras.utils.get_source_inputs(images)
        inputs = sources[0] if len(sources) == 1 else sources
    else:
        raise ValueError(
            "`input_tensor` must be a symbolic Keras tensor, such as keras.Input(...). "
            f"Received: {type(options.input_tensor).__name__}"
        )
    if options.preprocessing is None:
        return inputs, images
    mean, std = options.preprocessing.for_channels(options.channels)
    normalized = keras.layers.Normalization(
        axis=channel_axis(options.data_format),
        mean=mean,
        variance=[s * s for s in std],
        # 8 bits of mantissa do not hold 256 grey levels.
        dtype="float32" if options.dtype.compute_dtype != "float64" else "float64",
        name="preprocessing",
    )(images)
    return inputs, normalized


def make_parts(config, options):
    """The layer factory of a net."""
    return Parts(config.operator, dict(config.operator_options), options.data_format, options.dtype)


def make_head(options, x):
    """Global pooling, dropout and classifier, as the options say."""
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
        # Softmax and loss lose too much in half precision.
        dtype="float32" if options.dtype.compute_dtype != "float64" else "float64",
        name="classifier",
    )(x)


def make_model(config, options, inputs, x):
    """The model from `inputs` to the head on `x`, its blocks computed twice if the config says so.

    Raises:
        ValueError: If the field `remat` of the config is not valid.
    """
    if not isinstance(config.remat, bool):
        raise ValueError(f"`remat` must be True or False. Received: remat={config.remat!r}")
    kind = RematModel if config.remat else keras.Model
    return kind(inputs, make_head(options, x), name=options.name)


def check_depth(num_blocks, sections, name="num_blocks"):
    """Return `num_blocks` as one positive integer for each of `sections` sections."""
    if isinstance(num_blocks, int):
        num_blocks = (num_blocks,) * sections
    if not isinstance(num_blocks, Sequence) or len(num_blocks) != sections:
        raise ValueError(
            f"`{name}` must be one integer or {sections}, one for each section. "
            f"Received: {name}={num_blocks}"
        )
    return tuple(check_positive_integer(name, n) for n in num_blocks)

"""Nets of `keras.applications` that a recipe trains beside those of the model table."""

import inspect
from dataclasses import dataclass

import keras

from keras_pdenets.builders.common import make_input
from keras_pdenets.presets import ARCHITECTURES, LARGEST_SIDE, Checkpoint
from keras_pdenets.presets.checkpoints import check_options
from keras_pdenets.utils.checks import lookup
from keras_pdenets.utils.records import check_count, make, settle
from keras_pdenets.utils.text import shown

PREFIX = "keras:"
# Arguments that `build_peer` gives itself.
_OURS = {"input_tensor", "input_shape", "weights", "classes", "classifier_activation", "name"}


@dataclass(frozen=True)
class Peer(Checkpoint):
    """A net of `keras.applications`, named `"keras:MobileNetV3Large"` as `architecture`.

    Its `options` are arguments of the function there. Such a net is trained and compared;
    `read_checkpoint` refuses its weight file, since a file never names code outside the table.

    Example:
    >>> from keras_pdenets.training.peers import checkpoint_of
    >>> checkpoint_of({"architecture": "keras:MobileNet", "input_shape": (32, 32, 3), "classes": 2})
    Peer(architecture='keras:MobileNet', input_shape=(32, 32, 3), classes=2, options={}, \
mean=(127.5,), std=(127.5,), class_names=())
    """

    def __post_init__(self) -> None:
        """Turn the lists that JSON gives into tuples, and check the name and the options."""
        settle(self)
        check_net(self.architecture, self.options)


def is_peer(architecture):
    """Whether an architecture is a net of `keras.applications`."""
    return str(architecture).startswith(PREFIX)


def checkpoint_of(fields):
    """The `Checkpoint`, or the `Peer`, of a dictionary of its fields."""
    return make(Peer if is_peer(fields.get("architecture")) else Checkpoint, fields, "`checkpoint`")


def check_checkpoint(checkpoint):
    """Raise ValueError unless the numbers of a checkpoint can be those of a net."""
    for side in checkpoint.input_shape:
        check_count("input_shape", side, LARGEST_SIDE)
    check_count("classes", checkpoint.classes)
    check_net(checkpoint.architecture, checkpoint.options)
    if not all(value > 0 for value in checkpoint.std):
        raise ValueError(f"`std` must be positive. Received: std={shown(checkpoint.std)}")


def check_net(architecture, options):
    """Raise ValueError unless there is such a net and it takes such options."""
    check_options(options)
    if not is_peer(architecture):
        lookup("architecture", architecture, ARCHITECTURES).config(options)
        return
    known = set(inspect.signature(_function(architecture)).parameters) - _OURS
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(
            f"`options` of {architecture} must be of {', '.join(sorted(known))}. "
            f"Received: {shown(unknown)}"
        )


def _function(architecture):
    name = architecture.removeprefix(PREFIX)
    function = getattr(keras.applications, name, None)
    if not inspect.isfunction(function):
        raise ValueError(
            f"`architecture` must name a net of keras.applications. Received: {shown(name)}"
        )
    return function


def build_peer(peer, options):
    """The untrained model of a `Peer` behind our normalisation, with logits in 32 bits.

    Args:
        peer: The `Peer`.
        options: `builders.ModelOptions`: input, classes, preprocessing and precision.
    """
    inputs, images = make_input(options)
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(options.dtype)  # these functions have no argument for it
    try:
        net = _function(peer.architecture)(
            input_tensor=images,
            weights=None,
            classes=options.classes,
            classifier_activation=None,
            **peer.options,
        )
    finally:
        keras.config.set_dtype_policy(policy)
    logits = keras.layers.Activation("linear", dtype="float32", name="float32_logits")(net.output)
    return keras.Model(inputs, logits, name=options.name)

"""The shapes of a net's weights, without the net."""

import functools
import json
from concurrent.futures import ThreadPoolExecutor

import keras

from keras_pdenets.builders import ModelOptions
from keras_pdenets.hub.variable_names import own_variables
from keras_pdenets.presets import ARCHITECTURES, Checkpoint

# Layers in sequence: 256 blocks take seconds to build, and Keras walks along the graph by
# recursion, 1000 layers at most.
MOST_DEPTH = 512


def weight_shapes(checkpoint: Checkpoint) -> dict[str, tuple[int, ...]]:
    """Shape of every weight of the net that a record describes, by name.

    The builder itself makes the net, but of variables that have no values, so that a record may
    name any width and costs nothing.

    Args:
        checkpoint: The record.

    Raises:
        ValueError: If its options make no net, or a deeper one than Keras builds in seconds.

    Example:
    >>> from keras_pdenets.presets import Checkpoint
    >>> weight_shapes(Checkpoint("preact_resnet20", (8, 8, 1), 10**9))["classifier/kernel"]
    (64, 1000000000)
    """
    depth = checkpoint.row.config(checkpoint.options).depth
    if depth > MOST_DEPTH:
        raise ValueError(
            f"a net of {depth} layers in sequence; from a file come up to {MOST_DEPTH}. A "
            "deeper one can be built with weights=None and filled by load_weights."
        )
    options = json.dumps(checkpoint.options, sort_keys=True)
    try:
        return dict(
            _shapes(checkpoint.architecture, checkpoint.input_shape, checkpoint.classes, options)
        )
    # Whatever Keras and the backend make of options that no net can have.
    except Exception as error:
        kind = type(error).__name__
        raise ValueError(f"options {checkpoint.options} make no net ({kind}: {error}).") from error


@functools.lru_cache(maxsize=64)
def _shapes(
    architecture: str, input_shape: tuple[int, int, int], classes: int, options: str
) -> dict[str, tuple[int, ...]]:
    def build() -> dict[str, tuple[int, ...]]:
        shape_only = ModelOptions(
            input_shape,
            name=architecture,
            classes=classes,
            preprocessing=None,
            data_format="channels_last",
        )
        with keras.StatelessScope(initialize_variables=False):
            model = ARCHITECTURES[architecture].build(json.loads(options), shape_only)
            return {name: tuple(v.shape) for name, v in own_variables(model).items()}

    # In a thread of its own: what Keras notes of variables without values, of names and of scopes
    # belongs to the thread and ends with it.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(build).result()

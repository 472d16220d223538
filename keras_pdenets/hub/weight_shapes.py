"""The shapes of a net's weights, without allocating them."""

import functools
import json
from concurrent.futures import ThreadPoolExecutor

import keras

from keras_pdenets.builders import ModelOptions
from keras_pdenets.hub.variable_names import own_variables
from keras_pdenets.presets import ARCHITECTURES, Checkpoint

# Layers in sequence: 256 blocks take seconds to build, and Keras traverses the graph recursively,
# at most 1000 layers.
MOST_DEPTH = 512


def weight_shapes(checkpoint: Checkpoint) -> dict[str, tuple[int, ...]]:
    """Shape of every weight of the net that a record describes, by name.

    The builder creates the net with variables without values, so that any width is cheap.

    Args:
        checkpoint: The record.

    Raises:
        ValueError: If its options are not valid, or the net is too deep to build within seconds.

    Example:
    >>> from keras_pdenets.presets import Checkpoint
    >>> weight_shapes(Checkpoint("preact_resnet20", (8, 8, 1), 10**9))["classifier/kernel"]
    (64, 1000000000)
    """
    depth = checkpoint.row.config(checkpoint.options).depth
    if depth > MOST_DEPTH:
        raise ValueError(
            f"a net of {depth} layers in sequence; from a file at most {MOST_DEPTH} are built. For "
            "a deeper one use weights=None and load_weights."
        )
    options = json.dumps(checkpoint.options, sort_keys=True)
    try:
        return dict(
            _shapes(checkpoint.architecture, checkpoint.input_shape, checkpoint.classes, options)
        )
    # Keras and the backend raise all kinds of errors for invalid options.
    except Exception as error:
        kind = type(error).__name__
        raise ValueError(f"options {checkpoint.options} give no net ({kind}: {error}).") from error


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

    # In a thread of its own: Keras' state of variables without values, names and scopes is
    # thread-local and ends with it.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(build).result()

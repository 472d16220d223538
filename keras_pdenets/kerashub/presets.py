"""The checkpoints of this package among KerasHub's built-in presets.

KerasHub's table holds an address for each name, whose files every `from_preset` reads, also that of
base classes. Here the address is a temporary folder in KerasHub's layout, which is written from the
weights with the pinned hash when it is first read. It is deleted with the process, so that it
cannot change between runs.
"""

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

import keras

from keras_pdenets.compat.keras_hub import register_presets
from keras_pdenets.hub.files import load_opened
from keras_pdenets.hub.source import WeightsSource
from keras_pdenets.kerashub.backbone import PDENetBackbone
from keras_pdenets.kerashub.classifier import (
    PDENetImageClassifier,
    PDENetImageClassifierPreprocessor,
    PDENetImageConverter,
)
from keras_pdenets.presets import get_preset, read_presets
from keras_pdenets.transforms.copying import give_weights

_HANDLE = "kaggle_handle"  # KerasHub's key for an address of any kind


class _Entry(dict):
    """An entry of KerasHub's table whose address is created when it is read."""

    def __init__(self, preset):
        row = preset.checkpoint.row
        accuracy = preset.metrics["test_accuracy"]
        text = f"{row.builder} of keras_pdenets on {preset.dataset}, accuracy {accuracy:.2f} %."
        super().__init__(metadata={"description": text, "path": "keras_pdenets"})
        self.name = preset.name

    def __missing__(self, key):
        if key != _HANDLE:
            raise KeyError(key)
        return str(_folder(self.name, keras.config.image_data_format()))


def register():
    """Register every checkpoint in KerasHub's table."""
    presets = read_presets().values()
    register_presets({preset.name: _Entry(preset) for preset in presets}, PDENetBackbone)


@functools.cache
def _folder(name, data_format):
    """A folder with the preset in KerasHub's layout, for a data format."""
    folder = Path(tempfile.mkdtemp(prefix=f"{name}_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    _classifier(get_preset(name), data_format).save_to_preset(folder)
    return folder


def _classifier(preset, data_format):
    """The net of a checkpoint, with its weights, in float32."""
    checkpoint = preset.checkpoint
    height, width, channels = checkpoint.input_shape
    first = data_format == "channels_first"
    backbone = PDENetBackbone(
        checkpoint.architecture,
        checkpoint.options,
        (channels, None, None) if first else (None, None, channels),
        checkpoint.mean,
        checkpoint.std,
        data_format,
        "float32",
    )
    converter = PDENetImageConverter(image_size=(height, width), data_format=data_format)
    preprocessor = PDENetImageClassifierPreprocessor(converter)
    classifier = PDENetImageClassifier(backbone, checkpoint.classes, preprocessor)
    # With the names in the file, so that it is loaded completely.
    head = keras.layers.Dense(checkpoint.classes, dtype="float32", name="classifier")
    pooled = keras.layers.GlobalAveragePooling2D(data_format)(backbone.output)
    net = keras.Model(backbone.input, head(pooled), name=preset.name)
    with WeightsSource.of(preset).resolve() as file:
        load_opened(net, file)
    give_weights(head, classifier.output_dense)
    return classifier

"""Private names of KerasHub."""

from keras_hub.src.utils.preset_utils import register_presets as register_presets

"""The table of models, one row per size, and the table of checkpoints."""

from keras_pdenets.presets.architectures import ARCHITECTURES as ARCHITECTURES
from keras_pdenets.presets.architectures import Architecture as Architecture
from keras_pdenets.presets.architectures import list_models as list_models
from keras_pdenets.presets.checkpoints import LARGEST_SIDE as LARGEST_SIDE
from keras_pdenets.presets.checkpoints import PRESETS_FILE as PRESETS_FILE
from keras_pdenets.presets.checkpoints import Checkpoint as Checkpoint
from keras_pdenets.presets.checkpoints import Preset as Preset
from keras_pdenets.presets.checkpoints import get_preset as get_preset
from keras_pdenets.presets.checkpoints import list_presets as list_presets
from keras_pdenets.presets.checkpoints import markdown_table as markdown_table
from keras_pdenets.presets.checkpoints import read_presets as read_presets
from keras_pdenets.presets.checkpoints import write_preset as write_preset

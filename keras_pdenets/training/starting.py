"""A net that begins with the weights of a trained one."""

import logging

from keras_pdenets.hub.files import load_opened, read_checkpoint
from keras_pdenets.hub.source import WeightsSource
from keras_pdenets.training.models import build_model
from keras_pdenets.transforms import deepen

_LOG = logging.getLogger("keras_pdenets")


def start_from(model, checkpoint, start):
    """Give a model the weights of a trained one, but for the head of other classes.

    Args:
        model: The model, as `build_model` makes it.
        checkpoint: Its `Checkpoint`.
        start: Preset or weight file: of the same net, or of one that it can be deepened from.
    """
    with WeightsSource.parse(start).resolve() as file:
        found = read_checkpoint(file)
        new_head = _differ(found, checkpoint)
        if new_head or found.input_shape[-1] != checkpoint.input_shape[-1]:
            _LOG.info("%s", load_opened(model, file, new_head))
            return
        source = build_model(found)
        load_opened(source, file)
    deepen(source, model)


def _differ(first, second):
    """Whether two checkpoints have other classes: another number, or other names."""
    named = first.class_names and second.class_names
    return first.classes != second.classes or (
        bool(named) and first.class_names != second.class_names
    )

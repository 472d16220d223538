"""The first steps of a recipe: does it run, before it runs for days?"""

import keras
import numpy as np

from keras_pdenets.training.trainer import compiled_model


def trainable_parameters(model):
    """Number of trainable weights."""
    return int(sum(np.prod(weight.shape) for weight in model.trainable_weights))


def first_steps(recipe, source, steps=2):
    """Build the net of a recipe, as a run does, and train it for some steps; keep nothing.

    Args:
        recipe: A `Recipe`.
        source: `data.DataSource` of its data set and its `train_split`.
        steps: Number of steps.

    Returns:
        Number of trainable weights, and the loss of every step.

    Raises:
        ValueError: If the data do not fill `steps` batches.
        RuntimeError: If a loss is not finite.
    """
    if source.num_examples < steps * recipe.batch_size:
        raise ValueError(
            f"`batch_size` must leave {steps} batches of the {source.num_examples} images of "
            f"{recipe.dataset}. Received: batch_size={recipe.batch_size}"
        )
    keras.utils.set_random_seed(recipe.seed)
    model = compiled_model(recipe, source)
    batches = source.batches(
        recipe.batch_size, recipe.image_size(0), recipe.flip, recipe.crop, recipe.seed
    )
    losses = [
        float(model.train_on_batch(images.numpy(), labels.numpy())[0])
        for images, labels in batches.take(steps)
    ]
    if not np.all(np.isfinite(losses)):
        raise RuntimeError(f"The loss of {recipe.preset} is not finite: {losses}")
    return trainable_parameters(model), losses

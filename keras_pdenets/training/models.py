"""The models of recipes: built, and compiled for their training."""

import math

import keras

from keras_pdenets.builders import ModelOptions
from keras_pdenets.builders.remat import RematModel
from keras_pdenets.data.keras_layers import mixes_labels
from keras_pdenets.training.optimizers import make_optimizer
from keras_pdenets.training.peers import Peer, build_peer
from keras_pdenets.transforms import freeze

BACKBONE = "backbone"  # what `freeze` of a recipe says for all but the classifier


def build_model(checkpoint, dtype=None, sides=(None, None)):
    """The untrained model of a `Checkpoint`, for images of any size, without softmax."""
    options = ModelOptions(
        # The sides are open for the resolution schedule, so recipes name the stem of a ResNet.
        (*sides, checkpoint.input_shape[-1]),
        name=checkpoint.architecture,
        classes=checkpoint.classes,
        classifier_activation=None,
        preprocessing=checkpoint.preprocessing,
        data_format="channels_last",
        dtype=dtype,
    )
    if isinstance(checkpoint, Peer):
        return build_peer(checkpoint, options)
    return checkpoint.row.build(checkpoint.options, options)


def trainable_parameters(model):
    """Number of trainable weights."""
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


def compiled_model(recipe, source):
    """The model of a recipe with its optimizer, all variables made."""
    model = build_model(recipe.checkpoint, recipe.dtype)
    if recipe.freeze is not None:
        freeze(model, None if recipe.freeze == BACKBONE else recipe.freeze)
    if isinstance(model, RematModel) and keras.backend.backend() == "tensorflow":
        # Else the second pass loses its place behind the first, and saves no memory.
        import tensorflow as tf

        tf.config.optimizer.set_experimental_options({"dependency_optimization": False})
    optimizer = make_optimizer(recipe, model, source.num_examples // recipe.batch_size)
    compile_model(model, optimizer, recipe)
    # The model's own, not ours: float16 wraps it, and the wrapper has variables too.
    model.optimizer.build(model.trainable_variables)
    return model


def compile_model(model, optimizer, recipe):
    """Compile a model that gives logits, with the loss of the recipe."""
    classes, mixes = recipe.checkpoint.classes, mixes_labels(recipe.augmentations)

    # Keras smooths labels in the categorical losses only.
    def cross_entropy(labels, logits):
        targets = labels
        if not (mixes and labels.shape[-1] == classes):  # else shares; those to measure on are not
            targets = keras.ops.one_hot(
                keras.ops.cast(keras.ops.reshape(labels, (-1,)), "int32"), classes
            )
        return keras.losses.categorical_crossentropy(
            targets, logits, from_logits=True, label_smoothing=recipe.label_smoothing
        )

    accuracy = keras.metrics.SparseCategoricalAccuracy("accuracy")
    if mixes:
        accuracy = keras.metrics.MeanMetricWrapper(_accuracy, "accuracy")
    model.compile(
        optimizer,
        cross_entropy,
        metrics=[accuracy],
        jit_compile=without_eager_jax(recipe.jit_compile),
        steps_per_execution=recipe.steps_per_execution,
    )


def _accuracy(labels, logits):
    """Whether the largest logit is at the label, or at the class with the largest share."""
    found = keras.ops.argmax(logits, -1)
    if labels.shape[-1] == logits.shape[-1]:
        return found == keras.ops.argmax(labels, -1)
    return found == keras.ops.cast(keras.ops.reshape(labels, (-1,)), found.dtype)


def without_eager_jax(jit_compile):
    """`jit_compile` for Keras, which takes false on JAX for one operation after the other."""
    return "auto" if keras.backend.backend() == "jax" and not jit_compile else jit_compile

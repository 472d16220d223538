"""A converted net trained to give the outputs of the original."""

import keras
import numpy as np
from keras import ops

from keras_pdenets.graphs.graph import read_graph
from keras_pdenets.utils.checks import check_integer, check_number


def distil(
    student, teacher, data, epochs=1, learning_rate=1e-3, temperature=2.0, batch_size=128,
    flip=True, seed=0, verbose="auto",
):  # fmt: skip
    r"""Train a net to give the classes' probabilities of another, on images without labels.

    $$-\sum_k q_k \log p_k, \qquad q, p = \mathrm{softmax}(z / T)$$

    with the logits z of the teacher in q and of the student in p: Hinton et al. 2015, arXiv
    1503.02531. AdamW with a cosine from `learning_rate` to 0 behind 30 steps of warm-up, without
    weight decay, gradients clipped at norm 1.

    Args:
        student: Functional `keras.Model` of one output (batch, classes), logits or softmax; its
            weights are changed.
        teacher: Model of the same classes; it is only asked.
        data: Array of images.
        epochs: Passes over them.
        learning_rate: The largest.
        temperature: T.
        batch_size: Images in a step.
        flip: Whether half of the images of an epoch are mirrored, left for right.
        seed: Seed of order and mirroring.
        verbose: As in `keras.Model.fit`.

    Returns:
        The student.

    Raises:
        ValueError: If an argument is out of range, or the outputs are no classes.

    Example:
    >>> import keras_pdenets
    >>> from keras_pdenets.transforms import distil
    >>> images, _ = keras_pdenets.data.load_sample()
    >>> teacher = keras_pdenets.load_model("resnet20_fashion_mnist")
    >>> student = keras_pdenets.load_model("pde_resnet20_fashion_mnist")
    >>> distil(student, teacher, images[:32], batch_size=16, verbose=0) is student
    True
    """
    epochs = check_integer("epochs", epochs, 1)
    batch_size = min(check_integer("batch_size", batch_size, 1), len(data))
    check_number("temperature", temperature, "above 0", lambda number: number > 0)
    check_number("learning_rate", learning_rate, "above 0", lambda number: number > 0)
    _check_classes(student, teacher)
    gives_probabilities = _ends_in_softmax(student)

    def cross_entropy(wanted, outputs):
        logits = ops.log(ops.clip(outputs, 1e-7, 1.0)) if gives_probabilities else outputs
        return keras.losses.categorical_crossentropy(wanted, logits / temperature, from_logits=True)

    steps = epochs * (len(data) // batch_size)
    warm_up = min(30, steps // 4)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0 if warm_up else learning_rate, max(steps - warm_up, 1),
        warmup_target=learning_rate if warm_up else None, warmup_steps=warm_up,
    )  # fmt: skip
    # A model of its own around the same layers: the student stays without an optimizer.
    fitted = keras.Model(student.inputs, student.outputs[0])
    fitted.compile(
        keras.optimizers.AdamW(rate, weight_decay=0.0, global_clipnorm=1.0), cross_entropy
    )
    rng, axis = np.random.default_rng(seed), _width_axis(student)
    for _ in range(epochs):
        images = np.asarray(data)[rng.permutation(len(data))]
        if flip:
            mirrored = rng.random(len(images)) < 0.5
            images[mirrored] = np.flip(images[mirrored], axis)
        wanted = _soften(teacher, images, temperature)
        whole = len(images) // batch_size * batch_size
        fitted.fit(images[:whole], wanted[:whole], batch_size, shuffle=False, verbose=verbose)
    return student


def _check_classes(*models):
    shapes = [tuple(t.shape) for model in models for t in model.outputs]
    if len(shapes) != 2 or len(shapes[0]) != 2 or len({shape[-1] for shape in shapes}) != 1:
        raise ValueError(
            "`student` and `teacher` must have one output (batch, classes) of the same classes. "
            f"Received: outputs of shape {', '.join(map(str, shapes))}"
        )


def _soften(teacher, images, temperature):
    """The teacher's probabilities at a temperature."""
    outputs = np.asarray(teacher.predict(images, 500, verbose=0), "float64")
    if _ends_in_softmax(teacher):
        outputs = np.log(np.clip(outputs, 1e-12, 1.0))
    powers = np.exp((outputs - outputs.max(-1, keepdims=True)) / temperature)
    return (powers / powers.sum(-1, keepdims=True)).astype("float32")


def _ends_in_softmax(model):
    graph = read_graph(model)
    last = graph.makers[id(model.outputs[0])].layer
    if isinstance(last, keras.Model):
        return _ends_in_softmax(last)
    softmax = getattr(last, "activation", None) is keras.activations.softmax
    return softmax or isinstance(last, keras.layers.Softmax)


def _width_axis(model):
    """Axis of an image's columns: the last but the channels, of which there are fewer."""
    first = any(getattr(x, "data_format", None) == "channels_first" for x in model.layers)
    return 3 if first else 2

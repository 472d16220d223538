"""A converted net trained to give the outputs of the original."""

import inspect

import keras
import numpy as np
from keras import ops

from keras_pdenets.graphs.flattening import flatten
from keras_pdenets.graphs.graph import read_graph
from keras_pdenets.transforms.conversion.watching import (
    common_points,
    distance,
    factors_of,
    watched,
)
from keras_pdenets.utils.checks import check_integer, check_number, lookup

# Of the true classes, beside the teacher's.
LABEL_WEIGHT = 0.1


def distil(
    student, teacher, data, epochs=1, learning_rate=1e-3, temperature=2.0, batch_size=128,
    flip=True, seed=0, verbose="auto", features=1.0, labels=None,
):  # fmt: skip
    r"""Train a net to give the classes' probabilities of another, on images without labels.

    $$-\sum_k q_k \log p_k + \frac{f}{|J|} \sum_{j \in J} \frac{\|h'_j - h_j\|^2}{\|h_j\|^2},
      \qquad q, p = \mathrm{softmax}(z / T)$$

    with the logits z of the teacher in q and of the student in p: Hinton et al. 2015, arXiv
    1503.02531; and the feature maps h of the teacher and h' of the student where both have one of
    the same name and shape at the end of a residual block (in a net without these: in front of a
    change of size), as converted nets have everywhere: Romero et al. 2015, arXiv 1412.6550. The
    energy in the denominator is that of the teacher's deviation from its mean, on the first images.
    AdamW with a cosine from `learning_rate` to 0 behind 30 steps of warm-up, without weight decay,
    gradients clipped at norm 1.

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
        verbose: 0: no progress bar.
        features: f; 0: the classes alone.
        labels: Array of the images' true classes, or None. A tenth of their cross-entropy joins
            the loss.

    Returns:
        The student.

    Raises:
        ValueError: If an argument is out of range, the outputs are no classes, or the nets have no
            such feature map in common and `features` is not 0.

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
    check_number("features", features, "0 or more", lambda number: number >= 0)
    _check_classes(student, teacher)
    data, steps = np.asarray(data), len(data) // batch_size
    classes = _one_hot(labels, len(data), student.outputs[0].shape[-1])
    student_, teacher_ = flatten(student), flatten(teacher)
    pairs = common_points(student_, teacher_) if features else []
    points = [list(side) for side in zip(*pairs, strict=True)] or [[], []]
    factors = factors_of(teacher_, points[1], data[:batch_size], features) if pairs else []
    # Models of their own around the same layers: the student stays without an optimizer.
    fitted, asked = (
        watched(model, tensors, factors)
        for model, tensors in zip((student_, teacher_), points, strict=True)
    )
    losses = [_cross_entropy(_ends_in_softmax(student_), temperature, labels is not None)]
    losses += [distance] if pairs else []
    fitted.compile(_optimizer(learning_rate, epochs * steps), losses)
    soften, axis = _softener(_ends_in_softmax(teacher_), temperature), _width_axis(student_)
    rng = np.random.default_rng(seed)
    bar = keras.utils.Progbar(epochs * steps, verbose=0 if verbose == 0 else 1)
    for _ in range(epochs):
        order, mirrored = rng.permutation(len(data)), rng.random(len(data)) < 0.5 * bool(flip)
        for part in np.arange(steps * batch_size).reshape(steps, batch_size):
            chosen, images = order[part], data[order[part]]
            images[mirrored[part]] = np.flip(images[mirrored[part]], axis)
            # Asked batch by batch: the feature maps of all images would not fit.
            wanted = keras.tree.flatten(asked.predict_on_batch(images))
            wanted[0] = np.concatenate([soften(wanted[0]), *classes[:, chosen]], -1)
            losses = keras.tree.flatten(fitted.train_on_batch(images, wanted))
            bar.add(1, [("loss", float(np.asarray(losses[0])))])
    return student


_OPTIONS = dict.fromkeys(list(inspect.signature(distil).parameters)[2:])


def options_of(value):
    """`distil` of `convert` as arguments of the function: none for 0 epochs.

    Raises:
        ValueError: If it is neither a number of epochs nor a dictionary of arguments.
    """
    if not isinstance(value, dict):
        epochs = check_integer("distil", value, 0)
        return {"epochs": epochs} if epochs else {}
    for name in value:
        lookup("distil", name, _OPTIONS)
    return {"epochs": 1} | value


def _cross_entropy(gives_probabilities, temperature, labelled):
    """The loss of the classes; what is wanted is the softened ones and, if given, the true ones."""

    def loss(wanted, outputs):
        logits = ops.log(ops.clip(outputs, 1e-7, 1.0)) if gives_probabilities else outputs
        soft, *true = ops.split(wanted, 2, -1) if labelled else [wanted]
        entropy = keras.losses.categorical_crossentropy
        total = entropy(soft, logits / temperature, from_logits=True)
        return total + sum(LABEL_WEIGHT * entropy(t, logits, from_logits=True) for t in true)

    return loss


def _one_hot(labels, count, classes):
    """(0 or 1, images, classes): nothing without labels."""
    if labels is None:
        return np.zeros((0, count, classes), "float32")
    labels = np.asarray(labels).ravel()
    fits = labels.dtype.kind in "iu" and len(labels) == count
    if not fits or labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"`labels` must be {count} integers in [0, {classes}), one for each image. Received: "
            f"{labels.dtype} of shape {labels.shape}"
        )
    return np.eye(classes, dtype="float32")[labels][None]


def _optimizer(learning_rate, steps):
    warm_up = min(30, steps // 4)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0 if warm_up else learning_rate, max(steps - warm_up, 1),
        warmup_target=learning_rate if warm_up else None, warmup_steps=warm_up,
    )  # fmt: skip
    return keras.optimizers.AdamW(rate, weight_decay=0.0, global_clipnorm=1.0)


def _check_classes(*models):
    shapes = [tuple(t.shape) for model in models for t in model.outputs]
    if len(shapes) != 2 or len(shapes[0]) != 2 or len({shape[-1] for shape in shapes}) != 1:
        raise ValueError(
            "`student` and `teacher` must have one output (batch, classes) of the same classes. "
            f"Received: outputs of shape {', '.join(map(str, shapes))}"
        )


def _softener(gives_probabilities, temperature):
    """Function of the teacher's outputs: its probabilities at a temperature."""

    def soften(outputs):
        outputs = np.asarray(outputs, "float64")
        if gives_probabilities:
            outputs = np.log(np.clip(outputs, 1e-12, 1.0))
        powers = np.exp((outputs - outputs.max(-1, keepdims=True)) / temperature)
        return (powers / powers.sum(-1, keepdims=True)).astype("float32")

    return soften


def _ends_in_softmax(model):
    last = read_graph(model).makers[id(model.outputs[0])].layer
    softmax = getattr(last, "activation", None) is keras.activations.softmax
    return softmax or isinstance(last, keras.layers.Softmax)


def _width_axis(model):
    """Axis of an image's columns: the last but the channels, of which there are fewer."""
    first = any(getattr(x, "data_format", None) == "channels_first" for x in model.layers)
    return 3 if first else 2

"""Any trained net as a net of differential operators, or of one-dimensional convolutions."""

import time

import keras
import numpy as np

from keras_pdenets.builders.pixels import check_images
from keras_pdenets.graphs.flattening import flatten
from keras_pdenets.graphs.graph import read_graph
from keras_pdenets.transforms.conversion.counting import count_layer, count_net
from keras_pdenets.transforms.conversion.forms import FORMS
from keras_pdenets.transforms.conversion.rebuilding import Rebuild
from keras_pdenets.transforms.conversion.report import ConvertedLayer
from keras_pdenets.transforms.conversion.report import ConvertReport as ConvertReport
from keras_pdenets.transforms.conversion.solving import Conversion
from keras_pdenets.transforms.conversion.targets import OPERATORS, choice_of, find_targets
from keras_pdenets.utils.checks import check_choice, check_integer, check_number


def convert(
    model, operator="pde", data=None, layers=None, share=1.0, held_out=None, places=30_000,
    ridge=1e-4, batch_size=100, seed=0, verbose="auto",
):  # fmt: skip
    r"""Turn the 3x3 convolutions of a trained net into another operator, without training.

    $$\min_A \; \sum_p \|S(x'_p) A - K^T x_p\|^2 + \lambda \|A - A_0\|^2$$

    Of every layer in turn, in the order of the net: x are the pixels that a place p of its outputs
    reads in the original net, x' in the net converted so far, so that a layer repairs the errors of
    those before it; K is its kernel, S what the operator makes of the pixels: six derivatives of
    every channel (`operator="pde"`), or three-point rows and columns (`"decomposed"`). All
    channels are solved together and take over from one another what a single kernel of the new
    kind cannot express. $A_0$ is the nearest kernel. Least squares on outputs of layers is Zhang et
    al. 2015, arXiv 1505.06798; the operators are those of Yin et al. 2019, arXiv 1904.07568.

    Statistics of batch norms take the change of their inputs' statistics from the first net to the
    second on `data` (the usual re-estimation would add the noise of a few images).

    The normal equations are summed up in NumPy, in 64 bits: $(6n)^2$ numbers for n channels
    (decomposed: $(9n)^2$), 75 (170) MB for 512. Beside them the feature maps of `data` that are
    still to be read are in memory, of both nets.

    Args:
        model: Any functional or sequential Keras model of one input, models inside it included
            (they are unfolded). It is not changed.
        operator: `"pde"`: `PDEConv2D(form="linear")`, two thirds of the numbers. `"decomposed"`:
            `DecomposedConv2D`, or two convolutions of Keras for larger odd kernels, with fewer
            operations.
        data: Images as the model takes them, some hundreds, without labels.
        layers: Which convolutions: None (all that can be), names, a pattern such as `"stage2*"`,
            or a function of a layer.
        share: Channels between the two convolutions of a decomposed layer, relative to its filters.
        held_out: Images, or a pair of images and labels, to compare both nets on, or None.
        places: Places of its outputs that a layer is fitted on, at most.
        ridge: $\lambda$, relative to the mean energy of the features.
        batch_size: Examples in a batch.
        seed: Seed of the choice of places.
        verbose: 0: no progress bar.

    Returns:
        A new `keras.Model`; converted layers keep their names. And a `ConvertReport`.

    Raises:
        ValueError: If an argument is out of range, the model is not functional or has no such
            convolution, `data` are of another shape, not finite or all alike, or the model's
            outputs for them are not finite.

    Example:
    >>> import keras_pdenets
    >>> from keras_pdenets.transforms import convert
    >>> model = keras_pdenets.PreActResNet20(weights="hub")
    >>> images, _ = keras_pdenets.data.load_sample()
    >>> pde, report = convert(model, data=images[:100], layers="stage0*", verbose=0)
    >>> len(report.layers), report.layers[0].parameters
    (6, (2304, 1536))
    """
    started = time.monotonic()
    check_choice("operator", operator, OPERATORS)
    check_number("share", share, "in (0, 1]", lambda number: 0 < number <= 1)
    check_number("ridge", ridge, "above 0", lambda number: number > 0)
    check_integer("places", places, 1)
    check_integer("batch_size", batch_size, 1)
    flat = flatten(model)
    images = check_data(flat, data)
    graph = read_graph(flat)
    targets, left = find_targets(graph, operator, choice_of(layers))
    forms = {id(target.call): FORMS[operator](target, share) for target in targets}
    work = Conversion(graph, forms, ridge, places, seed)
    work.run(images, batch_size, verbose)
    new = Rebuild(work.solved, work.norms).model(model, graph)
    counts = [count_layer(form) for form in forms.values()]
    converted = tuple(
        ConvertedLayer(
            form.target.name, operator, getattr(form, "middle", None), work.errors[key],
            count.parameters, count.operations,
        )
        for (key, form), count in zip(forms.items(), counts, strict=True)
    )  # fmt: skip
    agreement, accuracy = compare(model, new, held_out, batch_size)
    return new, ConvertReport(
        converted, left, (model.count_params(), new.count_params()), count_net(graph, counts),
        len(work.norms), agreement, accuracy, time.monotonic() - started,
    )  # fmt: skip


def check_data(flat, data):
    """The images as an array that the model takes.

    Raises:
        ValueError: If they are none, or the model has several inputs, or fails on them.
    """
    if len(flat.inputs) != 1:
        raise ValueError(
            f"`model` must have one input. Received: {flat.name!r} with {len(flat.inputs)}"
        )
    images = check_images(flat, data, name="data")
    if np.ptp(images) == 0:
        raise ValueError(
            "`data` must be images that differ: on constant ones every operator is the same. "
            f"Received: {images.flat[0]:g} everywhere"
        )
    outputs = keras.tree.flatten(flat.predict_on_batch(images[:2]))
    if not all(np.isfinite(output).all() for output in outputs):
        raise ValueError(
            f"`model` must give finite outputs for `data`. Received: {flat.name!r}, whose outputs "
            "have NaN or infinity: its weights have diverged, or `data` are far from theirs"
        )
    return images


def compare(model, new, held_out, batch_size):
    """Share of equal classes, and accuracies before and after, each None without what it takes."""
    if held_out is None:
        return None, None
    images, labels = held_out if isinstance(held_out, tuple) else (held_out, None)
    classes = [np.argmax(m.predict(images, batch_size, verbose=0), -1) for m in (model, new)]
    agreement = float(np.mean(classes[0] == classes[1]))
    if labels is None:
        return agreement, None
    labels = np.reshape(labels, classes[0].shape)
    return agreement, tuple(float(np.mean(found == labels)) for found in classes)

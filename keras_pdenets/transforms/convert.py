"""Any trained net as a net of differential operators, or of one-dimensional convolutions."""

import time

import numpy as np

from keras_pdenets.graphs.flattening import flatten
from keras_pdenets.graphs.graph import read_graph
from keras_pdenets.transforms.conversion import distilling
from keras_pdenets.transforms.conversion.counting import count_layer, count_net
from keras_pdenets.transforms.conversion.groups import FORMS
from keras_pdenets.transforms.conversion.inputs import check_data, check_operators, targets_of
from keras_pdenets.transforms.conversion.planning import ConversionPlan as ConversionPlan
from keras_pdenets.transforms.conversion.planning import check_budget, form_of
from keras_pdenets.transforms.conversion.rebuilding import Rebuild
from keras_pdenets.transforms.conversion.report import ConvertedLayer
from keras_pdenets.transforms.conversion.report import ConvertReport as ConvertReport
from keras_pdenets.transforms.conversion.solving import Conversion, measure
from keras_pdenets.transforms.conversion.store import Store, key_of
from keras_pdenets.transforms.conversion.targets import OPERATORS, choice_of
from keras_pdenets.utils.checks import check_integer, check_number


def convert(
    model, operator="pde", data=None, layers=None, share=1.0, budget=None, distil=0, held_out=None,
    places=30_000, ridge=1e-4, batch_size=100, seed=0, folder=None, verbose="auto",
):  # fmt: skip
    r"""Turn the 3x3 convolutions of a trained net into another operator, without training.

    $$\min_A \; \sum_p \|S(x'_p) A - K^T x_p\|^2 + \lambda \|A - A_0\|^2$$

    Of every layer in turn, in the order of the net: x are the pixels that a place p of its outputs
    reads in the original net, x' in the net converted so far, so that a layer repairs the errors of
    those before it; K is its kernel, S what the operator makes of the pixels: six derivatives of
    every channel (`operator="pde"`), or three-point rows and columns (`"decomposed"`). All
    channels are solved together and take over from one another what a single kernel of the new
    kind cannot express. $A_0$ is the nearest kernel. Where a shortcut is added to the outputs at
    once, as in pre-activation nets, the layer makes up for what that has become too: its aim is the
    sum in the original net. Least squares on outputs of layers is Zhang et al. 2015, arXiv
    1505.06798; the operators are those of Yin et al. 2019, arXiv 1904.07568.

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
            operations. Both, as a tuple: what the budget chooses.
        data: Images as the model takes them, some hundreds, without labels.
        layers: Which convolutions: None (all that can be), names, a pattern such as `"stage2*"`,
            or a function of a layer.
        share: Channels between the two convolutions of a decomposed layer, relative to its filters.
        budget: What may remain, as of `ConversionPlan.choose`: 0.6 for three fifths of the net's
            operations, `{"parameters": 0.8}`, or `{"error": 0.05}`; what each layer becomes, and
            how wide, is then chosen by the least error (`plan_conversion`), in place of `share`.
        distil: Epochs of training to the outputs of the original afterwards; or a dictionary of
            arguments of `transforms.distil`, as `{"epochs": 3, "data": images}` with thousands of
            images where `data` has some hundreds. No `Recipe`: that names a net and a data set.
        held_out: Images, or a pair of images and labels, to compare both nets on, or None.
        places: Places of its outputs that a layer is fitted on, at most.
        ridge: $\lambda$, relative to the mean energy of the features.
        batch_size: Examples in a batch.
        seed: Seed of the choice of places.
        folder: Folder for the layers that are solved: with the same arguments a conversion goes on
            where it was stopped. None: nothing is written.
        verbose: 0: no progress bar.

    Returns:
        A new `keras.Model`; converted layers keep their names. And a `ConvertReport`.

    Raises:
        ValueError: If an argument is out of range, the model is not functional or has no such
            convolution, `data` are of another shape, not finite or all alike, the model's outputs
            for them are not finite, or the budget cannot be met (the least is named).

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
    operators = check_operators(operator)
    check_number("share", share, "in (0, 1]", lambda number: 0 < number <= 1)
    training = distilling.options_of(distil)
    if budget is None and len(operators) > 1:
        raise ValueError("`operator` must be one without a `budget`, which chooses.")
    if budget is not None:
        check_budget(budget)
    job = _Job(model, data, operators, layers, places, ridge, batch_size, seed, verbose)
    if budget is None:
        forms = {key: FORMS[operators[0]](t, share) for key, (t, _) in job.targets.items()}
    else:
        forms = job.forms_within(budget)
    key = key_of(job.flat, job.images, forms.values(), places, ridge, seed)
    store = Store(folder, key)
    work = Conversion(job.graph, forms, ridge, places, seed, store)
    with store.opened():
        work.run(job.images, batch_size, verbose)
    new = Rebuild(work.solved, work.norms).model(model, job.graph)
    if training:
        given = {"data": job.images, "seed": seed, "verbose": verbose}
        distilling.distil(new, model, **given | training)
    counts = [count_layer(form) for form in forms.values()]
    converted = tuple(
        ConvertedLayer(
            form.target.name, form.name, getattr(form, "middle", None), work.errors[key],
            count.parameters, count.operations,
        )
        for (key, form), count in zip(forms.items(), counts, strict=True)
    )  # fmt: skip
    agreement, accuracy = compare(model, new, held_out, batch_size)
    return new, ConvertReport(
        converted, job.left, (model.count_params(), new.count_params()),
        count_net(job.graph, counts), len(work.norms), agreement, accuracy,
        time.monotonic() - started,
    )  # fmt: skip


def plan_conversion(
    model, data, operator=OPERATORS, layers=None, places=30_000, ridge=1e-4, batch_size=100, seed=0,
    verbose="auto",
):  # fmt: skip
    """Measure what every layer could become, before anything is changed.

    Each layer is solved on its inputs in the original net: as an operator, and decomposed with
    `planning.SHARES` of its filters between (`convert` comes a little lower). One
    pass over the net, with the normal equations of the pixels, $(9n)^2$ numbers.

    Args:
        model: As of `convert`, like all the others.
        data: See there.
        operator: One, or several.
        layers: See there.
        places: See there.
        ridge: See there.
        batch_size: See there.
        seed: See there.
        verbose: See there.

    Returns:
        A `ConversionPlan`, a table; its `choose(budget)` says what `convert` does with a budget.

    Raises:
        ValueError: As `convert`.

    Example:
    >>> import keras_pdenets
    >>> from keras_pdenets.transforms import plan_conversion
    >>> model = keras_pdenets.PreActResNet20(weights="hub")
    >>> images, _ = keras_pdenets.data.load_sample()
    >>> plan = plan_conversion(model, images[:50], layers="stage0_block0*", verbose=0)
    >>> [option.operator for option in plan.layers["stage0_block0_conv0"]][:3]
    ['left', 'pde', 'decomposed']
    """
    operators = check_operators(operator)
    return _Job(model, data, operators, layers, places, ridge, batch_size, seed, verbose).plan()


class _Job:
    """What `convert` and `plan_conversion` share: the checked arguments, and the net's graph."""

    def __init__(self, model, data, operators, layers, places, ridge, batch_size, seed, verbose):
        check_number("ridge", ridge, "above 0", lambda number: number > 0)
        check_integer("places", places, 1)
        check_integer("batch_size", batch_size, 1)
        check_integer("seed", seed, 0)
        self.flat = flatten(model)
        self.images = check_data(self.flat, data)
        self.graph = read_graph(self.flat)
        self.targets, self.left = targets_of(self.graph, operators, choice_of(layers))
        self._options = ridge, places, seed, batch_size, verbose

    def plan(self):
        """The `ConversionPlan`."""
        options = measure(self.graph, self.targets, self.images, *self._options)
        whole = count_net(self.graph, [])
        return ConversionPlan(options, self.left, self.flat.count_params(), whole and whole[0])

    def forms_within(self, budget):
        """The forms of the layers that a budget changes."""
        chosen, forms = self.plan().choose(budget), {}
        for key, (target, _) in self.targets.items():
            option = chosen[target.name]
            if option.operator == "left":
                self.left[target.name] = "kept by the budget"
            else:
                forms[key] = form_of(target, option)
        if not forms:
            raise ValueError(
                "`budget` must leave something to convert: with it every layer stays as it is. "
                f"Received: budget={budget!r}"
            )
        return forms


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

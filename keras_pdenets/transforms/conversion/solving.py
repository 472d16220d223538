"""The layers of a net in turn: each solved on its own inputs in the converted net so far."""

import math
import warnings

import keras
import numpy as np

from keras_pdenets.graphs.residual import adds_two_of_a_kind
from keras_pdenets.layers.precision import as_float64
from keras_pdenets.transforms.conversion import patches
from keras_pdenets.transforms.conversion.groups import decomposed, equations_of
from keras_pdenets.transforms.conversion.planning import options_of
from keras_pdenets.transforms.conversion.twin import Twin, convolution_like, corrected_norm


class Conversion:
    """Solves the layers of a net one after the other.

    Args:
        graph: `Graph` of the net, without models inside it.
        forms: The form of each target, by identity of its call.
        ridge: Weight of the start, relative to the mean energy of the features.
        places: Places of outputs that a layer is fitted on, at most.
        seed: Seed of the choice of places.
        store: `Store` of the layers that are solved.
    """

    def __init__(self, graph, forms, ridge, places, seed, store):
        self.graph, self.forms, self.store = graph, forms, store
        self.ridge, self.places, self.seed = ridge, places, seed
        self.solved, self.norms, self.errors = {}, {}, {}

    def run(self, data, batch_size, verbose):
        """Make all calls in both nets."""
        twin = Twin(self.graph, data, batch_size)
        bar = keras.utils.Progbar(len(self.forms), verbose=0 if verbose == 0 else 1)
        for call in self._needed():
            changed = None
            if id(call) in self.forms:
                changed = self._solve(twin, call)
                bar.add(1)
            elif _is_norm(call):
                changed = corrected_norm(twin, call)
                if changed is not None:
                    self.norms[id(call)] = changed
            twin.advance(call, changed)

    def _needed(self):
        """The calls up to the last that changes."""
        last = max(i for i, c in enumerate(self.graph.calls) if id(c) in self.forms or _is_norm(c))
        return self.graph.calls[: last + 1]

    def _solve(self, twin, call):
        form, index = self.forms[id(call)], len(self.solved)
        known = self.store.load(index)
        if known is None:
            pairs, beside = twin.pairs(call.inputs[0]), self._beside(twin, call)
            normal = normal_equations(form, pairs, self.places, (self.seed, index), beside)
            solution = form.solve(normal, self.ridge)
            known = {"constant": normal.constant(solution), "error": normal.error(solution)}
            self.store.save(index, known | form.arrays)
        else:
            form.arrays = {name: known[name] for name in known if name not in ("constant", "error")}
        constant = known["constant"]
        self.errors[id(call)] = float(known["error"])
        self.solved[id(call)] = form.target, form, constant
        return convolution_like(call.layer, call.inputs[0], form.kernel(), constant)

    def _beside(self, twin, call):
        """What is added to the outputs of a call in both nets, where it is known, or None."""
        readers = self.graph.readers.get(id(call.outputs[0]), [])
        if len(readers) != 1 or not adds_two_of_a_kind(readers[0]):
            return None
        others = [t for t in readers[0].inputs if t is not call.outputs[0]]
        return twin.pairs(others[0]) if others and twin.knows(others[0]) else None


def measure(graph, targets, images, ridge, places, seed, batch_size, verbose):
    """The options of layers by their names, each on its inputs in the original net.

    Args:
        graph: `Graph` of the net.
        targets: (`Target`, names of its operators) by identity of the calls.
        images: Inputs of the net.
        ridge: As of `Conversion`, like the next two.
        places: See there.
        seed: See there.
        batch_size: Examples in a batch.
        verbose: 0: no progress bar.
    """
    twin, found = Twin(graph, images, batch_size), {}
    bar = keras.utils.Progbar(len(targets), verbose=0 if verbose == 0 else 1)
    for call in graph.calls:
        if len(found) == len(targets):
            break
        if id(call) in targets:
            target, operators = targets[id(call)]
            pairs = twin.pairs(call.inputs[0])
            normal = normal_equations(decomposed(target), pairs, places, (seed, len(found)))
            found[target.name] = options_of(target, operators, normal, ridge)
            bar.add(1)
        twin.advance(call)
    return found


def normal_equations(form, pairs, places, seed, beside=None):
    """The normal equations of a layer.

    Args:
        form: What it becomes.
        pairs: Its inputs in the original net and in the converted one, batch by batch.
        places: Places of its outputs that are drawn, at most; never less than twice the unknowns.
        seed: Seed of the draw.
        beside: What is added to its outputs in both nets, batch by batch, or None: the layer makes
            up for the difference.
    """
    layer = form.target.layer
    kernels = np.split(as_float64(layer.kernel), layer.groups, -1)
    normal = equations_of(form)
    images = [tuple(patches.to_images(layer, x) for x in _distinct(pair)) for pair in pairs]
    grids = [patches.grid_of(layer, batch[0]) for batch in images]
    wanted = max(places, 2 * form.unknowns)
    _warn_of_few(form, grids, wanted)
    drawn = patches.draw_places(grids, wanted, np.random.default_rng(seed))
    for batch, chosen, other in zip(images, drawn, beside or [None] * len(drawn), strict=True):
        apart = _difference(layer, other, chosen)
        pieces = [patches.patches(layer, part, chosen) for part in batch]
        for found in zip(*pieces, strict=True):
            (part, old), (_, new) = found[0], found[-1]
            wanted = _outputs(kernels, old)
            normal.add(form.features(new), wanted if apart is None else wanted + apart[part])
    return normal.finish()


def _outputs(kernels, found):
    """(places, points, n) -> (places, o): what a convolution of so many groups makes of them."""
    parts = np.split(found, len(kernels), -1)
    # (places, points n), the order of the kernel
    made = [
        part.reshape(len(part), -1) @ kernel.reshape(-1, kernel.shape[-1])
        for part, kernel in zip(parts, kernels, strict=True)
    ]
    return np.concatenate(made, -1)


def _difference(layer, pair, places):
    """First value less second at some places of the outputs; None where there is none."""
    if pair is None or pair[0] is pair[1]:
        return None
    # (b, h, w, o) -> (places, o)
    old, new = (
        x.reshape(-1, x.shape[-1])[places] for x in (patches.to_images(layer, t) for t in pair)
    )
    return old.astype("float64") - new


def _distinct(pair):
    return pair[:1] if pair[0] is pair[1] else pair


def _is_norm(call):
    return type(call.layer) is keras.layers.BatchNormalization


def _warn_of_few(form, grids, wanted):
    places = sum(map(math.prod, grids))
    if places < form.unknowns:
        each = math.prod(grids[0][1:])
        warnings.warn(
            f"Layer {form.target.name!r} has {form.unknowns} unknowns for each filter and {places} "
            f"places of its outputs in `data`: give {math.ceil(form.unknowns / each)} images at "
            "least. What they do not tell is taken from the nearest kernel.",
            stacklevel=5,
        )

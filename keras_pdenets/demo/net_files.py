"""The files of one net on the page."""

import json
from pathlib import Path

import keras
import numpy as np

from keras_pdenets.analysis.weight_noise import conv_variables
from keras_pdenets.applications import load_model
from keras_pdenets.demo.operators import operator_table
from keras_pdenets.demo.packing import WeightStore, fingerprint, simplify, split, write_packed
from keras_pdenets.demo.paths import find_ways
from keras_pdenets.demo.watched import watch
from keras_pdenets.export import export, open_exported
from keras_pdenets.presets import get_preset
from keras_pdenets.transforms import resample

_TOLERANCE = 1e-4
_COMPARED = 4  # images that an exported net is compared on


def write_net(row, folder, work, images, labels):
    """Write what the page needs of a net.

    Args:
        row: The `ShownNet`.
        folder: Where to; it is made.
        work: A folder for what is on its way.
        images: Images that ways are measured on.
        labels: Their classes.

    Returns:
        The net's record for the page, and the probabilities for the images.

    Raises:
        RuntimeError: If an exported net gives other numbers than Keras.
    """
    folder.mkdir(parents=True)
    model = load_model(row.preset)
    store = WeightStore(
        {fingerprint(keras.ops.convert_to_numpy(kernel)) for kernel in conv_variables(model)}
    )
    watched = watch(model)
    nets = _variants(row, watched, model, images)
    graphs = {name: _exported(net, store, images[:_COMPARED], work) for name, net in nets.items()}
    if store.missing():
        raise RuntimeError(
            f"{len(store.missing())} kernels of {row.preset} are not in its ONNX graph as they are "
            "in Keras: the page could not add noise to them."
        )
    weights = store.write_spread(work)
    for name, graph in graphs.items():
        _check_split(graph, nets[name], images[:_COMPARED], work)
        write_packed(folder / f"{name}.onnx.gz", graph)
    weights.unlink()
    write_packed(folder / "weights.gz", store.stored())
    ways = find_ways(model, watched, images, labels)
    write_packed(folder / "planes.gz", ways.planes)
    operators = json.dumps(operator_table(model), separators=(",", ":"), allow_nan=False)
    write_packed(folder / "operators.json.gz", operators.encode())
    record = {
        "key": row.key, "title": row.title, "about": row.about, "equation": row.equation,
        "fixed": row.fixed, "preset": row.preset, "gated": watched.gated,
        "parameters": sum(int(np.prod(v.shape)) for v in model.trainable_variables),
        "accuracy": round(get_preset(row.preset).metrics["test_accuracy"], 2),
        "weights": {"numbers": store.size, "tensors": store.table()},
        "variants": {name: _record(net) for name, net in nets.items()}, "stages": ways.record,
    }  # fmt: skip
    return record, np.asarray(model.predict(images, verbose=0))


def _variants(row, watched, model, images):
    """The net as it is, with half of its steps (rounded up) and with twice as many."""
    found = {"base": watched}
    if not row.fixed:
        sections = [place.section for place in watched.places]
        half = [(sections.count(number) + 1) // 2 for number in sorted(set(sections))]
        for name, depth in (("half", half), ("double", "double")):
            found[name] = watch(resample(model, depth, images)[0])
    return found


def _record(net):
    """What the page has to know of a variant: stages and names of the places, and the changes."""
    return {
        "stages": [place.section for place in net.places],
        "names": [place.name for place in net.places],
        "changed": list(net.changed),
    }


def _exported(net, store, images, work):
    """The graph of a net, whose weights go into the store; `export` has compared its numbers."""
    path = Path(work) / "net.onnx"
    export(net.model, path, "onnx", fuse=False, data=net.inputs(images))
    simplify(path)
    graph = split(path, store)
    path.unlink()
    return graph


def _check_split(graph, net, images, work):
    """Raise RuntimeError unless the graph gives what Keras does, with the weights beside it."""
    path = Path(work) / "split.onnx"
    path.write_bytes(graph)
    found = open_exported(path)(*net.inputs(images, as_list=True))
    wanted = net.model.predict(net.inputs(images), verbose=0)
    worst = max(
        float(np.abs(a - b).max() / max(1.0, np.abs(b).max()))
        for a, b in zip(found, wanted, strict=True)
    )
    if not worst <= 1e-4:
        raise RuntimeError(
            f"{net.model.name} differs from Keras by {worst:.3g} in its own weights."
        )
    path.unlink()

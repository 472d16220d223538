"""Function-preserving deepening: a deeper net that starts as a trained shallower one."""

import re

import numpy as np
from keras import ops

from keras_pdenets.graphs.names import parse
from keras_pdenets.hub.variable_names import own_paths

_FLOW_STEP = re.compile(r"(\w+_flow\d+)/")


def deepen(source, target):
    """Give the weights of a trained net to a deeper one of the same family (Net2Net).

    Function-preserving deepening, Chen et al. 2016, arXiv 1511.05641, by residual blocks.

    The blocks of a stage keep their numbers; blocks that only the deeper net has follow them and
    keep their initial weights. If these start at zero (`zero_start=True`), the deeper net computes
    exactly what the shallower one does, and training continues from there. The same holds, up to
    rounding, for a plain net and its refined counterpart.

    Args:
        source: A trained net of this package.
        target: A new net with at least as many blocks in every stage, otherwise the same; its
            weights are changed in place.

    Returns:
        Names of the new blocks, such as `"stage0_block3"`, and flow steps.

    Raises:
        ValueError: If a stage of the target has fewer blocks, a variable has another shape, or a
            model contains two nets.

    Example:
    >>> import keras_pdenets
    >>> build, common = keras_pdenets.PreActResNet20, {"weights": None, "classes": 10}
    >>> shallow = build(num_blocks=1, **common)
    >>> deep = build(num_blocks=(1, 2, 3), zero_start=True, **common)
    >>> keras_pdenets.transforms.deepen(shallow, deep)
    ['stage1_block1', 'stage2_block1', 'stage2_block2']
    """
    known, new = (_named(model) for model in (source, target))
    values = {name: np.array(ops.convert_to_numpy(v)) for name, v in known.items()}
    shapes = {name: tuple(v.shape) for name, v in new.items()}
    for path, value in values.items():
        if shapes.get(path) != value.shape:
            raise ValueError(
                f"`target` must have all variables of {source.name!r}; only blocks may be added. "
                f"Received: {path} of shape {shapes.get(path)} in place of {value.shape}"
            )
    added = {path: _added(path) for path in shapes if path not in values}
    flows = {path.split("_flow")[0] for path in values if "_flow" in path}
    longer = [p for p in added if "_flow" in p and p.split("_flow")[0] in flows]
    if longer:
        raise ValueError(
            "`target` must have as many flow steps as the source where that has any: in a longer "
            f"chain, the same step has another rate. Received: {longer[0]}, which is new"
        )
    strange = [path for path, name in added.items() if not name]
    if strange:
        raise ValueError(
            f"`target` must differ from {source.name!r} in its blocks and flow steps only. "
            f"Received: {', '.join(strange[:3])}, which the source lacks"
        )
    for name, value in values.items():
        new[name].assign(value)
    return list(dict.fromkeys(added.values()))


def _added(path):
    """The new block or flow step that a variable belongs to, or None."""
    place, step = parse(path), _FLOW_STEP.match(path)
    return (place and place.block_name) or (step and step[1])


def _named(model):
    """The weights of a net by name, without states of random numbers."""
    named = own_paths(model, model.weights)
    found = dict(named)
    if len(found) < len(named):
        raise ValueError(
            "`source` and `target` must hold one net each. Received: "
            f"model {model.name!r} with two variables of the same name"
        )
    return found

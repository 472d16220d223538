"""Singular values of the Jacobians of a net's blocks, their effect on small changes."""

from dataclasses import dataclass

import numpy as np

from keras_pdenets.analysis.derivatives import evaluate, jvp, vjp
from keras_pdenets.analysis.inputs import batches, check_images, check_model
from keras_pdenets.graphs.graph import read_graph
from keras_pdenets.graphs.residual import block_graphs
from keras_pdenets.layers import BackwardEulerStep
from keras_pdenets.operators.lanczos import leading_singular_values
from keras_pdenets.utils.checks import check_choice, check_integer


@dataclass(frozen=True)
class JacobianSpectrum:
    """Leading singular values of the Jacobians along the depth of a net.

    Args:
        names: Names of the blocks, or `"section 0"` and so on.
        values: Singular values, of shape (names, images, count), largest first.

    Example:
    >>> import keras
    >>> import numpy as np
    >>> from keras_pdenets.analysis import jacobian_spectrum
    >>> x = keras.Input((4, 4, 1))
    >>> model = keras.Model(x, keras.layers.Add(name="block")([x, 2.0 * x]))
    >>> print(jacobian_spectrum(model, np.ones((2, 4, 4, 1)), count=2))
    block: 3, 3
    """

    names: tuple[str, ...]
    values: np.ndarray

    def __str__(self) -> str:
        """One line for each name: means over the images."""
        rows = zip(self.names, self.values.mean(axis=1), strict=True)
        return "\n".join(f"{name}: {', '.join(f'{v:.4g}' for v in row)}" for name, row in rows)


def jacobian_spectrum(model, images, per="block", count=3, steps=20, batch_size=8, seed=0):
    r"""Leading singular values of the Jacobian of every residual block at some images.

    $$J_l = \frac{\partial x_{l+1}}{\partial x_l}\Big|_{x_l(\text{image})}, \qquad
      J_l = \sum_i \sigma_i u_i v_i^T$$

    by Golub-Kahan bidiagonalisation with products with J and J^T (`operators.lanczos`), for all
    images of a batch at once; J itself is never formed. Up to rounding, the values are lower
    bounds; the first ones converge long before the last, and more steps improve all. A block with
    step size h and no activation after the sum has $|\sigma_i - 1| \le h \|F'\|$.

    Args:
        model: Any functional or sequential Keras model with residual blocks. It is not changed.
        images: Array of a few images.
        per: `"block"`, or `"section"`: from the input of its first block to the output of its last.
        count: Number of singular values.
        steps: Products with J and with J^T, each of which runs the block on every batch. All
            vectors are kept: twice steps * batch_size feature maps, with 8 bytes per element.
        batch_size: Images per batch.
        seed: Seed of the first vectors.

    Returns:
        A `JacobianSpectrum`.

    Raises:
        ValueError: If the model has no residual block, an argument is out of range, or a block has
            a `BackwardEulerStep`, which supports only reverse-mode derivatives (`gradient_norms`
            measures such nets).

    Example:
    >>> import keras_pdenets
    >>> from keras_pdenets.analysis import jacobian_spectrum
    >>> images, _ = keras_pdenets.data.load_sample()
    >>> model = keras_pdenets.PreActResNet20(weights="hub")
    >>> spectrum = jacobian_spectrum(model, images[:2], per="section", count=1, steps=3)
    >>> spectrum.names, spectrum.values.shape
    (('section 0', 'section 1', 'section 2'), (3, 2, 1))
    """
    check_choice("per", per, ("block", "section"))
    for name, value in (("count", count), ("steps", steps), ("batch_size", batch_size)):
        check_integer(name, value, 1)
    flat = check_model(model)
    images = check_images(flat, images)
    seed = check_integer("seed", seed, 0)
    graph, entry, found = read_graph(flat), id(flat.inputs[0]), []
    parts = _sections(graph) if per == "section" else [part for _, part in block_graphs(graph)]
    _check_forward_mode(parts)
    products = [(jvp(part), vjp(part)) for part in parts]
    wanted = [t for part in parts for t in (*part.inputs, part.outputs)]
    for (x,) in batches(batch_size, images):
        values = evaluate(lambda x: graph.run({entry: x}, wanted), x)
        known = {id(t): value for t, value in zip(wanted, values, strict=True)}
        found.append(
            [
                _singular_values(part, push, pull, known, count, steps, seed)
                for part, (push, pull) in zip(parts, products, strict=True)
            ]
        )
    return JacobianSpectrum(tuple(part.name for part in parts), np.concatenate(found, axis=1))


def _check_forward_mode(parts):
    """Raise ValueError for layers with reverse-mode derivatives only."""
    operations = [call.layer for part in parts for call in part.calls]
    implicit = dict.fromkeys(o.name for o in operations if isinstance(o, BackwardEulerStep))
    if implicit:
        raise ValueError(
            "`model` must have forward-mode derivatives, which a BackwardEulerStep lacks; "
            f"`gradient_norms` does not need them. Received: {', '.join(implicit)}"
        )


def _sections(graph):
    """The part of the graph from the input of each section's first block to its last output."""
    sections = {}
    for block, part in block_graphs(graph):
        sections.setdefault(block.section, []).append(part)
    return [
        graph.between(parts[0].inputs[0], parts[-1].outputs, f"section {number}")
        for number, parts in sections.items()
    ]


def _singular_values(part, push, pull, known, count, steps, seed):
    """Singular values at one batch, of shape (images, count)."""
    start, *sides = (known[id(t)] for t in part.inputs)
    end = known[id(part.outputs)]
    if not np.isfinite(end).all():
        raise ValueError(f"{part.name!r} gives non-finite features: the net has diverged.")
    number = len(start)

    def pushed(vectors):
        return push(start, vectors.reshape(start.shape), *sides).reshape(number, -1)

    def pulled(vectors):
        return pull([start], vectors.reshape(end.shape), *sides)[1][0].reshape(number, -1)

    shape = (number, end[0].size, start[0].size)
    return leading_singular_values(pushed, pulled, shape, count, steps, seed)

"""How many blocks a residual section needs."""

import math
from collections.abc import Sequence
from typing import Any, overload

import numpy as np

from keras_pdenets.utils.checks import check_integer, check_number

# Relative rounding error of a quotient: 2.1 / 0.3 is 7.000000000000001.
_TOLERANCE = 1e-9
MOST_BLOCKS = 10_000


@overload
def stopping_rule(d_scaled: float, epsilon: float, max_blocks: int = ...) -> int: ...
@overload
def stopping_rule(
    d_scaled: Sequence[float] | np.ndarray, epsilon: float, max_blocks: int = ...
) -> tuple[int, ...]: ...


def stopping_rule(d_scaled: Any, epsilon: float, max_blocks: int = MOST_BLOCKS) -> Any:
    r"""Smallest number of blocks with a mean scaled perturbation below `epsilon`.

    $$L = \min\{L : d / L < \epsilon\} = \lfloor d / \epsilon \rfloor + 1$$

    Section 4, Hauser 2019, arXiv 1902.04106. Deviation: the paper has $\lceil d/\epsilon \rceil$,
    which for an integer quotient gives a mean equal to epsilon, not below it.

    Args:
        d_scaled: Scaled distance that the data travel in a section (the sum of the relative changes
            in its blocks), or one for each section.
        epsilon: Upper bound of the mean relative change per block; positive.
        max_blocks: Largest allowed result.

    Returns:
        An integer, or a tuple of them.

    Raises:
        ValueError: If an argument is out of range, or the result exceeds `max_blocks`.

    Example:
    >>> import keras_pdenets
    >>> keras_pdenets.stopping_rule([4.11, 3.12, 4.58], epsilon=0.1)
    (42, 32, 46)
    """
    epsilon = check_number("epsilon", epsilon, "positive", lambda number: number > 0)
    max_blocks = check_integer("max_blocks", max_blocks, 1)
    several = isinstance(d_scaled, Sequence | np.ndarray) and not isinstance(d_scaled, str | bytes)
    if several and not (isinstance(d_scaled, np.ndarray) and d_scaled.ndim == 0):
        return tuple(_blocks(distance, epsilon, max_blocks) for distance in d_scaled)
    return _blocks(d_scaled.item() if several else d_scaled, epsilon, max_blocks)


def _blocks(d_scaled: Any, epsilon: float, max_blocks: int) -> int:
    """Number of blocks of one section."""
    rule = "finite and non-negative"
    distance = check_number("d_scaled", d_scaled, rule, lambda number: number >= 0)
    blocks = distance / epsilon * (1 + _TOLERANCE) + 1
    if blocks >= max_blocks + 1:
        raise ValueError(
            f"`epsilon` requires {blocks:.3g} blocks in a section (d_scaled={distance:.3g}), "
            f"more than max_blocks={max_blocks}. Received: epsilon={epsilon}"
        )
    return math.floor(blocks)

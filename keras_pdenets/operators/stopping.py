"""How many blocks a residual section needs."""

import math
from collections.abc import Sequence
from typing import Any, overload

import numpy as np

from keras_pdenets.utils.records import check_count
from keras_pdenets.utils.text import shown

# Quotients this close to an integer are that integer: 2.1 / 0.3 is 7.000000000000001.
_TOLERANCE = 1e-9
MOST_BLOCKS = 10_000
_LARGEST = 2**53


@overload
def stopping_rule(d_scaled: float, epsilon: float, max_blocks: int = ...) -> int: ...
@overload
def stopping_rule(
    d_scaled: Sequence[float] | np.ndarray, epsilon: float, max_blocks: int = ...
) -> tuple[int, ...]: ...


def stopping_rule(d_scaled: Any, epsilon: float, max_blocks: int = MOST_BLOCKS) -> Any:
    r"""Smallest number of blocks with a mean scaled perturbation below `epsilon`.

    $$L = \min\{L : d / L < \epsilon\} = \lfloor d / \epsilon \rfloor + 1$$

    Section 4, Hauser 2019, arXiv 1902.04106, as $\lceil d/\epsilon \rceil$; deviation: where the
    quotient is an integer, the paper's ceiling gives a mean equal to epsilon, not below it.

    Args:
        d_scaled: Scaled distance that the data travel through a section (a sum over its blocks of
            relative changes, without unit), or one for each section.
        epsilon: Bound on the mean relative change in one block; positive.
        max_blocks: Largest answer that is given.

    Returns:
        An integer, or a tuple of them.

    Raises:
        ValueError: If an argument is out of range, or the answer above `max_blocks`.

    Example:
    >>> import keras_pdenets
    >>> keras_pdenets.stopping_rule([4.11, 3.12, 4.58], epsilon=0.1)
    (42, 32, 46)
    """
    check_count("max_blocks", max_blocks, _LARGEST)
    bound = _as_float(epsilon)
    if not 0 < bound < math.inf:
        raise ValueError(f"`epsilon` must be positive. Received: epsilon={shown(epsilon)}")
    if np.ndim(d_scaled):
        return tuple(_blocks(d, bound, max_blocks) for d in d_scaled)
    return _blocks(d_scaled, bound, max_blocks)


def _blocks(d_scaled: Any, bound: float, max_blocks: int) -> int:
    distance = _as_float(d_scaled)
    if not 0 <= distance < math.inf:
        raise ValueError(
            f"`d_scaled` must be finite and not negative. Received: d_scaled={shown(d_scaled)}"
        )
    blocks = distance / bound * (1 + _TOLERANCE) + 1
    if blocks >= max_blocks + 1:
        raise ValueError(
            f"`epsilon` asks for {blocks:.3g} blocks in a section (d_scaled={distance:.3g}); "
            f"`max_blocks` is {max_blocks}. Received: epsilon={bound}"
        )
    return math.floor(blocks)


def _as_float(value: Any) -> float:
    """A number, or NaN for what is none."""
    if isinstance(value, bool | str):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan

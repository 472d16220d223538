"""How many blocks a residual section needs."""

import math
from collections.abc import Sequence
from typing import Any, overload

import numpy as np

# Quotients this close to an integer are that integer: 2.1 / 0.3 is 7.000000000000001.
_TOLERANCE = 1e-9


@overload
def stopping_rule(d_scaled: float, epsilon: float, max_blocks: int = ...) -> int: ...
@overload
def stopping_rule(
    d_scaled: Sequence[float] | np.ndarray, epsilon: float, max_blocks: int = ...
) -> tuple[int, ...]: ...


def stopping_rule(d_scaled: Any, epsilon: float, max_blocks: int = 10_000) -> Any:
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
    if not (epsilon > 0 and math.isfinite(epsilon)):
        raise ValueError(f"`epsilon` must be positive. Received: epsilon={epsilon}")
    if np.ndim(d_scaled):
        return tuple(stopping_rule(float(d), epsilon, max_blocks) for d in d_scaled)
    distance = float(d_scaled)
    if not (distance >= 0 and math.isfinite(distance)):
        raise ValueError(
            f"`d_scaled` must be finite and not negative. Received: d_scaled={d_scaled}"
        )
    blocks = distance / epsilon * (1 + _TOLERANCE) + 1
    if blocks >= max_blocks + 1:
        raise ValueError(
            f"`epsilon` asks for {blocks:.3g} blocks in a section (d_scaled={distance:.3g}); "
            f"`max_blocks` is {max_blocks}. Received: epsilon={epsilon}"
        )
    return math.floor(blocks)

"""A deadline for a server, extended only by bytes received."""

import math
import os
import time

SECONDS_VARIABLE = "KERAS_PDENETS_HUB_SECONDS"
BYTES_A_SECOND = 2**16
_SECONDS = 30.0


class Patience:
    """Time for all requests to a Hub, plus one second per 64 KiB of a file.

    It starts on construction. Waiting for another process counts, too.

    Raises:
        ValueError: If `KERAS_PDENETS_HUB_SECONDS` is not a positive number.

    Example:
    >>> Patience().left(size=10 * 2**16) <= Patience().seconds + 10
    True
    """

    def __init__(self) -> None:
        self.seconds = _seconds()
        self._start = time.monotonic()

    def left(self, size: int = 0) -> float:
        """Seconds left for receiving a file of that size; negative if the time is over."""
        return self._start + self.earned(size) - time.monotonic()

    def earned(self, received: int) -> float:
        """Seconds allowed for receiving that many bytes."""
        return self.seconds + received / BYTES_A_SECOND


def _seconds() -> float:
    text = os.environ.get(SECONDS_VARIABLE, _SECONDS)
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ValueError(f"`{SECONDS_VARIABLE}` must be a positive number. Received: {text!r}")
    return seconds

"""How long a server may take: a deadline that moves only with the bytes that come."""

import math
import os
import time

SECONDS_VARIABLE = "KERAS_PDENETS_HUB_SECONDS"
BYTES_A_SECOND = 2**16
_SECONDS = 30.0


class Patience:
    """Seconds for everything that is asked of a Hub, and one more for each 64 KiB of a file.

    It begins when it is made. Waiting for another process counts too.

    Raises:
        ValueError: If `KERAS_PDENETS_HUB_SECONDS` is no number above 0.

    Example:
    >>> Patience().left(size=10 * 2**16) <= Patience().seconds + 10
    True
    """

    def __init__(self) -> None:
        self.seconds = _seconds()
        self._start = time.monotonic()

    def left(self, size: int = 0) -> float:
        """Seconds until a file of so many bytes must be there, all of it; below 0: too late."""
        return self._start + self.earned(size) - time.monotonic()

    def earned(self, received: int) -> float:
        """Seconds that so many bytes may take from their beginning on."""
        return self.seconds + received / BYTES_A_SECOND


def _seconds() -> float:
    text = os.environ.get(SECONDS_VARIABLE, _SECONDS)
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ValueError(f"`{SECONDS_VARIABLE}` must be a number above 0. Received: {text!r}")
    return seconds

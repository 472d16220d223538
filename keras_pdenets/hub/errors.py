"""What can go wrong with a weight file."""


class WeightsError(RuntimeError):
    """Weights cannot be obtained, read or used; the model was not touched."""


class IntegrityError(WeightsError):
    """The bytes at hand are not the pinned ones; they were not used."""


class UnreachableError(WeightsError):
    """The Hub does not answer, or not now: the same call may succeed later."""

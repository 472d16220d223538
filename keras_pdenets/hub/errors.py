"""Errors of weight files."""


class WeightsError(RuntimeError):
    """Weights cannot be obtained, read or used; the model is unchanged."""


class IntegrityError(WeightsError):
    """The bytes do not have the pinned or announced hash; they were not used."""


class UnreachableError(WeightsError):
    """The Hub does not respond at the moment: the same call may succeed later."""

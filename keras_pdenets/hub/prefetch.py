"""Fetching weights in advance, for use without a network."""

from pathlib import Path

from keras_pdenets.hub.errors import WeightsError
from keras_pdenets.hub.source import WeightsSource
from keras_pdenets.presets import get_preset, list_presets


def prefetch(weights: str, cache_dir: str | None = None) -> dict[str, Path]:
    """Fetch weight files and verify them, so that they can be loaded without a network.

    Args:
        weights: Name of a preset, `"all"` for every preset, or
            `"hf://organisation/repo[@revision]"`.
        cache_dir: Folder of the Hub's cache, or None for its default (`HF_HUB_CACHE`). Use the same
            folder for loading.

    Returns:
        The verified file of each name, possibly in a checkout or mirror.

    Raises:
        ValueError: If the preset does not exist, or an argument has the wrong type.
        WeightsError: If a file cannot be obtained. With `"all"` the others are fetched first.

    Example:
    >>> import keras_pdenets
    >>> files = keras_pdenets.prefetch("resnet20_fashion_mnist")
    >>> files["resnet20_fashion_mnist"].name
    'model.safetensors'
    """
    if not isinstance(weights, str):
        raise ValueError(
            "`weights` must be the name of a preset, 'all' or 'hf://organisation/repo'. "
            f"Received: weights={weights!r}"
        )
    files, errors = {}, []
    for name in list_presets() if weights == "all" else [weights]:
        try:
            source = WeightsSource.parse(name, cache_dir=cache_dir)
            if source.path is not None:
                get_preset(name)  # raises the error with the nearest names
            files[name] = source.resolve().path
        except WeightsError as error:
            if weights != "all":
                raise
            errors.append(str(error))
    if errors:
        raise WeightsError(f"{len(errors)} of {len(files) + len(errors)}: {' '.join(errors)}")
    return files

"""From a preset to a file whose bytes are the pinned ones; never to any other."""

import os
from pathlib import Path

from keras_pdenets.hub.cache import cache_folder, cached_file
from keras_pdenets.hub.digests import describe
from keras_pdenets.hub.digests import sha256_of as sha256_of
from keras_pdenets.hub.download import fetch, is_offline, url_of
from keras_pdenets.hub.errors import IntegrityError, WeightsError
from keras_pdenets.hub.names import check_preset
from keras_pdenets.hub.repos import resolve_repo as resolve_repo
from keras_pdenets.presets import Preset

MIRROR_VARIABLE = "KERAS_PDENETS_WEIGHTS_DIR"
CHECKOUT_WEIGHTS = Path(__file__).parents[2] / "weights"


def _is_pinned(path: Path, preset: Preset) -> bool:
    try:
        return (
            path.is_file()
            and path.stat().st_size == preset.size
            and sha256_of(path) == preset.sha256
        )
    except OSError as error:  # a closed folder, a path that is too long
        raise WeightsError(f"{path} cannot be read ({error.strerror}).") from None


def resolve(
    preset: Preset,
    cache_dir: str | None = None,
    local_files_only: bool = False,
    weights_folder: str | Path | None = None,
) -> tuple[Path, str]:
    """Path of the preset's weight file and the source that it came from.

    The order of sources, each checked by SHA-256: the folder in `KERAS_PDENETS_WEIGHTS_DIR`
    (other bytes there are an error); `weights/` of a checkout; the Hub's cache; the Hub. Nothing
    is asked of the network where the bytes are at hand.

    Args:
        preset: The row.
        cache_dir: Folder of the Hub's cache, or None for its default.
        local_files_only: Do not ask the network.
        weights_folder: Another `weights/` than that of this checkout.

    Raises:
        ValueError: If a name in the row could lead elsewhere, or `cache_dir` is no path.
        IntegrityError: If there are bytes, but not the pinned ones.
        WeightsError: If no source has the file, or one cannot be read.
    """
    check_preset(preset)
    cache_folder(cache_dir)  # wrong is wrong, also where it is not needed
    tried: list[Path] = []
    mirror = os.environ.get(MIRROR_VARIABLE)
    if mirror:
        path = Path(mirror, preset.name, preset.file)
        if _is_pinned(path, preset):
            return path, "mirror"
        if path.is_file():
            raise IntegrityError(_refusal(preset, [path], f"of {MIRROR_VARIABLE}"))
    path = Path(weights_folder or CHECKOUT_WEIGHTS) / preset.name / preset.file
    if _is_pinned(path, preset):
        return path, "checkout"
    if path.is_file():
        tried.append(path)
    if preset.revision is None:
        kind = IntegrityError if tried else WeightsError
        raise kind(_refusal(preset, tried, "it is not on the Hub yet"))
    return _from_hub(preset, tried, cache_dir, local_files_only)


def _refusal(preset: Preset, tried: list[Path], reason: str) -> str:
    """What is wanted, what was found instead, and the way out."""
    found = "; ".join(describe(path) for path in tried) or "no copy on this machine"
    source = "a fresh copy (git checkout weights, in a checkout)"
    if preset.revision is not None:
        source = f"{url_of(preset.repo, preset.file, preset.revision)} or {source}"
    return (
        f"Preset {preset.name!r} is {preset.size} bytes with sha256 {preset.sha256}. "
        f"Found: {found}. Other bytes are never used ({reason}). By hand: put {preset.file} from "
        f"{source} into a folder named {preset.name}, and set {MIRROR_VARIABLE} to the folder "
        "above it; or start untrained with weights=None."
    )


def _from_hub(
    preset: Preset, tried: list[Path], cache_dir: str | None, local_files_only: bool
) -> tuple[Path, str]:
    """The file in the Hub's cache, or else from the Hub; a bad copy is replaced."""
    cached = cached_file(preset.repo, preset.file, preset.revision, cache_dir)
    if cached is not None:
        if _is_pinned(cached, preset):
            return cached, "cache"
        tried.append(cached)
    if is_offline(local_files_only):
        reason = "the network is switched off by local_files_only or HF_HUB_OFFLINE"
        raise (IntegrityError if tried else WeightsError)(_refusal(preset, tried, reason))
    pinned = (preset.sha256, preset.size)
    try:
        return fetch(preset.repo, preset.file, preset.revision, cache_dir, pinned), "hub"
    except WeightsError as error:
        reason = "the Hub gave none"
        raise type(error)(f"{error} {_refusal(preset, tried, reason)}") from None

"""From a preset to a file whose bytes are the pinned ones; never to any other."""

import hashlib
import os
from pathlib import Path

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError

from keras_pdenets.hub.errors import IntegrityError, WeightsError
from keras_pdenets.presets import Preset

MIRROR_VARIABLE = "KERAS_PDENETS_WEIGHTS_DIR"
CHECKOUT_WEIGHTS = Path(__file__).parents[2] / "weights"
_PROBE_SECONDS = 10
_COMMIT_DIGITS = 40
_LIBRARY = "keras_pdenets"


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _describe(path: Path) -> str:
    return f"{path} ({path.stat().st_size} bytes, sha256 {sha256_of(path)})"


def _is_pinned(path: Path, preset: Preset) -> bool:
    return (
        path.is_file() and path.stat().st_size == preset.size and sha256_of(path) == preset.sha256
    )


def resolve(
    preset: Preset, cache_dir: str | None = None, local_files_only: bool = False
) -> tuple[Path, str]:
    """Path of the preset's weight file and the source that it came from.

    The order of sources, each checked by SHA-256: the folder in `KERAS_PDENETS_WEIGHTS_DIR`
    (other bytes there are an error); `weights/` of a checkout; the Hub's cache; the Hub. Nothing
    is asked of the network where the bytes are at hand.

    Args:
        preset: The row.
        cache_dir: Folder of the Hub's cache, or None for its default.
        local_files_only: Do not ask the network.

    Raises:
        IntegrityError: If there are bytes, but not the pinned ones.
        WeightsError: If no source has the file.
    """
    tried: list[Path] = []
    mirror = os.environ.get(MIRROR_VARIABLE)
    if mirror:
        path = Path(mirror, preset.name, preset.file)
        if _is_pinned(path, preset):
            return path, "mirror"
        if path.is_file():
            raise IntegrityError(_refusal(preset, [path], f"of {MIRROR_VARIABLE}"))
    path = CHECKOUT_WEIGHTS / preset.name / preset.file
    if _is_pinned(path, preset):
        return path, "checkout"
    if path.is_file():
        tried.append(path)
    if preset.revision is None:
        if tried:
            raise IntegrityError(_refusal(preset, tried, "it is not on the Hub yet"))
        raise WeightsError(_refusal(preset, tried, "it is not on the Hub yet"))
    return _from_hub(preset, tried, cache_dir, local_files_only)


def _refusal(preset: Preset, tried: list[Path], reason: str) -> str:
    """What is wanted, what was found instead, and the way out."""
    found = "; ".join(_describe(path) for path in tried) or "no copy on this machine"
    source = "a fresh copy (git checkout weights, in a checkout)"
    if preset.revision is not None:
        source = f"{_url(preset.repo, preset.file, preset.revision)} or {source}"
    return (
        f"Preset {preset.name!r} is {preset.size} bytes with sha256 {preset.sha256}. "
        f"Found: {found}. Other bytes are never used ({reason}). By hand: put {preset.file} from "
        f"{source} into a folder named {preset.name}, and set {MIRROR_VARIABLE} to the folder "
        "above it; or start untrained with weights=None."
    )


def _url(repo: str, file: str, revision: str | None) -> str:
    return huggingface_hub.hf_hub_url(repo, file, revision=revision)


def _from_hub(
    preset: Preset, tried: list[Path], cache_dir: str | None, local_files_only: bool
) -> tuple[Path, str]:
    """The file in the Hub's cache, or else from the Hub; a bad copy is fetched again once."""
    cached = huggingface_hub.try_to_load_from_cache(
        preset.repo, preset.file, cache_dir=cache_dir, revision=preset.revision
    )
    if isinstance(cached, str):
        if _is_pinned(Path(cached), preset):
            return Path(cached), "cache"
        tried.append(Path(cached))
    if local_files_only or constants.HF_HUB_OFFLINE:
        reason = "the network is switched off by local_files_only or HF_HUB_OFFLINE"
        raise (IntegrityError if tried else WeightsError)(_refusal(preset, tried, reason))
    pinned = (preset.sha256, preset.size)
    for force in (isinstance(cached, str), True):
        path, _ = fetch(preset.repo, preset.file, preset.revision, cache_dir, pinned, force)
        if _is_pinned(path, preset):
            return path, "hub"
    raise IntegrityError(_refusal(preset, [*tried, path], "the Hub sent them twice"))


def fetch(
    repo: str,
    file: str,
    revision: str | None = None,
    cache_dir: str | None = None,
    pinned: tuple[str, int] | None = None,
    force: bool = False,
) -> tuple[Path, str]:
    """Download one file; the Hub's own announcement is compared before the body is fetched.

    Args:
        repo: Hub repository.
        file: File in it.
        revision: Commit, tag or branch; None: the main branch.
        cache_dir: Folder of the Hub's cache.
        pinned: SHA-256 and size that the file must announce.
        force: Fetch it even where it is cached.

    Returns:
        The path, and the SHA-256 that the Hub announced ("" if it announced none).

    Raises:
        IntegrityError: If the Hub announces another file than the pinned one.
        WeightsError: If it cannot be fetched; the message has the cause.
    """
    url = _url(repo, file, revision)
    try:
        try:
            return _fetch(repo, file, revision, cache_dir, pinned, force, token=None)
        except HfHubHTTPError as error:
            # A stale saved token must not keep anybody from a public file.
            status = error.response.status_code if error.response is not None else None
            if status != 401 or huggingface_hub.get_token() is None:
                raise
            return _fetch(repo, file, revision, cache_dir, pinned, force, token=False)
    except WeightsError:
        raise
    except Exception as error:  # the client's network errors have no common base
        cause = (str(error).splitlines() or [""])[0]
        raise WeightsError(
            f"{url} could not be fetched: {type(error).__name__}: {cause}. Look at the network and "
            f"the name, or fetch it by hand and give its folder as weights=."
        ) from error


def _fetch(
    repo: str,
    file: str,
    revision: str | None,
    cache_dir: str | None,
    pinned: tuple[str, int] | None,
    force: bool,
    token: bool | None,
) -> tuple[Path, str]:
    # The probe fails within seconds where the download itself would retry for minutes.
    url = _url(repo, file, revision)
    announced = huggingface_hub.get_hf_file_metadata(url, timeout=_PROBE_SECONDS, token=token)
    digest = announced.etag if announced.etag and len(announced.etag) == 64 else ""
    if pinned and (digest not in ("", pinned[0]) or announced.size not in (None, pinned[1])):
        raise IntegrityError(
            f"{url} announces {announced.size} bytes with sha256 {digest}; pinned are "
            f"{pinned[1]} bytes with sha256 {pinned[0]}. It was not downloaded."
        )
    path = huggingface_hub.hf_hub_download(
        repo,
        file,
        revision=announced.commit_hash or revision,
        cache_dir=cache_dir,
        token=token,
        force_download=force,
        library_name=_LIBRARY,
    )
    return Path(path), digest


def resolve_repo(
    address: str, revision: str | None, cache_dir: str | None, local_files_only: bool
) -> Path:
    """The weight file of `hf://organisation/repo[@revision]`, published by this package.

    Raises:
        ValueError: If the address has another form.
        IntegrityError: If the bytes are not those that the Hub announced.
        WeightsError: If it cannot be fetched.
    """
    repo, _, at = address.removeprefix("hf://").partition("@")
    if repo.count("/") != 1 or not all(repo.split("/")) or (at and revision):
        raise ValueError(
            "`weights` must be 'hf://organisation/repo', with one revision at most (behind @ or as "
            f"`revision`). Received: weights={address!r}, revision={revision!r}"
        )
    revision = at or revision
    file = "model.safetensors"
    found = huggingface_hub.try_to_load_from_cache(
        repo, file, cache_dir=cache_dir, revision=revision
    )
    cached = Path(found) if isinstance(found, str) else None
    # The cache names a file by its SHA-256 (or by another hash, of which we know nothing).
    verified = cached is not None and cached.resolve().name == sha256_of(cached)
    if cached and verified and len(revision or "") == _COMMIT_DIGITS:
        return cached
    if local_files_only or constants.HF_HUB_OFFLINE:
        if cached and verified:
            return cached
        raise WeightsError(
            f"{address} is not in the Hub's cache, or cannot be verified there, and the network is "
            "off. Give the path of a file that you trust as weights=."
        )
    for force in (False, True):
        path, digest = fetch(repo, file, revision, cache_dir, force=force)
        if not digest or sha256_of(path) == digest:
            return path
    raise IntegrityError(
        f"{address}: the Hub announced sha256 {digest}, here is {_describe(path)}."
    )

"""Anybody's repository: `hf://organisation/repository[@revision]`."""

import logging
from pathlib import Path

from keras_pdenets.hub.digests import describe, is_commit, matches
from keras_pdenets.hub.download import cached_file, fetch, is_offline
from keras_pdenets.hub.errors import IntegrityError, UnreachableError, WeightsError
from keras_pdenets.hub.names import parse_address

_LOG = logging.getLogger("keras_pdenets")
WEIGHTS_FILE = "model.safetensors"


def resolve_repo(
    address: str,
    revision: str | None,
    cache_dir: str | None,
    local_files_only: bool,
    file: str = WEIGHTS_FILE,
) -> Path:
    """The weight file of `hf://organisation/repo[@revision]`, published by this package.

    There is no pinned hash: the bytes must be those that the Hub announces. A whole commit that is
    cached needs no network; a branch or tag is looked up each time, and where the Hub is
    unreachable its cached copy is taken, with a warning.

    Args:
        address: `hf://organisation/repo`, with `@revision` or without.
        revision: The revision, if it is given apart.
        cache_dir: Folder of the Hub's cache.
        local_files_only: Do not ask the network.
        file: Another file of the repository, such as the golden one.

    Raises:
        ValueError: If the address has another form.
        IntegrityError: If the bytes are not those that the Hub announced.
        WeightsError: If it cannot be fetched.
    """
    repo, revision = parse_address(address, revision)
    cached = cached_file(repo, file, revision, cache_dir)
    verified = cached is not None and matches(cached, _name_of_blob(cached))
    if cached and verified and (is_commit(revision) or is_offline(local_files_only)):
        return cached
    if is_offline(local_files_only):
        raise WeightsError(
            f"{address} is not in the Hub's cache, or cannot be verified there, and the network is "
            "off (local_files_only or HF_HUB_OFFLINE). Fetch it with keras_pdenets.prefetch while "
            "there is one, or give the path of a file that you trust as weights=."
        )
    try:
        return _fetch_verified(address, repo, file, revision, cache_dir)
    except UnreachableError as error:
        if not (cached and verified):
            raise
        _LOG.warning("%s The copy of %s in the cache is used.", error, address)
        return cached


def _fetch_verified(
    address: str, repo: str, file: str, revision: str | None, cache_dir: str | None
) -> Path:
    """The file from the Hub; bytes that are not the announced ones are fetched again once."""
    for force in (False, True):
        path, digest = fetch(repo, file, revision, cache_dir, force=force)
        if not digest:
            raise IntegrityError(
                f"{address}: the Hub announces no hash of {file}, so that its bytes cannot "
                "be verified. They were not used; look at HF_ENDPOINT."
            )
        if matches(path, digest):
            return path
    raise IntegrityError(
        f"{address}: the Hub announced the hash {digest} and sent other bytes twice: "
        f"{describe(path)}. They were not used; try again later, or ask the repository's owner."
    )


def _name_of_blob(path: Path) -> str:
    """The announced hash, by which the cache names what a snapshot links to.

    One link only: a blob of the client's shared store has another hash for its name.
    """
    return path.readlink().name if path.is_symlink() else ""

"""Anybody's repository: `hf://organisation/repository[@revision]`."""

import logging
from pathlib import Path

from keras_pdenets.hub.cache import cached_file
from keras_pdenets.hub.digests import is_commit, matches
from keras_pdenets.hub.download import fetch, is_offline
from keras_pdenets.hub.errors import UnreachableError, WeightsError
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
        ValueError: If the address has another form, or `cache_dir` is no path.
        IntegrityError: If the bytes are not those that the Hub announced.
        WeightsError: If it cannot be fetched.
    """
    repo, revision = parse_address(address, revision)
    cached = cached_file(repo, file, revision, cache_dir)
    offline = is_offline(local_files_only)
    if cached and (offline or is_commit(revision)) and _is_verified(cached):
        return cached
    if offline:
        raise WeightsError(
            f"{address} is not in the Hub's cache, or cannot be verified there, and the network is "
            "off (local_files_only or HF_HUB_OFFLINE). Fetch it with keras_pdenets.prefetch while "
            "there is one, or give the path of a file that you trust as weights=."
        )
    try:
        return fetch(repo, file, revision, cache_dir)
    except UnreachableError as error:
        if not (cached and _is_verified(cached)):
            raise
        _LOG.warning("%s The copy of %s in the cache is used.", error, address)
        return cached


def _is_verified(path: Path) -> bool:
    """Whether a cached file has the hash by which the cache names what a snapshot links to.

    One link only: a blob of the client's shared store has another hash for its name.
    """
    try:
        return matches(path, path.readlink().name if path.is_symlink() else "")
    except OSError:  # a link to nothing, or closed to us
        return False

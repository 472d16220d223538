"""One file from the Hub into its cache; whether its bytes are right is for others to say."""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import huggingface_hub
from huggingface_hub import constants

from keras_pdenets.hub.causes import explain, is_cut, plain_url, status_of
from keras_pdenets.hub.digests import is_commit, is_sha256
from keras_pdenets.hub.errors import IntegrityError, UnreachableError, WeightsError

_LOG = logging.getLogger("keras_pdenets")
_LIBRARY = "keras_pdenets"
# As they were at import: two threads may fetch at once, and neither may restore the other's.
_CLIENT_SILENCE = constants.HF_HUB_DOWNLOAD_TIMEOUT
_CLIENT_XET = constants.HF_HUB_DISABLE_XET
# The client waits six times for a silent server, with a pause of a second each: 23 s in all.
_SILENCE = 3
_ETAG = re.compile(r"[\w+=-][\w.+=-]*")
# No net here has more than 43 million weights of 4 bytes; a stranger's file may fill no disk.
_MOST_BYTES = 2**32


def url_of(repo: str, file: str, revision: str | None) -> str:
    """Address of a file, fit for a message."""
    return plain_url(huggingface_hub.hf_hub_url(repo, file, revision=revision))


def is_offline(local_files_only: bool) -> bool:
    """Whether the network may not be asked."""
    return bool(local_files_only or constants.HF_HUB_OFFLINE)


def cached_file(repo: str, file: str, revision: str | None, cache_dir: str | None) -> Path | None:
    """The file in the Hub's cache, unchecked, or None; the network is not asked."""
    found = huggingface_hub.try_to_load_from_cache(
        repo, file, cache_dir=_expanded(cache_dir), revision=revision
    )
    return Path(found) if isinstance(found, str) else None


def cache_of(path: Path) -> str | None:
    """The Hub's cache that a file lies in, or None for a file from elsewhere."""
    # cache/models--organisation--repository/snapshots/commit/file
    in_cache = len(path.parents) > 3 and path.parents[1].name == "snapshots"
    return str(path.parents[3]) if in_cache else None


def _expanded(cache_dir: str | None) -> str | None:
    # The client knows "~" when it downloads, and not when it looks into the cache.
    return None if cache_dir is None else str(Path(cache_dir).expanduser())


def fetch(
    repo: str,
    file: str,
    revision: str | None = None,
    cache_dir: str | None = None,
    pinned: tuple[str, int] | None = None,
    force: bool = False,
    anonymous: bool = False,
) -> tuple[Path, str]:
    """Fetch a file from the Hub into its cache.

    Args:
        repo: Hub repository.
        file: File in it.
        revision: Commit, tag or branch; None: the main branch.
        cache_dir: Folder of the Hub's cache.
        pinned: SHA-256 and size that the file must announce.
        force: Fetch it even where it is cached.
        anonymous: Send no token, as everybody else.

    Returns:
        The path, and the hash that the Hub announced ("" if it announced none).

    Raises:
        IntegrityError: If the Hub announces another file than the pinned one.
        UnreachableError: If the Hub is silent, down or busy.
        WeightsError: If it cannot be fetched for another cause; the message has it.
    """
    try:
        try:
            token = False if anonymous else None
            return _fetch(repo, file, revision, cache_dir, pinned, force, token)
        except Exception as error:
            # A stale saved token must not keep anybody from a public file.
            if anonymous or status_of(error) != 401 or huggingface_hub.get_token() is None:
                raise
            fetched = _fetch(repo, file, revision, cache_dir, pinned, force, token=False)
            _LOG.warning("The Hub refused the saved token; %s was fetched without it.", repo)
            return fetched
    except WeightsError:
        raise
    except Exception as error:  # the client's network errors have no common base
        cause, passing = explain(error, repo, file, revision, anonymous)
        kind = UnreachableError if passing else WeightsError
        # The client's own text may hold a token or a signed address: it is not shown.
        raise kind(f"{url_of(repo, file, revision)} could not be fetched: {cause}.") from None


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
    announced = huggingface_hub.get_hf_file_metadata(
        huggingface_hub.hf_hub_url(repo, file, revision=revision),
        timeout=constants.HF_HUB_ETAG_TIMEOUT,
        token=token,
    )
    etag, url = announced.etag or "", url_of(repo, file, revision)
    if not is_commit(announced.commit_hash) or not _ETAG.fullmatch(etag):
        raise WeightsError(
            f"{url} could not be fetched: the answer comes from no Hub (a login page, or a proxy's "
            "error?). Look at the network and at HF_ENDPOINT."
        )
    digest = etag if is_sha256(etag) or is_commit(etag) else ""
    _check_announcement(url, digest, announced.size, pinned)
    # Not the announced commit: the cache would not learn where the branch or tag points, and know
    # nothing of it without a network.
    try:
        path = _download(repo, file, revision, cache_dir, force, token)
    except Exception as error:
        if not is_cut(error):
            raise
        path = _download(repo, file, revision, cache_dir, True, token)
    return Path(path), digest


def _download(
    repo: str,
    file: str,
    revision: str | None,
    cache_dir: str | None,
    force: bool,
    token: bool | None,
) -> str:
    with _plain_http():
        return huggingface_hub.hf_hub_download(
            repo,
            file,
            revision=revision,
            cache_dir=_expanded(cache_dir),
            token=token,
            force_download=force,
            library_name=_LIBRARY,
        )


def _check_announcement(
    url: str, digest: str, size: int | None, pinned: tuple[str, int] | None
) -> None:
    """Refuse a file before its bytes come."""
    if pinned is None:
        if size is not None and size > _MOST_BYTES:
            raise WeightsError(f"{url} announces {size} bytes; no net here has so many.")
        return
    # A file of git's own has a SHA-1 there, which says nothing of the pinned hash.
    other = is_sha256(digest) and digest != pinned[0]
    if other or size not in (None, pinned[1]):
        raise IntegrityError(
            f"{url} announces {size} bytes with sha256 {digest or 'unknown'}; pinned are "
            f"{pinned[1]} bytes with sha256 {pinned[0]}. It was not downloaded."
        )


@contextmanager
def _plain_http() -> Iterator[None]:
    """Have the client fetch by HTTP and give up a silent body within half a minute, not after one.

    The other way, hf_xet, has its own servers, which a firewall may block, and retries for minutes;
    it is made for files far larger than ours. The client takes both from its settings only;
    whoever sets HF_HUB_DOWNLOAD_TIMEOUT is obeyed.
    """
    constants.HF_HUB_DISABLE_XET = True
    if "HF_HUB_DOWNLOAD_TIMEOUT" not in os.environ:
        constants.HF_HUB_DOWNLOAD_TIMEOUT = _SILENCE
    try:
        yield
    finally:
        constants.HF_HUB_DISABLE_XET = _CLIENT_XET
        constants.HF_HUB_DOWNLOAD_TIMEOUT = _CLIENT_SILENCE

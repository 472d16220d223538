"""Download of a file from the Hub into its cache: the announced bytes, or none."""

import logging
import re
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
from huggingface_hub import constants

from keras_pdenets.hub.cache import Slot, cache_folder
from keras_pdenets.hub.client_errors import OtherBytesError, explain, is_cut, plain_url, status_of
from keras_pdenets.hub.digests import is_commit, is_sha256
from keras_pdenets.hub.errors import IntegrityError, UnreachableError, WeightsError
from keras_pdenets.hub.patience import Patience
from keras_pdenets.hub.transfer import Announced, Conversation, conversation

_LOG = logging.getLogger("keras_pdenets")
_ETAG = re.compile(r"[\w+=-][\w.+=-]*")
# The largest net here has 43 million weights of 4 bytes; untrusted files must not fill the disk.
_MOST_BYTES = 2**32


def url_of(repo: str, file: str, revision: str | None) -> str:
    """URL of a file, safe to show."""
    return plain_url(huggingface_hub.hf_hub_url(repo, file, revision=revision))


def is_offline(local_files_only: bool) -> bool:
    """Whether network access is disabled."""
    return bool(local_files_only or constants.HF_HUB_OFFLINE)


@dataclass(frozen=True)
class _Wanted:
    repo: str
    file: str
    revision: str | None
    cache: Path
    pinned: tuple[str, int] | None

    @property
    def url(self) -> str:
        return url_of(self.repo, self.file, self.revision)


def fetch(
    repo: str,
    file: str,
    revision: str | None = None,
    cache_dir: object = None,
    pinned: tuple[str, int] | None = None,
    anonymous: bool = False,
) -> Path:
    """Fetch a file from the Hub into its cache, unless its bytes are there already.

    Args:
        repo: Hub repository.
        file: File in it.
        revision: Commit, tag or branch; None: the main branch.
        cache_dir: Folder of the Hub's cache.
        pinned: SHA-256 and size that the file must have; None: those that the Hub announces.
        anonymous: Send no token, like other users.

    Returns:
        The path of the file, whose hash has been verified.

    Raises:
        IntegrityError: If the Hub announces another file than the pinned one, announces no hash,
            or twice sends other bytes than announced.
        UnreachableError: If the Hub is silent, slow, down or busy.
        WeightsError: If it cannot be fetched for another reason, which the message gives.
        ValueError: If a name could escape its folder, or `cache_dir` is not a path.
    """
    wanted = _Wanted(repo, file, revision, cache_folder(cache_dir), pinned)
    patience = Patience()
    try:
        try:
            return _fetch(wanted, anonymous, patience)
        except Exception as error:
            # An expired token must not prevent access to a public file.
            if anonymous or status_of(error) != 401 or huggingface_hub.get_token() is None:
                raise
            fetched = _fetch(wanted, True, patience)
            _LOG.warning("The Hub rejected the saved token; %s was fetched without it.", repo)
            return fetched
    except WeightsError:
        raise
    except OtherBytesError as error:
        raise IntegrityError(
            f"{wanted.url}: the Hub twice sent other bytes than those of the announced hash: "
            f"{error}. They were not used; try again later, or ask the repository's owner."
        ) from None
    except Exception as error:  # the client's network errors have no common base class
        cause, passing = explain(error, repo, file, revision, anonymous)
        kind = UnreachableError if passing else WeightsError
        # The client's message may contain a token or a signed URL: it is not shown.
        raise kind(f"{wanted.url} could not be fetched: {cause}.") from None


def _fetch(wanted: _Wanted, anonymous: bool, patience: Patience) -> Path:
    with conversation(anonymous, patience) as hub:
        try:
            return _try(wanted, hub, patience)
        except Exception as error:
            if not is_cut(error):
                raise
            return _try(wanted, hub, patience)


def _try(wanted: _Wanted, hub: Conversation, patience: Patience) -> Path:
    url = huggingface_hub.hf_hub_url(wanted.repo, wanted.file, revision=wanted.revision)
    announced = hub.ask(url)
    digest, size = _check(wanted, announced)
    slot = Slot(wanted.cache, wanted.repo, wanted.file, announced.commit, digest)
    slot.fill(lambda path: hub.receive(announced, path, digest, size), patience.left(size))
    slot.remember(wanted.revision)
    return slot.path


def _check(wanted: _Wanted, announced: Announced) -> tuple[str, int]:
    """Hash and size that the bytes must have; another file is rejected before its download."""
    url, size = wanted.url, announced.size
    if not is_commit(announced.commit) or not _ETAG.fullmatch(announced.etag):
        raise WeightsError(
            f"{url} could not be fetched: the response is not from a Hub (a login page or a proxy "
            "error?). Check the network and HF_ENDPOINT."
        )
    if is_commit(wanted.revision) and announced.commit != wanted.revision:
        raise IntegrityError(
            f"{url} announces a file of the commit {announced.commit}. It was not downloaded."
        )
    if wanted.pinned is not None:
        # For a file in git it is a SHA-1, which cannot be compared with the pinned hash.
        other = is_sha256(announced.etag) and announced.etag != wanted.pinned[0]
        if other or size not in (None, wanted.pinned[1]):
            raise IntegrityError(
                f"{url} announces {size} bytes with the hash {announced.etag}; pinned are "
                f"{wanted.pinned[1]} bytes with sha256 {wanted.pinned[0]}. It was not downloaded."
            )
        return wanted.pinned
    if not (is_sha256(announced.etag) or is_commit(announced.etag)):
        raise IntegrityError(
            f"{url} announces no hash, so its bytes cannot be verified. It was not downloaded; "
            "check HF_ENDPOINT."
        )
    if size is None:
        raise WeightsError(f"{url} announces no size. It was not downloaded; check HF_ENDPOINT.")
    if size > _MOST_BYTES:
        raise WeightsError(f"{url} announces {size} bytes, more than the {_MOST_BYTES} allowed.")
    return announced.etag, size

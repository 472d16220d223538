"""What the client's errors mean, in one sentence with the way out."""

import errno
import os
import re
from urllib.parse import urlsplit

import huggingface_hub
from huggingface_hub.errors import HfHubHTTPError

from keras_pdenets.hub.patience import SECONDS_VARIABLE
from keras_pdenets.utils.text import printable

_TOKEN = re.compile(r"hf_\w+|(?i:bearer)\s+[^\s'\"]+")
_URL = re.compile(r"https?://[^\s'\"<>]+")
_NO_ROOM = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
_NO_ACCESS = (errno.EACCES, errno.EPERM, errno.EROFS)
_FORBIDDEN = (401, 403)
# By name: the client has changed the library that they come from (httpx, then httpx2).
_NETWORK = {
    "ProxyError": "the proxy refuses; look at HTTPS_PROXY and NO_PROXY",
    "ConnectTimeout": "no connection in time; look at the network, a firewall or HF_ENDPOINT",
    "ConnectError": "no connection; look at the network, a firewall or HF_ENDPOINT",
    "TimeoutException": "the Hub is silent; try again later",
    "RemoteProtocolError": "the connection was cut; try again later",
    "ReadError": "the connection was cut; try again later",
    "ShortError": "fewer bytes came than were announced; try again later",
    "TooSlowError": f"it takes too long; try again later, or give {SECONDS_VARIABLE} more seconds",
}
_CLOSED = {"GatedRepoError", "RepositoryNotFoundError"}
_CUT = {"RemoteProtocolError", "ReadError", "ShortError", "OtherBytesError"}


class AnswerError(Exception):
    """An answer that no Hub gives; the text says which."""


class OtherBytesError(Exception):
    """Other bytes than the announced ones; the text says which."""


class ShortError(Exception):
    """Fewer bytes than were announced."""


class TooSlowError(Exception):
    """The deadline has passed."""


def plain_url(url: str) -> str:
    """An address without what may be secret in it: user, password, signature."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


def without_secrets(text: str) -> str:
    """A text of the client, one line, without tokens and signed addresses."""
    line = (text.strip().splitlines() or [""])[0]
    line = _URL.sub(lambda match: plain_url(match[0]), line)
    return printable(_TOKEN.sub("***", line), 300)


def status_of(error: BaseException) -> int | None:
    """HTTP status behind an error of the client, or None."""
    response = getattr(error, "response", None)
    return None if response is None else int(response.status_code)


def is_cut(error: BaseException) -> bool:
    """Whether a body came short or damaged: worth a second try at once."""
    return not _CUT.isdisjoint(_names(error))


def _names(error: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}


def explain(
    error: Exception, repo: str, file: str, revision: str | None, anonymous: bool = False
) -> tuple[str, bool]:
    """What went wrong, and whether the same call may succeed later.

    Args:
        error: What the client raised.
        repo: Hub repository.
        file: File in it.
        revision: Revision, or None for the main branch.
        anonymous: Whether it was asked without a token, on purpose.

    Returns:
        A sentence without its full stop, and True for a Hub that is down, busy or silent.
    """
    while isinstance(error, ExceptionGroup):  # out of the event loop
        error = error.exceptions[0]
    names = _names(error)
    if isinstance(error, HfHubHTTPError):
        status = status_of(error)
        if anonymous and (not _CLOSED.isdisjoint(names) or status in _FORBIDDEN):
            closed = f"{repo} is private, gated or gone"
            return f"{closed}: it was asked without a token, as by anybody; make it public", False
        return _answer(names, status, repo, file, revision)
    if isinstance(error, AnswerError):
        return str(error), False
    for name, sentence in _NETWORK.items():
        if name in names:
            return sentence, True
    if isinstance(error, OSError):
        return _disk(error)
    return f"{type(error).__name__}: {without_secrets(str(error))}", False


def _answer(
    names: set[str], status: int | None, repo: str, file: str, revision: str | None
) -> tuple[str, bool]:
    """An answer of the Hub that is no file."""
    at = revision or "main"
    login = "log in (hf auth login, or HF_TOKEN)"
    if huggingface_hub.get_token() is not None:
        login = "the token in use has no right to it"
    page = plain_url(huggingface_hub.hf_hub_url(repo, "")).partition("/resolve/")[0]
    for name, sentence in {
        "GatedRepoError": f"{repo} is gated: accept its terms at {page}; {login}",
        "DisabledRepoError": f"the Hub has disabled {repo}; ask its owner",
        "RepositoryNotFoundError": f"{repo} is gone, misspelt or private; if private, {login}",
        "RevisionNotFoundError": f"{repo} has no revision {at}; see its commits and tags",
        "EntryNotFoundError": f"{repo} has no {file} at {at}: this package did not publish it",
    }.items():
        if name in names:
            return sentence, False
    if status in _FORBIDDEN:
        return f"the Hub refuses access to {repo} (status {status}); {login}", False
    if status == 429:
        return "the Hub has had too many requests (status 429); wait some minutes, or log in", True
    if status is not None and status >= 500:
        return f"the Hub is out of order (status {status}); try again later", True
    return f"the Hub answers with status {status}; look at the name and at HF_ENDPOINT", False


def _disk(error: OSError) -> tuple[str, bool]:
    reason = os.strerror(error.errno) if error.errno else ""
    if error.errno in _NO_ROOM:
        return f"the disk of the cache is full (OSError: {reason}); give another cache_dir", False
    if error.errno in _NO_ACCESS:
        where = f" {error.filename}" if error.filename else ""
        return f"the cache is read-only (OSError: {reason}{where}); give another cache_dir", False
    return f"{type(error).__name__}: {without_secrets(str(error))}", False

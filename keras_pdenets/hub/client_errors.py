"""Explanations of the Hub client's errors: one sentence each, with what to do."""

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
# By name: the client has changed its HTTP library (httpx, then httpx2).
_NETWORK = {
    "ProxyError": "the proxy refused the connection; check HTTPS_PROXY and NO_PROXY",
    "ConnectTimeout": "the connection timed out; check the network, the firewall and HF_ENDPOINT",
    "ConnectError": "no connection; check the network, the firewall and HF_ENDPOINT",
    "TimeoutException": "the Hub does not respond; try again later",
    "RemoteProtocolError": "the connection was lost; try again later",
    "ReadError": "the connection was lost; try again later",
    "ShortError": "fewer bytes arrived than announced; try again later",
    "TooSlowError": f"it took too long; try again later, or increase {SECONDS_VARIABLE}",
}
_CLOSED = {"GatedRepoError", "RepositoryNotFoundError"}
_CUT = {"RemoteProtocolError", "ReadError", "ShortError", "OtherBytesError"}


class AnswerError(Exception):
    """An invalid response, described by the message."""


class OtherBytesError(Exception):
    """Other bytes than announced, described by the message."""


class ShortError(Exception):
    """Fewer bytes than announced."""


class TooSlowError(Exception):
    """The deadline has passed."""


def plain_url(url: str) -> str:
    """A URL without possible secrets: user, password, signature."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


def without_secrets(text: str) -> str:
    """The first line of a message of the client, without tokens and signed URLs."""
    line = (text.strip().splitlines() or [""])[0]
    line = _URL.sub(lambda match: plain_url(match[0]), line)
    return printable(_TOKEN.sub("***", line), 300)


def status_of(error: BaseException) -> int | None:
    """HTTP status of an error of the client, or None."""
    response = getattr(error, "response", None)
    return None if response is None else int(response.status_code)


def is_cut(error: BaseException) -> bool:
    """Whether a body was truncated or corrupted: worth an immediate retry."""
    return not _CUT.isdisjoint(_names(error))


def _names(error: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}


def explain(
    error: Exception, repo: str, file: str, revision: str | None, anonymous: bool = False
) -> tuple[str, bool]:
    """The cause of an error, and whether the same call may succeed later.

    Args:
        error: Error raised by the client.
        repo: Hub repository.
        file: File in it.
        revision: Revision, or None for the main branch.
        anonymous: Whether the request was deliberately sent without a token.

    Returns:
        A sentence without its full stop, and True if the Hub is down, busy or silent.
    """
    while isinstance(error, ExceptionGroup):  # from the event loop
        error = error.exceptions[0]
    names = _names(error)
    if isinstance(error, HfHubHTTPError):
        status = status_of(error)
        if anonymous and (not _CLOSED.isdisjoint(names) or status in _FORBIDDEN):
            closed = f"{repo} is private, gated or gone"
            return f"{closed}: the request was sent without a token; make it public", False
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
    """The meaning of an HTTP error of the Hub."""
    at = revision or "main"
    login = "log in (hf auth login, or HF_TOKEN)"
    if huggingface_hub.get_token() is not None:
        login = "the token in use has no access to it"
    page = plain_url(huggingface_hub.hf_hub_url(repo, "")).partition("/resolve/")[0]
    for name, sentence in {
        "GatedRepoError": f"{repo} is gated: accept its terms at {page}; {login}",
        "DisabledRepoError": f"the Hub has disabled {repo}; ask its owner",
        "RepositoryNotFoundError": f"{repo} is gone, misspelt or private; if private, {login}",
        "RevisionNotFoundError": f"{repo} has no revision {at}; see its commits and tags",
        "EntryNotFoundError": f"{repo} has no {file} at {at}: it was not published by this package",
    }.items():
        if name in names:
            return sentence, False
    if status in _FORBIDDEN:
        return f"the Hub denies access to {repo} (status {status}); {login}", False
    if status == 429:
        return "too many requests to the Hub (status 429); wait some minutes, or log in", True
    if status is not None and status >= 500:
        return f"the Hub is unavailable (status {status}); try again later", True
    return f"the Hub responds with status {status}; check the name and HF_ENDPOINT", False


def _disk(error: OSError) -> tuple[str, bool]:
    reason = os.strerror(error.errno) if error.errno else ""
    if error.errno in _NO_ROOM:
        return f"the disk of the cache is full (OSError: {reason}); use another cache_dir", False
    if error.errno in _NO_ACCESS:
        where = f" {error.filename}" if error.filename else ""
        return f"the cache is read-only (OSError: {reason}{where}); use another cache_dir", False
    return f"{type(error).__name__}: {without_secrets(str(error))}", False

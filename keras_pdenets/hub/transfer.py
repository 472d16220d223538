"""Requests to a Hub: what it announces about a file, and the file's bytes, within limits.

Responses are untrusted: no name in them becomes a path, bodies of errors are not read, and the
deadline applies to every wait, even inside a header, a redirect or a TLS handshake.
"""

import os
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import huggingface_hub
from anyio.from_thread import BlockingPortal, start_blocking_portal
from huggingface_hub import constants, get_async_session, hf_raise_for_status
from huggingface_hub.utils import tqdm

from keras_pdenets.hub.client_errors import AnswerError, OtherBytesError, ShortError, TooSlowError
from keras_pdenets.hub.digests import new_hash
from keras_pdenets.hub.patience import Patience
from keras_pdenets.utils.text import printable

_MOST_REDIRECTS = 10
_COMMIT, _ETAG, _SIZE = "X-Repo-Commit", "X-Linked-Etag", "X-Linked-Size"
_NUMBER = re.compile(r"[0-9]{1,18}")
# The client derives its errors from these headers.
_REASONS = {"x-error-code", "x-error-message"}
_CIRCLE = f"it redirects more than {_MOST_REDIRECTS} times; check HF_ENDPOINT"
_PACKED = "its bytes are compressed without a request; check HF_ENDPOINT and the proxy"


@dataclass(frozen=True)
class Announced:
    """What a Hub announces about a file, unchecked.

    Args:
        commit: The commit.
        etag: The hash, if it is a Hub.
        size: Number of bytes, or None.
        request: Request for the bytes; the token is sent only to the original host.
    """

    commit: str
    etag: str
    size: int | None
    request: Any


class Conversation:
    """Requests with a deadline.

    Args:
        portal: The event loop that they run in.
        client: Asynchronous session of the Hub's client.
        headers: Headers of each request.
        patience: Deadline for all of them.
    """

    def __init__(
        self, portal: BlockingPortal, client: Any, headers: dict[str, str], patience: Patience
    ) -> None:
        self._portal, self._client = portal, client
        self._headers, self._patience = headers, patience

    def ask(self, url: str) -> Announced:
        """What the Hub announces about the file at a URL, without requesting its bytes."""
        return self._portal.call(self._ask, url)

    def receive(self, announced: Announced, path: Path, digest: str, size: int) -> None:
        """Write the announced bytes, and never more, to a file.

        Args:
            announced: The announced file.
            path: The file to write.
            digest: Expected hash.
            size: Expected number of bytes.

        Raises:
            OtherBytesError: If other or more bytes arrive.
            ShortError: If fewer bytes arrive.
            TooSlowError: If they do not arrive in time.
        """
        self._portal.call(partial(self._receive, announced, path, digest, size))

    async def _ask(self, url: str) -> Announced:
        with _deadline(self._patience.left()):
            return await self._probe(url)

    async def _probe(self, url: str) -> Announced:
        request = self._request("HEAD", url, self._headers, constants.HF_HUB_ETAG_TIMEOUT)
        said: Any = {}
        for _ in range(_MOST_REDIRECTS):
            async with self._answer(request) as response:
                following, length = response.next_request, response.headers.get("Content-Length")
            said = response.headers if _COMMIT in response.headers else said
            # The Hub announces a large file in the response that redirects to another host.
            if following and not (said and _origin(following) != _origin(request)):
                request = following
                continue
            if following is None:
                _check_status(response)
            etag = said.get(_ETAG) or said.get("ETag") or ""
            return Announced(
                commit=said.get(_COMMIT, ""),
                etag=etag.removeprefix("W/").strip('"'),
                size=_number(said.get(_SIZE) or (None if following else length)),
                request=following or request,
            )
        raise AnswerError(_CIRCLE)

    async def _receive(self, announced: Announced, path: Path, digest: str, size: int) -> None:
        begin = anyio.current_time()
        end = begin + self._patience.left(size)
        found, received = new_hash(digest, size), 0
        first = min(self._patience.seconds, end - begin)
        with _deadline(first) as scope, path.open("wb") as file, _bar(announced, size) as bar:
            async with self._body(announced) as response:
                async for piece in response.aiter_raw():
                    received += len(piece)
                    if received > size:
                        raise OtherBytesError(f"more than {size} bytes")
                    file.write(piece)
                    found.update(piece)
                    bar.update(len(piece))
                    scope.deadline = min(end, begin + self._patience.earned(received))
        if received < size:
            raise ShortError
        if found.hexdigest() != digest:
            raise OtherBytesError(f"{received} bytes with the hash {found.hexdigest()}")

    @asynccontextmanager
    async def _body(self, announced: Announced) -> AsyncIterator[Any]:
        asked = announced.request
        request = self._request("GET", asked.url, asked.headers, constants.HF_HUB_DOWNLOAD_TIMEOUT)
        for _ in range(_MOST_REDIRECTS):
            async with self._answer(request) as response:
                if response.next_request is None:
                    _check_status(response)
                    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
                        raise AnswerError(_PACKED)
                    yield response
                    return
                request = response.next_request
        raise AnswerError(_CIRCLE)

    def _request(self, method: str, url: Any, headers: Any, silence: float) -> Any:
        headers = {**headers, "Accept-Encoding": "identity"}
        return self._client.build_request(method, url, headers=headers, timeout=silence)

    @asynccontextmanager
    async def _answer(self, request: Any) -> AsyncIterator[Any]:
        """A response; the body of an error, which may be endless, is not read."""
        response = await self._client.send(request, stream=True, follow_redirects=False)
        try:
            if response.status_code >= 400:
                hf_raise_for_status(_bare(response))
            yield response
        finally:
            await response.aclose()


@contextmanager
def conversation(anonymous: bool, patience: Patience) -> Iterator[Conversation]:
    """Requests through the client's own session, which is configured for proxies and certificates.

    An event loop in its own thread can cancel a wait at any point; with only a timeout per read,
    one byte per second could keep a session waiting for ever.

    Args:
        anonymous: Send no token, not even a saved one.
        patience: Deadline of all requests.
    """
    client: Any = get_async_session()
    # The client's own hook would read and decompress the body of an error.
    client.event_hooks = {**client.event_hooks, "response": []}
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(client):
        yield Conversation(portal, client, _headers(anonymous), patience)


def _headers(anonymous: bool) -> dict[str, str]:
    """Headers of requests; the client's own function queries the Hub first, without timeout."""
    agent = {"User-Agent": f"keras_pdenets; hf_hub/{huggingface_hub.__version__}"}
    token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else huggingface_hub.get_token()
    return agent if anonymous or token is None else {**agent, "Authorization": f"Bearer {token}"}


@contextmanager
def _deadline(seconds: float) -> Iterator[anyio.CancelScope]:
    try:
        with anyio.fail_after(seconds) as scope:
            yield scope
    except TimeoutError:
        raise TooSlowError from None


def _bare(response: Any) -> Any:
    """A response without its body, and without headers that the client would log."""
    headers = {name: text for name, text in response.headers.items() if name in _REASONS}
    return type(response)(response.status_code, headers=headers, request=response.request)


def _check_status(response: Any) -> None:
    if response.status_code != 200:
        status = f"the Hub responds with status {response.status_code}"
        raise AnswerError(f"{status}; check the name and HF_ENDPOINT")


def _origin(request: Any) -> tuple[str, str, int | None]:
    return request.url.scheme, request.url.host, request.url.port


def _number(text: str | None) -> int | None:
    return int(text) if text and _NUMBER.fullmatch(text) else None


def _bar(announced: Announced, size: int) -> Any:
    """The client's progress bar: on a terminal, or if the client is told that there is one."""
    forced = os.environ.get("TQDM_POSITION") == "-1"
    name = announced.request.url.path.rpartition("/")[2]
    return tqdm(
        desc=printable(name), total=size, unit="B", unit_scale=True,
        disable=False if forced else None, name="huggingface_hub.http_get",
    )  # fmt: skip

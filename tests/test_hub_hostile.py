"""Answers that no Hub gives: nothing outside the cache, no unverified file in it, none for ever."""

import gc
import hashlib
import itertools
import resource
import time
from dataclasses import dataclass

import pytest
from huggingface_hub import constants
from loopback_client import lead_here
from loopback_hostile import (
    BODY,
    COMMIT,
    ESCAPE,
    PIECE,
    SHA256,
    HostileServer,
    announce,
    answer,
    bomb,
    dripping,
    give,
    silent,
    then_endless,
)

from keras_pdenets.hub.digests import matches
from keras_pdenets.hub.errors import IntegrityError, UnreachableError, WeightsError
from keras_pdenets.hub.patience import SECONDS_VARIABLE
from keras_pdenets.hub.source import WeightsSource

pytestmark = pytest.mark.once

ADDRESS = "hf://someone/net"
LONGEST_FILE, MOST_SENT = 2**20, 64 * 2**20
PATIENCE = 0.5
CHUNKED = {"Content_Length": None, "Transfer_Encoding": "chunked"}
CHUNK = b"10000\r\n" + bytes(PIECE) + b"\r\n"
EMPTY = hashlib.sha1(b"blob 8000\0" + bytes(8000)).hexdigest()
NO_HUB, TWICE = "is not from a Hub", "twice sent other bytes .*hash: "


@dataclass
class Row:
    """A hostile answer, and what the user sees.

    Args:
        name: Of the row.
        head: Answer to HEAD.
        get: Answer to everything else.
        error: Class of the error; None: it loads.
        message: Part of the message.
        slow: Whether only the deadline ends it.
        address: What is asked for.
        scheme: Of the endpoint.
        proxy: Whether the server is the proxy, and the endpoint is elsewhere.
    """

    name: str
    head: object
    get: object = silent
    error: type | None = WeightsError
    message: str = ""
    slow: bool = False
    address: str = ADDRESS
    scheme: str = "http"
    proxy: bool = False


def _slow(name, head, get=silent, **options):
    return Row(name, head, get, UnreachableError, f"increase |{SECONDS_VARIABLE}", True, **options)


def _moved(location, status="302 Found", **headers):
    return answer(status, Location=location, Content_Length=0, **headers)


def _in_turn(*answers):
    """What is asked for again is answered otherwise."""
    turns = itertools.cycle(answers)
    return lambda: next(turns)()


ROWS = [
    Row("honest", announce(), give(), None),
    # What is announced.
    Row("hash that leads out", announce(ETag=f'"{"../" * 20}tmp/x"'), message=NO_HUB),
    Row("hash that is an absolute path", announce(ETag='"/etc/passwd"'), message=NO_HUB),
    Row("hash with backslashes", announce(ETag='"..\\..\\x"'), message=NO_HUB),
    Row("hash of 5000 digits", announce(ETag="a" * 5000), error=IntegrityError,
        message="announces no hash"),
    Row("two hashes", announce(X_Linked_Etag=f"{SHA256}, {SHA256}"), message=NO_HUB),
    Row("hash that leads out the second time", _in_turn(announce(), announce(
        ETag='"../../../home/.bashrc"')), give(BODY[::-1]), message=NO_HUB),
    Row("no hash", announce(ETag=None), message=NO_HUB),
    Row("linked hash that leads out", announce(X_Linked_Etag="../x"), message=NO_HUB),
    Row("commit that leads out", announce(X_Repo_Commit="../" * 12 + "tmp"), message=NO_HUB),
    Row("commit of 41 digits", announce(X_Repo_Commit="a" * 41), message=NO_HUB),
    Row("another commit", announce(), give(), IntegrityError, "of the commit aaa",
        address=f"{ADDRESS}@{'b' * 40}"),
    Row("no size", announce(Content_Length=None), message="announces no size"),
    Row("size below 0", announce(X_Linked_Size=-1), message="announces no size"),
    Row("size that is no number", announce(X_Linked_Size="8e3"), message="announces no size"),
    Row("size of 30 digits", announce(X_Linked_Size=10**30), message="announces no size"),
    Row("size of a petabyte", announce(X_Linked_Size=10**15), message="4294967296 allowed"),
    Row("names for Xet and for the reader", announce(X_Xet_Hash="../x", Link='<file:///x>; rel="a"',
        Content_Disposition='attachment; filename="../../x"'), give(), None),
    Row("text for the terminal", announce(X_HF_Warning=f"topic; {ESCAPE}"), give(), None),
    Row("error for the terminal", answer(f"404 {ESCAPE}", X_Error_Code="EntryNotFound",
        X_Error_Message=ESCAPE), message="has no model.safetensors"),
    # Redirects.
    Row("redirect to a file", _moved("file:///etc/passwd"), message="nsupportedProtocol|status"),
    Row("announced, then a file", _moved("file:///etc/passwd", ETag=SHA256, X_Repo_Commit=COMMIT,
        X_Linked_Size=8000), message="nsupportedProtocol"),
    Row("redirect to port 99999999", _moved("http://127.0.0.1:99999999/"), message="OverflowError"),
    Row("redirect to no address", _moved("http://[::1"), message="status 302"),
    Row("redirect in a circle", _moved("/again"), message="more than 10 times"),
    Row("redirect of the bytes in a circle", announce(), _moved("/again"),
        message="more than 10 times"),
    Row("redirect of the bytes to a file", announce(), _moved("file:///etc/passwd"),
        message="nsupportedProtocol"),
    Row("redirect with an endless body", then_endless(_moved("/x"), bytes(PIECE)),
        message="more than 10 times"),
    # Heads.
    Row("no HTTP", lambda: [b"\0\xff" * 500], error=UnreachableError, message="was lost"),
    Row("header without end", then_endless(lambda: iter([b"HTTP/1.1 200 OK\r\nA: "]), b"a" * PIECE),
        error=UnreachableError, message="was lost"),
    Row("headers without end", then_endless(lambda: iter([b"HTTP/1.1 200 OK\r\n"]),
        b"A: b\r\n" * 10**4), error=UnreachableError, message="was lost"),
    Row("switched protocol", announce(), answer("101 Switching Protocols"), error=UnreachableError,
        message="was lost"),
    _slow("silent", silent),
    _slow("dripping head", dripping(announce())),
    _slow("dripping head of the bytes", announce(), dripping(give())),
    _slow("early hints without end", then_endless(list, b"HTTP/1.1 103 E\r\n\r\n", True)),
    _slow("early hints before the bytes", announce(),
        then_endless(list, b"HTTP/1.1 103 E\r\n\r\n", True)),
    _slow("handshake that drips", dripping(lambda: [b"\x16\x03\x03\x40\x00" + bytes(16384)]),
        dripping(lambda: [b"\x16\x03\x03\x40\x00" + bytes(16384)]), scheme="https"),
    _slow("proxy that drips", silent, dripping(answer("200 OK", A="b" * 5000)), scheme="https",
        proxy=True),
    # Bytes.
    Row("body without end", announce(), then_endless(answer(Content_Length=None), bytes(PIECE)),
        IntegrityError, f"{TWICE}more than 8000 bytes"),
    Row("chunks without end", announce(), then_endless(answer(**CHUNKED), CHUNK), IntegrityError,
        f"{TWICE}more than 8000 bytes"),
    Row("one byte more", announce(), give(BODY + b"x"), IntegrityError, f"{TWICE}more than 8000"),
    Row("one byte fewer", announce(), give(BODY[:-1]), UnreachableError, "fewer bytes arrived"),
    Row("other bytes", announce(), give(BODY[::-1]), IntegrityError, f"{TWICE}8000 bytes with"),
    Row("other bytes under a SHA-1", announce(ETag=EMPTY), give(), IntegrityError, TWICE),
    Row("right bytes under a SHA-1", announce(ETag=EMPTY), give(bytes(8000)), None),
    Row("packed bomb", announce(), lambda: give(bomb(), Content_Encoding="gzip")(),
        message="compressed without a request"),
    Row("packed twice", announce(), give(Content_Encoding="identity, br"), message="compressed"),
    Row("error with a bomb", announce(), lambda: answer("404 No", bomb(64), Content_Length=None,
        Content_Encoding="gzip")(), message="status 404"),
    Row("error without end", announce(), then_endless(answer("500 No"), bytes(PIECE)),
        UnreachableError, "status 500"),
    Row("part of the bytes", announce(), answer("206 Partial Content", BODY),
        message="status 206"),
    Row("no content", announce(), answer("204 No Content"), message="status 204"),
    Row("two lengths", announce(), give(X=f"1\r\nContent-Length: {len(BODY) + 1}"),
        UnreachableError, "was lost"),
    Row("trailers without end", announce(), then_endless(answer(
        body=b"1f40\r\n" + BODY + b"\r\n0\r\n", **CHUNKED), b"A: b\r\n" * 10**4),
        UnreachableError, "was lost"),
    Row("size of a chunk without end", announce(), then_endless(answer(**CHUNKED), b"0" * PIECE),
        UnreachableError, "was lost"),
    _slow("one byte after the other", announce(), dripping(give())),
    _slow("body that stops", announce(), lambda: [*answer(Content_Length=8000, body=BODY[:9])(),
        *[None] * 10**4]),
    _slow("size of a chunk that drips", announce(), then_endless(answer(**CHUNKED), b"0", True)),
    _slow("trailers that drip", announce(), then_endless(answer(
        body=b"1f40\r\n" + BODY + b"\r\n0\r\n", **CHUNKED), b"A", True)),
    _slow("a petabyte's worth of time", announce(X_Linked_Size=2**31), dripping(give())),
]  # fmt: skip


def _params():
    for row in ROWS:
        # A tunnel that is given up while it opens is not closed by httpcore but by the interpreter.
        leak = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
        yield pytest.param(row, id=row.name.replace(" ", "_"), marks=leak if row.proxy else ())


@pytest.fixture
def limited():
    """No file may grow beyond a MiB: more is "a full disk"."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LONGEST_FILE, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _tree(folder):
    """Everything below a folder but the cache."""
    found = [path for path in sorted(folder.rglob("*")) if "cache" not in path.parts]
    return [(path, path.read_bytes() if path.is_file() else None) for path in found]


@pytest.mark.usefixtures("limited")
@pytest.mark.parametrize("row", list(_params()))
@pytest.mark.slow
def test_hostile_answers(row, tmp_path, monkeypatch, caplog):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".bashrc").write_text("mine\n")
    if row.slow:
        monkeypatch.setenv(SECONDS_VARIABLE, str(PATIENCE))
    with HostileServer(row.head, row.get) as server:
        host = "127.0.0.1" if not row.proxy else "hub.invalid"
        server.endpoint = f"{row.scheme}://{host}:{server.port}"
        if row.proxy:
            monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{server.port}")
        lead_here(monkeypatch, server, tmp_path)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", False)
        (tmp_path / "token").write_text("hf_secret")
        before, start = _tree(tmp_path), time.monotonic()
        seen = ""
        if row.error is None:
            assert WeightsSource.parse(row.address).resolve().path.stat().st_size == len(BODY)
        else:
            with pytest.raises(row.error, match=row.message) as caught:
                WeightsSource.parse(row.address).resolve()
            assert type(caught.value) is row.error
            seen = str(caught.value)
        assert time.monotonic() - start < 20
        assert server.sent < MOST_SENT
        # The client's own function for headers would ask, without a limit, who is at the keyboard.
        assert not any(b" /api/" in asked for asked in server.asked)
    assert _tree(tmp_path) == before
    assert "disk" not in seen
    for text in (seen, caplog.text):
        assert "\x1b" not in text
        assert "hf_secret" not in text
    gc.collect()  # sockets that nobody has closed warn here, in the row that they are of
    _check_cache(tmp_path / "cache", row.error is None)


def _check_cache(cache, loaded):
    """Verified files, empty locks and notes of commits; no others, and none half-written."""
    files = [path for path in cache.rglob("*") if not path.is_dir()]
    blobs = [path for path in files if path.parent.name == "blobs"]
    links = [path for path in files if path.parent.parent.name == "snapshots"]
    assert (len(blobs), len(links)) == ((1, 1) if loaded else (0, 0))
    assert all(matches(path, path.name) for path in blobs)
    for path in set(files) - {*blobs, *links}:
        assert path.suffix == ".lock" or path.read_text() == COMMIT

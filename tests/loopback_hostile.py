"""A server on 127.0.0.1 that answers as no Hub would: raw bytes, without end, or one at a time.

An answer is a function of no argument that gives pieces of bytes. The server sends them as long as
somebody listens, and counts what it could send: bytes that nobody reads stay in the machine's
buffers, some megabytes of them.
"""

import contextlib
import hashlib
import socket
import threading
import zlib

BODY = bytes(range(250)) * 32
SHA256, COMMIT = hashlib.sha256(BODY).hexdigest(), "a" * 40
PIECE, PIECES, PAUSE = 2**16, 4096, 0.02  # 256 MiB are as good as endless
ESCAPE = "\x1b]0;owned\x07"


class HostileServer:
    """Answers HEAD by one function and everything else by another."""

    def __init__(self, head, get):
        self.answers, self.asked, self.sent = (head, get), [], 0
        self.closing = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.closing.set()
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection = self.listener.accept()[0]
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with contextlib.suppress(OSError), connection:
            asked = connection.recv(2**16)
            self.asked.append(asked)
            for piece in self.answers[not asked.startswith(b"HEAD")]():
                if piece is None:
                    self.closing.wait(PAUSE)
                else:
                    connection.sendall(piece)
                    self.sent += len(piece)
                if self.closing.is_set():
                    return
            # Who closes with bytes unread tears down what is on its way.
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(2**16):
                pass


def answer(status="200 OK", body=b"", **headers):
    """A whole answer; a header is left out where it is None, "_" stands for "-"."""
    headers = {"Connection": "close", **headers}
    lines = [f"{n.replace('_', '-')}: {v}\r\n" for n, v in headers.items() if v is not None]
    head = f"HTTP/1.1 {status}\r\n{''.join(lines)}\r\n".encode("latin-1")
    return lambda: iter([head + body])


def announce(**headers):
    """What the Hub says of the file; headers replace or add."""
    said = {"ETag": f'"{SHA256}"', "X_Repo_Commit": COMMIT, "Content_Length": len(BODY)}
    return answer(**{**said, **headers})


def give(body=BODY, **headers):
    """The file."""
    return answer(body=body, **{"Content_Length": len(body), **headers})


def dripping(whole):
    """One byte after the other."""

    def pieces():
        for byte in b"".join(whole()):
            yield bytes([byte])
            yield None

    return pieces


def then_endless(whole, piece, pause=False):
    """A beginning, and then the same again and again."""

    def pieces():
        yield from whole()
        for _ in range(PIECES):
            yield piece
            if pause:
                yield None

    return pieces


def silent():
    """Nothing at all, for long."""
    return (None for _ in range(10**5))


def bomb(megabytes=128):
    """Zeros, packed a thousandfold."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    return b"".join(packer.compress(bytes(2**20)) for _ in range(megabytes)) + packer.flush()

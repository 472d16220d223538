"""A Hub on 127.0.0.1 for tests: standard library only, enough for the real huggingface_hub client.

    with LoopbackHub() as hub:
        commit = hub.add("someone/net", {"model.safetensors": data})
        hub.fail("cut", r"/_cdn/", times=1, value=1000)
        ...
        assert hub.count("GET", "/_cdn/") == 2

It gives files (resolve, revision, tree, paths-info, refs, commits) and takes them (create_repo,
create_commit with LFS and parent_commit, create_tag). Its fidelity comes from the client's source:
it is what the client accepts, not what the real Hub does. `Fault` lists what can go wrong.

A large file is not sent from the address that was asked but, as by the Hub, from another host: the
same server by the name localhost. The client takes no redirect within one host for a file, and
drops its token on the way to another.
"""

import hashlib
import re
import threading
import time
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer

from loopback_handler import Handler

FIRST_COMMIT = "0" * 40


@dataclass
class Fault:
    """One planned misbehaviour.

    Kinds: "status" (value: the status), "cut" (the connection ends after that many bytes of the
    body), "truncate" (so many bytes, rightly announced), "flip" (the byte at that place), "delay"
    (seconds before the answer), "silent" (no answer), "stall" (silence after that many bytes),
    "etag", "size" and "commit" (a wrong announcement), "page" (the login page of a wireless
    network).
    """

    kind: str
    match: re.Pattern
    times: float
    value: object = None
    method: str | None = None
    headers: dict = field(default_factory=dict)


@dataclass
class File:
    """A file of a commit; large ones lie under their SHA-256, small ones in git."""

    data: bytes
    large: bool

    @property
    def sha256(self):
        return hashlib.sha256(self.data).hexdigest()

    @property
    def oid(self):
        """Hash of git's blob: of the data, or of the pointer that stands for them."""
        return _git_oid("blob", self.pointer if self.large else self.data)

    @property
    def pointer(self):
        text = f"oid sha256:{self.sha256}\nsize {len(self.data)}\n"
        return f"version https://git-lfs.github.com/spec/v1\n{text}".encode()

    @property
    def name(self):
        """What the Hub announces as its ETag."""
        return self.sha256 if self.large else self.oid


@dataclass
class Repo:
    """Commits: {hash: (parent, title, {path: File})}; branches and tags name them."""

    name: str
    private: bool = False
    gated: bool = False
    commits: dict = field(default_factory=dict)
    branches: dict = field(default_factory=dict)
    tags: dict = field(default_factory=dict)

    def find(self, revision):
        """The commit of a revision, or None."""
        named = {**self.branches, **self.tags}
        return named.get(revision, revision if revision in self.commits else None)


class LoopbackHub:
    """The server and all that it stores, in memory.

    Args:
        tokens: User of each valid token.
    """

    def __init__(self, tokens=None):
        self.tokens = {"hf_writer": "someone"} if tokens is None else tokens
        self.repos, self.renamed, self.blobs = {}, {}, {}
        self.faults, self.log, self.lock = [], [], threading.RLock()
        self.xet = False  # offer large files by Xet too; there is no Xet server behind it
        self.closing = threading.Event()
        handler = type("BoundHandler", (Handler,), {"hub": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        port = self.server.server_address[1]
        self.endpoint, self.cdn = f"http://127.0.0.1:{port}", f"http://localhost:{port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    # --- what it holds ------------------------------------------------------------------------

    def add(self, name, files, large=True, branch="main"):
        """A commit of files; the repository is made where there is none. Returns its hash."""
        repo = self.repos.setdefault(name, Repo(name))
        return self.commit(repo, branch, {p: File(d, large) for p, d in files.items()}, [], "add")

    def commit(self, repo, branch, files, deleted, title):
        with self.lock:
            parent = repo.branches.get(branch)
            kept = dict(repo.commits[parent][2]) if parent else {}
            for path in deleted:
                kept.pop(path, None)
            kept.update(files)
            for file in files.values():
                self.blobs[file.sha256] = file.data
            listing = "".join(f"{path}\0{kept[path].oid}\n" for path in sorted(kept))
            text = f"{parent or FIRST_COMMIT}\n{title}\n{time.time_ns()}\n{listing}"
            commit = _git_oid("commit", text.encode())
            repo.commits[commit] = (parent, title, kept)
            repo.branches[branch] = commit
            return commit

    def rename(self, old, new):
        """Move a repository; the old name leads to the new one."""
        self.repos[new] = self.repos.pop(old)
        self.repos[new].name = new
        self.renamed[old] = new

    # --- what goes wrong, and what was asked --------------------------------------------------

    def fail(self, kind, match="", value=None, times=float("inf"), method=None, **headers):
        """Plan a fault for the addresses that a regular expression finds."""
        headers = {name.replace("_", "-"): text for name, text in headers.items()}
        self.faults.append(Fault(kind, re.compile(match), times, value, method, headers))

    def fault_for(self, method, path):
        """The fault of this request, counted, or None."""
        with self.lock:
            for fault in self.faults:
                if fault.times and fault.method in (None, method) and fault.match.search(path):
                    fault.times -= 1
                    return fault
        return None

    def count(self, method=None, match=""):
        """Number of requests so far."""
        return sum(
            method in (None, asked) and bool(re.search(match, path)) for asked, path, *_ in self.log
        )


def _git_oid(kind, data):
    return hashlib.sha1(f"{kind} {len(data)}\0".encode() + data).hexdigest()

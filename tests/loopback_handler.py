"""The answers of the loopback Hub: downloads and what is asked about repositories."""

import contextlib
import json
import re
import socket
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, unquote, urlsplit

from loopback_uploads import UPLOADS, Uploads

_LONGEST_SILENCE = 120


class Handler(Uploads, BaseHTTPRequestHandler):
    """One connection; `hub` is set by the server."""

    protocol_version = "HTTP/1.1"
    # One segment for each answer: without it every call waits 40 ms for a delayed ACK.
    wbufsize = 1 << 16
    hub = None

    def log_message(self, *_):
        pass

    def handle(self):
        # The client has gone away: killed, or out of patience.
        with contextlib.suppress(ConnectionError, TimeoutError, ValueError):
            super().handle()

    # --- one request ---------------------------------------------------------------------------

    def answer(self):
        path = urlsplit(self.path).path
        self.fault = self.hub.fault_for(self.command, path)
        self.hub.log.append((self.command, path, self.headers.get("Authorization", "")))
        body = self.request_body()
        kind, value = (self.fault.kind, self.fault.value) if self.fault else (None, None)
        if kind in ("delay", "silent"):
            self.hub.closing.wait(value if kind == "delay" else _LONGEST_SILENCE)
            if kind == "silent":
                self.close_connection = True
                return None
        if kind == "status":
            return self.reply({"error": "planned"}, status=value, headers=self.fault.headers)
        if kind == "page":
            return self.send(b"<html>Please log in</html>", {"Content-Type": "text/html"})
        if self.headers.get("Authorization") and self.user() is None:
            return self.refuse(401, "", "Invalid credentials in Authorization header")
        for method, pattern, name in ROUTES:
            found = re.fullmatch(pattern, path)
            if found and (self.command == method or (self.command, method) == ("HEAD", "GET")):
                parts = {key: part and unquote(part) for key, part in found.groupdict().items()}
                return getattr(self, name)(body, **parts)
        return self.refuse(404, "", "no such address")

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer

    def request_body(self):
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while length := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(length))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def user(self):
        return self.hub.tokens.get(self.headers.get("Authorization", "").removeprefix("Bearer "))

    def reply(self, record, status=200, headers=None):
        data = json.dumps(record).encode()
        return self.send(data, {"Content-Type": "application/json", **(headers or {})}, status)

    def refuse(self, status, code, message):
        headers = {"X-Error-Code": code, "X-Error-Message": message}
        return self.reply({"error": message}, status, headers)

    def send(self, data, headers, status=200):
        """The answer, with the fault of this request if it is one of the body."""
        kind, value = (self.fault.kind, self.fault.value) if self.fault else (None, None)
        if kind == "truncate":
            data = data[:value]
        if kind == "flip" and len(data) > value:
            data = data[:value] + bytes([data[value] ^ 1]) + data[value + 1 :]
        self.send_response(status)
        for name, text in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, text)
        self.end_headers()
        if self.command == "HEAD":
            return
        if kind not in ("cut", "stall"):
            self.wfile.write(data)
            return
        self.wfile.write(data[:value])
        self.wfile.flush()
        if kind == "stall":
            self.hub.closing.wait(_LONGEST_SILENCE)
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    # --- repositories --------------------------------------------------------------------------

    def repo(self, name, write=False):
        """The repository, or None after a refusal."""
        repo, user = self.hub.repos.get(name), self.user()
        owned = user is not None and user == name.split("/")[0]
        if name in self.hub.renamed:
            target = self.path.replace(name, self.hub.renamed[name], 1)
            self.send(b"", {"Location": target}, 307)
        elif repo is None or (repo.private and not owned):
            self.refuse(404 if user else 401, "RepoNotFound", "Repository not found")
        elif repo.gated and not owned:
            self.refuse(403 if user else 401, "GatedRepo", f"Access to {name} is restricted")
        elif write and not owned:
            self.refuse(403 if user else 401, "", "You don't have the required permissions")
        else:
            return repo
        return None

    def commit_of(self, name, revision, write=False):
        """Repository and commit, or (None, None) after a refusal."""
        repo = self.repo(name, write)
        commit = repo and repo.find(revision or "main")
        if repo and not commit:
            self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return (repo, commit) if commit else (None, None)

    def whoami(self, _):
        if (user := self.user()) is None:
            return self.refuse(401, "", "Invalid username or password.")
        role = {"accessToken": {"role": "write"}}
        return self.reply({"type": "user", "name": user, "orgs": [], "auth": role})

    def info(self, _, name, revision=None):
        repo, commit = self.commit_of(name, revision)
        if repo:
            files = [{"rfilename": path} for path in repo.commits[commit][2]]
            access = {"private": repo.private, "gated": repo.gated, "tags": [], "siblings": files}
            self.reply({"_id": "0", "id": repo.name, "modelId": repo.name, "sha": commit, **access})

    def tree(self, _, name, revision, folder=""):
        repo, commit = self.commit_of(name, revision)
        if repo:
            files = sorted(repo.commits[commit][2].items())
            self.reply([_entry(path, f) for path, f in files if path.startswith(folder or "")])

    def paths_info(self, body, name, revision):
        repo, commit = self.commit_of(name, revision)
        if repo:
            asked = json.loads(body) if body[:1] == b"{" else parse_qs(body.decode())
            files = repo.commits[commit][2]
            self.reply([_entry(p, files[p]) for p in asked.get("paths", []) if p in files])

    def refs(self, _, name):
        if repo := self.repo(name):
            kinds = ("branches", "heads", repo.branches), ("tags", "tags", repo.tags)
            lists = {
                kind: [
                    {"name": ref, "ref": f"refs/{git}/{ref}", "targetCommit": commit}
                    for ref, commit in named.items()
                ]
                for kind, git, named in kinds
            }
            self.reply({**lists, "converts": []})

    def commits(self, _, name, revision):
        repo, commit = self.commit_of(name, revision)
        if repo:
            found = []
            while commit:
                parent, title, _ = repo.commits[commit]
                user = {
                    "authors": [{"user": name.split("/")[0]}],
                    "date": "2025-01-01T00:00:00.000Z",
                }
                found.append({"id": commit, "title": title, "message": "", **user})
                commit = parent
            self.reply(found)

    # --- files ---------------------------------------------------------------------------------

    def file(self, _, name, revision, path):
        repo, commit = self.commit_of(name, revision)
        if not repo:
            return None
        file = repo.commits[commit][2].get(path)
        headers = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if file is None:
            error = {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}
            return self.reply({"error": "Entry not found"}, 404, {**headers, **error})
        announced = {"etag": file.name, "size": len(file.data), "commit": commit}
        if self.fault and self.fault.kind in announced:
            announced[self.fault.kind] = self.fault.value
        headers["X-Repo-Commit"] = announced["commit"]
        if not file.large:
            return self.ranged(file.data, {**headers, "ETag": f'"{announced["etag"]}"'})
        headers |= {
            "X-Linked-Etag": f'"{announced["etag"]}"',
            "X-Linked-Size": str(announced["size"]),
            "Location": f"{self.hub.cdn}/_cdn/{file.sha256}",
        }
        if self.hub.xet:
            token = f"{self.hub.endpoint}/api/models/{name}/xet-read-token/{commit}"
            headers |= {"X-Xet-Hash": file.sha256, "Link": f'<{token}>; rel="xet-auth"'}
        return self.send(b"", headers, 302)

    def blob(self, _, sha256):
        if sha256 not in self.hub.blobs:
            return self.refuse(404, "", "no such blob")
        return self.ranged(
            self.hub.blobs[sha256], {"ETag": f'"{sha256}"', "Accept-Ranges": "bytes"}
        )

    def ranged(self, data, headers):
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if found is None:
            return self.send(data, headers)
        start, end = int(found[1]), int(found[2] or len(data) - 1) + 1
        if start >= len(data):
            return self.send(b"", {**headers, "Content-Range": f"bytes */{len(data)}"}, 416)
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
        return self.send(data[start:end], headers, 206)


def _entry(path, file):
    entry = {"type": "file", "path": path, "size": len(file.data), "oid": file.oid}
    if file.large:
        size, pointer = len(file.data), len(file.pointer)
        entry["lfs"] = {"oid": file.sha256, "size": size, "pointerSize": pointer}
    return entry


_REPO = r"(?P<name>[\w.-]+/[\w.-]+)"
_API = f"/api/models/{_REPO}"
_REVISION = r"(?P<revision>[^/]+)"
ROUTES = [
    ("GET", "/api/whoami-v2", "whoami"),
    ("GET", f"{_API}/tree/{_REVISION}(?:/(?P<folder>.+))?", "tree"),
    ("POST", f"{_API}/paths-info/{_REVISION}", "paths_info"),
    ("GET", f"{_API}/refs", "refs"),
    ("GET", f"{_API}/commits/{_REVISION}", "commits"),
    ("GET", f"{_API}/revision/{_REVISION}", "info"),
    ("GET", _API, "info"),
    ("GET", r"/_cdn/(?P<sha256>[0-9a-f]{64})", "blob"),
    ("GET", f"/{_REPO}/resolve/{_REVISION}/(?P<path>.+)", "file"),
    *[(method, pattern.format(repo=_REPO, revision=_REVISION), name)
      for method, pattern, name in UPLOADS],
]  # fmt: skip

"""The answers of the loopback Hub to somebody who publishes."""

import base64
import hashlib
import json

_LARGE = (".safetensors", ".keras", ".png", ".npz", ".h5", ".onnx")
_LARGEST_IN_GIT = 10 * 2**20
# Method, address, name of the method of `Uploads`.
UPLOADS = [
    ("POST", "/api/validate-yaml", "validate_yaml"),
    ("GET", "/api/agent-harnesses", "harnesses"),
    ("POST", "/api/repos/create", "create"),
    ("DELETE", "/api/repos/delete", "delete"),
    ("POST", "/api/models/{repo}/preupload/{revision}", "preupload"),
    ("POST", "/api/models/{repo}/commit/{revision}", "take_commit"),
    ("POST", "/api/models/{repo}/tag/{revision}", "tag"),
    ("POST", "/{repo}.git/info/lfs/objects/batch", "batch"),
    ("POST", "/{repo}.git/info/lfs/verify", "verify"),
    ("PUT", "/_upload/(?P<sha256>[0-9a-f]{{64}})", "put"),
]


class Uploads:
    """Mixed into the handler, which has `reply`, `refuse`, `repo` and `commit_of`."""

    def validate_yaml(self, _):
        self.reply({"errors": [], "warnings": []})

    def harnesses(self, _):
        self.reply({"standardEnvVars": [], "harnesses": {}})

    def create(self, body):
        asked, user = json.loads(body), self.user()
        owner = asked.get("organization") or user
        if user is None or owner != user:
            return self.refuse(403 if user else 401, "", "You don't have the rights to create here")
        name = f"{owner}/{asked['name']}"
        url = {"url": f"{self.hub.endpoint}/{name}"}
        if name in self.hub.repos:
            return self.reply({"error": "You already created this model repo", **url}, 409)
        self.hub.add(name, {".gitattributes": b"*.safetensors filter=lfs -text\n"}, large=False)
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        self.hub.repos[name].private = private
        return self.reply({**url, "name": name, "id": name})

    def delete(self, body):
        asked = json.loads(body)
        name = f"{asked.get('organization') or self.user()}/{asked['name']}"
        if self.repo(name, write=True):
            del self.hub.repos[name]
            self.reply({})

    def preupload(self, body, name, revision):
        """Which files go into git and which beside it."""
        repo, commit = self.commit_of(name, revision, write=True)
        if not repo:
            return
        present, answers = repo.commits[commit][2], []
        for file in json.loads(body)["files"]:
            binary = b"\0" in base64.b64decode(file["sample"])
            large = file["path"].endswith(_LARGE) or file["size"] > _LARGEST_IN_GIT or binary
            old = present.get(file["path"])
            mode = {"uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
            answers.append({"path": file["path"], **mode, "oid": old and old.name})
        self.reply({"files": answers})

    def batch(self, body, name):
        if not self.repo(name, write=True):
            return
        objects = []
        for asked in json.loads(body)["objects"]:
            item = {"oid": asked["oid"], "size": asked["size"], "authenticated": True}
            if asked["oid"] not in self.hub.blobs:
                put = f"{self.hub.endpoint}/_upload/{asked['oid']}"
                verify = f"{self.hub.endpoint}/{name}.git/info/lfs/verify"
                item["actions"] = {
                    "upload": {"href": put, "header": {}},
                    "verify": {"href": verify},
                }
            objects.append(item)
        kind = {"Content-Type": "application/vnd.git-lfs+json"}
        self.reply({"transfer": "basic", "objects": objects}, headers=kind)

    def put(self, body, sha256):
        if hashlib.sha256(body).hexdigest() != sha256:
            return self.refuse(400, "", "sha256 mismatch")
        self.hub.blobs[sha256] = body
        return self.reply({}, headers={"ETag": f'"{sha256}"'})

    def verify(self, body, name):
        asked = json.loads(body)
        right = len(self.hub.blobs.get(asked["oid"], b"")) == asked["size"]
        self.reply({"ok": right}, 200 if right else 404)

    def take_commit(self, body, name, revision):
        """A commit: one JSON record a line, all of it or nothing."""
        from loopback_hub import File

        repo, commit = self.commit_of(name, revision, write=True)
        if not repo:
            return None
        head, files, deleted = {}, {}, []
        for item in map(json.loads, body.splitlines()):
            key, value = item["key"], item["value"]
            if key == "header":
                head = value
            elif key == "file":
                files[value["path"]] = File(base64.b64decode(value["content"]), large=False)
            elif key == "lfsFile":
                if value["oid"] not in self.hub.blobs:
                    return self.refuse(400, "", f"LFS pointer {value['oid']} to a missing file")
                files[value["path"]] = File(self.hub.blobs[value["oid"]], large=True)
            elif key in ("deletedFile", "deletedFolder"):
                deleted.append(value["path"])
        parent = head.get("parentCommit")
        if parent and not commit.startswith(parent):
            return self.refuse(412, "", "A commit has happened since. Please try again.")
        made = self.hub.commit(repo, revision, files, deleted, head["summary"])
        url = f"{self.hub.endpoint}/{name}/commit/{made}"
        answer = {"success": True, "commitOid": made, "commitUrl": url, "hookOutput": ""}
        return self.reply(answer)

    def tag(self, body, name, revision):
        repo, commit = self.commit_of(name, revision, write=True)
        if not repo:
            return None
        tag = json.loads(body)["tag"]
        if tag in repo.tags:
            return self.refuse(409, "", "Tag reference exists already")
        repo.tags[tag] = commit
        return self.reply({})

"""A hub on loopback that speaks as huggingface.co does to huggingface_hub 2: API, resolve, CDN.

Large files are answered with a redirect to a second server, as there. What is asked is logged.
"""

import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

LARGE = (".safetensors", ".bin", ".pth", ".model")
Files = dict[str, bytes]


@dataclass
class Repository:
    commits: dict[str, Files]
    branches: dict[str, str]  # to commits
    token: str | None = None  # gated: the only token with access


@dataclass(frozen=True)
class Request:
    server: str  # "hub" or "cdn"
    method: str
    path: str
    range: str | None
    authorization: str | None


@dataclass
class FakeHub:
    repositories: dict[str, Repository] = field(default_factory=dict)
    log: list[Request] = field(default_factory=list)
    blobs: dict[str, bytes] = field(default_factory=dict)
    drops: list[int] = field(default_factory=list)  # the CDN's next answers end after so many bytes
    cdn_is_down: bool = False  # once the drops are used up
    cdn_knows_ranges: bool = True

    def __post_init__(self) -> None:
        self._servers = [_server(self, "hub"), _server(self, "cdn")]
        hub, cdn = (server.server_port for server in self._servers)
        self.url, self.cdn = f"http://127.0.0.1:{hub}", f"http://localhost:{cdn}"  # two hosts

    def close(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def add(
        self, repo_id: str, files: Files, branch: str = "main", token: str | None = None
    ) -> str:
        """Commit `files` to a branch; returns the commit."""
        seen = self.repositories.setdefault(repo_id, Repository({}, {}, token))
        commit = hashlib.sha1(repr((repo_id, sorted(files.items()))).encode()).hexdigest()
        seen.commits[commit], seen.branches[branch] = files, commit
        self.blobs |= {hashlib.sha256(data).hexdigest(): data for data in files.values()}
        return commit

    def asked(self, name: str, method: str = "GET", server: str = "hub") -> list[Request]:
        """The requests whose path ends in a file's name or, of the CDN, its hash."""
        return [
            request
            for request in self.log
            if (request.server, request.method) == (server, method) and request.path.endswith(name)
        ]


def _server(hub: FakeHub, name: str) -> ThreadingHTTPServer:
    class Handler(_Handler):
        server_name, fake = name, hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    return server


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_name: str
    fake: FakeHub

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path).lstrip("/")
        asked = (self.headers["Range"], self.headers["Authorization"])
        self.fake.log.append(Request(self.server_name, self.command, path, *asked))
        if self.server_name == "cdn":
            return self._blob(path)
        api = path.startswith("api/models/")
        owner, name, *rest = path.removeprefix("api/models/").split("/")
        repo = self.fake.repositories.get(f"{owner}/{name}")
        if repo is None:  # so the hub answers to those who are not logged in
            return self._error(401, None, "Invalid username or password.")
        if not api and repo.token and self.headers["Authorization"] != f"Bearer {repo.token}":
            status = 403 if self.headers["Authorization"] else 401
            return self._error(status, "GatedRepo", f"Access to model {name} is restricted.")
        kind, revision, *rest = rest or ("revision", "main")
        commit = repo.branches.get(revision, revision)
        files = repo.commits.get(commit)
        if files is None:
            return self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        match kind:
            case "revision":
                self._json({"id": f"{owner}/{name}", "sha": commit, "siblings": []})
            case "tree":
                self._json([_entry(path, data) for path, data in files.items()])
            case "resolve":
                self._resolve(commit, "/".join(rest), files)

    do_HEAD = do_GET

    def _resolve(self, commit: str, path: str, files: Files) -> None:
        commit_header = {"X-Repo-Commit": commit}
        if path not in files:
            return self._error(404, "EntryNotFound", "Entry not found", commit_header)
        data = files[path]
        if not path.endswith(LARGE):
            etag = {"ETag": f'"{hashlib.sha1(data).hexdigest()}"'}
            return self._send(200, data, commit_header | etag)
        sha = hashlib.sha256(data).hexdigest()
        linked = {"X-Linked-Size": str(len(data)), "X-Linked-ETag": f'"{sha}"'}
        self._send(302, b"", commit_header | linked | {"Location": f"{self.fake.cdn}/{sha}"})

    def _blob(self, sha: str) -> None:
        data = whole = self.fake.blobs[sha]
        status, headers = 200, {"ETag": f'"{sha}"'}
        asked = self.headers["Range"]
        if asked and self.fake.cdn_knows_ranges:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            status, data = 206, data[start:]
            headers["Content-Range"] = f"bytes {start}-{len(whole) - 1}/{len(whole)}"
        if self.command == "GET" and self.fake.drops:
            self._send(status, data, headers, only=self.fake.drops.pop(0))
            self.close_connection = True
        elif self.command == "GET" and self.fake.cdn_is_down:
            self._error(503, None, "down")
        else:
            self._send(status, data, headers)

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _error(
        self, status: int, code: str | None, message: str, headers: dict[str, str] | None = None
    ) -> None:
        named = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        self._send(status, b"", named | (headers or {}))

    def _send(
        self, status: int, data: bytes, headers: dict[str, str], only: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(data))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data[:only])

    def log_message(self, format: str, *args: object) -> None:
        pass


def _entry(path: str, data: bytes) -> dict[str, object]:
    entry = {
        "type": "file",
        "path": path,
        "size": len(data),
        "oid": hashlib.sha1(data).hexdigest(),
    }
    if path.endswith(LARGE):
        sha = hashlib.sha256(data).hexdigest()
        entry["lfs"] = {"oid": sha, "size": len(data), "pointerSize": 134}
    return entry

"""A hub of one's own on a loopback address: as much of the Hugging Face Hub's protocol as huggingface-hub
uses to tell what is in a repository and to fetch it (its hf_api.py and file_download.py, 2.4)."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha1, sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

LARGE = (".axmodel", ".bin", "tokenizer.json")
"""How the names of files end that are in LFS; these are fetched from another host than the hub."""


@dataclass
class Repository:
    """What is in it, and what goes wrong with it, by path."""

    files: dict[str, bytes]
    token: str | None = None  # who has not this one is told that there is no such repository
    gated: bool = False  # listed for everybody, fetched by nobody
    listed_sizes: dict[str, int] = field(default_factory=dict)  # where they are to differ
    listed_sums: dict[str, str] = field(default_factory=dict)  # and of these, what git would call them
    sent: dict[str, bytes] = field(default_factory=dict)  # where it is to differ from what is listed
    cuts: dict[str, int] = field(default_factory=dict)  # send so many bytes, break off, then answer 503

    @property
    def commit(self) -> str:
        contents = [(path, hash(content)) for path, content in sorted(self.files.items())]
        return sha1(repr(contents).encode()).hexdigest()


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    range: str | None
    authorization: str | None
    host: str


@dataclass
class HubServer:
    url: str
    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)

    def fetched(self) -> dict[str, list[str | None]]:
        """The ranges asked for of each file that was asked for, whole ones as None; small files and large."""
        ranges: dict[str, list[str | None]] = defaultdict(list)
        for request in self.requests:
            if match := re.fullmatch(r"/[^/]+/[^/]+/resolve/[^/]+/(.+)", request.path):
                ranges[match[1]].append(request.range)
        return dict(ranges)


@contextmanager
def hub_server(repositories: Mapping[str, Repository]) -> Iterator[HubServer]:
    class Handler(_Handler):
        server_of_hub: HubServer

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub = Handler.server_of_hub = HubServer(f"http://127.0.0.1:{server.server_port}", dict(repositories))
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server_of_hub: HubServer

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        headers = self.headers
        self.server_of_hub.requests.append(
            Request(self.command, path, headers["Range"], headers["Authorization"], headers["Host"])
        )
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", path):
            self._tell(match[1], match[2] or "main")
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", path):
            self._tell_tree(match[1], match[2])
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._resolve(match[1], match[2], match[3])
        elif match := re.fullmatch(r"/storage/([^/]+/[^/]+)/(.+)", path):
            self._send(self.server_of_hub.repositories[match[1]], match[2], {})
        else:
            self._refuse(404, "EntryNotFound")

    def _repository(self, name: str, revision: str) -> Repository | None:
        repository = self.server_of_hub.repositories.get(name)
        authorization = self.headers["Authorization"]
        if repository is None or (repository.token and authorization != f"Bearer {repository.token}"):
            self._refuse(401 if authorization is None else 404, "RepoNotFound")
            return None
        if revision not in ("main", repository.commit):
            self._refuse(404, "RevisionNotFound")
            return None
        return repository

    def _tell(self, name: str, revision: str) -> None:
        if repository := self._repository(name, revision):
            siblings = [_sibling(repository, path) for path in sorted(repository.files)]
            told = {"id": name, "modelId": name, "sha": repository.commit, "siblings": siblings, "tags": []}
            self._answer(200, json.dumps(told).encode(), {"Content-Type": "application/json"})

    def _tell_tree(self, name: str, revision: str) -> None:
        if repository := self._repository(name, revision):
            told = [
                {"type": "file", "path": path, "size": len(content), "oid": _blob_id(content)}
                for path, content in sorted(repository.files.items())
            ]
            self._answer(200, json.dumps(told).encode(), {"Content-Type": "application/json"})

    def _resolve(self, name: str, revision: str, path: str) -> None:
        repository = self._repository(name, revision)
        if repository is None:
            return
        if repository.gated:
            self._refuse(403, "GatedRepo")
            return
        if path not in repository.files:
            self._refuse(404, "EntryNotFound")
            return
        content = repository.files[path]
        headers = {"X-Repo-Commit": repository.commit}
        if not path.endswith(LARGE):
            self._send(repository, path, headers | {"ETag": f'"{_blob_id(content)}"'})
            return
        headers |= {
            "X-Linked-ETag": f'"{sha256(content).hexdigest()}"',
            "X-Linked-Size": str(len(content)),
            "Location": f"{self.server_of_hub.url.replace('127.0.0.1', 'localhost')}/storage/{name}/{path}",
        }
        self._answer(302, b"", headers)

    def _send(self, repository: Repository, path: str, headers: Mapping[str, str]) -> None:
        content = repository.sent.get(path, repository.files[path])
        start = int(match[1]) if (match := re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")) else 0
        cut = repository.cuts.get(path)
        if cut == 0:
            del repository.cuts[path]
            self._refuse(503, "")
        elif cut is not None:
            repository.cuts[path] = 0
            self.close_connection = True
            self._answer(200, content[:cut], {**headers, "Content-Length": str(len(content))})
        elif start:
            told = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
            self._answer(206, content[start:], {**headers, **told})
        else:
            self._answer(200, content, headers)

    def _refuse(self, status: int, code: str) -> None:
        self._answer(status, b"", {"X-Error-Code": code} if code else {})

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _sibling(repository: Repository, path: str) -> dict[str, Any]:
    content = repository.files[path]
    size = repository.listed_sizes.get(path, len(content))
    told: dict[str, Any] = {"rfilename": path, "size": size, "blobId": _blob_id(content)}
    told["blobId"] = repository.listed_sums.get(path, told["blobId"])
    if path.endswith(LARGE):
        told["lfs"] = {"sha256": sha256(content).hexdigest(), "size": size, "pointerSize": 130}
    return told


def _blob_id(content: bytes) -> str:
    """As git names it (`git hash-object`)."""
    return sha1(b"blob %d\0" % len(content) + content).hexdigest()

"""Hugging Face on the loopback: its API and its file host, answering as `api_samples/hf_*.json` were recorded.

>>> with HuggingFace([Repository("owner/name", [RepoFile("vae/ae.safetensors", 335_304_388, sha256="af…")])]) as hub:
...     settings = Settings(hf_endpoint=hub.base)

Repositories are given as data; a file needs its bytes only where somebody downloads it. Names are found in any case,
and answered with a redirect to the right one, as are the `old_names` of a repository. `search` finds repositories whose
id contains the text (any case), which is what its documentation promises, and nothing that its files are called.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qs, quote, urlencode

from tests import canaries

from .connection import Connection
from .data import Blob
from .honest import Item, honest
from .loopback import Loopback
from .messages import Reply, Request, text_reply

Headers = dict[str, str]
Token = Literal["none", "bad", "approved", "unapproved"]
TREE_PAGE = 1000
SEARCH_PAGE = 1000
CDN = "/xet-bridge-us/"
SMALL = "/api/resolve-cache/models/"


@dataclass(frozen=True)
class RepoFile:
    """`sha256` None is a small file outside LFS: nobody tells a digest of it. `size` is in bytes."""

    path: str
    size: int = 0
    sha256: str | None = None
    data: bytes | None = None

    @classmethod
    def lfs(cls, path: str, size: int = 6_230_011, seed: str = "") -> RepoFile:
        """A large file whose digest is made from its path, or from `seed` to make equal ones."""
        return cls(path, size, hashlib.sha256((seed or path).encode()).hexdigest())

    @classmethod
    def of(cls, path: str, data: bytes) -> RepoFile:
        return cls(path, len(data), hashlib.sha256(data).hexdigest(), data)

    @property
    def git_oid(self) -> str:
        return hashlib.sha1(f"{self.path} {self.sha256} {self.size}".encode()).hexdigest()

    @property
    def xet_hash(self) -> str:
        return hashlib.sha256(f"xet {self.sha256}".encode()).hexdigest()


@dataclass(frozen=True)
class Repository:
    """`commit` is what `main` is; `revisions` are further names for it. `gated` as the API says it."""

    id: str
    files: Iterable[RepoFile] = ()
    gated: Literal[False, "auto", "manual"] = False
    private: bool = False
    disabled: bool = False
    old_names: tuple[str, ...] = ()
    downloads: int = 0
    tags: tuple[str, ...] = ()
    revisions: tuple[str, ...] = ()
    commit: str = ""

    @property
    def sha(self) -> str:
        return self.commit or hashlib.sha1(self.id.encode()).hexdigest()

    def file(self, path: str) -> RepoFile | None:
        return next((file for file in self.files if file.path == path), None)


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]

    def __str__(self) -> str:
        return f"{self.method} {self.path}?{urlencode(self.query)}" if self.query else f"{self.method} {self.path}"


@dataclass
class Trouble:
    """How it fails: by a status, or `held` in silence. `times` None is for ever.

    `only` chooses requests by a part of `str(asked)`, for example "author=Kijai" or "/resolve/".
    """

    status: int = 500
    headers: Headers = field(default_factory=dict)
    times: int | None = None
    only: str = ""
    held: bool = False


class HuggingFace(Loopback):
    """`trouble`, `window` and `tokens` may be changed while it runs.

    `cdn` is where files are redirected to: a path of this host unless another base URL is given. `window` holds the
    questions that are left in each bucket ("api", "resolvers") and the seconds until it is full again.
    """

    def __init__(self, repositories: Iterable[Repository] = (), port: int = 0, *, cdn: str | None = None) -> None:
        self.trouble: Trouble | None = None
        self.window: dict[str, tuple[int, int]] = {"api": (499, 295), "resolvers": (2996, 281)}
        self.tokens: dict[str, Token] = {}
        """What a bearer token is worth; an unknown one is bad."""
        self._cdn = cdn
        self._repositories: dict[str, Repository] = {}
        self._aliases: dict[str, str] = {}
        self._asked: list[Asked] = []
        for repository in repositories:
            self.add(repository)
        super().__init__(port)

    def add(self, repository: Repository) -> None:
        self._repositories[repository.id] = repository
        for name in (repository.id, *repository.old_names):
            self._aliases[name.lower()] = repository.id

    def remove(self, id: str) -> None:
        del self._repositories[id]
        self._aliases = {name: target for name, target in self._aliases.items() if target != id}

    @property
    def requests(self) -> list[Asked]:
        with self._changed:
            return list(self._asked)

    def _converse(self, connection: Connection) -> None:
        for request in connection.requests():
            query = {key: values[0] for key, values in parse_qs(request.query, keep_blank_values=True).items()}
            asked = Asked(request.method, request.path, query, request.headers)
            with self._changed:
                self._asked.append(asked)
                self._changed.notify_all()
                trouble = self._troubled(asked)
            if trouble is not None and trouble.held:
                connection.stall()
                return
            reply = self._answer(request, asked) if trouble is None else _plain(trouble.status, "", trouble.headers)
            if request.method == "HEAD":
                reply = reply.bodiless()
            if not connection.deliver(reply) or request.last_of_connection():
                return

    def _troubled(self, asked: Asked) -> Trouble | None:
        trouble = self.trouble
        if trouble is None or trouble.only not in str(asked) or trouble.times == 0:
            return None
        if trouble.times is not None:
            trouble.times -= 1
        return trouble

    def _answer(self, request: Request, asked: Asked) -> Reply:
        if asked.path.startswith(CDN):
            return self._storage(request, asked.path.removeprefix(CDN))
        if asked.path.startswith(SMALL):
            return self._storage(request, asked.path.removeprefix(SMALL))
        bucket = "api" if asked.path.startswith("/api/") else "resolvers"
        left, seconds = self.window[bucket]
        told = {"RateLimit": f'"{bucket}";r={max(0, left - 1)};t={seconds}'}
        told["RateLimit-Policy"] = f'"fixed window";"{bucket}";q={500 if bucket == "api" else 3000};w=300'
        if left <= 0:
            return _plain(429, "", told)
        self.window[bucket] = (left - 1, seconds)
        reply = self._api(asked) if bucket == "api" else self._file_host(asked)
        return reply.adding(*told.items())

    def _token(self, asked: Asked) -> Token:
        sent = asked.headers.get("authorization", "").removeprefix("Bearer ")
        return self.tokens.get(sent, "bad") if sent else "none"

    # the API

    def _api(self, asked: Asked) -> Reply:
        rest = asked.path.removeprefix("/api/models").strip("/")
        if not asked.path.startswith("/api/models"):
            return _json(404, {"error": "Sorry, we can't find the page you are looking for."})
        if not rest:
            return self._listing(asked)
        owner, name, *more = (*rest.split("/"), "")
        found = self._found(f"{owner}/{name}", asked, lambda right: f"/api/models/{right}/{'/'.join(more)}".rstrip("/"))
        if isinstance(found, Reply):
            return found
        more = [part for part in more if part]
        if more[:1] == ["tree"] and len(more) > 1:
            return self._tree(found, more[1], "/".join(more[2:]), asked)
        if not more or (more[0] == "revision" and self._knows(found, more[1])):
            return _json(200, _info(found, siblings=True, blobs=asked.query.get("blobs", "").lower() == "true"))
        return _error(404, "RevisionNotFound", "Invalid rev id: " + more[-1])

    def _listing(self, asked: Asked) -> Reply:
        query = asked.query
        text, author = query.get("search", "").lower(), query.get("author", "").lower()
        found = [
            repository
            for repository in self._repositories.values()
            if not repository.private
            and text in repository.id.lower()
            and (not author or repository.id.lower().startswith(author + "/"))
        ]
        found.sort(key=lambda repository: (-repository.downloads, repository.id))
        start, limit = int(query.get("cursor", "0")), min(int(query.get("limit", "1000")), SEARCH_PAGE)
        page = found[start : start + limit]
        full = query.get("full", "").lower() in ("true", "1")
        reply = _json(200, [_info(repository, siblings=full) for repository in page])
        return reply.adding(*self._link(asked, start + limit, len(found)))

    def _tree(self, repository: Repository, revision: str, under: str, asked: Asked) -> Reply:
        if not self._knows(repository, revision):
            return _error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        prefix = f"{under}/" if under else ""
        entries = list(
            _entries(repository, prefix, recursive=asked.query.get("recursive", "").lower() in ("true", "1"))
        )
        if under and not entries:
            return _error(404, "EntryNotFound", f'{under} does not exist on "{revision}"')
        start = int(asked.query.get("cursor", "0"))
        reply = _json(200, entries[start : start + TREE_PAGE])
        return reply.adding(*self._link(asked, start + TREE_PAGE, len(entries)))

    def _link(self, asked: Asked, following: int, count: int) -> tuple[tuple[str, str], ...]:
        if following >= count:
            return ()
        query = urlencode({**asked.query, "cursor": str(following)})
        return (("Link", f'<{self.base}{quote(asked.path)}?{query}>; rel="next"'),)

    # the file host

    def _file_host(self, asked: Asked) -> Reply:
        parts = asked.path.strip("/").split("/")
        if len(parts) < 5 or parts[2] != "resolve":
            return _plain(404, "Not Found", {})
        revision, path = parts[3], "/".join(parts[4:])
        found = self._found("/".join(parts[:2]), asked, lambda right: f"/{right}/resolve/{revision}/{path}")
        if isinstance(found, Reply):
            return found
        denied = self._denied(found, self._token(asked))
        if denied is not None:
            return denied
        if not self._knows(found, revision):
            return _error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        commit = {"X-Repo-Commit": found.sha}
        file = found.file(path)
        if file is None:
            return _error(404, "EntryNotFound", "Entry not found", commit)
        if file.sha256 is None:
            where = f"{SMALL}{found.id}/{found.sha}/{quote(path)}"
            return _redirect(307, where, {**commit, "X-Linked-ETag": f'"{file.git_oid}"'})
        return self._to_storage(found, file, commit)

    def _to_storage(self, repository: Repository, file: RepoFile, commit: Headers) -> Reply:
        name = file.path.rpartition("/")[2]
        said = f"inline; filename*=UTF-8''{name}; filename=\"{name}\";"
        signed = urlencode(
            {"response-content-disposition": said, "Expires": "1", "Signature": canaries.SIGNATURE, "Key-Pair-Id": "K"}
        )
        canaries.BOOK.bind(canaries.SIGNATURE, self._cdn or self.base)
        where = f"{self._cdn or ''}{CDN}{quote(repository.id)}/{file.xet_hash}/{quote(file.path)}?{signed}"
        told = {
            **commit,
            "X-Linked-Size": str(file.size),
            "X-Linked-ETag": f'"{file.sha256}"',
            "X-Xet-Hash": file.xet_hash,
            "Accept-Ranges": "bytes",
            "ETag": f'"{file.sha256}"',
        }
        return _redirect(302, where, told)

    def _storage(self, request: Request, rest: str) -> Reply:
        """Files under their own hash, as the Xet bridge and the cache of small files have them."""
        owner, name, _, path = rest.split("/", 3)
        repository = self._repositories.get(f"{owner}/{name}")
        file = None if repository is None else repository.file(path)
        if file is None:
            return _plain(403, "", {})
        etag = f'"{file.xet_hash}"'
        if file.data is not None:
            return honest(request, Item(Blob(file.data), etag, None, "application/octet-stream", ()))
        told = {"ETag": etag, "Content-Length": str(file.size), "Accept-Ranges": "bytes"}
        return Reply(200 if request.method == "HEAD" else 404, tuple(told.items()))

    # who may see what

    def _found(self, id: str, asked: Asked, right_path: Callable[[str], str]) -> Repository | Reply:
        known = self._aliases.get(id.lower())
        repository = None if known is None else self._repositories[known]
        token = self._token(asked)
        if repository is None or (repository.private and token != "approved"):
            if token in ("none", "bad"):
                said = "Invalid username or password."
                return _json(401, {"error": said}).adding(("X-Error-Message", said))
            return _error(404, "RepoNotFound", "Repository not found")
        if repository.id != id:
            query = f"?{urlencode(asked.query)}" if asked.query else ""
            return _redirect(307, quote(right_path(repository.id)) + query, {})
        return repository

    def _denied(self, repository: Repository, token: Token) -> Reply | None:
        if repository.disabled:
            return _error(403, None, "Access to this resource is disabled.")
        if not repository.gated or token == "approved":
            return None
        restricted = f"Access to model {repository.id} is restricted"
        if token == "unapproved":
            page = f"https://huggingface.co/{repository.id}"
            why = f"{restricted} and you are not in the authorized list. Visit {page} to ask for access."
            return _error(403, "GatedRepo", why)
        why = f"{restricted}. You must have access to it and be authenticated to access it. Please log in."
        asks = {"WWW-Authenticate": 'Bearer realm="Authentication required", charset="UTF-8"'}
        return _error(401, "GatedRepo", why, asks)

    @staticmethod
    def _knows(repository: Repository, revision: str) -> bool:
        return revision in ("main", repository.sha, *repository.revisions)


def _entries(repository: Repository, prefix: str, *, recursive: bool) -> Iterator[dict[str, Any]]:
    folders: set[str] = set()
    for file in sorted(repository.files, key=lambda each: each.path):
        if not file.path.startswith(prefix):
            continue
        parts = file.path.removeprefix(prefix).split("/")
        for depth in range(1, len(parts) if recursive else min(2, len(parts))):
            folder = prefix + "/".join(parts[:depth])
            if folder not in folders:
                folders.add(folder)
                yield {"type": "directory", "oid": hashlib.sha1(folder.encode()).hexdigest(), "size": 0, "path": folder}
        if recursive or len(parts) == 1:
            yield _entry(file)


def _entry(file: RepoFile) -> dict[str, Any]:
    plain = {"type": "file", "oid": file.git_oid, "size": file.size, "path": file.path}
    if file.sha256 is None:
        return plain
    return plain | {"lfs": {"oid": file.sha256, "size": file.size, "pointerSize": 132}, "xetHash": file.xet_hash}


def _info(repository: Repository, *, siblings: bool, blobs: bool = False) -> dict[str, Any]:
    body: dict[str, Any] = {
        "_id": repository.sha[:24],
        "id": repository.id,
        "modelId": repository.id,
        "author": repository.id.partition("/")[0],
        "sha": repository.sha,
        "lastModified": "2025-01-01T00:00:00.000Z",
        "private": repository.private,
        "gated": repository.gated,
        "disabled": repository.disabled,
        "likes": 0,
        "downloads": repository.downloads,
        "tags": list(repository.tags),
        "createdAt": "2024-02-04T02:06:31.000Z",
    }
    if siblings:
        body["siblings"] = [_sibling(file, blobs=blobs) for file in repository.files]
    return body


def _sibling(file: RepoFile, *, blobs: bool) -> dict[str, Any]:
    if not blobs:
        return {"rfilename": file.path}
    told: dict[str, Any] = {"rfilename": file.path, "blobId": file.git_oid, "size": file.size}
    if file.sha256 is not None:
        told["lfs"] = {"sha256": file.sha256, "size": file.size, "pointerSize": 129}
    return told


def _json(status: int, body: Any) -> Reply:
    return text_reply(status, json.dumps(body), kind="application/json; charset=utf-8")


def _plain(status: int, text: str, headers: Headers) -> Reply:
    return text_reply(status, text, *headers.items(), kind="text/plain; charset=utf-8")


def _error(status: int, code: str | None, message: str, headers: Headers | None = None) -> Reply:
    told = {"X-Error-Code": code} if code else {}
    return _plain(status, message, {**told, "X-Error-Message": message, **(headers or {})})


def _redirect(status: int, location: str, headers: Headers) -> Reply:
    return _plain(status, "", {"Location": location, **headers})

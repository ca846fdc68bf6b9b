"""Civitai on the loopback: its API and its download addresses, over models that the test writes down as data.

Shapes, status codes and texts are those of the recorded and documented answers (../shared/api_samples/civitai_*).
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs, urlencode
from zlib import crc32

from tests import canaries

from .connection import Connection
from .loopback import Loopback
from .messages import Reply, Request, text_reply

Json = dict[str, Any]

HOME = "https://civitai.com"
MODEL_NOT_FOUND = {"error": "Model not found"}
NO_SUCH_ROUTE = {"error": "Not Found"}
PAGE_WITH_QUERY = {"error": "Cannot use page param with query search. Use cursor-based pagination."}
OVERLOADED = {"error": "Model search is temporarily overloaded — please retry."}
LOGIN = "The creator of this asset requires you to be logged in to download it"
DISABLED = "The creator of this asset has disabled downloads on this file"
EARLY = "This asset is in Early Access. You can use Buzz access it now!"
ARCHIVED = {"error": "Model archived, not available for download"}
MAX_DIGESTS = {"/api/v1/model-versions/by-hash": 100, "/api/v1/model-versions/by-hash/ids": 10_000}


@dataclass(frozen=True)
class Said:
    """An answer that replaces the true one, so many times (None: always), and what is said instead after that."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    times: int | None = None
    then: "Said | None" = None


SEARCH_OVERLOADED = Said(503, OVERLOADED, {"Retry-After": "2", "Cache-Control": "no-store"})
WANTS_LOGIN = Said(401, {"error": "Unauthorized", "message": LOGIN})
DOWNLOADS_DISABLED = Said(401, {"error": "Unauthorized", "message": DISABLED})
EARLY_ACCESS = Said(403, {"error": "Early Access", "deadline": "2026-09-01T00:00:00.000Z", "message": EARLY})
NO_ACCESS = Said(403, {"error": "You do not have access to download this file"})
FILE_NOT_FOUND = Said(404, {"error": "File not found"})
ARCHIVED_DOWNLOAD = Said(410, ARCHIVED)
TOO_MANY_DOWNLOADS = Said(
    429,
    {
        "error": "We've noticed an unusual amount of downloading from your account."
        " Contact support@civitai.com or come back later."
    },
)
BAD_PARAMETER = Said(400, {"error": "✖ Invalid option: …"})


def file(
    name: str, sha256: str | None = None, size: float = 1024, *, primary: bool = True, kind: str = "Model", **more: Any
) -> Json:
    """One entry of `files`; `size` in bytes. `more` replaces or adds keys."""
    body = {
        "id": crc32(name.encode()) % 10**6,
        "sizeKB": size / 1024,
        "name": name,
        "type": kind,
        "metadata": {"fp": None, "size": None, "format": "SafeTensor"},
        "pickleScanResult": "Success",
        "pickleScanMessage": "No Pickle imports",
        "virusScanResult": "Success",
        "virusScanMessage": None,
        "hashes": {"AutoV2": sha256[:10].upper(), "SHA256": sha256.upper()} if sha256 else {},
    }
    return body | ({"primary": True} if primary else {}) | more


def version(number: int, *files: Json, name: str = "v1", **more: Any) -> Json:
    body = {
        "id": number,
        "name": name,
        "baseModel": "SDXL 1.0",
        "status": "Published",
        "availability": "Public",
        "publishedAt": "2024-01-01T00:00:00.000Z",
        "earlyAccessTimeFrame": 0,
        "stats": {"downloadCount": None},
        "files": [_addressed(entry, number) for entry in files],
        "images": [],
        "downloadUrl": f"{HOME}/api/download/models/{number}",
    }
    return body | more


def model(number: int, name: str, kind: str, *versions: Json, **more: Any) -> Json:
    """A model as `/models/{id}` answers it; `kind` is its type: Checkpoint, LORA …"""
    body: Json = {"id": number, "name": name, "type": kind, "nsfw": False, "stats": {"downloadCount": 1}}
    return body | {"modelVersions": list(versions)} | more


def _addressed(entry: Json, number: int) -> Json:
    if "downloadUrl" in entry:
        return entry
    told = {"type": entry["type"]} | {key: entry["metadata"].get(key) for key in ("format", "size", "fp")}
    query = "" if entry.get("primary") else "?" + urlencode({key: word for key, word in told.items() if word})
    return entry | {"downloadUrl": f"{HOME}/api/download/models/{number}{query}"}


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    query: Mapping[str, list[str]]
    body: Any
    headers: Mapping[str, str]


class Civitai(Loopback):
    """`base` is what CIVITAI_ENDPOINT should be. `script` maps a path to what is said there instead."""

    def __init__(self, models: Iterable[Json] = (), port: int = 0) -> None:
        self.models = list(models)
        self.script: dict[str, Said] = {}
        self._asked: list[Asked] = []
        super().__init__(port)

    @property
    def requests(self) -> list[Asked]:
        with self._changed:
            return list(self._asked)

    def _converse(self, connection: Connection) -> None:
        for request in connection.requests():
            asked = Asked(
                request.method, request.path, parse_qs(request.query), _decoded(request), dict(request.headers)
            )
            with self._changed:
                self._asked.append(asked)
                said = self._scripted(asked.path)
                self._changed.notify_all()
            if not connection.deliver(_reply(self._answer(asked) if said is None else said)):
                return

    def _scripted(self, path: str) -> Said | None:
        said = self.script.get(path)
        if said is None or said.times is None:
            return said
        following = said.then if said.times <= 1 else replace(said, times=said.times - 1)
        if following is None:
            del self.script[path]
        else:
            self.script[path] = following
        return said

    def _answer(self, asked: Asked) -> Said:
        if asked.path.startswith("/api/download/models/"):
            return self._download(asked)
        match asked.path.removeprefix("/api/v1/").split("/"):
            case ["models"]:
                return self._search(asked.query)
            case ["models", number]:
                return _found(each for each in self.models if str(each["id"]) == number)
            case ["model-versions", "by-hash", *_] if asked.method == "POST":
                return self._by_digests(asked)
            case ["model-versions", "by-hash", digest]:
                return _found(each for each in self._versions() if digest.upper() in _digests(each))
            case ["model-versions", number]:
                return _found(each for each in self._versions() if str(each["id"]) == number)
            case _:
                return Said(404, NO_SUCH_ROUTE)

    def _versions(self) -> list[Json]:
        """As they come alone, the oldest first: with their model beside them."""
        found = []
        for each in self.models:
            beside = {key: each.get(key) for key in ("name", "type", "nsfw")}
            found += [entry | {"modelId": each["id"], "model": beside} for entry in each["modelVersions"]]
        return sorted(found, key=lambda entry: int(entry["id"]))

    def _by_digests(self, asked: Asked) -> Said:
        if not isinstance(asked.body, list) or len(asked.body) > MAX_DIGESTS[asked.path]:
            return Said(400, {"error": "Too many hashes"})
        wanted = {digest.upper() for digest in asked.body}
        holding = [each for each in self._versions() if wanted & _digests(each)]
        if not asked.path.endswith("/ids"):
            return Said(200, holding[::-1])
        pairs = [(each, digest) for each in holding for digest in sorted(wanted & _digests(each))]
        told = [{"modelVersionId": each["id"], "modelId": each["modelId"], "hash": digest} for each, digest in pairs]
        return Said(200, told[::-1])

    def _search(self, query: Mapping[str, Sequence[str]]) -> Said:
        if "page" in query:
            return Said(400, PAGE_WITH_QUERY)
        limit, start = int(query.get("limit", ["100"])[0]), int(query.get("cursor", ["0"])[0])
        if not 1 <= limit <= 100:
            return Said(400, {"error": "Number must be less than or equal to 100"})
        words = query.get("query", [""])[0].lower().split()
        visible = [each for each in self.models if not each["nsfw"] or query.get("nsfw") == ["true"]]
        typed = [each for each in visible if each["type"] in query.get("types", [each["type"]])]
        scored = sorted(((_score(each["name"], words), each["id"], each) for each in typed), reverse=True)
        found = [each for score, _, each in scored if score]
        following = {"nextCursor": str(start + limit)} if len(found) > start + limit else {}
        return Said(200, {"items": found[start : start + limit], "metadata": {"pageSize": limit, **following}})

    def _download(self, asked: Asked) -> Said:
        number = asked.path.rpartition("/")[2]
        if number not in {str(each["id"]) for each in self._versions()}:
            return FILE_NOT_FOUND
        agent = asked.headers.get("user-agent", "").lower()
        if any(word in agent for word in ("mozilla", "chrome", "safari", "firefox", "opera", "edge")):
            return Said(307, headers={"Location": f"/login?returnUrl=%2Fmodel-versions%2F{number}"})
        return Said(307, headers={"Location": canaries.signed(f"{self.base}/storage/{number}")})


def _digests(entry: Json) -> set[str]:
    return {held["hashes"]["SHA256"] for held in entry["files"] if held["hashes"].get("SHA256")}


def _score(name: str, words: Sequence[str]) -> int:
    """Words of the query in the name, split or joined, from the first on: the last ones may be missing."""
    plain = "".join(filter(str.isalnum, name.lower()))
    count = 0
    for word in words:
        if "".join(filter(str.isalnum, word)) not in plain:
            break
        count += 1
    return count


def _found(entries: Iterable[Json]) -> Said:
    entry = next(iter(entries), None)
    return Said(404, MODEL_NOT_FOUND) if entry is None else Said(200, entry)


def _decoded(request: Request) -> Any:
    try:
        return json.loads(request.body) if request.body else None
    except ValueError:
        return None


def _reply(said: Said) -> Reply:
    text = "" if said.body is None else json.dumps(said.body)
    return text_reply(said.status, text, *said.headers.items(), kind="application/json; charset=utf-8")

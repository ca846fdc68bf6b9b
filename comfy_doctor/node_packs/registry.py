"""The Comfy registry (api.comfy.org): which pack brings a class, where a pack lives, and what became of a version.

Every question has three answers: found, not found, could not look. It is only ever looked at: `/install` counts as an
install and is never asked for. Paths and fields are those of the registry's API reference (FACTS 5).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import quote, urlencode

from download_worker.errors import Code, Trouble
from download_worker.leash import Leash
from download_worker.text import safe_text

MAX_BULK_VERSIONS = 1_000
MAX_BULK_CHARS = 200
MAX_LISTED_PACKS = 100
MAX_VERSIONS = 5_000
MAX_CLASS_PAGES = 50
CLASSES_PER_PAGE = 100
MAX_SEARCH_HITS = 10
_REPOSITORY = re.compile(r"https://[\w.-]{1,100}/[\w./~-]{1,200}", re.ASCII)

Found = TypeVar("Found")
One = TypeVar("One")
Other = TypeVar("Other")


class Asker(Protocol):
    """What asks politely: `comfy_doctor.asking` does, with a cache, and obeying what a host wants to be left alone."""

    def json(
        self, url: str, *, body: Any = None, max_age_seconds: float = 86400.0, leash: Leash | None = None
    ) -> Any: ...

    def side_by_side(self, function: Callable[[One], Other], things: Sequence[One]) -> list[Other]: ...


@dataclass(frozen=True, slots=True)
class Sight(Generic[Found]):
    """What was seen. Neither `found` nor `trouble`: it is not there. With `trouble` nobody could look."""

    found: Found | None = None
    trouble: str | None = None


class VersionState(StrEnum):
    ACTIVE = "active"
    PENDING = "pending"
    FLAGGED = "flagged"
    BANNED = "banned"
    DELETED = "deleted"
    UNKNOWN = "unknown"

    @property
    def refused(self) -> bool:
        return self in (VersionState.BANNED, VersionState.DELETED)


@dataclass(frozen=True, slots=True)
class RegistryPack:
    """`repository` is None where the registry names none that can be cloned; `gone` when it was banned or deleted."""

    id: str
    name: str
    repository: str | None
    latest: str | None = None
    gone: bool = False


@dataclass(frozen=True, slots=True)
class RegistryVersion:
    version: str
    state: VersionState
    deprecated: bool = False


class Registry:
    """Safe to share between threads. After "too many questions" or "no connection" nothing more is asked."""

    def __init__(self, asker: Asker, endpoint: str) -> None:
        self._asker = asker
        self._endpoint = endpoint.rstrip("/")
        self._silent: str | None = None

    def pack_of_class(self, node_type: str, leash: Leash | None = None) -> Sight[RegistryPack]:
        """The pack that the registry thinks best for a class."""
        if not _is_segment(node_type):
            return Sight()
        return self._seen(f"/comfy-nodes/{quote(node_type, safe='')}/node", _pack, leash)

    def search_class(self, node_type: str, leash: Leash | None = None) -> Sight[tuple[RegistryPack, ...]]:
        """Packs with classes whose names are like this: candidates, no proof."""
        query = urlencode({"comfy_node_search": node_type, "limit": MAX_SEARCH_HITS, "page": 1}, quote_via=quote)
        return self._seen(f"/nodes/search?{query}", _pack_list, leash)

    def pack(self, pack_id: str, leash: Leash | None = None) -> Sight[RegistryPack]:
        """One pack; an id in another spelling is redirected by the registry."""
        if not _is_segment(pack_id):
            return Sight()
        return self._seen(f"/nodes/{quote(pack_id, safe='')}", _pack, leash)

    def packs(self, pack_ids: Iterable[str], leash: Leash | None = None) -> Sight[Mapping[str, RegistryPack]]:
        """Several packs by their exact ids, `MAX_LISTED_PACKS` in one question. What is not there is left out."""
        found: dict[str, RegistryPack] = {}
        for some in _slices([pack_id for pack_id in dict.fromkeys(pack_ids) if _is_segment(pack_id)], MAX_LISTED_PACKS):
            query = urlencode([*(("node_id", pack_id) for pack_id in some), ("page", 1), ("limit", len(some))])
            seen = self._seen(f"/nodes?{query}", _pack_list, leash)
            if seen.trouble is not None:
                return Sight(trouble=seen.trouble)
            found |= {pack.id: pack for pack in seen.found or () if pack.id in some}
        return Sight(found)

    def versions(self, pack_id: str, leash: Leash | None = None) -> Sight[tuple[RegistryVersion, ...]]:
        """All versions in any state, in the registry's order, which means nothing."""
        if not _is_segment(pack_id):
            return Sight()
        query = urlencode([("statuses", status) for status in _STATES] + [("include_status_reason", "false")])
        return self._seen(f"/nodes/{quote(pack_id, safe='')}/versions?{query}", _versions, leash)

    def version(self, pack_id: str, version: str, leash: Leash | None = None) -> Sight[RegistryVersion]:
        """This very version: another one in its place is not it."""
        if not (_is_segment(pack_id) and _is_segment(version)):
            return Sight()
        path = f"/nodes/{quote(pack_id, safe='')}/versions/{quote(version, safe='')}"
        seen = self._seen(path, _version, leash)
        return seen if seen.found is None or seen.found.version == version else Sight()

    def version_states(
        self, wanted: Iterable[tuple[str, str]], leash: Leash | None = None
    ) -> Mapping[tuple[str, str], Sight[VersionState]]:
        """What became of (id, version) pairs, in bulk. What has no such version is not found."""
        sights: dict[tuple[str, str], Sight[VersionState]] = {}
        pairs = list(dict.fromkeys(wanted))
        asked = [pair for pair in pairs if all(0 < len(word) <= MAX_BULK_CHARS for word in pair)]
        for some in _slices(asked, MAX_BULK_VERSIONS):
            body = {"node_versions": [{"node_id": pack_id, "version": version} for pack_id, version in some]}
            seen = self._seen("/bulk/nodes/versions", _bulk, leash, body)
            answers = seen.found or {}
            unanswered: Sight[VersionState] = Sight(trouble=seen.trouble or "the registry's answer leaves it out")
            sights |= {pair: answers.get(pair, unanswered) for pair in some}
        return {pair: sights.get(pair, Sight()) for pair in pairs}

    def classes(self, pack_id: str, version: str, leash: Leash | None = None) -> Sight[frozenset[str]]:
        """The node types of one version of a pack, as far as the registry could read them out of it."""
        if not (_is_segment(pack_id) and _is_segment(version)):
            return Sight()
        path = f"/nodes/{quote(pack_id, safe='')}/versions/{quote(version, safe='')}/comfy-nodes"
        names: set[str] = set()
        page, pages = 1, 1
        while page <= min(pages, MAX_CLASS_PAGES):
            seen = self._seen(f"{path}?page={page}&limit={CLASSES_PER_PAGE}", _class_page, leash)
            if seen.found is None:
                return Sight(trouble=seen.trouble)
            names |= seen.found[0]
            page, pages = page + 1, seen.found[1]
        return Sight(frozenset(names))

    def side_by_side(self, function: Callable[[One], Other], things: Sequence[One]) -> list[Other]:
        return self._asker.side_by_side(function, things)

    def _seen(
        self, path: str, read: Callable[[Any], Found | None], leash: Leash | None, body: Any = None
    ) -> Sight[Found]:
        if self._silent is not None:
            return Sight(trouble=self._silent)
        try:
            document = self._asker.json(f"{self._endpoint}{path}", body=body, leash=leash)
        except Trouble as error:
            if error.code is Code.NOT_FOUND:
                return Sight()
            if error.code in (Code.BUSY_HOST, Code.NO_CONNECTION, Code.TLS):
                self._silent = error.message
            return Sight(trouble=error.message)
        found = read(document)
        return Sight(trouble="the registry answers in an unknown shape") if found is None else Sight(found)


_STATES = {
    "NodeVersionStatusActive": VersionState.ACTIVE,
    "NodeVersionStatusPending": VersionState.PENDING,
    "NodeVersionStatusFlagged": VersionState.FLAGGED,
    "NodeVersionStatusBanned": VersionState.BANNED,
    "NodeVersionStatusDeleted": VersionState.DELETED,
}
_GONE = frozenset({"NodeStatusBanned", "NodeStatusDeleted"})


def _pack(document: Any) -> RegistryPack | None:
    pack_id = _word(document, "id")
    if pack_id is None:
        return None
    repository = (_word(document, "repository") or "").rstrip("/").removesuffix(".git")
    return RegistryPack(
        pack_id,
        safe_text(_word(document, "name") or pack_id, max_chars=200),
        repository if _REPOSITORY.fullmatch(repository) else None,
        _word(document.get("latest_version"), "version"),
        document.get("status") in _GONE if isinstance(document.get("status"), str) else False,
    )


def _pack_list(document: Any) -> tuple[RegistryPack, ...] | None:
    nodes = document.get("nodes") if isinstance(document, dict) else None
    if not isinstance(nodes, list):
        return None
    return tuple(pack for pack in map(_pack, nodes[:MAX_LISTED_PACKS]) if pack is not None)


def _version(document: Any) -> RegistryVersion | None:
    version = _word(document, "version")
    if version is None:
        return None
    return RegistryVersion(version, _state(document), document.get("deprecated") is True)


def _versions(document: Any) -> tuple[RegistryVersion, ...] | None:
    if not isinstance(document, list):
        return None
    return tuple(version for version in map(_version, document[:MAX_VERSIONS]) if version is not None)


def _bulk(document: Any) -> dict[tuple[str, str], Sight[VersionState]] | None:
    rows = document.get("node_versions") if isinstance(document, dict) else None
    if not isinstance(rows, list):
        return None
    answers = {}
    for row in rows[:MAX_BULK_VERSIONS]:
        identifier = row.get("identifier") if isinstance(row, dict) else None
        pack_id, version = _word(identifier, "node_id"), _word(identifier, "version")
        if pack_id is not None and version is not None:
            answers[pack_id, version] = _bulk_row(row)
    return answers


def _bulk_row(row: Mapping[str, Any]) -> Sight[VersionState]:
    status = row.get("status")
    if status == "success":
        return Sight(_state(row.get("node_version")))
    if status == "not_found":
        return Sight()
    return Sight(trouble=safe_text(row.get("error_message") or "the registry could not say", max_chars=200))


def _class_page(document: Any) -> tuple[set[str], int] | None:
    rows = document.get("comfy_nodes") if isinstance(document, dict) else None
    if not isinstance(rows, list):
        return None
    pages = document.get("totalNumberOfPages")
    names = {name for row in rows[:CLASSES_PER_PAGE] if (name := _word(row, "comfy_node_name")) is not None}
    return names, pages if isinstance(pages, int) else 1


def _state(document: Any) -> VersionState:
    return _STATES.get(_word(document, "status") or "", VersionState.UNKNOWN)


def _word(document: Any, key: str) -> str | None:
    """A text of sane length in an object, None for everything else."""
    value = document.get(key) if isinstance(document, dict) else None
    return value if isinstance(value, str) and 0 < len(value) <= 500 else None


def _is_segment(word: str) -> bool:
    """It can stand as one segment of a path: dots alone would climb, whatever is quoted."""
    return 0 < len(word) <= 300 and word.strip(".") != "" and word.isprintable()


def _slices(things: Sequence[One], size: int) -> Iterator[Sequence[One]]:
    for start in range(0, len(things), size):
        yield things[start : start + size]

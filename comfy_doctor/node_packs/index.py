"""The Manager's two lists of node packs, turned once into an index from node type to repositories. Pure.

`extension-node-map.json` says which repository registers which types, `custom-node-list.json` which packs there are, in
the order in which they were added (FACTS 2). Both come from outside: a wrong shape is skipped, never trusted.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import islice
from typing import Any, NamedTuple

MAX_REPOSITORIES = 100_000
MAX_TYPES_PER_REPOSITORY = 20_000
MAX_NAME_CHARS = 300
MAX_PATTERNS = 1_000
MAX_PATTERN_CHARS = 300
MAX_CHOICES = 8
"""In one pattern: each `(a|a)` doubles what a name that does not fit costs."""
MAX_RUNS = 2
"""Of `.*` in one pattern: each multiplies what a name costs by its length. The real patterns have one at most."""
MAX_FITTED_CHARS = 128
"""Of a name that is held against patterns; the longest real one has 67."""
MIN_FITTING = 5
"""So many known types must fit a pattern before they can speak against it."""
_CORE_REPOSITORIES = frozenset({"comfyanonymous/comfyui", "comfy-org/comfyui"})
_LAST = 1 << 30
_URL = re.compile(r"https?://[^\s\x00-\x1f\x7f<>\"'\\]{4,290}")
_MARK = re.compile(r"\s*(?:[(\[]([^()\[\]]{2,40})[)\]]|\|(\w{2,40}))\s*\Z")
_GITHUB_PLACE = re.compile(r"https?://github\.com/([\w.-]{1,100}/[\w.-]{1,100}?)(?:\.git)?/?", re.ASCII | re.IGNORECASE)

Table = dict[str, tuple[str, ...]]


class Pattern(NamedTuple):
    """A pack's own rule for the names of its types."""

    rule: re.Pattern[str]
    repository: str


@dataclass(frozen=True)
class PackIndex:
    """Every tuple of repositories has the one that was listed first at its beginning.

    `owners` is by node type; `preempted` by the types that a pack claims for itself alone; `names` by `plain`, `likes`
    by `likeness`, `ids` by the custom-node-list's `id` (not the registry's, FACTS 2), and `places` by "owner/name" in
    lower case. `core` are types that the map lists under ComfyUI's own repository.
    """

    owners: Mapping[str, tuple[str, ...]]
    preempted: Mapping[str, tuple[str, ...]]
    patterns: tuple[Pattern, ...]
    names: Mapping[str, tuple[str, ...]]
    likes: Mapping[str, tuple[str, ...]]
    ids: Mapping[str, tuple[str, ...]]
    places: Mapping[str, str]
    core: frozenset[str]

    @cached_property
    def marked(self) -> Mapping[str, Sequence[tuple[str, ...]]]:
        """Mark → the repositories of each type that bears it."""
        found: dict[str, list[tuple[str, ...]]] = defaultdict(list)
        for node_type, repositories in self.owners.items():
            mark = mark_of(node_type)
            if mark is not None:
                found[mark].append(repositories)
        return dict(found)

    @cached_property
    def types_of(self) -> Mapping[str, Sequence[str]]:
        """Repository → the types that it registers."""
        found: dict[str, list[str]] = defaultdict(list)
        for node_type, repositories in self.owners.items():
            for repository in repositories:
                found[repository].append(node_type)
        return dict(found)

    @cached_property
    def _beliefs(self) -> dict[Pattern, bool]:
        return {}

    def matching(self, node_type: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The repositories whose pattern this name fits: the believed ones, and those whose pattern is too wide."""
        fitting = [pattern for pattern in self.patterns if _fits(pattern, node_type)]
        believed = dict.fromkeys(pattern.repository for pattern in fitting if self._believes(pattern))
        return tuple(believed), tuple(p.repository for p in fitting if p.repository not in believed)

    def _believes(self, pattern: Pattern) -> bool:
        """Not when most known types that it fits are of other packs: of 174 that fit "Hunyuan" in 2026, 6 were own."""
        if pattern not in self._beliefs:
            fitting = [owners for name, owners in self.owners.items() if _fits(pattern, name)]
            own = sum(pattern.repository in owners for owners in fitting)
            self._beliefs[pattern] = len(fitting) < MIN_FITTING or 2 * own >= len(fitting)
        return self._beliefs[pattern]


def _fits(pattern: Pattern, name: str) -> bool:
    return len(name) <= MAX_FITTED_CHARS and pattern.rule.search(name) is not None


def index_of(node_map: Any, pack_list: Any) -> PackIndex:
    """From the two documents as they were read; anything else than their shape makes an empty index."""
    entries = tuple(_entries(pack_list))
    places = _Places(entries)
    owners: Table = {}
    claims: Table = {}
    patterns: list[Pattern] = []
    core: set[str] = set()
    for repository, types, about in sorted(_rows(node_map), key=lambda row: places.rank(row[0])):
        if place_of_repository(repository) in _CORE_REPOSITORIES:
            core.update(types)
            continue
        places.add(repository)
        _note(owners, types, repository)
        _note(claims, _words(about.get("preemptions")), repository)
        rule = safe_pattern(about.get("nodename_pattern"))
        if rule is not None and len(patterns) < MAX_PATTERNS:
            patterns.append(Pattern(rule, repository))
    return PackIndex(
        owners=owners,
        preempted=claims,
        patterns=tuple(patterns),
        names=places.names,
        likes=places.likes,
        ids=places.ids,
        places=places.spellings,
        core=frozenset(core),
    )


def plain(name: str) -> str:
    """Registry ids and repository names differ in case and in `-` and `_` only (the registry compares them so)."""
    return name.lower().removesuffix(".git").replace("_", "-")


def likeness(name: str) -> str:
    """What is left of a name without "ComfyUI" and everything that is no letter or digit: no proof, a resemblance."""
    return "".join(filter(str.isalnum, name.lower())).replace("comfyui", "")


def mark_of(node_type: str) -> str | None:
    """The mark of a pack at the end of a type's name, without its brackets."""
    found = _MARK.search(node_type[-60:])
    return (found[1] or found[2]).strip() if found else None


def without_mark(node_type: str) -> str:
    return _MARK.sub("", node_type)


def repository_name(repository: str) -> str:
    return repository.rstrip("/").rpartition("/")[2].removesuffix(".git")


@lru_cache(maxsize=1 << 15)
def place_of_repository(repository: str) -> str:
    """The words "owner/name" in lower case for GitHub, else the whole URL in lower case."""
    found = _GITHUB_PLACE.fullmatch(repository)
    return (found[1] if found else repository.rstrip("/").removesuffix(".git")).lower()


def safe_pattern(written: Any) -> re.Pattern[str] | None:
    """A foreign pattern, if it cannot run away: of all repetitions only MAX_RUNS `.*` are let in, and few choices."""
    if not isinstance(written, str) or not 0 < len(written) <= MAX_PATTERN_CHARS:
        return None
    rest = re.sub(r"\\.", "", written)
    if rest.count(".*") > MAX_RUNS or rest.count("|") > MAX_CHOICES:
        return None
    if any(sign in rest.replace(".*", "") for sign in "*+?{"):
        return None
    try:
        return re.compile(written)
    except (re.error, OverflowError, RecursionError):
        return None


class _Places:
    """The repositories by all that people call them, in the order of the list."""

    def __init__(self, entries: Iterable[tuple[tuple[str, ...], str | None]]) -> None:
        self.names: Table = {}
        self.likes: Table = {}
        self.ids: Table = {}
        self.spellings: dict[str, str] = {}
        self._ranks: dict[str, int] = {}
        for number, (repositories, listed_id) in enumerate(entries):
            for repository in repositories:
                self._ranks.setdefault(self.add(repository), number)
            if listed_id is not None:
                _note(self.ids, [listed_id.lower()], repositories[0])

    def rank(self, repository: str) -> int:
        return self._ranks.get(place_of_repository(repository), _LAST)

    def add(self, repository: str) -> str:
        """Its place, however often it comes."""
        place = place_of_repository(repository)
        if place in self.spellings:
            return place
        self.spellings[place] = repository
        name = repository_name(repository)
        _note(self.names, [plain(name)], repository)
        if like := likeness(name):
            _note(self.likes, [like], repository)
        return place


def _rows(node_map: Any) -> Iterator[tuple[str, list[str], Mapping[str, Any]]]:
    if not isinstance(node_map, dict):
        return
    for repository, row in islice(node_map.items(), MAX_REPOSITORIES):
        if not (isinstance(row, list) and row and isinstance(row[0], list) and _is_url(repository)):
            continue
        about = row[1] if len(row) > 1 and isinstance(row[1], dict) else {}
        yield repository.rstrip("/").removesuffix(".git"), _words(row[0]), about


def _entries(pack_list: Any) -> Iterator[tuple[tuple[str, ...], str | None]]:
    packs = pack_list.get("custom_nodes") if isinstance(pack_list, dict) else None
    for pack in islice(packs, MAX_REPOSITORIES) if isinstance(packs, list) else ():
        if not isinstance(pack, dict):
            continue
        files = pack.get("files")
        named = [pack.get("reference"), *(files[:20] if isinstance(files, list) else ())]
        repositories = tuple(url.rstrip("/").removesuffix(".git") for url in _unique(named) if _is_url(url))
        listed_id = pack.get("id")
        if repositories:
            yield repositories, listed_id if isinstance(listed_id, str) and listed_id else None


def _unique(values: Iterable[Any]) -> list[str]:
    return list(dict.fromkeys(value for value in values if isinstance(value, str)))


def _words(value: Any) -> list[str]:
    if not isinstance(value, list):
        return []
    return [word for word in _unique(value[:MAX_TYPES_PER_REPOSITORY]) if len(word) <= MAX_NAME_CHARS]


def _is_url(value: Any) -> bool:
    return isinstance(value, str) and _URL.fullmatch(value) is not None


def _note(table: Table, keys: Iterable[str], repository: str) -> None:
    """One shared tuple for all types of a pack: forty thousand small ones cost more than the reading of the lists."""
    own = (repository,)
    for key in keys:
        known = table.get(key)
        if known is None:
            table[key] = own
        elif repository not in known:
            table[key] = known + own

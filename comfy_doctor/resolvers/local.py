"""The nearest source of all: a file that lies here already, under another name or in another folder.

Equal bytes are proven, not guessed: only files of exactly the claimed size are read, and only until the budget of
bytes for one run is spent; then we could not look further, and say so.
"""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from comfy_doctor.comfyui.shelves import Inventory
from comfy_doctor.needs import Candidate, Key, Need
from comfy_doctor.resolvers.claims import digests_claimed, sizes_claimed
from comfy_doctor.resolvers.resolver import Answer, Quest, Word
from download_worker.errors import Trouble
from download_worker.jobs.places import FOLDERS
from download_worker.leash import Leash
from download_worker.text import safe_text

BUDGET_BYTES = 200 * 1024**3
"""Some minutes of a fast disk. What was read once costs nothing the next time."""


class Digests(Protocol):
    """SHA-256 of files as lower-case hex: see library/digests.py."""

    def digest_of(self, path: Path, leash: Leash) -> str:
        """Raises Trouble where the file cannot be read, Interrupted."""
        ...

    def remembered(self, path: Path) -> str | None:
        """The digest if it is known without reading the file. Never raises."""
        ...


@dataclass(frozen=True, slots=True)
class Shelves:
    """Every file of every model folder, once, by its size in bytes; and the directories that could not be read."""

    by_size: Mapping[int, tuple[Path, ...]]
    unread: tuple[Path, ...] = ()


def shelves_of(inventory: Inventory, folders: Iterable[str] = tuple(FOLDERS)) -> Shelves:
    """Links and files that several folders list are looked at once. Never raises for what is on the disk."""
    by_size: dict[int, list[Path]] = defaultdict(list)
    unread: dict[Path, None] = {}
    seen: set[tuple[int, int]] = set()
    for folder in folders:
        shelf = inventory.shelf(folder)
        unread |= dict.fromkeys(shelf.unread)
        for path in shelf.files.values():
            try:
                found = path.stat()
            except OSError:
                continue  # gone while we looked, or a link to nowhere
            if stat.S_ISREG(found.st_mode) and (found.st_dev, found.st_ino) not in seen:
                seen.add((found.st_dev, found.st_ino))
                by_size[found.st_size].append(path)
    return Shelves({size: tuple(paths) for size, paths in by_size.items()}, tuple(unread))


@dataclass
class _Reading:
    """One run's reading: its budget, and what could not be read."""

    digests: Digests
    leash: Leash
    left_bytes: int
    failed: dict[Path, str] = field(default_factory=dict)

    def digest_of(self, path: Path, size: int) -> str | None:
        """None where the file could not be read or may not be, for the reason that is then in `failed`."""
        known = self.digests.remembered(path)
        if known is not None or path in self.failed:
            return known
        if size > self.left_bytes:
            self.failed[path] = f"{_shown(path)} was not read: it is beyond what one run reads"
            return None
        self.left_bytes -= size
        try:
            return self.digests.digest_of(path, self.leash)
        except Trouble as trouble:
            self.failed[path] = trouble.message
            return None


class LocalFiles:
    """`shelves` walks the model folders; it is called when a digest is first known, and once."""

    name = "this disk"
    search = False

    def __init__(self, shelves: Callable[[], Shelves], digests: Digests, *, budget_bytes: int = BUDGET_BYTES) -> None:
        self._walk = shelves
        self._shelves: Shelves | None = None
        self._digests = digests
        self._budget_bytes = budget_bytes

    def look(self, quests: Sequence[Quest], leash: Leash) -> Mapping[Key, Answer]:
        """See `Resolver`; a model without a known digest and size is not answered for. Raises Interrupted."""
        wanted = [(quest, pairs) for quest in quests if (pairs := list(_wanted(quest)))]
        if not wanted:
            return {}
        shelves = self._shelves = self._shelves or self._walk()
        reading = _Reading(self._digests, leash, self._budget_bytes)
        return {quest.need.key: _answer(quest.need, pairs, shelves, reading) for quest, pairs in wanted}


def _wanted(quest: Quest) -> Iterator[tuple[str, float, int]]:
    """(digest, how sure it is, size in bytes) of what would do; the surest first."""
    for digest, sure in sorted(digests_claimed(quest).items(), key=lambda claim: -claim[1]):
        for size in sorted(sizes_claimed(quest, digest)):
            yield digest, sure, size


def _answer(need: Need, pairs: Sequence[tuple[str, float, int]], shelves: Shelves, reading: _Reading) -> Answer:
    failed: list[str] = []
    for digest, sure, size in pairs:
        for path in shelves.by_size.get(size, ()):
            found = reading.digest_of(path, size)
            if found == digest:
                return Answer(Word.FOUND, (_candidate(need, path, size, digest, sure),))
            if found is None:
                failed.append(reading.failed[path])
    failed += [f"cannot read {_shown(path)}" for path in shelves.unread]
    if failed:
        return Answer(Word.COULD_NOT_LOOK, why="; ".join(dict.fromkeys(failed[:3])))
    return Answer(Word.NOT_FOUND, why="no file in the model folders has these bytes")


def _candidate(need: Need, path: Path, size: int, digest: str, sure: float) -> Candidate:
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - a link keeps its own name: it is what ComfyUI lists
    return Candidate(
        url=absolute.as_uri(),
        filename=need.filename,
        folder=need.folder or "",
        source="local",
        size=size,
        sha256=digest,
        proof="B",
        confidence=sure,
        evidence=(f"the same bytes lie at {_shown(absolute)}",),
    )


def _shown(path: Path) -> str:
    return safe_text(path, max_chars=400)

"""Which mount point each model folder lay on, remembered over reboots: what is written to an empty mount point fills
the disk below it, and is hidden as soon as the volume is back (FAULTS D12).

Device numbers change from boot to boot, and a marker on the volume would be a file of ours among the user's models; so
it is the path of the mount point that is remembered. A folder that lies higher up than it did has lost its volume, and
everything below that folder with it.
"""

from __future__ import annotations

import json
import os
import stat
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from download_worker.errors import Code, TryLater
from download_worker.room import OUT_OF_DESCRIPTORS, nearest_existing, storage_errors

MAX_MOUNTS_BYTES = 1024**2
PIECE_BYTES = 64 * 1024

# POSIX tells volumes apart by `st_dev`; on Windows a volume that is mounted in a folder does not show there.
_TOLD_BY_NUMBERS = os.name == "posix"


class Mounts:
    """Which mount point each model folder lay on when it was last used, in `state/mounts.json`, for a person to edit.

    A folder whose former mount point is nothing but a folder now has lost its volume. Without a file (None) nothing is
    remembered and nothing is missed.
    """

    def __init__(self, state: Path | None) -> None:
        self._path = None if state is None else state / "mounts.json"
        self._lock = threading.Lock()
        self._parsed: tuple[bytes, Mapping[str, str]] = (b"", {})

    def check(self, *folders: Path) -> None:
        """Note where they lie. Raises TryLater(unmounted) where the volume of one is gone or does not answer; GiveUp
        (permission, storage) where that cannot be found out."""
        if self._path is None:
            return
        with storage_errors(self._path):
            look = _Look(self._known(self._path), folders)
        for folder in folders:
            with storage_errors(folder):
                there = self._finds(folder, look, self._path)
            if not there:
                way_out = (
                    "mount it, and the worker goes on; or, if it is to stay like this, "
                    f"remove the lines with its mount point from {self._path}"
                )
                raise TryLater(Code.UNMOUNTED, f"the volume that {folder} lay on is not mounted", hint=way_out)

    def is_there(self, folder: Path) -> bool:
        """Also False where its disk says nothing but errors."""
        try:
            return self._path is None or self._finds(folder, _Look(self._known(self._path), [folder]), self._path)
        except OSError:
            return False

    def _finds(self, folder: Path, look: _Look, path: Path) -> bool:
        """Raises OSError. A disk that hangs is asked while nobody has to wait for us."""
        if look.finds_lost(folder):
            return False
        now = str(look.mount_point_of(folder))
        if look.known.get(str(folder)) != now:
            with self._lock:  # what another look has noted meanwhile must stay
                _write_mounts(path, {**self._known(path), str(folder): now})
        return True

    def _known(self, path: Path) -> Mapping[str, str]:
        """Empty where there is no such file, or none that can be read: then everything is noted anew. It is read each
        time, for a person may edit it; it is parsed where it says something else than the last time.

        Raises OSError where it cannot be opened for now: what it says must not be forgotten.
        """
        try:
            text = _read(path)
        except OSError as error:
            if error.errno in OUT_OF_DESCRIPTORS:
                raise
            return {}
        last, known = self._parsed
        if text != last:
            known = _table(text)
            self._parsed = text, known  # in one step: several threads look
        return known


class _Look:
    """One look at what is mounted, beside what is `known` of it: each place is asked about once, however many folders
    lie below it.

    What is mounted only when somebody goes through it (autofs) is so before the first question: else a place that was
    asked about would change by our asking about those below it.
    """

    def __init__(self, known: Mapping[str, str], folders: Iterable[Path]) -> None:
        self.known = known
        self._real: dict[Path, Path] = {}
        self._seen: dict[Path, os.stat_result | None] = {}
        self._points: dict[Path, Path] = {}
        for folder in folders:
            with suppress(OSError):  # it will be told when it is asked about
                folder.stat()

    def finds_lost(self, folder: Path) -> bool:
        """Whether it, or a folder above it, would lie on a volume that is not there any more."""
        above = [place for place in (folder, *folder.parents) if str(place) in self.known]
        return any(self._has_lost(place, Path(self.known[str(place)])) for place in above)

    def _has_lost(self, folder: Path, former: Path) -> bool:
        """A link that leads to another place by now has lost nothing."""
        return self._place(folder).is_relative_to(former) and not self.mount_point_of(folder).is_relative_to(former)

    def mount_point_of(self, folder: Path) -> Path:
        """Where the volume of this path is mounted, also of a path that is not there. Links are followed."""
        place = self._place(folder)
        return self._point_of(place if self._lstat(place) else nearest_existing(place))

    def _place(self, folder: Path) -> Path:
        """As `os.path.realpath`, which would ask about every folder above each of them anew."""
        if folder not in self._real:
            self._real[folder] = self._real_path(folder.absolute())
        return self._real[folder]

    def _real_path(self, path: Path) -> Path:
        if not _TOLD_BY_NUMBERS:
            return Path(os.path.realpath(path))
        if path == path.parent:
            return path
        place = self._place(path.parent) / path.name
        there = self._lstat(place)
        is_name = path.name != ".." and not (there and stat.S_ISLNK(there.st_mode))
        return place if is_name else Path(os.path.realpath(place))

    def _point_of(self, place: Path) -> Path:
        if place not in self._points:
            is_top = place == place.parent or self._is_mount_point(place)
            self._points[place] = place if is_top else self._point_of(place.parent)
        return self._points[place]

    def _is_mount_point(self, place: Path) -> bool:
        """As `os.path.ismount`, of a real path."""
        if not _TOLD_BY_NUMBERS:
            return os.path.ismount(place)
        here, above = self._lstat(place), self._lstat(place.parent)
        if here is None or above is None or stat.S_ISLNK(here.st_mode):  # a link that leads in a circle
            return False
        return here.st_dev != above.st_dev or here.st_ino == above.st_ino

    def _lstat(self, place: Path) -> os.stat_result | None:
        if place not in self._seen:
            try:
                self._seen[place] = os.lstat(place)
            except OSError:
                self._seen[place] = None
        return self._seen[place]


def _read(path: Path) -> bytes:
    """At most `MAX_MOUNTS_BYTES` of it, in pieces: a buffer for so much costs more than the file. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0))
    try:
        text = b""
        while len(text) < MAX_MOUNTS_BYTES and (piece := os.read(descriptor, PIECE_BYTES)):
            text += piece
        return text
    finally:
        os.close(descriptor)


def _table(text: bytes) -> Mapping[str, str]:
    try:
        table = json.loads(text)
    except ValueError:
        return {}
    if not isinstance(table, dict):
        return {}
    return {key: value for key, value in table.items() if isinstance(value, str)}


def _write_mounts(path: Path, table: Mapping[str, str]) -> None:
    with suppress(OSError):  # a full disk, say: it is noted the next time
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _fresh(path) as fresh:
            fresh.write_text(json.dumps(table, indent=1, sort_keys=True), encoding="utf-8")


@contextmanager
def _fresh(path: Path) -> Iterator[Path]:
    """A file beside it that takes its place at the end of the block, if that went well."""
    handle, name = tempfile.mkstemp(prefix=path.name, dir=path.parent)
    os.close(handle)
    try:
        yield Path(name)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)

"""Which mount point each model folder lay on, remembered over reboots: what is written to an empty mount point fills
the disk below it, and is hidden as soon as the volume is back (FAULTS D12).

Device numbers change from boot to boot, and a marker on the volume would be a file of ours among the user's models; so
it is the path of the mount point that is remembered. A folder that lies higher up than it did has lost its volume, and
everything below that folder with it.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from download_worker.errors import Code, TryLater
from download_worker.room import OUT_OF_DESCRIPTORS, nearest_existing, storage_errors

MAX_MOUNTS_BYTES = 1024**2


class Mounts:
    """Which mount point each model folder lay on when it was last used, in `state/mounts.json`, for a person to edit.

    A folder whose former mount point is nothing but a folder now has lost its volume. Without a file (None) nothing is
    remembered and nothing is missed.
    """

    def __init__(self, state: Path | None) -> None:
        self._path = None if state is None else state / "mounts.json"
        self._lock = threading.Lock()

    def check(self, *folders: Path) -> None:
        """Note where they lie. Raises TryLater(unmounted) where the volume of one is gone or does not answer; GiveUp
        (permission, storage) where that cannot be found out."""
        look = _Look()
        for folder in folders:
            with storage_errors(folder):
                there = self._finds(folder, look)
            if not there:
                way_out = (
                    "mount it, and the worker goes on; or, if it is to stay like this, "
                    f"remove the lines with its mount point from {self._path}"
                )
                raise TryLater(Code.UNMOUNTED, f"the volume that {folder} lay on is not mounted", hint=way_out)

    def is_there(self, folder: Path) -> bool:
        """Also False where its disk says nothing but errors."""
        try:
            return self._finds(folder, _Look())
        except OSError:
            return False

    def _finds(self, folder: Path, look: _Look) -> bool:
        """Raises OSError. A disk that hangs is asked while nobody has to wait for us."""
        if self._path is None:
            return True
        known = _mounts_in(self._path)
        above = [place for place in (folder, *folder.parents) if str(place) in known]
        if any(look.finds_lost(place, Path(known[str(place)])) for place in above):
            return False
        now = str(look.mount_point_of(folder))
        with self._lock:
            known = _mounts_in(self._path)
            if known.get(str(folder)) != now:
                _write_mounts(self._path, {**known, str(folder): now})
        return True


class _Look:
    """One look at what is mounted: each place is asked about once, however many folders lie below it."""

    def __init__(self) -> None:
        self._real: dict[Path, Path] = {}
        self._points: dict[Path, Path] = {}

    def finds_lost(self, folder: Path, former: Path) -> bool:
        """Whether it would lie on a volume that is not mounted at its former mount point any more. A link that leads to
        another place by now has lost nothing."""
        return self._place(folder).is_relative_to(former) and not self.mount_point_of(folder).is_relative_to(former)

    def mount_point_of(self, folder: Path) -> Path:
        """Where the volume of this path is mounted, also of a path that is not there. Links are followed."""
        return self._point_of(nearest_existing(self._place(folder)))

    def _place(self, folder: Path) -> Path:
        if folder not in self._real:
            self._real[folder] = Path(os.path.realpath(folder))
        return self._real[folder]

    def _point_of(self, place: Path) -> Path:
        if place not in self._points:
            is_top = os.path.ismount(place) or place == place.parent
            self._points[place] = place if is_top else self._point_of(place.parent)
        return self._points[place]


def _mounts_in(path: Path) -> dict[str, str]:
    """Empty where there is no such file, or none that can be read: then everything is noted anew.

    Raises OSError where it cannot be opened for now: what it says must not be forgotten.
    """
    try:
        with path.open("rb") as file:
            table = json.loads(file.read(MAX_MOUNTS_BYTES))
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in OUT_OF_DESCRIPTORS:
            raise
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

"""A machine whose power can be cut: its disk is an ext4 image in memory, mounted through a loop device.

Whatever the file system has not yet sent to its device when the machine is stopped is in its page cache only, and a
copy of the image does not have it: the copy, mounted (journal replay and all), is the disk as a power cut leaves it.
The copy is taken while the image is still, so that it shows one moment; nothing is flushed for it. What a device's own
cache would lose or reorder is not played: there is no such cache here.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.torture.nursery import Child

IMAGE_BYTES = 256 * 1024 * 1024
STILL_SECONDS = 0.03
"""Longer than the step of a file's time stamp."""
MOST_SECONDS_TO_STILLNESS = 15.0
IN_MEMORY = Path("/dev/shm")
MOUNTS = ("defaults", "data=writeback,noauto_da_alloc", "nodelalloc,data=writeback,noauto_da_alloc", "commit=1")
"""The second and third keep no order between bytes and names: the kernel's kindness hides what was not flushed."""


class Machine:
    """A context: `disk` is where the file system is mounted."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="comfy-doctor-power-", dir=_memory()))
        self.disk = self._folder / "disk"
        self._image = self._folder / "image"
        self._lives = 0

    def __enter__(self) -> Self:
        self.disk.mkdir()
        with self._image.open("wb") as image:
            image.truncate(IMAGE_BYTES)
        quick = "lazy_itable_init=0,lazy_journal_init=0"
        _run("mkfs.ext4", "-q", "-F", "-J", "size=8", "-E", quick, self._image)
        self._mount(MOUNTS[0])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if os.path.ismount(self.disk):
            _run("umount", self.disk)
        shutil.rmtree(self._folder)

    def stop(self, processes: Iterable[Child]) -> None:
        """Nobody on this machine takes another step. Then read what was acknowledged, and `cut`."""
        for process in processes:
            process.signal(signal.SIGSTOP)
        self._wait_until_still()

    def cut(self, processes: Iterable[Child], mount: str) -> None:
        """The power goes and comes back: from now on `disk` is what had reached the device, mounted with these options.

        Raises TimeoutError when the image is never still.
        """
        fresh = self._folder / f"image-{self._lives}"
        while True:
            before = self._wait_until_still()
            _run("cp", "--sparse=always", self._image, fresh)
            if self._written_at() == before:
                break
        for process in processes:
            process.kill()
        _run("umount", self.disk)
        self._image.unlink()
        self._image, self._lives = fresh, self._lives + 1
        self._mount(mount)

    def _mount(self, options: str) -> None:
        _run("mount", "-o", f"loop,{options}", self._image, self.disk)

    def _wait_until_still(self) -> int:
        deadline = time.monotonic() + MOST_SECONDS_TO_STILLNESS
        while time.monotonic() < deadline:
            at = self._written_at()
            time.sleep(STILL_SECONDS)
            if self._written_at() == at:
                return at
        raise TimeoutError(f"somebody still writes to {self._image}")

    def _written_at(self) -> int:
        """The loop device writes through the image's file, and so touches its time."""
        return self._image.stat().st_mtime_ns


def why_not_here() -> str | None:
    """None where a machine can be had, else the reason."""
    if sys.platform != "linux":
        return "needs Linux"
    if os.geteuid() != 0:
        return "needs root, to mount a file system"
    if not Path("/dev/loop-control").exists():
        return "needs loop devices"
    missing = [tool for tool in ("mkfs.ext4", "mount", "umount", "cp") if shutil.which(tool) is None]
    return f"needs {', '.join(missing)}" if missing else None


def _memory() -> Path | None:
    return IN_MEMORY if IN_MEMORY.is_dir() and os.access(IN_MEMORY, os.W_OK) else None


def _run(*words: object) -> None:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{words[0]} said {done.stderr.strip()}")

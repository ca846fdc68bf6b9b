"""The part file as the operating system sees it: bytes to and from any place, early writeback, flushes, preallocation.

What a system lacks is done in another way or not at all: without pwrite (Windows) seek and write under a lock, without
fdatasync (macOS, Windows) fsync; and early writeback, preallocation and writes past the page cache only on Linux.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

_KEEP_SIZE = 1  # FALLOC_FL_KEEP_SIZE, linux/falloc.h
_WRITE = 2  # SYNC_FILE_RANGE_WRITE, linux/fs.h: begin to write, wait for nothing
_UNKNOWN_HERE = frozenset(
    {errno.ENOSYS, errno.EINVAL, errno.ESPIPE, errno.EPERM, errno.EOPNOTSUPP, getattr(errno, "ENOTSUP", errno.ENOSYS)}
)

_flush_data: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)


WRITE_BYTES = 32 * 1024
"""At once. Linux takes pages for the cache in blocks as large as the write, and large ones may first have to be found
or fetched from the machine below: on 6.18 in a virtual machine, 1 GiB cost 0.5 s of CPU in writes of 16 or 32 KiB,
and up to 2.8 s in writes of 256 KiB."""
DIRECT_BYTES = 4096
"""What `write_direct` takes lies at multiples of this in the file, and is as long: enough for every disk there is."""


class PartFile:
    """An open file. All methods may be called from several threads, and raise OSError."""

    def __init__(self, path: Path) -> None:
        """There from now on, readable by nobody else."""
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
        self._descriptor = os.open(path, flags | getattr(os, "O_CLOEXEC", 0), 0o600)
        self._direct = _opened_direct(self._descriptor)
        self._place = threading.Lock()  # where there is one place in a file for all

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1  # whoever comes too late must not write to another file
        self._close_direct()
        os.close(descriptor)

    def write_at(self, at: int, data: memoryview) -> None:
        """All of it."""
        while data:
            done = self._write(at, data[:WRITE_BYTES])
            at, data = at + done, data[done:]

    def write_direct(self, at: int, pieces: Sequence[memoryview]) -> int:
        """How many bytes of these, one after the other, went to the disk past the page cache; the others are to be
        written as usual. 0 where the volume cannot do it, or not with memory that lies like this."""
        if self._direct is None:
            return 0
        try:
            return os.pwritev(self._direct, pieces, at)
        except OSError as error:
            if error.errno not in _UNKNOWN_HERE:
                raise
            self._close_direct()
            return 0

    def read_at(self, at: int, into: memoryview) -> int:
        """0 at the end of the file."""
        if hasattr(os, "preadv"):
            return os.preadv(self._descriptor, [into], at)
        with self._place:
            os.lseek(self._descriptor, at, os.SEEK_SET)
            data = os.read(self._descriptor, len(into))
        into[: len(data)] = data
        return len(data)

    def begin_writeback(self, at: int, count: int) -> None:
        """Let the disk begin with these bytes, so that the next flush has less to wait for."""
        _call("sync_file_range", self._descriptor, at, count, _WRITE)

    def flush(self) -> None:
        """What was written is on the disk, and so is the size of the file."""
        _flush_data(self._descriptor)

    def sync(self) -> None:
        """The same, and its times."""
        os.fsync(self._descriptor)

    def stat(self) -> os.stat_result:
        return os.fstat(self._descriptor)

    def truncate(self, size: int) -> None:
        """Cut off what lies beyond, blocks that were only allocated as well."""
        os.ftruncate(self._descriptor, size)

    def allocate(self, size: int) -> None:
        """Have the blocks for so many bytes now, without a change of the file's size; only where the system can."""
        try:
            _call("fallocate", self._descriptor, _KEEP_SIZE, 0, size)
        except OSError:
            with suppress(OSError):  # half of it is of no use to us, and may be to others
                self.truncate(self.stat().st_size)
            raise

    def _close_direct(self) -> None:
        direct, self._direct = self._direct, None
        if direct is not None:
            os.close(direct)

    def _write(self, at: int, data: memoryview) -> int:
        if hasattr(os, "pwrite"):
            return os.pwrite(self._descriptor, data, at)
        with self._place:
            os.lseek(self._descriptor, at, os.SEEK_SET)
            return os.write(self._descriptor, data)


def _opened_direct(descriptor: int) -> int | None:
    """A second way into the same file, whatever has become of its path; None where there is no such way."""
    if sys.platform != "linux" or not hasattr(os, "pwritev"):
        return None
    with suppress(OSError):
        return os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR | os.O_DIRECT | os.O_CLOEXEC)
    return None


def _libc() -> dict[str, Callable[..., int]]:
    if sys.platform != "linux":
        return {}
    libc = ctypes.CDLL(None, use_errno=True)
    number, offset = ctypes.c_int, ctypes.c_int64
    kinds = {"sync_file_range64": (number, offset, offset, number), "fallocate64": (number, number, offset, offset)}
    calls: dict[str, Callable[..., int]] = {}
    for name, arguments in kinds.items():
        plain = name.removesuffix("64")
        # On 32-bit systems only the name with 64 takes large offsets; musl has only the plain one, which always does.
        call = getattr(libc, name, None) or getattr(libc, plain, None)
        if call is not None:
            call.argtypes = arguments
            calls[plain] = call
    return calls


_LIBC = _libc()


def _call(name: str, *arguments: int) -> None:
    """A call that only makes things faster: where the system or the volume does not know it, nothing happens."""
    call = _LIBC.get(name)
    if call is None:
        return
    while call(*arguments) != 0:
        number = ctypes.get_errno()
        if number == errno.EINTR:
            continue
        if number in _UNKNOWN_HERE:
            return
        raise OSError(number, os.strerror(number))

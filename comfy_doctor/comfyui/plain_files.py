"""Regular files, read up to a bound; whatever else has a name in a folder is refused, and never waited for.

A fifo among the files of a node pack would otherwise hold up a diagnosis for ever (FAULTS R5).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_WITHOUT_WAITING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The file, unbuffered. Raises OSError, also for what is no regular file."""
    descriptor = os.open(path, os.O_RDONLY | _WITHOUT_WAITING)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        with open(descriptor, "rb", buffering=0, closefd=False) as file:
            yield file
    finally:
        os.close(descriptor)


def read_start(path: Path, max_bytes: int) -> bytes:
    """The first bytes of the file, at most so many. Raises OSError as `opened`; ValueError for an impossible path."""
    with opened(path) as file:
        return file.read(max_bytes)

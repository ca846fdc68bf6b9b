"""A SQLite file that nobody else can read, made without ever opening one that is there already.

Closing a file drops every lock that this process holds on it (POSIX locks belong to the process, not to the handle;
sqlite.org/howtocorrupt.html, 2.2). SQLite's own locks would go with it, and the next program that ends would take the
log away from under our other connections.
"""

from __future__ import annotations

import errno
import os
import threading
from contextlib import suppress
from pathlib import Path

_ONE_AT_A_TIME = threading.Lock()
"""Who finds the file that another thread is just making must not connect before that one has closed it."""


def make_private(path: Path) -> None:
    """0600 before SQLite writes a byte: its -wal, -shm and -journal take the mode of the main file. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _ONE_AT_A_TIME, suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    if not path.is_file():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not os.access(path, os.R_OK | os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    if os.name == "posix" and path.stat().st_mode & 0o077:
        path.chmod(0o600)

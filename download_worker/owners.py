"""Who is alive: every worker process holds a lock on a file of its own that the operating system drops when it dies.

So a kill -9 shows at once, without waiting for a lease to run out, and a stopped process (SIGSTOP) still counts as
alive. The lock is the truth about processes of this machine; leases are for everything else.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from download_worker.jobs.job import WorkerId

ENROL_SECONDS = 5.0
_NAME = re.compile(r"worker-\d+-(?P<house>[0-9a-f]{8})-[0-9a-f]{12}\Z")


class Owners:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Two homes, or two machines, may share one ledger: our locks say nothing about their workers.
        self._house = hashlib.sha256(f"{platform.node()}:{folder.absolute()}".encode()).hexdigest()[:8]

    @contextmanager
    def enrol(self) -> Iterator[WorkerId]:
        """A new worker id that `is_alive` until the block, or the process, ends."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        worker = WorkerId(f"worker-{os.getpid()}-{self._house}-{secrets.token_hex(6)}")
        path = self._path(worker)
        # Not at once: whoever looks at the file between its making and our lock takes it for a dead one's.
        with FileLock(path, timeout=ENROL_SECONDS, thread_local=False):
            yield worker
            with suppress(OSError):  # Windows keeps an open file; the next sweep removes it
                path.unlink()

    def is_alive(self, worker: WorkerId) -> bool:
        """Whether that process still holds its lock, or we cannot tell. Removes the file of a dead one."""
        if not self._is_ours(worker):
            return True  # another house's: only its lease can say
        path = self._path(worker)
        if not path.exists():
            return False
        lock = FileLock(path, blocking=False, thread_local=False)
        try:
            with lock:
                path.unlink(missing_ok=True)
                return False
        except Timeout:
            return True
        except OSError:
            # Could not look: only the lease may then say that it is gone.
            return True

    def living(self) -> tuple[WorkerId, ...]:
        """All worker processes of this home that run now."""
        names = (WorkerId(path.stem) for path in sorted(self._folder.glob("worker-*.lock")))
        return tuple(name for name in names if self._is_ours(name) and self.is_alive(name))

    def _is_ours(self, worker: WorkerId) -> bool:
        name = _NAME.match(worker)
        return name is not None and name["house"] == self._house

    def _path(self, worker: WorkerId) -> Path:
        return self._folder / f"{worker}.lock"

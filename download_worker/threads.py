"""Where the system gives this user or container no more threads, work waits: that is nobody's fault, and passes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from download_worker.errors import Code, TryLater

MORE_THREADS = "lower `jobs`, or raise the limit of processes (ulimit -u); the worker tries again by itself"


@contextmanager
def thread_errors() -> Iterator[None]:
    """Around the start of a thread and nothing else. Raises TryLater(storage) where there is none to be had."""
    try:
        yield
    except RuntimeError as error:  # all that Python says; the system's own reason is lost
        raise TryLater(Code.STORAGE, "this machine gives no more threads", hint=MORE_THREADS) from error

"""Work that goes on side by side until it is done, stopped, or fails: by a thread for each duty, or by whoever comes.

Small files are not worth a thread: until `start`, the caller of `pump` does what there is to do. From then on every
duty has a thread of its own. The first trouble ends them all, and everybody who waits for them is told.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

from download_worker.errors import Interrupted, Trouble
from download_worker.leash import Leash
from download_worker.room import storage_errors
from download_worker.threads import thread_errors

WATCH_SECONDS = 5.0
"""An idle duty looks this often whether time alone gave it something to do."""

Deed = Callable[[], None]
Turn = Callable[[], Deed | None]
"""What a duty is to do next, if anything. Asked under the lock; the deed is done outside of it."""


class Duties:
    """`lock` is over all that the turns look at. `path` is the file that disk errors are told about.

    `failed` is called once, without the lock, when something went wrong.
    """

    def __init__(self, path: Path, failed: Callable[[], None]) -> None:
        self.lock = threading.Lock()
        self.stopping = False
        self.trouble: BaseException | None = None
        self._path = path
        self._failed = failed
        self._duties: list[tuple[Turn, threading.Condition]] = []
        self._settled = threading.Condition(self.lock)
        self._pumping = threading.Lock()
        self._threads: ThreadPoolExecutor | None = None
        self._running = 0
        self._paused = False

    def add(self, turn: Turn) -> threading.Condition:
        """Before `start`. The condition is to be notified, under the lock, when the turn may have something to do."""
        wake = threading.Condition(self.lock)
        self._duties.append((turn, wake))
        return wake

    @property
    def have_threads(self) -> bool:
        return self._threads is not None

    def start(self) -> None:
        """Threads, if there are none yet."""
        with self._pumping:
            if self._threads is None and not self.stopping:
                self._threads = ThreadPoolExecutor(len(self._duties), thread_name_prefix="part")
                with thread_errors():
                    for turn, wake in self._duties:
                        self._threads.submit(self._serve, turn, wake).add_done_callback(self._served)

    def pump(self) -> None:
        """Without threads: all that there is to do, in the thread of the caller. Raises what goes wrong."""
        if self._threads is not None:
            return
        with self._pumping, self.telling():
            for turn, _ in self._duties if not self.stopping else ():
                while self._threads is None and (deed := self._begun(turn)) is not None:
                    self._do(deed)

    def stop(self) -> None:
        """Each duty does what its turn still gives it, then the threads end. Waits for them.

        From now on nothing is done any more, whoever comes.
        """
        with suppress(Trouble):  # it is told to everybody already
            self.pump()
        with self._pumping, self.lock:
            self.stopping = True
            self._wake_all()
        if self._threads is not None:
            self._threads.shutdown(wait=True)

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Inside, no deed is being done. Raises what went wrong before; Interrupted after `stop`."""
        with self._pumping:
            with self.lock:
                self._paused = True
                self._settled.wait_for(lambda: self._running == 0)
            try:
                self.raise_trouble()
                if self.stopping:
                    raise Interrupted
                yield
            finally:
                with self.lock:
                    self._paused = False
                    self._wake_all()

    def wait_for(self, done: Callable[[], bool], leash: Leash | None) -> None:
        """Until it is done, which is asked under the lock. Raises Interrupted, and what went wrong."""
        self.pump()
        cutting: AbstractContextManager[None] = nullcontext() if leash is None else leash.cutting(self._look_again)
        with cutting, self.lock:
            while not done():
                self.raise_trouble()
                if leash is not None:
                    leash.check()
                self._settled.wait()

    @contextmanager
    def telling(self) -> Iterator[None]:
        """What goes wrong in here, in the caller's own thread, is everybody's trouble. Translates what a disk says."""
        try:
            with storage_errors(self._path):
                yield
        except Trouble as trouble:
            self.fail(trouble)
            raise

    def fail(self, trouble: BaseException) -> None:
        """Everybody who waits is told; the first trouble is the one that counts."""
        with self.lock:
            self.trouble = self.trouble or trouble
            self._wake_all()
        self._failed()

    def raise_trouble(self) -> None:
        if self.trouble is not None:
            raise self.trouble

    def _serve(self, turn: Turn, wake: threading.Condition) -> None:
        """One thread's life."""
        while (deed := self._await(turn, wake)) is not None:
            self._do(deed)

    def _served(self, future: Future[None]) -> None:
        trouble = future.exception()
        if trouble is not None:
            self.fail(trouble)

    def _await(self, turn: Turn, wake: threading.Condition) -> Deed | None:
        with self.lock:
            while self.trouble is None:
                if (deed := self._next(turn)) is not None:
                    return deed
                if self.stopping:
                    break
                wake.wait(WATCH_SECONDS)
        return None

    def _begun(self, turn: Turn) -> Deed | None:
        with self.lock:
            return self._next(turn)

    def _next(self, turn: Turn) -> Deed | None:
        deed = None if self._paused else turn()
        self._running += deed is not None
        return deed

    def _do(self, deed: Deed) -> None:
        try:
            with storage_errors(self._path):
                deed()
        finally:
            with self.lock:
                self._running -= 1
                self._settled.notify_all()

    def _look_again(self) -> None:
        with self.lock:
            self._settled.notify_all()

    def _wake_all(self) -> None:
        for condition in (self._settled, *(wake for _, wake in self._duties)):
            condition.notify_all()

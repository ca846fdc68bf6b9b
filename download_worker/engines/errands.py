"""What touches the disks of models outside of any job: a disk may never answer, and the engine must not wait for it.

Each errand has a thread of its own. One that hangs stays behind with its disk, and is not sent a second time (D10).
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from loguru import logger

PATIENCE_SECONDS = 0.5
"""A disk that does not answer within so long is hung: the jobs of the others go on."""


class Errands:
    """For one thread that sends them. A name stands for the same errand."""

    def __init__(self) -> None:
        self._under_way: dict[str, threading.Thread] = {}

    def run(self, name: str, errand: Callable[[], None], *, patience_seconds: float | None = None) -> bool:
        """Whether it is done, within `PATIENCE_SECONDS` if nothing else is said. Never raises.

        False while it is under way, now or since an earlier time.
        """
        self._under_way = {each: thread for each, thread in self._under_way.items() if thread.is_alive()}
        if name in self._under_way:
            return False
        thread = threading.Thread(target=_done, args=(name, errand), name="errand", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system gives no more threads
            logger.warning("no thread is to be had for this: {}; the next time tries again", name)
            return False
        thread.join(PATIENCE_SECONDS if patience_seconds is None else patience_seconds)
        if thread.is_alive():
            self._under_way[name] = thread
            logger.warning("a disk does not answer; meanwhile the others are served, and this is under way: {}", name)
            return False
        return True


def _done(name: str, errand: Callable[[], None]) -> None:
    try:
        errand()
    except Exception as error:  # noqa: BLE001 - the wall of this thread: nobody else would tell of it
        logger.opt(exception=error).error("met a fault of ours, doing this: {}", name)

"""A program and everything it starts, measured: seconds, CPU seconds of all processes, peak memory at any one time.

Memory is the sum of the high-water marks (VmHWM) of the processes alive together, looked at every 20 ms: `ru_maxrss`
would answer the bench's own size for small programs, since a child counts what it was forked from.
Source: man 2 getrusage, man 5 proc. Where there is no /proc, memory is not known.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

LOOK_EVERY_SECONDS = 0.02
MAX_RUN_SECONDS = 300.0
MAX_ERROR_CHARS = 300
PROC = Path("/proc")


class Cost(NamedTuple):
    seconds: float
    cpu_seconds: float
    peak_bytes: int | None


class Failed(Exception):
    """A contender, or its surroundings, that did not end with the right file. The message is for the table."""


def measured(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> tuple[Cost, str]:
    """Run `command` in `folder`; what it cost, and what it said on stdout. Raises Failed."""
    errors = folder / "stderr"
    with errors.open("wb") as stderr:
        began = time.perf_counter()
        process = subprocess.Popen(
            command,
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
        )
        with Watch(process.pid) as watch:
            output, cpu_seconds = _waited_for(process)
            seconds = time.perf_counter() - began
    if process.returncode != 0:
        said = errors.read_text(errors="replace").strip().replace("\n", " | ")
        late = f"stopped after {MAX_RUN_SECONDS:.0f} s" if seconds >= MAX_RUN_SECONDS else f"exit {process.returncode}"
        raise Failed(f"{late} {said[-MAX_ERROR_CHARS:]}".strip())
    return Cost(seconds, cpu_seconds, watch.peak_bytes), output


def _waited_for(process: subprocess.Popen[bytes]) -> tuple[str, float]:
    """Its stdout and the CPU seconds of it and its children; ended by force when it takes too long."""
    assert process.stdout is not None
    last_resort = threading.Timer(MAX_RUN_SECONDS, end_group, (process.pid,))
    last_resort.start()
    try:
        output = process.stdout.read().decode(errors="replace")
        _pid, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    except BaseException:
        end_group(process.pid)
        process.wait()
        raise
    finally:
        last_resort.cancel()
        process.stdout.close()
    return output, usage.ru_utime + usage.ru_stime


def end_group(pid: int) -> None:
    """SIGKILL for a process that was started in a session of its own, and for all in it."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


class Watch:
    """Looks at the memory of a process tree until it is left; `peak_bytes` is None where there is no /proc."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._look_again_and_again, daemon=True)
        self.peak_bytes: int | None = None

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._thread.join()

    def _look_again_and_again(self) -> None:
        while True:
            now = sum(_high_water_bytes(pid) for pid in _tree(self._pid))
            if now:
                self.peak_bytes = max(now, self.peak_bytes or 0)
            if self._left.wait(LOOK_EVERY_SECONDS):
                return


def cpu_seconds_of(pid: int) -> float:
    """CPU seconds that a running process has used so far, from /proc/PID/stat (man 5 proc: utime and stime)."""
    fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _tree(pid: int) -> Iterator[int]:
    yield pid
    try:
        tasks = list((PROC / str(pid) / "task").iterdir())
    except OSError:  # it has just ended, or there is no /proc
        return
    for task in tasks:
        for child in _text(task / "children").split():
            yield from _tree(int(child))


def _high_water_bytes(pid: int) -> int:
    for line in _text(PROC / str(pid) / "status").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):  # it has just ended
        return ""

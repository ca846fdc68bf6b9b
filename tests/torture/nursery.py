"""The nursery: workers are forked by one process that has imported everything, in 20 ms instead of 600.

What a kill costs is mostly the start of the next worker, so this is what makes ten thousand kills affordable. What is
killed is a real process all the same, with memory, descriptors and locks of its own. A child belongs to nobody: the
kernel buries it, and it is known by a pidfd, which no reuse of its number can confuse (Linux; elsewhere
`can_fork` is false and workers are started afresh). A mutant is a nursery whose children are broken on purpose: a
check that does not notice it checks nothing.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import pkgutil
import select
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import download_worker

ROOT = Path(__file__).parents[2]
NOT_IMPORTED = ("migrations", "__main__")
BURIAL_SECONDS = 10.0
EAGER = {"TORTURE_EAGER": "1"}
"""In the surroundings of a child: it takes every file over several connections at once, and writes past the page cache.
Forked children only."""
FAULT = 70
"""The exit code of a child that ended with an exception of ours (EX_SOFTWARE of sysexits.h)."""


def can_fork() -> bool:
    return sys.platform == "linux" and hasattr(os, "pidfd_open")


@dataclass(eq=False)
class Child:
    """A process that somebody else has begotten. `pid` is its own as long as `alive`."""

    pid: int
    _fd: int | None
    killed: bool = False

    @property
    def alive(self) -> bool:
        return self._fd is not None and not self.ended(0.0)

    def ended(self, timeout_seconds: float) -> bool:
        """Whether it has ended by then: all its descriptors are closed and all its locks are free."""
        if self._fd is None:
            return True
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        if not poll.poll(timeout_seconds * 1000):
            return False
        os.close(self._fd)
        self._fd = None
        return True

    def signal(self, number: int) -> None:
        if self.alive and self._fd is not None:
            try:
                signal.pidfd_send_signal(self._fd, number)
            except ProcessLookupError:
                return

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.killed = self.killed or self.alive
        self.signal(signal.SIGKILL)
        if not self.ended(BURIAL_SECONDS):
            raise TimeoutError(f"process {self.pid} outlives SIGKILL: it hangs in the kernel")


class Program:
    """The same for a process started from nothing, as users do it: where there is no fork, and now and then."""

    def __init__(self, words: Sequence[str], env: Mapping[str, str], said: Path) -> None:
        base = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-m", "download_worker", *words]
        with said.open("ab") as out:
            self._process = subprocess.Popen(command, env=base | dict(env), stdout=out, stderr=out)
        self.pid = self._process.pid
        self.killed = False

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def signal(self, number: int) -> None:
        self._process.send_signal(number)  # nothing happens when it has ended: it is not buried before we ask

    def kill(self) -> None:
        self.killed = self.killed or self.alive
        self._process.kill()
        self._process.wait()


class Nursery:
    """A context: the process that forks; its children are on their own. `mutant` is one of `MUTANTS`."""

    def __init__(self, mutant: str | None = None) -> None:
        self._command = [sys.executable, "-m", "tests.torture.nursery", *([mutant] if mutant else [])]

    def __enter__(self) -> Self:
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
        self._mother = subprocess.Popen(
            self._command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self._answer()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._mother.kill()
        self._mother.wait()
        for stream in (self._mother.stdin, self._mother.stdout):
            if stream is not None:
                stream.close()

    def bear(
        self, what: str, words: Sequence[object], env: Mapping[str, str], said: Path, *, stopped: bool = False
    ) -> Child:
        """A child that lives `what` ("worker" or a `tests.torture` module with a `main(words)`).

        What it says is added to the file `said`. `stopped`: it begins with a SIGSTOP to itself, before its life.
        """
        order = {"what": what, "words": list(map(str, words)), "env": dict(env), "said": str(said), "stopped": stopped}
        assert self._mother.stdin is not None
        self._mother.stdin.write(json.dumps(order) + "\n")
        pid = int(self._answer())
        try:
            return Child(pid, os.pidfd_open(pid))
        except ProcessLookupError:
            return Child(pid, None)

    def _answer(self) -> str:
        assert self._mother.stdout is not None
        line = self._mother.stdout.readline()
        if not line:
            raise RuntimeError("the nursery has ended: what it said last stands above")
        return line


# --- the other side: the process that forks ---


def _no_fsync() -> None:
    """Python's own flushes do nothing (SQLite's, which are C, still do): bytes are called durable that are not."""
    _deaf("fsync", "fdatasync")


def _no_fdatasync() -> None:
    """The journal is flushed, and the bytes that it speaks of are not."""
    _deaf("fdatasync")


def _copying_installer() -> None:
    """A file is put in place by writing it there: whoever looks, or dies, in between meets half of it."""

    link = os.link

    def copy(source: Path, name: str, *, dst_dir_fd: int | None = None, follow_symlinks: bool = True) -> None:
        content = Path(source).read_bytes()
        target = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=dst_dir_fd)
        for part in (content[: len(content) // 2], content[len(content) // 2 :]):
            os.write(target, part)
        os.close(target)
        os.unlink(name, dir_fd=dst_dir_fd)
        link(source, name, dst_dir_fd=dst_dir_fd, follow_symlinks=follow_symlinks)

    os.link = copy  # type: ignore[assignment]


def _careless_writer() -> None:
    """A write that the disk refuses is taken for one that went well."""
    write = os.pwrite

    def careless(descriptor: int, content: memoryview, offset: int) -> int:
        try:
            return write(descriptor, content, offset)
        except OSError:
            return len(content)

    os.pwrite = careless  # type: ignore[assignment]


def _be_eager() -> None:
    """As many connections as there may be, at once and as long as they are let: nothing is measured first. And what can
    go past the page cache does so, however slowly it comes."""
    tuning = importlib.import_module("download_worker.fetchers.http.tuning")
    tuning.Tuner.observe = lambda tuner, sample: tuner._most
    sink: Any = importlib.import_module("download_worker.fetchers.http.sink")
    sink.FAST_BYTES_PER_SECOND = 0


def _deaf(*names: str) -> None:
    for name in names:
        setattr(os, name, lambda descriptor: None)


def _careless_ledger() -> None:
    """SQLite waits for no disk: what was acknowledged may be gone."""
    from sqlalchemy import Engine, event

    def forget_flushing(connection: object, record: object) -> None:
        connection.execute("PRAGMA synchronous=OFF")  # type: ignore[attr-defined]

    event.listen(Engine, "checkout", lambda connection, record, proxy: forget_flushing(connection, record))


MUTANTS: Mapping[str, Callable[[], None]] = {
    "no-fsync": _no_fsync,
    "no-fdatasync": _no_fdatasync,
    "careless-ledger": _careless_ledger,
    "copying-installer": _copying_installer,
    "careless-writer": _careless_writer,
}


def _mother(mutant: str | None) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    if mutant is not None:
        MUTANTS[mutant]()
    for module in pkgutil.walk_packages(download_worker.__path__, "download_worker."):
        if not any(part in module.name for part in NOT_IMPORTED):
            importlib.import_module(module.name)
    importlib.import_module("tests.torture.one_life")
    _warm_up()
    print("ready", flush=True)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _live(json.loads(line))
        print(pid, flush=True)


def _warm_up() -> None:
    """What is only imported when it is needed: for the making of a ledger and for the look into a file."""
    wiring = importlib.import_module("download_worker.wiring")
    settings = importlib.import_module("download_worker.settings")
    with contextlib.suppress(ImportError):  # numpy is not ours to have
        importlib.import_module("safetensors.numpy")
    with tempfile.TemporaryDirectory() as folder, wiring.ledger_of(settings.Settings(home=Path(folder))):
        pass


def _live(order: Mapping[str, object]) -> None:
    """Never returns."""
    code: object = FAULT
    try:
        code = _life(order)
    except SystemExit as end:
        code = end.code
    except BaseException:  # noqa: BLE001 - the wall of the child: its mother must not go on in it
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def _life(order: Mapping[str, object]) -> object:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    os.umask(0o022)
    null = os.open(os.devnull, os.O_RDONLY)
    said = os.open(str(order["said"]), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for mine, standard in ((null, 0), (said, 1), (said, 2)):
        os.dup2(mine, standard)
    os.close(null)
    os.close(said)
    env, words, what = order["env"], order["words"], str(order["what"])
    assert isinstance(env, dict) and isinstance(words, list)
    os.environ.update(env)
    if EAGER.keys() <= env.keys():
        _be_eager()
    if order["stopped"]:
        os.kill(os.getpid(), signal.SIGSTOP)
    if what != "worker":
        return importlib.import_module(f"tests.torture.{what}").main(words)
    sys.argv = ["download-worker", *words]
    return importlib.import_module("download_worker.cli").main()


if __name__ == "__main__":
    _mother(sys.argv[1] if len(sys.argv) > 1 else None)

"""Who is alive, asked of real processes: locked is alive, killed is dead at once, stopped is alive."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from download_worker.jobs.job import WorkerId
from download_worker.owners import Owners

ENROL = """
import sys
from pathlib import Path
from download_worker.owners import Owners
with Owners(Path(sys.argv[1])).enrol() as worker:
    print(worker, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "workers"


@pytest.fixture
def other(folder: Path) -> Iterator[tuple[subprocess.Popen[str], WorkerId]]:
    """Another worker process, enrolled."""
    command = [sys.executable, "-c", ENROL, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, WorkerId(process.stdout.readline().strip())
        finally:
            process.kill()


def test_a_worker_is_alive_while_it_is_enrolled_and_leaves_no_file(folder: Path) -> None:
    owners = Owners(folder)
    with owners.enrol() as worker:
        assert owners.is_alive(worker)
        assert owners.living() == (worker,)
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not owners.is_alive(worker)
    assert list(folder.iterdir()) == []


def test_two_workers_of_one_process_have_two_names(folder: Path) -> None:
    owners = Owners(folder)
    with owners.enrol() as one, owners.enrol() as two:
        assert one != two
        assert set(owners.living()) == {one, two}


def test_p1_a_killed_worker_is_dead_at_once_and_its_file_goes(
    folder: Path, other: tuple[subprocess.Popen[str], WorkerId]
) -> None:
    process, worker = other
    owners = Owners(folder)
    assert owners.is_alive(worker)
    assert worker.startswith(f"worker-{process.pid}-")
    process.kill()
    process.wait()
    assert (folder / f"{worker}.lock").exists(), "it had no time to clean up"
    assert not owners.is_alive(worker)
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no SIGSTOP here")
def test_p4_a_stopped_worker_is_alive(folder: Path, other: tuple[subprocess.Popen[str], WorkerId]) -> None:
    process, worker = other
    os.kill(process.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
    assert Owners(folder).is_alive(worker)
    assert Owners(folder).living() == (worker,)


@pytest.mark.parametrize(
    "name", ["", "worker-1-aaaaaaaaaaaa", "../../etc/passwd", "worker-1-AAAAAAAAAAAA", "worker-1-a\n"]
)
def test_of_a_name_that_this_house_did_not_give_out_only_the_lease_can_tell(folder: Path, name: str) -> None:
    folder.mkdir()
    assert Owners(folder).is_alive(WorkerId(name))
    assert list(folder.parent.iterdir()) == [folder]
    assert list(folder.iterdir()) == []


def test_a_foreign_file_in_the_folder_is_left_alone(folder: Path) -> None:
    folder.mkdir()
    (folder / "worker-notes.lock").write_text("mine")
    assert Owners(folder).living() == ()
    assert (folder / "worker-notes.lock").read_text() == "mine"


def test_who_looks_while_a_worker_enrols_does_not_bury_it_alive(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the making of its file and its lock, another process may take it for a dead worker's and remove it."""
    monkeypatch.setattr(secrets, "token_hex", lambda _: "a" * 12)
    folder.mkdir()
    with Owners(folder).enrol() as worker:
        path = folder / f"{worker}.lock"
    looking = FileLock(path, thread_local=False)
    looking.acquire()

    def look_away() -> None:
        path.unlink()
        looking.release()

    threading.Timer(0.1, look_away).start()
    with Owners(folder).enrol() as worker:
        assert Owners(folder).is_alive(worker)
        assert path.exists()


def test_two_homes_that_share_a_ledger_say_nothing_of_each_others_workers(folder: Path, tmp_path: Path) -> None:
    with Owners(folder).enrol() as dead:
        pass
    assert not Owners(folder).is_alive(dead)
    assert Owners(tmp_path / "another home").is_alive(dead)


def test_a_lock_that_cannot_be_asked_counts_as_alive(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    with Owners(folder).enrol() as worker:
        pass
    (folder / f"{worker}.lock").touch()

    def refuse(self: FileLock, *_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    assert Owners(folder).is_alive(worker), "only its lease may say that it is gone"
    assert (folder / f"{worker}.lock").exists()

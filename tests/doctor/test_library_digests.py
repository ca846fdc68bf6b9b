"""Digests of files on this disk: each file read once, never believed after a change, and a cache that nobody needs."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import sqlite3
import stat
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from comfy_doctor.library import digests
from comfy_doctor.library.digests import Digests
from download_worker.digests import feed
from download_worker.errors import Code, GiveUp, Interrupted, TryLater
from download_worker.leash import Leash

LATER_SECONDS = 3600.0
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="POSIX only")


def later() -> float:
    return time.time() + LATER_SECONDS


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "model.safetensors"
    file.write_bytes(os.urandom(1_200_000))
    return file


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many files were really read."""
    reads: list[int] = []

    def counted(*args: object, **kwargs: object) -> int:
        reads.append(1)
        return feed(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(digests, "feed", counted)
    return reads


def cache(tmp_path: Path, now: Callable[[], float] = later) -> Digests:
    return Digests(tmp_path / "state" / "digests.db", now=now)


def true_digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_file_is_read_once_whatever_it_is_called(tmp_path: Path, file: Path, reads: list[int]) -> None:
    assert cache(tmp_path).digest_of(file, Leash()) == true_digest(file)
    other = tmp_path / "other name.safetensors"
    other.hardlink_to(file)
    file.unlink()
    other.chmod(0o644)
    reads.clear()
    first = cache(tmp_path).digest_of(other, Leash())
    assert cache(tmp_path).digest_of(other, Leash()) == first == true_digest(other)
    assert len(reads) == 1, "a changed link count is a change of the entry: read once more, then never"
    assert cache(tmp_path).remembered(other) == first


def test_every_file_is_remembered_for_itself(tmp_path: Path) -> None:
    files = [tmp_path / "a", tmp_path / "b"]
    for file in files:
        file.write_bytes(file.name.encode())
        cache(tmp_path).digest_of(file, Leash())
    assert [cache(tmp_path).remembered(file) for file in files] == [true_digest(file) for file in files]


def test_r5_a_changed_file_of_the_same_size_and_time_is_read_again(tmp_path: Path, file: Path) -> None:
    before = file.stat()
    cache(tmp_path).digest_of(file, Leash())
    content = bytearray(file.read_bytes())
    content[1_100_000] ^= 1
    with file.open("r+b") as open_file:
        open_file.write(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert cache(tmp_path).remembered(file) is None
    assert cache(tmp_path).digest_of(file, Leash()) == true_digest(file)


def test_another_file_in_its_place_is_another_file(tmp_path: Path, file: Path) -> None:
    cache(tmp_path).digest_of(file, Leash())
    fresh = tmp_path / "fresh"
    fresh.write_bytes(os.urandom(1_200_000))
    os.utime(fresh, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
    fresh.replace(file)
    assert cache(tmp_path).digest_of(file, Leash()) == true_digest(file)


def test_a_file_that_changed_a_moment_ago_is_not_remembered(tmp_path: Path, file: Path) -> None:
    now = cache(tmp_path, now=time.time)
    assert now.digest_of(file, Leash()) == true_digest(file)
    assert now.remembered(file) is None


def test_a_file_that_changes_while_it_is_read_has_no_digest(tmp_path: Path, file: Path) -> None:
    class Writes(Leash):
        """Between two pieces somebody writes on."""

        def check(self) -> None:
            with file.open("ab") as open_file:
                open_file.write(b"more")

    with pytest.raises(TryLater, match="changed while it was read"):
        cache(tmp_path).digest_of(file, Writes())
    assert cache(tmp_path).remembered(file) is None


def test_a_pulled_leash_ends_the_reading(tmp_path: Path, file: Path) -> None:
    leash = Leash()
    leash.pull()
    with pytest.raises(Interrupted):
        cache(tmp_path).digest_of(file, leash)


@posix_only
def test_r5_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path, Path(os.devnull), tmp_path / "nothing"):
        with pytest.raises(GiveUp) as caught:
            cache(tmp_path).digest_of(path, Leash())
        assert caught.value.code is Code.STORAGE
        assert str(path) in caught.value.message


def test_a_file_that_may_not_be_read_says_so(tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_open = os.open

    def refusing(path: str | Path, *rest: Any) -> int:
        if Path(path) == file:
            raise PermissionError(13, "Permission denied")
        return real_open(path, *rest)

    monkeypatch.setattr(os, "open", refusing)
    with pytest.raises(GiveUp) as caught:
        cache(tmp_path).digest_of(file, Leash())
    assert (caught.value.code, str(file) in caught.value.message) == (Code.PERMISSION, True)


@posix_only
def test_the_cache_is_for_its_owner_only(tmp_path: Path, file: Path) -> None:
    cache(tmp_path).digest_of(file, Leash())
    assert stat.S_IMODE((tmp_path / "state" / "digests.db").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "damage", [b"", b"no database at all, and long enough to look at", b"SQLite format 3\0" + b"\xff" * 5000]
)
def test_a_damaged_cache_is_begun_anew(tmp_path: Path, file: Path, damage: bytes) -> None:
    path = tmp_path / "state" / "digests.db"
    path.parent.mkdir()
    path.write_bytes(damage)
    for _ in range(2):
        assert cache(tmp_path).digest_of(file, Leash()) == true_digest(file)
    assert cache(tmp_path).remembered(file) == true_digest(file)


def test_a_cache_that_cannot_be_written_costs_time_only(tmp_path: Path, file: Path) -> None:
    (tmp_path / "in the way").write_text("")
    digest = Digests(tmp_path / "in the way" / "digests.db").digest_of(file, Leash())
    assert digest == true_digest(file)


def test_a_foreign_row_is_not_believed(tmp_path: Path, file: Path) -> None:
    cache(tmp_path).digest_of(file, Leash())
    with sqlite3.connect(tmp_path / "state" / "digests.db") as database:
        database.execute("UPDATE digests SET sha256 = 'rubbish'")
    database.close()
    assert cache(tmp_path).digest_of(file, Leash()) == true_digest(file)


def test_threads_share_it(tmp_path: Path, file: Path) -> None:
    found: list[str] = []
    shared = cache(tmp_path)
    threads = [threading.Thread(target=lambda: found.append(shared.digest_of(file, Leash()))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [true_digest(file)] * 6


@pytest.mark.slow
def test_processes_share_it(tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.bin" for number in range(20)]
    for number, file in enumerate(files):
        file.write_bytes(bytes([number]) * 1000)
    workers = [multiprocessing.Process(target=_digest_all, args=(tmp_path, files)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert [cache(tmp_path).remembered(file) for file in files] == [true_digest(file) for file in files]


def _digest_all(tmp_path: Path, files: list[Path]) -> None:
    for file in files:
        assert cache(tmp_path).digest_of(file, Leash()) == true_digest(file)

"""A workflow that appears is looked at soon, and not before it is whole."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from comfy_doctor.findings import Report
from comfy_doctor.watch import PATIENCE_SECONDS, QUIET_SECONDS, Looked, Settling, Stamp, watch
from download_worker.errors import Code, GiveUp, Trouble

W = Path("w.json")


class Disk:
    """One folder whose files have the stamps that the test gives them."""

    def __init__(self) -> None:
        self.stamps: dict[Path, Stamp] = {}
        self.settling = Settling(self.stamps.get)

    def write(self, size: int, now: float) -> None:
        self.stamps[W] = (int(now * 1e9), size)
        self.settling.changed(W, now)

    def due(self, now: float) -> list[Path]:
        return list(self.settling.due(now))


def test_a_file_is_looked_at_once_it_is_quiet_and_only_once() -> None:
    disk = Disk()
    disk.write(10, 0.0)
    assert disk.due(QUIET_SECONDS / 2) == []
    assert disk.due(QUIET_SECONDS) == [W]
    assert disk.settling.finished(W, QUIET_SECONDS, whole=True)
    disk.settling.changed(W, 5.0)  # an event without a change
    assert disk.due(9.0) == []


def test_a_file_that_still_grows_is_waited_for() -> None:
    disk = Disk()
    disk.write(10, 0.0)
    disk.stamps[W] = (1, 20)
    assert disk.due(QUIET_SECONDS) == [], "it has changed since, although no event said so"
    assert disk.due(2 * QUIET_SECONDS) == [W]


def test_half_a_file_is_looked_at_again_when_it_changes_and_given_up_after_a_while() -> None:
    disk = Disk()
    disk.write(10, 0.0)
    assert disk.due(1.0) == [W]
    assert not disk.settling.finished(W, 1.0, whole=False)
    assert disk.due(2.0) == [], "nothing has changed"
    disk.write(20, 3.0)
    assert disk.due(4.0) == [W]
    assert not disk.settling.finished(W, 4.0, whole=False)
    late = 3.0 + PATIENCE_SECONDS
    assert disk.due(late) == [W]
    assert disk.settling.finished(W, late, whole=False), "now its error is said"
    assert disk.due(late + 100) == []


def test_a_changed_file_is_looked_at_again() -> None:
    disk = Disk()
    disk.write(10, 0.0)
    assert disk.due(1.0) == [W] and disk.settling.finished(W, 1.0, whole=True)
    disk.write(11, 2.0)
    assert disk.due(3.0) == [W]


def test_what_was_there_before_counts_when_it_changes() -> None:
    disk = Disk()
    disk.stamps[W] = (1, 1)
    disk.settling.passed_over(disk.stamps)
    disk.settling.changed(W, 0.0)
    assert disk.due(9.0) == []


def test_a_file_that_is_gone_is_forgotten() -> None:
    disk = Disk()
    disk.write(10, 0.0)
    del disk.stamps[W]
    assert disk.due(1.0) == []


def test_what_appears_in_a_folder_is_shown_by_its_real_events(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text("{}")
    stop, begun = threading.Event(), threading.Event()
    shown: list[str] = []

    def look(path: Path) -> Looked:
        return Looked(Report("diagnose", messages=(path.name,)), whole=True)

    def shows(report: Report) -> None:
        shown.extend(report.messages)
        if "inside.json" in shown and "new.json" in shown:
            stop.set()

    class Told(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            begun.set()
            return stop.wait(timeout)

    thread = threading.Thread(target=watch, args=(tmp_path, look, shows, Told()))
    thread.start()
    assert begun.wait(10)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/inside.json").write_text("{}")
    (tmp_path / ".hidden.json").write_text("{}")
    (tmp_path / "new.json").write_text("{}")
    thread.join(10)
    stop.set()
    assert sorted(shown) == ["inside.json", "new.json"]


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Trouble) as caught:
        watch(tmp_path / "gone", lambda path: pytest.fail(), lambda report: None, threading.Event())
    assert caught.value.code == "bad_watch"


def test_what_is_gone_is_not_remembered_for_ever() -> None:
    disk = Disk()
    disk.write(10, 0.0)
    assert disk.due(1.0) == [W] and disk.settling.finished(W, 1.0, whole=True)
    assert list(disk.settling.remembered) == [W]
    del disk.stamps[W]
    disk.settling.changed(W, 2.0)
    assert list(disk.settling.remembered) == []


def test_a_file_that_cannot_be_diagnosed_ends_no_watch(tmp_path: Path) -> None:
    """Neither our own trouble nor a bug that some file brings to light."""
    turns, clock = iter(range(100)), iter(range(0, 10_000, 10))
    shown: list[Report] = []

    def shows(report: Report) -> None:
        shown.append(report)

    def look(path: Path) -> Looked:
        raise {"trouble.json": GiveUp(Code.STORAGE, "no ComfyUI"), "bug.json": KeyError("bug")}[path.name]

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            if next(turns) == 0:
                for name in ("trouble.json", "bug.json"):
                    (tmp_path / name).write_text("{}")
            return len(shown) == 2 or next(turns) > 90

    watch(tmp_path, look, shows, Stop(), now=lambda: float(next(clock)))
    assert sorted(report.errors[0].code for report in shown) == ["internal", "storage"]

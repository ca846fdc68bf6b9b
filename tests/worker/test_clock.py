"""Two clocks: the wall for people, the steady one for leases; and their twin that stands still."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from download_worker.clock import FakeClock, SystemClock, iso


def test_c3_the_wall_is_utc_and_told_with_z() -> None:
    now = SystemClock().now()
    assert now.utcoffset() == timedelta(0)
    east = datetime(2026, 3, 1, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    assert iso(east) == "2026-02-28T23:30:00.000Z"
    assert datetime.fromisoformat(iso(now)) == now.replace(microsecond=now.microsecond // 1000 * 1000)


def test_c1_the_steady_clock_never_goes_back_and_knows_its_boot() -> None:
    clock = SystemClock()
    readings = [clock.steady() for _ in range(100)]
    assert readings == sorted(readings)
    assert {reading.boot_id for reading in readings} == {SystemClock().steady().boot_id}


def test_c4_the_steady_clock_is_the_one_that_goes_on_in_a_suspend(monkeypatch: pytest.MonkeyPatch) -> None:
    """CLOCK_BOOTTIME counts it, CLOCK_MONOTONIC does not (clock_gettime(2))."""
    monkeypatch.setattr("time.CLOCK_BOOTTIME", 7, raising=False)
    monkeypatch.setattr("time.clock_gettime", {7: 4200.0}.__getitem__, raising=False)
    assert SystemClock().steady().seconds == 4200.0


def test_where_boots_have_no_name_the_clock_still_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(self: Path, **_: object) -> str:
        raise FileNotFoundError(self)

    monkeypatch.setattr(Path, "read_text", missing)
    monkeypatch.delattr("time.CLOCK_BOOTTIME", raising=False)
    reading = SystemClock().steady()
    assert reading.boot_id == ""
    assert reading.seconds > 0


def test_the_twin_moves_only_when_told_to() -> None:
    clock = FakeClock()
    assert (clock.now(), clock.steady()) == (clock.now(), clock.steady())
    before = clock.steady()
    clock.advance(5)
    assert clock.now() == datetime(2026, 1, 1, 0, 0, 5, tzinfo=UTC)
    assert clock.steady() == (before.boot_id, before.seconds + 5)
    clock.reboot()
    assert clock.steady().boot_id != before.boot_id
    assert clock.steady().seconds < before.seconds

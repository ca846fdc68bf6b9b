"""A few points of the sweep (P2, D1, D4, D5, D7, D8), and a worker that the sweep must find out."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.hub import Hub
from tests.torture import sweep
from tests.torture.lives import KILL, Kind, Lives, Place, Point
from tests.torture.nursery import Nursery

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sweep.missing() is not None, reason=str(sweep.missing()))]


@contextmanager
def _lives(folder: Path, mutant: str | None = None) -> Iterator[Lives]:
    with Hub() as hub, Nursery(mutant) as nursery:
        yield Lives(hub, nursery, folder)


def test_p2_a_sample_of_kills_and_disk_errors_is_mended_by_the_next_life(tmp_path: Path) -> None:
    with _lives(tmp_path) as lives:
        points = sweep.sample(sweep.all_points(lives, (KILL, *sweep.ERRORS)), 18, random.Random(4))
        verdicts = [lives.verdict(point) for point in points]
    assert {point.blow for point in points} == {KILL, *sweep.ERRORS}
    wrong = {str(point): verdict.wrong for point, verdict in zip(points, verdicts, strict=True) if verdict.wrong}
    assert wrong == {}


def test_p2_an_installer_that_copies_is_found_by_a_kill_between_two_writes(tmp_path: Path) -> None:
    kind = Kind(connections=1, with_digest=False)
    with _lives(tmp_path, "copying-installer") as lives:
        verdicts = [lives.verdict(Point(kind, Place.LIBRARY, "write", number)) for number in (1, 2)]
    assert "something unproven was in the library" in {verdict.wrong for verdict in verdicts}


def test_d4_a_writer_that_ignores_the_disk_is_found_by_a_write_that_fails(tmp_path: Path) -> None:
    kind = Kind(connections=4, with_digest=False)
    with _lives(tmp_path, "careless-writer") as lives:
        verdicts = [lives.verdict(Point(kind, Place.PART, "pwrite64", number, "EIO")) for number in (2, 5, 9)]
    assert "something unproven was in the library" in {verdict.wrong for verdict in verdicts}, verdicts

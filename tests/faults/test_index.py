"""Every row of the fault matrix has a test that exists, and every fault of the catalogue a row that exists."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from tests.faults.catalogue import FAULTS
from tests.faults.index import SECTIONS, TESTS

TESTS_FOLDER = Path(__file__).parents[1]
ROWS = tuple(f"{section}{number}" for section, count in SECTIONS.items() for number in range(1, count + 1))


DEFINED = re.compile(r"^(?:async )?def (test_\w+)", re.MULTILINE)


@cache
def known_names() -> frozenset[str]:
    found: set[str] = set()
    for path in TESTS_FOLDER.rglob("test_*.py"):
        found.update(DEFINED.findall(path.read_text(encoding="utf-8")))
    return frozenset(found)


def test_the_index_has_all_rows_and_no_other() -> None:
    assert sorted(TESTS) == sorted(ROWS)


@pytest.mark.parametrize("row", ROWS)
def test_each_row_has_a_test(row: str) -> None:
    named = TESTS.get(row, ())
    assert named, f"{row} has no test"
    assert set(named) <= known_names(), f"{row}: {sorted(set(named) - known_names())} are not there"


def test_each_fault_of_the_catalogue_belongs_to_a_row() -> None:
    assert {row for fault in FAULTS for row in fault.rows} <= set(ROWS)
    assert all(fault.rows for fault in FAULTS)


def test_each_row_of_http_is_in_the_matrix() -> None:
    played = {row for fault in FAULTS for row in fault.rows}
    assert {row for row in ROWS if row.startswith("H")} <= played

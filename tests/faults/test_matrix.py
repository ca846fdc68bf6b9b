"""Show 2: each fault in each cell ends as its rule says: no wrong file as SUCCESS, the right code, in bounded time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.catalogue import FAULTS, Fault
from tests.faults.stage import CELLS, Cell, Hosts, Known, Stage
from tests.faults.walk import SECONDS_MAX, play

BY_NAME = {fault.name: fault for fault in FAULTS}
SAMPLE = (
    ("rst_mid", Cell(0.0, Known.NOTHING)),
    ("range_ignored", Cell(0.5, Known.SIZE)),
    ("etag_changed_no_ifrange", Cell(0.5, Known.NOTHING)),
    ("always_416_with_total", Cell(0.99, Known.DIGEST)),
    ("bitflip", Cell(0.01, Known.DIGEST)),
    ("html_200", Cell(0.0, Known.DIGEST)),
    ("smuggled_range", Cell(0.0, Known.SIZE)),
    ("redirect_other_host", Cell(0.5, Known.DIGEST)),
)


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with Stage() as hosts:
        yield hosts


def complaints(fault: Fault, cells: tuple[Cell, ...], hosts: Hosts, folder: Path) -> list[str]:
    found = []
    for number, cell in enumerate(cells):
        ended = play(fault, cell, hosts, folder / str(number))
        if ended.end not in fault.rule(cell) or ended.seconds > SECONDS_MAX:
            allowed = ", ".join(sorted(fault.rule(cell)))
            found.append(f"{cell}: {ended.end} after {ended.seconds:.1f} s, allowed: {allowed}; {ended.told}")
    return found


def test_there_are_at_least_52_faults_and_each_has_a_name_of_its_own() -> None:
    assert len(BY_NAME) == len(FAULTS) >= 52


@pytest.mark.parametrize(("name", "cell"), SAMPLE, ids=[name for name, _ in SAMPLE])
def test_a_sample_of_the_matrix_ends_as_its_rules_say(name: str, cell: Cell, hosts: Hosts, tmp_path: Path) -> None:
    assert complaints(BY_NAME[name], (cell,), hosts, tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_each_fault_ends_as_its_rule_says(fault: Fault, hosts: Hosts, tmp_path: Path) -> None:
    assert complaints(fault, CELLS, hosts, tmp_path) == []

"""Show 2: each fault in each cell ends as its rule says: no wrong file as SUCCESS, the right code, in bounded time."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.catalogue import FAULTS, Fault
from tests.faults.rules import RIGHT
from tests.faults.stage import CELLS, FILE_BYTES, SEGMENTED, Cell, Hosts, Known, Stage
from tests.faults.walk import QUESTIONS_MAX, SECONDS_MAX, play

MEMORY = Path("/dev/shm")
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
    ("busy_403", Cell(0.0, Known.NOTHING, segmented=True)),
)


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with Stage() as hosts:
        yield hosts


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where thousands of flushes cost nothing, if there is such a place: they are not what is tested here."""
    if not MEMORY.is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="comfy-doctor-faults-") as name:
        yield Path(name)


def complaints(fault: Fault, cells: tuple[Cell, ...], hosts: Hosts, folder: Path) -> list[str]:
    found = []
    for number, cell in enumerate(cells):
        ended = play(fault, cell, hosts, folder / str(number))
        bounded = ended.seconds < SECONDS_MAX and ended.questions < QUESTIONS_MAX
        if ended.end not in fault.rule(cell) or not bounded:
            after = f"after {ended.seconds:.1f} s and {ended.questions} questions"
            found.append(f"{cell}: {ended.end} {after}, allowed: {sorted(fault.rule(cell))}; {ended.told}")
    return found


def test_there_are_at_least_52_faults_and_each_has_a_name_of_its_own() -> None:
    assert len(BY_NAME) == len(FAULTS) >= 52


@pytest.mark.parametrize(("name", "cell"), SAMPLE, ids=[name for name, _ in SAMPLE])
def test_a_sample_of_the_matrix_ends_as_its_rules_say(name: str, cell: Cell, hosts: Hosts, folder: Path) -> None:
    assert complaints(BY_NAME[name], (cell,), hosts, folder) == []


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_each_fault_ends_as_its_rule_says(fault: Fault, hosts: Hosts, folder: Path) -> None:
    assert complaints(fault, CELLS, hosts, folder) == []


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_each_fault_ends_as_its_rule_says_with_several_connections(fault: Fault, hosts: Hosts, folder: Path) -> None:
    assert complaints(fault, SEGMENTED, hosts, folder) == []


@pytest.mark.slow
def test_n14_several_connections_really_come_together(hosts: Hosts, folder: Path) -> None:
    asked = len(hosts.plain.hits)
    assert play(BY_NAME["honest"], SEGMENTED[0], hosts, folder).end == RIGHT
    hits = hosts.plain.hits[asked:]
    assert len({hit.connection for hit in hits}) > 2
    assert sum(hit.bytes_sent for hit in hits) < 1.3 * FILE_BYTES

"""Some power cuts hold what was promised, and the same cuts find a worker that does not flush (D13)."""

from __future__ import annotations

import pytest

from tests.torture.machine import why_not_here
from tests.torture.power import run

pytestmark = [pytest.mark.slow, pytest.mark.skipif(why_not_here() is not None, reason=str(why_not_here()))]


def test_d13_a_power_cut_costs_no_acknowledged_job_and_leaves_no_wrong_file() -> None:
    broken, figures = run(cuts=8, seed=13)
    assert broken == []
    assert figures["successes_looked_up"] and figures["durable_bytes_compared"], figures


@pytest.mark.parametrize(
    ("mutant", "words"),
    [
        ("no-fsync", ("is not right", "called durable")),
        ("no-fdatasync", ("called durable",)),
        ("careless-ledger", ("is gone",)),
    ],
)
def test_d13_a_worker_that_does_not_flush_is_found_by_the_cuts(mutant: str, words: tuple[str, ...]) -> None:
    """By the first cut that finds something; what it finds depends on the moment."""
    broken, figures = run(cuts=60, seed=1, mutant=mutant)
    assert any(word in line for line in broken for word in words), (figures, broken)

"""`comfy-doctor demo`, the first thing that anybody types."""

from __future__ import annotations

import time

import pytest

from .house import House


@pytest.mark.slow
def test_the_demo_ends_well_in_under_a_minute_and_leaves_nothing(house: House) -> None:
    temporary = house.folder / "tmp"
    temporary.mkdir()
    before = sorted(house.home.rglob("*"))
    begun = time.monotonic()
    said = house.cli("demo", as_json=False, env={"TMPDIR": str(temporary)})
    print(f"\ndemo: {time.monotonic() - begun:.1f} s")
    assert said.exit_code == 0, said
    assert said.stdout.count("✓") == 5
    assert "✗" not in said.stdout
    assert list(temporary.iterdir()) == []
    assert sorted(house.home.rglob("*")) == before, "the user's own home is not touched"

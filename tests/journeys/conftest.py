"""A fresh house for every journey."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .house import House

collect_ignore_glob = ["*"] if sys.platform == "win32" else []
"""Signals and process groups are what these stories are about."""


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with House(tmp_path) as house:
        yield house

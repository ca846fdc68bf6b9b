"""Mount points that are none: what the system tells of a path, but for its device number."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def mounted_at(monkeypatch: pytest.MonkeyPatch, *points: Path) -> None:
    """As if something were mounted there, and nowhere else."""

    def lstat(path: str | Path) -> os.stat_result:
        there = Path(path).stat(follow_symlinks=False)
        device = max((len(point.parts) for point in points if Path(path).is_relative_to(point)), default=0)
        return os.stat_result((*there[:2], device, *there[3:]))

    monkeypatch.setattr("os.lstat", lstat)

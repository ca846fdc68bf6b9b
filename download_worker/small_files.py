"""A small file replaced as a whole: after a power cut it holds what it held before, or what it was given."""

from __future__ import annotations

import os
from pathlib import Path


def replace_durably(path: Path, text: str) -> None:
    """On disk when it returns. What is beside it with the suffix `.new` goes. Raises OSError."""
    fresh = path.with_suffix(".new")
    with fresh.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    _sync_folder(path.parent)  # else a power cut could bring back what it held before


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":  # Windows has no such call; NTFS journals its folders
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

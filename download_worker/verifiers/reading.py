"""How verifiers look at the file under examination. Its path is the fence: where it is gone, the claim is lost."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from download_worker.errors import LostClaim
from download_worker.room import storage_errors
from download_worker.verifiers.verifier import Specimen


@contextmanager
def examining(specimen: Specimen) -> Iterator[Path]:
    """The path of the staged file, and what the disk says of it translated.

    Raises:
        LostClaim: the room is no longer ours. TryLater, GiveUp: see `storage_errors`.
    """
    path = specimen.file.path
    with storage_errors(path):
        try:
            yield path
        except FileNotFoundError as error:
            raise LostClaim(f"{path} is gone: another worker has this job") from error


@contextmanager
def reading(specimen: Specimen) -> Iterator[BinaryIO]:
    """The staged file, open for reading. Raises what `examining` does."""
    # With a size that is given, Python does not ask whether the file is a terminal.
    with examining(specimen) as path, path.open("rb", buffering=io.DEFAULT_BUFFER_SIZE) as file:
        yield file

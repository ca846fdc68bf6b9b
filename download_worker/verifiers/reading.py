"""How verifiers open the file under examination. Its path is the fence: where it is gone, the claim is lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from download_worker.errors import LostClaim
from download_worker.room import storage_errors
from download_worker.verifiers.verifier import Specimen


@contextmanager
def reading(specimen: Specimen) -> Iterator[BinaryIO]:
    """The staged file, open for reading.

    Raises:
        LostClaim: the room is no longer ours. TryLater, GiveUp: see `storage_errors`.
    """
    path = specimen.file.path
    with storage_errors(path):
        try:
            with path.open("rb") as file:
                yield file
        except FileNotFoundError as error:
            raise LostClaim(f"{path} is gone: another worker has this job") from error

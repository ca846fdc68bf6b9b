"""How verifiers open the file under examination. Its path is the fence: where it is gone, the claim is lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from download_worker.errors import Code, GiveUp, LostClaim
from download_worker.verifiers.verifier import Specimen


@contextmanager
def reading(specimen: Specimen) -> Iterator[BinaryIO]:
    """The staged file, open for reading.

    Raises:
        LostClaim: the room is no longer ours. GiveUp: storage, the disk failed.
    """
    path = specimen.file.path
    try:
        with path.open("rb") as file:
            yield file
    except FileNotFoundError as error:
        raise LostClaim(f"{path} is gone: another worker has this job") from error
    except OSError as error:
        raise GiveUp(Code.STORAGE, f"the disk failed while reading {path}: {error.strerror or error}") from error

"""Files under examination, for tests: bytes in a room, and the job that asked for them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from download_worker.jobs.job import JobId
from download_worker.room import Fetched, Identity
from download_worker.verifiers.verifier import Specimen
from tests.jobs import make_info

JOB_ID = JobId("0c2b6e1e-0000-4000-8000-000000000001")


def fetched(room: Path, content: bytes, **changes: Any) -> Fetched:
    """A whole file `room/part`, as a fetcher hands it over."""
    room.mkdir(parents=True, exist_ok=True)
    path = room / "part"
    path.write_bytes(content)
    values: dict[str, Any] = {
        "path": path,
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content),
        "identity": Identity.of(path.stat()),
        "origin": "https://models.example/file",
        "content_type": "application/octet-stream",
    }
    return Fetched(**(values | changes))


def specimen(room: Path, content: bytes, name: str = "good.safetensors", **wanted: Any) -> Specimen:
    return Specimen(job_id=JOB_ID, file=fetched(room, content), wanted=make_info(name, **wanted))

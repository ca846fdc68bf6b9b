"""Jobs for tests: one call, sensible values."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from download_worker.clock import FakeClock, iso
from download_worker.jobs.job import Event, Job, JobId, ModelInfo, Status

_numbers = itertools.count(1)


def make_info(name: str | None = None, **changes: Any) -> ModelInfo:
    name = name or f"model-{next(_numbers)}.safetensors"
    values: dict[str, Any] = {
        "expected_filename": name,
        "model_type": "loras",
        "download_url": f"https://models.example/{name}",
    }
    return ModelInfo(**(values | changes))


def make_job(root: Path = Path("/models"), *, info: ModelInfo | None = None, **changes: Any) -> Job:
    at = iso(FakeClock().now())
    number = next(_numbers)
    values: dict[str, Any] = {
        "job_id": JobId(f"{number:08x}-0000-4000-8000-000000000000"),
        "status": Status.PENDING,
        "added_at": at,
        "model_info": info or make_info(),
        "history": (Event(timestamp=at, event="Job created"),),
        "models_root": root,
    }
    return Job(**(values | changes))

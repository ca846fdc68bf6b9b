"""A realistic evening of downloads, standing still at one moment: for pictures and for tests."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from download_worker.clock import Clock, iso
from download_worker.jobs.bell import MemoryBell
from download_worker.jobs.counter import Counter
from download_worker.jobs.job import Event, Job, JobId, Lease, ModelInfo, Progress, Result, Status, Verdict, WorkerId
from download_worker.jobs.memory_ledger import MemoryLedger

NOW = datetime(2026, 3, 14, 21, 30, 12, tzinfo=UTC)
ROOT = Path("/srv/comfyui/models")
SHA256 = "5f8a3b1c9d7e2f4a6b8c0d1e3f5a7b9c2d4e6f8091a3b5c7d9e1f2a4b6c8d0e2"
GB, MB = 10**9, 10**6


def ago(seconds: float) -> str:
    return iso(NOW - timedelta(seconds=seconds))


def sample(number: int, name: str, folder: str, host: str, status: Status, **changes: Any) -> Job:
    info = {
        "expected_filename": name,
        "model_type": folder,
        "download_url": f"https://{host}/models/resolve/main/{name}",
        "source": changes.pop("source", "embedded"),
        "sha256": changes.pop("sha256", None),
        "subfolder": changes.pop("subfolder", ""),
    }
    values: dict[str, Any] = {
        "job_id": JobId(f"{number:08x}-7c1e-4b6f-9a52-0d6c1e5b7f30"),
        "status": status,
        "added_at": ago(600 + number),
        "model_info": ModelInfo(**info),
        "history": (Event(timestamp=ago(600 + number), event="Job created"),),
        "models_root": ROOT,
    }
    return Job(**(values | changes))


def owned(worker: str = "worker-4711") -> dict[str, Any]:
    return {"worker": WorkerId(worker), "lease": Lease("boot-1", 0.0, 1e9), "attempts": 1}


def history(*events: tuple[float, str]) -> tuple[Event, ...]:
    return tuple(Event(timestamp=ago(seconds), event=text) for seconds, text in events)


def progress(done: float, total: float | None, speed: float | None, connections: int = 1) -> Progress:
    return Progress(
        bytes=int(done),
        total=None if total is None else int(total),
        bytes_per_second=speed,
        eta_seconds=(total - done) / speed if total and speed else None,
        connections=connections,
    )


VERIFIED = Verdict(
    verdict="VERIFIED",
    reason="A safetensors file with 1,444 tensors of the FLUX VAE, as asked for",
    by="qwen2.5-7b-instruct",
    proof="A",
    prompt_version="3",
    evidence=(
        {"step": "digest", "sha256": SHA256, "bytes": 335_304_388, "matches": True},
        {"step": "filetype", "mime": "application/octet-stream", "extension": ".safetensors"},
        {"step": "safetensors", "tensors": 244, "dtypes": ["BF16"], "metadata": {"format": "pt"}, "holes": 0},
    ),
)
REJECTED = Verdict(
    verdict="REJECTED",
    reason="The server sent a web page (“Sign in to Civitai”) under a model's name",
    by="rules",
    evidence=(
        {"step": "filetype", "mime": "text/html", "first_bytes": "<!DOCTYPE html><html lang=en>", "title": "Sign in"},
    ),
)


def evening() -> list[Job]:
    hf, civitai = "huggingface.co", "civitai.com"
    return [
        sample(
            1,
            "flux1-dev-fp8-e4m3fn.safetensors",
            "diffusion_models",
            hf,
            Status.DOWNLOADING,
            **owned(),
            sha256=SHA256,
            progress=progress(4.81 * GB, 11.9 * GB, 38.2 * MB, 4),
            history=history((610, "Job created"), (128, "Download started")),
        ),
        sample(
            2,
            "t5xxl_fp16.safetensors",
            "text_encoders",
            hf,
            Status.DOWNLOADING,
            **owned(),
            priority=5,
            progress=progress(9.71 * GB, 9.79 * GB, 21.7 * MB),
            history=history((600, "Job created"), (440, "Download started")),
        ),
        sample(
            3,
            "epicrealism_naturalSinRC1VAE.safetensors",
            "checkpoints",
            civitai,
            Status.DOWNLOADING,
            **owned(),
            progress=progress(212 * MB, None, 3.4 * MB),
        ),
        sample(
            4, "ae.safetensors", "vae", hf, Status.VERIFYING, **owned(), progress=progress(335 * MB, 335 * MB, None)
        ),
        sample(
            5,
            "clip_l.safetensors",
            "text_encoders",
            hf,
            Status.VERIFYING,
            attempts=2,
            not_before=iso(NOW + timedelta(seconds=250)),
            progress=progress(246 * MB, 246 * MB, None),
            history=history((700, "Job created"), (50, "The language model is silent; asked again later")),
        ),
        sample(6, "4x-UltraSharp.pth", "upscale_models", hf, Status.PENDING, priority=2),
        sample(
            7,
            "control_v11p_sd15_openpose_fp16.safetensors",
            "controlnet",
            hf,
            Status.PENDING,
            subfolder="sd15",
            not_before=iso(NOW + timedelta(seconds=42)),
            attempts=3,
            progress=progress(120 * MB, 722 * MB, None),
            history=history(
                (900, "Job created"), (300, "Download started"), (18, "busy_host: the host asked to come back in 60 s")
            ),
        ),
        sample(
            8,
            "wan2.1_i2v_480p_14B_fp8_scaled.safetensors",
            "diffusion_models",
            hf,
            Status.PENDING,
            paused=True,
            attempts=1,
            progress=progress(6.9 * GB, 16.4 * GB, None),
        ),
        sample(9, "SDXL_日本のアニメ風景_背景美術_v2.safetensors", "loras", civitai, Status.PENDING),
        sample(
            10,
            "ip-adapter-plus_sdxl_vit-h.safetensors",
            "ipadapter",
            hf,
            Status.PENDING,
            progress=progress(0, 848 * MB, None),
        ),
        sample(
            11,
            "detail_tweaker_xl.safetensors",
            "loras",
            civitai,
            Status.FAILED,
            attempts=1,
            history=history(
                (340, "Job created"), (300, "Download started"), (299, "Failed (html): the server sent a web page")
            ),
            result=Result(
                code="html",
                reason="civitai.com sent a web page instead of detail_tweaker_xl.safetensors",
                verdict=REJECTED,
            ),
        ),
        sample(
            12,
            "sd_xl_refiner_1.0.safetensors",
            "checkpoints",
            hf,
            Status.FAILED,
            attempts=2,
            sha256=SHA256,
            history=history((4000, "Job created"), (3700, "Failed (hash_mismatch)")),
            progress=progress(6.08 * GB, 6.08 * GB, None),
            result=Result(
                code="hash_mismatch", reason="sd_xl_refiner_1.0.safetensors has another SHA-256 than was asked for"
            ),
        ),
        sample(
            13,
            "old_idea.safetensors",
            "loras",
            civitai,
            Status.FAILED,
            history=history((9000, "Job created"), (8000, "Cancelled")),
            result=Result(code="cancelled", reason="cancelled"),
        ),
        sample(
            14,
            "flux-vae-bf16.safetensors",
            "vae",
            hf,
            Status.SUCCESS,
            attempts=1,
            source="civitai_hash",
            sha256=SHA256,
            history=history(
                (720, "Job created"),
                (700, "Download started"),
                (660, "Verifying"),
                (640, "Verified by qwen2.5-7b-instruct"),
                (639, "In place"),
            ),
            progress=progress(335_304_388, 335_304_388, None),
            result=Result(path=str(ROOT / "vae/flux-vae-bf16.safetensors"), sha256=SHA256, proof="A", verdict=VERIFIED),
        ),
        sample(
            15,
            "dreamshaper_8.safetensors",
            "checkpoints",
            civitai,
            Status.SUCCESS,
            attempts=1,
            history=history((90_000, "Job created"), (86_000, "In place")),
            progress=progress(2.13 * GB, 2.13 * GB, None),
        ),
        sample(
            16,
            "RealESRGAN_x4plus.pth",
            "upscale_models",
            "github.com",
            Status.SUCCESS,
            attempts=1,
            history=history((190_000, "Job created"), (186_000, "In place")),
            progress=progress(67 * MB, 67 * MB, None),
        ),
    ]


def ledger_of(jobs: Sequence[Job]) -> MemoryLedger:
    """The ledger's twin with these jobs. Ended ones are given newest first, so they arrive in reverse."""
    ledger = MemoryLedger()
    for job in [*(job for job in jobs if job.live), *(job for job in reversed(jobs) if not job.live)]:
        ledger.add(job)
    return ledger


def counter_over(ledger: MemoryLedger, clock: Clock) -> Counter:
    return Counter(ledger, MemoryBell(), clock, lambda url: None)

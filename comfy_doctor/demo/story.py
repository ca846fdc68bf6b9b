"""The demo's story: a workflow that lacks five files, three of which can be had and two of which must be refused."""

from __future__ import annotations

import json
import random
import struct
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from comfy_doctor.comfyui.install import find_install
from comfy_doctor.demo.host import Shelved, model_host
from comfy_doctor.diagnose import diagnose
from comfy_doctor.fix import Cure, Workers, fix
from comfy_doctor.plan import Sources, disk_at, plan_for
from comfy_doctor.render import Narrator
from download_worker.errors import Code
from download_worker.jobs.counter import Counter
from download_worker.report import ExitCode, Report

HOME_HOST = "https://huggingface.co"
REPOSITORY = "/comfy-doctor/demo/resolve/main/"
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Actor:
    """One file of the story: who asks for it, what the host gives, and how it must end."""

    name: str
    folder: str
    node_type: str
    shelved: Shelved
    what: str
    refused_with: Code | None = None
    claimed_sha256: str | None = None

    @property
    def url(self) -> str:
        return f"{HOME_HOST}{REPOSITORY}{self.name}"


Stage = Callable[[Path, str], AbstractContextManager[tuple[Counter, Workers]]]
"""Opens a private home with its own counter and worker: `stage(home, hugging_face_endpoint)`."""


def cast() -> tuple[Actor, ...]:
    page = b"<!DOCTYPE html><html><body><h1>Log in</h1>You need to log in to download this model.</body></html>"
    wrong = sha256(b"what the publisher announced").hexdigest()
    checkpoint, lora, vae, unet = (_model(size, seed) for seed, size in enumerate((6, 4, 2, 3)))
    return (
        Actor("demo_checkpoint.safetensors", "checkpoints", "CheckpointLoaderSimple", Shelved(checkpoint), "good"),
        Actor("demo_style.safetensors", "loras", "LoraLoader", Shelved(lora, cuts=2), "the line is cut twice"),
        Actor("demo_vae.safetensors", "vae", "VAELoader", Shelved(vae), "good", None, sha256(vae).hexdigest()),
        Actor(
            "demo_gated.safetensors", "text_encoders", "CLIPLoader", Shelved(page, "text/html"),
            "the host sends its login page", Code.HTML,
        ),
        Actor(
            "demo_swapped.safetensors", "diffusion_models", "UNETLoader", Shelved(unet),
            "not the bytes that were announced", Code.HASH_MISMATCH, wrong,
        ),
    )  # fmt: skip


# The workflow names every source itself; nobody else is asked, and the heads are left to the worker.
ITS_OWN = Sources((), None, disk_at, is_set=lambda variable: False)


def tell(narrator: Narrator, stage: Stage) -> Report:
    """Play it. OK when everything ended as it must."""
    actors = cast()
    with tempfile.TemporaryDirectory(prefix="comfy-doctor-demo-") as folder, narrator:
        root = Path(folder)
        comfyui, workflow = _comfyui(root / "ComfyUI"), root / "portrait.json"
        workflow.write_text(json.dumps(_workflow(actors)), encoding="utf-8")
        with model_host({f"{REPOSITORY}{actor.name}": actor.shelved for actor in actors}) as host:
            narrator.say(f"A stand-in model host is at {host}, an empty ComfyUI in {comfyui}.")
            narrator.say(f"portrait.json asks for {len(actors)} models, none of which is here:", "bold")
            for actor in actors:
                narrator.say(f"  {actor.folder}/{actor.name}: {actor.what}")
            install = find_install(comfyui)
            with stage(root / "home", host) as (counter, workers):
                narrator.say("$ comfy-doctor fix portrait.json", "bold")
                look = partial(diagnose, [workflow], install)
                plan = partial(plan_for, sources=ITS_OWN)
                report = fix(Cure(look, plan, install.models_root, counter, workers, narrator))
        return _judged(report, actors, comfyui)


def _judged(report: Report, actors: Sequence[Actor], comfyui: Path) -> Report:
    jobs = {job["model_info"]["expected_filename"]: job for job in report.data["jobs"]}
    lines, right = [], True
    for actor in actors:
        job = jobs[actor.name]
        path = comfyui / "models" / actor.folder / actor.name
        placed = path.exists() and path.read_bytes() == actor.shelved.body
        refused = not path.exists() and job["result"]["code"] == actor.refused_with
        as_it_must = placed if actor.refused_with is None else refused
        right = right and as_it_must
        word = "in place, proven" if placed else f"refused ({job['result']['code']})"
        lines.append(f"{'✓' if as_it_must else '✗ NOT AS IT MUST BE'} {actor.folder}/{actor.name}: {word}")
    lines.append(
        "Three files fetched, proven and placed; two refused, with the reasons above; nothing was left behind."
    )
    return Report("demo", ExitCode.OK if right else ExitCode.FINDINGS, data=report.data, messages=tuple(lines))


def _model(megabytes: int, seed: int) -> bytes:
    """A small real safetensors file: the length of the header, the header, one tensor."""
    body = random.Random(seed).randbytes(megabytes * MEGABYTE)  # noqa: S311 - content, not a secret
    tensor = {"dtype": "F16", "shape": [len(body) // 2], "data_offsets": [0, len(body)]}
    text = json.dumps({"__metadata__": {"made_by": "comfy-doctor demo"}, "model.weight": tensor})
    header = text.ljust(-(-len(text) // 8) * 8).encode()
    return struct.pack("<Q", len(header)) + header + body


def _comfyui(root: Path) -> Path:
    for folder in ("models/checkpoints", "models/loras", "models/vae", "custom_nodes"):
        (root / folder).mkdir(parents=True)
    (root / "main.py").write_text("# stands for ComfyUI\n", encoding="utf-8")
    return root


def _workflow(actors: Sequence[Actor]) -> dict[str, Any]:
    """As the ComfyUI frontend writes it: format 0.4, models declared in the nodes' properties."""
    return {
        "id": "demo",
        "revision": 0,
        "last_node_id": len(actors),
        "last_link_id": 0,
        "nodes": [_node(number, actor) for number, actor in enumerate(actors, 1)],
        "links": [],
        "groups": [],
        "config": {},
        "extra": {},
        "version": 0.4,
    }


def _node(number: int, actor: Actor) -> dict[str, Any]:
    model = {"name": actor.name, "url": actor.url, "directory": actor.folder}
    if actor.claimed_sha256:
        model |= {"hash": actor.claimed_sha256, "hash_type": "SHA256"}
    return {
        "id": number,
        "type": actor.node_type,
        "pos": [100, 140 * number],
        "size": [315, 98],
        "flags": {},
        "order": number,
        "mode": 0,
        "inputs": [],
        "outputs": [],
        "properties": {"cnr_id": "comfy-core", "Node name for S&R": actor.node_type, "models": [model]},
        "widgets_values": [actor.name, 1.0, 1.0],
    }

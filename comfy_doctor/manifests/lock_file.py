"""Our own lock file: the exact models and packs that workflows used on the machine where it was written.

JSON, sorted, meant for a git repository: no path, no machine, no secret, nothing that changes without a reason.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from comfy_doctor.manifests.manifest import (
    MAX_MANIFEST_BYTES,
    MAX_MODELS,
    MAX_SOURCES,
    Described,
    LockedPack,
    Manifest,
    NoManifest,
    united,
)
from comfy_doctor.needs import Criticality, Need, Use
from download_worker.json_texts import bounded_json

LOCK_VERSION = 1


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class LockedUse(_Row):
    workflow: str
    node_id: str = ""
    node_type: str = ""
    input: str | None = None


class LockedModel(_Row):
    """`sha256` is None for a model that was not there when the lock was written."""

    folder: str
    name: str
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    size: int | None = Field(default=None, ge=0)
    sources: tuple[str, ...] = Field(default=(), max_length=MAX_SOURCES)
    criticality: Criticality = Criticality.REQUIRED
    used_by: tuple[LockedUse, ...] = ()


class _Pack(_Row):
    name: str
    id: str | None = None
    repository: str | None = None
    version: str | None = None
    commit: str | None = None


class _Lock(_Row):
    comfy_doctor_lock: int
    models: tuple[LockedModel, ...] = Field(max_length=MAX_MODELS)
    packs: tuple[_Pack, ...] = Field(default=(), max_length=MAX_MODELS)


def lock_text(models: Sequence[LockedModel], packs: Sequence[LockedPack], comfyui_version: str | None) -> str:
    """The file's text; the same content is always the same text, so that it changes only with its content."""
    document = {
        "comfy_doctor_lock": LOCK_VERSION,
        "comfyui": {"version": comfyui_version},
        "models": [
            model.model_dump(mode="json") for model in sorted(models, key=lambda model: (model.folder, model.name))
        ],
        "packs": [
            {name: getattr(pack, name) for name in ("name", "id", "repository", "version", "commit")}
            for pack in sorted(packs, key=lambda pack: pack.name.lower())
        ],
    }
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def read_lock(path: Path) -> Manifest | None:
    """The lock file, or None for a JSON file of something else.

    Raises:
        NoManifest: it says that it is one and is not, or of a version that is not known here. OSError.
    """
    with path.open("rb") as file:
        data = file.read(MAX_MANIFEST_BYTES + 1)
    try:
        document = bounded_json(data) if len(data) <= MAX_MANIFEST_BYTES else None
    except ValueError as error:
        raise NoManifest(f"not JSON: {error}"[:200]) from error
    if not isinstance(document, dict) or "comfy_doctor_lock" not in document:
        return None
    if document["comfy_doctor_lock"] != LOCK_VERSION:
        raise NoManifest(f"a lock file of version {document['comfy_doctor_lock']!r:.20}, known here is {LOCK_VERSION}")
    return _manifest(document)


def _manifest(document: dict[str, Any]) -> Manifest:
    try:
        lock = _Lock.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise NoManifest(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    packs = tuple(LockedPack(**pack.model_dump()) for pack in lock.packs)
    return Manifest("lock", united(_need(model) for model in lock.models), packs)


def _need(model: LockedModel) -> Need:
    uses = tuple(
        Use(u.workflow, u.node_id, u.node_type, u.input, active=True, written=model.name) for u in model.used_by
    )
    described = Described(model.folder, model.name, model.size, model.sha256, model.sources)
    return described.need("the lock file", uses, model.criticality)

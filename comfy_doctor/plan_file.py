"""A plan as a file, to be looked at, handed on and carried out later.

A file that this home did not write itself, or that was edited since, keeps its digests, but they are worth no more than
those of a workflow, and its links are not made: whoever hands on a plan can neither vouch for a pickle in the name of a
publisher nor give a file of this machine a second name. The seal is an HMAC by a key that stays in the home.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from comfy_doctor.apply import Task
from comfy_doctor.library.links import is_foreign
from comfy_doctor.plan import Plan
from comfy_doctor.troubles import DoctorCode, DoctorTrouble
from download_worker.errors import Trouble
from download_worker.jobs.job import ModelInfo
from download_worker.jobs.places import target_path
from download_worker.json_texts import bounded_json

PLAN_VERSION = 1
MAX_PLAN_BYTES = 64 * 1024**2
MAX_TASKS = 100_000
KEY_BYTES = 32
_UNPROVEN = "embedded"  # a source whose digests prove content and nothing else
_NOT_OURS = "this plan was not made here: diagnose the workflow here, then the link is made"


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class _Choice(_Row):
    url: str
    source: str
    mirrors: tuple[str, ...] = ()
    sha256: str | None = None
    size: int | None = None


class _Need(_Row):
    name: str | None = None
    type: str | None = None
    folder: str | None = None


class _Item(_Row):
    kind: Literal["model", "node"]
    action: str
    why: str = ""
    need: _Need
    choice: _Choice | None = None
    link_from: str | None = None


class _Body(_Row):
    items: tuple[_Item, ...] = Field(max_length=MAX_TASKS)


def write_plan(path: Path, plan: Plan, key_file: Path) -> None:
    """Write a plan, readable for its owner only, in one rename. Raises DoctorTrouble(bad_plan) where it cannot be."""
    data = plan.data()
    data["items"] = [item.document() for item in plan.items] + [node.public() for node in plan.nodes]
    if is_foreign(path, b'"comfy_doctor_plan"'):
        what = f"{path} is there already and is no plan: nothing was written over it"
        raise DoctorTrouble(DoctorCode.BAD_PLAN, what, hint="choose another file with -o FILE")
    try:
        document = {"comfy_doctor_plan": PLAN_VERSION, "seal": _seal(data, _made_key(key_file)), **data}
        text = _text(document).encode("utf-8", "backslashreplace")  # half a character pair becomes its JSON escape
        if len(text) > MAX_PLAN_BYTES:
            raise ValueError(f"it would be larger than {MAX_PLAN_BYTES} bytes: plan fewer workflows at once")
        _write(path, text)
    except (OSError, ValueError) as error:
        raise DoctorTrouble(DoctorCode.BAD_PLAN, f"cannot write {path}: {error}"[:300]) from error


def _text(document: Mapping[str, Any]) -> str:
    """JSON with an item per line: it can be read and compared, and costs a quarter of what indenting all of it does."""

    def dumped(value: Any) -> str:
        return json.dumps(value, sort_keys=True, ensure_ascii=False)

    items = ",\n".join(map(dumped, document["items"]))
    rest = ",\n".join(f"{dumped(key)}: {dumped(document[key])}" for key in sorted(document) if key != "items")
    return f'{{\n{rest},\n"items": [\n{items}\n]\n}}\n'


def _write(path: Path, data: bytes) -> None:
    """Raises OSError, ValueError for what is no file name."""
    new = path.with_name(f".{path.name}.{secrets.token_hex(6)}.new")
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def read_plan(path: Path, models_root: Path, key_file: Path) -> tuple[tuple[Task, ...], bool]:
    """The tasks of a plan's file, and whether this home wrote it as it is.

    Raises:
        DoctorTrouble: `bad_plan`, it cannot be read or is no plan.
    """
    document = _load(path)
    seal = document.pop("seal", None)
    if document.pop("comfy_doctor_plan", None) != PLAN_VERSION:
        raise DoctorTrouble(DoctorCode.BAD_PLAN, f"{path} is no plan of version {PLAN_VERSION}")
    try:
        own = _is_sealed(document, seal, key_file)
        body = _Body.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise DoctorTrouble(DoctorCode.BAD_PLAN, f"{path}: {where}: {first['msg']}"[:300]) from error
    except RecursionError as error:
        raise DoctorTrouble(DoctorCode.BAD_PLAN, f"{path} is no plan: it is too deeply nested") from error
    rows = (row for row in body.items if row.kind == "model" and row.action != "skip")
    return tuple(_task_of_row(row, models_root, own=own) for row in rows), own


def _load(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_PLAN_BYTES + 1)
        document = bounded_json(data) if len(data) <= MAX_PLAN_BYTES else None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise DoctorTrouble(DoctorCode.BAD_PLAN, f"{path} cannot be read as a plan: {why}"[:300]) from error
    if not isinstance(document, dict):
        raise DoctorTrouble(DoctorCode.BAD_PLAN, f"{path} is no plan")
    return document


def _task_of_row(row: _Item, models_root: Path, *, own: bool) -> Task:
    name, folder = row.need.name or "?", row.need.folder
    if row.action not in ("download", "link") or folder is None:
        return Task(name, row.why)
    subfolder, _, filename = name.rpartition("/")
    if row.action == "link" and not own:
        return Task(name, _NOT_OURS)
    if row.action == "link":
        try:
            target = target_path(models_root, folder, subfolder, filename)
        except Trouble as trouble:
            return Task(name, trouble.message)
        size = row.choice.size if row.choice else None
        return Task(name, row.why, target, link_from=Path(row.link_from) if row.link_from else None, size=size)
    if row.choice is None:
        return Task(name, row.why)
    choice = row.choice
    info = ModelInfo(
        expected_filename=filename,
        subfolder=subfolder,
        model_type=folder,
        download_url=choice.url,
        mirrors=choice.mirrors,
        source=choice.source if own else _UNPROVEN,
        sha256=choice.sha256,
        size=choice.size,
    )
    return Task(name, row.why, info=info)


def _is_sealed(document: Mapping[str, Any], seal: object, key_file: Path) -> bool:
    """Not sealed, too, where the key cannot be read: then nobody can say who wrote it."""
    try:
        key = key_file.read_bytes()
    except OSError:
        return False
    if len(key) != KEY_BYTES or not isinstance(seal, str) or not seal.isascii():
        return False
    return hmac.compare_digest(seal, _seal(document, key))


def _seal(document: Mapping[str, Any], key: bytes) -> str:
    body = json.dumps(document, sort_keys=True, ensure_ascii=False)
    return hmac.new(key, body.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def _made_key(path: Path) -> bytes:
    """This home's own key; it appears whole, so that two writers never seal with different ones. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with suppress(FileNotFoundError):
        if len(key := path.read_bytes()) == KEY_BYTES:
            return key
        path.unlink()
    new = path.with_name(f".{path.name}.{secrets.token_hex(6)}.new")
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
        with suppress(FileExistsError):  # somebody else was quicker
            os.link(new, path)
    except OSError:
        new.replace(path)  # a file system without hard links
    finally:
        new.unlink(missing_ok=True)
    return path.read_bytes()

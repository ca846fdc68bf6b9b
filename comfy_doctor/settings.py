"""The doctor's own settings, beside the worker's and in the same file. Order: option, environment, file, default."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from download_worker.errors import BadRequest, Code
from download_worker.settings import CONFIG_NAME, read_config


@dataclass(frozen=True)
class DoctorSettings:
    """`comfyui` is the install's root, None when nobody named one; `extra_paths` are more extra_model_paths.yaml."""

    comfyui: Path | None = None
    server: str | None = None
    extra_paths: tuple[Path, ...] = ()


def load_doctor(
    home: Path, *, comfyui: Path | None = None, server: str | None = None, extra_paths: Path | None = None
) -> DoctorSettings:
    """Raises BadRequest(bad_setting) naming the file and the key."""
    table = read_config(home / CONFIG_NAME)
    named_root = comfyui or os.environ.get("COMFYUI_PATH") or _text(table, "comfyui", home)
    named_server = server or os.environ.get("COMFYUI_URL") or _text(table, "server", home)
    named_paths = extra_paths or _text(table, "extra_paths", home)
    return DoctorSettings(
        comfyui=Path(named_root).expanduser().absolute() if named_root else None,
        server=named_server,
        extra_paths=(Path(named_paths).expanduser().absolute(),) if named_paths else (),
    )


def _text(table: dict[str, Any], key: str, home: Path) -> str | None:
    value = table.get(key)
    if value is not None and not isinstance(value, str):
        raise BadRequest(Code.BAD_SETTING, f"{home / CONFIG_NAME}: {key} must be text in quotes")
    return value

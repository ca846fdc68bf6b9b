"""The doctor's own settings, beside the worker's and in the same file. Order: option, environment, file, default."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from download_worker.errors import BadRequest, Code
from download_worker.settings import CONFIG_NAME, read_config

MANAGER_CHANNEL = "https://raw.githubusercontent.com/Comfy-Org/ComfyUI-Manager/main"
REGISTRY_HOME = "https://api.comfy.org"


@dataclass(frozen=True)
class DoctorSettings:
    """`comfyui` is the install's root, None when nobody named one; `extra_paths` are more extra_model_paths.yaml."""

    comfyui: Path | None = None
    server: str | None = None
    extra_paths: tuple[Path, ...] = ()
    manager_channel: str = MANAGER_CHANNEL
    """Base URL or folder of ComfyUI-Manager's three list files."""
    registry_endpoint: str = REGISTRY_HOME
    search_url: str | None = None
    """A web search for the agent: a URL with `{query}` in it that answers JSON. None: the agent searches hosts only."""
    offline: bool = False
    """Nothing is asked over the network; what is cached or on this disk must do."""


def load_doctor(
    home: Path,
    *,
    comfyui: Path | None = None,
    server: str | None = None,
    extra_paths: Path | None = None,
    offline: bool = False,
) -> DoctorSettings:
    """Raises BadRequest(bad_setting) naming the file and the key."""
    table = read_config(home / CONFIG_NAME)

    def named(key: str, variable: str) -> str | None:
        return os.environ.get(variable) or _text(table, key, home)

    root = comfyui or named("comfyui", "COMFYUI_PATH")
    more_paths = extra_paths or _text(table, "extra_paths", home)
    return DoctorSettings(
        comfyui=Path(root).expanduser().absolute() if root else None,
        server=server or named("server", "COMFYUI_URL"),
        extra_paths=(Path(more_paths).expanduser().absolute(),) if more_paths else (),
        manager_channel=named("manager_channel", "COMFYUI_MANAGER_CHANNEL") or MANAGER_CHANNEL,
        registry_endpoint=named("registry_endpoint", "COMFY_REGISTRY_ENDPOINT") or REGISTRY_HOME,
        search_url=named("search_url", "COMFY_DOCTOR_SEARCH_URL"),
        offline=offline or _switch(table, "offline", "COMFY_DOCTOR_OFFLINE", home),
    )


def _switch(table: dict[str, Any], key: str, variable: str, home: Path) -> bool:
    written = os.environ.get(variable)
    if written:
        if written.lower() not in ("0", "1", "true", "false", "yes", "no"):
            raise BadRequest(Code.BAD_SETTING, f"{variable} must be true or false")
        return written.lower() in ("1", "true", "yes")
    value = table.get(key, False)
    if not isinstance(value, bool):
        raise BadRequest(Code.BAD_SETTING, f"{home / CONFIG_NAME}: {key} must be true or false")
    return value


def _text(table: dict[str, Any], key: str, home: Path) -> str | None:
    value = table.get(key)
    if value is not None and not isinstance(value, str):
        raise BadRequest(Code.BAD_SETTING, f"{home / CONFIG_NAME}: {key} must be text in quotes")
    return value

"""extra_model_paths.yaml: more model folders, as ComfyUI's own `utils/extra_config.py` understands the file.

One section per other program: `base_path` (variables and `~` expanded, relative to the YAML file), `is_default`, and
model folders, each with one or several paths, one per line. Old words for folders are taken as their new ones.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from comfy_doctor.comfyui.plain_files import read_start
from comfy_doctor.troubles import DoctorCode, DoctorTrouble

FILE_NAME = "extra_model_paths.yaml"
MAX_YAML_BYTES = 256 * 1024
MAX_ROOTS = 1_000
_LEGACY = {"unet": "diffusion_models", "clip": "text_encoders"}


class ExtraRoot(NamedTuple):
    """One more place for a folder; ComfyUI puts the `first` ones before its own."""

    folder: str
    path: Path
    first: bool


def read_extra_paths(path: Path) -> tuple[ExtraRoot, ...]:
    """All roots that the file names, in its order.

    Raises:
        DoctorTrouble: `bad_extra_paths`, the file cannot be read or is not what ComfyUI expects.
    """
    sections = _load(path)
    roots = [root for section in sections.values() if section is not None for root in _section(section, path)]
    if len(roots) > MAX_ROOTS:
        raise _bad(path, f"more than {MAX_ROOTS} paths")
    return tuple(roots)


def _load(path: Path) -> Mapping[str, Any]:
    try:
        text = read_start(path, MAX_YAML_BYTES + 1)
        if len(text) > MAX_YAML_BYTES:
            raise _bad(path, f"larger than {MAX_YAML_BYTES} bytes")
        if b"*" in text and _has_alias(text):
            raise _bad(path, "YAML aliases are not accepted")  # a few of them unfold to gigabytes
        document = yaml.safe_load(text)
    except OSError as error:
        raise _bad(path, error.strerror or str(error)) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _bad(path, "not YAML: " + " ".join(str(error).split())[:200]) from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise _bad(path, "not a table of sections")
    return document


def _has_alias(text: bytes) -> bool:
    return any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text, Loader=yaml.SafeLoader))


def _section(section: Any, file: Path) -> Iterator[ExtraRoot]:
    if not isinstance(section, dict):
        raise _bad(file, "a section is not a table of folders")
    here = file.absolute().parent
    base = section.get("base_path")
    start = here / _expanded(base) if isinstance(base, str) else here
    first = section.get("is_default") is True
    for folder, lines in section.items():
        if folder in ("base_path", "is_default") or not isinstance(lines, str):
            continue
        for line in lines.split("\n"):
            if line:
                path = Path(os.path.normpath(start / line))
                yield ExtraRoot(_LEGACY.get(str(folder), str(folder)), path, first)


def _expanded(text: str) -> str:
    return os.path.expandvars(os.path.expanduser(text))  # noqa: PTH111 - leaves an unknown ~user alone, as ComfyUI does


def _bad(path: Path, why: str) -> DoctorTrouble:
    return DoctorTrouble(DoctorCode.BAD_EXTRA_PATHS, f"{path}: {why}")

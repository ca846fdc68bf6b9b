"""The channel of ComfyUI-Manager: its list files, from a folder or a URL, with a copy for a day and for bad times.

When the channel cannot be asked, the copy of an earlier day serves, then the one that an installed ComfyUI-Manager
has; each says its age. A list that is nowhere to be had is a value that says why, never an exception, and never an
empty list.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from loguru import logger

from comfy_doctor.comfyui.plain_files import read_start
from download_worker.clock import Clock, SystemClock
from download_worker.errors import Trouble
from download_worker.json_texts import bounded_json
from download_worker.leash import Leash
from download_worker.text import public_url, safe_text

NODE_MAP = "extension-node-map.json"
PACK_LIST = "custom-node-list.json"
MODEL_LIST = "model-list.json"

MAX_LIST_BYTES = 32 * 1024 * 1024
FRESH_SECONDS = 24 * 3600.0
MAX_SITE_PACKAGES = 8


class JsonSource(Protocol):
    """What fetches JSON; `download_worker.web.session.Web` does."""

    def get_json(self, url: str, *, max_bytes: int = ..., leash: Leash | None = ...) -> Any: ...


@dataclass(frozen=True, slots=True)
class ChannelFile:
    """One list. `document` is its JSON object, None when it is nowhere to be had.

    `came_from` says where this copy was, `age_seconds` how old it is. `trouble` says why the channel itself could not
    be asked, also when a copy served; None when it was, or needed not be.
    """

    name: str
    document: dict[str, Any] | None
    came_from: str = ""
    age_seconds: float = 0.0
    trouble: str | None = None

    @property
    def message(self) -> str | None:
        """What a person should know of it; None when it is as it should be."""
        if self.trouble is None:
            return None
        if self.document is None:
            return f"could not look into the Manager's {self.name}: {self.trouble}"
        return f"the Manager's {self.name} is {_age(self.age_seconds)} old, from {self.came_from}: {self.trouble}"


class Channel:
    """`where` is a folder or a base URL; `web` is None when nothing may be asked over the network.

    `cache` is a folder of ours, `installed` are folders of an installed ComfyUI-Manager, the best first. Each file is
    read once in the life of this object, which may be shared between threads.
    """

    def __init__(
        self,
        where: str,
        *,
        web: JsonSource | None,
        cache: Path,
        installed: Sequence[Path] = (),
        clock: Clock | None = None,
    ) -> None:
        self._where = where.rstrip("/")
        self._web = web
        self._cache = cache / hashlib.sha256(self._where.encode()).hexdigest()[:12]
        self._installed = tuple(installed)
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._read: dict[str, ChannelFile] = {}
        self._silent: str | None = None

    def file(self, name: str, leash: Leash | None = None) -> ChannelFile:
        """One list, by its name. Raises Interrupted, and nothing for what the far side or the disk does."""
        with self._lock:
            if name not in self._read:
                self._read[name] = self._from_url(name, leash) if self._is_url else self._from_folder(name)
            return self._read[name]

    @property
    def _is_url(self) -> bool:
        return self._where.lower().startswith(("http://", "https://"))

    def _from_folder(self, name: str) -> ChannelFile:
        path = Path(self._where).expanduser() / name
        try:
            return ChannelFile(name, _list_in(path), str(path), self._age_of(path))
        except (OSError, ValueError) as error:
            return self._from_install(name, f"{path}: {_why(error)}")

    def _from_url(self, name: str, leash: Leash | None) -> ChannelFile:
        kept = self._kept(name)
        if kept is not None and 0 <= kept.age_seconds < FRESH_SECONDS:
            return kept
        if self._web is None:
            trouble = "nothing is asked over the network"
        elif self._silent is not None:
            trouble = self._silent
        else:
            try:
                return self._fetched(name, self._web, leash)
            except Trouble as error:
                trouble = error.message
                self._silent = trouble
                logger.warning("the Manager's channel gives no {}: {}; the next run asks again", name, trouble)
        return self._from_install(name, trouble) if kept is None else replace(kept, trouble=trouble)

    def _fetched(self, name: str, web: JsonSource, leash: Leash | None) -> ChannelFile:
        """Raises Trouble. An answer of another shape is not kept: a login page must not stand in for a day."""
        url = f"{self._where}/{name}"
        document = web.get_json(url, max_bytes=MAX_LIST_BYTES, leash=leash)
        if not isinstance(document, dict) or not document:
            return self._from_install(name, f"{public_url(url)} answers something else than this list")
        try:
            self._keep(name, json.dumps(document, separators=(",", ":")).encode())
        except OSError as error:
            logger.warning("{} cannot be kept below {}: {}; the next run fetches it again", name, self._cache, error)
        return ChannelFile(name, document, public_url(url))

    def _keep(self, name: str, body: bytes) -> None:
        """The copy appears in one rename; its modification time is when it was fetched."""
        self._cache.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=self._cache, prefix=f".{name}-")
        written = Path(temporary)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(body)
            moment = self._clock.now().timestamp()
            os.utime(written, (moment, moment))
            written.replace(self._cache / name)
        except OSError:
            with contextlib.suppress(OSError):
                written.unlink()
            raise

    def _kept(self, name: str) -> ChannelFile | None:
        path = self._cache / name
        try:
            return ChannelFile(name, _list_in(path), "our copy", self._age_of(path))
        except (OSError, ValueError):
            return None

    def _from_install(self, name: str, trouble: str) -> ChannelFile:
        for folder in self._installed:
            path = folder / name
            try:
                return ChannelFile(name, _list_in(path), str(path), self._age_of(path), trouble)
            except (OSError, ValueError):
                continue
        return ChannelFile(name, None, trouble=trouble)

    def _age_of(self, path: Path) -> float:
        """Seconds; negative after the clock was set back."""
        return self._clock.now().timestamp() - path.stat().st_mtime


def _list_in(path: Path) -> dict[str, Any]:
    """Raises OSError; and ValueError when it is no JSON object, or too much of it."""
    body = read_start(path, MAX_LIST_BYTES + 1)
    if len(body) > MAX_LIST_BYTES:
        raise ValueError(f"more than {MAX_LIST_BYTES} bytes")
    document = bounded_json(body)
    if not isinstance(document, dict) or not document:
        raise ValueError("something else than this list")
    return document


def installed_lists(root: Path, node_roots: Sequence[Path] = ()) -> tuple[Path, ...]:
    """Where an installed ComfyUI-Manager keeps its lists: as a node pack, or as a package in the install's own venv."""
    packs = [folder / name for folder in (*node_roots, root / "custom_nodes") for name in _PACK_FOLDERS]
    found = [folder for folder in dict.fromkeys(packs) if _is_dir(folder)]
    for venv in (root / "venv", root / ".venv", root.parent / "python_embeded"):
        for pattern in ("lib/python3*/site-packages/comfyui_manager", "Lib/site-packages/comfyui_manager"):
            with contextlib.suppress(OSError):
                found += sorted(venv.glob(pattern), reverse=True)[:MAX_SITE_PACKAGES]
    return tuple(dict.fromkeys(found))


_PACK_FOLDERS = ("ComfyUI-Manager", "comfyui-manager")


def _is_dir(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def _why(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else safe_text(error, max_chars=200)


def _age(seconds: float) -> str:
    if seconds < 2 * 3600:
        return f"{max(0, int(seconds // 60))} minutes"
    return f"{int(seconds // 3600)} hours" if seconds < 2 * 86400 else f"{int(seconds // 86400)} days"

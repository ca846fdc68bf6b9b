"""A ComfyUI on the loopback: it answers with the recordings of a real one, and may be given an install to list.

Without `base` every answer is a recording. With it, the recorded directories lie below `base` instead of /opt/ComfyUI,
and `/models`, `/experiment/models` and the combos of `/object_info` list what lies in them; which combo lists which
folder is the measured `input_to_folder.json`. `said` replaces the JSON of a route, `faults` break one.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

import pytest

from comfy_doctor.comfyui.server import Server, read_server
from download_worker.settings import Settings
from download_worker.web.session import Web

RECORDINGS = Path(__file__).parents[3] / "shared" / "comfyui"
VERSIONS = ("0.3.64", "0.33.0")
RECORDED_BASE = "/opt/ComfyUI"
CORE_SUFFIXES = (".ckpt", ".pt", ".pt2", ".bin", ".pth", ".safetensors", ".pkl", ".sft")

needs_recordings = pytest.mark.skipif(not RECORDINGS.is_dir(), reason=f"no recorded servers at {RECORDINGS}")

Fault = Literal["hang", "500", "html", "404", "hang up"]


@cache
def recording(version: str, name: str) -> Any:
    """The JSON of one recorded answer, None where that version has none. Shared: do not change it."""
    path = RECORDINGS / version / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


@cache
def recorded_bytes(version: str, name: str) -> bytes | None:
    path = RECORDINGS / version / f"{name}.json"
    return path.read_bytes() if path.exists() else None


def directories(version: str, base: Path | str) -> dict[str, list[str]]:
    """Folder → the directories that this version searches, below another base."""
    recorded = recording(version, "internal_folder_paths")
    return {name: [path.replace(RECORDED_BASE, str(base)) for path in paths] for name, paths in recorded.items()}


class ComfyUI:
    """A context manager; `url` while it runs, `asked` is every path that was asked for."""

    def __init__(
        self,
        version: str,
        *,
        base: Path | None = None,
        said: Mapping[str, Any] | None = None,
        faults: Mapping[str, Fault] | None = None,
    ) -> None:
        self.version, self.base = version, base
        self.said, self.faults = dict(said or {}), dict(faults or {})
        self.asked: list[str] = []
        self._closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> ComfyUI:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def body(self, path: str) -> bytes | None:
        name = path.strip("/")
        if self.base is None and path not in self.said and "/" not in name:
            return recorded_bytes(self.version, name)
        found = self.answer(path)
        return None if found is None else json.dumps(found).encode()

    def answer(self, path: str) -> Any:
        """The JSON for a path, None for 404."""
        if path in self.said:
            return self.said[path]
        if path == "/object_info":
            return self._object_info()
        head, _, folder = path.rpartition("/")
        if head in ("/models", "/experiment/models"):
            return self._listed(unquote(folder), detailed=head.startswith("/experiment"))
        if path in ("/internal/folder_paths", "/experiment/models") and self.base is not None:
            text = json.dumps(recording(self.version, path.strip("/").replace("/", "_")))
            return json.loads(text.replace(RECORDED_BASE, str(self.base)))
        return recording(self.version, path.strip("/").replace("/", "_"))

    def _listed(self, folder: str, *, detailed: bool) -> Any:
        if folder not in recording(self.version, "models"):
            return None
        if self.base is None:
            return [] if detailed else recording(self.version, f"models/{folder}")
        files = list(self._files(folder))
        if detailed:
            return [{"name": name, "pathIndex": index, "size": size} for name, index, size in files]
        return sorted({name for name, _, _ in files})

    def _files(self, folder: str) -> Iterator[tuple[str, int, int]]:
        assert self.base is not None
        suffixes = (".yaml",) if folder == "configs" else CORE_SUFFIXES
        for index, directory in enumerate(directories(self.version, self.base).get(folder, [])):
            for path in sorted(Path(directory).rglob("*")):
                if path.is_file() and path.name.lower().endswith(suffixes):
                    yield path.relative_to(directory).as_posix(), index, path.stat().st_size

    def _diffusers(self) -> list[str]:
        """What the one loader offers that takes folders; `/models/diffusers` lists nothing."""
        assert self.base is not None
        root = Path(directories(self.version, self.base)["diffusers"][0])
        return [path.parent.relative_to(root).as_posix() for path in sorted(root.rglob("model_index.json"))]

    def _object_info(self) -> Any:
        recorded = recording(self.version, "object_info")
        if self.base is None:
            return recorded
        found = dict(recorded)
        for key, listed in recording(self.version, "input_to_folder").items():
            node_type, _, name = key.partition(".")
            (folder,) = listed["folders"]
            names = self._diffusers() if folder == "diffusersdir" else self._listed(folder, detailed=False)
            built_in = [] if folder == "configs" else listed["extra_options"]
            found[node_type] = _with_options(found[node_type], name, [*names, *built_in])
        return found

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        comfyui = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = urlsplit(self.path).path
                comfyui.asked.append(path)
                fault = comfyui.faults.get(path) or comfyui.faults.get("*")
                if fault == "hang":
                    comfyui._closing.wait(30)
                elif fault == "html":
                    self._send(200, b"<html>login</html>", "text/html")
                elif fault == "500":
                    self._send(500, b"500 Internal Server Error", "text/plain")
                elif fault != "hang up":
                    body = None if fault == "404" else comfyui.body(path)
                    self._send(404 if body is None else 200, body or b"404: Not Found", "application/json")

            def _send(self, status: int, body: bytes, kind: str) -> None:
                try:
                    self.send_response(status)
                    self.send_header("Content-Type", kind)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                except OSError:
                    self.close_connection = True

            def log_message(self, *args: Any) -> None:
                pass

        return Handler


def read(comfyui: ComfyUI) -> Server:
    """What our own reader makes of it."""
    found = read_server(comfyui.url, web(comfyui.url))
    assert isinstance(found, Server), found
    return found


@cache
def read_recorded(version: str) -> Server:
    """The recorded server without any file, read once for all tests."""
    with ComfyUI(version) as comfyui:
        return read(comfyui)


def web(url: str) -> Web:
    """A Web that may speak to this address."""
    return Web(Settings(allow_hosts=(url.removeprefix("http://"),)))


def _with_options(raw: Any, name: str, options: list[str]) -> Any:
    """A copy of a class in which this combo, in whatever form it has, offers these options."""

    def changed(spec: Any) -> Any:
        return [options, *spec[1:]] if isinstance(spec[0], list) else [spec[0], {**spec[1], "options": options}]

    inputs = {
        group: {key: changed(spec) if key == name else spec for key, spec in entries.items()}
        for group, entries in raw["input"].items()
        if isinstance(entries, dict)
    }
    return {**raw, "input": inputs}


def place_probes(version: str, base: Path) -> None:
    """The files that were there when `input_to_folder.json` was measured, each in its directory."""
    folders = directories(version, base)
    for listed in recording(version, "input_to_folder").values():
        (folder,) = listed["folders"]
        for name in [*listed["sample"], *(listed["extra_options"] if folder == "configs" else ())]:
            if folder == "diffusersdir":
                place(Path(folders["diffusers"][0], name, "model_index.json"))
            elif "zzprobe" in name or folder == "configs":
                index = name.removesuffix(".safetensors").rpartition("__")[2]
                place(Path(folders[folder][int(index) if index.isdigit() else 0], name))


def place(path: Path) -> Path:
    """A file of 120 bytes, as many as the measured ones had."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\0" * 120)
    return path

"""One running ComfyUI, asked once: its version, node classes, model folders with what it lists, scripts and packs.

Routes and shapes were measured on 0.3.64 and 0.33.0 and on ComfyUI-Manager 3.31 to 4.3 (FACTS 3.2, 4). `/system_stats`
decides whether a ComfyUI answers at all; everything else may be missing on some version, and what could not be asked
stands in `unanswered`, so that it is never taken for an empty answer. Nothing is changed on the server.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from loguru import logger

from comfy_doctor.comfyui.git_folder import repository_url
from comfy_doctor.comfyui.object_info import node_classes, v3_combos
from comfy_doctor.workflows.node_classes import NodeClasses, Widget
from download_worker.errors import Code, GiveUp, Interrupted, Trouble
from download_worker.leash import Leash
from download_worker.text import public_url, safe_text

if TYPE_CHECKING:
    from download_worker.web.session import Web  # only named here: who looks at a disk alone waits for no requests

READ_SECONDS = 60.0
MAX_OBJECT_INFO_BYTES = 128 * 1024 * 1024
MAX_LIST_BYTES = 64 * 1024 * 1024
MAX_SMALL_BYTES = 4 * 1024 * 1024
MAX_FOLDERS = 1_000
MAX_NAMES_PER_FOLDER = 500_000
MAX_PACKS = 10_000
SIDE_BY_SIDE = 6
_NO_MODELS = frozenset({"custom_nodes", "datasets"})
_UNCHECKED_UP_TO = (0, 3, 64)
"""The last version that was seen to run a workflow whose V3 combo holds a name that it does not list (FACTS 3.4)."""
_ROUTES = (
    "/models",
    "/experiment/models",
    "/internal/folder_paths",
    "/embeddings",
    "/extensions",
    "/node_replacements",
    "/customnode/installed",
    "/v2/customnode/installed",
)


@dataclass(frozen=True, slots=True)
class Listing:
    """One model folder as the server has it.

    `names` are spelled as the server spells them, None where it did not say; `sizes` in bytes, by name, where told.
    `extensions` are lower-case with their dot, None where it did not say; empty means that every file counts.
    """

    names: tuple[str, ...] | None = None
    directories: tuple[str, ...] = ()
    extensions: frozenset[str] | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ManagedPack:
    """A pack as ComfyUI-Manager lists it; `folder` is its folder below custom_nodes."""

    folder: str
    id: str | None
    repository: str | None
    version: str | None
    enabled: bool


@dataclass(frozen=True, slots=True)
class Server:
    """What one ComfyUI said of itself. `url` is without secrets and without a slash at its end."""

    url: str
    version: str | None = None
    windows: bool = False
    argv: tuple[str, ...] = ()
    classes: NodeClasses = field(default_factory=dict)
    unchecked: frozenset[tuple[str, str]] = frozenset()
    """(node type, input) of combos that this version does not check before a run (V3 combos of 0.3.64)."""
    folders: Mapping[str, Listing] = field(default_factory=dict)
    node_directories: tuple[str, ...] = ()
    """Where it looks for node packs; empty where it does not say."""
    embeddings: frozenset[str] = frozenset()
    scripts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Pack folder → the JavaScript files that the frontend loads from it."""
    replacements: Mapping[str, str] = field(default_factory=dict)
    """Old node type → the one that ComfyUI puts in its place."""
    packs: tuple[ManagedPack, ...] = ()
    """Empty also where no Manager answers."""
    unanswered: tuple[str, ...] = ()

    def option(self, name: str) -> str | None:
        """The value of one of ComfyUI's command line options, None where it was not given."""
        for index, word in enumerate(self.argv):
            if word == name and index + 1 < len(self.argv):
                return self.argv[index + 1]
            if word.startswith(f"{name}="):
                return word.partition("=")[2]
        return None

    def widget(self, node_type: str, name: str | None) -> Widget | None:
        node_class = self.classes.get(node_type)
        widgets = node_class.widgets if node_class is not None else ()
        return next((widget for widget in widgets if widget.name == name), None)


@dataclass(frozen=True, slots=True)
class Silence:
    """The server could not be asked; `why` is one sentence for people, with the address and the next step."""

    url: str
    why: str


def read_server(
    url: str, web: Web, leash: Leash | None = None, *, read_seconds: float = READ_SECONDS
) -> Server | Silence:
    """Everything that this server tells within `read_seconds`.

    Raises:
        Interrupted: the leash was pulled.
    """
    outer, inner = leash or Leash(), Leash()
    home = _home(url)
    with outer.cutting(inner.pull), ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        asking = _Asking(home, web, inner, pool, monotonic() + read_seconds)
        try:
            found = _read(asking)
        except (Trouble, Interrupted, TimeoutError) as error:
            outer.check()
            said = error.message if isinstance(error, Trouble) else f"no answer within {read_seconds:g} seconds"
            why = f"the ComfyUI server {public_url(home)} could not be asked, only the disk was: {safe_text(said)}"
            return Silence(public_url(home), why)
        finally:
            inner.pull()
    outer.check()
    return found


def _home(url: str) -> str:
    text = url.strip().rstrip("/")
    return text if "://" in text else f"http://{text}"


class _Asking:
    """The routes of one server, asked side by side until the deadline (on the monotonic clock)."""

    def __init__(self, home: str, web: Web, leash: Leash, pool: ThreadPoolExecutor, deadline: float) -> None:
        self.home = home
        self.unanswered: list[str] = []
        self._web, self._leash, self._pool, self._deadline = web, leash, pool, deadline

    def ask(self, route: str, max_bytes: int = MAX_SMALL_BYTES) -> Future[Any]:
        return self._pool.submit(self._web.get_json, self.home + route, max_bytes=max_bytes, leash=self._leash)

    def must(self, answer: Future[Any]) -> Any:
        """Raises Trouble, or TimeoutError at the deadline."""
        return answer.result(max(0.0, self._deadline - monotonic()))

    def all(self, asked: Mapping[str, Future[Any]]) -> dict[str, Any]:
        """What was answered. A route that is not there is no answer; one that fails is `unanswered`, too."""
        wait(asked.values(), max(0.0, self._deadline - monotonic()))
        found = {}
        for route, answer in asked.items():
            try:
                found[route] = answer.result(0)
            except (Trouble, Interrupted, TimeoutError) as error:
                if not (isinstance(error, Trouble) and error.code is Code.NOT_FOUND):
                    logger.debug("{}{} was not answered: {!r}", public_url(self.home), route, error)
                    self.unanswered.append(route)
        return found


def _read(asking: _Asking) -> Server:
    """Raises Trouble or TimeoutError where no ComfyUI answers `/system_stats`."""
    system = _table(_table(asking.must(asking.ask("/system_stats"))).get("system"))
    if not system:
        raise GiveUp(Code.LYING_SERVER, f"{public_url(asking.home)} answers, but not as ComfyUI does")
    classes = asking.ask("/object_info", MAX_OBJECT_INFO_BYTES)
    told = asking.all({route: asking.ask(route) for route in _ROUTES})
    folders = _folders(asking, told)
    object_info = asking.all({"/object_info": classes}).get("/object_info")
    version = _text(system.get("comfyui_version"))
    managed = (*_managed(told.get("/customnode/installed")), *_managed(told.get("/v2/customnode/installed")))
    return Server(
        url=public_url(asking.home),
        version=version,
        windows=system.get("os") in ("nt", "win32"),
        argv=_texts(system.get("argv")),
        classes=node_classes(object_info, {name: listing.names or () for name, listing in folders.items()}),
        unchecked=v3_combos(object_info) if _numbers(version) <= _UNCHECKED_UP_TO else frozenset(),
        folders=folders,
        node_directories=_texts(_table(told.get("/internal/folder_paths")).get("custom_nodes")),
        embeddings=frozenset(_texts(told.get("/embeddings"))),
        scripts=_scripts(_texts(told.get("/extensions"))),
        replacements=_replacements(told.get("/node_replacements")),
        packs=managed,
        unanswered=tuple(asking.unanswered),
    )


def _folders(asking: _Asking, told: Mapping[str, Any]) -> dict[str, Listing]:
    """Names by `/models/X`, which is what combos offer; sizes, directories and extensions where other routes tell."""
    described = {_text(entry.get("name")): entry for entry in _tables(told.get("/experiment/models"))}
    real = _table(told.get("/internal/folder_paths"))
    folders = list(dict.fromkeys([*_texts(told.get("/models")), *(name for name in described if name), *real]))
    folders = [folder for folder in folders if folder not in _NO_MODELS and folder.isprintable()][:MAX_FOLDERS]
    plain = {folder: f"/models/{quote(folder, safe='')}" for folder in folders}
    names = asking.all({route: asking.ask(route, MAX_LIST_BYTES) for route in plain.values()})
    sized = (f"/experiment{route}" for route in plain.values() if names.get(route) != [])
    files = asking.all({route: asking.ask(route, MAX_LIST_BYTES) for route in sized})
    return {
        folder: _listing(
            names.get(route),
            files.get(f"/experiment{route}"),
            _texts(real.get(folder)) or _texts(described.get(folder, {}).get("folders")),
            described.get(folder, {}).get("extensions"),
        )
        for folder, route in plain.items()
    }


def _listing(names: Any, files: Any, directories: tuple[str, ...], extensions: Any) -> Listing:
    sizes = {
        name: size
        for entry in _tables(files)
        if (name := _text(entry.get("name"))) and isinstance(size := entry.get("size"), int) and size >= 0
    }
    listed = _texts(names)[:MAX_NAMES_PER_FOLDER] if isinstance(names, list) else tuple(sizes) or None
    suffixes = frozenset(text.lower() for text in _texts(extensions)) if isinstance(extensions, list) else None
    return Listing(listed, directories, suffixes, sizes)


def _scripts(paths: Iterable[str]) -> dict[str, tuple[str, ...]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for path in paths:
        root, _, rest = path.removeprefix("/").partition("/")
        folder, _, script = rest.partition("/")
        if root == "extensions" and script and folder != "core":
            found[unquote(folder)].append(unquote(script))
    return {folder: tuple(scripts) for folder, scripts in found.items()}


def _replacements(told: Any) -> dict[str, str]:
    found = {}
    for old, entries in _table(told).items():
        new = next((_text(entry.get("new_node_id")) for entry in _tables(entries)), None)
        if new:
            found[old] = new
    return found


def _managed(told: Any) -> tuple[ManagedPack, ...]:
    """`{folder: {ver, cnr_id, aux_id, enabled}}`; an aux_id is owner/name on GitHub, or just a word."""
    return tuple(
        ManagedPack(
            folder,
            _text(entry.get("cnr_id")),
            repository_url(f"https://github.com/{aux_id}")
            if (aux_id := _text(entry.get("aux_id"))) and "/" in aux_id
            else None,
            _text(entry.get("ver")),
            entry.get("enabled") is not False,
        )
        for folder, entry in list(_table(told).items())[:MAX_PACKS]
        if isinstance(entry, dict)
    )


def _numbers(version: str | None) -> tuple[int, ...]:
    """Comparable; a version that nobody told is newer than all."""
    return tuple(int(number) for number in re.findall(r"\d{1,9}", version)[:4]) if version else (1 << 30,)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(entry for entry in value if isinstance(entry, str)) if isinstance(value, list) else ()


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _tables(value: Any) -> Sequence[Mapping[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []

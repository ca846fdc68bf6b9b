"""Server and disk, compared: is a needed file there, does ComfyUI offer it, and if only one of both holds, why.

What counts for a run is the list of the very input that asks; the list of its folder only where the input has none.
So a file that a server lists is present, wherever that server keeps it, and a file that lies on this disk and is not
listed is not: then its cause is named. Where the server says nothing, the disk alone decides.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from comfy_doctor.comfyui.causes import Relation, base_of, cause_of, could_list, extension_cause, relation
from comfy_doctor.comfyui.install import Install
from comfy_doctor.comfyui.server import Listing, Server
from comfy_doctor.comfyui.shelves import Lookup, State
from comfy_doctor.comfyui.spellings import Spellings, Standing
from comfy_doctor.needs import FolderFrom, Need, Use
from comfy_doctor.workflows.core_nodes import is_core
from comfy_doctor.workflows.names import normalised
from comfy_doctor.workflows.node_classes import Widget
from download_worker.jobs.places import ALIASES

_KNOWN_FOLDER = frozenset({FolderFrom.TABLE, FolderFrom.WORKFLOW})
_UNLISTED = frozenset({"diffusers"})
"""Folders whose models are folders: `/models/…` lists none of them, only their loader does."""


@dataclass(frozen=True, slots=True)
class _Said:
    """What the server says to one use: `where` names the list, `found` is None where the file is not in it."""

    where: str
    found: tuple[Standing, str] | None
    unchecked: bool = False

    @property
    def listed(self) -> bool:
        return self.found is not None and self.found[0] is Standing.LISTED


class Truth:
    """One disk beside one server, or the disk alone. The lists of the server are indexed when they are first asked."""

    def __init__(self, install: Install, server: Server | None = None) -> None:
        self._install = install
        self._server = server
        self._relation = relation(server, install) if server is not None else Relation.UNKNOWN
        self._spellings: dict[str, Spellings] = {}

    @property
    def relation(self) -> Relation:
        return self._relation

    def look_up(self, need: Need, disk: Lookup) -> Lookup:
        """`disk` is what the shelves say of this need; the answer is what holds for a run."""
        if self._server is None:
            return _without_server(need, disk)
        uses = [use for use in need.uses if use.active] or list(need.uses)
        said = [answer for use in uses if (answer := self._ask(need, use, self._server)) is not None]
        if not said:
            return _without_server(need, disk)
        refused = next((answer for answer in said if not answer.listed), None)
        if refused is None:
            return self._listed(disk, said[0])
        return self._not_listed(need, disk, refused, self._server)

    def messages(self) -> tuple[str, ...]:
        """What is worth saying once about this server and this disk."""
        server = self._server
        return () if server is None else tuple(_messages(server, self._install, self._relation))

    def _ask(self, need: Need, use: Use, server: Server) -> _Said | None:
        """None where the server has no list for it."""
        written = use.written or need.name
        asked = _combos(server, need, use, written)
        if asked:
            found = [(widget, self._index(f"{use.node_type}.{widget.name}", widget.options)) for widget in asked]
            answers = [(widget, names.find(written)) for widget, names in found]
            widget, best = min(answers, key=lambda answer: _distance(answer[1]))
            where = f"{use.node_type}.{widget.name}"
            return _Said(where, best, (use.node_type, widget.name) in server.unchecked)
        listing = server.folders.get(need.folder or "", Listing())
        if listing.names is None or need.folder in _UNLISTED or need.folder_from not in _KNOWN_FOLDER:
            return None
        if use.node_type not in server.classes and not could_list(written, need.folder or "", listing):
            return None  # its loader is not there, and may come with a folder that lists such files
        where = f"the folder {need.folder}"
        return _Said(where, self._index(where, listing.names).find(written))

    def _index(self, where: str, names: tuple[str, ...] | None) -> Spellings:
        if where not in self._spellings:
            self._spellings[where] = Spellings(names or ())
        return self._spellings[where]

    def _listed(self, disk: Lookup, said: _Said) -> Lookup:
        if disk.path is not None and disk.state is State.PRESENT:
            return replace(disk, reason="in its place, and the server lists it", listed=True)
        theirs = normalised(said.found[1]) if said.found is not None else None
        if disk.path is not None and disk.relink is not None and normalised(disk.relink) == theirs:
            return Lookup(State.PRESENT, "the server lists it as it is written", disk.path, listed=True)
        if self._relation is Relation.SAME:
            why = "the server lists it, from a place that was not found on this disk"
        else:
            why = f"the server lists it; not looked for on its disk: {self._relation.value}"
        return Lookup(State.PRESENT, why, None, listed=True)

    def _not_listed(self, need: Need, disk: Lookup, said: _Said, server: Server) -> Lookup:
        if said.found is not None:
            standing, name = said.found
            why = f"the server lists it {standing.value}: {name}"
            return Lookup(State.ELSEWHERE, why, disk.path, name, disk.nearby, listed=False)
        refusal = f"the server does not list it for {said.where}"
        late = ""
        if said.unchecked:
            late = f"; ComfyUI {server.version} does not check this input before a run, it fails in the middle"
        if disk.path is None or disk.state is State.UNKNOWN:
            why = f"{disk.reason}; {refusal}" if disk.state is State.MISSING else refusal
            return Lookup(State.MISSING, why + late, nearby=disk.nearby or disk.path, listed=False)
        cause, why = cause_of(disk.path, need.folder or "", said.where, server, self._install, self._relation)
        reason = f"it is at {disk.path}, but {refusal}: {why}"
        return Lookup(State.ELSEWHERE, reason + late, disk.path, disk.relink, disk.nearby, listed=False, cause=cause)


def _combos(server: Server, need: Need, use: Use, written: str) -> list[Widget]:
    """The combos that this use asks: its own input; else those of its class that list this folder, or this name."""
    own = server.widget(use.node_type, use.input)
    if own is not None:
        return [own] if own.options is not None else []
    node_class = server.classes.get(use.node_type)
    told = [widget for widget in node_class.widgets if widget.options is not None] if node_class is not None else []
    by_folder = [w for w in told if w.folder is not None and ALIASES.get(w.folder, w.folder) == need.folder]
    return by_folder or [widget for widget in told if written in (widget.options or ())]


def _distance(found: tuple[Standing, str] | None) -> int:
    order = list(Standing)
    return len(order) if found is None else order.index(found[0])


def _without_server(need: Need, disk: Lookup) -> Lookup:
    """A core loader does not list every file that lies in its folder; packs register what they take."""
    core = need.uses and all(is_core(use.node_type) for use in need.uses)
    if disk.state is not State.PRESENT or disk.path is None or need.folder is None or not core:
        return disk
    found = extension_cause(disk.path, need.folder)
    if found is None:
        return disk
    cause, why = found
    return replace(disk, state=State.ELSEWHERE, reason=f"it is at {disk.path}, but {why}", cause=cause)


def _messages(server: Server, install: Install, how: Relation) -> Iterator[str]:
    base = base_of(server)
    if how is Relation.OTHER_INSTALL:
        next_step = f": name it with --comfyui {base}" if base else ""
        yield f"the server {server.url} searches another install than {install.root}{next_step}"
    elif how is Relation.ELSEWHERE:
        at = f" (its ComfyUI is at {base} there)" if base else ""
        yield (
            f"the server {server.url} runs on another machine or in a container{at}: its lists decide what is there, "
            f"and {install.root} may not be what it sees"
        )
    if not server.classes:
        yield f"the server {server.url} did not tell its nodes: node types and loaders were judged without it"
    if "--disable-all-custom-nodes" in server.argv:
        yield f"the server {server.url} was started with --disable-all-custom-nodes: no node pack is loaded"

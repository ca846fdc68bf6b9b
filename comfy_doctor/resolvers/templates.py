"""The official workflow templates as a source: which URL they name for a model of this name in this folder.

The templates come with a package of pure JSON (comfyui-workflow-templates-json, MIT: 644 workflows, 354 models, FACTS
2). They are read once for each of its versions, in about a second; what was found is kept as a small file that may be
deleted at any time.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from loguru import logger

from comfy_doctor.model_names import is_generic
from comfy_doctor.needs import Candidate, Key, Need
from comfy_doctor.resolvers.resolver import Answer, Quest, Word
from comfy_doctor.sites import HubFile, place_of, site_of
from comfy_doctor.workflows.containers import Unreadable
from comfy_doctor.workflows.documents import find_workflow, parse
from comfy_doctor.workflows.graph import Graph, TooLarge
from comfy_doctor.workflows.names import strings_in
from comfy_doctor.workflows.note_links import links_in
from comfy_doctor.workflows.ui_graph import graph_of_ui
from comfy_doctor.workflows.wanted import needs_of
from download_worker.jobs.places import FOLDERS
from download_worker.leash import Leash
from download_worker.text import safe_text

PACKAGE = "comfyui_workflow_templates_json"
DISTRIBUTION = "comfyui-workflow-templates-json"
FORMAT = 1
MAX_TEMPLATE_BYTES = 16 * 1024 * 1024
MAX_KEPT_BYTES = 16 * 1024 * 1024

ONLY_PLACE = 0.92
ONLY_NOTED = 0.85
ONE_OF_SEVERAL = 0.8
ANOTHER_NAME = 0.6
"""The template's URL ends in another file name, and other templates name other URLs: one of them is a slip."""
GUESSED_FOLDER = 0.7
_NOTES = frozenset({"Note", "MarkdownNote"})


@dataclass(frozen=True, slots=True)
class Bundle:
    """The templates' folder and the version that its contents belong to."""

    folder: Traversable
    version: str


@dataclass(frozen=True, slots=True)
class Place:
    """One URL that a template names for a model; `template` is the first that does."""

    folder: str
    name: str
    url: str
    sha256: str | None
    template: str
    declared: bool = True
    """In its metadata, which names the folder too; else only its notes link to it."""


class CouldNotRead(Exception):
    """There are no templates to look into. The text says why."""


def installed_bundle() -> Bundle:
    """Raises CouldNotRead when the package is not there."""
    try:
        return Bundle(files(PACKAGE) / "templates", version(DISTRIBUTION))
    except (ModuleNotFoundError, PackageNotFoundError) as error:
        raise CouldNotRead(f"the package {DISTRIBUTION} is not installed") from error


class Templates:
    """Answers from the templates' index. `kept` is where the index may be kept; None reads the templates every time."""

    name = "official templates"
    search = False

    def __init__(self, kept: Path | None = None, bundle: Bundle | None = None) -> None:
        self._kept = kept
        self._bundle = bundle

    def look(self, quests: Sequence[Quest], leash: Leash) -> Mapping[Key, Answer]:
        """See `Resolver`. Raises Interrupted."""
        try:
            bundle = self._bundle or installed_bundle()
            places = self._places(bundle, leash)
        except (CouldNotRead, OSError) as error:
            why = f"cannot read the official templates: {error}"
            return {quest.need.key: Answer(Word.COULD_NOT_LOOK, why=why) for quest in quests}
        by_name: dict[str, list[Place]] = {}
        for place in places:
            by_name.setdefault(place.name, []).append(place)
        return {quest.need.key: _answer(quest.need, by_name.get(quest.need.filename, ()), bundle) for quest in quests}

    def _places(self, bundle: Bundle, leash: Leash) -> tuple[Place, ...]:
        kept = None if self._kept is None else _read(self._kept, bundle.version)
        if kept is not None:
            return kept
        fresh = tuple(read_templates(bundle.folder, leash))
        if self._kept is not None:
            _write(self._kept, bundle.version, fresh)
        return fresh


def read_templates(folder: Traversable, leash: Leash) -> list[Place]:
    """Every place that a template names, once per (folder, name, place). Raises Interrupted, OSError.

    Metadata says for certain which file is meant; links in notes count for the files that no metadata speaks of.
    """
    found: dict[tuple[str, str, tuple[str, ...]], Place] = {}
    for template in sorted(folder.iterdir(), key=lambda entry: entry.name):
        leash.check()
        graph = _graph_in(template) if template.name.endswith(".json") else None
        for place in (*_declared(graph, template.name), *_noted(graph, template.name)) if graph is not None else ():
            key = (place.folder, place.name, place_of(place.url))
            if key not in found or (place.declared and not found[key].declared):
                found[key] = place
    declared = {(place.folder, place.name) for place in found.values() if place.declared}
    return [place for place in found.values() if place.declared or (place.folder, place.name) not in declared]


def _graph_in(template: Traversable) -> Graph | None:
    with template.open("rb") as file:
        text = file.read(MAX_TEMPLATE_BYTES + 1)
    try:
        found = find_workflow(parse(text)) if len(text) <= MAX_TEMPLATE_BYTES else None
        return graph_of_ui(found[1]) if found and found[0] == "ui" else None
    except (Unreadable, TooLarge) as error:
        logger.debug("the template {} is skipped: {}", template.name, error)
        return None


def _declared(graph: Graph, template: str) -> Iterator[Place]:
    for need in needs_of(graph, template).models:
        for candidate in need.candidates:
            if candidate.source == "embedded":
                yield Place(candidate.folder, need.filename, candidate.url, candidate.sha256, template)


def _noted(graph: Graph, template: str) -> Iterator[Place]:
    values = (value.value for node in graph.nodes if node.type in _NOTES for value in node.values)
    for text in (text for value in values for text in strings_in(value)):
        for link in links_in(text.text):
            folder = _folder_in(link.url) or link.folder
            if link.filename and folder:
                yield Place(folder, link.filename, link.url, None, template, declared=False)


def _folder_in(url: str) -> str | None:
    """The model folder that a repository keeps this file in: `split_files/vae/ae.safetensors`."""
    site = site_of(url)
    parents = site.path.split("/")[:-1] if isinstance(site, HubFile) else []
    return next((parent for parent in reversed(parents) if parent in FOLDERS), None)


def _answer(need: Need, named: Sequence[Place], bundle: Bundle) -> Answer:
    here = [place for place in named if need.folder in (place.folder, None)]
    if not here:
        folders = ", ".join(dict.fromkeys(place.folder for place in named))
        elsewhere = f" (another one of this name is for {folders})" if folders else ""
        return Answer(Word.NOT_FOUND, why=f"no official template of {bundle.version} names it{elsewhere}")
    alone = len({place_of(place.url) for place in here}) == 1
    return Answer(Word.FOUND, tuple(_candidate(need, place, alone=alone) for place in here))


def _candidate(need: Need, place: Place, *, alone: bool) -> Candidate:
    says = "names this URL for it" if place.declared else "links to it in a note"
    evidence = [f"the official template {safe_text(place.template, max_chars=80)} {says}"]
    sure = ONLY_PLACE if place.declared else ONLY_NOTED
    if not alone:
        sure = ONE_OF_SEVERAL if _ends_in(place.url) == place.name else ANOTHER_NAME
        evidence.append("other official templates name other URLs")
    if need.folder is None or is_generic(place.name):
        sure = min(sure, GUESSED_FOLDER)
    return Candidate(
        url=place.url,
        filename=need.filename,
        folder=place.folder,
        source="template",
        sha256=place.sha256,
        proof="A" if place.sha256 else "D",
        confidence=sure,
        evidence=tuple(evidence),
    )


def _ends_in(url: str) -> str:
    site = site_of(url)
    return site.filename if isinstance(site, HubFile) else url.partition("?")[0].rpartition("/")[2]


def _read(path: Path, wanted: str) -> tuple[Place, ...] | None:
    """What is kept for this version of the templates; None when there is nothing, or nothing that can be believed."""
    try:
        with path.open("rb") as file:
            body = json.loads(file.read(MAX_KEPT_BYTES))
        if body["format"] != FORMAT or body["version"] != wanted:
            return None
        return tuple(_place(row) for row in body["places"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        logger.debug("{} cannot be read and is made anew: {}", path, error)
        return None


def _place(row: Any) -> Place:
    """Raises ValueError or TypeError for what is no row of ours."""
    folder, name, url, sha256, template, declared = row
    if not all(isinstance(text, str) for text in (folder, name, url, template, sha256 or "")):
        raise ValueError("a row is not made of text")
    return Place(folder, name, url, sha256, template, declared is True)


def _write(path: Path, of: str, places: Iterable[Place]) -> None:
    """In one step, so that nobody reads half of it; that it cannot be written costs a second the next time."""
    rows = [astuple(place) for place in places]
    fresh = None
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
        fresh = Path(name)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump({"format": FORMAT, "version": of, "places": rows}, file)
        fresh.replace(path)
    except OSError as error:
        logger.debug("the index of the templates is not kept: {}", error)
        if fresh is not None:
            with suppress(OSError):
                fresh.unlink(missing_ok=True)

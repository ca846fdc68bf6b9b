"""From what a person names to what it asks for: files, folders of them, URLs of raw files, manifests.

One case per file. What cannot be read says so in its document and never ends the reading of the others.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from comfy_doctor.comfyui.install import Install
from comfy_doctor.manifests.comfygit import read_comfygit
from comfy_doctor.manifests.lock_file import read_lock
from comfy_doctor.manifests.manifest import LockedPack, Manifest, NoManifest, place_of_manifest
from comfy_doctor.needs import Use
from comfy_doctor.troubles import DoctorCode, DoctorTrouble
from comfy_doctor.workflows.api_graph import graph_of_api
from comfy_doctor.workflows.documents import Document, read_document
from comfy_doctor.workflows.graph import TooLarge
from comfy_doctor.workflows.node_classes import NodeClasses
from comfy_doctor.workflows.raw_url import is_raw_url
from comfy_doctor.workflows.ui_graph import graph_of_ui
from comfy_doctor.workflows.wanted import Wanted, needs_of
from download_worker.errors import Trouble
from download_worker.text import public_url

MAX_WORKFLOWS = 50_000
# Names of files that may carry a workflow; what a person names by itself is looked at whatever it is called.
_SUFFIXES = (
    ".json", ".png", ".apng", ".webp", ".jpg", ".jpeg", ".avif", ".heic", ".heif", ".mp4", ".m4v", ".mov", ".webm",
    ".mkv", ".flac", ".mp3", ".m4a", ".ogg", ".opus", ".glb", ".gltf", ".svg",
)  # fmt: skip

Fetch = Callable[[str], Document]
"""A workflow at a URL. Raises Trouble."""


class Case(NamedTuple):
    """One file, and what it asks for when it is a workflow or a manifest. `packs` are those that a manifest pins."""

    document: Document
    wanted: Wanted
    packs: tuple[LockedPack, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    cases: tuple[Case, ...]
    messages: tuple[str, ...] = ()


def read_cases(
    paths: Sequence[str | Path], install: Install, *, classes: NodeClasses | None = None, fetch: Fetch | None = None
) -> Reading:
    """Nothing named means ComfyUI's own workflows. `classes` are what a server knows of its nodes.

    Raises:
        DoctorTrouble: `no_workflow`, a path that is not there, or a folder of too many files.
    """
    messages: list[str] = []
    cases: dict[str, Case] = {}
    own = [install.workflows] if install.workflows.is_dir() else []  # made when the first workflow is saved
    for name in paths or own:
        found = list(_cases(str(name), classes, fetch))
        if not found:
            messages.append(f"no workflows in {name}")
        elif len(found) == 1 and found[0].document.format == "not_a_workflow" and not found[0].document.failed:
            document = found[0].document
            if document.path == str(name):
                messages.append(f"{name} is no workflow" + (f": {document.error}" if document.error else ""))
        cases |= {case.document.path: case for case in found}
    if not paths and not own:
        messages.append(f"no workflows in {install.workflows}")
    return Reading(tuple(cases.values()), tuple(messages))


def _cases(name: str, classes: NodeClasses | None, fetch: Fetch | None) -> Iterator[Case]:
    if is_raw_url(name):
        yield _fetched(name, classes, fetch)
        return
    path = Path(name)
    manifest = place_of_manifest(path)
    pinned = _pinned(manifest) if manifest is not None else None
    if pinned is not None:
        yield pinned
    elif path.is_dir():
        yield from (_case(read_document(file), classes) for file in _in_folder(path))
    elif path.exists():
        yield _case(read_document(path), classes)
    else:
        raise DoctorTrouble(DoctorCode.NO_WORKFLOW, f"there is no file {path}")


def _in_folder(folder: Path) -> Iterator[Path]:
    """Files below this folder that may carry a workflow, in a steady order, without hidden ones or linked folders.

    Raises:
        DoctorTrouble: `no_workflow`, more files than `MAX_WORKFLOWS`.
    """
    count = 0
    for directory, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.startswith(".") or not name.lower().endswith(_SUFFIXES):
                continue
            count += 1
            if count > MAX_WORKFLOWS:
                raise DoctorTrouble(DoctorCode.NO_WORKFLOW, f"more than {MAX_WORKFLOWS} files in {folder}")
            yield Path(directory, name)


def _case(document: Document, classes: NodeClasses | None) -> Case:
    """The document without its body: thousands of them are held at once."""
    if document.body is None:
        return Case(document, Wanted())
    try:
        body = document.body
        graph = graph_of_ui(body, classes) if document.format == "ui" else graph_of_api(body)
    except TooLarge as error:
        return Case(replace(document, body=None, error=str(error), failed=True), Wanted())
    return Case(replace(document, body=None), needs_of(graph, document.path, classes))


def _fetched(url: str, classes: NodeClasses | None, fetch: Fetch | None) -> Case:
    shown = public_url(url)
    if fetch is None:
        return _failed(shown, "nothing is asked over the network now")
    try:
        return _case(fetch(url), classes)
    except Trouble as trouble:
        return _failed(shown, str(trouble))


def _pinned(path: Path) -> Case | None:
    """What a manifest asks for; None where the file is none after all."""
    try:
        found = read_lock(path) if path.name.endswith(".json") else read_comfygit(path)
    except NoManifest as error:
        return _failed(str(path), str(error))
    except OSError as error:
        return _failed(str(path), error.strerror or str(error))
    return None if found is None else _of_manifest(path, found)


def _of_manifest(path: Path, manifest: Manifest) -> Case:
    container = "json" if manifest.kind == "lock" else "toml"
    error = "; ".join(manifest.ignored) or None
    needs = tuple(replace(need, uses=tuple(_inside(path, use) for use in need.uses)) for need in manifest.needs)
    return Case(Document(str(path), container, "manifest", error=error), Wanted(needs), manifest.packs)


def _inside(path: Path, use: Use) -> Use:
    """The manifest is the file that is diagnosed; which of its workflows asks stands before the node."""
    return replace(use, workflow=str(path), node_id=":".join(filter(None, (use.workflow, use.node_id))))


def _failed(path: str, why: str) -> Case:
    return Case(Document(path, "json", "not_a_workflow", error=why, failed=True), Wanted())

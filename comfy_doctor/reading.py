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
    ".json", ".png", ".apng", ".webp", ".jpg", ".jpeg", ".jfif", ".avif", ".heic", ".heif", ".mp4", ".m4v", ".m4a",
    ".mov", ".webm", ".mkv", ".mka", ".flac", ".mp3", ".ogg", ".oga", ".ogv", ".opus", ".glb", ".gltf", ".svg",
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
        messages += _about(str(name), found)
        for case in found:
            cases.setdefault(_identity(case.document.path), case)
    if not paths and not own:
        messages.append(f"no workflows in {install.workflows}")
    return Reading(tuple(cases.values()), tuple(messages))


def _identity(path: str) -> str:
    """The same file is one case, however often and in whatever way it is named."""
    return path if is_raw_url(path) else os.path.normpath(Path(path).absolute())


def _about(name: str, found: Sequence[Case]) -> Iterator[str]:
    """That a person has named what holds no workflow; what could not be read is told elsewhere."""
    documents = [case.document for case in found]
    if any(document.format != "not_a_workflow" or document.failed for document in documents):
        return
    if is_raw_url(name) or not Path(name).is_dir():
        error = next((document.error for document in documents if document.error), None)
        yield f"{public_url(name) if is_raw_url(name) else name} is no workflow" + (f": {error}" if error else "")
    elif documents:
        yield f"no workflows in {name}: none of its files is one ({len(documents)} were read)"
    else:
        yield f"no workflows in {name}"


def _cases(name: str, classes: NodeClasses | None, fetch: Fetch | None) -> Iterator[Case]:
    """Raises DoctorTrouble(no_workflow)."""
    if is_raw_url(name):
        yield _fetched(name, classes, fetch)
        return
    path = Path(name)
    try:
        there, is_folder, manifest = path.exists(), path.is_dir(), _manifest_at(path)
    except OSError as error:  # a folder above it is shut
        yield _failed(name, error.strerror or str(error))
        return
    pinned = _pinned(manifest, classes) if manifest is not None else None
    if pinned is not None:
        yield pinned
    elif is_folder:
        yield from _in_folder(path, classes)
    elif there:
        yield _case(read_document(path), classes)
    else:
        raise DoctorTrouble(DoctorCode.NO_WORKFLOW, f"there is no file {path}")


def _manifest_at(path: Path) -> Path | None:
    """Raises OSError."""
    manifest = place_of_manifest(path)
    return manifest if manifest is not None and manifest.is_file() else None


def _in_folder(folder: Path, classes: NodeClasses | None) -> Iterator[Case]:
    """The files in it, and a failed case for each folder that cannot be read. Raises DoctorTrouble(no_workflow)."""
    shut: list[OSError] = []
    for file in _files(folder, shut.append):
        yield _case(read_document(file), classes)
    for error in shut:
        yield _failed(str(error.filename or folder), error.strerror or str(error))


def _files(folder: Path, shut: Callable[[OSError], None]) -> Iterator[Path]:
    """Files below this folder that may carry a workflow, in a steady order, without hidden ones or linked folders.

    Raises:
        DoctorTrouble: `no_workflow`, more files than `MAX_WORKFLOWS`.
    """
    count = 0
    for directory, folders, files in os.walk(folder, onerror=shut):
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


def _pinned(path: Path, classes: NodeClasses | None) -> Case | None:
    """What a manifest asks for; None where the file is none after all, but perhaps a workflow."""
    try:
        found = read_lock(path) if path.name.endswith(".json") else read_comfygit(path)
    except NoManifest as error:
        document = read_document(path)  # its JSON is read leniently, as programs write it
        if document.body is not None:
            return _case(document, classes)
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

"""The manifest of comfygit (formerly ComfyDock): `.cec/pyproject.toml`.

`[tool.comfygit.models]` is a catalogue by content: key → filename, size, relative_path, category, sources, and
sometimes sha256. The key is comfygit's own short digest and no SHA-256. `[[tool.comfygit.workflows.NAME.models]]` lists
what a workflow uses: `hash` (a key of the catalogue) or its own filename and sources, `criticality`, `status`, `nodes`.
Older files nest the catalogue in `models.required` and `models.optional`. Source: comfygit's documentation and tests.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from comfy_doctor.manifests.manifest import (
    MAX_MODELS,
    MAX_SOURCES,
    Described,
    LockedPack,
    Manifest,
    NoManifest,
    united,
)
from comfy_doctor.needs import Criticality, Need, Use
from download_worker.jobs.places import ALIASES
from download_worker.text import without_credentials

_TOOLS = ("comfygit", "comfydock")
MAX_TOML_BYTES = 4 * 1024**2
"""Ten thousand models are 1 MiB, and the standard library reads some 0.5 MiB a second."""
MAX_KEY_PARTS = 64
"""The standard library's time grows with the square of this: a key of 32,000 parts takes it a minute."""
_DEEP_KEY = re.compile(rf"""(?:(?:(?<![\w-])[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){{{MAX_KEY_PARTS}}}""")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}\Z")
_COMMIT = re.compile(r"[0-9a-f]{40}\Z")
BY = "the manifest"

Table = Mapping[str, Any]


def read_comfygit(path: Path) -> Manifest | None:
    """The manifest, or None for a pyproject.toml of something else.

    Raises:
        NoManifest: it is too large or no TOML. OSError.
    """
    with path.open("rb") as file:
        data = file.read(MAX_TOML_BYTES + 1)
    if len(data) > MAX_TOML_BYTES:
        raise NoManifest(f"larger than {MAX_TOML_BYTES} bytes")
    try:
        text = data.decode("utf-8-sig")
        if _DEEP_KEY.search(text):
            raise NoManifest(f"a key of more than {MAX_KEY_PARTS} parts")
        tools = tomllib.loads(text).get("tool")
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits is a bare ValueError
        raise NoManifest(f"not TOML: {error}"[:200]) from error
    table = next((_table(tools).get(tool) for tool in _TOOLS if tool in _table(tools)), None)
    return manifest_of(_table(table), str(path)) if table is not None else None


def manifest_of(table: Table, path: str) -> Manifest:
    """The `[tool.comfygit]` table as needs. Pure."""
    ignored: list[str] = []
    catalogue = dict(_catalogue(_table(table.get("models")), ignored))
    by_content: dict[str, Need] = {}
    others: list[Need] = []
    for workflow, row in _rows(_table(table.get("workflows")), ignored):
        key = _text(row.get("hash"))
        need = _need(row, catalogue.get(key or ""), workflow, path)
        if need is None:
            ignored.append(f"workflow {workflow}: a model without a file name or a folder")
        elif key is None:
            others.append(need)
        else:
            known = by_content.get(key)
            by_content[key] = need if known is None else _same_content(known, need)
    for key, criticality in _of_the_environment(_table(table.get("models"))).items():
        entry = catalogue[key]
        use = Use(path, "", "", None, active=True, written=entry.name)
        need = entry.need(BY, (use,), criticality)
        by_content[key] = _same_content(by_content[key], need) if key in by_content else need
    needs = united((*by_content.values(), *others))
    return Manifest("comfygit", needs, tuple(_packs(_table(table.get("nodes")))), tuple(ignored[:MAX_SOURCES]))


def _same_content(known: Need, more: Need) -> Need:
    """The same bytes, asked for by another workflow: the catalogue's place counts, whatever each of them calls it."""
    (both,) = united((known, replace(more, folder=known.folder, name=known.name)))
    return both


def _catalogue(models: Table, ignored: list[str]) -> Iterator[tuple[str, Described]]:
    for key, row in _flat(models):
        entry = _entry(row)
        if entry is None:
            ignored.append(f"model {key}: without a file name or a folder")
        else:
            yield key, entry


def _flat(models: Table) -> Iterator[tuple[str, Table]]:
    """The catalogue's rows, also where they are nested by criticality."""
    for count, (key, row) in enumerate(models.items()):
        if count >= MAX_MODELS or not isinstance(row, dict):
            continue
        if key in ("required", "flexible", "optional") and "filename" not in row:
            yield from ((inner, {"criticality": key, **deep}) for inner, deep in _flat(row))
        else:
            yield key, row


def _of_the_environment(models: Table) -> Mapping[str, Criticality]:
    """Entries that say themselves how much they matter are needed even where no workflow uses them."""
    rows = ((key, row) for key, row in _flat(models) if row.get("criticality") and _entry(row))
    return {key: _criticality(row) for key, row in rows}


def _rows(workflows: Table, ignored: list[str]) -> Iterator[tuple[str, Table]]:
    count = 0
    for workflow, table in workflows.items():
        models = _table(table).get("models")
        for row in models if isinstance(models, list) else ():
            count += 1
            if count > MAX_MODELS:
                ignored.append(f"more than {MAX_MODELS} models")
                return
            if isinstance(row, dict):
                yield str(workflow), row


def _need(row: Table, catalogued: Described | None, workflow: str, path: str) -> Need | None:
    own = _entry(row)
    entry = catalogued or own
    if entry is None:
        return None
    if catalogued is not None:
        sources = (*catalogued.sources, *_sources(row))
        entry = replace(catalogued, sources=tuple(dict.fromkeys(sources)))
    return entry.need(BY, tuple(_uses(row, workflow, entry.name)), _criticality(row))


def _entry(row: Table) -> Described | None:
    folder, name = _place(row)
    if not folder or not name:
        return None
    size = row.get("size")
    digest = _text(row.get("sha256"))
    return Described(
        ALIASES.get(folder.lower(), folder),
        name,
        size if isinstance(size, int) and not isinstance(size, bool) and size >= 0 else None,
        digest.lower() if digest and _SHA256.match(digest) else None,
        _sources(row),
    )


def _place(row: Table) -> tuple[str | None, str | None]:
    """`relative_path` begins with the model folder; without it the category is the folder."""
    path = (_text(row.get("relative_path")) or "").replace("\\", "/")
    folder, _, name = path.partition("/")
    if folder and name:
        return folder, name
    return _text(row.get("category")), _text(row.get("filename"))


def _uses(row: Table, workflow: str, name: str) -> Iterator[Use]:
    nodes = row.get("nodes")
    rows = [node for node in nodes if isinstance(node, dict)] if isinstance(nodes, list) else []
    for node in rows[:MAX_SOURCES] or [{}]:
        written = _text(node.get("widget_value")) or name
        node_id, node_type = str(node.get("node_id") or ""), str(node.get("node_type") or "")
        yield Use(workflow, node_id, node_type, None, active=True, written=written)


def _criticality(row: Table) -> Criticality:
    """What is not said, or not understood, is required: to fetch too much is the smaller fault."""
    try:
        return Criticality(str(row.get("criticality") or "required").lower())
    except ValueError:
        return Criticality.REQUIRED


def _sources(row: Table) -> tuple[str, ...]:
    listed = row.get("sources")
    urls = []
    for url in listed[:MAX_SOURCES] if isinstance(listed, list) else ():
        try:
            urls.append(without_credentials(url) if isinstance(url, str) else "")
        except ValueError:
            continue
    return tuple(url for url in dict.fromkeys(urls) if url.startswith(("https://", "http://")))


def _packs(nodes: Table) -> Iterator[LockedPack]:
    for key, row in nodes.items():
        if not isinstance(row, dict):
            continue
        version = _text(row.get("version"))
        commit = version if version and _COMMIT.match(version) else _text(row.get("pinned_commit"))
        yield LockedPack(
            name=_text(row.get("name")) or str(key),
            id=_text(row.get("registry_id")),
            repository=_text(row.get("repository")),
            version=None if version == commit else version,
            commit=commit,
        )


def _table(value: Any) -> Table:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None

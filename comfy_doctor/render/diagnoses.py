"""A diagnosis for people: what is missing first, each with what is known of it, then the node packs, then the sum."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from comfy_doctor.render.words import TONES, entry, many
from download_worker.report import Report
from download_worker.text import safe_text

_ORDER = ("missing", "unknown", "elsewhere", "present")
_SHOWN_USERS = 2
_SHOWN_TYPES = 8
_SHOWN_OTHERS = 3

Json = Mapping[str, Any]


def diagnosis(report: Report) -> RenderableType | None:
    data = report.data
    models = [model for model in data["models"] if model["active"] or model["state"] != "missing"]
    models.sort(key=lambda model: (_ORDER.index(model["state"]), model["folder"] or "", model["name"]))
    return Group(*map(_model, models), *packs(data["nodes"]), *_mentions(data["mentions"]), *_summary(report))


def _model(model: Json) -> Text:
    sign, tone = TONES[model["state"]]
    if not model["active"]:
        sign, tone = "–", "dim"
    notes = [note for note in [_note(model)] if note]
    notes += [f"like it: {near['name']} ({near['why']})" for near in model["near"]]
    return entry(sign, tone, f"{model['folder'] or '?'}/{model['name']}", _users(model), notes)


def _users(model: Json) -> str:
    files = sorted({use["workflow"].rpartition("/")[2] for use in model["needed_by"]})
    more = f" and {len(files) - _SHOWN_USERS} more" if len(files) > _SHOWN_USERS else ""
    muted = "" if model["active"] else ", muted there"
    return f"for {', '.join(files[:_SHOWN_USERS])}{more}{muted}" if files else ""


def _note(model: Json) -> str:
    """That a missing file is not in its folder says the sign already; what comes after that is news."""
    reason = str(model["reason"])
    if model["state"] == "missing" and reason.startswith("not in "):
        return reason.partition("; ")[2]
    return "" if model["state"] == "present" and not model["relink"] else reason


def packs(nodes: list[Json]) -> Iterator[Text]:
    """Missing node types by the pack that brings them, then what another step mends, then those that nobody knows."""
    wanted = [node for node in nodes if node["active"] and node["state"] in ("missing", "unknown")]
    installs, mends, unknown = defaultdict(list), defaultdict(list), []
    for node in wanted:
        pack = node["pack"] or {}
        name = pack.get("repository") or pack.get("id") or ""
        if node["remedy"] == "install":
            installs[name].append(node)
        elif node["remedy"] or (name and node["state"] == "unknown"):
            mends[node["state"], node["reason"]].append(node["type"])
        else:
            unknown.append(node["type"])
    yield from (_install(name, some) for name, some in sorted(installs.items()))
    for (state, reason), types in sorted(mends.items()):
        yield entry(*TONES[state], _types(types), notes=[reason])
    if unknown:
        yield entry("?", "yellow", _types(unknown), many(len(unknown), "node type") + " whose pack nobody knows")


def _install(name: str, nodes: list[Json]) -> Text:
    """One pack that is not here. What is a guess says so, with the others that may be meant."""
    notes = [*dict.fromkeys(word for node in nodes for word in node["warnings"])]
    for node in nodes:
        if node["guess"]:
            others = [other for other in node["alternatives"] if other != name]
            more = f" and {len(others) - _SHOWN_OTHERS} more" if len(others) > _SHOWN_OTHERS else ""
            notes.append(f"a guess for {node['type']}; others: {', '.join(others[:_SHOWN_OTHERS])}{more}")
    return entry("✗", "red", name, f"node pack of {_types([node['type'] for node in nodes])}", notes)


def _mentions(mentions: list[Json]) -> Iterator[Text]:
    """What prompts speak of and is not here stops nothing, and is worth a line."""
    names = dict.fromkeys(f"{entry['kind']} {entry['name']}" for entry in mentions if entry["state"] == "missing")
    if names:
        yield entry("–", "dim", _types(list(names)), "named in prompts, not here")


def _types(types: list[str]) -> str:
    more = f" and {len(types) - _SHOWN_TYPES} more" if len(types) > _SHOWN_TYPES else ""
    return ", ".join(types[:_SHOWN_TYPES]) + more


def _summary(report: Report) -> Iterator[Text]:
    """The sum, unless no workflow was found, and what could not be read whole, unless that is told anyway."""
    data = report.data
    told = " ".join((*report.messages, *(error.message for error in report.errors)))
    if any(workflow["format"] != "not_a_workflow" for workflow in data["workflows"]):
        yield _counts(data)
    for workflow in data["workflows"]:
        if workflow["error"] and workflow["error"] not in told:
            yield Text(f"{safe_text(workflow['path'])}: {safe_text(workflow['error'])}", style="red")


def _counts(data: Json) -> Text:
    active = [model for model in data["models"] if model["active"]]
    here = sum(model["state"] == "present" for model in active)
    files = [workflow for workflow in data["workflows"] if workflow["format"] != "not_a_workflow"]
    line = Text(f"{many(len(files), 'workflow')}, {many(len(active), 'model')} needed: {here} here")
    for state, word in (("elsewhere", "elsewhere"), ("missing", "missing"), ("unknown", "could not be looked for")):
        number = sum(model["state"] == state for model in active)
        if number:
            line.append(f", {number} {word}", style=TONES[state][1])
    missing = sum(node["active"] and node["state"] == "missing" for node in data["nodes"])
    if missing:
        line.append(f"; {many(missing, 'node type')} missing", style="red")
    if data["self_fetching"]:
        line.append(f"; {len(data['self_fetching'])} more are fetched by their nodes on the first run")
    return line

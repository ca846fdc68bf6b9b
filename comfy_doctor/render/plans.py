"""A plan for people: what is fetched from where, what needs a person and the command for it, and what it costs."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from rich.console import Group, RenderableType
from rich.text import Text

from comfy_doctor.render.diagnoses import packs
from comfy_doctor.render.words import entry, many, size_of
from download_worker.report import Report
from download_worker.text import safe_text

_ACTIONS = MappingProxyType(
    {
        "download": ("get", "green"),
        "link": ("link", "green"),
        "relink": ("name", "yellow"),
        "install": ("add", "green"),
        "ask": ("ask", "yellow"),
        "skip": ("skip", "dim"),
    }
)

Json = Mapping[str, Any]


def plan(report: Report) -> RenderableType | None:
    return plan_picture(report.data) if "text" not in report.data else None


def plan_picture(data: Json) -> RenderableType:
    models = [item for item in data["items"] if item["kind"] == "model"]
    nodes = [item["need"] for item in data["items"] if item["kind"] == "node"]
    return Group(*map(_item, models), *packs(nodes), *_costs(data))


def _item(item: Json) -> Text:
    sign, tone = _ACTIONS[item["action"]]
    need = item["need"]
    notes = list(item["notes"]) if item["action"] == "download" else [item["why"], *item["notes"]]
    if item["action"] == "ask":
        notes += _how_to_choose(item)
    return entry(f"{sign:<4}", tone, f"{need['folder'] or '?'}/{need['name']}", _source(item["choice"]), notes)


def _source(choice: Json | None) -> str:
    if choice is None:
        return ""
    size = f"{size_of(choice['size'])}, " if choice["size"] is not None else ""
    host = urlsplit(choice["url"]).hostname or "this disk"
    return f"{size}{host} ({choice['source']}, {choice['confidence']:.0%} sure)"


def _how_to_choose(item: Json) -> Iterator[str]:
    """The command that fetches the best candidate, for whoever looked at it and wants it."""
    if not item["candidates"]:
        return
    best, need = item["candidates"][0], item["need"]
    if best["obstacle"]:
        yield f"tried: {best['url']}"
        return
    if best["source"] == "local" or not need["folder"]:
        yield f"the best candidate is {best['url']}"
        return
    words = ["comfy-doctor", "enqueue", best["url"], "--type", need["folder"], "--filename", need["filename"]]
    subfolder = need["name"].rpartition("/")[0]
    words += ["--subfolder", subfolder] if subfolder else []
    words += ["--sha256", best["sha256"]] if best["sha256"] else []
    yield f"the best of them, {best['confidence']:.0%} sure: {shlex.join(words)}"


def _sum(size: int, unsized: int) -> str:
    """Bytes in words, and how many files nobody told the size of."""
    if not unsized:
        return size_of(size)
    told = f"{size_of(size)} and " if size else ""
    return f"{told}{many(unsized, 'file')} of unknown size"


def _costs(data: Json) -> Iterator[Text]:
    downloads = [item for item in data["items"] if item["action"] == "download"]
    if downloads:
        unsized = sum(item["choice"]["size"] is None for item in downloads)
        yield Text(f"{many(len(downloads), 'file')} to fetch: {_sum(data['bytes'], unsized)}")
    for volume in data["volumes"]:
        words = f"{volume['path']}: {_sum(volume['needed'], volume['unsized'])} needed, {size_of(volume['free'])} free"
        words += "" if volume["fits"] else ": it does not fit"
        yield Text(safe_text(words), style="default" if volume["fits"] else "red")
    if any(item["kind"] == "node" and item["need"]["remedy"] == "install" for item in data["items"]):
        yield Text("install node packs with ComfyUI-Manager, or clone them into custom_nodes; then restart ComfyUI")
    for token in data["tokens"]:
        if not token["set"]:
            yield Text(safe_text(f"set {token['variable']} for {', '.join(token['for'])}"), style="yellow")
    for licence in data["licences"]:
        words = f"accept the licence on {licence['page']} for {', '.join(licence['for'])}"
        yield Text(safe_text(words), style="yellow")

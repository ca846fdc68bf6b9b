"""Workflow files drawn by hand, as the ComfyUI frontend would save them."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Json = dict[str, Any]


def node(number: int | str, kind: str, *values: Any, **more: Any) -> Json:
    """A node of the UI format; `more` may set mode, inputs, properties, widgets_values, widgets_values_named."""
    return {"id": number, "type": kind, "mode": 0, "inputs": [], "widgets_values": list(values), **more}


def widget(name: str, link: int | None = None) -> Json:
    return {"name": name, "type": "COMBO", "widget": {"name": name}, "link": link}


def socket(name: str, link: int | None = None) -> Json:
    return {"name": name, "type": "*", "link": link}


def ui(*nodes: Json, links: Sequence[Any] = (), subgraphs: Sequence[Json] = (), **more: Any) -> Json:
    drawn: Json = {"nodes": list(nodes), "links": list(links), "version": 0.4, **more}
    return drawn | {"definitions": {"subgraphs": list(subgraphs)}} if subgraphs else drawn


def link(number: int, origin: int, target: int, *, origin_slot: int = 0, target_slot: int = 0) -> Json:
    """A link as subgraph definitions write it."""
    ends = {"origin_id": origin, "origin_slot": origin_slot, "target_id": target, "target_slot": target_slot}
    return {"id": number, **ends, "type": "COMBO"}


def subgraph(name: str, *nodes: Json, inputs: Sequence[str] = (), links: Sequence[Json] = ()) -> Json:
    slots = [{"name": slot, "type": "COMBO"} for slot in inputs]
    return {"id": name, "name": name, "inputs": slots, "nodes": list(nodes), "links": list(links)}


def loader_inside(held: str, *, name: str = "inside") -> Json:
    """A subgraph with one checkpoint loader (id 1) whose widget is promoted as `ckpt_name`."""
    inner = node(1, "CheckpointLoaderSimple", held, inputs=[widget("ckpt_name", 7)])
    return subgraph(name, inner, inputs=["ckpt_name"], links=[link(7, -10, 1)])


def model(name: str, folder: str, url: str = "https://huggingface.co/a/b/resolve/main/x", **more: Any) -> Json:
    return {"name": name, "directory": folder, "url": url, **more}


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of one pixel with these chunks before its pixels."""
    header = (b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    pixels = (b"IDAT", zlib.compress(b"\0\0"))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in (header, *chunks, pixels, (b"IEND", b"")))


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def saved(path: Path, workflow: Mapping[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(workflow), encoding="utf-8")
    return path

"""A workflow as the ComfyUI frontend saves it, with sources that its nodes declare."""

from __future__ import annotations

from typing import Any

HUB = "https://huggingface.co/org/portrait/resolve/main"
SUBGRAPH = "6f1c2f5e-0f34-4c63-9a04-3d6f2a7c9b11"

CHECKPOINT = "portrait.safetensors"
VAE = "portrait_vae.safetensors"
LORA = "styles/soft.safetensors"
BYPASSED = "unused.safetensors"


def portrait() -> dict[str, Any]:
    """A checkpoint, a LoRA in a subfolder, a VAE inside a subgraph, and a bypassed LoRA that nobody needs."""
    inner = {
        "id": SUBGRAPH,
        "version": 1,
        "state": {"lastGroupId": 0, "lastNodeId": 8, "lastLinkId": 0, "lastRerouteId": 0},
        "revision": 0,
        "config": {},
        "name": "Decode",
        "inputNode": {"id": -10, "bounding": [0, 0, 120, 60]},
        "outputNode": {"id": -20, "bounding": [600, 0, 120, 60]},
        "inputs": [],
        "outputs": [],
        "widgets": [],
        "nodes": [_loader(7, "VAELoader", "vae", VAE)],
        "groups": [],
        "links": [],
        "extra": {},
    }
    nodes = [
        _loader(1, "CheckpointLoaderSimple", "checkpoints", CHECKPOINT),
        _loader(2, "LoraLoader", "loras", LORA, 0.8, 1.0),
        _loader(3, "LoraLoaderModelOnly", "loras", BYPASSED, 1.0, mode=4),
        _node(4, SUBGRAPH, [], {}),
        _node(5, "EmptyLatentImage", [512, 768, 1], {"cnr_id": "comfy-core"}),
    ]
    return _saved(nodes) | {"definitions": {"subgraphs": [inner]}}


def wanting(*names: str) -> dict[str, Any]:
    """One checkpoint loader for each name."""
    return _saved(
        [_loader(number, "CheckpointLoaderSimple", "checkpoints", name) for number, name in enumerate(names, 1)]
    )


def _loader(number: int, kind: str, folder: str, name: str, *values: object, mode: int = 0) -> dict[str, Any]:
    declared = {"name": name, "url": f"{HUB}/{name.rpartition('/')[2]}?download=true", "directory": folder}
    properties = {"cnr_id": "comfy-core", "ver": "0.3.64", "Node name for S&R": kind, "models": [declared]}
    return _node(number, kind, [name, *values], properties, mode=mode)


def _node(number: int, kind: str, values: list[Any], properties: dict[str, Any], mode: int = 0) -> dict[str, Any]:
    return {
        "id": number,
        "type": kind,
        "pos": [120 * number, 80],
        "size": [315, 98],
        "flags": {},
        "order": number,
        "mode": mode,
        "inputs": [],
        "outputs": [],
        "properties": properties,
        "widgets_values": values,
    }


def _saved(nodes: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": "b3f0a6c2-92d5-44c5-8f53-8f1a4d0c7e55",
        "revision": 0,
        "last_node_id": len(nodes),
        "last_link_id": 0,
        "nodes": nodes,
        "links": [],
        "groups": [],
        "config": {},
        "extra": {"ds": {"scale": 1.0, "offset": [0, 0]}},
        "version": 0.4,
    }

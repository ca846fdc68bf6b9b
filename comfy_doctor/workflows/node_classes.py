"""What a running server knows of its node classes, as far as a workflow's needs depend on it.

The values are made from `/object_info` by `comfyui/object_info.py`; reading a graph works without them, and better
with them: they name every widget of every class, packs included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Widget:
    """One input that is drawn as a widget, in the order of `widgets_values`.

    `options` are what a combo offers, None for another type of widget and for a combo whose options are not told.
    `folder` is the model folder that a combo lists, in ComfyUI's own word, None where it lists none or is not known.
    `followers` counts the values that the frontend puts after this one in `widgets_values` (a seed's "randomize").
    """

    name: str
    options: tuple[str, ...] | None = None
    folder: str | None = None
    followers: int = 0


@dataclass(frozen=True, slots=True)
class NodeClass:
    """`module` is the server's `python_module`: "nodes", "comfy_extras.…", "comfy_api_nodes.…", "custom_nodes.DIR"."""

    type: str
    module: str
    widgets: tuple[Widget, ...] = ()

    @property
    def pack_folder(self) -> str | None:
        """The folder below custom_nodes that brings this class, None for ComfyUI's own."""
        head, _, tail = self.module.partition(".")
        return tail or None if head == "custom_nodes" else None


NodeClasses = Mapping[str, NodeClass]

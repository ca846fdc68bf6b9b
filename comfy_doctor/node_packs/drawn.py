"""Data: node types that only a pack's JavaScript registers, so that no list of Python classes can know them.

Measured in community workflows (FACTS 1.7) and read in the packs' own web folders: web/js/setgetnodes.js of KJNodes,
web/js/getset.js and web/js/bookmark.js of Easy-Use, web/js/presetText.js of Custom-Scripts. Packs that mark their types
with their name, as rgthree and mtb do, need no line here: the map has a pattern for them.
"""

from __future__ import annotations

from types import MappingProxyType

_KJNODES = "https://github.com/kijai/ComfyUI-KJNodes"
_EASY_USE = "https://github.com/yolain/ComfyUI-Easy-Use"
_CUSTOM_SCRIPTS = "https://github.com/pythongosssss/ComfyUI-Custom-Scripts"

MANAGER = "https://github.com/Comfy-Org/ComfyUI-Manager"
"""Brings the components, whose types are written `## NAME [hash]`."""

DRAWN_BY = MappingProxyType(
    {
        "SetNode": _KJNODES,
        "GetNode": _KJNODES,
        "easy setNode": _EASY_USE,
        "easy getNode": _EASY_USE,
        "easy bookmark": _EASY_USE,
        "PresetText|pysssss": _CUSTOM_SCRIPTS,
    }
)

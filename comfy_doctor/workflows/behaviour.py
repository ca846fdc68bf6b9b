"""What a node does with a model's name that stands in it: load a placed file, fetch it by itself, or only speak of it.

Read in the packs and in FACTS 1.6. A loader of our own table is always a loader; everything else goes by its name,
because packs keep to these conventions and new nodes appear every day.
"""

from __future__ import annotations

import re
from enum import Enum

from comfy_doctor.workflows.loaders import slots_of
from comfy_doctor.workflows.pipes import hands_on


class Behaviour(Enum):
    LOADS = "loads"
    FETCHES = "fetches"
    SPEAKS = "speaks"


_FETCHES = re.compile(
    r"""
    Download(?!ed) | \(Down\)load          # DownloadAndLoadSAM2Model, HF Downloader, (Down)load Kolors Model
    | Pre-?processor(\s*\(.*\))?$          # comfyui_controlnet_aux and its relatives
    | Pre-?processor_?Provider             # the same, for the Inspire pack's segments
    | \bVFI$                               # frame interpolation
    | ^DDColor | ^SeedVR2 | ^FlashVSR | ^LayerMask:? | ^\[Comfy3D\]\ Load
    | ^LoadSAM3Model$ | ^InfuseNetLoader$ | ^IDEmbeddingModelLoader$
    | ^Florence2ModelLoader$ | \(segment\ anything2?\)$ | ^TIPO
    """,
    re.VERBOSE,
)
_NOTES = re.compile(r"^(Markdown)?Note|\bNotes?\b|^Label\b|Read ?me|Markdown|Comment\b", re.IGNORECASE)
# Notes, labels, wires and constants: whatever stands in them, nobody loads it from there.
_SPEAKS = re.compile(
    r"""
    ^Bookmark | ^(Set|Get)Node$ | ^easy\ (set|get)Node$
    | ^Reroute | ^PrimitiveNode$ | ^Primitive(String|Int|Float|Boolean)
    """,
    re.VERBOSE | re.IGNORECASE,
)
# These show or save what they are given, unless they say that they load; texts, unless they say what they do with it.
_SHOWS = re.compile(r"Show ?(Text|Any)|^Display|^Preview|\bDebug\b|\bInfo\b|Save|Export|Quantize(?!d)", re.IGNORECASE)
_LOADS = re.compile(r"Load", re.IGNORECASE)
_TEXTS = re.compile(r"Text|String|Prompt|Wildcard|DetailerPipe|Concatenate|Regex", re.IGNORECASE)
_HANDLES = re.compile(r"Load|Lora|Ckpt|Checkpoint|Encoder|Model|Apply|Stack|Select", re.IGNORECASE)


def behaviour_of(node_type: str) -> Behaviour:
    if slots_of(node_type):
        return Behaviour.LOADS
    if _FETCHES.search(node_type):
        return Behaviour.FETCHES
    if _SPEAKS.search(node_type) or is_note(node_type) or hands_on(node_type):
        return Behaviour.SPEAKS
    shows = _SHOWS.search(node_type) and not _LOADS.search(node_type)
    only_text = _TEXTS.search(node_type) and not _HANDLES.search(node_type)
    return Behaviour.SPEAKS if shows or only_text else Behaviour.LOADS


def is_note(node_type: str) -> bool:
    """A text that people read; nothing is done with it."""
    return _NOTES.search(node_type) is not None


def only_helps_typing(input_name: str) -> bool:
    """Combos that paste a name into a prompt ("Select to add LoRA"): their value is loaded by nobody."""
    return input_name.lower().startswith("select to add")

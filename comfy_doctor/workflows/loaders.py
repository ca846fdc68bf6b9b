"""Which folder a name belongs to: by the table of known loaders, else by what the input or the node is called."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from types import MappingProxyType

from comfy_doctor.workflows.loader_table import CORE_ROWS, PACK_ROWS


@dataclass(frozen=True, slots=True)
class Slot:
    """One input that names a file in `folder`; `index` is its place in `widgets_values`, None where it may move."""

    folder: str
    input: str
    index: int | None


def _by_type() -> MappingProxyType[str, tuple[Slot, ...]]:
    table: dict[str, tuple[Slot, ...]] = {}
    for folder, name, index, node_types in (*CORE_ROWS, *PACK_ROWS):
        for node_type in _split(node_types):
            table[node_type] = (*table.get(node_type, ()), Slot(folder, name, index))
    return MappingProxyType(table)


def _split(node_types: str) -> Iterable[str]:
    return (node_type.strip() for node_type in node_types.split(";") if node_type.strip())


_LOADERS = _by_type()
# ComfyUI-MultiGPU repeats every loader under a longer name, with its own widgets after the loader's.
_REPEATED = re.compile(r"(DisTorch2?)?MultiGPU\Z")


def slots_of(node_type: str) -> tuple[Slot, ...]:
    """The inputs of this loader that name files, empty for a type that is not in the table."""
    return _LOADERS.get(node_type) or _LOADERS.get(_REPEATED.sub("", node_type), ())


# What an input or a node of this name lists in every pack that we know. The order matters: the first match counts.
_BY_WORD = tuple(
    (re.compile(pattern, re.IGNORECASE), folder)
    for pattern, folder in (
        (r"ckpt|checkpoint", "checkpoints"),
        (r"motion_?lora", "animatediff_motion_lora"),
        (r"motion_?(model|module)|animatediff", "animatediff_models"),
        (r"lora|lycoris", "loras"),
        (r"clip_?vision", "clip_vision"),
        (r"ip_?adapter", "ipadapter"),
        (r"control_?_?net|cnet", "controlnet"),
        (r"latent_?upscal", "latent_upscale_models"),
        (r"stable_?sr", "stablesr"),
        (r"upscale(r|_)?_?model|upscaler", "upscale_models"),
        (r"vae_?approx|taesd|tiny_?vae", "vae_approx"),
        (r"vae", "vae"),
        (r"unet|diffusion_?model|(^|_)dit(_|$)", "diffusion_models"),
        (r"text_?encoder|t5(xxl|_|$)", "text_encoders"),
        (r"style_?model", "style_models"),
        (r"hypernetwork", "hypernetworks"),
        (r"embedding", "embeddings"),
        (r"gligen", "gligen"),
        (r"photomaker", "photomaker"),
        (r"instant_?id", "instantid"),
        (r"pulid", "pulid"),
        (r"sam_?model", "sams"),
        (r"face_?restore", "facerestore_models"),
        (r"model_?patch", "model_patches"),
        (r"audio_?encoder", "audio_encoders"),
    )
)
_BY_INPUT = (
    (re.compile(r"vae_?(ckpt|checkpoint)", re.IGNORECASE), "vae"),
    *_BY_WORD,
    (re.compile(r"\Aclip_?(name|g|l)?_?\d?\Z", re.IGNORECASE), "text_encoders"),
)
_BY_NODE = (
    *_BY_WORD,
    (re.compile(r"clip_?loader", re.IGNORECASE), "text_encoders"),
    (re.compile(r"dit_?(model_?)?loader", re.IGNORECASE), "diffusion_models"),
    (re.compile(r"upscal", re.IGNORECASE), "upscale_models"),
)


def folder_by_input(name: str) -> str | None:
    """The folder that an input of this name lists by convention, None where the name does not tell."""
    return next((folder for pattern, folder in _BY_INPUT if pattern.search(name)), None)


def folder_by_node(node_type: str) -> str | None:
    """The folder that a node of this name lists by convention, None where the name does not tell."""
    return next((folder for pattern, folder in _BY_NODE if pattern.search(node_type)), None)

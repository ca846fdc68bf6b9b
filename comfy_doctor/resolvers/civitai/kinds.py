"""Which of Civitai's model types fits which folder of ComfyUI, and which base models belong to which family. Pure."""

from __future__ import annotations

from types import MappingProxyType

from comfy_doctor.resolvers.civitai.records import File, Version

_LORAS = frozenset({"LORA", "LoCon", "DoRA"})

TYPES_OF_FOLDER = MappingProxyType(
    {
        "checkpoints": frozenset({"Checkpoint"}),
        "diffusion_models": frozenset({"Checkpoint"}),
        "loras": _LORAS,
        "vae": frozenset({"VAE"}),
        "embeddings": frozenset({"TextualInversion"}),
        "hypernetworks": frozenset({"Hypernetwork"}),
        "controlnet": frozenset({"Controlnet"}),
        "upscale_models": frozenset({"Upscaler"}),
        "animatediff_models": frozenset({"MotionModule"}),
        "animatediff_motion_lora": frozenset({"MotionModule", "LORA"}),
        "ultralytics": frozenset({"Detection"}),
        "ultralytics_bbox": frozenset({"Detection"}),
        "ultralytics_segm": frozenset({"Detection"}),
    }
)
"""Folders that are not here take what Civitai calls "Other", and nothing tells whether it fits."""

_WEIGHTS = frozenset({"", "Model", "Pruned Model"})
# A version may bring more than its model: a checkpoint its vae, an embedding its negative twin.
_FOLDER_OF_FILE = MappingProxyType({"VAE": "vae", "Negative": "embeddings", "Text Encoder": "text_encoders"})


def fits(version: Version, file: File, folder: str | None) -> bool:
    """Whether this file is of the kind that the folder holds; False also where nothing tells."""
    if folder is None:
        return False
    if file.kind in _FOLDER_OF_FILE:
        return _FOLDER_OF_FILE[file.kind] == folder
    return is_weights(file) and version.type in TYPES_OF_FOLDER.get(folder, frozenset())


def is_weights(file: File) -> bool:
    """No training data, workflow or archive that lies beside a model."""
    return file.kind in _WEIGHTS or file.kind in _FOLDER_OF_FILE


def renames_files(version: Version) -> bool:
    """Civitai gives every checkpoint a file name made of model and version; loras and the rest keep theirs."""
    return version.type not in _KEEP_THEIR_NAMES


_KEEP_THEIR_NAMES = _LORAS | {"TextualInversion", "Hypernetwork"}

"""Where a job's file may go: a closed map of ComfyUI's model folders, and names that are safe on every file system.

The rules are pure and are asked twice: when a job is handed in, and again before its file is put in place. Folder names
come from ComfyUI's `folder_paths.py` (measured on 0.3.64 and 0.33.0) and from the packs that add their own.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from download_worker.errors import Code, Refused

MAX_NAME_BYTES = 200
MAX_SUBFOLDER_PARTS = 4
MOST_REMEMBERED = 1024
"""Names that need not be checked, and paths that need not be put together again: a job asks for its place six times.
A refusal is not remembered."""

MODEL_EXTENSIONS = frozenset(
    {".safetensors", ".sft", ".ckpt", ".pt", ".pt2", ".pth", ".bin", ".pkl", ".gguf", ".onnx", ".task"}
)

_CORE = """
checkpoints loras vae text_encoders diffusion_models clip_vision style_models embeddings diffusers vae_approx controlnet
gligen upscale_models latent_upscale_models hypernetworks photomaker classifiers model_patches audio_encoders
background_removal frame_interpolation geometry_estimation optical_flow detection
"""
_PACKS = """
animatediff_models animatediff_motion_lora birefnet depthanything facedetection facerestore_models groundingdino inpaint
insightface instantid ipadapter ipadapter-flux LLM mmaudio mmdets nlf onnx pulid reactor sams sapiens SEEDVR2 t5
ultralytics wav2vec2
"""

# Model type → folder below the models root. Nothing that is not in here can be written to.
FOLDERS = MappingProxyType(
    {name: name for name in (_CORE + _PACKS).split()}
    | {
        "birefnet": "BiRefNet",
        "ultralytics_bbox": "ultralytics/bbox",
        "ultralytics_segm": "ultralytics/segm",
        "reactor/faces": "reactor/faces",
        "xlabs/controlnets": "xlabs/controlnets",
        "xlabs/ipadapters": "xlabs/ipadapters",
        "xlabs/loras": "xlabs/loras",
        "CogVideo/loras": "CogVideo/loras",
    }
)

# Old and foreign words for the same folders (ComfyUI's own aliases first, then those of Manager, Civitai and packs).
ALIASES = MappingProxyType(
    {
        "unet": "diffusion_models",
        "clip": "text_encoders",
        "checkpoint": "checkpoints",
        "ckpt": "checkpoints",
        "unclip": "checkpoints",
        "lora": "loras",
        "locon": "loras",
        "lycoris": "loras",
        "diffusion_model": "diffusion_models",
        "unet_gguf": "diffusion_models",
        "clip_gguf": "text_encoders",
        "text_encoder": "text_encoders",
        "t2i_adapter": "controlnet",
        "t2i-adapter": "controlnet",
        "t2i-style": "controlnet",
        "upscale": "upscale_models",
        "upscaler": "upscale_models",
        "embedding": "embeddings",
        "textualinversion": "embeddings",
        "hypernetwork": "hypernetworks",
        "taesd": "vae_approx",
        "style_model": "style_models",
        "cogvideox_loras": "CogVideo/loras",
        "xlabs_loras": "xlabs/loras",
        "xlabs_controlnets": "xlabs/controlnets",
        "xlabs_ipadapters": "xlabs/ipadapters",
    }
)

# Civitai writes `VAE` and `Controlnet`.
_BY_LOWER_CASE = MappingProxyType({name.lower(): name for name in FOLDERS} | dict(ALIASES))

# `[\w .()\[\]+-]` and non-ASCII letters, as in FAULTS.md T14, plus the few signs that real model names carry.
_ALLOWED_NAME = re.compile(r"[\w .()\[\]+\-,&'!@#=~]+\Z")
_RESERVED_STEMS = frozenset(
    ["con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in "123456789¹²³")]
)


def canonical_folder(model_type: str) -> str:
    """ComfyUI's own name for a model type: `unet` → `diffusion_models`.

    Raises:
        Refused: `unknown_folder`, the type is not in the closed map.
    """
    name = _BY_LOWER_CASE.get(model_type.lower())
    if name is None:
        raise Refused(Code.UNKNOWN_FOLDER, f"“{model_type[:80]}” is no model folder of ComfyUI")
    return name


@lru_cache(MOST_REMEMBERED)
def safe_filename(name: str) -> str:
    """The name itself, when it is one component that every file system takes and whose extension is a model's.

    Raises:
        Refused: `unsafe_name`, saying which rule it breaks.
    """
    _check_component(name)
    if PurePosixPath(name).suffix.lower() not in MODEL_EXTENSIONS:
        raise _unsafe(name, f"its extension is none of {', '.join(sorted(MODEL_EXTENSIONS))}")
    return name


def safe_subfolder(subfolder: str) -> str:
    """The subfolder with `/` between its parts, each checked like a file name; empty is the folder itself.

    Raises:
        Refused: `unsafe_name`.
    """
    path = subfolder.replace("\\", "/")
    if not path:
        return ""
    parts = path.split("/")
    if len(parts) > MAX_SUBFOLDER_PARTS:
        raise _unsafe(subfolder, f"more than {MAX_SUBFOLDER_PARTS} folders deep")
    for part in parts:
        _check_component(part)
    return "/".join(parts)


@lru_cache(MOST_REMEMBERED)
def target_path(models_root: Path, model_type: str, subfolder: str, filename: str) -> Path:
    """The one path this file will have.

    Raises:
        Refused: `unknown_folder` or `unsafe_name`.
    """
    folder = FOLDERS[canonical_folder(model_type)]
    return models_root.joinpath(folder, safe_subfolder(subfolder), safe_filename(filename))


def _check_component(name: str) -> None:
    rules = (
        (not name, "it is empty"),
        (len(name.encode("utf-8", "surrogatepass")) > MAX_NAME_BYTES, f"longer than {MAX_NAME_BYTES} bytes"),
        (unicodedata.normalize("NFC", name) != name, "it is not in Unicode normal form C"),
        (not _ALLOWED_NAME.match(name), "it has a sign that is not allowed in a file name"),
        (name[:1] in (".", "-", " ", "~"), "it begins with a dot, dash, space or tilde"),
        (name[-1:] in (".", " "), "it ends with a dot or a space"),
        (name.split(".")[0].strip().lower() in _RESERVED_STEMS, "Windows reserves it"),
    )
    for broken, why in rules:
        if broken:
            raise _unsafe(name, why)


def _unsafe(name: str, why: str) -> Refused:
    return Refused(Code.UNSAFE_NAME, f"{name[:80]!a} cannot be a file name here: {why}")

"""What a file's name and path say: which words to search for, and which of ComfyUI's folders it is made for. Pure."""

from __future__ import annotations

import re
from enum import IntEnum
from types import MappingProxyType

from comfy_doctor.model_names import telling_words

MAX_QUERIES = 5
MAX_QUERY_CHARS = 60
MIN_QUERY_CHARS = 3

PUBLISHERS = (
    *("Comfy-Org", "comfyanonymous", "black-forest-labs", "stabilityai", "Lightricks", "Kijai", "city96"),
    *("lightx2v", "lllyasviel", "h94", "InstantX", "XLabs-AI", "Shakker-Labs", "alibaba-pai", "Wan-AI", "QuantStack"),
    *("kandinskylab", "FastVideo", "circlestone-labs", "VAST-AI", "FireRedTeam", "DiffSynth-Studio", "Wuli-art"),
    *("ByteDance", "latent-consistency", "TencentARC", "guoyww", "Bingsu", "numz", "ostris", "tencent", "fal"),
    *("madebyollin", "Kim2091", "lokCX", "uwg"),
)
"""Who publishes models, or files of them as ComfyUI loads them; owners of repositories on Hugging Face."""

# Parts of a name about how weights are written; a repository's name says what model it is.
_FORM = re.compile(
    r"((mx|nv)?fp\d+|bf16|f16|f32|e\dm\d(fn)?(uz)?|scaled|mixed|pruned|ema|emaonly|only|nf4|int\d|convrot|gguf"
    r"|i?q\d\w*|k|[01]|s|m|xs|xxs|rank\d*|r\d+|dim\d+|comfyui|comfy|safetensors)\Z",
    re.IGNORECASE,
)
_VERSION = re.compile(r"(?<=[a-zA-Z]{4})[vV][\d.]+\Z")
# `krea2_turbo` is in `Krea-2`: names of repositories set the number of a model apart.
_NUMBERED = re.compile(r"([a-zA-Z]{3,})(\d[\d.]*)\Z")
_SPLIT = re.compile(r"[-_ ()\[\]+,]+")

_FOLDER_WORDS = MappingProxyType(
    {
        "checkpoints": frozenset({"checkpoints", "checkpoint", "ckpt"}),
        "loras": frozenset({"loras", "lora"}),
        "vae": frozenset({"vae"}),
        "text_encoders": frozenset({"text_encoders", "text_encoder", "text_encoder_2", "clip", "clips"}),
        "diffusion_models": frozenset({"diffusion_models", "diffusion_model", "unet", "transformer"}),
        "controlnet": frozenset({"controlnet", "controlnets"}),
        "clip_vision": frozenset({"clip_vision", "image_encoder", "image_encoders"}),
        "upscale_models": frozenset({"upscale_models", "upscalers", "upscaler"}),
        "latent_upscale_models": frozenset({"latent_upscale_models"}),
        "style_models": frozenset({"style_models"}),
        "embeddings": frozenset({"embeddings", "embedding"}),
        "audio_encoders": frozenset({"audio_encoders", "audio_encoder"}),
        "model_patches": frozenset({"model_patches"}),
    }
)
_SAME_FOLDER = MappingProxyType({"clip": "text_encoders", "unet": "diffusion_models"})


class Fit(IntEnum):
    """Whether a path is one of files for a folder of ComfyUI."""

    OTHER = 0
    UNTOLD = 1
    YES = 2


def fit(path: str, folder: str | None) -> Fit:
    """What the folders of a path say."""
    if folder is None:
        return Fit.UNTOLD
    wanted = _SAME_FOLDER.get(folder, folder)
    parts = {part.lower().replace("-", "_") for part in path.split("/")[:-1]}
    if parts & (_FOLDER_WORDS.get(wanted, frozenset()) | {wanted.lower()}):
        return Fit.YES
    others = frozenset().union(*(words for name, words in _FOLDER_WORDS.items() if name != wanted))
    return Fit.OTHER if parts & others else Fit.UNTOLD


def queries_for(name: str) -> tuple[str, ...]:
    """Texts that the repository's name may contain, from all words of the file's to its most telling one."""
    stem = name.rpartition("/")[2].rpartition(".")[0] or name
    parts = [part for part in _SPLIT.split(stem) if part and not _FORM.match(part)]
    telling = sorted((word for word in telling_words(f"{stem}.x") if not _FORM.match(word)), key=len, reverse=True)
    wanted = ["-".join(parts[:count]) for count in (len(parts), 3, 2) if count <= len(parts)]
    numbered = (_NUMBERED.match(part) for part in parts[:1] if not _VERSION.search(part))
    wanted += [f"{found[1]}-{found[2]}" for found in numbered if found]
    wanted += [next((part for part in parts if word in part.lower()), word) for word in telling[:1]]
    wanted += [_VERSION.sub("", part) or part for part in parts[:1]]
    short = (text.strip(".") for text in wanted)
    fit_ones = (text for text in short if MIN_QUERY_CHARS <= len(text) <= MAX_QUERY_CHARS)
    return tuple({text.lower(): text for text in fit_ones}.values())[:MAX_QUERIES]


def named_after(repo: str, filename: str) -> bool:
    """Whether a repository's name says what the file's says, and enough to mean just that."""
    own = set(telling_words(f"{repo.rpartition('/')[2]}.x"))
    return own == set(telling_words(filename)) and sum(map(len, own)) >= MIN_OWN_CHARS


MIN_OWN_CHARS = 6

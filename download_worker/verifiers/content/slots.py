"""Whether a kind of model may lie in a model folder: yes, no, or cannot tell.

A row names what a folder's loaders take, and what some loader of it may take, too. NO is said of the rest only, since a
wrong refusal is worse than a late one; and never of a folder that is not listed. The loaders of core were read
(nodes.py, comfy_extras, comfy/sd.py, comfy/controlnet.py), those of widespread packs by what they list.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from download_worker.verifiers.content.families import Family, Kind, Word
from download_worker.verifiers.content.families import Kind as K


class Fit(NamedTuple):
    word: Word
    why: str = ""


class Slot(NamedTuple):
    takes: frozenset[Kind]
    perhaps: frozenset[Kind] = frozenset()


def _slot(*takes: Kind, perhaps: tuple[Kind, ...] = ()) -> Slot:
    return Slot(frozenset(takes), frozenset(perhaps))


_TEXT = _slot(K.TEXT_ENCODER, K.CLIP, perhaps=(K.CHECKPOINT, K.CLIP_VISION, K.AUDIO_ENCODER))
_DIFFUSION = _slot(
    *(K.DIFFUSION_MODEL, K.CHECKPOINT),
    perhaps=(K.CONTROLNET, K.MODEL_PATCH, K.LATENT_UPSCALER, K.MOTION_MODULE, K.IPADAPTER, K.AUDIO_ENCODER),
)
_MOTION = _slot(K.MOTION_MODULE, perhaps=(K.MOTION_LORA, K.CONTROLNET, K.LORA))

SLOTS: Mapping[str, Slot] = MappingProxyType(
    {
        # a bare diffusion model loads there, too, and so does the audio VAE of LTX-2
        "checkpoints": _slot(K.CHECKPOINT, perhaps=(K.DIFFUSION_MODEL, K.VAE, K.SEGMENTER, K.MOTION_MODULE)),
        "diffusion_models": _DIFFUSION,
        "unet": _DIFFUSION,
        "unet_gguf": _DIFFUSION,
        "loras": _slot(K.LORA, perhaps=(K.MOTION_LORA, K.IPADAPTER, K.PHOTOMAKER, K.CONTROLNET, K.MODEL_PATCH)),
        "vae": _slot(K.VAE, perhaps=(K.CHECKPOINT, K.LATENT_UPSCALER, K.AUDIO_ENCODER)),
        "vae_approx": _slot(K.VAE),
        "text_encoders": _TEXT,
        "clip": _TEXT,
        "clip_gguf": _TEXT,
        "clip_vision": _slot(
            *(K.CLIP_VISION, K.CLIP),
            perhaps=(K.CHECKPOINT, K.TEXT_ENCODER, K.IPADAPTER),
        ),
        "controlnet": _slot(
            K.CONTROLNET,
            perhaps=(
                K.LORA,
                K.MODEL_PATCH,
                K.DIFFUSION_MODEL,
                K.IPADAPTER,
                K.INSTANTID,
                K.STYLE_MODEL,
                K.MOTION_MODULE,
            ),
        ),
        "upscale_models": _slot(K.UPSCALER, perhaps=(K.LATENT_UPSCALER, K.DIFFUSION_MODEL)),
        "latent_upscale_models": _slot(K.LATENT_UPSCALER, perhaps=(K.UPSCALER, K.DIFFUSION_MODEL, K.VAE)),
        "embeddings": _slot(K.EMBEDDING),
        "style_models": _slot(K.STYLE_MODEL, perhaps=(K.CONTROLNET, K.IPADAPTER, K.MODEL_PATCH)),
        "ipadapter": _slot(
            K.IPADAPTER, perhaps=(K.INSTANTID, K.PULID, K.PHOTOMAKER, K.LORA, K.STYLE_MODEL, K.MODEL_PATCH)
        ),
        "instantid": _slot(K.INSTANTID, perhaps=(K.IPADAPTER, K.CONTROLNET)),
        "pulid": _slot(K.PULID, perhaps=(K.IPADAPTER,)),
        "photomaker": _slot(K.PHOTOMAKER, perhaps=(K.LORA,)),
        "gligen": _slot(K.GLIGEN, perhaps=(K.DIFFUSION_MODEL, K.CHECKPOINT)),
        "hypernetworks": _slot(K.HYPERNETWORK, perhaps=(K.LORA,)),
        "model_patches": _slot(K.MODEL_PATCH, perhaps=(K.CONTROLNET, K.LORA, K.DIFFUSION_MODEL, K.IPADAPTER)),
        "audio_encoders": _slot(K.AUDIO_ENCODER, perhaps=(K.VAE, K.TEXT_ENCODER)),
        "animatediff_models": _MOTION,
        "animatediff_motion_lora": _slot(K.MOTION_LORA, perhaps=(K.LORA, K.MOTION_MODULE)),
        "sams": _slot(K.SEGMENTER, perhaps=(K.CHECKPOINT,)),
    }
)

_SPARE = MappingProxyType({K.CHECKPOINT: "its diffusion model is used, the rest of the checkpoint lies idle"})


def fits(kind: Kind | None, family: Family | None, folder: str) -> Fit:
    """May a model of this kind lie in this folder (ComfyUI's own word for it)? `why` is a sentence for a person."""
    slot = SLOTS.get(folder)
    if kind is None or slot is None:
        return Fit(Word.UNKNOWN, "its tensors do not tell what it is" if kind is None else "")
    if kind in slot.takes:
        is_spare = folder.startswith(("diffusion_models", "unet"))
        return Fit(Word.YES, _SPARE.get(kind, "") if is_spare else "")
    named = f"{_article(kind)} ({family})" if family is not None else _article(kind)
    if kind in slot.perhaps:
        return Fit(Word.UNKNOWN, f"it is {named}, which only some loaders of {folder} take")
    wanted = " or ".join(_article(each) for each in sorted(slot.takes))
    return Fit(Word.NO, f"it is {named}; the folder {folder} takes {wanted}")


def _article(kind: Kind) -> str:
    return f"{'an' if kind[0] in 'aeiouAEIO' else 'a'} {kind}"

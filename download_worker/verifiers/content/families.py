"""The words for models: kinds, families, and which families work together.

A kind is what a loader of ComfyUI takes it for; a family is the base model it belongs to. VAEs and text encoders have
families of their own, because several base models share one (the table `SERVES`). Facts from ComfyUI's
`supported_models.py` and `latent_formats.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple


class Kind(StrEnum):
    CHECKPOINT = "checkpoint"
    DIFFUSION_MODEL = "diffusion model"
    LORA = "LoRA"
    VAE = "VAE"
    TEXT_ENCODER = "text encoder"
    CLIP = "CLIP model"
    """Text and vision in one file, as OpenAI and LAION publish them."""
    CLIP_VISION = "CLIP vision model"
    CONTROLNET = "ControlNet"
    UPSCALER = "upscaler"
    EMBEDDING = "embedding"
    IPADAPTER = "IP-Adapter"
    INSTANTID = "InstantID model"
    PULID = "PuLID model"
    PHOTOMAKER = "PhotoMaker model"
    STYLE_MODEL = "style model"
    HYPERNETWORK = "hypernetwork"
    GLIGEN = "GLIGEN model"
    MOTION_MODULE = "motion module"
    MOTION_LORA = "motion LoRA"
    MODEL_PATCH = "model patch"
    AUDIO_ENCODER = "audio encoder"
    LATENT_UPSCALER = "latent upscaler"
    SEGMENTER = "segmentation model"


class Family(StrEnum):
    # base models
    SD15 = "sd15"
    SD2 = "sd2"
    SDXL = "sdxl"
    SDXL_REFINER = "sdxl_refiner"
    SVD = "svd"
    SD3 = "sd3"
    CASCADE = "cascade"
    FLUX = "flux"
    FLUX2 = "flux2"
    CHROMA = "chroma"
    OVIS = "ovis"
    LONGCAT = "longcat_image"
    AURA_FLOW = "aura_flow"
    PIXART = "pixart"
    HUNYUAN_DIT = "hunyuan_dit"
    HUNYUAN_VIDEO = "hunyuan_video"
    HUNYUAN_IMAGE = "hunyuan_image"
    HUNYUAN3D = "hunyuan3d"
    MOCHI = "mochi"
    LTX = "ltx"
    LTX2 = "ltx2"
    WAN = "wan"
    COSMOS = "cosmos"
    ANIMA = "anima"
    LUMINA2 = "lumina2"
    Z_IMAGE = "z_image"
    HIDREAM = "hidream"
    OMNIGEN2 = "omnigen2"
    QWEN_IMAGE = "qwen_image"
    KANDINSKY5 = "kandinsky5"
    ACE_STEP = "ace_step"
    STABLE_AUDIO = "stable_audio"
    # VAEs
    SD_VAE = "sd_vae"
    SVD_VAE = "svd_vae"
    FLUX_VAE = "flux_vae"
    FLUX2_VAE = "flux2_vae"
    WAN21_VAE = "wan21_vae"
    WAN22_VAE = "wan22_vae"
    HUNYUAN_VIDEO_VAE = "hunyuan_video_vae"
    HUNYUAN_IMAGE_VAE = "hunyuan_image_vae"
    HUNYUAN3D_VAE = "hunyuan3d_vae"
    LTX_VAE = "ltx_vae"
    LTX2_AUDIO_VAE = "ltx2_audio_vae"
    COSMOS_VAE = "cosmos_vae"
    COGVIDEO_VAE = "cogvideo_vae"
    MOCHI_VAE = "mochi_vae"
    CASCADE_VAE = "cascade_vae"
    AUDIO_VAE = "stable_audio_vae"
    ACE_VAE = "ace_step_vae"
    TINY_VAE = "tiny_vae"
    # text encoders
    CLIP_L = "clip_l"
    CLIP_G = "clip_g"
    CLIP_H = "clip_h"
    T5XXL = "t5xxl"
    T5XXL_OLD = "t5xxl_1.0"
    UMT5XXL = "umt5xxl"
    T5XL = "t5xl"
    T5_BASE = "t5_base"
    BYT5 = "byt5"
    LLAMA3 = "llama3_8b"
    QWEN25_VL = "qwen25_vl"
    QWEN3 = "qwen3"
    QWEN3_VL = "qwen3_vl"
    GEMMA2 = "gemma2_2b"
    GEMMA3 = "gemma3"
    MISTRAL3 = "mistral3"
    # image and sound encoders
    CLIP_VISION_L = "clip_vision_l"
    CLIP_VISION_H = "clip_vision_h"
    CLIP_VISION_G = "clip_vision_g"
    SIGLIP = "siglip"
    DINO = "dino"
    WAV2VEC2 = "wav2vec2"
    WHISPER = "whisper"
    SAM = "sam"
    # upscalers
    ESRGAN = "esrgan"
    COMPACT = "compact"
    SWINIR = "swinir"
    HAT = "hat"
    DAT = "dat"
    SPAN = "span"
    PLKSR = "plksr"


class Word(StrEnum):
    YES = "yes"
    NO = "no"
    UNKNOWN = "cannot tell"


class Agreement(NamedTuple):
    """Whether two families work together, with a sentence for a person; `why` is empty where nothing is to be said."""

    word: Word
    why: str = ""


def _set(*families: Family) -> frozenset[Family]:
    return frozenset(families)


F = Family
BASES = frozenset(list(Family)[: list(Family).index(Family.SD_VAE)])

SERVES: Mapping[Family, frozenset[Family]] = MappingProxyType(
    {
        F.SD_VAE: _set(F.SD15, F.SD2, F.SDXL, F.SDXL_REFINER, F.SVD, F.PIXART, F.AURA_FLOW, F.HUNYUAN_DIT),
        F.FLUX_VAE: _set(
            *(F.FLUX, F.SD3, F.CHROMA, F.OVIS, F.LONGCAT, F.LUMINA2, F.Z_IMAGE, F.HIDREAM, F.OMNIGEN2, F.KANDINSKY5)
        ),
        F.FLUX2_VAE: _set(F.FLUX2),
        F.WAN21_VAE: _set(F.WAN, F.QWEN_IMAGE, F.ANIMA, F.COSMOS),
        F.WAN22_VAE: _set(F.WAN),
        F.HUNYUAN_VIDEO_VAE: _set(F.HUNYUAN_VIDEO, F.KANDINSKY5),
        F.HUNYUAN_IMAGE_VAE: _set(F.HUNYUAN_IMAGE),
        F.LTX_VAE: _set(F.LTX, F.LTX2),
        F.LTX2_AUDIO_VAE: _set(F.LTX2),
        F.COSMOS_VAE: _set(F.COSMOS),
        F.MOCHI_VAE: _set(F.MOCHI),
        F.CASCADE_VAE: _set(F.CASCADE),
        F.SVD_VAE: _set(F.SVD),
        F.AUDIO_VAE: _set(F.STABLE_AUDIO, F.ACE_STEP),
        F.ACE_VAE: _set(F.ACE_STEP),
        F.HUNYUAN3D_VAE: _set(F.HUNYUAN3D),
        F.CLIP_H: _set(F.SD2, F.SVD),
        F.UMT5XXL: _set(F.WAN),
        F.GEMMA2: _set(F.LUMINA2),
    }
)
"""VAE or text encoder → the base models it is made for. What is not listed is used too widely to say no."""

KIN: tuple[frozenset[Family], ...] = (
    _set(F.FLUX, F.CHROMA),
    _set(F.SDXL, F.SDXL_REFINER),
    _set(F.COSMOS, F.ANIMA),
    _set(F.LTX, F.LTX2),
    _set(F.SD2, F.SVD),
    _set(F.LUMINA2, F.Z_IMAGE),
)
"""Families whose LoRAs fit each other at least in part, or cannot always be told apart."""


def families_agree(family: Family | None, others: Iterable[str]) -> Agreement:
    """Does a model of this family work with the base models of a graph? Advice for a person, never a refusal.

    `others` may hold any words; those that are no base models are not counted, and a graph may have several.
    """
    bases = {Family(word) for word in others if word in BASES}
    if family is None or not bases:
        return Agreement(Word.UNKNOWN)
    served = SERVES.get(family) or (_kin(family) if family in BASES else frozenset())
    if not served:
        return Agreement(Word.UNKNOWN)
    if served & bases:
        return Agreement(Word.YES)
    asked = " and ".join(sorted(bases))
    return Agreement(Word.NO, f"it belongs to {family}, but the workflow's other models are {asked}")


def _kin(family: Family) -> frozenset[Family]:
    return frozenset({family}.union(*(group for group in KIN if family in group)))

"""Kind and family of a model, told from its head. A rule either matches or does not; what disagrees is not told.

"Cannot tell" is an honest answer and never a reason to refuse: new architectures appear every week. Two rules that
match and say different things make that answer, too, because then at least one of them does not know this file.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType
from typing import NamedTuple

from download_worker.verifiers.content.base_markers import DIFFUSION, TEXT_ENCODERS, VAES
from download_worker.verifiers.content.families import Family, Kind
from download_worker.verifiers.content.gguf_header import claimed_architecture
from download_worker.verifiers.content.heads import Format, Head, Tensors, below
from download_worker.verifiers.content.loras import Lines, adapted_parts, is_mixed, lora_family, lora_lines
from download_worker.verifiers.content.part_markers import PARTS, WRAPPERS
from download_worker.verifiers.content.signs import Rule

DIFFUSION_PREFIXES = ("model.diffusion_model.", "diffusion_model.", "model.model.", "net.", "model.", "")
COMPANION_PREFIXES = (
    *("first_stage_model.", "vae.", "pretransform.", "audio_vae."),
    *("cond_stage_model.", "conditioner.", "text_encoders.", "text_encoder."),
)
"""What a checkpoint brings besides its diffusion model: a VAE, text encoders."""
TEXT_PREFIXES = ("", "transformer.", "language_model.")
MAX_EMBEDDING_TENSORS = 4
_EMBEDDINGS = MappingProxyType({"clip_l": 768, "clip_g": 1280, "t5xxl": 4096})

GGUF_MODELS = MappingProxyType(
    {
        "sd1": Family.SD15,
        "sdxl": Family.SDXL,
        "sd3": Family.SD3,
        "flux": Family.FLUX,
        "aura": Family.AURA_FLOW,
        "hidream": Family.HIDREAM,
        "cosmos": Family.COSMOS,
        "ltxv": Family.LTX,
        "hyvid": Family.HUNYUAN_VIDEO,
        "wan": Family.WAN,
        "lumina2": Family.LUMINA2,
        "qwen_image": Family.QWEN_IMAGE,
    }
)
"""`general.architecture` of the files that ComfyUI-GGUF loads as diffusion models (its IMG_ARCH_LIST)."""
GGUF_TEXT = MappingProxyType(
    {
        "t5": None,
        "t5encoder": None,
        "llama": None,
        "qwen2vl": Family.QWEN25_VL,
        "qwen3": Family.QWEN3,
        "qwen3vl": Family.QWEN3_VL,
        "gemma2": Family.GEMMA2,
        "gemma3": Family.GEMMA3,
    }
)
"""The same for text encoders (its TXT_ARCH_LIST); T5 and Llama name more than one family."""


class Told(NamedTuple):
    kind: Kind | None = None
    family: Family | None = None


NOTHING_TOLD = Told()


def tell(head: Head) -> Told:
    """What this head shows. Both parts are None where it does not tell, and the family where only that is unclear."""
    if head.format is Format.GGUF:
        return _tell_gguf(head)
    return _tell_tensors(head)


def _tell_tensors(head: Head) -> Told:
    parts = adapted_parts(head.tensors)
    lora = lora_lines(parts, len(head.tensors))
    if lora is None and is_mixed(parts, len(head.tensors)):
        return NOTHING_TOLD
    answers = (
        NOTHING_TOLD if lora is None else _adapter(lora, head),
        _embedding(head.tensors),
        _bundle(head.tensors),
        _plain(head.tensors),
    )
    found = {told for told in answers if told.kind is not None}
    return found.pop() if len(found) == 1 else NOTHING_TOLD


def _adapter(lines: Lines, head: Head) -> Told:
    if lines.is_motion:
        return Told(Kind.MOTION_LORA, Family.SD15)
    return Told(Kind.LORA, lora_family(lines, head.metadata))


def _embedding(tensors: Tensors) -> Told:
    """Textual inversion: vectors of the width of a text encoder, and nothing else."""
    if not tensors or len(tensors) > MAX_EMBEDDING_TENSORS:
        return NOTHING_TOLD
    single = tensors.get("emb_params")
    if single is not None and len(tensors) == 1 and len(single.shape) == 2:
        widths = {768: Family.SD15, 1024: Family.SD2, 1280: Family.SDXL_REFINER}
        return Told(Kind.EMBEDDING, widths.get(single.shape[1]))
    if all(name in _EMBEDDINGS and weight.shape[-1:] == (_EMBEDDINGS[name],) for name, weight in tensors.items()):
        return Told(Kind.EMBEDDING, Family.SDXL if tensors.keys() == {"clip_l", "clip_g"} else None)
    return NOTHING_TOLD


def _bundle(tensors: Tensors) -> Told:
    """A diffusion model: alone, or under a prefix with VAE or text encoders beside it, which is a checkpoint."""
    for prefix in DIFFUSION_PREFIXES:
        told = _agreed(DIFFUSION, [below(tensors, prefix)])
        if told.kind is None:
            continue
        has_companions = bool(prefix) and any(name.startswith(COMPANION_PREFIXES) for name in tensors)
        return Told(Kind.CHECKPOINT if has_companions else Kind.DIFFUSION_MODEL, told.family)
    return NOTHING_TOLD


def _plain(tensors: Tensors) -> Told:
    """Everything that has names of its own: VAEs, text encoders, ControlNets, upscalers …"""
    parts = _agreed((*PARTS, *VAES), [tensors, *(below(tensors, wrapper) for wrapper in WRAPPERS)])
    text = _agreed(TEXT_ENCODERS, [below(tensors, prefix) for prefix in TEXT_PREFIXES])
    if parts.kind is not None and text.kind is not None:
        return NOTHING_TOLD
    return parts if text.kind is None else text


def _agreed(rules: Iterable[Rule], views: Iterable[Tensors]) -> Told:
    """What all rules that hold say together. Rules without a family only tell the kind."""
    held = [rule for view in views if view for rule in rules if rule.holds(view)]
    kinds = {rule.kind for rule in held}
    families = {rule.family for rule in held} - {None}
    if len(kinds) != 1 or len(families) > 1:
        return NOTHING_TOLD
    return Told(kinds.pop(), families.pop() if families else None)


def _tell_gguf(head: Head) -> Told:
    """The tensors first: makers of GGUF files borrow the name of an architecture that the loader happens to know."""
    told = _tell_tensors(head)
    architecture = claimed_architecture(head.metadata)
    if told.kind is not None:
        return told if told.family is not None else Told(told.kind, GGUF_TEXT.get(architecture))
    if architecture in GGUF_MODELS and not head.complete:
        return Told(Kind.DIFFUSION_MODEL, GGUF_MODELS[architecture])
    if architecture in GGUF_TEXT:
        return Told(Kind.TEXT_ENCODER, GGUF_TEXT[architecture])
    return NOTHING_TOLD

"""LoRAs and their relatives: what makes a file one, and which base model its names and sizes belong to.

The names are those that trainers write and ComfyUI maps (comfy/lora.py): kohya's `lora_unet_…`, the dotted names of
diffusers, PEFT, ai-toolkit and diffusion-pipe, OneTrainer, SimpleTuner and LyCORIS. Every layer becomes one line of
text, `name in out`, with `-` for an unknown size; one search with a regular expression then answers for all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from download_worker.verifiers.content.families import Family as F
from download_worker.verifiers.content.heads import Tensors

_ENDING = re.compile(
    r"[._](?:"
    r"(?P<down>lora_down|lora_A|lora[12]?\.down|lora_linear_layer\.down|hada_w1_b)"
    r"|(?P<up>lora_up|lora_B|lora[12]?\.up|lora_linear_layer\.up|hada_w1_a)"
    r"|(?P<pair>lora_mid|hada_w2_[ab]|hada_t[12]|lokr_w[12](?:_[ab])?|lokr_t2|oft_blocks|oft_diag|oft_R)"
    r"|(?P<whole>diff|diff_b|set_weight)"
    r"|(?P<extra>alpha|dora_scale|lora_magnitude_vector|w_norm|b_norm|reshape_weight|scalar)"
    r")(?:\.default(?:_\d{1,3})?)?(?:\.weight|\.bias)?\Z"
)
MAX_ENDING_CHARS = 64
_WRAPPING = re.compile(
    r"\A(?:base_model\.model\.|model\.diffusion_model\.|diffusion_model\.|transformer\.|unet\.|pipe\.dit\.|dit\."
    r"|lora_unet_|lora_transformer_|lycoris_)+"
)
_MOTION = "motion_modules."
MIN_SHARE = 0.7
"""So much of a LoRA is LoRA at least. A few whole layers may lie beside it (norms, the input of a control LoRA)."""
MIN_SHARE_WITHOUT_PAIRS = 0.95
MIN_PARTS = 2
_LOW_RANK = frozenset({"down", "up", "pair"})
MAX_STRAY_SHARE = 0.02
_FACES = ("ip_adapter.", "image_proj.")
"""An IP-Adapter for faces brings LoRAs of its own, and is none."""


class Part(NamedTuple):
    """One tensor of an adapted layer. `role`: down, up, pair (any other low-rank part), whole, extra."""

    layer: str
    role: str
    shape: tuple[int, ...]


class Lines(NamedTuple):
    """The layers of a LoRA as text, one per line; `is_motion` for those of AnimateDiff."""

    text: str
    is_motion: bool


def adapted_parts(tensors: Tensors) -> list[Part]:
    """The tensors that adapt a layer of something else. None are those of an IP-Adapter for faces, which is no LoRA."""
    if any(name.startswith(_FACES) for name in tensors):
        return []
    return [part for name, weight in tensors.items() if (part := _part(name, weight.shape)) is not None]


def _part(name: str, shape: tuple[int, ...]) -> Part | None:
    begin = max(0, len(name) - MAX_ENDING_CHARS)
    ending = _ENDING.search(name, begin)
    return None if ending is None else Part(name[: ending.start()], ending.lastgroup or "", shape)


def lora_lines(parts: Sequence[Part], tensors: int) -> Lines | None:
    """The layers that these parts of a file of so many tensors adapt; None when it is no LoRA, or not only that."""
    paired = sum(part.role in _LOW_RANK for part in parts)
    whole = sum(part.role == "whole" for part in parts)
    needed = MIN_SHARE if paired else MIN_SHARE_WITHOUT_PAIRS
    if max(paired, whole) < MIN_PARTS or len(parts) < needed * tensors:
        return None
    return Lines("\n".join(sorted(_lines(parts))), all(_MOTION in part.layer for part in parts))


def is_mixed(parts: Sequence[Part], tensors: int) -> bool:
    """A LoRA and something else in one file: nobody can say what a loader would make of that."""
    return sum(part.role in _LOW_RANK for part in parts) > MAX_STRAY_SHARE * tensors


def _lines(parts: Iterable[Part]) -> Iterator[str]:
    sizes: dict[str, tuple[int | str, int | str]] = {}
    for layer, role, shape in parts:
        inner, outer = sizes.get(layer, ("-", "-"))
        if role in ("down", "whole") and len(shape) > 1:
            inner = shape[1]
        if role in ("up", "whole") and len(shape) > 1:
            outer = shape[0]
        sizes[layer] = (inner, outer)
    for layer, (inner, outer) in sizes.items():
        yield f"{_WRAPPING.sub('', layer)} {inner} {outer}"


_UNET = r"^(?:down|up|input|output|mid|middle)_blocks?[._]\S*attn2[._](?:processor[._])?to_[kv] "
_DOUBLE = r"^(?:double|single)_blocks[._]\d+[._]"
_MMDIT = r"^(?:single_)?transformer_blocks[._]\d+[._](?:attn[._]|ff|norm|proj_)\S* "

# Each group is one way of naming layers; of a group the first that is found counts.
_GROUPS: tuple[tuple[tuple[F, str], ...], ...] = (
    (
        (F.SDXL, _UNET + "2048 "),
        (F.SD15, _UNET + "768 "),
        (F.SD2, _UNET + "1024 "),
        (F.SDXL_REFINER, _UNET + "1280 "),
        (
            F.SDXL,
            r"^(?:down_blocks[._]2|up_blocks[._]0|input_blocks[._][78]|mid_block|middle_block)[._]\S*transformer_blocks[._][2-9][._]",
        ),
    ),
    (
        (F.CHROMA, r"^distilled_guidance_layer[._]"),
        (
            F.FLUX2,
            _DOUBLE
            + r"\S* (?:6144|4096) |^(?:double|single)_stream_modulation|^single_blocks[._]\d+[._]linear1 3072 27648",
        ),
        (F.HUNYUAN_IMAGE, _DOUBLE + r"\S* 3584 "),
        (
            F.HUNYUAN_VIDEO,
            _DOUBLE + r"\S* 2048 "
            r"|^double_blocks[._](?:19|[2-9]\d)[._]|^single_blocks[._](?:3[89]|[4-9]\d)[._]"
            r"|^double_blocks\.\d+\.(?:img|txt)_attn_"
            r"|^double_blocks[._]\d+[._](?:img|txt)_(?:mod[._]linear|mlp[._]fc[12]) "
            r"|^single_blocks[._]\d+[._]modulation[._]linear ",
        ),
        (F.FLUX, _DOUBLE + r"(?:(?:img|txt)_(?:attn|mlp|mod)|linear[12]|modulation|processor)\S* (?:3072|-) "),
        (F.FLUX, r"^single_blocks[._]\d+[._]linear2 15360 "),
    ),
    ((F.SD3, r"^joint_blocks[._]\d+[._](?:x|context)_block[._]"),),
    (
        (F.QWEN_IMAGE, r"^transformer_blocks[._]\d+[._](?:img|txt)_(?:mlp|mod)[._]"),
        (F.QWEN_IMAGE, r"^transformer_blocks[._](?:3[89]|[45]\d)[._]attn[._]\S* 3072 "),
        (F.FLUX2, r"^single_transformer_blocks[._]\d+[._]attn[._]to_qkv_mlp_proj |" + _MMDIT + "6144 "),
        (F.SD3, _MMDIT + "(?:1536|2432) "),
        (F.FLUX, r"^single_transformer_blocks[._]\d+[._](?:attn[._]|norm|proj_)"),
        (F.FLUX, r"^transformer_blocks[._]\d+[._](?:ff_context|norm1_context)[._]\S* 3072 "),
    ),
    (
        (F.LTX2, r"^transformer_blocks[._]\d+[._](?:audio_|video_to_audio)"),
        (
            F.ACE_STEP,
            r"^transformer_blocks[._]\d+[._]cross_attn[._]to_|^(?:lyric_encoder|lyric_proj|speaker_embedder)[._]",
        ),
        (F.LTX, r"^transformer_blocks[._]\d+[._]attn[12][._]to_\S+ (?:2048|4096) "),
        (F.PIXART, r"^transformer_blocks[._]\d+[._]attn[12][._]to_\S+ 1152 "),
    ),
    (
        (
            F.WAN,
            r"^(?:vace_)?blocks[._]\d+[._](?:self|cross)_attn[._](?:[qkvo]|[kv]_img) |^blocks[._]\d+[._]ffn[._][02] ",
        ),
        (F.WAN, r"^blocks[._]\d+[._](?:attn[12][._](?:to|add)_|ffn[._]net[._])"),
        (F.ANIMA, r"^llm_adapter[._]|^lora_te_layers_\d+_self_attn_q_proj 1024 "),
        (F.COSMOS, r"^blocks[._]\d+[._](?:(?:self|cross)_attn[._](?:[qkv]|output)_proj|mlp[._]layer[12]) "),
        (F.MOCHI, r"^blocks[._]\d+[._]attn[._]qkv_[xy] "),
    ),
    (
        (F.Z_IMAGE, r"^(?:layers|noise_refiner|context_refiner)[._]\d+[._](?:attention|feed_forward)[._]\S+ 3840 "),
        (F.LUMINA2, r"^(?:layers|noise_refiner|context_refiner)[._]\d+[._](?:attention|feed_forward)[._]\S+ 2304 "),
        (F.OMNIGEN2, r"^(?:layers|noise_refiner|context_refiner)[._]\d+[._]attn[._]to_\S+ 2520 "),
    ),
    ((F.HIDREAM, r"^(?:double|single)_stream_blocks[._]\d+[._]block[._]"),),
    ((F.AURA_FLOW, r"^(?:double_layers[._]\d+[._]attn|joint_transformer_blocks[._])"),),
    ((F.CASCADE, r"^lora_prior_unet_"),),
    ((F.KANDINSKY5, r"^visual_transformer_blocks[._]\d+[._]"),),
)
_RULES = tuple(tuple((family, re.compile(text, re.MULTILINE)) for family, text in group) for group in _GROUPS)

CLAIMS: Mapping[str, F] = MappingProxyType(
    {
        "chroma": F.CHROMA,
        "flux2": F.FLUX2,
        "flux.2": F.FLUX2,
        "flux": F.FLUX,
        "stable-diffusion-xl": F.SDXL,
        "sdxl": F.SDXL,
        "stable-diffusion-v1": F.SD15,
        "sd_v1": F.SD15,
        "sd_1.5": F.SD15,
        "stable-diffusion-v2": F.SD2,
        "sd_v2": F.SD2,
        "stable-diffusion-3": F.SD3,
        "sd3": F.SD3,
        "hunyuan_video": F.HUNYUAN_VIDEO,
        "hunyuan-video": F.HUNYUAN_VIDEO,
        "wan": F.WAN,
        "qwen-image": F.QWEN_IMAGE,
        "qwen_image": F.QWEN_IMAGE,
        "zimage": F.Z_IMAGE,
        "z-image": F.Z_IMAGE,
        "anima": F.ANIMA,
        "lumina": F.LUMINA2,
        "hidream": F.HIDREAM,
        "ltx": F.LTX,
    }
)
"""How trainers begin the name of the base model in `ss_base_model_version` and `modelspec.architecture`."""
_CLAIMING = ("modelspec.architecture", "ss_base_model_version", "base_model")


def lora_family(lines: Lines, metadata: Mapping[str, str]) -> F | None:
    """The base model: told by the layers; by the trainer's word where they do not tell, or cannot tell Chroma."""
    found = {family for group in _RULES if (family := _first(group, lines.text)) is not None}
    claimed = claimed_family(metadata)
    if not found or (found == {F.FLUX} and claimed is F.CHROMA):
        return claimed
    return found.pop() if len(found) == 1 else None


def claimed_family(metadata: Mapping[str, str]) -> F | None:
    """What the author's own metadata says; None where it says nothing, or several things."""
    words = [metadata.get(key, "").lower() for key in _CLAIMING]
    found = {next((family for start, family in CLAIMS.items() if word.startswith(start)), None) for word in words}
    told = found - {None}
    return told.pop() if len(told) == 1 else None


def _first(group: Iterable[tuple[F, re.Pattern[str]]], text: str) -> F | None:
    return next((family for family, pattern in group if pattern.search(text)), None)

"""Tensor names and shapes of LoRAs, adapters and upscalers, made by small generators.

Facts of the files as they are published (Hugging Face lists names and shapes of every safetensors file).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tests.worker.content_shapes import Shapes, conv, linear, merged, norm, repeated

# --- what goes with them ----------------------------------------------------------------------------------------------


def ip_adapter(context: int, widths: Iterable[int], *, latents: tuple[int, int] | None = None) -> Shapes:
    adapters: Shapes = {}
    for number, width in enumerate(widths):
        adapters |= {f"ip_adapter.{2 * number + 1}.to_{part}_ip.weight": (width, context) for part in "kv"}
    if latents is None:
        return adapters | linear("image_proj.proj", 4 * context, 1024) | norm("image_proj.norm", context)
    inner, embedding = latents
    return adapters | {"image_proj.latents": (1, 16, inner)} | linear("image_proj.proj_in", inner, embedding)


SD15_WIDTHS = (*[320] * 4, *[640] * 4, *[1280] * 8)
SDXL_WIDTHS = (*[640] * 10, *[1280] * 60)


def motion_module(levels: int) -> Shapes:
    made: Shapes = {}
    for level, width in enumerate((320, 640, 1280, 1280)[:levels]):
        block = norm("norm", width) | linear("proj_in", width, width)
        block |= linear("transformer_blocks.0.attention_blocks.0.to_q", width, width, False)
        for side in ("down", "up"):
            made |= repeated(2, f"{side}_blocks.{level}.motion_modules.{{}}.temporal_transformer.", block)
    return made


def esrgan(*, old: bool = False) -> Shapes:
    if old:
        dense = merged(*(conv(f"RDB{n}.conv{m}.0", 32, 32 + 32 * m) for n in (1, 2, 3) for m in (1, 2, 3, 4, 5)))
        return merged(conv("model.0", 64, 3), repeated(23, "model.1.sub.{}.", dense), conv("model.10", 3, 64))
    dense = merged(*(conv(f"rdb{n}.conv{m}", 32, 32 + 32 * m) for n in (1, 2, 3) for m in (1, 2, 3, 4, 5)))
    return merged(conv("conv_first", 64, 3), repeated(23, "body.{}.", dense), conv("conv_last", 3, 64))


def compact() -> Shapes:
    made = conv("body.0", 64, 3) | {"body.1.weight": (64,)}
    for number in range(2, 34, 2):
        made |= conv(f"body.{number}", 64, 64) | {f"body.{number + 1}.weight": (64,)}
    return made


# --- LoRAs ------------------------------------------------------------------------------------------------------------


def layers_of(shapes: Shapes, *needles: str) -> dict[str, tuple[int, int]]:
    """The linear layers among these tensors whose names hold one of the needles."""
    return {
        name.removesuffix(".weight"): (shape[0], shape[1])
        for name, shape in shapes.items()
        if name.endswith(".weight") and len(shape) == 2 and any(needle in name for needle in needles)
    }


def kohya(layers: Mapping[str, tuple[int, int]], prefix: str = "lora_unet_", rank: int = 16) -> Shapes:
    made: Shapes = {}
    for name, (out, inner) in layers.items():
        layer = prefix + name.replace(".", "_")
        made |= {
            f"{layer}.lora_down.weight": (rank, inner),
            f"{layer}.lora_up.weight": (out, rank),
            f"{layer}.alpha": (),
        }
    return made


def peft(
    layers: Mapping[str, tuple[int, int]], prefix: str = "diffusion_model.", rank: int = 16, suffix: str = ".weight"
) -> Shapes:
    made: Shapes = {}
    for name, (out, inner) in layers.items():
        made |= {f"{prefix}{name}.lora_A{suffix}": (rank, inner), f"{prefix}{name}.lora_B{suffix}": (out, rank)}
    return made


def loha(layers: Mapping[str, tuple[int, int]], prefix: str = "lora_unet_", rank: int = 8) -> Shapes:
    made: Shapes = {}
    for name, (out, inner) in layers.items():
        layer = prefix + name.replace(".", "_")
        made |= {f"{layer}.hada_w1_a": (out, rank), f"{layer}.hada_w1_b": (rank, inner), f"{layer}.alpha": ()}
        made |= {f"{layer}.hada_w2_a": (out, rank), f"{layer}.hada_w2_b": (rank, inner)}
    return made


def lokr(layers: Mapping[str, tuple[int, int]], prefix: str = "lycoris_") -> Shapes:
    made: Shapes = {}
    for name, (out, inner) in layers.items():
        layer = prefix + name.replace(".", "_")
        made |= {f"{layer}.lokr_w1": (16, 16), f"{layer}.lokr_w2": (out // 16, inner // 16), f"{layer}.alpha": ()}
    return made


def differences(layers: Mapping[str, tuple[int, int]], prefix: str = "diffusion_model.") -> Shapes:
    return {
        f"{prefix}{name}.{part}": shape if part == "diff" else shape[:1]
        for name, shape in layers.items()
        for part in ("diff", "diff_b")
    }


def attention_of(shapes: Shapes) -> dict[str, tuple[int, int]]:
    return layers_of(
        shapes,
        "attn",
        "ff.net",
        "mlp",
        "attention.",
        "feed_forward",
        "linear1",
        "linear2",
        ".ffn.",
        "_mod.",
        "modulation.lin",
    )

"""Tensor names and shapes of U-Nets, ControlNets, VAEs and text encoders, made by small generators.

Facts of the files as they are published (Hugging Face lists names and shapes of every safetensors file).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

Shapes = dict[str, tuple[int, ...]]


# --- building blocks --------------------------------------------------------------------------------------------------


def linear(name: str, out: int, inner: int, bias: bool = True) -> Shapes:
    return {f"{name}.weight": (out, inner)} | ({f"{name}.bias": (out,)} if bias else {})


def conv(name: str, out: int, inner: int, kernel: int = 3, dimensions: int = 2) -> Shapes:
    return {f"{name}.weight": (out, inner, *[kernel] * dimensions), f"{name}.bias": (out,)}


def norm(name: str, width: int, bias: bool = True) -> Shapes:
    named: Shapes = {f"{name}.weight": (width,)}
    return named | ({f"{name}.bias": (width,)} if bias else {})


def merged(*parts: Mapping[str, tuple[int, ...]]) -> Shapes:
    return dict(chain.from_iterable(part.items() for part in parts))


def under(prefix: str, shapes: Shapes) -> Shapes:
    return {prefix + name: shape for name, shape in shapes.items()}


def repeated(count: int, name: str, block: Shapes) -> Shapes:
    return merged(*(under(name.format(number), block) for number in range(count)))


# --- Stable Diffusion -------------------------------------------------------------------------------------------------


def cross_attention_block(width: int, context: int) -> Shapes:
    own = merged(*(linear(f"attn1.to_{part}", width, width, bias=False) for part in "qkv"))
    cross = linear("attn2.to_q", width, width, bias=False)
    cross |= linear("attn2.to_k", width, context, bias=False) | linear("attn2.to_v", width, context, bias=False)
    outs = linear("attn1.to_out.0", width, width) | linear("attn2.to_out.0", width, width)
    feed = linear("ff.net.0.proj", 8 * width, width) | linear("ff.net.2", width, 4 * width)
    return merged(own, cross, outs, feed, *(norm(f"norm{number}", width) for number in (1, 2, 3)))


def spatial_transformer(width: int, context: int, depth: int, flat: bool) -> Shapes:
    ends = merged(*((linear(n, width, width) if flat else conv(n, width, width, 1)) for n in ("proj_in", "proj_out")))
    return merged(
        norm("norm", width), ends, repeated(depth, "transformer_blocks.{}.", cross_attention_block(width, context))
    )


def res_block(inner: int, out: int, time: int) -> Shapes:
    main = norm("in_layers.0", inner) | conv("in_layers.2", out, inner) | linear("emb_layers.1", out, time)
    main |= norm("out_layers.0", out) | conv("out_layers.3", out, out)
    return main if inner == out else main | conv("skip_connection", out, inner, 1)


def unet(
    context: int,
    depths: tuple[int, ...] = (1, 1, 1, 0),
    *,
    width: int = 320,
    flat: bool = True,
    labels: int | None = None,
    channels: int = 4,
    time_stack: bool = False,
) -> Shapes:
    """The U-Net of the LDM code: two blocks per level, `depths` transformer layers in each."""
    time, mult = 4 * width, (1, 2, 4, 4)[: len(depths)]
    shapes = linear("time_embed.0", time, width) | linear("time_embed.2", time, time)
    if labels:
        shapes |= linear("label_emb.0.0", time, labels) | linear("label_emb.0.2", time, time)
    shapes |= conv("input_blocks.0.0", width, channels)
    at, inner, skips = 1, width, [width]

    def layer(name: str, before: int, out: int, depth: int) -> Shapes:
        made = under(f"{name}.0.", res_block(before, out, time))
        if depth:
            made |= under(f"{name}.1.", spatial_transformer(out, context, depth, flat))
            if time_stack:
                made |= under(f"{name}.1.time_stack.0.", cross_attention_block(out, context))
        return made

    for level, (times, depth) in enumerate(zip(mult, depths, strict=True)):
        for _ in range(2):
            shapes |= layer(f"input_blocks.{at}", inner, times * width, depth)
            at, inner = at + 1, times * width
            skips.append(inner)
        if level < len(mult) - 1:
            shapes |= conv(f"input_blocks.{at}.0.op", inner, inner)
            skips.append(inner)
            at += 1
    middle = max(depths)
    shapes |= under("middle_block.0.", res_block(inner, inner, time)) | under(
        "middle_block.2.", res_block(inner, inner, time)
    )
    shapes |= under("middle_block.1.", spatial_transformer(inner, context, middle, flat))
    for number in range(len(skips)):
        level = len(mult) - 1 - number // 3
        shapes |= layer(f"output_blocks.{number}", inner + skips[-1 - number], mult[level] * width, depths[level])
        inner = mult[level] * width
    return shapes | norm("out.0", width) | conv("out.2", 4, width)


SDXL = (0, 2, 10)


def sdxl_unet(channels: int = 4) -> Shapes:
    return unet(2048, SDXL, labels=2816, channels=channels)


def refiner_unet() -> Shapes:
    return unet(1280, (0, 4, 4, 0), width=384, labels=2560)


def controlnet(whole: Shapes, width: int = 320) -> Shapes:
    """The encoder half of a U-Net with zero convolutions, as lllyasviel publishes them."""
    half = {name: shape for name, shape in whole.items() if not name.startswith(("output_blocks.", "out."))}
    zeros = repeated(12, "zero_convs.{}.", conv("0", width, width, 1)) | conv(
        "middle_block_out.0", 4 * width, 4 * width, 1
    )
    return merged(half, zeros, conv("input_hint_block.0", 16, 3), conv("input_hint_block.2", 16, 16))


def diffusers_unet(context: int, depths: tuple[int, ...], *, flat: bool, labels: int | None = None) -> Shapes:
    widths = (320, 640, 1280, 1280)[: len(depths)]
    shapes = conv("conv_in", 320, 4) | linear("time_embedding.linear_1", 1280, 320)
    if labels:
        shapes |= linear("add_embedding.linear_1", 1280, labels)
    for level, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        for side, count, at in (("down", 2, level), ("up", 3, len(widths) - 1 - level)):
            block = f"{side}_blocks.{at}."
            shapes |= repeated(count, block + "resnets.{}.", norm("norm1", width) | conv("conv1", width, width))
            if depth:
                shapes |= repeated(count, block + "attentions.{}.", spatial_transformer(width, context, depth, flat))
    middle = spatial_transformer(widths[-1], context, max(depths), flat)
    return merged(
        shapes, under("mid_block.attentions.0.", middle), norm("conv_norm_out", 320), conv("conv_out", 4, 320)
    )


def diffusers_controlnet(whole: Shapes) -> Shapes:
    half = {
        name: shape for name, shape in whole.items() if not name.startswith(("up_blocks.", "conv_out", "conv_norm_out"))
    }
    hint = conv("controlnet_cond_embedding.conv_in", 16, 3) | conv("controlnet_cond_embedding.conv_out", 320, 256)
    return merged(half, hint, repeated(9, "controlnet_down_blocks.{}.", {"weight": (320, 320, 1, 1), "bias": (320,)}))


def control_lora(whole: Shapes, rank: int = 128) -> Shapes:
    half = {
        name: shape for name, shape in controlnet(whole).items() if name.startswith(("input_blocks.", "middle_block."))
    }
    pairs = {
        name.removesuffix("weight") + side: (shape[0], rank) if side == "up" else (rank, *shape[1:])
        for name, shape in half.items()
        if name.endswith(".weight") and len(shape) > 1
        for side in ("up", "down")
    }
    return {"lora_controlnet": (0,)} | pairs | conv("input_hint_block.0", 16, 3) | conv("zero_convs.0.0", 320, 320, 1)


# --- VAEs -------------------------------------------------------------------------------------------------------------


def kl_vae(latent: int, *, quant: bool, out_quant: int | None = None, mix: bool = False) -> Shapes:
    """AutoencoderKL in the names of the LDM code: four levels of 128, 256, 512, 512."""
    shapes = conv("encoder.conv_in", 128, 3) | conv("encoder.conv_out", 2 * latent, 512)
    shapes |= conv("decoder.conv_in", 512, latent) | conv("decoder.conv_out", 3, 128)
    for side, step in (("encoder", "down"), ("decoder", "up")):
        for level, width in enumerate((128, 256, 512, 512)):
            block = (
                norm("norm1", width) | conv("conv1", width, width) | norm("norm2", width) | conv("conv2", width, width)
            )
            shapes |= repeated(2, f"{side}.{step}.{level}.block.{{}}.", block)
        shapes |= conv(f"{side}.mid.attn_1.q", 512, 512, 1) | conv(f"{side}.mid.block_1.conv1", 512, 512)
    if quant:
        shapes |= conv("quant_conv", 2 * latent, 2 * latent, 1) | conv("post_quant_conv", latent, latent, 1)
    return shapes | ({"decoder.mid.block_1.mix_factor": (1,)} if mix else {})


def diffusers_vae(latent: int) -> Shapes:
    shapes = conv("encoder.conv_in", 128, 3) | conv("decoder.conv_in", 512, latent) | conv("decoder.conv_out", 3, 128)
    for side, step in (("encoder", "down"), ("decoder", "up")):
        for level, width in enumerate((128, 256, 512, 512)):
            shapes |= repeated(
                2, f"{side}.{step}_blocks.{level}.resnets.{{}}.", norm("norm1", width) | conv("conv1", width, width)
            )
    return shapes | conv("quant_conv", 2 * latent, 2 * latent, 1)


def flux2_vae() -> Shapes:
    shapes = {name: shape for name, shape in kl_vae(32, quant=True).items()}
    return shapes | {"bn.running_mean": (128,), "bn.running_var": (128,)}


def wan_vae(width: int, latent: int, *, nested: bool) -> Shapes:
    shapes = conv("encoder.conv1", width, 12 if nested else 3, dimensions=3)
    wide = 4 * width if not nested else 1024
    shapes |= conv("decoder.conv1", wide, latent, dimensions=3) | conv("conv2", latent, latent, 1, 3)
    for side in ("encoder", "decoder"):
        shapes |= {f"{side}.middle.0.residual.0.gamma": (wide, 1, 1, 1), f"{side}.head.0.gamma": (width, 1, 1, 1)}
        shapes |= conv(f"{side}.middle.0.residual.2", wide, wide, dimensions=3)
    inner = "decoder.upsamples.0.upsamples.0.residual.2" if nested else "decoder.upsamples.0.residual.2"
    return shapes | conv(inner, wide, wide, dimensions=3)


def causal_vae(latent: int, wide: int, groups: tuple[str, ...]) -> Shapes:
    shapes = conv("encoder.conv_in.conv", 128, 3, dimensions=3) | conv(
        "decoder.conv_in.conv", wide, latent, dimensions=3
    )
    return merged(shapes, *(conv(f"{group}.conv1.conv", wide, wide, dimensions=3) for group in groups))


def taesd() -> Shapes:
    names = ("1", "3.conv.0", "3.conv.2", "3.conv.4", "7", "19")
    decoder = merged(*(conv(name, 64, 4 if name == "1" else 64) for name in names))
    return under("taesd_decoder.", decoder) | under("taesd_encoder.", conv("0", 64, 3) | conv("1.conv.0", 64, 64))


# --- text encoders ----------------------------------------------------------------------------------------------------


def clip_text(width: int, layers: int, prefix: str = "text_model.") -> Shapes:
    block = merged(*(linear(f"self_attn.{part}_proj", width, width) for part in ("q", "k", "v", "out")))
    block |= linear("mlp.fc1", 4 * width, width) | linear("mlp.fc2", width, 4 * width)
    block |= norm("layer_norm1", width) | norm("layer_norm2", width)
    shapes = {"embeddings.token_embedding.weight": (49408, width), "embeddings.position_embedding.weight": (77, width)}
    return under(prefix, merged(shapes, repeated(layers, "encoder.layers.{}.", block), norm("final_layer_norm", width)))


def clip_vision(width: int, layers: int, patch: int = 14) -> Shapes:
    block = merged(*(linear(f"self_attn.{part}_proj", width, width) for part in ("q", "k", "v", "out")))
    block |= linear("mlp.fc1", 4 * width, width) | norm("layer_norm1", width) | norm("layer_norm2", width)
    shapes = {"embeddings.patch_embedding.weight": (width, 3, patch, patch), "embeddings.class_embedding": (width,)}
    return under(
        "vision_model.", merged(shapes, repeated(layers, "encoder.layers.{}.", block), norm("post_layernorm", width))
    )


def open_clip(width: int, layers: int, prefix: str = "") -> Shapes:
    block = {"attn.in_proj_weight": (3 * width, width), "attn.in_proj_bias": (3 * width,)}
    block |= norm("ln_1", width) | norm("ln_2", width) | linear("mlp.c_fc", 4 * width, width)
    body = repeated(layers, "transformer.resblocks.{}.", block)
    return under(prefix, merged({"token_embedding.weight": (49408, width), "text_projection": (width, width)}, body))


def t5(
    width: int, feed: int, layers: int, vocabulary: int, *, bias_everywhere: bool = False, gated: bool = True
) -> Shapes:
    block = merged(*(linear(f"layer.0.SelfAttention.{part}", width, width, bias=False) for part in "qkvo"))
    ways = ("wi_0", "wi_1") if gated else ("wi",)
    block |= merged(*(linear(f"layer.1.DenseReluDense.{way}", feed, width, bias=False) for way in ways))
    block |= linear("layer.1.DenseReluDense.wo", width, feed, bias=False) | norm(
        "layer.0.layer_norm", width, bias=False
    )
    biases = range(layers if bias_everywhere else 1)
    named = {f"encoder.block.{n}.layer.0.SelfAttention.relative_attention_bias.weight": (32, 64) for n in biases}
    return merged({"shared.weight": (vocabulary, width)}, repeated(layers, "encoder.block.{}.", block), named)


def language_model(
    width: int,
    layers: int,
    vocabulary: int,
    *,
    keys: int = 1024,
    feed: int | None = None,
    key_bias: bool = False,
    q_norm: bool = False,
    sandwich: bool = False,
    prefix: str = "",
) -> Shapes:
    block = linear("self_attn.q_proj", width, width, bias=key_bias) | linear(
        "self_attn.k_proj", keys, width, bias=key_bias
    )
    block |= linear("self_attn.o_proj", width, width, bias=False) | linear(
        "mlp.gate_proj", feed or 4 * width, width, bias=False
    )
    block |= norm("input_layernorm", width, bias=False) | norm("post_attention_layernorm", width, bias=False)
    if q_norm:
        block |= norm("self_attn.q_norm", 128, bias=False) | norm("self_attn.k_norm", 128, bias=False)
    if sandwich:
        block |= norm("post_feedforward_layernorm", width, bias=False) | norm(
            "pre_feedforward_layernorm", width, bias=False
        )
    shapes = {"model.embed_tokens.weight": (vocabulary, width), "model.norm.weight": (width,)}
    return under(prefix, merged(shapes, repeated(layers, "model.layers.{}.", block)))


def llama_cpp(width: int, layers: int, vocabulary: int, block: str = "blk") -> Shapes:
    body = merged(
        *(linear(f"attn_{part}", width, width, bias=False) for part in "qkv"),
        linear("ffn_gate", 4 * width, width, False),
    )
    return {"token_embd.weight": (vocabulary, width)} | repeated(layers, block + ".{}.", body)

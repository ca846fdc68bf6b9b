"""Labelled headers: the true tensor names and shapes of published models, made by small generators of architectures.

Facts of the files as they are published (Hugging Face lists names and shapes of every safetensors file). The weights are
never there: a header is all that is looked at. `SAMPLES` is the labelled set of Show 7.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain

from download_worker.verifiers.content.families import Family as F
from download_worker.verifiers.content.families import Kind as K
from download_worker.verifiers.content.heads import Format, Head, Weight

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Sample:
    label: str
    kind: K | None
    family: F | None
    make: Callable[[], Shapes]
    dtype: str = "BF16"
    metadata: Mapping[str, str] = field(default_factory=dict)
    format: Format = Format.SAFETENSORS

    def head(self) -> Head:
        return Head(
            self.format, {name: Weight(self.dtype, shape) for name, shape in self.make().items()}, self.metadata
        )

    def __str__(self) -> str:
        return self.label


# --- building blocks --------------------------------------------------------------------------------------------------


def linear(name: str, out: int, inner: int, bias: bool = True) -> Shapes:
    return {f"{name}.weight": (out, inner)} | ({f"{name}.bias": (out,)} if bias else {})


def conv(name: str, out: int, inner: int, kernel: int = 3, dimensions: int = 2) -> Shapes:
    return {f"{name}.weight": (out, inner, *[kernel] * dimensions), f"{name}.bias": (out,)}


def norm(name: str, width: int, bias: bool = True) -> Shapes:
    return {f"{name}.weight": (width,)} | ({f"{name}.bias": (width,)} if bias else {})


def merged(*parts: Shapes) -> Shapes:
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


# --- diffusion transformers -------------------------------------------------------------------------------------------


def stream(width: int, mlp: int, *, modulated: bool = True) -> Shapes:
    made: Shapes = {}
    for side in ("img", "txt"):
        made |= linear(f"{side}_attn.qkv", 3 * width, width) | linear(f"{side}_attn.proj", width, width)
        made |= {f"{side}_attn.norm.{part}_norm.scale": (128,) for part in ("query", "key")}
        made |= linear(f"{side}_mlp.0", mlp, width) | linear(f"{side}_mlp.2", width, mlp)
        made |= linear(f"{side}_mod.lin", 6 * width, width) if modulated else {}
    return made


def single(width: int, mlp: int, *, modulated: bool = True, gated: int = 1) -> Shapes:
    made = linear("linear1", 3 * width + gated * mlp, width) | linear("linear2", width, width + mlp)
    made |= {"norm.key_norm.scale": (128,), "norm.query_norm.scale": (128,)}
    return made | (linear("modulation.lin", 3 * width, width) if modulated else {})


def flux(*, guidance: bool = True, channels: int = 64, doubles: int = 19, singles: int = 38) -> Shapes:
    ends = linear("img_in", 3072, channels) | linear("txt_in", 3072, 4096) | linear("vector_in.in_layer", 3072, 768)
    ends |= linear("time_in.in_layer", 3072, 256) | linear("final_layer.linear", 64, 3072)
    ends |= linear("guidance_in.in_layer", 3072, 256) if guidance else {}
    blocks = repeated(doubles, "double_blocks.{}.", stream(3072, 12288))
    return merged(ends, blocks, repeated(singles, "single_blocks.{}.", single(3072, 12288)))


def chroma() -> Shapes:
    ends = linear("img_in", 3072, 64) | linear("txt_in", 3072, 4096) | linear("final_layer.linear", 64, 3072)
    ends |= repeated(5, "distilled_guidance_layer.norms.{}.", {"scale": (5120,)}) | linear(
        "distilled_guidance_layer.in_proj", 5120, 64
    )
    blocks = repeated(19, "double_blocks.{}.", stream(3072, 12288, modulated=False))
    return merged(ends, blocks, repeated(38, "single_blocks.{}.", single(3072, 12288, modulated=False)))


def flux2(width: int = 6144, doubles: int = 8, singles: int = 48, context: int = 15360) -> Shapes:
    ends = (
        linear("img_in", width, 128, False)
        | linear("txt_in", width, context, False)
        | linear("final_layer.linear", 128, width, False)
    )
    for name, times in (
        ("double_stream_modulation_img", 6),
        ("double_stream_modulation_txt", 6),
        ("single_stream_modulation", 3),
    ):
        ends |= linear(f"{name}.lin", times * width, width, False)
    blocks = repeated(doubles, "double_blocks.{}.", stream(width, 3 * width, modulated=False))
    return merged(
        ends, blocks, repeated(singles, "single_blocks.{}.", single(width, 3 * width, modulated=False, gated=2))
    )


def diffusers_flux() -> Shapes:
    attention = merged(*(linear(f"attn.to_{part}", 3072, 3072) for part in "qkv"))
    both = (
        attention
        | merged(*(linear(f"attn.add_{part}_proj", 3072, 3072) for part in "qkv"))
        | linear("norm1.linear", 18432, 3072)
    )
    both |= (
        linear("norm1_context.linear", 18432, 3072)
        | linear("ff.net.0.proj", 12288, 3072)
        | linear("ff_context.net.0.proj", 12288, 3072)
    )
    one = (
        attention
        | linear("norm.linear", 9216, 3072)
        | linear("proj_mlp", 12288, 3072)
        | linear("proj_out", 3072, 15360)
    )
    ends = linear("x_embedder", 3072, 64) | linear("context_embedder", 3072, 4096)
    return merged(
        ends, repeated(19, "transformer_blocks.{}.", both), repeated(38, "single_transformer_blocks.{}.", one)
    )


def hunyuan_video(*, width: int = 3072, doubles: int = 20, singles: int = 40, flat: bool = False) -> Shapes:
    ends = conv("img_in.proj", width, 16, 2, 2 if flat else 3) | linear("txt_in.input_embedder", width, 4096)
    ends |= norm("txt_in.individual_token_refiner.blocks.0.norm1", width) | linear("final_layer.linear", 64, width)
    blocks = repeated(doubles, "double_blocks.{}.", stream(width, 4 * width))
    return merged(ends, blocks, repeated(singles, "single_blocks.{}.", single(width, 4 * width)))


def sd3(width: int, blocks: int) -> Shapes:
    block: Shapes = {}
    for side in ("context_block", "x_block"):
        block |= linear(f"{side}.attn.qkv", 3 * width, width) | linear(f"{side}.attn.proj", width, width)
        block |= linear(f"{side}.mlp.fc1", 4 * width, width) | linear(f"{side}.adaLN_modulation.1", 6 * width, width)
    ends = (
        conv("x_embedder.proj", width, 16, 2)
        | linear("context_embedder", width, 4096)
        | linear("y_embedder.mlp.0", width, 2048)
    )
    return merged(ends, {"pos_embed": (1, 36864, width)}, repeated(blocks, "joint_blocks.{}.", block))


def wan(width: int, feed: int, layers: int, channels: int = 16, *, image: bool = False) -> Shapes:
    block: Shapes = {"modulation": (1, 6, width)}
    for attention in ("self_attn", "cross_attn"):
        block |= merged(
            *(linear(f"{attention}.{part}", width, width) for part in "qkvo"), norm(f"{attention}.norm_q", width, False)
        )
    if image:
        block |= linear("cross_attn.k_img", width, width) | linear("cross_attn.v_img", width, width)
    block |= linear("ffn.0", feed, width) | linear("ffn.2", width, feed) | norm("norm3", width)
    ends = {"patch_embedding.weight": (width, channels, 1, 2, 2), "head.modulation": (1, 2, width)}
    ends |= (
        linear("head.head", 64, width)
        | linear("text_embedding.0", width, 4096)
        | linear("time_projection.1", 6 * width, width)
    )
    return merged(ends, repeated(layers, "blocks.{}.", block))


def qwen_image() -> Shapes:
    block = merged(
        *(
            linear(f"attn.{part}", 3072, 3072)
            for part in ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
        )
    )
    for side in ("img", "txt"):
        block |= (
            linear(f"{side}_mlp.net.0.proj", 12288, 3072)
            | linear(f"{side}_mlp.net.2", 3072, 12288)
            | linear(f"{side}_mod.1", 18432, 3072)
        )
    ends = (
        linear("img_in", 3072, 64)
        | linear("txt_in", 3072, 3584)
        | norm("txt_norm", 3584, False)
        | linear("proj_out", 64, 3072)
    )
    return merged(ends, repeated(60, "transformer_blocks.{}.", block))


def ltx(width: int, layers: int, *, sound: bool = False) -> Shapes:
    block: Shapes = {"scale_shift_table": (6, width)}
    for attention in ("attn1", "attn2") + (("audio_attn1", "audio_to_video_attn") if sound else ()):
        block |= merged(*(linear(f"{attention}.to_{part}", width, width) for part in ("q", "k", "v", "out.0")))
    block |= linear("ff.net.0.proj", 4 * width, width) | linear("ff.net.2", width, 4 * width)
    ends = linear("adaln_single.emb.timestep_embedder.linear_1", width, 256) | linear("patchify_proj", width, 128)
    ends |= linear("audio_adaln_single.linear", 6 * width, width) if sound else {}
    return merged(ends, linear("proj_out", 128, width), repeated(layers, "transformer_blocks.{}.", block))


def pixart() -> Shapes:
    block = (
        linear("attn.qkv", 3456, 1152) | linear("cross_attn.q_linear", 1152, 1152) | {"scale_shift_table": (6, 1152)}
    )
    ends = (
        conv("x_embedder.proj", 1152, 4, 2)
        | linear("t_block.1", 6912, 1152)
        | linear("y_embedder.y_proj.fc1", 1152, 4096)
    )
    return merged(ends, repeated(28, "blocks.{}.", block))


def lumina(width: int, layers: int, context: int, heads: int) -> Shapes:
    block = linear("attention.qkv", 3 * width, width, False) | linear("attention.out", width, width, False)
    block |= {"attention.k_norm.weight": (heads,), "attention.q_norm.weight": (heads,)} | linear(
        "feed_forward.w1", 4 * width, width, False
    )
    block |= linear("feed_forward.w2", width, 4 * width, False) | linear("adaLN_modulation.1", 4 * width, 1024)
    ends = (
        linear("cap_embedder.1", width, context)
        | norm("cap_embedder.0", context, False)
        | linear("x_embedder", width, 64)
    )
    return merged(ends, repeated(2, "noise_refiner.{}.", block), repeated(layers, "layers.{}.", block))


def cosmos_predict2(width: int, layers: int) -> Shapes:
    block: Shapes = {}
    for attention in ("self_attn", "cross_attn"):
        block |= merged(
            *(linear(f"{attention}.{part}_proj", width, width, False) for part in ("q", "k", "v", "output"))
        )
    block |= linear("mlp.layer1", 4 * width, width, False) | linear("mlp.layer2", width, 4 * width, False)
    return merged({"x_embedder.proj.1.weight": (width, 68)}, repeated(layers, "blocks.{}.", block))


def hidream() -> Shapes:
    block = merged(
        *(linear(f"block.attn1.to_{part}", 2560, 2560) for part in "qkv"),
        linear("block.ff_i.shared_experts.w1", 6912, 2560, False),
    )
    ends = linear("caption_projection.0.linear", 2560, 4096, False) | linear("x_embedder.proj", 2560, 64)
    both = repeated(16, "double_stream_blocks.{}.", block)
    return merged(ends, both, repeated(32, "single_stream_blocks.{}.", block))


def few(*names: str, shape: tuple[int, ...] = (64, 64)) -> Shapes:
    """The telling tensors of an architecture, where the rest of it is repetition."""
    return dict.fromkeys(names, shape)


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


def samples() -> Iterator[Sample]:
    yield from _stable_diffusion()
    yield from _transformers()
    yield from _checkpoints()
    yield from _vaes()
    yield from _text_encoders()
    yield from _loras()
    yield from _parts()
    yield from _ggufs()


def sd15_checkpoint() -> Shapes:
    unet15, vae = unet(768, flat=False), kl_vae(4, quant=True)
    text = clip_text(768, 12, "cond_stage_model.transformer.text_model.")
    return merged(under("model.diffusion_model.", unet15), under("first_stage_model.", vae), text)


def sdxl_checkpoint() -> Shapes:
    text = clip_text(768, 12, "conditioner.embedders.0.transformer.text_model.")
    text |= open_clip(1280, 32, "conditioner.embedders.1.model.")
    return merged(
        under("model.diffusion_model.", sdxl_unet()), under("first_stage_model.", kl_vae(4, quant=True)), text
    )


def _stable_diffusion() -> Iterator[Sample]:
    model = K.DIFFUSION_MODEL
    yield Sample("sd15 unet (ldm)", model, F.SD15, lambda: unet(768, flat=False), "F16")
    yield Sample("sd15 unet (diffusers)", model, F.SD15, lambda: diffusers_unet(768, (1, 1, 1, 0), flat=False), "F32")
    yield Sample("sd15 inpainting unet", model, F.SD15, lambda: unet(768, flat=False, channels=9), "F16")
    yield Sample("sd21 unet (diffusers)", model, F.SD2, lambda: diffusers_unet(1024, (1, 1, 1, 0), flat=True))
    yield Sample(
        "sdxl unet (diffusers)", model, F.SDXL, lambda: diffusers_unet(2048, SDXL, flat=True, labels=2816), "F16"
    )
    yield Sample("sdxl lightning unet (ldm)", model, F.SDXL, sdxl_unet, "F16")


def _transformers() -> Iterator[Sample]:
    model = K.DIFFUSION_MODEL
    yield Sample("flux1-dev", model, F.FLUX, flux)
    yield Sample("flux1-schnell", model, F.FLUX, lambda: flux(guidance=False))
    yield Sample("flux1-fill-dev", model, F.FLUX, lambda: flux(channels=384))
    yield Sample("flux1-dev-kontext fp8 scaled", model, F.FLUX, flux, "F8_E4M3")
    yield Sample("flux1-dev (diffusers)", model, F.FLUX, diffusers_flux)
    yield Sample("flux2-dev", model, F.FLUX2, flux2)
    yield Sample("flux2-klein-4b", model, F.FLUX2, lambda: flux2(3072, 5, 20, 7680))
    yield Sample("chroma1-hd", model, F.CHROMA, chroma)
    yield Sample("sd3.5-medium mmdit", model, F.SD3, lambda: sd3(1536, 24))
    yield Sample("sd3.5-large mmdit", model, F.SD3, lambda: sd3(2432, 38))
    yield Sample("wan2.1 t2v 1.3b", model, F.WAN, lambda: wan(1536, 8960, 30))
    yield Sample("wan2.1 i2v 14b", model, F.WAN, lambda: wan(5120, 13824, 40, 36, image=True), "F8_E4M3")
    yield Sample("wan2.2 ti2v 5b", model, F.WAN, lambda: wan(3072, 14336, 30, 48), "F16")
    yield Sample("hunyuan video t2v 720p", model, F.HUNYUAN_VIDEO, hunyuan_video)
    yield Sample("hunyuan video 1.5", model, F.HUNYUAN_VIDEO, lambda: hunyuan_video(width=2048, doubles=54, singles=0))
    yield Sample("hunyuan image 2.1", model, F.HUNYUAN_IMAGE, lambda: hunyuan_video(width=3584, flat=True))
    yield Sample("qwen image", model, F.QWEN_IMAGE, qwen_image, "F8_E4M3")
    yield Sample("ltx video 13b", model, F.LTX, lambda: ltx(4096, 48))
    yield Sample("ltx-2 19b transformer", model, F.LTX2, lambda: ltx(4096, 48, sound=True))
    yield Sample("pixart sigma", model, F.PIXART, pixart)
    yield Sample("lumina image 2.0", model, F.LUMINA2, lambda: lumina(2304, 26, 2304, 96))
    yield Sample("z-image turbo", model, F.Z_IMAGE, lambda: lumina(3840, 30, 2560, 128))
    yield Sample("cosmos predict2 2b", model, F.COSMOS, lambda: under("net.", cosmos_predict2(2048, 28)))
    yield Sample("hidream i1", model, F.HIDREAM, hidream)
    yield Sample(
        "mochi preview", model, F.MOCHI, lambda: few("t5_yproj.weight", "blocks.0.attn.qkv_x.weight", "pos_frequencies")
    )
    yield Sample(
        "aura flow",
        model,
        F.AURA_FLOW,
        lambda: few("double_layers.0.attn.w1q.weight", "single_layers.0.attn.w1q.weight", "cond_seq_linear.weight"),
    )
    yield Sample(
        "omnigen2",
        model,
        F.OMNIGEN2,
        lambda: few("time_caption_embed.timestep_embedder.linear_1.bias", "layers.0.attn.to_q.weight"),
    )
    yield Sample(
        "kandinsky5 lite",
        model,
        F.KANDINSKY5,
        lambda: few("visual_transformer_blocks.0.cross_attention.key_norm.weight", "visual_embeddings.in_layer.bias"),
    )
    yield Sample(
        "stable cascade stage c",
        model,
        F.CASCADE,
        lambda: few("clf.1.weight", "clip_txt_mapper.weight", "down_blocks.0.0.channelwise.0.weight"),
    )


def _checkpoints() -> Iterator[Sample]:
    full = K.CHECKPOINT
    yield Sample("sd15 checkpoint", full, F.SD15, sd15_checkpoint, "F16")
    yield Sample("sdxl checkpoint", full, F.SDXL, sdxl_checkpoint, "F16")
    yield Sample(
        "sd21 checkpoint",
        full,
        F.SD2,
        lambda: merged(
            under("model.diffusion_model.", unet(1024)),
            under("first_stage_model.", kl_vae(4, quant=True)),
            open_clip(1024, 23, "cond_stage_model.model."),
        ),
    )
    yield Sample(
        "sdxl refiner checkpoint",
        full,
        F.SDXL_REFINER,
        lambda: merged(
            under("model.diffusion_model.", refiner_unet()), under("first_stage_model.", kl_vae(4, quant=True))
        ),
    )
    yield Sample(
        "svd xt checkpoint",
        full,
        F.SVD,
        lambda: merged(
            under("model.diffusion_model.", unet(1024, time_stack=True, labels=768, channels=8)),
            under("first_stage_model.", kl_vae(4, quant=False, mix=True)),
        ),
    )
    yield Sample(
        "flux1-dev fp8 all in one",
        full,
        F.FLUX,
        lambda: merged(
            under("model.diffusion_model.", flux()),
            under("vae.", kl_vae(16, quant=False)),
            under("text_encoders.t5xxl.transformer.", t5(4096, 10240, 24, 32128)),
        ),
        "F8_E4M3",
    )
    yield Sample(
        "sd3 medium incl clips",
        full,
        F.SD3,
        lambda: merged(
            under("model.diffusion_model.", sd3(1536, 24)),
            under("first_stage_model.", kl_vae(16, quant=False)),
            clip_text(768, 12, "text_encoders.clip_l.transformer.text_model."),
        ),
        "F16",
    )
    yield Sample(
        "ltxv 2b checkpoint",
        full,
        F.LTX,
        lambda: merged(
            under("model.diffusion_model.", ltx(2048, 28)),
            under("vae.", causal_vae(128, 512, ("decoder.up_blocks.0.res_blocks.0",))),
        ),
    )
    yield Sample(
        "ace step v1 checkpoint",
        full,
        F.ACE_STEP,
        lambda: merged(
            under("model.diffusion_model.", few("genre_embedder.weight", "lyric_proj.weight")),
            under("vae.", few("vocoder.backbone.channel_layers.0.0.bias")),
        ),
    )
    yield Sample(
        "stable audio open checkpoint",
        full,
        F.STABLE_AUDIO,
        lambda: merged(
            under(
                "model.model.",
                few("transformer.rotary_pos_emb.inv_freq", "transformer.layers.0.self_attn.to_qkv.weight"),
            ),
            under("pretransform.model.", few("decoder.layers.1.layers.0.beta")),
        ),
    )
    yield Sample(
        "hunyuan3d 2.0 checkpoint",
        full,
        F.HUNYUAN3D,
        lambda: merged(
            under("model.", few("latent_in.weight", "cond_in.weight", "double_blocks.0.img_attn.qkv.weight")),
            under("vae.", few("geo_decoder.cross_attn_decoder.ln_1.bias")),
            under("conditioner.", few("main_image_encoder.model.embeddings.cls_token")),
        ),
    )


def _vaes() -> Iterator[Sample]:
    yield Sample("vae-ft-mse-840000 (sd15)", K.VAE, F.SD_VAE, lambda: kl_vae(4, quant=True), "F32")
    yield Sample("sdxl vae (diffusers)", K.VAE, F.SD_VAE, lambda: diffusers_vae(4), "F16")
    yield Sample("flux ae", K.VAE, F.FLUX_VAE, lambda: kl_vae(16, quant=False), "F32")
    yield Sample("flux2 vae", K.VAE, F.FLUX2_VAE, flux2_vae, "F32")
    yield Sample("wan 2.1 vae", K.VAE, F.WAN21_VAE, lambda: wan_vae(96, 16, nested=False))
    yield Sample("wan 2.2 vae", K.VAE, F.WAN22_VAE, lambda: wan_vae(160, 48, nested=True))
    yield Sample(
        "hunyuan video vae",
        K.VAE,
        F.HUNYUAN_VIDEO_VAE,
        lambda: causal_vae(16, 512, ("decoder.mid.block_1",)) | conv("post_quant_conv", 16, 16, 1, 3),
        "F16",
    )
    yield Sample(
        "ltx video vae", K.VAE, F.LTX_VAE, lambda: causal_vae(128, 1024, ("decoder.up_blocks.0.res_blocks.0",))
    )
    yield Sample("taesd", K.VAE, F.TINY_VAE, taesd, "F16")
    yield Sample(
        "stable cascade stage a", K.VAE, F.CASCADE_VAE, lambda: few("vquantizer.codebook.weight", "in_block.1.weight")
    )
    yield Sample(
        "ace step vae",
        K.VAE,
        F.ACE_VAE,
        lambda: few("vocoder.backbone.channel_layers.0.0.bias", "dcae.decoder.conv_in.weight"),
    )


def _text_encoders() -> Iterator[Sample]:
    text = K.TEXT_ENCODER
    yield Sample("clip_l", text, F.CLIP_L, lambda: clip_text(768, 12), "F16")
    yield Sample("clip_g", text, F.CLIP_G, lambda: clip_text(1280, 32), "F16")
    yield Sample("open_clip h (sd21)", text, F.CLIP_H, lambda: open_clip(1024, 24))
    yield Sample("t5xxl fp16", text, F.T5XXL, lambda: t5(4096, 10240, 24, 32128), "F16")
    yield Sample("t5xxl fp8 scaled", text, F.T5XXL, lambda: t5(4096, 10240, 24, 32128), "F8_E4M3")
    yield Sample("umt5 xxl", text, F.UMT5XXL, lambda: t5(4096, 10240, 24, 256384, bias_everywhere=True), "F8_E4M3")
    yield Sample("old t5 xxl (cosmos)", text, F.T5XXL_OLD, lambda: t5(1024, 65536, 24, 32128, gated=False))
    yield Sample(
        "llava llama3 8b (hunyuan video)",
        text,
        F.LLAMA3,
        lambda: language_model(4096, 32, 128320, feed=14336),
        "F8_E4M3",
    )
    yield Sample(
        "qwen 2.5 vl 7b",
        text,
        F.QWEN25_VL,
        lambda: language_model(3584, 28, 152064, keys=512, key_bias=True),
        "F8_E4M3",
    )
    yield Sample("qwen3 4b (z-image)", text, F.QWEN3, lambda: language_model(2560, 36, 151936, q_norm=True))
    yield Sample("gemma 2 2b (lumina)", text, F.GEMMA2, lambda: language_model(2304, 26, 256000, sandwich=True))
    yield Sample(
        "gemma 3 12b (ltx-2)", text, F.GEMMA3, lambda: language_model(3840, 48, 262208, sandwich=True, q_norm=True)
    )
    yield Sample("mistral 3 small (flux2)", text, F.MISTRAL3, lambda: language_model(5120, 30, 131072, feed=32768))
    yield Sample(
        "clip-vit-large-patch14, both towers",
        K.CLIP,
        F.CLIP_L,
        lambda: clip_text(768, 12) | clip_vision(1024, 24),
        "F32",
    )
    yield Sample("clip vision h", K.CLIP_VISION, F.CLIP_VISION_H, lambda: clip_vision(1280, 32), "F16")
    yield Sample("clip vision g", K.CLIP_VISION, F.CLIP_VISION_G, lambda: clip_vision(1664, 48), "F16")
    yield Sample("sigclip vision 384 (flux redux)", K.CLIP_VISION, F.SIGLIP, lambda: clip_vision(1152, 27), "F16")


def _loras() -> Iterator[Sample]:
    lora = K.LORA
    yield Sample(
        "sd15 lora (kohya, with text encoder)",
        lora,
        F.SD15,
        lambda: (
            kohya(attention_of(unet(768, flat=False))) | kohya(layers_of(clip_text(768, 12), "self_attn"), "lora_te_")
        ),
        "F16",
    )
    yield Sample(
        "sd15 lcm lora (diffusers)",
        lora,
        F.SD15,
        lambda: peft(attention_of(diffusers_unet(768, (1, 1, 1, 0), flat=False)), "unet."),
        "F16",
    )
    yield Sample("sd21 lora (kohya)", lora, F.SD2, lambda: kohya(attention_of(unet(1024))), "F16")
    yield Sample("sdxl lora (kohya)", lora, F.SDXL, lambda: kohya(attention_of(sdxl_unet())), "F16")
    yield Sample("sdxl loha (lycoris)", lora, F.SDXL, lambda: loha(attention_of(sdxl_unet())), "F16")
    yield Sample(
        "sdxl lokr (diffusers names)",
        lora,
        F.SDXL,
        lambda: lokr(attention_of(diffusers_unet(2048, SDXL, flat=True))),
        "F16",
    )
    yield Sample("flux lora (kohya)", lora, F.FLUX, lambda: kohya(attention_of(flux())))
    yield Sample("flux lora (ai-toolkit)", lora, F.FLUX, lambda: peft(attention_of(diffusers_flux()), "transformer."))
    yield Sample(
        "flux lora (blocks 7 and 20 only)",
        lora,
        F.FLUX,
        lambda: peft(
            layers_of(diffusers_flux(), "single_transformer_blocks.7.attn", "single_transformer_blocks.20.attn"),
            "transformer.",
        ),
    )
    yield Sample(
        "flux canny control lora",
        lora,
        F.FLUX,
        lambda: peft(attention_of(flux(channels=128)), "") | {"double_blocks.0.img_attn.norm.key_norm.scale": (128,)},
    )
    yield Sample("flux lokr (lycoris)", lora, F.FLUX, lambda: lokr(attention_of(flux()), "lora_unet_"))
    yield Sample("flux2 lora", lora, F.FLUX2, lambda: peft(attention_of(flux2())))
    yield Sample("flux2 klein 4b lora", lora, F.FLUX2, lambda: peft(attention_of(flux2(3072, 5, 20))))
    yield Sample(
        "chroma lora, told by its trainer",
        lora,
        F.CHROMA,
        lambda: peft(attention_of(chroma())),
        metadata={"ss_base_model_version": "chroma"},
    )
    yield Sample("hunyuan video lora (kohya)", lora, F.HUNYUAN_VIDEO, lambda: kohya(attention_of(hunyuan_video())))
    yield Sample(
        "hunyuan video lora (official names)",
        lora,
        F.HUNYUAN_VIDEO,
        lambda: peft(
            {
                f"double_blocks.{n}.{s}_attn_{p}": (3072, 3072)
                for n in range(4)
                for s in ("img", "txt")
                for p in ("qkv", "proj")
            },
            "transformer.",
        ),
    )
    yield Sample("wan 2.1 14b lora (diffusion-pipe)", lora, F.WAN, lambda: peft(attention_of(wan(5120, 13824, 40))))
    yield Sample("wan 2.2 lora (musubi)", lora, F.WAN, lambda: kohya(attention_of(wan(5120, 13824, 40))))
    yield Sample(
        "wan lightx2v lora with differences",
        lora,
        F.WAN,
        lambda: (
            peft(attention_of(wan(5120, 13824, 8))) | differences(layers_of(wan(5120, 13824, 8), "blocks.0.self_attn"))
        ),
    )
    yield Sample("wan lora of differences only", lora, F.WAN, lambda: differences(attention_of(wan(1536, 8960, 8))))
    yield Sample("qwen image lightning lora", lora, F.QWEN_IMAGE, lambda: kohya(attention_of(qwen_image()), ""))
    yield Sample(
        "qwen image lora (ai-toolkit)",
        lora,
        F.QWEN_IMAGE,
        lambda: peft(attention_of(qwen_image()), "transformer.", suffix=".default.weight"),
    )
    yield Sample("sd3.5 large lora (kohya)", lora, F.SD3, lambda: kohya(attention_of(sd3(2432, 38))))
    yield Sample("ltx video lora", lora, F.LTX, lambda: peft(attention_of(ltx(2048, 28)), "transformer."))
    yield Sample("ltx-2 lora", lora, F.LTX2, lambda: peft(attention_of(ltx(4096, 48, sound=True))))
    yield Sample("z-image lora", lora, F.Z_IMAGE, lambda: peft(attention_of(lumina(3840, 30, 2560, 128))))
    yield Sample(
        "cosmos predict2 lora", lora, F.COSMOS, lambda: kohya(layers_of(cosmos_predict2(2048, 28), "attn", "mlp"))
    )
    yield Sample("hidream lora", lora, F.HIDREAM, lambda: peft(attention_of(hidream())))
    yield Sample(
        "animatediff zoom motion lora",
        K.MOTION_LORA,
        F.SD15,
        lambda: {
            f"down_blocks.{n}.motion_modules.0.temporal_transformer.transformer_blocks.0.attention_blocks.0.processor.to_{p}_lora.{s}.weight": (
                4,
                320,
            )
            for n in range(4)
            for p in "qkv"
            for s in ("up", "down")
        },
    )


def _parts() -> Iterator[Sample]:
    control = K.CONTROLNET
    yield Sample(
        "sd15 canny controlnet",
        control,
        F.SD15,
        lambda: under("control_model.", controlnet(unet(768, flat=False))),
        "F16",
    )
    yield Sample(
        "sd15 controlnet (diffusers)",
        control,
        F.SD15,
        lambda: diffusers_controlnet(diffusers_unet(768, (1, 1, 1, 0), flat=False)),
        "F16",
    )
    yield Sample("sd21 controlnet", control, F.SD2, lambda: controlnet(unet(1024)), "F16")
    yield Sample(
        "sdxl controlnet union (diffusers)",
        control,
        F.SDXL,
        lambda: diffusers_controlnet(diffusers_unet(2048, SDXL, flat=True, labels=2816)),
        "F16",
    )
    yield Sample("sdxl control lora", control, F.SDXL, lambda: control_lora(sdxl_unet()), "F16")
    yield Sample(
        "flux controlnet (xlabs)",
        control,
        F.FLUX,
        lambda: flux(doubles=2, singles=0) | {"controlnet_blocks.0.weight": (3072, 3072)},
    )
    yield Sample(
        "flux controlnet union (instantx)",
        control,
        F.FLUX,
        lambda: (
            diffusers_flux() | {"controlnet_blocks.0.weight": (3072, 3072), "controlnet_x_embedder.weight": (3072, 64)}
        ),
    )
    yield Sample(
        "qwen image controlnet (instantx)",
        control,
        F.QWEN_IMAGE,
        lambda: qwen_image() | {"controlnet_blocks.0.weight": (3072, 3072), "controlnet_x_embedder.weight": (3072, 64)},
    )
    yield Sample(
        "t2i adapter depth sd15",
        control,
        F.SD15,
        lambda: conv("conv_in", 320, 192) | conv("body.0.block1", 320, 320) | conv("body.0.block2", 320, 320, 1),
        "F16",
    )
    yield Sample("ip-adapter sd15", K.IPADAPTER, F.SD15, lambda: ip_adapter(768, SD15_WIDTHS), "F16")
    yield Sample(
        "ip-adapter plus sdxl vit-h",
        K.IPADAPTER,
        F.SDXL,
        lambda: ip_adapter(2048, SDXL_WIDTHS, latents=(1280, 1280)),
        "F16",
    )
    yield Sample(
        "instantid ip-adapter", K.INSTANTID, F.SDXL, lambda: ip_adapter(2048, SDXL_WIDTHS, latents=(1280, 512)), "F16"
    )
    yield Sample(
        "pulid flux",
        K.PULID,
        F.FLUX,
        lambda: few("pulid_ca.0.norm1.weight", "pulid_ca.0.to_q.weight", "pulid_encoder.latents"),
    )
    yield Sample(
        "flux redux", K.STYLE_MODEL, F.FLUX, lambda: linear("redux_down", 4096, 12288) | linear("redux_up", 12288, 1152)
    )
    yield Sample("animatediff v3", K.MOTION_MODULE, F.SD15, lambda: motion_module(4), "F16")
    yield Sample("animatediff sdxl beta", K.MOTION_MODULE, F.SDXL, lambda: motion_module(3), "F16")
    yield Sample(
        "gligen textbox",
        K.GLIGEN,
        None,
        lambda: {"position_net.null_positive_feature": (768,), "position_net.null_position_feature": (64,)},
        "F16",
    )
    yield Sample("easynegative (sd15)", K.EMBEDDING, F.SD15, lambda: {"emb_params": (8, 768)}, "F32")
    yield Sample("sdxl embedding", K.EMBEDDING, F.SDXL, lambda: {"clip_l": (8, 768), "clip_g": (8, 1280)}, "F16")
    yield Sample("4x-UltraSharp", K.UPSCALER, F.ESRGAN, lambda: esrgan(old=True), "F32")
    yield Sample("RealESRGAN x4plus", K.UPSCALER, F.ESRGAN, lambda: under("params_ema.", esrgan()), "F32")
    yield Sample("realesr-general-x4v3", K.UPSCALER, F.COMPACT, lambda: under("params.", compact()), "F32")
    yield Sample(
        "ltx latent upsampler",
        K.LATENT_UPSCALER,
        F.LTX,
        lambda: (
            conv("initial_conv", 512, 128, dimensions=3)
            | conv("post_upsample_res_blocks.0.conv2", 512, 512, dimensions=3)
        ),
    )
    yield Sample(
        "qwen image diffsynth patch",
        K.MODEL_PATCH,
        F.QWEN_IMAGE,
        lambda: (
            linear("img_in", 3072, 64)
            | {"controlnet_blocks.0.y_rms.weight": (3072,), "controlnet_blocks.0.x_rms.weight": (3072,)}
        ),
    )
    yield Sample(
        "z-image fun controlnet",
        K.MODEL_PATCH,
        F.Z_IMAGE,
        lambda: (
            {"control_all_x_embedder.2-1.weight": (3840, 132)}
            | under("control_layers.0.", linear("attention.to_q", 3840, 3840, False))
        ),
    )
    yield Sample(
        "wav2vec2 large english",
        K.AUDIO_ENCODER,
        F.WAV2VEC2,
        lambda: (
            {"feature_extractor.conv_layers.0.conv.weight": (512, 1, 10)}
            | repeated(24, "encoder.layers.{}.", linear("attention.k_proj", 1024, 1024))
        ),
        "F16",
    )
    yield Sample(
        "whisper large v3 encoder",
        K.AUDIO_ENCODER,
        F.WHISPER,
        lambda: (
            {"model.encoder.conv1.weight": (1280, 128, 3), "model.encoder.embed_positions.weight": (1500, 1280)}
            | repeated(32, "model.encoder.layers.{}.", linear("fc1", 5120, 1280))
        ),
        "F16",
    )


def _ggufs() -> Iterator[Sample]:
    def gguf(
        label: str, kind: K, family: F | None, architecture: str, make: Callable[[], Shapes], dtype: str = "Q4_K"
    ) -> Sample:
        return Sample(f"{label} (gguf)", kind, family, make, dtype, {"general.architecture": architecture}, Format.GGUF)

    yield gguf("flux1-dev Q4_K_S", K.DIFFUSION_MODEL, F.FLUX, "flux", flux)
    yield gguf("wan2.2 i2v high noise Q5_K_M", K.DIFFUSION_MODEL, F.WAN, "wan", lambda: wan(5120, 13824, 40, 36))
    yield gguf("qwen image edit Q4_0", K.DIFFUSION_MODEL, F.QWEN_IMAGE, "qwen_image", qwen_image)
    yield gguf("z-image turbo Q8_0", K.DIFFUSION_MODEL, F.Z_IMAGE, "lumina2", lambda: lumina(3840, 30, 2560, 128))
    yield gguf(
        "t5 v1.1 xxl encoder", K.TEXT_ENCODER, F.T5XXL, "t5encoder", lambda: llama_cpp(4096, 24, 32128, "enc.blk")
    )
    yield gguf(
        "umt5 xxl encoder", K.TEXT_ENCODER, F.UMT5XXL, "t5encoder", lambda: llama_cpp(4096, 24, 256384, "enc.blk")
    )
    yield gguf("qwen2.5 vl 7b", K.TEXT_ENCODER, F.QWEN25_VL, "qwen2vl", lambda: llama_cpp(3584, 28, 152064))


SAMPLES = tuple(samples())

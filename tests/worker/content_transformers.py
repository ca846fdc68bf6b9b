"""Tensor names and shapes of diffusion transformers, made by small generators.

Facts of the files as they are published (Hugging Face lists names and shapes of every safetensors file).
"""

from __future__ import annotations

from tests.worker.content_shapes import Shapes, conv, linear, merged, norm, repeated


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

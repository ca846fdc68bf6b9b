"""Labelled headers of published models: the set of Show 7. The shapes come from the generators beside this module."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from download_worker.verifiers.content.families import Family as F
from download_worker.verifiers.content.families import Kind as K
from download_worker.verifiers.content.heads import Format, Head, Weight
from tests.worker import content_adapters as parts
from tests.worker import content_shapes as shapes
from tests.worker import content_transformers as dit
from tests.worker.content_adapters import attention_of, differences, kohya, layers_of, loha, lokr, peft
from tests.worker.content_shapes import Shapes, conv, linear, merged, repeated, under

Make = Callable[[], Shapes]


@dataclass(frozen=True)
class Sample:
    label: str
    kind: K | None
    family: F | None
    make: Make
    dtype: str = "F16"
    metadata: Mapping[str, str] = field(default_factory=dict)
    format: Format = Format.SAFETENSORS

    def head(self) -> Head:
        return Head(
            self.format, {name: Weight(self.dtype, shape) for name, shape in self.make().items()}, self.metadata
        )


def few(*names: str) -> Shapes:
    """The telling tensors of an architecture, where the rest of it is repetition."""
    return dict.fromkeys(names, (64, 64))


def checkpoint(model: Shapes, vae: Shapes, text: Shapes | None = None) -> Shapes:
    return merged(under("model.diffusion_model.", model), under("first_stage_model.", vae), text or {})


def sd15_checkpoint() -> Shapes:
    text = shapes.clip_text(768, 12, "cond_stage_model.transformer.text_model.")
    return checkpoint(sd15(), shapes.kl_vae(4, quant=True), text)


def sdxl_checkpoint() -> Shapes:
    text = shapes.clip_text(768, 12, "conditioner.embedders.0.transformer.text_model.")
    text |= shapes.open_clip(1280, 32, "conditioner.embedders.1.model.")
    return checkpoint(shapes.sdxl_unet(), shapes.kl_vae(4, quant=True), text)


def sd21_checkpoint() -> Shapes:
    text = shapes.open_clip(1024, 23, "cond_stage_model.model.")
    return checkpoint(shapes.unet(1024), shapes.kl_vae(4, quant=True), text)


def refiner_checkpoint() -> Shapes:
    return checkpoint(shapes.refiner_unet(), shapes.kl_vae(4, quant=True))


def svd_checkpoint() -> Shapes:
    model = shapes.unet(1024, time_stack=True, labels=768, channels=8)
    return checkpoint(model, shapes.kl_vae(4, quant=False, mix=True))


def flux_checkpoint() -> Shapes:
    text = under("text_encoders.t5xxl.transformer.", t5xxl())
    return merged(under("model.diffusion_model.", dit.flux()), under("vae.", shapes.kl_vae(16, quant=False)), text)


def sd3_checkpoint() -> Shapes:
    text = shapes.clip_text(768, 12, "text_encoders.clip_l.transformer.text_model.")
    return checkpoint(dit.sd3(1536, 24), shapes.kl_vae(16, quant=False), text)


def ltx_checkpoint() -> Shapes:
    return merged(under("model.diffusion_model.", dit.ltx(2048, 28)), under("vae.", ltx_vae(512)))


def ace_checkpoint() -> Shapes:
    vae = few("vocoder.backbone.channel_layers.0.0.bias", "dcae.decoder.conv_in.weight")
    model = few("genre_embedder.weight", "lyric_proj.weight", "lyric_embs.weight")
    return merged(under("model.diffusion_model.", model), under("vae.", vae))


def stable_audio_checkpoint() -> Shapes:
    model = few("transformer.rotary_pos_emb.inv_freq", "transformer.layers.0.self_attn.to_qkv.weight")
    return merged(under("model.model.", model), under("pretransform.model.", few("decoder.layers.1.layers.0.beta")))


def hunyuan3d_checkpoint() -> Shapes:
    model = few("latent_in.weight", "cond_in.weight", "double_blocks.0.img_attn.qkv.weight")
    vae = few("geo_decoder.cross_attn_decoder.ln_1.bias", "post_kl.weight")
    encoder = few("conditioner.main_image_encoder.model.embeddings.cls_token")
    return merged(under("model.", model), under("vae.", vae), encoder)


sd15 = partial(shapes.unet, 768, flat=False)
diffusers15 = partial(shapes.diffusers_unet, 768, (1, 1, 1, 0), flat=False)
diffusers_xl = partial(shapes.diffusers_unet, 2048, shapes.SDXL, flat=True, labels=2816)
t5xxl = partial(shapes.t5, 4096, 10240, 24, 32128)
umt5xxl = partial(shapes.t5, 4096, 10240, 24, 256384, bias_everywhere=True)
wan14 = partial(dit.wan, 5120, 13824, 40)
klein = partial(dit.flux2, 3072, 5, 20, 7680)
z_image = partial(dit.lumina, 3840, 30, 2560, 128)
ltx2 = partial(dit.ltx, 4096, 48, sound=True)
language_model, clip_text, llama_cpp = shapes.language_model, shapes.clip_text, shapes.llama_cpp


def ltx_vae(wide: int) -> Shapes:
    return shapes.causal_vae(128, wide, ("decoder.up_blocks.0.res_blocks.0",))


def hunyuan_vae() -> Shapes:
    return shapes.causal_vae(16, 512, ("decoder.mid.block_1",)) | conv("post_quant_conv", 16, 16, 1, 3)


def t5_cpp(vocabulary: int) -> Make:
    return lambda: llama_cpp(4096, 24, vocabulary, "enc.blk")


def adapted(write: Callable[..., Shapes], model: Make, *where: str) -> Make:
    """A LoRA over the attention of this model, written in the way of a trainer."""
    return lambda: write(attention_of(model()), *where)


def official_hunyuan_lora() -> Shapes:
    ends = [f"{side}_attn_{part}" for side in ("img", "txt") for part in ("qkv", "proj")]
    names = [f"double_blocks.{number}.{end}" for number in range(4) for end in ends]
    return peft(dict.fromkeys(names, (3072, 3072)), "transformer.")


def xlabs_lora() -> Shapes:
    ends = [f"processor.{part}_lora{side}" for part in ("proj", "qkv") for side in (1, 2)]
    layers = [f"double_blocks.{number}.{end}" for number in (0, 1, 10) for end in ends]
    downs: Shapes = {f"{layer}.down.weight": (16, 3072) for layer in layers}
    return downs | {f"{layer}.up.weight": (9216 if "qkv" in layer else 3072, 16) for layer in layers}


def anima_lora() -> Shapes:
    text = {f"layers.{n}.self_attn.{part}_proj": (1024, 1024) for n in range(28) for part in "qkvo"}
    return kohya(attention_of(dit.cosmos_predict2(2048, 28))) | kohya(text, "lora_te_")


def krea2_lora() -> Shapes:
    block = {f"attn.{part}": (6144, 6144) for part in ("gate", "wq", "wo")} | {"attn.wk": (1536, 6144)}
    block |= {"mlp.down": (6144, 16384), "mlp.gate": (16384, 6144)}
    return kohya({f"blocks.{n}.{name}": size for n in range(28) for name, size in block.items()})


def motion_lora() -> Shapes:
    block = "motion_modules.0.temporal_transformer.transformer_blocks.0.attention_blocks.0.processor."
    ends = [f"{block}to_{part}_lora.{side}.weight" for part in "qkv" for side in ("up", "down")]
    return {f"down_blocks.{level}.{end}": (4, 320) for level in range(4) for end in ends}


def with_control(model: Make, **more: tuple[int, ...]) -> Make:
    named = {name.replace("__", "."): shape for name, shape in more.items()}
    return lambda: model() | {"controlnet_blocks.0.weight": (3072, 3072)} | named


Row = tuple[str, F | None, Make]


def labelled(kind: K, rows: Iterable[Row], **more: Any) -> Iterator[Sample]:
    return (Sample(label, kind, family, make, **more) for label, family, make in rows)


# fmt: off
DIFFUSION_MODELS: tuple[Row, ...] = (
    ("sd15 unet (ldm)", F.SD15, sd15),
    ("sd15 unet (diffusers)", F.SD15, diffusers15),
    ("sd15 inpainting unet", F.SD15, partial(sd15, channels=9)),
    ("sd21 unet (diffusers)", F.SD2, partial(shapes.diffusers_unet, 1024, (1, 1, 1, 0), flat=True)),
    ("sdxl unet (diffusers)", F.SDXL, diffusers_xl),
    ("sdxl lightning unet (ldm)", F.SDXL, shapes.sdxl_unet),
    ("flux1-dev", F.FLUX, dit.flux),
    ("flux1-schnell", F.FLUX, partial(dit.flux, guidance=False)),
    ("flux1-fill-dev", F.FLUX, partial(dit.flux, channels=384)),
    ("flux1-dev (diffusers)", F.FLUX, dit.diffusers_flux),
    ("flux2-dev", F.FLUX2, dit.flux2),
    ("flux2-klein-4b", F.FLUX2, klein),
    ("chroma1-hd", F.CHROMA, dit.chroma),
    ("sd3.5-medium mmdit", F.SD3, partial(dit.sd3, 1536, 24)),
    ("sd3.5-large mmdit", F.SD3, partial(dit.sd3, 2432, 38)),
    ("wan2.1 t2v 1.3b", F.WAN, partial(dit.wan, 1536, 8960, 30)),
    ("wan2.1 i2v 14b", F.WAN, partial(wan14, 36, image=True)),
    ("wan2.2 ti2v 5b", F.WAN, partial(dit.wan, 3072, 14336, 30, 48)),
    ("hunyuan video t2v 720p", F.HUNYUAN_VIDEO, dit.hunyuan_video),
    ("hunyuan video 1.5", F.HUNYUAN_VIDEO, partial(dit.hunyuan_video, width=2048, doubles=54, singles=0)),
    ("hunyuan image 2.1", F.HUNYUAN_IMAGE, partial(dit.hunyuan_video, width=3584, flat=True)),
    ("ltx video 13b", F.LTX, partial(dit.ltx, 4096, 48)),
    ("ltx-2 19b transformer", F.LTX2, ltx2),
    ("pixart sigma", F.PIXART, dit.pixart),
    ("lumina image 2.0", F.LUMINA2, partial(dit.lumina, 2304, 26, 2304, 96)),
    ("z-image turbo", F.Z_IMAGE, z_image),
    ("cosmos predict2 2b", F.COSMOS, lambda: under("net.", dit.cosmos_predict2(2048, 28))),
    ("hidream i1", F.HIDREAM, dit.hidream),
    ("mochi preview", F.MOCHI, partial(few, "t5_yproj.weight", "blocks.0.attn.qkv_x.weight", "pos_frequencies")),
    ("aura flow", F.AURA_FLOW, partial(few, "double_layers.0.attn.w1q.weight", "single_layers.0.attn.w1q.weight")),
    ("omnigen2", F.OMNIGEN2, partial(few, "time_caption_embed.timestep_embedder.linear_1.bias")),
    ("kandinsky5 lite", F.KANDINSKY5, partial(few, "visual_transformer_blocks.0.cross_attention.key_norm.weight")),
    ("stable cascade stage c", F.CASCADE, partial(few, "clf.1.weight", "clip_txt_mapper.weight")),
)

SCALED: tuple[Row, ...] = (
    ("flux1-kontext-dev fp8 scaled", F.FLUX, dit.flux),
    ("qwen image fp8", F.QWEN_IMAGE, dit.qwen_image),
    ("wan2.2 t2v low noise fp8 scaled", F.WAN, wan14),
)

CHECKPOINTS: tuple[Row, ...] = (
    ("sd15 checkpoint", F.SD15, sd15_checkpoint),
    ("sdxl checkpoint", F.SDXL, sdxl_checkpoint),
    ("sd21 checkpoint", F.SD2, sd21_checkpoint),
    ("sdxl refiner checkpoint", F.SDXL_REFINER, refiner_checkpoint),
    ("svd xt checkpoint", F.SVD, svd_checkpoint),
    ("flux1-dev all in one", F.FLUX, flux_checkpoint),
    ("sd3 medium incl clips", F.SD3, sd3_checkpoint),
    ("ltxv 2b checkpoint", F.LTX, ltx_checkpoint),
    ("ace step v1 checkpoint", F.ACE_STEP, ace_checkpoint),
    ("stable audio open checkpoint", F.STABLE_AUDIO, stable_audio_checkpoint),
    ("hunyuan3d 2.0 checkpoint", F.HUNYUAN3D, hunyuan3d_checkpoint),
)

VAES: tuple[Row, ...] = (
    ("vae-ft-mse-840000 (sd15)", F.SD_VAE, partial(shapes.kl_vae, 4, quant=True)),
    ("sdxl vae (diffusers)", F.SD_VAE, partial(shapes.diffusers_vae, 4)),
    ("flux ae", F.FLUX_VAE, partial(shapes.kl_vae, 16, quant=False)),
    ("flux2 vae", F.FLUX2_VAE, shapes.flux2_vae),
    ("wan 2.1 vae", F.WAN21_VAE, partial(shapes.wan_vae, 96, 16, nested=False)),
    ("wan 2.2 vae", F.WAN22_VAE, partial(shapes.wan_vae, 160, 48, nested=True)),
    ("hunyuan video vae", F.HUNYUAN_VIDEO_VAE, hunyuan_vae),
    ("ltx video vae", F.LTX_VAE, partial(ltx_vae, 1024)),
    ("taesd", F.TINY_VAE, shapes.taesd),
    ("stable cascade stage a", F.CASCADE_VAE, partial(few, "vquantizer.codebook.weight", "in_block.1.weight")),
    ("ace step vae", F.ACE_VAE, partial(few, "vocoder.backbone.channel_layers.0.0.bias", "dcae.decoder.x")),
)

TEXT_ENCODERS: tuple[Row, ...] = (
    ("clip_l", F.CLIP_L, partial(clip_text, 768, 12)),
    ("clip_g", F.CLIP_G, partial(clip_text, 1280, 32)),
    ("open_clip h (sd21)", F.CLIP_H, partial(shapes.open_clip, 1024, 24)),
    ("t5xxl", F.T5XXL, t5xxl),
    ("umt5 xxl", F.UMT5XXL, umt5xxl),
    ("old t5 xxl (cosmos)", F.T5XXL_OLD, partial(shapes.t5, 1024, 65536, 24, 32128, gated=False)),
    ("llava llama3 8b (hunyuan video)", F.LLAMA3, partial(language_model, 4096, 32, 128320, feed=14336)),
    ("qwen 2.5 vl 7b", F.QWEN25_VL, partial(language_model, 3584, 28, 152064, keys=512, key_bias=True)),
    ("qwen3 4b (z-image)", F.QWEN3, partial(language_model, 2560, 36, 151936, q_norm=True)),
    ("gemma 2 2b (lumina)", F.GEMMA2, partial(language_model, 2304, 26, 256000, sandwich=True)),
    ("gemma 3 12b (ltx-2)", F.GEMMA3, partial(language_model, 3840, 48, 262208, sandwich=True, q_norm=True)),
    ("mistral 3 small (flux2)", F.MISTRAL3, partial(language_model, 5120, 30, 131072, feed=32768)),
)

LORAS: tuple[Row, ...] = (
    ("sd15 lora (kohya)", F.SD15,
     lambda: kohya(attention_of(sd15())) | kohya(layers_of(clip_text(768, 12), "self_attn"), "lora_te_")),
    ("sd15 lcm lora (diffusers)", F.SD15, adapted(peft, diffusers15, "unet.")),
    ("sd21 lora (kohya)", F.SD2, adapted(kohya, partial(shapes.unet, 1024))),
    ("sdxl lora (kohya)", F.SDXL, adapted(kohya, shapes.sdxl_unet)),
    ("sdxl loha (lycoris)", F.SDXL, adapted(loha, shapes.sdxl_unet)),
    ("sdxl lokr (diffusers names)", F.SDXL, adapted(lokr, diffusers_xl)),
    ("flux lora (kohya)", F.FLUX, adapted(kohya, dit.flux)),
    ("flux lora (ai-toolkit)", F.FLUX, adapted(peft, dit.diffusers_flux, "transformer.")),
    ("flux lora (two blocks only)", F.FLUX,
     lambda: peft(layers_of(dit.diffusers_flux(), "single_transformer_blocks.7.attn"), "transformer.")),
    ("flux canny control lora", F.FLUX,
     lambda: peft(attention_of(dit.flux(channels=128)), "") | {"double_blocks.0.img_attn.norm.key_norm.scale": (128,)}),
    ("flux lokr (lycoris)", F.FLUX, adapted(lokr, dit.flux, "lora_unet_")),
    ("flux lora (xlabs)", F.FLUX, xlabs_lora),
    ("anima lora with text encoder (kohya)", F.ANIMA, anima_lora),
    ("krea2 lora, which no rule knows (kohya)", None, krea2_lora),
    ("flux2 lora", F.FLUX2, adapted(peft, dit.flux2)),
    ("flux2 klein 4b lora", F.FLUX2, adapted(peft, klein)),
    ("hunyuan video lora (kohya)", F.HUNYUAN_VIDEO, adapted(kohya, dit.hunyuan_video)),
    ("hunyuan video lora (official names)", F.HUNYUAN_VIDEO, official_hunyuan_lora),
    ("wan 2.1 14b lora (diffusion-pipe)", F.WAN, adapted(peft, wan14)),
    ("wan 2.2 lora (musubi)", F.WAN, adapted(kohya, wan14)),
    ("wan lightx2v lora with differences", F.WAN,
     lambda: peft(attention_of(wan14())) | differences(layers_of(wan14(), "blocks.0.self_attn"))),
    ("wan lora of differences only", F.WAN, adapted(differences, partial(dit.wan, 1536, 8960, 8))),
    ("qwen image lightning lora", F.QWEN_IMAGE, adapted(kohya, dit.qwen_image, "")),
    ("qwen image lora (ai-toolkit)", F.QWEN_IMAGE,
     lambda: peft(attention_of(dit.qwen_image()), "transformer.", suffix=".default.weight")),
    ("sd3.5 large lora (kohya)", F.SD3, adapted(kohya, partial(dit.sd3, 2432, 38))),
    ("ltx video lora", F.LTX, adapted(peft, partial(dit.ltx, 2048, 28), "transformer.")),
    ("ltx-2 lora", F.LTX2, adapted(peft, ltx2)),
    ("z-image lora", F.Z_IMAGE, adapted(peft, z_image)),
    ("cosmos predict2 lora", F.COSMOS, adapted(kohya, partial(dit.cosmos_predict2, 2048, 28))),
    ("hidream lora", F.HIDREAM, adapted(peft, dit.hidream)),
)

CONTROLNETS: tuple[Row, ...] = (
    ("sd15 canny controlnet", F.SD15, lambda: under("control_model.", shapes.controlnet(sd15()))),
    ("sd15 controlnet (diffusers)", F.SD15, lambda: shapes.diffusers_controlnet(diffusers15())),
    ("sd21 controlnet", F.SD2, lambda: shapes.controlnet(shapes.unet(1024))),
    ("sdxl controlnet union (diffusers)", F.SDXL, lambda: shapes.diffusers_controlnet(diffusers_xl())),
    ("sdxl control lora", F.SDXL, lambda: shapes.control_lora(shapes.sdxl_unet())),
    ("flux controlnet (xlabs)", F.FLUX, with_control(partial(dit.flux, doubles=2, singles=0))),
    ("flux controlnet union (instantx)", F.FLUX,
     with_control(dit.diffusers_flux, controlnet_x_embedder__weight=(3072, 64))),
    ("qwen image controlnet (instantx)", F.QWEN_IMAGE,
     with_control(dit.qwen_image, controlnet_x_embedder__weight=(3072, 64))),
    ("t2i adapter depth sd15", F.SD15,
     lambda: conv("conv_in", 320, 192) | conv("body.0.block1", 320, 320) | conv("body.0.block2", 320, 320, 1)),
)

OTHERS: tuple[tuple[K, Row], ...] = (
    (K.CLIP, ("clip-vit-large-patch14", F.CLIP_L, lambda: clip_text(768, 12) | shapes.clip_vision(1024, 24))),
    (K.CLIP_VISION, ("clip vision h", F.CLIP_VISION_H, partial(shapes.clip_vision, 1280, 32))),
    (K.CLIP_VISION, ("clip vision g", F.CLIP_VISION_G, partial(shapes.clip_vision, 1664, 48))),
    (K.CLIP_VISION, ("sigclip vision 384", F.SIGLIP, partial(shapes.clip_vision, 1152, 27))),
    (K.MOTION_LORA, ("animatediff zoom in", F.SD15, motion_lora)),
    (K.IPADAPTER, ("ip-adapter sd15", F.SD15, partial(parts.ip_adapter, 768, parts.SD15_WIDTHS))),
    (K.IPADAPTER, ("ip-adapter plus sdxl vit-h", F.SDXL,
                   partial(parts.ip_adapter, 2048, parts.SDXL_WIDTHS, latents=(1280, 1280)))),
    (K.INSTANTID, ("instantid ip-adapter", F.SDXL,
                   partial(parts.ip_adapter, 2048, parts.SDXL_WIDTHS, latents=(1280, 512)))),
    (K.PULID, ("pulid flux", F.FLUX, partial(few, "pulid_ca.0.norm1.weight", "pulid_encoder.latents"))),
    (K.STYLE_MODEL, ("flux redux", F.FLUX,
                     lambda: linear("redux_down", 4096, 12288) | linear("redux_up", 12288, 1152))),
    (K.MOTION_MODULE, ("animatediff v3", F.SD15, partial(parts.motion_module, 4))),
    (K.MOTION_MODULE, ("animatediff sdxl beta", F.SDXL, partial(parts.motion_module, 3))),
    (K.GLIGEN, ("gligen textbox", None,
                partial(few, "position_net.null_positive_feature", "position_net.null_position_feature"))),
    (K.EMBEDDING, ("easynegative (sd15)", F.SD15, lambda: {"emb_params": (8, 768)})),
    (K.EMBEDDING, ("sdxl embedding", F.SDXL, lambda: {"clip_l": (8, 768), "clip_g": (8, 1280)})),
    (K.UPSCALER, ("4x-UltraSharp", F.ESRGAN, partial(parts.esrgan, old=True))),
    (K.UPSCALER, ("RealESRGAN x4plus", F.ESRGAN, lambda: under("params_ema.", parts.esrgan()))),
    (K.UPSCALER, ("realesr-general-x4v3", F.COMPACT, lambda: under("params.", parts.compact()))),
    (K.LATENT_UPSCALER, ("ltx latent upsampler", F.LTX,
                         partial(few, "initial_conv.weight", "post_upsample_res_blocks.0.conv2.bias"))),
    (K.MODEL_PATCH, ("qwen image diffsynth patch", F.QWEN_IMAGE,
                     lambda: linear("img_in", 3072, 64) | {"controlnet_blocks.0.y_rms.weight": (3072,)})),
    (K.MODEL_PATCH, ("z-image fun controlnet", F.Z_IMAGE,
                     partial(few, "control_all_x_embedder.2-1.weight", "control_layers.0.attention.to_q.weight"))),
    (K.AUDIO_ENCODER, ("wav2vec2 large english", F.WAV2VEC2,
                       lambda: {"feature_extractor.conv_layers.0.conv.weight": (512, 1, 10)}
                       | repeated(24, "encoder.layers.{}.", linear("attention.k_proj", 1024, 1024)))),
    (K.AUDIO_ENCODER, ("whisper large v3 encoder", F.WHISPER,
                       lambda: {"model.encoder.conv1.weight": (1280, 128, 3)}
                       | few("model.encoder.embed_positions.weight")
                       | repeated(32, "model.encoder.layers.{}.", linear("fc1", 5120, 1280)))),
)

GGUFS: tuple[tuple[K, str, Row], ...] = (
    (K.DIFFUSION_MODEL, "flux", ("flux1-dev-Q4_K_S.gguf", F.FLUX, dit.flux)),
    (K.DIFFUSION_MODEL, "wan", ("wan2.2-i2v-high-Q4_K_M.gguf", F.WAN, partial(wan14, 36))),
    (K.DIFFUSION_MODEL, "qwen_image", ("qwen-image-edit-Q4_0.gguf", F.QWEN_IMAGE, dit.qwen_image)),
    (K.DIFFUSION_MODEL, "lumina2", ("z-image-turbo-Q4_K.gguf", F.Z_IMAGE, z_image)),
    (K.TEXT_ENCODER, "t5encoder", ("t5-v1_1-xxl-encoder.gguf", F.T5XXL, t5_cpp(32128))),
    (K.TEXT_ENCODER, "t5encoder", ("umt5-xxl-encoder.gguf", F.UMT5XXL, t5_cpp(256384))),
    (K.TEXT_ENCODER, "qwen2vl", ("qwen2.5-vl-7b.gguf", F.QWEN25_VL, partial(llama_cpp, 3584, 28, 152064))),
)
# fmt: on


def samples() -> Iterator[Sample]:
    yield from labelled(K.DIFFUSION_MODEL, DIFFUSION_MODELS, dtype="BF16")
    yield from labelled(K.DIFFUSION_MODEL, SCALED, dtype="F8_E4M3")
    yield from labelled(K.CHECKPOINT, CHECKPOINTS)
    yield from labelled(K.VAE, VAES, dtype="F32")
    yield from labelled(K.TEXT_ENCODER, TEXT_ENCODERS)
    yield from labelled(K.LORA, LORAS)
    yield from labelled(K.CONTROLNET, CONTROLNETS)
    chroma: Row = ("chroma lora, told by its trainer", F.CHROMA, adapted(peft, dit.chroma))
    yield from labelled(K.LORA, [chroma], metadata={"ss_base_model_version": "chroma"})
    for kind, row in OTHERS:
        yield from labelled(kind, [row])
    for kind, architecture, row in GGUFS:
        yield from labelled(
            kind, [row], dtype="Q4_K", format=Format.GGUF, metadata={"general.architecture": architecture}
        )


SAMPLES = tuple(samples())

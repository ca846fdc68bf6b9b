"""Markers of whole base models and their parts: diffusion models, VAEs, text encoders.

Each row is a family and the signs (see `signs`) that only its models show. The names and shapes are facts of the
published files; ComfyUI goes by the same ones (comfy/model_detection.py and comfy/sd.py). Diffusion models are named
here without the prefix that a checkpoint gives them.
"""

from __future__ import annotations

from download_worker.verifiers.content.families import Family as F
from download_worker.verifiers.content.families import Kind
from download_worker.verifiers.content.signs import rules_of

_diffusion, _vae = rules_of(Kind.DIFFUSION_MODEL), rules_of(Kind.VAE)
_text, _clip = rules_of(Kind.TEXT_ENCODER), rules_of(Kind.CLIP)

_UNET = "input_blocks.0.0.weight out.2.weight !input_hint_block.0.weight "
_CROSS_1 = "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
_CROSS_4 = "input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"
_DIFFUSERS_UNET = (
    "conv_in.weight conv_out.weight up_blocks.1.resnets.0.conv1.weight !controlnet_cond_embedding.conv_in.weight "
)
_STREAMS = (
    "double_blocks.0.img_attn.norm.key_norm.scale|double_blocks.0.img_attn.norm.key_norm.weight "
    "!controlnet_blocks.0.weight !controlnet_blocks.0.linear.weight "
)
_DISTILLED = "distilled_guidance_layer.norms.0.scale|distilled_guidance_layer.norms.0.weight"
_LUMINA = "noise_refiner.0.attention.k_norm.weight|noise_refiner.0.attention.norm_k.weight cap_embedder.1.weight"

DIFFUSION = (
    _diffusion(F.SD15, _UNET + f"{_CROSS_1}[320,768]"),
    _diffusion(F.SD2, _UNET + f"{_CROSS_1}[320,1024] !input_blocks.1.1.time_stack.0.attn1.to_q.weight"),
    _diffusion(F.SVD, _UNET + f"{_CROSS_1}[320,1024] input_blocks.1.1.time_stack.0.attn1.to_q.weight"),
    _diffusion(F.SDXL, _UNET + f"{_CROSS_4}[640,2048] label_emb.0.0.weight[*,2816]"),
    _diffusion(F.SDXL_REFINER, _UNET + f"{_CROSS_4}[768,1280] label_emb.0.0.weight[*,2560]"),
    _diffusion(F.SD15, _DIFFUSERS_UNET + "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight[320,768]"),
    _diffusion(F.SD2, _DIFFUSERS_UNET + "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight[320,1024]"),
    _diffusion(F.SDXL, _DIFFUSERS_UNET + "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight[640,2048]"),
    _diffusion(
        F.SD3, "joint_blocks.0.context_block.attn.qkv.weight x_embedder.proj.weight !controlnet_blocks.0.weight"
    ),
    _diffusion(
        F.SD3,
        "transformer_blocks.0.attn.add_q_proj.weight pos_embed.proj.weight !controlnet_blocks.0.weight",
    ),
    _diffusion(F.CASCADE, "clf.1.weight clip_txt_mapper.weight|clip_mapper.weight"),
    _diffusion(F.STABLE_AUDIO, "transformer.rotary_pos_emb.inv_freq"),
    _diffusion(F.AURA_FLOW, "double_layers.0.attn.w1q.weight"),
    _diffusion(F.AURA_FLOW, "joint_transformer_blocks.0.attn.add_k_proj.weight"),
    _diffusion(F.HUNYUAN_DIT, "mlp_t5.0.weight extra_embedder.0.weight !after_proj_list.18.bias"),
    _diffusion(F.HUNYUAN_VIDEO, "txt_in.individual_token_refiner.blocks.0.norm1.weight img_in.proj.weight[*,*,*,*,*]"),
    _diffusion(F.HUNYUAN_IMAGE, "txt_in.individual_token_refiner.blocks.0.norm1.weight img_in.proj.weight[*,*,*,*]"),
    _diffusion(F.FLUX2, _STREAMS + "double_stream_modulation_img.lin.weight"),
    _diffusion(F.CHROMA, _STREAMS + _DISTILLED),
    _diffusion(
        F.FLUX,
        _STREAMS + "img_in.weight vector_in.in_layer.weight !double_stream_modulation_img.lin.weight "
        "!distilled_guidance_layer.norms.0.scale !double_blocks.0.img_mlp.gate_proj.weight",
    ),
    _diffusion(F.OVIS, _STREAMS + "double_blocks.0.img_mlp.gate_proj.weight txt_norm.scale|txt_norm.weight"),
    _diffusion(
        F.LONGCAT,
        _STREAMS + "img_in.weight txt_in.weight[3072,3584] !vector_in.in_layer.weight "
        "!double_blocks.0.img_mlp.gate_proj.weight",
    ),
    _diffusion(
        F.FLUX,
        "single_transformer_blocks.0.attn.to_q.weight transformer_blocks.0.attn.add_k_proj.weight "
        "context_embedder.weight[3072,*] !controlnet_blocks.0.weight !distilled_guidance_layer.norms.0.weight",
    ),
    _diffusion(F.FLUX, "single_transformer_blocks.0.mlp_fc1.qweight transformer_blocks.0.mlp_context_fc1.qweight"),
    _diffusion(F.FLUX2, "single_transformer_blocks.0.attn.to_qkv_mlp_proj.weight"),
    _diffusion(F.MOCHI, "t5_yproj.weight"),
    _diffusion(F.PIXART, "t_block.1.weight y_embedder.y_proj.fc1.weight"),
    _diffusion(F.PIXART, "adaln_single.emb.timestep_embedder.linear_1.bias pos_embed.proj.bias"),
    _diffusion(
        F.LTX,
        "adaln_single.emb.timestep_embedder.linear_1.bias patchify_proj.weight !pos_embed.proj.bias "
        "!audio_adaln_single.linear.weight",
    ),
    _diffusion(F.LTX2, "adaln_single.emb.timestep_embedder.linear_1.bias audio_adaln_single.linear.weight"),
    _diffusion(F.ACE_STEP, "genre_embedder.weight"),
    _diffusion(F.ACE_STEP, "encoder.lyric_encoder.layers.0.input_layernorm.weight"),
    _diffusion(F.COSMOS, "blocks.block0.blocks.0.block.attn.to_q.0.weight"),
    _diffusion(
        F.COSMOS, "blocks.0.mlp.layer1.weight x_embedder.proj.1.weight !llm_adapter.blocks.0.cross_attn.q_proj.weight"
    ),
    _diffusion(F.ANIMA, "blocks.0.mlp.layer1.weight llm_adapter.blocks.0.cross_attn.q_proj.weight"),
    _diffusion(F.LUMINA2, f"{_LUMINA}[2304,*]"),
    _diffusion(F.Z_IMAGE, f"{_LUMINA}[3840,*]"),
    _diffusion(F.WAN, "head.modulation blocks.0.ffn.0.weight patch_embedding.weight"),
    _diffusion(
        F.WAN, "condition_embedder.time_embedder.linear_1.weight blocks.0.attn2.to_k.weight patch_embedding.weight"
    ),
    _diffusion(F.HUNYUAN3D, "latent_in.weight cond_in.weight"),
    _diffusion(F.HUNYUAN3D, "t_embedder.mlp.2.weight blocks.0.attn1.k_norm.weight"),
    _diffusion(F.HIDREAM, "caption_projection.0.linear.weight"),
    _diffusion(F.OMNIGEN2, "time_caption_embed.timestep_embedder.linear_1.bias"),
    _diffusion(F.QWEN_IMAGE, "txt_norm.weight img_in.weight[3072,*] proj_out.weight !controlnet_blocks.0.weight"),
    _diffusion(F.KANDINSKY5, "visual_transformer_blocks.0.cross_attention.key_norm.weight"),
)

VAES = (
    _vae(F.SD_VAE, "decoder.conv_in.weight[512,4,3,3] !decoder.mid.block_1.mix_factor"),
    _vae(F.SVD_VAE, "decoder.conv_in.weight[512,4,3,3] decoder.mid.block_1.mix_factor"),
    _vae(F.FLUX_VAE, "decoder.conv_in.weight[512,16,3,3]"),
    _vae(F.FLUX2_VAE, "decoder.conv_in.weight[*,32,3,3] bn.running_mean"),
    _vae(F.HUNYUAN_IMAGE_VAE, "decoder.conv_in.weight[1024,64,3,3]"),
    _vae(F.HUNYUAN_IMAGE_VAE, "decoder.conv_in.weight[1024,32,3,3,3]"),
    _vae(
        F.HUNYUAN_VIDEO_VAE,
        "decoder.conv_in.conv.weight[512,16,3,3,3] !decoder.mid_block.resnets.0.norm1.norm_layer.weight",
    ),
    _vae(F.HUNYUAN_VIDEO_VAE, "decoder.conv_in.conv.weight[1024,32,3,3,3]"),
    _vae(F.COGVIDEO_VAE, "decoder.conv_in.conv.weight decoder.mid_block.resnets.0.norm1.norm_layer.weight"),
    _vae(F.LTX_VAE, "decoder.up_blocks.0.res_blocks.0.conv1.conv.weight"),
    _vae(F.LTX_VAE, "decoder.conv_in.conv.weight[*,128,3,3,3] per_channel_statistics.mean-of-means"),
    _vae(F.LTX2_AUDIO_VAE, "vocoder.resblocks.0.convs1.0.weight|vocoder.vocoder.resblocks.0.convs1.0.weight"),
    _vae(
        F.WAN21_VAE,
        "decoder.middle.0.residual.0.gamma decoder.conv1.weight[384,16,3,3,3] "
        "!decoder.upsamples.0.upsamples.0.residual.2.weight",
    ),
    _vae(F.WAN22_VAE, "decoder.middle.0.residual.0.gamma decoder.conv1.weight[1024,48,3,3,3]"),
    _vae(None, "decoder.middle.0.residual.0.gamma decoder.conv1.weight encoder.conv1.weight"),
    _vae(F.COSMOS_VAE, "decoder.unpatcher3d.wavelets"),
    _vae(F.MOCHI_VAE, "decoder.blocks.2.blocks.3.stack.5.weight|blocks.2.blocks.3.stack.5.weight"),
    _vae(F.CASCADE_VAE, "vquantizer.codebook.weight"),
    _vae(
        F.CASCADE_VAE, "backbone.1.0.block.0.1.num_batches_tracked|encoder.backbone.1.0.block.0.1.num_batches_tracked"
    ),
    _vae(F.HUNYUAN3D_VAE, "geo_decoder.cross_attn_decoder.ln_1.bias"),
    _vae(F.ACE_VAE, "vocoder.backbone.channel_layers.0.0.bias"),
    _vae(F.AUDIO_VAE, "decoder.layers.1.layers.0.beta"),
    _vae(F.TINY_VAE, "taesd_decoder.1.weight"),
    _vae(F.TINY_VAE, "1.weight[64,*,3,3] 3.conv.0.weight[64,64,3,3]"),
    _vae(F.TINY_VAE, "decoder.1.weight decoder.22.bias"),
)

_LAYER = "model.layers.0."
_ATTENTION = f"{_LAYER}self_attn.k_proj.weight "
_PLAIN = f"!{_LAYER}self_attn.q_norm.weight !{_LAYER}self_attn.k_proj.bias !{_LAYER}post_feedforward_layernorm.weight "
_NO_VISION = "!vision_model.encoder.layers.0.layer_norm1.weight !visual.transformer.resblocks.0.ln_1.weight "
_TOKENS = "text_model.embeddings.token_embedding.weight"
_OPEN = "transformer.resblocks.0.ln_1.weight token_embedding.weight"
_T5 = "encoder.block.23.layer.1.DenseReluDense.wi_1.weight[10240,4096] "
_EVERY_BLOCK = "encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight"
_DEEPSTACK = "model.visual.deepstack_merger_list.0.norm.weight|visual.deepstack_merger_list.0.norm.weight"

TEXT_ENCODERS = (
    _text(F.CLIP_L, f"{_TOKENS}[49408,768] {_NO_VISION}"),
    _text(F.CLIP_H, f"{_TOKENS}[49408,1024] {_NO_VISION}"),
    _text(F.CLIP_G, f"{_TOKENS}[49408,1280] {_NO_VISION}"),
    _text(F.CLIP_L, f"{_OPEN}[49408,768] {_NO_VISION}"),
    _text(F.CLIP_H, f"{_OPEN}[49408,1024] {_NO_VISION}"),
    _text(F.CLIP_G, f"{_OPEN}[49408,1280] {_NO_VISION}"),
    _clip(F.CLIP_L, f"{_TOKENS}[49408,768] vision_model.encoder.layers.0.layer_norm1.weight"),
    _clip(F.CLIP_H, f"{_TOKENS}[49408,1024] vision_model.encoder.layers.0.layer_norm1.weight"),
    _clip(F.CLIP_G, f"{_TOKENS}[49408,1280] vision_model.encoder.layers.0.layer_norm1.weight"),
    _clip(F.CLIP_L, f"{_OPEN}[49408,768] visual.transformer.resblocks.0.ln_1.weight"),
    _clip(F.CLIP_H, f"{_OPEN}[49408,1024] visual.transformer.resblocks.0.ln_1.weight"),
    _clip(F.CLIP_G, f"{_OPEN}[49408,1280] visual.transformer.resblocks.0.ln_1.weight"),
    # umT5 has a position bias in every block, T5 only in the first
    _text(F.T5XXL, _T5 + f"!{_EVERY_BLOCK}"),
    _text(F.UMT5XXL, _T5 + _EVERY_BLOCK),
    _text(F.UMT5XXL, "token_embedding.weight[256384,4096] blocks.0.attn.q.weight blocks.0.ffn.fc1.weight"),
    _text(F.T5XXL_OLD, "encoder.block.23.layer.1.DenseReluDense.wi.weight"),
    _text(F.T5XL, "encoder.block.23.layer.1.DenseReluDense.wi_1.weight[5120,2048]"),
    _text(
        F.T5_BASE,
        "encoder.block.0.layer.0.SelfAttention.k.weight[768,768] !encoder.block.23.layer.0.SelfAttention.k.weight",
    ),
    _text(F.BYT5, "encoder.block.0.layer.0.SelfAttention.k.weight[384,*]"),
    _text(F.GEMMA2, _ATTENTION + f"{_LAYER}post_feedforward_layernorm.weight !{_LAYER}self_attn.q_norm.weight"),
    _text(F.GEMMA3, _ATTENTION + f"{_LAYER}post_feedforward_layernorm.weight {_LAYER}self_attn.q_norm.weight"),
    _text(F.QWEN25_VL, _ATTENTION + f"{_LAYER}self_attn.k_proj.bias[256]"),
    _text(F.QWEN25_VL, _ATTENTION + f"{_LAYER}self_attn.k_proj.bias[512]"),
    _text(
        F.QWEN3,
        _ATTENTION + f"{_LAYER}self_attn.q_norm.weight !{_LAYER}post_feedforward_layernorm.weight "
        "!model.visual.deepstack_merger_list.0.norm.weight !visual.deepstack_merger_list.0.norm.weight",
    ),
    _text(F.QWEN3_VL, _DEEPSTACK),
    _text(F.MISTRAL3, _ATTENTION + f"{_LAYER}post_attention_layernorm.weight[5120] {_PLAIN}"),
    _text(F.LLAMA3, _ATTENTION + f"model.embed_tokens.weight[128256,4096] {_PLAIN}"),
    _text(F.LLAMA3, _ATTENTION + f"model.embed_tokens.weight[128320,4096] {_PLAIN}"),
    _text(None, _ATTENTION + f"{_LAYER}mlp.gate_proj.weight model.embed_tokens.weight"),
    # the names of llama.cpp
    _text(F.T5XXL, "enc.blk.0.attn_k.weight token_embd.weight[32128,4096]"),
    _text(F.UMT5XXL, "enc.blk.0.attn_k.weight token_embd.weight[256384,4096]"),
    _text(F.LLAMA3, "blk.0.attn_k.weight token_embd.weight[128256,4096]"),
    _text(F.LLAMA3, "blk.0.attn_k.weight token_embd.weight[128320,4096]"),
    _text(F.MISTRAL3, "blk.0.attn_k.weight token_embd.weight[131072,5120]"),
    _text(None, "enc.blk.0.attn_k.weight token_embd.weight"),
    _text(None, "blk.0.attn_k.weight token_embd.weight"),
)

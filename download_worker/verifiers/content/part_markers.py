"""Markers of everything that goes with a base model: ControlNets, adapters, encoders, upscalers.

Each row is a family and the signs (see `signs`) that only its files show; facts of the published files, as in
comfy/controlnet.py, comfy/clip_vision.py, comfy_extras and the packs' own loaders.
"""

from __future__ import annotations

from download_worker.verifiers.content.families import Family as F
from download_worker.verifiers.content.families import Kind
from download_worker.verifiers.content.signs import rules_of

_control, _vision, _patch = rules_of(Kind.CONTROLNET), rules_of(Kind.CLIP_VISION), rules_of(Kind.MODEL_PATCH)
_upscaler, _latent, _audio = rules_of(Kind.UPSCALER), rules_of(Kind.LATENT_UPSCALER), rules_of(Kind.AUDIO_ENCODER)
_ip, _instant, _pulid = rules_of(Kind.IPADAPTER), rules_of(Kind.INSTANTID), rules_of(Kind.PULID)
_style, _motion, _segment = rules_of(Kind.STYLE_MODEL), rules_of(Kind.MOTION_MODULE), rules_of(Kind.SEGMENTER)
_gligen, _photo = rules_of(Kind.GLIGEN), rules_of(Kind.PHOTOMAKER)

_CROSS_1, _CROSS_4 = (f"input_blocks.{block}.1.transformer_blocks.0.attn2.to_k" for block in (1, 4))
_LDM = "zero_convs.0.0.weight input_hint_block.0.weight "
_WRAPPED = "control_model.zero_convs.0.0.weight control_model.input_hint_block.0.weight control_model."
_DIFFUSERS = "controlnet_cond_embedding.conv_in.weight "
_CROSS_DOWN_0, _CROSS_DOWN_1 = (f"down_blocks.{n}.attentions.0.transformer_blocks.0.attn2.to_k.weight" for n in (0, 1))
_BLOCKS = "controlnet_blocks.0.weight "

CONTROLNETS = (
    _control(None, "lora_controlnet"),
    _control(F.SD15, f"lora_controlnet {_CROSS_1}.down[*,768]"),
    _control(F.SDXL, f"lora_controlnet {_CROSS_4}.down[*,2048]"),
    _control(None, _LDM),
    _control(F.SD15, _LDM + f"{_CROSS_1}.weight[320,768]"),
    _control(F.SD2, _LDM + f"{_CROSS_1}.weight[320,1024]"),
    _control(F.SDXL, _LDM + f"{_CROSS_4}.weight[640,2048]"),
    _control(None, _WRAPPED.rpartition(" ")[0]),
    _control(F.SD15, _WRAPPED + f"{_CROSS_1}.weight[320,768]"),
    _control(F.SD2, _WRAPPED + f"{_CROSS_1}.weight[320,1024]"),
    _control(F.SDXL, _WRAPPED + f"{_CROSS_4}.weight[640,2048]"),
    _control(None, _DIFFUSERS),
    _control(F.SD15, _DIFFUSERS + f"{_CROSS_DOWN_0}[320,768]"),
    _control(F.SD2, _DIFFUSERS + f"{_CROSS_DOWN_0}[320,1024]"),
    _control(F.SDXL, _DIFFUSERS + f"{_CROSS_DOWN_1}[640,2048]"),
    _control(F.SDXL, _DIFFUSERS + "add_embedding.linear_1.weight[*,2816]"),
    _control(F.FLUX, _BLOCKS + "double_blocks.0.img_attn.norm.key_norm.scale"),
    _control(F.FLUX, "controlnet_blocks.0.linear.weight double_blocks.0.img_attn.norm.key_norm.scale"),
    _control(F.FLUX, _BLOCKS + "controlnet_x_embedder.weight[3072,*] context_embedder.weight"),
    _control(F.SD3, _BLOCKS + "pos_embed_input.proj.weight"),
    _control(F.QWEN_IMAGE, _BLOCKS + "transformer_blocks.0.img_mlp.net.0.proj.weight"),
    _control(F.QWEN_IMAGE, "control_blocks.0.after_proj.weight control_img_in.weight"),
    _control(F.HUNYUAN_DIT, "after_proj_list.18.bias"),
    # T2I adapters
    _control(F.SD15, "body.0.in_conv.weight body.0.body.0.block1.weight"),
    _control(F.SD15, "body.0.block1.weight body.0.block2.weight conv_in.weight[320,192,3,3]"),
    _control(F.SDXL, "body.0.block1.weight body.0.block2.weight conv_in.weight[320,768,3,3]"),
    _control(F.SDXL, "body.0.block1.weight body.0.block2.weight conv_in.weight[320,256,3,3]"),
    _control(None, "adapter.body.0.resnets.0.block1.weight adapter.conv_in.weight"),
    _control(F.SD15, "adapter.body.0.resnets.0.block1.weight adapter.conv_in.weight[320,192,3,3]"),
    _control(F.SDXL, "adapter.body.0.resnets.0.block1.weight adapter.conv_in.weight[320,768,3,3]"),
    _control(F.CASCADE, "backbone.0.0.weight projections.0.0.weight"),
)

_TOWER = "vision_model.encoder.layers.0.layer_norm1.weight"
_NO_TEXT = "!text_model.embeddings.token_embedding.weight"

ENCODERS = (
    _vision(F.CLIP_VISION_L, f"{_TOWER}[1024] {_NO_TEXT}"),
    _vision(F.CLIP_VISION_H, f"{_TOWER}[1280] {_NO_TEXT}"),
    _vision(F.CLIP_VISION_G, f"{_TOWER}[1664] {_NO_TEXT}"),
    _vision(F.SIGLIP, f"{_TOWER}[1152] {_NO_TEXT}"),
    _vision(F.CLIP_VISION_L, "visual.transformer.resblocks.0.ln_1.weight[1024] !transformer.resblocks.0.ln_1.weight"),
    _vision(F.CLIP_VISION_H, "visual.transformer.resblocks.0.ln_1.weight[1280] !transformer.resblocks.0.ln_1.weight"),
    _vision(F.DINO, "encoder.layer.23.layer_scale2.lambda1"),
    _audio(F.WAV2VEC2, "feature_extractor.conv_layers.0.conv.weight encoder.layers.0.attention.k_proj.weight"),
    _audio(
        F.WAV2VEC2,
        "wav2vec2.feature_extractor.conv_layers.0.conv.weight wav2vec2.encoder.layers.0.attention.k_proj.weight",
    ),
    _audio(F.WHISPER, "encoder.conv1.weight[*,*,3] encoder.embed_positions.weight encoder.layers.0.fc1.weight"),
    _audio(
        F.WHISPER,
        "model.encoder.conv1.weight[*,*,3] model.encoder.embed_positions.weight model.encoder.layers.0.fc1.weight",
    ),
    _segment(F.SAM, "image_encoder.blocks.0.attn.qkv.weight mask_decoder.iou_token.weight"),
    _segment(F.SAM, "image_encoder.trunk.blocks.0.attn.qkv.weight sam_mask_decoder.iou_token.weight"),
)

_IP = "ip_adapter.1.to_k_ip.weight"
_INSTANT = "image_proj.latents image_proj.proj_in.weight[1280,512] "

ADAPTERS = (
    _ip(F.SD15, f"{_IP}[320,768]"),
    _ip(F.SDXL, f"{_IP}[640,2048] !image_proj.latents"),
    _ip(F.SDXL, f"{_IP}[640,2048] image_proj.latents image_proj.proj_in.weight[1280,1280]"),
    _ip(None, f"{_IP} image_proj.proj.weight"),
    _ip(F.FLUX, "double_blocks.0.processor.ip_adapter_double_stream_k_proj.weight ip_adapter_proj_model.proj.weight"),
    _instant(F.SDXL, _INSTANT + f"{_IP}[640,2048]"),
    _pulid(F.FLUX, "pulid_ca.0.norm1.weight pulid_encoder.latents"),
    _pulid(F.SDXL, "id_adapter_attn_layers.1.id_to_k.weight[640,2048] id_adapter.latents"),
    _photo(F.SDXL, "id_encoder.visual_projection_2.weight id_encoder.fuse_module.mlp1.fc1.weight"),
    _style(F.FLUX, "redux_down.weight redux_up.weight"),
    _style(F.SD15, "style_embedding transformer_layes.0.attn.in_proj_weight"),
    _gligen(None, "position_net.null_positive_feature"),
    _motion(
        F.SD15,
        "down_blocks.0.motion_modules.0.temporal_transformer.norm.weight[320] "
        "down_blocks.3.motion_modules.0.temporal_transformer.norm.weight",
    ),
    _motion(
        F.SDXL,
        "down_blocks.0.motion_modules.0.temporal_transformer.norm.weight[320] "
        "!down_blocks.3.motion_modules.0.temporal_transformer.norm.weight",
    ),
    _patch(F.QWEN_IMAGE, "controlnet_blocks.0.y_rms.weight img_in.weight"),
    _patch(F.FLUX, "feature_embedder.mid_layer_norm.bias"),
    _patch(F.Z_IMAGE, "control_all_x_embedder.2-1.weight"),
    _patch(F.WAN, "audio_proj.proj1.weight blocks.0.audio_cross_attn.proj.weight"),
)

_COLOURS = "conv_first.weight[*,*,3,3] "

UPSCALERS = (
    _upscaler(F.ESRGAN, "model.0.weight[64,*,3,3] model.1.sub.0.RDB1.conv1.0.weight"),
    _upscaler(F.ESRGAN, _COLOURS + "body.0.rdb1.conv1.weight|RRDB_trunk.0.RDB1.conv1.weight"),
    _upscaler(F.COMPACT, "body.0.weight[*,3,3,3] body.1.weight[64] body.2.weight[64,64,3,3] !conv_first.weight"),
    _upscaler(
        F.SWINIR,
        _COLOURS + "layers.0.residual_group.blocks.0.norm1.weight !layers.0.residual_group.overlap_attn.norm1.weight",
    ),
    _upscaler(F.HAT, _COLOURS + "layers.0.residual_group.overlap_attn.norm1.weight"),
    _upscaler(F.DAT, _COLOURS + "before_RG.1.weight layers.0.blocks.0.norm1.weight"),
    _upscaler(F.SPAN, "conv_1.sk.weight block_1.c1_r.sk.weight"),
    _upscaler(F.PLKSR, "feats.0.weight[*,3,3,3] feats.1.lk.conv.weight|feats.1.channe_mixer.0.weight"),
    _latent(F.LTX, "post_upsample_res_blocks.0.conv2.bias initial_conv.weight"),
    _latent(F.HUNYUAN_VIDEO, "blocks.0.block.0.conv.weight in_conv.conv.weight out_conv.conv.weight"),
    _latent(F.HUNYUAN_VIDEO, "up.0.block.0.conv1.conv.weight conv_in.conv.weight conv_out.conv.weight"),
)

PARTS = (*CONTROLNETS, *ENCODERS, *ADAPTERS, *UPSCALERS)
WRAPPERS = ("params_ema.", "params.", "state_dict.", "module.")
"""What trainers of upscalers put around everything."""

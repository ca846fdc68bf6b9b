"""Data: which input of which node lists which model folder.

Core rows were measured on ComfyUI 0.3.64 and 0.33.0 (a marker file in every folder, then `/object_info`); rows of node
packs follow the packs' own registrations. A server that can be asked knows better.

A row is (folder, input, index in `widgets_values`, node types); index None means any value that looks like a model.
"""

from __future__ import annotations

# fmt: off
CORE_ROWS: tuple[tuple[str, str, int | None, str], ...] = (
    ("checkpoints", "ckpt_name", 0,
     "CheckpointLoaderSimple; unCLIPCheckpointLoader; ImageOnlyCheckpointLoader; LTXVAudioVAELoader; "
     "CreateHookModelAsLora; CreateHookModelAsLoraModelOnly"),
    ("checkpoints", "ckpt_name", 1, "CheckpointLoader; LTXAVTextEncoderLoader"),
    ("loras", "lora_name", 0,
     "LoraLoader; LoraLoaderModelOnly; LoraLoaderBypass; LoraLoaderBypassModelOnly; CreateHookLora; "
     "CreateHookLoraModelOnly"),
    ("loras", "existing_lora", 15, "TrainLoraNode"),
    ("vae", "vae_name", 0, "VAELoader"),
    ("text_encoders", "clip_name", 0, "CLIPLoader"),
    ("text_encoders", "clip_name1", 0, "DualCLIPLoader; TripleCLIPLoader; QuadrupleCLIPLoader"),
    ("text_encoders", "clip_name2", 1, "DualCLIPLoader; TripleCLIPLoader; QuadrupleCLIPLoader"),
    ("text_encoders", "clip_name3", 2, "TripleCLIPLoader; QuadrupleCLIPLoader"),
    ("text_encoders", "clip_name4", 3, "QuadrupleCLIPLoader"),
    ("text_encoders", "text_encoder", 0, "LTXAVTextEncoderLoader"),
    ("diffusion_models", "unet_name", 0, "UNETLoader"),
    ("clip_vision", "clip_name", 0, "CLIPVisionLoader"),
    ("style_models", "style_model_name", 0, "StyleModelLoader"),
    ("controlnet", "control_net_name", 0, "ControlNetLoader; DiffControlNetLoader"),
    ("gligen", "gligen_name", 0, "GLIGENLoader"),
    ("upscale_models", "model_name", 0, "UpscaleModelLoader"),
    ("latent_upscale_models", "model_name", 0, "LatentUpscaleModelLoader"),
    ("hypernetworks", "hypernetwork_name", 0, "HypernetworkLoader"),
    ("photomaker", "photomaker_model_name", 0, "PhotoMakerLoader"),
    ("model_patches", "name", 0, "ModelPatchLoader"),
    ("audio_encoders", "audio_encoder_name", 0, "AudioEncoderLoader"),
    ("background_removal", "bg_removal_name", 0, "LoadBackgroundRemovalModel"),
    ("frame_interpolation", "model_name", 0, "FrameInterpolationModelLoader"),
    ("optical_flow", "model_name", 0, "OpticalFlowLoader"),
    ("geometry_estimation", "model_name", 0, "LoadMoGeModel; LoadDA3Model"),
    ("detection", "model_name", 0, "LoadMediaPipeFaceLandmarker"),
    ("detection", "model_file", 0, "SAM3DBody_Loader"),
    ("embeddings", "conditioning_name", 0, "ConditioningLoader"),
    ("diffusers", "model_path", 0, "DiffusersLoader"),
)

PACK_ROWS: tuple[tuple[str, str, int | None, str], ...] = (
    # many packs: a checkpoint and nothing else
    ("checkpoints", "ckpt_name", 0,
     "CheckpointLoader|pysssss; CheckpointLoaderSimpleWithNoiseSelect; Checkpoint Loader (LoraManager); "
     "Checkpoint Loader; Checkpoint Loader (Simple); easy ckptNames; easy comfyLoader; "
     "CheckpointLoaderSimpleExtended; Checkpoint Selector; CheckpointLoaderNF4; CheckpointLoaderKJ; "
     "CheckpointLoaderSimpleShared //Inspire; ttN tinyLoader; ECHOCheckpointLoaderSimple; "
     "Automatic CFG - Preset Loader; LowVRAMCheckpointLoader; CheckpointLoaderLM; unCLIP Checkpoint Loader; "
     "easy svdLoader; easy zero123Loader; easy sv3dLoader; RandomCheckpointLoaderLM"),
    ("checkpoints", "model", None,
     "TripoSRModelLoader_Zho; TripoSRModelLoader; SUPIR_model_loader_v2; SUPIR_model_loader; SUPIR_Upscale; "
     "SUPIR_model_loader_v2_clip; brushnet_model_loader; StableCascade_CheckpointLoader //Inspire; "
     "DynamiCrafterModelLoader"),
    # many packs: LoRAs and nothing else
    ("loras", "lora_name", None,
     "LoraLoader|pysssss; Power Lora Loader (rgthree); Lora Loader Stack (rgthree); LoRA Stacker; CR LoRA Stack; "
     "CR Load LoRA; CR Random LoRA Stack; CR Apply LoRA Stack; easy loraStack; easy loraStackApply; "
     "easy loraNames; LoraLoaderBlockWeight //Inspire; LoraBlockInfo //Inspire; LoraLoaderTagsQuery; "
     "LoraLoaderAdvanced; Load Lora; Lora Loader; LoRA Stack to String converter; NunchakuFluxLoraLoader; "
     "NunchakuFluxLoraStack; NunchakuQwenImageLoraLoader; WanVideoLoraSelect; WanVideoLoraSelectMulti; "
     "WanVideoLoraSelectByName; WanVideoLoraBlockEdit; HyVideoLoraSelect; HunyuanVideoLoraLoader; "
     "LorasForFluxParams+; LoraLoaderVanilla; LoRALoader; LTX2LoraLoaderAdvanced; LoraListNames; "
     "FramePackLoraSelect; LTXICLoRALoaderModelOnly; LTXVQ8LoraModelLoader; ADE_RegisterLoraHook; "
     "ADE_RegisterLoraHookModelOnly; ttN pipeLoraStack; DiTBlockLoraLoader; PCLazyLoraLoader; easy loraSwitcher"),
    ("CogVideo/loras", "lora", 0, "CogVideoLoraSelect; CogVideoLoraSelectComfy"),
    ("xlabs/loras", "lora_name", 0, "FluxLoraLoader"),
    ("xlabs/controlnets", "controlnet_path", 1, "LoadFluxControlNet"),
    ("xlabs/ipadapters", "ipadatper", 0, "LoadFluxIPAdapter"),
    ("clip_vision", "clip_vision", 1, "LoadFluxIPAdapter"),
    # GGUF, Nunchaku, KJNodes, multi-GPU: diffusion models
    ("diffusion_models", "unet_name", 0,
     "UnetLoaderGGUF; UnetLoaderGGUFAdvanced; Unet Loader (LoraManager); UNETLoaderNF4; LoaderGGUF; "
     "LoaderGGUFAdvanced; OTUNetLoaderW8A8; UNETLoaderLM; RandomUNETLoaderLM; UNetLoaderLP; easy hunyuanDiTLoader"),
    ("diffusion_models", "model_name", 0,
     "DiffusionModelLoaderKJ; DiffusionModelSelector; GGUFLoaderKJ; WanVideoModelLoader; WanVideoVACEModelSelect; "
     "WanVideoExtraModelSelect; FantasyTalkingModelLoader; FantasyPortraitModelLoader; MultiTalkModelLoader; "
     "HyVideoModelLoader; Hy3DModelLoader; MZ_KolorsUNETLoader; MZ_KolorsUNETLoaderV2; "
     "NunchakuQwenImageDiTLoader; NunchakuZImageDiTLoader; MelBandRoFormerModelLoader; CogVideoXModelLoader; "
     "LoadFramePackModel; LoadDiffusionModelShared //Inspire"),
    ("diffusion_models", "model_path", 0, "NunchakuFluxDiTLoader; LoadAndApplyICLightUnet"),
    # text encoders
    ("text_encoders", "clip_name", 0, "CLIPLoaderGGUF; ClipLoaderGGUF"),
    ("text_encoders", "clip_name1", 0,
     "DualCLIPLoaderGGUF; TripleCLIPLoaderGGUF; QuadrupleCLIPLoaderGGUF; DualClipLoaderGGUF; "
     "TripleClipLoaderGGUF; QuadrupleClipLoaderGGUF"),
    ("text_encoders", "clip_name2", 1,
     "DualCLIPLoaderGGUF; TripleCLIPLoaderGGUF; QuadrupleCLIPLoaderGGUF; DualClipLoaderGGUF; "
     "TripleClipLoaderGGUF; QuadrupleClipLoaderGGUF"),
    ("text_encoders", "clip_name3", 2,
     "TripleCLIPLoaderGGUF; QuadrupleCLIPLoaderGGUF; TripleClipLoaderGGUF; QuadrupleClipLoaderGGUF"),
    ("text_encoders", "clip_name4", 3, "QuadrupleCLIPLoaderGGUF; QuadrupleClipLoaderGGUF"),
    ("text_encoders", "text_encoder1", None, "NunchakuTextEncoderLoader; NunchakuTextEncoderLoaderV2"),
    ("text_encoders", "text_encoder2", None, "NunchakuTextEncoderLoader; NunchakuTextEncoderLoaderV2"),
    ("text_encoders", "model_name", 0,
     "LoadWanVideoT5TextEncoder; WanVideoTextEncodeCached; LoadTextEncoderShared //Inspire; QwenLoader"),
    ("clip_vision", "model_name", 0, "LoadWanVideoClipTextEncoder"),
    ("clip_vision", "clip_name", 0, "MZ_KolorsCLIPVisionLoader"),
    ("LLM", "chatglm3_checkpoint", 0, "MZ_ChatGLM3Loader"),
    # VAEs
    ("vae", "model_name", 0, "WanVideoVAELoader; HyVideoVAELoader; Hy3DVAELoader; CogVideoXVAELoader"),
    ("vae", "vae_name", 0, "VAELoaderKJ; VaeGGUF"),
    ("vae_approx", "model_name", 0, "WanVideoTinyVAELoader"),
    # ControlNet variants
    ("controlnet", "control_net_name", 0,
     "ControlNetLoaderAdvanced; DiffControlNetLoaderAdvanced; T2IAdapterLoader; ACN_SparseCtrlLoaderAdvanced; "
     "ACN_ControlNet++LoaderSingle; ACN_ControlNet++LoaderAdvanced; ACN_CtrLoRALoader; easy controlnetLoader; "
     "easy controlnetLoaderADV; easy controlnetLoader++; easy controlnetNames; CR Apply ControlNet; "
     "WanVideoControlnetLoader; WanVideoUni3C_ControlnetLoader; ACN_ControlNetLoaderAdvanced; "
     "ACN_DiffControlNetLoaderAdvanced; ACN_SparseCtrlMergedLoaderAdvanced; MZ_KolorsControlNetLoader; "
     "easy LLLiteLoader"),
    ("controlnet", "controlnet", None, "easy controlnetStack; CR Multi-ControlNet Stack; Control Net Stacker"),
    ("model_patches", "model_patch", 0, "ACN_AnimaLLLiteLoaderAdvanced"),
    # IPAdapter, InstantID, PuLID, PhotoMaker, ReActor
    ("ipadapter", "ipadapter_file", 0,
     "IPAdapterModelLoader; IPAdapterInsightFaceLoader; IPAdapter; IPAdapterFluxLoader; "
     "easy ipadapterApplyFromParams; MZ_IPAdapterModelLoaderKolors"),
    ("instantid", "instantid_file", 0, "InstantIDModelLoader"),
    ("pulid", "pulid_file", 0,
     "PulidModelLoader; PulidFluxModelLoader; NunchakuPulidLoader; NunchakuPuLIDLoaderV2; PulidModelLoaderV2"),
    ("photomaker", "photomaker_model_name", 0, "PhotoMakerLoaderPlus"),
    ("facerestore_models", "boost_model", 1, "ReActorFaceBoost"),
    ("insightface", "swap_model", 1, "ReActorFaceSwap; ReActorFaceSwapOpt"),
    ("facerestore_models", "face_restore_model", 3, "ReActorFaceSwap; ReActorFaceSwapOpt"),
    ("facerestore_models", "model", None,
     "ReActorRestoreFace; ReActorRestoreFaceAdvanced; FaceRestoreModelLoader; FaceRestoreCFWithModel"),
    ("reactor/faces", "face_model", 0, "ReActorLoadFaceModel"),
    # AnimateDiff
    ("animatediff_models", "model_name", 0,
     "ADE_AnimateDiffLoaderWithContext; ADE_LoadAnimateDiffModel; ADE_AnimateDiffLoaderV1Advanced; "
     "ADE_AnimateDiffLoaderGen1; ADE_LoadAnimateDiffModelWithCameraCtrl; ADE_LoadAnimateLCMI2VModel; "
     "ADE_InjectPIAIntoAnimateDiffModel; AnimateDiffLoaderV1; AnimateDiffModuleLoader"),
    ("animatediff_motion_lora", "lora_name", 0, "ADE_AnimateDiffLoRALoader; AnimateDiffLoraLoader"),
    # detection, segmentation, inpainting, upscaling
    ("ultralytics", "model_name", 0, "UltralyticsDetectorProvider; UltralyticsModelLoader"),
    ("sams", "model_name", 0, "SAMLoader"),
    ("onnx", "model_name", 0, "ONNXDetectorProvider"),
    ("sapiens", "model", None, "SapiensLoader"),
    ("detection", "vitpose_model", None, "OnnxDetectionModelLoader"),
    ("inpaint", "model_name", None,
     "INPAINT_LoadInpaintModel; BrushNetLoader; easy applyPowerPaint; easy applyBrushNet; "
     "easy applyFooocusInpaint; easy applyInpaint"),
    ("inpaint", "head", 0, "INPAINT_LoadFooocusInpaint"),
    ("inpaint", "patch", 1, "INPAINT_LoadFooocusInpaint"),
    ("inpaint", "powerpaint", 1, "PowerPaintCLIPLoader"),
    ("text_encoders", "base", 0, "PowerPaintCLIPLoader"),
    ("upscale_models", "model_name", 0,
     "easy hiresFix; CR Upscale Image; UpscalerTensorrt; Upscale Model Loader; ttN hiresfixScale"),
    ("mmaudio", "mmaudio_model", None, "MMAudioModelLoader; MMAudioFeatureUtilsLoader"),
    # loaders that do several things at once; indices as their packs declare the widgets
    ("checkpoints", "ckpt_name", 0,
     "Efficient Loader; Eff. Loader SDXL; easy fullLoader; easy a1111Loader; easy XYInputs: Checkpoint; "
     "ttN pipeLoader; ttN pipeLoader_v2; ttN pipeLoaderSDXL; ttN pipeLoaderSDXL_v2"),
    ("vae", "vae_name", 1, "Efficient Loader; easy a1111Loader"),
    ("loras", "lora_name", 3, "Efficient Loader; easy a1111Loader"),
    ("checkpoints", "refiner_ckpt_name", 2, "Eff. Loader SDXL"),
    ("vae", "vae_name", 8, "Eff. Loader SDXL"),
    ("vae", "vae_name", 2, "easy fullLoader"),
    ("loras", "lora_name", 4, "easy fullLoader"),
    ("upscale_models", "pixel_upscaler", 3, "HighRes-Fix Script"),
    ("controlnet", "control_net_name", 12, "HighRes-Fix Script"),
)
# fmt: on

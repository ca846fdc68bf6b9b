"""Data: which input of which node lists which model folder.

Core rows were measured on ComfyUI 0.3.64 and 0.33.0 (a marker file in every folder, then `/object_info`); rows of node
packs follow the packs' own registrations. A server that can be asked knows better.

A row is (folder, input, index in `widgets_values`, node types); index None means any value that looks like a model,
whatever its input is called.
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
     "Checkpoint Loader; Checkpoint Loader (Simple); easy ckptNames; CkptNames_; "
     "CheckpointLoaderSimpleExtended; Checkpoint Selector; CheckpointLoaderNF4; CheckpointLoaderKJ; "
     "CheckpointLoaderSimpleShared //Inspire; ECHOCheckpointLoaderSimple; "
     "Automatic CFG - Preset Loader; LowVRAMCheckpointLoader; CheckpointLoaderLM; unCLIP Checkpoint Loader; "
     "LowVRAMAudioVAELoader; LoadResAdapterNormalization; RandomCheckpointLoaderLM; CR Select Model; "
     "CR Model Merge Stack; CR Model List; CR Cycle Models; CCSR_Model_Select; "
     "ADE_RegisterModelAsLoraHook; ADE_RegisterModelAsLoraHookModelOnly; DitCheckpointLoader; "
     "PixArtCheckpointLoader; PixArtCheckpointLoaderSimple; SanaCheckpointLoader; HYDiTCheckpointLoader; "
     "LTXVLoader; SDParameterGenerator"),
    ("checkpoints", "base_model_name", 0, "Fooocus Loader"),
    ("checkpoints", "refiner_model_name", 1, "Fooocus Loader"),
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
     "LoaderGGUFAdvanced; OTUNetLoaderW8A8; UNETLoaderLM; RandomUNETLoaderLM; UNetLoaderLP"),
    ("diffusion_models", "model_name", 0,
     "DiffusionModelLoaderKJ; DiffusionModelSelector; GGUFLoaderKJ; WanVideoModelLoader; WanVideoVACEModelSelect; "
     "WanVideoExtraModelSelect; LoadLynxResampler; FantasyTalkingModelLoader; FantasyPortraitModelLoader; "
     "MultiTalkModelLoader; "
     "HyVideoModelLoader; Hy3DModelLoader; MZ_KolorsUNETLoader; MZ_KolorsUNETLoaderV2; "
     "NunchakuQwenImageDiTLoader; NunchakuZImageDiTLoader; MelBandRoFormerModelLoader; CogVideoXModelLoader; "
     "LoadFramePackModel; LoadDiffusionModelShared //Inspire; Hy3DMeshGenerator; LoadLotusModel"),
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
    ("text_encoders", "clip_path", 0, "LTXVCLIPModelLoader"),
    ("ella", "name", 0, "ELLALoader"),
    ("ella", "ella_model", 0, "LoadElla"),
    # language models that write prompts or look at images
    ("LLM", "chatglm3_checkpoint", 0, "MZ_ChatGLM3Loader; LoadChatGLM3"),
    ("LLM", "model", None, "llama_cpp_model_loader"),
    ("llm_gguf", "model", None, "Searge_LLM_Node"),
    ("LLavacheckpoints", "ckpt_name", 0, "LLMLoader; LLava Loader Simple"),
    ("LLavacheckpoints", "clip_name", 0, "LlavaClipLoader"),
    # VAEs
    ("vae", "model_name", 0,
     "WanVideoVAELoader; HyVideoVAELoader; Hy3DVAELoader; CogVideoXVAELoader; WanVideoFlashVSRDecoderLoader"),
    ("vae", "vae_name", 0, "VAELoaderKJ; VaeGGUF"),
    ("vae_approx", "model_name", 0, "WanVideoTinyVAELoader"),
    # ControlNet variants
    ("controlnet", "control_net_name", 0,
     "ControlNetLoaderAdvanced; ControlNetLoaderWithLoraAdvanced; "
     "DiffControlNetLoaderAdvanced; T2IAdapterLoader; ACN_SparseCtrlLoaderAdvanced; "
     "ACN_ControlNet++LoaderSingle; ACN_ControlNet++LoaderAdvanced; ACN_CtrLoRALoader; easy controlnetLoader; "
     "easy controlnetLoaderADV; easy controlnetLoader++; easy controlnetNames; CR Apply ControlNet; "
     "WanVideoControlnetLoader; WanVideoUni3C_ControlnetLoader; ACN_ControlNetLoaderAdvanced; "
     "ACN_DiffControlNetLoaderAdvanced; ACN_SparseCtrlMergedLoaderAdvanced; MZ_KolorsControlNetLoader; "
     "easy LLLiteLoader"),
    ("controlnet", "controlnet", None, "easy controlnetStack; CR Multi-ControlNet Stack; Control Net Stacker"),
    ("controlnet", "tile_controlnet", 8, "Tiled Upscaler Script"),
    ("model_patches", "model_patch", 0, "ACN_AnimaLLLiteLoaderAdvanced"),
    # IPAdapter, InstantID, PuLID, PhotoMaker, ReActor
    ("ipadapter", "ipadapter_file", 0,
     "IPAdapterModelLoader; IPAdapterInsightFaceLoader; IPAdapter; LoadInstantIdAdapter; SCompPCA; "
     "easy ipadapterApplyFromParams; MZ_IPAdapterModelLoaderKolors"),
    ("ipadapter-flux", "ipadapter", 0, "IPAdapterFluxLoader; IPAdapterFluxLoaderAdvanced; IPAdapterFluxChromaLoader"),
    ("ipadapter-flux", "image_proj", 0, "IPAdapterFluxImageProjLoader"),
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
    ("ultralytics", "model_name", 0,
     "UltralyticsDetectorProvider; UltralyticsModelLoader; easy ultralyticsDetectorPipe"),
    ("sams", "model_name", 0, "SAMLoader; AV_SAMLoader; easy samLoaderPipe"),
    ("ultralytics", "bbox_model_name", 0, "ReActorMaskHelper"),
    ("yolov8", "model_name", 0, "SwarmYoloDetection; Yolov8Detection; Yolov8Segmentation"),
    ("sams", "sam_model_name", 5, "ReActorMaskHelper"),
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
     "easy hiresFix; CR Upscale Image; Load Face Enhance Model (mtb); UpscalerTensorrt; Upscale Model Loader; "
     "ttN hiresfixScale"),
    ("upscale_models", "upscale_model", 0, "LTXVLatentUpsamplerModelLoader"),
    ("mmdets", "model_name", 0, "MMDetDetectorProvider"),
    ("wav2vec2", "model", 0, "Wav2VecModelLoader"),
    ("audio_encoders", "model", 0, "WhisperModelLoader"),
    ("foley", "model_name", None, "HunyuanModelLoader; HunyuanDependenciesLoader"),
    ("sonic", "sonic_unet", None, "SONICLoader; SONICTLoader"),
    ("nlf", "nlf_model", 0, "LoadNLFModel"),
    ("vae", "vae", None, "OviMMAudioVAELoader"),
    ("mmaudio", "mmaudio_model", 0, "MMAudioModelLoader"),
    ("mmaudio", "vae_model", None, "MMAudioFeatureUtilsLoader"),
    ("birefnet", "model", 0, "LoadRembgByBiRefNetModel"),
    ("insightface", "faceswap_model", 0, "Load Face Swap Model (mtb)"),
    # loaders that do several things at once; indices as their packs declare the widgets
    ("checkpoints", "ckpt_name", 0,
     "Efficient Loader; easy fullLoader; easy a1111Loader; easy comfyLoader; easy fluxLoader; easy mochiLoader; "
     "easy hunyuanDiTLoader; easy pixArtLoader; easy svdLoader; easy zero123Loader; easy sv3dLoader; "
     "easy XYInputs: Checkpoint; ttN tinyLoader; ttN pipeLoader; ttN pipeLoader_v2; ttN pipeLoaderSDXL; "
     "ttN pipeLoaderSDXL_v2"),
    # tinyterraNodes put a config between the two in later versions: a number or "Default" stands in the other place
    ("vae", "vae_name", 1, "ttN pipeLoader; ttN pipeLoaderSDXL"),
    ("vae", "vae_name", 2,
     "ttN pipeLoader; ttN pipeLoader_v2; ttN pipeLoaderSDXL; ttN pipeLoaderSDXL_v2; ttN tinyLoader"),
    ("loras", "lora1_name", 3, "ttN pipeLoader"),
    ("loras", "lora1_name", 4, "ttN pipeLoader"),
    ("loras", "lora2_name", 6, "ttN pipeLoader"),
    ("loras", "lora2_name", 7, "ttN pipeLoader"),
    ("loras", "lora3_name", 9, "ttN pipeLoader"),
    ("loras", "lora3_name", 10, "ttN pipeLoader"),
    ("vae", "vae_name", 1,
     "Efficient Loader; easy a1111Loader; easy comfyLoader; easy fluxLoader; easy mochiLoader; "
     "easy hunyuanDiTLoader; easy kolorsLoader; easy svdLoader; easy zero123Loader; easy sv3dLoader"),
    ("vae", "vae_name", 2, "easy fullLoader; easy pixArtLoader"),
    ("loras", "lora_name", 2, "easy fluxLoader; easy hunyuanDiTLoader"),
    ("loras", "lora_name", 3, "Efficient Loader; easy a1111Loader; easy comfyLoader; easy kolorsLoader"),
    ("loras", "lora_name", 4, "easy fullLoader; easy cascadeLoader"),
    ("loras", "lora_name", 9, "easy pixArtLoader"),
    ("text_encoders", "clip_name", 2, "easy svdLoader"),
    ("text_encoders", "clip_name", 3, "easy cascadeLoader"),
    ("text_encoders", "clip_name", 4, "easy pixArtLoader"),
    ("t5", "t5_name", 6, "easy pixArtLoader"),
    ("t5", "t5v11_name", 0, "T5v11Loader"),
    ("diffusion_models", "unet_name", 0, "easy kolorsLoader"),
    ("LLM", "chatglm3_name", 2, "easy kolorsLoader"),
    ("diffusion_models", "stage_c", 0, "easy cascadeLoader"),
    ("diffusion_models", "stage_b", 1, "easy cascadeLoader"),
    ("vae", "stage_a", 2, "easy cascadeLoader"),
    ("checkpoints", "base_ckpt_name", 0, "Eff. Loader SDXL"),
    ("checkpoints", "refiner_ckpt_name", 2, "Eff. Loader SDXL"),
    ("vae", "vae_name", 6, "Eff. Loader SDXL"),
    ("text_encoders", "gemma_path", 0, "LTXVGemmaCLIPModelLoader; LTXVGemmaCLIPModelLoaderMGPU"),
    ("checkpoints", "ltxv_path", 1, "LTXVGemmaCLIPModelLoader; LTXVGemmaCLIPModelLoaderMGPU"),
    ("diffusion_models", "transformer", 0, "FluxTrainModelSelect"),
    ("vae", "vae", 1, "FluxTrainModelSelect"),
    ("text_encoders", "clip_l", 2, "FluxTrainModelSelect"),
    ("text_encoders", "t5", 3, "FluxTrainModelSelect"),
    ("text_encoders", "clip_name1", 2, "FluxLoader"),
    ("text_encoders", "clip_name2_opt", 3, "FluxLoader"),
    ("vae", "vae_name", 4, "FluxLoader"),
    ("clip_vision", "clip_vision_name", 5, "FluxLoader"),
    ("style_models", "style_model_name", 6, "FluxLoader"),
    ("checkpoints", "hires_ckpt_name", 1, "HighRes-Fix Script"),
    ("controlnet", "control_net_name", 11, "HighRes-Fix Script"),
    ("checkpoints", "base_checkpoint", 0, "SeargeModelSelector"),
    ("checkpoints", "refiner_checkpoint", 1, "SeargeModelSelector"),
    ("vae", "vae_checkpoint", 2, "SeargeModelSelector"),
    ("diffusers", "model_path", 0, "Diffusers Model Loader"),
    ("upscale_models", "pixel_upscaler", 3, "HighRes-Fix Script"),
    # an earlier version had a strength more before the upscaler: a number stands in the other place
    *(("upscale_models", "upscale_model_name", index,
       "ttN KSampler_v2; ttN pipeKSampler_v2; ttN pipeKSamplerAdvanced_v2; ttN pipeKSamplerSDXL_v2")
      for index in (3, 4)),
    ("loras", "lora_name", 0,
     "ttN KSampler_v2; ttN pipeKSampler; ttN pipeKSampler_v2; ttN pipeKSamplerAdvanced; ttN pipeKSamplerAdvanced_v2; "
     "ttN pipeKSamplerSDXL_v2"),
    ("checkpoints", "ckpt_name_1", 0, "easy XYInputs: ModelMergeBlocks"),
    ("checkpoints", "ckpt_name_2", 1, "easy XYInputs: ModelMergeBlocks"),
    ("vae", "vae_use", 2, "easy XYInputs: ModelMergeBlocks"),
    ("checkpoints", "ckpt_name", 0, "AV_CheckpointModelsToParametersPipe"),
    ("checkpoints", "secondary_ckpt_name", 1, "AV_CheckpointModelsToParametersPipe"),
    ("vae", "vae_name", 2, "AV_CheckpointModelsToParametersPipe"),
    ("upscale_models", "upscaler_name", 3, "AV_CheckpointModelsToParametersPipe"),
    ("upscale_models", "secondary_upscaler_name", 4, "AV_CheckpointModelsToParametersPipe"),
    ("loras", "lora_1_name", 5, "AV_CheckpointModelsToParametersPipe"),
    ("loras", "lora_2_name", 6, "AV_CheckpointModelsToParametersPipe"),
    ("loras", "lora_3_name", 7, "AV_CheckpointModelsToParametersPipe"),
    # seven settings, then a checkpoint, its CLIP skip and a VAE, up to fifty times
    *(("checkpoints", f"ckpt_name_{place}", 3 * place + 4, "XY Input: Checkpoint") for place in range(1, 51)),
    *(("vae", f"vae_name_{place}", 3 * place + 6, "XY Input: Checkpoint") for place in range(1, 51)),
    ("controlnet", "control_net_name", 12, "HighRes-Fix Script"),
)
# fmt: on

"""Habits of the community, one small graph each; the right answer was decided before the code was asked.

Sources: FACTS 1.2 to 1.7 and the decisions that the README of the shared corpus tells.
"""

from __future__ import annotations

from typing import Any

import pytest

from comfy_doctor.workflows.api_graph import graph_of_api
from comfy_doctor.workflows.ui_graph import graph_of_ui
from comfy_doctor.workflows.wanted import needs_of

from .drawing import Json, link, loader_inside, node, subgraph, ui, widget

Keys = list[tuple[str | None, str, bool]]


def keys(*nodes: Json, **more: Any) -> Keys:
    """(folder, name, active)."""
    found = needs_of(graph_of_ui(ui(*nodes, **more)), "w").models
    return [(need.folder, need.name, need.active) for need in found]


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        # switched off in the stack, but the server validates its combos: needed
        ("CR LoRA Stack", ["Off", "a.safetensors", 1, 1, "Off", "None", 1, 1, "On", "sub\\b.safetensors", 1, 1],
         [("loras", "a.safetensors"), ("loras", "sub/b.safetensors")]),
        ("CR Multi-ControlNet Stack", ["Off", "depth.safetensors", 1.0, 0, 1, "On", "None", 1.0, 0, 1],
         [("controlnet", "depth.safetensors")]),
        ("CR Select Model", ["a.safetensors", "b.safetensors", "None", "None", "None", 1],
         [("checkpoints", "a.safetensors"), ("checkpoints", "b.safetensors")]),
        ("Efficient Loader", ["a.safetensors", "Baked VAE", -1, "None", 1, 1, "x", "y", "none", "comfy", 512, 512, 1],
         [("checkpoints", "a.safetensors")]),
        ("Efficient Loader", ["a.safetensors", "b.safetensors", -2, "c.safetensors", 1, 1, "best.pt quality"],
         [("checkpoints", "a.safetensors"), ("vae", "b.safetensors"), ("loras", "c.safetensors")]),
        ("Eff. Loader SDXL", ["a.sft", -2, "r.sft", -2, 6.0, 2.0, "v.sft", "pos", "neg"],
         [("checkpoints", "a.sft"), ("checkpoints", "r.sft"), ("vae", "v.sft")]),
        ("HighRes-Fix Script", ["both", "(use same)", "nearest-exact", "4x.pth", 1.5, True, 7, None, 12, 0.5, 1, False,
                                "tile.safetensors", 1, "none", False],
         [("upscale_models", "4x.pth"), ("controlnet", "tile.safetensors")]),
        ("easy comfyLoader", ["a.sft", "v.sft", -1, "l.sft", 1, 1],
         [("checkpoints", "a.sft"), ("vae", "v.sft"), ("loras", "l.sft")]),
        ("ttN pipeLoader", ["a.sft", "v.pt", -1, "l.sft", 1, 1, "None", 1, 1, "None", 1, 1],
         [("checkpoints", "a.sft"), ("vae", "v.pt"), ("loras", "l.sft")]),
        ("ttN pipeLoader_v2", ["a.sft", "Default", "v.pt", -1, "<lora:b:1>"],
         [("checkpoints", "a.sft"), ("vae", "v.pt")]),
        ("ttN pipeKSampler_v2", ["l.sft", 1, "[hiresFix] area", "4x.pth", 2],
         [("loras", "l.sft"), ("upscale_models", "4x.pth")]),
        ("ttN pipeKSampler_v2", ["None", 1, 1, "[hiresFix] area", "4x.pth"], [("upscale_models", "4x.pth")]),
        ("XY Input: Checkpoint", ["Base", "Ckpt Names+ClipSkip+VAE", "/a", False, "ascending", -1, 2,
                                  "a.sft", -1, "v.sft", "b.sft", -1, "Baked VAE"],
         [("checkpoints", "a.sft"), ("vae", "v.sft"), ("checkpoints", "b.sft")]),
        ("AV_CheckpointModelsToParametersPipe", ["c.sft", "None", "v.pt", "u.pth", "None", "l.sft", "None", "None"],
         [("checkpoints", "c.sft"), ("vae", "v.pt"), ("upscale_models", "u.pth"), ("loras", "l.sft")]),
        ("ReActorMaskHelper", ["bbox/face.pt", 0.5, 10, 3, 10, "sam_vit_b.pth", 0],
         [("ultralytics", "bbox/face.pt"), ("sams", "sam_vit_b.pth")]),
        ("easy XYInputs: ModelMergeBlocks", ["a.sft", "b.sft", "Use Model 1"],
         [("checkpoints", "a.sft"), ("checkpoints", "b.sft")]),
        ("HunyuanDependenciesLoader", ["vae_128d.pth", "sync.pth"], [("foley", "vae_128d.pth"), ("foley", "sync.pth")]),
        ("llama_cpp_model_loader", ["q.gguf", "mmproj-q.gguf"], [("LLM", "q.gguf"), ("LLM", "mmproj-q.gguf")]),
        ("LlavaClipLoader", ["mmproj.gguf"], [("LLavacheckpoints", "mmproj.gguf")]),
        ("LTXVLatentUpsamplerModelLoader", ["ups.sft", True, False], [("upscale_models", "ups.sft")]),
        ("Tiled Upscaler Script", [1.25, 512, "random", 30, 5, "randomize", 0.6, True, "tile.pth", 1],
         [("controlnet", "tile.pth")]),
        ("NunchakuSomeNewDiTLoader", ["svdq.sft"], [("diffusion_models", "svdq.sft")]),
        ("ApplyStableSRUpscaler", ["webui_768v.ckpt"], [("stablesr", "webui_768v.ckpt")]),
        ("DWPreprocessor_Provider_for_SEGS //Inspire", [True, True, True, 1, "yolox_l.onnx", "dw.onnx"], []),
        ("InfuseNetLoader", ["aes_stage2/infusenet_aes_bf16.sft"], []),
        ("VAELoader", ["taesdxl"], []),
        ("VAELoader", ["pixel_space"], []),
        ("VAELoader", ["undefined"], []),
        ("UnetLoaderGGUF", ["wan\\2.2\\Wan2.2-I2V-HighNoise-Q4_K_M.GGUF"],
         [("diffusion_models", "wan/2.2/Wan2.2-I2V-HighNoise-Q4_K_M.GGUF")]),
        ("LoraLoader", ["模型/国风 v2.Safetensors", 1, 1], [("loras", "模型/国风 v2.Safetensors")]),
        ("LoraLoader", ["Ünï – code (final) [v1], 50%.safetensors", 1, 1],
         [("loras", "Ünï – code (final) [v1], 50%.safetensors")]),
        ("LoraLoader", ["b79K .safetensors", 1, 1], [("loras", "b79K .safetensors")]),
        ("SAMLoader", ["sam_vit_b_01ec64.pth", "AUTO"], [("sams", "sam_vit_b_01ec64.pth")]),
        ("ReActorFaceSwap", [True, "inswapper_128.onnx", "retinaface_resnet50", "GFPGANv1.4.pth", 1, 0.5],
         [("insightface", "inswapper_128.onnx"), ("facerestore_models", "GFPGANv1.4.pth")]),
        ("IPAdapterUnifiedLoader", ["PLUS (high strength)"], []),
        ("Florence2ModelLoader", ["Florence-2-base"], []),
        ("VHS_LoadVideo", ["clip.mp4"], []),
        ("LoadImage", ["portrait.bin.png", "image"], []),
        ("SaveImage", ["renders/flux.safetensors"], []),
        ("CheckpointSave", ["checkpoints/merged.safetensors"], []),
        ("LoraSave", ["loras/new.safetensors"], []),
    ],
)  # fmt: skip
def test_the_values_of_one_node(kind: str, values: list[Any], expected: list[tuple[str, str]]) -> None:
    assert [(folder, name) for folder, name, _ in keys(node(1, kind, *values))] == expected


def test_power_lora_rows_are_skipped_when_empty_and_inactive_when_off() -> None:
    rows = [
        {"type": "PowerLoraLoaderHeaderWidget"},
        {"on": True, "lora": "a.safetensors", "strength": 1, "strengthTwo": 0.5},
        {"on": False, "lora": "off\\b.safetensors", "strength": 1},
        {"on": True, "lora": "None", "strength": 1},
        {"on": True, "lora": None},
        {},
        "",
    ]
    found = keys(node(1, "Power Lora Loader (rgthree)", *rows))
    assert found == [("loras", "a.safetensors", True), ("loras", "off/b.safetensors", False)]


def test_a_lora_on_in_one_row_and_off_in_another_is_active() -> None:
    rows = [{"on": False, "lora": "a.safetensors"}, {"on": True, "lora": "a.safetensors"}]
    assert keys(node(1, "Power Lora Loader (rgthree)", *rows)) == [("loras", "a.safetensors", True)]


def test_lora_manager_lists_have_no_extension_and_are_mentions() -> None:
    rows = [{"name": "ink", "strength": "1.0", "active": True, "clipStrength": "1.0"}, {"name": "off", "active": False}]
    found = needs_of(graph_of_ui(ui(node(1, "Lora Loader (LoraManager)", "<lora:ink:1>", rows))), "w")
    assert found.models == ()
    assert [(entry.name, entry.use.active) for entry in found.mentions] == [("ink", True)]


@pytest.mark.parametrize("mode", [2, 4])
def test_a_muted_user_beside_an_active_one_is_no_matter(mode: int) -> None:
    found = keys(node(1, "LoraLoader", "a.safetensors", 1, 1, mode=mode), node(2, "LoraLoader", "a.safetensors", 1, 1))
    assert found == [("loras", "a.safetensors", True)]


def test_the_same_name_with_slash_and_backslash_is_one_need() -> None:
    found = keys(node(1, "LoraLoader", "x\\a.safetensors", 1, 1), node(2, "LoraLoaderModelOnly", "x/a.safetensors", 1))
    assert found == [("loras", "x/a.safetensors", True)]


@pytest.mark.parametrize("values", [None, [], {}, "a.ckpt", 0, ["a.ckpt"] * 2])
def test_widget_values_of_any_shape(values: Any) -> None:
    found = keys(node(1, "CheckpointLoaderSimple", widgets_values=values))
    assert found == ([("checkpoints", "a.ckpt", True)] if isinstance(values, list) and values else [])


def test_a_dict_of_values_names_its_widgets() -> None:
    values = {"ckpt_name": "a.ckpt", "vae_name": "v.pt", "videopreview": {"params": {"filename": "x.bin.mp4"}}}
    assert keys(node(1, "SomeLoader", widgets_values=values)) == [
        ("checkpoints", "a.ckpt", True),
        ("vae", "v.pt", True),
    ]


def test_a_converted_widget_without_a_link_keeps_its_value() -> None:
    loader = node(1, "CheckpointLoaderSimple", "a.ckpt", inputs=[widget("ckpt_name")])
    assert keys(loader) == [("checkpoints", "a.ckpt", True)]


def test_nodes_of_any_shape_are_no_trouble() -> None:
    odd: list[Any] = [None, 7, [], {}, {"type": None}, {"type": "X", "inputs": 3, "properties": [], "mode": "4"}]
    assert keys(*odd, node(1, "VAELoader", "a.pt")) == [("vae", "a.pt", True)]


def test_an_instance_may_override_what_a_nested_subgraph_holds() -> None:
    outer = subgraph(
        "outer", node(5, "inside", inputs=[widget("ckpt_name", 9)]), inputs=["model_name"], links=[link(9, -10, 5)]
    )
    body = [node(11, "outer", "top.ckpt"), node(12, "outer", "other.ckpt", mode=4), node(13, "outer")]
    assert keys(*body, subgraphs=[outer, loader_inside("inner.ckpt")]) == [
        ("checkpoints", "top.ckpt", True),
        ("checkpoints", "other.ckpt", False),
        ("checkpoints", "inner.ckpt", True),
    ]


def test_definitions_that_nobody_uses_ask_for_nothing_even_nested() -> None:
    outer = subgraph("outer", node(5, "inside"))
    assert keys(node(1, "VAELoader", "a.pt"), subgraphs=[outer, loader_inside("x.ckpt")]) == [("vae", "a.pt", True)]


def test_a_muted_node_inside_an_active_instance_is_inactive() -> None:
    inside = subgraph("inside", node(1, "VAELoader", "a.pt", mode=2), node(2, "VAELoader", "b.pt"))
    assert keys(node(7, "inside"), subgraphs=[inside]) == [("vae", "a.pt", False), ("vae", "b.pt", True)]


def test_an_old_prompt_left_in_extra_is_ignored() -> None:
    left = {"prompt": {"1": {"class_type": "VAELoader", "inputs": {"vae_name": "old.pt"}}}}
    assert keys(node(1, "VAELoader", "a.pt"), extra=left) == [("vae", "a.pt", True)]


def test_embeddings_and_lora_tags_of_a_prompt_are_no_files() -> None:
    found = needs_of(graph_of_ui(ui(node(1, "CLIPTextEncode", "embedding:bad.pt, <lora:x.safetensors:1>"))), "w")
    assert found.models == ()
    assert [(entry.kind, entry.name) for entry in found.mentions] == [
        ("lora", "x.safetensors"),
        ("embedding", "bad.pt"),
    ]


def test_a_component_of_the_manager_is_a_node_like_any_other() -> None:
    found = needs_of(graph_of_ui(ui(node(1, "## my pipe [1a2b3c]", "a.safetensors"))), "w")
    assert [use.use.node_type for use in found.nodes] == ["## my pipe [1a2b3c]"]
    assert [need.name for need in found.models] == ["a.safetensors"]


def test_an_api_prompt_with_odd_entries_is_read_as_far_as_it_goes() -> None:
    body: dict[str, Any] = {
        "1": {"class_type": "VAELoader", "inputs": {"vae_name": "a.pt"}},
        "2": {"class_type": "VAELoader"},
        "3": {"class_type": None, "inputs": {"vae_name": "b.pt"}},
        "4": "text",
        "5": {"class_type": "LoraLoader", "inputs": {"lora_name": None, "model": ["1", 0], "clip": ["99", 1]}},
        "extra_data": {"x": "c.pt"},
    }
    assert [need.name for need in needs_of(graph_of_api(body), "w").models] == ["a.pt"]

"""Which values name models, in which folder, from which source; and which values only look like it."""

from __future__ import annotations

from typing import Any

import pytest

from comfy_doctor.needs import FolderFrom
from comfy_doctor.workflows import graph
from comfy_doctor.workflows.api_graph import graph_of_api
from comfy_doctor.workflows.core_nodes import is_core
from comfy_doctor.workflows.loaders import slots_of
from comfy_doctor.workflows.ui_graph import graph_of_ui
from comfy_doctor.workflows.wanted import Wanted, merged, needs_of

from .drawing import model, node, ui

SHA256 = "ab" * 32


def wanted(*nodes: Any, **more: Any) -> Wanted:
    return needs_of(graph_of_ui(ui(*nodes, **more)), "w")


def keys(found: Wanted) -> list[tuple[str | None, str]]:
    return [(need.folder, need.name) for need in found.models]


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("CheckpointLoaderSimple", ["a.ckpt"], [("checkpoints", "a.ckpt")]),
        ("LTXAVTextEncoderLoader", ["t.sft", "c.sft"], [("text_encoders", "t.sft"), ("checkpoints", "c.sft")]),
        ("LoadFluxIPAdapter", ["i.sft", "v.sft", "CPU"], [("xlabs/ipadapters", "i.sft"), ("clip_vision", "v.sft")]),
        ("UnetLoaderGGUF", ["q4.gguf"], [("diffusion_models", "q4.gguf")]),
        ("DualCLIPLoaderGGUFDisTorch2MultiGPU", ["a.gguf", "b.sft", "flux", "cuda:0"],
         [("text_encoders", "a.gguf"), ("text_encoders", "b.sft")]),
        ("MMAudioFeatureUtilsLoader", ["v.sft", "s.sft", "c.sft"],
         [("mmaudio", "v.sft"), ("mmaudio", "s.sft"), ("mmaudio", "c.sft")]),
        ("LTXVGemmaCLIPModelLoader", ["g/model-00001.sft", "l.sft", 1024],
         [("text_encoders", "g/model-00001.sft"), ("checkpoints", "l.sft")]),
        ("FluxTrainModelSelect", ["f.sft", "v.sft", "c.sft", "t.sft"],
         [("diffusion_models", "f.sft"), ("vae", "v.sft"), ("text_encoders", "c.sft"), ("text_encoders", "t.sft")]),
        ("LowVRAMAudioVAELoader", ["ltx.sft"], [("checkpoints", "ltx.sft")]),
        ("IPAdapterFluxLoader", ["ip.bin", "google/siglip-so400m-patch14-384", "cuda"], [("ipadapter-flux", "ip.bin")]),
        ("SeargeModelSelector", ["b.sft", "r.sft", "v.sft"],
         [("checkpoints", "b.sft"), ("checkpoints", "r.sft"), ("vae", "v.sft")]),
        ("Efficient Loader", ["c.sft", "Baked VAE", -1, "l.sft", 1, 1], [("checkpoints", "c.sft"), ("loras", "l.sft")]),
        ("UltralyticsDetectorProvider", ["bbox/face.pt"], [("ultralytics", "bbox/face.pt")]),
        ("INPAINT_LoadFooocusInpaint", ["head.pth", "v26.fooocus.patch"],
         [("inpaint", "head.pth"), ("inpaint", "v26.fooocus.patch")]),
        ("CR LoRA Stack", ["Off", "a.sft", 1, 1, "On", "None", 1, 1], [("loras", "a.sft")]),
        ("DiffusersLoader", ["sdxl-turbo"], [("diffusers", "sdxl-turbo")]),
        ("DiffusersLoader", ["None"], []),
        ("VAELoader", ["taesd"], []),
        ("VAELoader", ["pixel_space"], []),
        ("LoraLoader", ["None", 1, 1], []),
    ],
)  # fmt: skip
def test_known_loaders_name_their_folders(kind: str, values: list[Any], expected: list[tuple[str, str]]) -> None:
    assert keys(wanted(node(1, kind, *values))) == expected


def test_a_loader_that_lists_one_folder_lists_it_whatever_its_inputs_are_called() -> None:
    inputs = {"seg_ckpt": "seg.pt2", "pose_ckpt": "pose.pt2"}
    body = {"1": {"class_type": "SapiensLoader", "inputs": inputs}}
    assert keys(needs_of(graph_of_api(body), "w")) == [("sapiens", "seg.pt2"), ("sapiens", "pose.pt2")]


def test_a_loader_repeated_by_the_multi_gpu_pack_keeps_its_inputs() -> None:
    found = wanted(node(1, "LTXAVTextEncoderLoaderMultiGPU", "gemma.sft", "ltx.sft", "default", "cuda:0"))
    assert keys(found) == [("text_encoders", "gemma.sft"), ("checkpoints", "ltx.sft")]


def test_backslashes_are_normalised_and_what_is_written_is_kept() -> None:
    (need,) = wanted(node(1, "LoraLoader", "style\\sub\\a.safetensors", 1, 1)).models
    assert (need.name, need.subfolder, need.filename) == ("style/sub/a.safetensors", "style/sub", "a.safetensors")
    assert need.uses[0].written == "style\\sub\\a.safetensors"


def test_a_space_at_the_end_of_the_stem_belongs_to_the_name() -> None:
    assert keys(wanted(node(1, "LoraLoader", "b79K .safetensors", 1, 1))) == [("loras", "b79K .safetensors")]


def test_the_same_name_in_two_folders_is_two_needs() -> None:
    found = wanted(node(1, "CheckpointLoaderSimple", "x.sft"), node(2, "UNETLoader", "x.sft"))
    assert keys(found) == [("checkpoints", "x.sft"), ("diffusion_models", "x.sft")]


def test_metadata_gives_its_source_to_the_file_of_the_same_folder_only() -> None:
    stated = [model("x.sft", "checkpoints", "https://h/c"), model("x.sft", "diffusion_models", "https://h/d")]
    (need,) = wanted(node(1, "UNETLoader", "x.sft", properties={"models": stated})).models
    assert [candidate.url for candidate in need.candidates] == ["https://h/d"]


def test_the_old_word_for_a_folder_is_the_same_folder() -> None:
    stated = [model("x.sft", "unet", "https://h/d", hash=SHA256.upper(), hash_type="SHA256")]
    (need,) = wanted(node(1, "UNETLoader", "x.sft", properties={"models": stated})).models
    (candidate,) = need.candidates
    assert (candidate.sha256, candidate.folder, candidate.source) == (SHA256, "diffusion_models", "embedded")


@pytest.mark.parametrize(("digest", "kind"), [("ab", "SHA256"), (SHA256, "BLAKE3"), (SHA256, None), (7, "SHA256")])
def test_what_is_no_sha256_is_not_taken_for_one(digest: Any, kind: Any) -> None:
    stated = [model("x.sft", "vae", "https://h/d", hash=digest, hash_type=kind)]
    (need,) = wanted(node(1, "VAELoader", "x.sft", properties={"models": stated})).models
    assert need.candidates[0].sha256 is None


def test_stale_metadata_is_neither_a_need_nor_a_source() -> None:
    stated = [model("old.sft", "vae", "https://h/old")]
    (need,) = wanted(node(1, "VAELoader", "new.sft", properties={"models": stated})).models
    assert (need.name, need.candidates) == ("new.sft", ())


def test_the_workflows_own_list_adds_sources_and_never_needs() -> None:
    stated = [model("a.sft", "vae", "https://h/a"), model("b.sft", "vae", "https://h/b")]
    (need,) = wanted(node(1, "VAELoader", "a.sft"), models=stated).models
    assert [candidate.url for candidate in need.candidates] == ["https://h/a"]


def test_metadata_of_the_bare_name_serves_a_file_in_a_subfolder() -> None:
    stated = [model("a.sft", "vae", "https://h/a")]
    (need,) = wanted(node(1, "VAELoader", "sub\\a.sft", properties={"models": stated})).models
    assert [(c.url, c.filename) for c in need.candidates] == [("https://h/a", "a.sft")]


def test_an_unknown_loader_gets_its_folder_from_the_metadata() -> None:
    stated = [model("a.sft", "geometry_estimation")]
    (need,) = wanted(node(1, "BrandNewThing", "a.sft", properties={"models": stated})).models
    assert (need.folder, need.folder_from) == ("geometry_estimation", FolderFrom.WORKFLOW)


@pytest.mark.parametrize(
    ("name", "folder"),
    [("ckpt_name", "checkpoints"), ("lora_2", "loras"), ("vae_name", "vae"), ("control_net_name", "controlnet"),
     ("clip_name2", "text_encoders"), ("clip_vision_name", "clip_vision"), ("unet_name", "diffusion_models"),
     ("upscale_model", "upscale_models"), ("ipadapter_file", "ipadapter"), ("thing", None)],
)  # fmt: skip
def test_an_unknown_loader_gets_its_folder_from_the_name_of_the_input(name: str, folder: str | None) -> None:
    body = {"1": {"class_type": "BrandNewThing", "inputs": {name: "a.safetensors"}}}
    (need,) = needs_of(graph_of_api(body), "w").models
    assert need.folder == folder
    assert need.folder_from is (FolderFrom.INPUT if folder else FolderFrom.NOWHERE)


@pytest.mark.parametrize(
    ("kind", "folder"),
    [("SuperLoraLoader", "loras"), ("MyVAELoader", "vae"), ("IPAdapterThing", "ipadapter"), ("Whatever", None)],
)
def test_an_unknown_loader_without_names_gets_its_folder_from_its_own_name(kind: str, folder: str | None) -> None:
    (need,) = wanted(node(1, kind, "a.safetensors")).models
    assert need.folder == folder


@pytest.mark.parametrize(
    "kind",
    ["DP Load Checkpoint With Info", "Downloaded Checkpoint Loader", "QuantizedLoraPatcher", "LoraLoaderFromText"],
)
def test_words_of_other_trades_do_not_hide_a_loader(kind: str) -> None:
    assert [need.name for need in wanted(node(1, kind, "a.safetensors")).models] == ["a.safetensors"]


def test_power_lora_rows_count_by_their_switch() -> None:
    rows = [
        {"type": "PowerLoraLoaderHeaderWidget"},
        {"on": True, "lora": "a.safetensors", "strength": 1, "strengthTwo": None},
        {"on": False, "lora": "b.safetensors", "strength": 1},
        {"on": True, "lora": None},
        "",
        None,
    ]
    found = wanted(node(1, "Power Lora Loader (rgthree)", {}, *rows))
    assert [(need.folder, need.name, need.active) for need in found.models] == [
        ("loras", "a.safetensors", True),
        ("loras", "b.safetensors", False),
    ]


def test_power_lora_rows_count_in_the_api_format_too() -> None:
    inputs = {"lora_1": {"on": False, "lora": "a.safetensors", "strength": 1}, "model": ["4", 0]}
    body = {"1": {"class_type": "Power Lora Loader (rgthree)", "inputs": inputs}}
    (need,) = needs_of(graph_of_api(body), "w").models
    assert (need.folder, need.active) == ("loras", False)


def test_a_value_with_a_preview_picture_names_the_model() -> None:
    value = {"content": "a.safetensors", "image": "loras/a.png"}
    assert keys(wanted(node(1, "LoraLoader|pysssss", value, 1, 1))) == [("loras", "a.safetensors")]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("DWPreprocessor", "yolox_l.onnx"),
        ("DownloadAndLoadSAM2Model", "sam2_hiera_base_plus.safetensors"),
        ("(Down)load Kolors Model", "kolors.safetensors"),
        ("RIFE VFI", "rife47.pth"),
        ("SeedVR2LoadDiTModel", "seedvr2_3b.safetensors"),
        ("LayerMask: LoadSAM2Model", "sam2.pt"),
        ("HF Downloader", "sd.safetensors"),
        ("DDColor_Colorize", "ddcolor_paper.pth"),
    ],
)
def test_nodes_that_fetch_by_themselves_are_listed_apart(kind: str, value: str) -> None:
    found = wanted(node(1, kind, "enable", value))
    assert found.models == ()
    assert [(entry.filename, entry.use.node_type) for entry in found.self_fetched] == [(value, kind)]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("Note", "https://huggingface.co/a/b/blob/main/x.safetensors"),
        ("MarkdownNote", "x.safetensors"),
        ("ShowText|pysssss", "x.safetensors"),
        ("Lora Info (LoraManager)", [{"filePath": "/home/me/x.safetensors"}]),
        ("ToDetailerPipeSDXL", "SDXL/x.safetensors"),
        ("ImpactWildcardEncode", "x.safetensors"),
        ("Save Image w/Metadata", "x.safetensors"),
        ("CheckpointSave", "x.safetensors"),
        ("CLIPTextEncode", "a photo of model.bin"),
        ("BrandNewThing", "https://host/x.safetensors"),
        ("BrandNewThing", "/home/me/x.safetensors"),
        ("BrandNewThing", "C:\\models\\x.safetensors"),
        ("BrandNewThing", "\\\\server\\x.safetensors"),
        ("BrandNewThing", "KBlueLeaf/TIPO-500M | x.gguf"),
        ("BrandNewThing", "one\nx.safetensors"),
        ("BrandNewThing", "x" * 300 + ".safetensors"),
        ("BrandNewThing", ".safetensors"),
        ("BrandNewThing", "picture.png"),
    ],
)
def test_what_only_looks_like_a_model_is_none(kind: str, value: Any) -> None:
    found = wanted(node(1, kind, value))
    assert (found.models, found.self_fetched) == ((), ())


def test_a_combo_that_only_helps_typing_is_no_need() -> None:
    inputs = {"Select to add LoRA": "x.safetensors", "lora_name": "real.safetensors"}
    body = {"1": {"class_type": "LoraTool", "inputs": inputs}}
    assert keys(needs_of(graph_of_api(body), "w")) == [("loras", "real.safetensors")]


def test_prompts_and_lora_manager_lists_are_mentions_not_needs() -> None:
    rows = [{"name": "ink", "strength": 1, "active": False}, {"name": "oil", "strength": 0.5, "active": True}]
    found = wanted(
        node(1, "CLIPTextEncode", "a cat, (embedding:EasyNegative:1.1), embedding:bad-hands-5 <lora:ck-paint:0.8>"),
        node(2, "Lora Loader (LoraManager)", "<lora:oil:0.5>", rows),
        node(3, "Note", "try <lora:nothing:1>"),
    )
    assert found.models == ()
    assert [(entry.kind, entry.name, entry.use.node_id, entry.use.active) for entry in found.mentions] == [
        ("lora", "ck-paint", "1", True),
        ("embedding", "EasyNegative", "1", True),
        ("embedding", "bad-hands-5", "1", True),
        ("lora", "oil", "2", True),
        ("lora", "ink", "2", False),
    ]


def test_needs_of_several_workflows_are_one_per_folder_and_name() -> None:
    stated = {"models": [model("a.sft", "vae", "https://h/a")]}
    one = needs_of(graph_of_ui(ui(node(1, "VAELoader", "a.sft", properties=stated))), "one.json")
    two = needs_of(graph_of_ui(ui(node(1, "VAELoader", "a.sft", mode=2, properties=stated))), "two.json")
    (need,) = merged([*one.models, *two.models])
    assert [(use.workflow, use.active) for use in need.uses] == [("one.json", True), ("two.json", False)]
    assert len(need.candidates) == 1


def test_every_loader_of_core_in_the_table_is_a_core_node() -> None:
    for kind in ("CheckpointLoaderSimple", "SAM3DBody_Loader", "ConditioningLoader", "DiffusersLoader", "KSampler"):
        assert is_core(kind)
    assert is_core("ConditioningAverage ")
    assert not is_core("UltimateSDUpscale")
    assert not slots_of("KSampler")


def test_endless_metadata_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "MAX_DECLARED", 2)
    stated = [model("a.sft", "vae", f"https://h/{number}") for number in range(5)]
    (need,) = wanted(node(1, "VAELoader", "a.sft", properties={"models": stated})).models
    assert [candidate.url for candidate in need.candidates] == ["https://h/0", "https://h/1"]

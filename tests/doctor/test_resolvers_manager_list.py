"""ComfyUI-Manager's model list as a source: the whole path first, then the name, and never a guess unasked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from comfy_doctor.needs import Need
from comfy_doctor.resolvers.manager_list import ManagerList, entries_of
from comfy_doctor.resolvers.resolver import AUTOMATIC, Answer, Quest, Word
from download_worker.errors import Code, GiveUp, TryLater
from download_worker.leash import Leash

SHARED = Path(__file__).parents[3] / "shared"
REAL = SHARED / "manager" / "model-list.json"
real_list = pytest.mark.skipif(not REAL.exists(), reason=f"the real list is not at {REAL}")

SHARED_NAME = "diffusion_pytorch_model.safetensors"


def entry(
    filename: str = "harbor.safetensors", save_path: str = "default", kind: str = "checkpoint", **more: Any
) -> dict[str, Any]:
    url = f"https://huggingface.co/o/{save_path.replace('/', '-')}/resolve/main/{filename}"
    return {"name": "Harbor", "type": kind, "base": "SDXL", "save_path": save_path, "description": "", "size": "4.71MB",
            "reference": "https://huggingface.co/o/r", "filename": filename, "url": url} | more  # fmt: skip


def ask(name: str, folder: str | None, *entries: Any) -> Answer:
    need = Need(folder, name, ())
    source = ManagerList(lambda: json.dumps({"models": entries}).encode())
    return source.look([Quest(need)], Leash())[need.key]


@pytest.mark.parametrize(
    ("kind", "folder"),
    [
        ("checkpoint", "checkpoints"), ("unclip", "checkpoints"), ("clip", "text_encoders"), ("lora", "loras"),
        ("VAE", "vae"), ("T2I-Adapter", "controlnet"), ("T2I-Style", "controlnet"), ("controlnet", "controlnet"),
        ("upscale", "upscale_models"), ("embedding", "embeddings"), ("unet", "diffusion_models"),
        ("diffusion_model", "diffusion_models"), ("TAESD", "vae_approx"), ("clip_vision", "clip_vision"),
        ("IP-Adapter", "ipadapter"),
    ],
)  # fmt: skip
def test_default_means_the_folder_of_its_type(kind: str, folder: str) -> None:
    (found,) = ask("harbor.safetensors", folder, entry(kind=kind)).candidates
    assert (found.folder, found.confidence, found.source) == (folder, AUTOMATIC, "manager-list")
    assert found.page == "https://huggingface.co/o/r"


def test_its_size_is_words_and_no_number() -> None:
    (found,) = ask("harbor.safetensors", "checkpoints", entry()).candidates
    assert (found.size, found.sha256, found.proof) == (None, None, "D")
    assert any("4.71MB" in words for words in found.evidence)


def test_of_many_with_one_name_the_path_chooses() -> None:
    entries = [entry(SHARED_NAME, f"controlnet/SDXL/{name}") for name in ("canny", "depth", "tile")]
    (found,) = ask(f"SDXL/depth/{SHARED_NAME}", "controlnet", *entries).candidates
    assert (found.url.split("/")[4], found.confidence) == ("controlnet-SDXL-depth", AUTOMATIC)
    answer = ask(SHARED_NAME, "controlnet", *entries)
    assert len(answer.candidates) == 3
    assert all(found.confidence < AUTOMATIC for found in answer.candidates)
    assert ask(SHARED_NAME, "vae", *entries).word is Word.NOT_FOUND


def test_everybodys_name_without_a_subfolder_is_never_sure() -> None:
    assert ask("model.safetensors", "loras", entry("model.safetensors", "loras")).candidates[0].confidence < AUTOMATIC


def test_a_users_own_subfolder_is_a_little_less_sure() -> None:
    (found,) = ask("mine/harbor.safetensors", "checkpoints", entry(save_path="checkpoints/SDXL")).candidates
    assert found.confidence == 0.8


@pytest.mark.parametrize(
    ("save_path", "folder", "name"),
    [
        ("unet/flux", "diffusion_models", "flux/harbor.safetensors"),
        ("clip/t5", "text_encoders", "t5/harbor.safetensors"),
        ("ultralytics/bbox", "ultralytics_bbox", "harbor.safetensors"),
        ("ultralytics/bbox", "ultralytics", "bbox/harbor.safetensors"),
        ("/loras//", "loras", "harbor.safetensors"),
        ("loras\\SDXL", "loras", "SDXL/harbor.safetensors"),
    ],
)
def test_folders_have_several_names(save_path: str, folder: str, name: str) -> None:
    (found,) = ask(name, folder, entry(save_path=save_path)).candidates
    assert (found.confidence, found.folder) == (AUTOMATIC, folder)


@pytest.mark.parametrize("save_path", ["custom_nodes/ComfyUI-Pack/ckpts", "loras"])
def test_the_same_name_for_another_folder_is_shown_and_not_fetched(save_path: str) -> None:
    (found,) = ask("harbor.safetensors", "checkpoints", entry(save_path=save_path)).candidates
    assert found.confidence < 0.5
    assert any(save_path in words for words in found.evidence)


def test_two_urls_for_one_path_leave_the_choice_to_a_person() -> None:
    other = entry(url="https://huggingface.co/other/x/resolve/main/harbor.safetensors")
    answer = ask("harbor.safetensors", "checkpoints", entry(), other)
    assert [found.confidence for found in answer.candidates] == [0.6, 0.6]


@pytest.mark.parametrize(
    "broken",
    [
        entry("<huggingface>", url="deepseek-ai/Janus-Pro-1B"),
        entry(url="ftp://example.com/x"),
        entry(url=None),
        entry("../x.safetensors"),
        entry(url="https://[broken"),
        {"filename": 7},
        "text",
        None,
    ],
)
def test_entries_that_are_no_download_are_passed_over(broken: Any) -> None:
    assert list(entries_of(json.dumps({"models": [broken]}).encode())) == []
    assert ask("harbor.safetensors", "checkpoints", broken, entry()).word is Word.FOUND


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"models": 1}', b"\xff", b"[" * 100_000, b"<html>"])
def test_a_list_that_cannot_be_read_is_could_not_look(text: bytes) -> None:
    need = Need("loras", "x.safetensors", ())
    assert ManagerList(lambda: text).look([Quest(need)], Leash())[need.key].word is Word.COULD_NOT_LOOK


@pytest.mark.parametrize(
    "trouble", [TryLater(Code.NO_CONNECTION, "no network"), GiveUp(Code.NOT_FOUND, "no such channel")]
)
def test_a_list_that_cannot_be_had_is_could_not_look_whatever_the_reason(trouble: Exception) -> None:
    def read() -> bytes:
        raise trouble

    need = Need("loras", "x.safetensors", ())
    answer = ManagerList(read).look([Quest(need)], Leash())[need.key]
    assert (answer.word, bool(answer.why)) == (Word.COULD_NOT_LOOK, True)


def test_the_list_is_read_once() -> None:
    reads = []

    def read() -> bytes:
        reads.append(1)
        return json.dumps({"models": [entry()]}).encode()

    source = ManagerList(read)
    for _ in range(3):
        source.look([Quest(Need("checkpoints", "harbor.safetensors", ()))], Leash())
    assert len(reads) == 1


@real_list
def test_in_the_real_list_every_file_is_found_by_its_own_path_and_only_the_right_one_is_sure() -> None:
    entries = list(entries_of(REAL.read_bytes()))
    assert len(entries) == 559, "562 without the three whole repositories"
    needs = [Need(folder, name, ()) for folder, _, name in (each.path.partition("/") for each in entries)]
    answers = ManagerList(REAL.read_bytes).look([Quest(need) for need in needs], Leash())
    for each, need in zip(entries, needs, strict=True):
        answer = answers[need.key]
        assert each.url in [found.url for found in answer.candidates], each
        sure = [found.url for found in answer.candidates if found.confidence >= AUTOMATIC]
        assert sure in ([], [each.url]), each
    sure_ones = [a for a in answers.values() if any(found.confidence >= AUTOMATIC for found in a.candidates)]
    assert len(sure_ones) > 540

"""The official templates as a source: read once for each version, kept, and believed as far as they agree."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from comfy_doctor.needs import Need
from comfy_doctor.resolvers import templates
from comfy_doctor.resolvers.resolver import AUTOMATIC, Answer, Quest, Word
from comfy_doctor.resolvers.templates import Bundle, Templates
from download_worker.errors import Interrupted
from download_worker.leash import Leash

HUB = "https://huggingface.co/Comfy-Org/repo/resolve/main"
NAME = "harbor_fp8.safetensors"


def template(
    folder: Path, file: str, *urls: str, name: str = NAME, directory: str = "checkpoints", note: str = "", **more: Any
) -> None:
    """A workflow of one checkpoint loader whose metadata names these URLs, and with a note."""
    models = [{"name": name, "url": url, "directory": directory, **more} for url in urls]
    node = {
        "id": 1,
        "type": "CheckpointLoaderSimple",
        "mode": 0,
        "inputs": [],
        "outputs": [],
        "properties": {"models": models},
        "widgets_values": [name],
    }
    written = {"id": 2, "type": "MarkdownNote", "mode": 0, "properties": {}, "widgets_values": [note]}
    folder.mkdir(exist_ok=True)
    (folder / file).write_text(json.dumps({"nodes": [node, written], "links": [], "version": 0.4}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "templates"
    template(folder, "a.json", f"{HUB}/{NAME}")
    return folder


def ask(source: Templates, name: str = NAME, folder: str | None = "checkpoints") -> Answer:
    need = Need(folder, name, ())
    return source.look([Quest(need)], Leash())[need.key]


def asked(templates: Path, **more: Any) -> Answer:
    return ask(Templates(bundle=Bundle(templates, "1")), **more)


def test_the_only_place_that_templates_name_may_be_fetched_unasked(folder: Path) -> None:
    (found,) = asked(folder).candidates
    assert (found.url, found.folder, found.source, found.proof) == (f"{HUB}/{NAME}", "checkpoints", "template", "D")
    assert found.confidence == 0.92 >= AUTOMATIC
    assert "a.json" in found.evidence[0]


def test_other_spellings_of_one_place_are_no_other_place(folder: Path) -> None:
    template(folder, "b.json", f"{HUB}/{NAME}?download=true", f"{HUB.replace('main', 'v2')}/{NAME}")
    (found,) = asked(folder).candidates
    assert found.confidence == 0.92


def test_of_several_places_none_is_fetched_unasked_and_a_slip_is_the_last(folder: Path) -> None:
    template(folder, "b.json", "https://huggingface.co/other/repo/resolve/main/" + NAME)
    template(folder, "c.json", f"{HUB}/harbor_base.safetensors")
    answer = asked(folder)
    assert [(found.url.split("/")[3], found.confidence) for found in answer.candidates] == [
        ("Comfy-Org", 0.8),
        ("other", 0.8),
        ("Comfy-Org", 0.6),
    ]


def test_the_same_name_for_another_folder_is_another_file(folder: Path) -> None:
    answer = asked(folder, folder="loras")
    assert (answer.word, answer.candidates) == (Word.NOT_FOUND, ())
    assert "checkpoints" in answer.why


def test_a_users_own_subfolder_changes_nothing_and_an_unknown_folder_makes_it_unsure(folder: Path) -> None:
    assert asked(folder, name=f"my models/{NAME}").candidates[0].confidence == 0.92
    assert asked(folder, folder=None).candidates[0].confidence < AUTOMATIC


def test_everybodys_name_is_not_fetched_unasked(folder: Path) -> None:
    name = "diffusion_pytorch_model.fp16.safetensors"
    template(folder, "b.json", f"{HUB}/{name}", name=name)
    assert asked(folder, name=name).candidates[0].confidence < AUTOMATIC


def test_a_digest_of_the_templates_is_a_publishers(tmp_path: Path) -> None:
    template(tmp_path / "t", "a.json", f"{HUB}/{NAME}", hash="A" * 64, hash_type="SHA256")
    (found,) = asked(tmp_path / "t").candidates
    assert (found.sha256, found.proof) == ("a" * 64, "A")


def test_what_only_a_note_links_to_is_shown_and_its_repository_tells_the_folder(folder: Path) -> None:
    url = f"{HUB}/split_files/vae/harbor_vae_bf16.safetensors"
    template(folder, "b.json", note=f"**loras**\n- [one]({url})\n- [two]({HUB}/harbor_lora.safetensors)")
    (found,) = asked(folder, name="harbor_vae_bf16.safetensors", folder="vae").candidates
    assert (found.url, found.confidence < AUTOMATIC) == (url, True)
    assert "note" in found.evidence[0]
    assert asked(folder, name="harbor_lora.safetensors", folder="loras").word is Word.FOUND


def test_a_note_says_nothing_beside_metadata(folder: Path) -> None:
    template(folder, "0.json", note=f"checkpoints\n{HUB}/{NAME}\nhttps://huggingface.co/o/r/resolve/main/{NAME}")
    (found,) = asked(folder).candidates
    assert (found.url, found.confidence) == (f"{HUB}/{NAME}", 0.92)


def test_files_that_are_no_workflows_are_passed_over(folder: Path) -> None:
    (folder / "index.json").write_text("[]")
    (folder / "broken.json").write_text("{")
    (folder / "nodes.json").write_bytes(b"\xff\xfe")
    (folder / "picture.webp").write_bytes(b"RIFF")
    assert asked(folder).word is Word.FOUND


def test_the_index_is_kept_until_the_templates_change(folder: Path, tmp_path: Path) -> None:
    kept = tmp_path / "cache" / "templates.json"
    first = ask(Templates(kept, Bundle(folder, "1")))
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    (folder / "a.json").unlink()
    assert ask(Templates(kept, Bundle(folder, "1"))) == first, "read again although nothing changed"
    assert ask(Templates(kept, Bundle(folder, "2"))).word is Word.NOT_FOUND
    assert [path.name for path in kept.parent.iterdir()] == ["templates.json"]


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[]",
        b'{"format": 1}',
        b'{"format": 1, "version": "1", "places": [[1, 2]]}',
        b'{"format": 1, "version": "1", "places": [[1, 2, 3, 4, 5, true]]}',
        b"\xff",
    ],
)
def test_a_damaged_index_is_made_anew(folder: Path, tmp_path: Path, damage: bytes) -> None:
    kept = tmp_path / "templates.json"
    kept.write_bytes(damage)
    assert ask(Templates(kept, Bundle(folder, "1"))).word is Word.FOUND
    assert json.loads(kept.read_bytes())["places"]


def test_an_index_that_cannot_be_kept_is_read_every_time(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert ask(Templates(tmp_path / "file" / "templates.json", Bundle(folder, "1"))).word is Word.FOUND


def test_without_templates_we_could_not_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(tmp_path / "nowhere").word is Word.COULD_NOT_LOOK
    monkeypatch.setattr(templates, "PACKAGE", "a_package_that_nobody_has")
    answer = ask(Templates())
    assert (answer.word, "comfyui-workflow-templates-json" in answer.why) == (Word.COULD_NOT_LOOK, True)


def test_a_pulled_leash_ends_the_reading(folder: Path) -> None:
    leash = Leash()
    leash.pull()
    with pytest.raises(Interrupted):
        Templates(bundle=Bundle(folder, "1")).look([Quest(Need("vae", "x.safetensors", ()))], leash)


@pytest.mark.slow
def test_the_installed_templates_name_hundreds_of_models(tmp_path: Path) -> None:
    kept = tmp_path / "templates.json"
    answer = ask(Templates(kept), "flux1-dev-fp8.safetensors")
    assert answer.candidates[0].url.startswith("https://huggingface.co/Comfy-Org/flux1-dev/")
    places = json.loads(kept.read_bytes())["places"]
    assert len({(folder, name) for folder, name, *_ in places}) >= 390
    assert kept.stat().st_size < 300_000

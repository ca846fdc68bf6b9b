"""comfygit's manifest and our lock file say the same kind of thing: what is needed, with digests and sources."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfy_doctor.comfyui.install import Install
from comfy_doctor.diagnose import Diagnosis
from comfy_doctor.lock import lock
from comfy_doctor.manifests.comfygit import read_comfygit
from comfy_doctor.manifests.lock_file import LockedModel, LockedUse, lock_text, read_lock
from comfy_doctor.manifests.manifest import LockedPack, Manifest, NoManifest, place_of_manifest
from comfy_doctor.needs import Criticality, Stated, Use
from download_worker.errors import Trouble
from tests import canaries

from .test_plan import had, missing

A = "a" * 64


def comfygit(folder: Path, body: str) -> Manifest:
    path = folder / ".cec/pyproject.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'[tool.comfygit]\ncomfyui_version = "v0.3.68"\n{body}', encoding="utf-8")
    found = read_comfygit(path)
    assert found is not None
    return found


TWO_WORKFLOWS = f"""
[tool.comfygit.models]
0b222b1d568748dc = {{filename = "x.safetensors", size = 12, relative_path = "loras/style/x.safetensors", \
category = "loras", sha256 = "{A.upper()}", sources = ["https://h.example/x?token={canaries.IN_URL}"]}}

[[tool.comfygit.workflows.first.models]]
filename = "x.safetensors"
category = "loras"
criticality = "optional"
status = "resolved"
hash = "0b222b1d568748dc"
nodes = [{{node_id = "5", node_type = "LoraLoader"}}]

[[tool.comfygit.workflows.second.models]]
filename = "another name.safetensors"
category = "loras"
criticality = "flexible"
hash = "0b222b1d568748dc"
sources = ["https://mirror.example/x"]
"""


def test_a_model_of_two_workflows_is_one_need_with_the_higher_criticality_and_all_sources(tmp_path: Path) -> None:
    canaries.BOOK.hold(tmp_path / ".cec/pyproject.toml")
    (need,) = comfygit(tmp_path, TWO_WORKFLOWS).needs
    assert need.key == ("loras", "style/x.safetensors")
    assert need.criticality is Criticality.FLEXIBLE
    assert [(use.workflow, use.node_id) for use in need.uses] == [("first", "5"), ("second", "")]
    assert [c.url for c in need.candidates] == ["https://h.example/x", "https://mirror.example/x"]
    assert need.stated == (Stated(A, "the manifest"),)
    assert need.candidates[0].size == 12


def test_a_model_without_a_source_is_a_need_without_candidates(tmp_path: Path) -> None:
    body = '[[tool.comfygit.workflows.w.models]]\nfilename = "x.pt"\ncategory = "clip"\nstatus = "unresolved"\n'
    (need,) = comfygit(tmp_path, body).needs
    assert (need.folder, need.name, need.candidates) == ("text_encoders", "x.pt", ())
    assert need.criticality is Criticality.REQUIRED


def test_the_short_digest_of_comfygit_is_never_taken_for_a_sha256(tmp_path: Path) -> None:
    body = '[tool.comfygit.models]\nabc123 = {filename = "x.pt", category = "vae", criticality = "required"}\n'
    (need,) = comfygit(tmp_path, body).needs
    assert need.stated == () and need.criticality is Criticality.REQUIRED


def test_older_files_nest_their_catalogue(tmp_path: Path) -> None:
    body = '[tool.comfygit.models.optional]\nabc = {filename = "x.pt", relative_path = "vae/x.pt", hash = "abc"}\n'
    (need,) = comfygit(tmp_path, body).needs
    assert (need.key, need.criticality) == (("vae", "x.pt"), Criticality.OPTIONAL)


def test_packs_are_pinned_by_version_or_by_commit(tmp_path: Path) -> None:
    commit = "c" * 40
    body = f"""
[tool.comfygit.nodes.impact]
name = "Impact"
registry_id = "comfyui-impact-pack"
repository = "https://github.com/o/impact"
version = "5.5.0"
[tool.comfygit.nodes.other]
version = "{commit}"
"""
    assert comfygit(tmp_path, body).packs == (
        LockedPack("Impact", "comfyui-impact-pack", "https://github.com/o/impact", "5.5.0"),
        LockedPack("other", commit=commit),
    )


def test_a_catalogue_of_nonsense_is_ignored_and_said(tmp_path: Path) -> None:
    body = "[tool.comfygit.models]\nx = {size = -1}\ny = 7\n[tool.comfygit.workflows]\nz = 1\n"
    found = comfygit(tmp_path, body)
    assert found.needs == () and found.ignored == ("model x: without a file name or a folder",)


def test_another_pyproject_is_no_manifest_and_a_broken_one_says_why(tmp_path: Path) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text("[tool.ruff]\n")
    assert read_comfygit(path) is None
    path.write_text("[tool.comfygit\n")
    with pytest.raises(NoManifest, match="not TOML"):
        read_comfygit(path)


def test_a_folder_stands_for_the_manifest_in_its_cec(tmp_path: Path) -> None:
    assert place_of_manifest(tmp_path) is None
    comfygit(tmp_path, "")
    assert place_of_manifest(tmp_path) == place_of_manifest(tmp_path / ".cec") == tmp_path / ".cec/pyproject.toml"
    assert place_of_manifest(tmp_path / "w.json") is None


MODELS = st.builds(
    LockedModel,
    folder=st.sampled_from(["loras", "vae"]),
    name=st.sampled_from(["x.pt", "sub/y.safetensors"]),
    sha256=st.sampled_from([None, A]),
    size=st.sampled_from([None, 0, 7]),
    sources=st.sampled_from([(), ("https://h.example/x",)]),
    criticality=st.sampled_from(Criticality),
    used_by=st.sampled_from([(), (LockedUse(workflow="w.json", node_id="1"),)]),
)


@settings(max_examples=15)
@given(st.lists(MODELS, max_size=4, unique_by=lambda model: (model.folder, model.name)))
def test_what_was_locked_is_read_again(tmp_path_factory: pytest.TempPathFactory, models: list[LockedModel]) -> None:
    path = tmp_path_factory.mktemp("lock") / "workflow.lock.json"
    packs = [LockedPack("b", commit="c" * 40), LockedPack("A", version="1")]
    path.write_text(lock_text(models, packs, "0.33.0"), encoding="utf-8")
    found = read_lock(path)
    assert found is not None
    told = {need.key: need for need in found.needs}
    assert set(told) == {(model.folder, model.name) for model in models}
    for model in models:
        need = told[model.folder, model.name]
        assert need.criticality is model.criticality
        assert [stated.sha256 for stated in need.stated] == ([model.sha256] if model.sha256 else [])
        assert [(c.url, c.size) for c in need.candidates] == [(url, model.size) for url in model.sources]
    assert {pack.name for pack in found.packs} == {"A", "b"}
    assert lock_text(models[::-1], packs[::-1], "0.33.0") == path.read_text(encoding="utf-8"), "order changes nothing"


@pytest.mark.parametrize(
    "document",
    [
        {"comfy_doctor_lock": 2, "models": []},
        {"comfy_doctor_lock": 1},
        {"comfy_doctor_lock": 1, "models": [{"folder": "vae", "name": "x", "sha256": "zz"}]},
        {"comfy_doctor_lock": 1, "models": [{"folder": "vae", "name": "x", "size": -1}]},
    ],
)
def test_a_lock_file_that_cannot_be_understood_says_why(tmp_path: Path, document: object) -> None:
    path = tmp_path / "x.lock.json"
    path.write_text(json.dumps(document))
    with pytest.raises(NoManifest):
        read_lock(path)


def test_another_json_file_is_no_lock_file(tmp_path: Path) -> None:
    path = tmp_path / "x.lock.json"
    path.write_text("[]")
    assert read_lock(path) is None


@pytest.mark.parametrize("body", ["a" + ".a" * 40_000 + "=1", '"a"' + ' . "a"' * 40_000 + "=1", "x=" + "1" * 5000])
def test_a_hostile_manifest_is_refused_at_once(tmp_path: Path, body: str) -> None:
    """The standard library takes a minute for the first, and raises a bare ValueError for the last."""
    path = tmp_path / "pyproject.toml"
    path.write_text(f"[tool.comfygit.models]\n{body}\n")
    with pytest.raises(NoManifest):
        read_comfygit(path)


def test_a_lock_does_not_tell_where_its_workflows_lay(tmp_path: Path) -> None:
    def locked(*workflows: str) -> object:
        model = missing(uses=tuple(Use(w, "1", "LoraLoader", "lora_name", active=True) for w in workflows))
        diagnosis = Diagnosis(Install(tmp_path), (), (model,), ())
        return lock(diagnosis, (), tmp_path / "w.lock.json", lambda path: "", lambda name, digest: ()).data["models"]

    assert locked("/home/z/a.json", "/home/a/b.json") == locked("/home/a/a.json", "/home/z/b.json")


def test_what_a_workflow_calls_a_url_ends_no_lock(tmp_path: Path) -> None:
    model = missing(
        candidates=(had("http://[::bad/x"), had(f"https://user:{canaries.PASSWORD}@h.example/x"), had("urn:air:x"))
    )
    install = Install(tmp_path)
    diagnosis = Diagnosis(install, (), (model,), ())
    report = lock(diagnosis, (), tmp_path / "w.lock.json", lambda path: "", lambda name, digest: ())
    assert report.data["models"][0]["sources"] == ["https://h.example/x"]
    with pytest.raises(Trouble) as caught:
        lock(diagnosis, (), Path(), lambda path: "", lambda name, digest: ())
    assert caught.value.code == "bad_lock"


def test_a_lock_takes_the_place_of_a_lock_and_of_nothing_else(tmp_path: Path) -> None:
    diagnosis = Diagnosis(Install(tmp_path), (), (missing(),), ())
    for _ in range(2):
        lock(diagnosis, (), tmp_path / "w.lock.json", lambda path: "", lambda name, digest: ())
    (tmp_path / "theirs.lock.json").write_text('{"packages": {}}')
    for name in ("theirs.lock.json", "w.json"):
        with pytest.raises(Trouble) as caught:
            lock(diagnosis, (), tmp_path / name, lambda path: "", lambda name, digest: ())
        assert caught.value.code == "bad_lock"
    assert (tmp_path / "theirs.lock.json").read_text() == '{"packages": {}}'
    assert not (tmp_path / "w.json").exists(), "`import` would not know it for a lock file"

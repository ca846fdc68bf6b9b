"""Large libraries, long workflows and hundreds of packs: the same answers as with a handful, and no more work than due.

Nothing here looks at a clock: what would be superlinear is counted, or would not end in the suite's own time limit.
`python -m tests.bench.diagnosis` has the figures.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from comfy_doctor.comfyui import shelves
from comfy_doctor.comfyui.install import Install
from comfy_doctor.comfyui.packs import InstalledPack, Packs
from comfy_doctor.comfyui.shelves import Inventory, State
from comfy_doctor.diagnose import diagnose
from comfy_doctor.needs import PackClue
from comfy_doctor.node_packs import owners
from comfy_doctor.node_packs.index import PackIndex, index_of, mark_of
from comfy_doctor.resolvers.templates import CouldNotRead, installed_bundle

from .drawing import node, saved, ui

pytestmark = pytest.mark.slow

FILES, FOLDERS = 20_000, 100


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Install:
    root = tmp_path_factory.mktemp("ComfyUI")
    for number in range(FILES):
        path = root / "models/loras" / f"sub{number % FOLDERS}" / f"style_{number}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return Install(root)


def test_a_library_of_many_files_is_walked_once_and_answers_name_by_name(
    library: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    walked: list[Any] = []
    monkeypatch.setattr(os, "scandir", _noting(walked, os.scandir))
    looked = Inventory(library)
    for number in range(0, FILES, 7):
        name = f"sub{number % FOLDERS}/style_{number}.safetensors"
        found = looked.look_up("loras", name)
        assert (found.state, found.path) == (State.PRESENT, library.models_root / "loras" / name)
    assert len(walked) == 1 + FOLDERS
    elsewhere = looked.look_up("loras", "old/STYLE_7.safetensors")
    assert (elsewhere.state, elsewhere.relink) == (State.ELSEWHERE, "sub7/style_7.safetensors")


def test_paths_are_made_for_the_files_that_are_asked_for_and_for_no_others(
    library: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    monkeypatch.setattr(shelves, "Path", _noting(made, Path))
    looked = Inventory(library)
    assert looked.look_up("loras", "sub1/style_1.safetensors").state is State.PRESENT
    assert looked.look_up("loras", "gone.safetensors").state is State.MISSING
    assert len(made) < 10 * FOLDERS


def test_thousands_of_missing_models_in_a_large_library_are_all_told_and_some_with_near_names(
    library: Install, tmp_path: Path
) -> None:
    names = [f"sub3/style_{FILES + number}.safetensors" for number in range(1_000)]
    path = saved(tmp_path / "w.json", ui(*(node(i, "LoraLoader", name, 1, 1) for i, name in enumerate(names))))
    models = diagnose([path], library).models
    assert [model.need.name for model in models] == names
    assert {model.state for model in models} == {State.MISSING}
    assert models[0].near and all(near.name.startswith("sub") for near in models[0].near)


def test_the_packs_of_ten_thousand_clues_are_found_without_reading_all_names_for_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[Any] = []
    names = vars(InstalledPack)["names"].fget
    monkeypatch.setattr(InstalledPack, "names", property(_noting(read, names)))
    many = tuple(InstalledPack(Path(f"/c/Pack_{i}"), id=f"id-{i}", disabled=i % 2 == 0) for i in range(500))
    packs = Packs(packs=many)
    for turn in range(20):
        assert [packs.find(PackClue(cnr_id=f"pack-{i}")) for i in range(500)] == list(many), turn
    assert packs.find(PackClue(aux_id="somebody/ID_7")) is many[7]
    assert packs.find(PackClue(cnr_id="unheard-of")) is None
    assert len(read) == len(many)


def test_of_two_packs_with_one_name_the_loaded_one_is_found_whatever_the_clue(tmp_path: Path) -> None:
    off, on = InstalledPack(tmp_path / "a", id="same", disabled=True), InstalledPack(tmp_path / "b", id="same")
    packs = Packs(packs=(off, on))
    assert packs.find(PackClue(cnr_id="same")) is on
    assert packs.find(PackClue(cnr_id="a")) is off
    assert packs.find(PackClue(cnr_id="same", aux_id="o/a")) is on


def test_a_mark_is_looked_up_in_the_map_once_for_all_types(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {f"https://github.com/o/p{i}": [[f"Type {i} {k} (mark{i})" for k in range(5)], {}] for i in range(200)}
    index: PackIndex = index_of(known, {"custom_nodes": []})
    searched: list[Any] = []
    monkeypatch.setattr("comfy_doctor.node_packs.index.mark_of", _noting(searched, mark_of))
    for i in range(200):
        for k in range(5):
            choice = owners.choose(f"New {k} (mark{i})", (), index)
            assert (choice.repository, choice.came_from) == (f"https://github.com/o/p{i}", "pattern")
    assert len(searched) == len(index.owners)


def test_every_official_template_is_read_without_an_error(tmp_path: Path) -> None:
    try:
        folder = installed_bundle().folder
    except CouldNotRead as error:
        pytest.skip(str(error))
    names = [file for file in folder.iterdir() if file.name.endswith(".json") and not file.name.startswith("index")]
    for twin in range(2):
        for file in names:
            (tmp_path / f"{twin}_{file.name}").write_bytes(file.read_bytes())
    (tmp_path / "ComfyUI/models").mkdir(parents=True)
    found = diagnose([tmp_path], Install(tmp_path / "ComfyUI"))
    assert len(found.cases) == 2 * len(names)
    assert not [case.document.path for case in found.cases if case.document.failed or case.document.body is not None]
    asked = {(model.need.folder, model.need.name) for model in found.models}
    assert len(asked) == len(found.models), "twins ask for the same models, each is told once"


def _noting(calls: list[Any], real: Any) -> Any:
    def noted(*args: Any, **named: Any) -> Any:
        calls.append(args)
        return real(*args, **named)

    return noted

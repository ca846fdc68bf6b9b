"""Node packs on this disk: who they are, and which of them registers a node type. Nothing of them is run."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from comfy_doctor.comfyui import pack_types
from comfy_doctor.comfyui.git_folder import head_commit, origin_url, repository_url
from comfy_doctor.comfyui.packs import InstalledPack, Packs, installed_packs, read_packs
from comfy_doctor.needs import PackClue
from tests import canaries

COMMIT = "13b4399c00b5ef5a97b1b6800fc1185874740f5d"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def checkout(folder: Path, url: str = "https://github.com/owner/pack.git") -> Path:
    write(
        folder / ".git/config", f'[core]\n\tbare = false\n[remote "up"]\n\turl = /x\n[remote "origin"]\n\turl = {url}\n'
    )
    write(folder / ".git/HEAD", "ref: refs/heads/main\n")
    write(folder / ".git/refs/heads/main", COMMIT + "\n")
    return folder


def pack(root: Path, name: str, code: str, file: str = "__init__.py") -> None:
    write(root / name / file, code)


def the_only(root: Path) -> InstalledPack:
    (found,) = read_packs([root])
    return found


# Who they are


def test_a_checkout_tells_its_repository_and_commit(tmp_path: Path) -> None:
    checkout(tmp_path / "pack")
    write(tmp_path / "pack/pyproject.toml", '[project]\nname = "pack-id"\nversion = "1.2.3"\n')
    found = the_only(tmp_path)
    assert found == InstalledPack(
        tmp_path / "pack", "pack-id", "https://github.com/owner/pack", "1.2.3", COMMIT, disabled=False
    )


def test_a_pack_of_the_registry_tells_by_its_project_file(tmp_path: Path) -> None:
    text = '[project]\nname = "x"\nversion = "2.0"\n[project.urls]\nRepository = "https://github.com/o/x"\n'
    write(tmp_path / "x/pyproject.toml", text)
    found = the_only(tmp_path)
    assert (found.id, found.repository, found.version, found.commit) == ("x", "https://github.com/o/x", "2.0", None)


@pytest.mark.parametrize(
    ("place", "name", "disabled"),
    [
        ("one", "one", False),
        ("one.disabled", "one", True),
        (".disabled/one@1_0_2", "one", True),
        (".disabled/one", "one", True),
    ],
)
def test_packs_that_are_switched_off_are_named_as_such(tmp_path: Path, place: str, name: str, disabled: bool) -> None:
    write(tmp_path / place / "__init__.py", "")
    found = the_only(tmp_path)
    assert (found.name, found.disabled) == (name, disabled)
    packs = installed_packs([tmp_path])
    assert packs.find(PackClue("ONE")) == found and packs.find(PackClue("two")) is None


def test_a_pack_that_is_loaded_is_found_before_its_switched_off_twin(tmp_path: Path) -> None:
    for name in (".disabled/one@1", "one"):
        write(tmp_path / name / "__init__.py", "")
    found = installed_packs([tmp_path]).find(PackClue("one"))
    assert found is not None and not found.disabled


def test_one_python_file_is_a_pack_and_core_s_own_is_none(tmp_path: Path) -> None:
    for name in (
        "mine.py",
        "websocket_image_save.py",
        "example_node.py.example",
        "notes.txt",
        ".hidden",
        "off.py.disabled",
    ):
        write(tmp_path / name, "")
    (tmp_path / "__pycache__").mkdir()
    assert [(found.name, found.disabled) for found in read_packs([tmp_path, tmp_path / "gone"])] == [
        ("mine", False),
        ("off", True),
    ]


def test_a_folder_is_known_by_its_repository_too(tmp_path: Path) -> None:
    checkout(tmp_path / "renamed_by_me")
    assert installed_packs([tmp_path]).find(PackClue(None, "owner/pack")) is not None


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("git@github.com:owner/pack.git", "https://github.com/owner/pack"),
        ("ssh://git@github.com/owner/pack", "https://github.com/owner/pack"),
        (f"https://user:{canaries.PASSWORD}@github.com/owner/pack/", "https://github.com/owner/pack"),
        ("git://github.com/owner/pack.git", "https://github.com/owner/pack"),
        ("/home/me/pack", None),
        ("../pack", None),
        ("file:///home/me", None),
        ("https://[bad", None),
    ],
)
def test_an_origin_is_told_as_a_plain_address_without_secrets(tmp_path: Path, written: str, url: str | None) -> None:
    assert repository_url(written) == url
    folder = checkout(tmp_path / "p", written)
    canaries.BOOK.hold(folder / ".git/config")
    assert origin_url(folder) == url


def test_a_commit_is_found_wherever_git_keeps_it(tmp_path: Path) -> None:
    detached = checkout(tmp_path / "detached")
    write(detached / ".git/HEAD", COMMIT)
    packed = checkout(tmp_path / "packed")
    (packed / ".git/refs/heads/main").unlink()
    write(packed / ".git/packed-refs", f"# pack-refs with: peeled\n{COMMIT} refs/heads/main\n^{COMMIT}\n")
    linked = tmp_path / "linked"
    write(linked / ".git", f"gitdir: {tmp_path}/packed/.git/worktrees/linked\n")
    write(tmp_path / "packed/.git/worktrees/linked/HEAD", "ref: refs/heads/main\n")
    write(tmp_path / "packed/.git/worktrees/linked/commondir", "../..\n")
    loose = checkout(tmp_path / "loose")
    beside = tmp_path / "beside"
    write(beside / ".git", f"gitdir: {loose}/.git/worktrees/beside\n")
    write(loose / ".git/worktrees/beside/HEAD", "ref: refs/heads/main\n")
    write(loose / ".git/worktrees/beside/commondir", "../..\n")
    assert [head_commit(folder) for folder in (detached, packed, linked, beside)] == [COMMIT] * 4
    assert origin_url(linked) == "https://github.com/owner/pack"


@pytest.mark.parametrize("head", ["", "ref: ../../secret", "ref: refs/heads/../../../secret", "\0", "abc"])
def test_a_hostile_head_tells_nothing(tmp_path: Path, head: str) -> None:
    folder = checkout(tmp_path / "p")
    write(tmp_path / "p/secret", COMMIT)
    write(folder / ".git/HEAD", head)
    assert head_commit(folder) is None


# Who registers a type


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("__init__.py", 'NODE_CLASS_MAPPINGS = {\n  "My Node": MyNode}'),
        ("__init__.py", "NODE_CLASS_MAPPINGS['My Node'] = MyNode"),
        ("nodes/a.py", 'IMAGE_CLASS_MAPPINGS = {"My Node" : X}'),
        ("v3.py", 'io.Schema(node_id="My Node", category="x")'),
        ("deco.py", '@register_node("My Node")\nclass X: ...'),
        ("web/a.js", 'LiteGraph.registerNodeType(\n  "My Node", X)'),
        ("web/b.js", "class X { static title = 'My Node' }\nLiteGraph.registerNodeType(X.title, X)"),
    ],
)
def test_the_pack_whose_code_registers_a_type_brings_it(tmp_path: Path, file: str, code: str) -> None:
    pack(tmp_path, "other", "NODE_CLASS_MAPPINGS = {}")
    pack(tmp_path, "mine", code, file)
    packs = installed_packs([tmp_path])
    found = packs.find_types(["My Node", "Another"])
    assert {name: entry.name for name, entry in found.items()} == {"My Node": "mine"}
    assert packs.draws("My Node") is file.endswith(".js")


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("__init__.py", '# NODE_CLASS_MAPPINGS\nif node.type == "My Node": pass'),
        ("__init__.py", 'x = nodes.NODE_CLASS_MAPPINGS["My Node"]()'),
        ("__init__.py", 'NODE_CLASS_MAPPINGS["My Node"] == X'),
        ("web/a.js", 'if (node.type === "My Node") {}'),
        ("web/a.js", 'LiteGraph.registerNodeType("My Node 2")\nif (a === "My Node") {}'),
        ("README.md", 'NODE_CLASS_MAPPINGS = {"My Node": 1}'),
        ("node_modules/a.js", 'LiteGraph.registerNodeType("My Node", X)'),
    ],
)
def test_a_type_that_is_only_spoken_of_is_nobody_s(tmp_path: Path, file: str, code: str) -> None:
    pack(tmp_path, "mine", code, file)
    assert installed_packs([tmp_path]).find_types(["My Node"]) == {}


def test_signed_types_are_believed_of_a_pack_with_that_name_only(tmp_path: Path) -> None:
    pack(tmp_path, "rgthree-comfy", "NAME = get_name('Seed')", "py/seed.py")
    pack(tmp_path, "someone", "NAME = get_name('Label')")
    found = installed_packs([tmp_path]).find_types(["Seed (rgthree)", "Label (rgthree)"])
    assert set(found) == {"Seed (rgthree)"}


def test_a_pack_that_is_loaded_brings_a_type_before_one_that_is_not(tmp_path: Path) -> None:
    for name in ("a.disabled", "b"):
        pack(tmp_path, name, 'NODE_CLASS_MAPPINGS = {"N": 1}')
    packs = installed_packs([tmp_path])
    assert packs.find_types(["N"])["N"].name == "b"
    (only_off,) = [entry for entry in packs.packs if entry.disabled]
    assert Packs(packs=(only_off,)).find_types(["N"])["N"].disabled


def test_a_search_is_bounded_and_done_once_per_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack(tmp_path, "mine", 'NODE_CLASS_MAPPINGS = {"Late": 1}', "z.py")
    pack(tmp_path, "mine", "x = 1", "a.py")
    packs = installed_packs([tmp_path])
    with monkeypatch.context() as patched:
        patched.setattr(pack_types, "MAX_FILES_PER_PACK", 1)
        assert packs.find_types(["Late"]) == {}
    assert packs.find_types(["Late"]) == {}, "asked again, looked once"
    assert set(installed_packs([tmp_path]).find_types(["Late"])) == {"Late"}


# What lies in custom_nodes may be anything


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no fifos")
def test_a_fifo_in_a_pack_is_not_waited_for(tmp_path: Path) -> None:
    pack(tmp_path, "a", 'NODE_CLASS_MAPPINGS = {"Real": 1}\n', "real.py")
    for name in ("fifo.py", "pyproject.toml", ".git"):
        os.mkfifo(tmp_path / "a" / name)
    (tmp_path / "b/.git").mkdir(parents=True)
    for name in ("config", "HEAD"):
        os.mkfifo(tmp_path / "b/.git" / name)
    packs = installed_packs([tmp_path])
    assert [found.name for found in packs.packs] == ["a", "b"]
    assert packs.find_types(["Real"])["Real"].name == "a"


def test_a_name_with_half_a_character_is_in_no_file(tmp_path: Path) -> None:
    pack(tmp_path, "a", "NODE_CLASS_MAPPINGS = {}\n")
    assert not installed_packs([tmp_path]).find_types(["\ud800"])


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("__init__.py", 'CLASS_MAPPINGS "Name"' + "\n" * 400_000),
        ("__init__.py", 'CLASS_MAPPINGS "Name"' + "register" * 50_000),
        ("web.js", 'registerNodeType; "Name"' + "type:" + " " * 400_000),
    ],
)
def test_the_time_for_a_file_grows_with_its_length_only(tmp_path: Path, file: str, code: str) -> None:
    pack(tmp_path, "a", code, file)
    begun = time.process_time()
    assert not installed_packs([tmp_path]).find_types(["Name"])
    assert time.process_time() - begun < 1

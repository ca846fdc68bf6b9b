"""Files that are here already: only equal bytes count, only files of the right size are read, and within a budget."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from comfy_doctor.comfyui.install import Install
from comfy_doctor.comfyui.shelves import Inventory
from comfy_doctor.library.digests import Digests
from comfy_doctor.needs import Candidate, Need, Stated
from comfy_doctor.resolvers.local import LocalFiles, Shelves, shelves_of
from comfy_doctor.resolvers.resolver import AUTOMATIC, Answer, Quest, Word
from download_worker.errors import Interrupted
from download_worker.leash import Leash

SIZE = 4096
NAME = "harbor.safetensors"


@pytest.fixture
def install(tmp_path: Path) -> Install:
    (tmp_path / "comfy" / "models" / "loras" / "sub").mkdir(parents=True)
    (tmp_path / "comfy" / "models" / "checkpoints").mkdir(parents=True)
    return Install(tmp_path / "comfy")


def put(install: Install, name: str, content: bytes) -> Path:
    path = install.models_root / name
    path.write_bytes(content)
    return path


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def source(install: Install, tmp_path: Path, **more: Any) -> LocalFiles:
    digests = Digests(tmp_path / "digests.db", now=lambda: 4e9)
    return LocalFiles(lambda: shelves_of(Inventory(install)), digests, **more)


def quest(digest: str, size: int | None = SIZE, *, asked_for: bool = True, confidence: float = 0.6) -> Quest:
    known = Candidate("https://e.com/x", NAME, "loras", "huggingface", size=size, sha256=digest, confidence=confidence)
    stated = (Stated(digest, "the workflow"),) if asked_for else ()
    return Quest(Need("loras", NAME, (), stated=stated), (known,))


def look(local: LocalFiles, *quests: Quest) -> Answer:
    return next(iter(local.look(quests, Leash()).values()))


def test_the_same_bytes_under_another_name_in_another_folder_are_found(install: Install, tmp_path: Path) -> None:
    content = os.urandom(SIZE)
    path = put(install, "checkpoints/other name.safetensors", content)
    put(install, "loras/same size.safetensors", os.urandom(SIZE))
    (found,) = look(source(install, tmp_path), quest(sha256(content))).candidates
    assert (found.url, found.source, found.proof, found.confidence) == (path.as_uri(), "local", "B", 1.0)
    assert (found.filename, found.folder, found.size, found.sha256) == (NAME, "loras", SIZE, sha256(content))
    assert str(path) in found.evidence[0]


def test_a_digest_that_only_a_search_proposes_makes_the_file_no_surer_than_the_search(
    install: Install, tmp_path: Path
) -> None:
    content = os.urandom(SIZE)
    put(install, "loras/a.safetensors", content)
    (found,) = look(source(install, tmp_path), quest(sha256(content), asked_for=False)).candidates
    assert found.confidence == 0.6 < AUTOMATIC


def test_only_files_of_exactly_this_size_are_read(install: Install, tmp_path: Path) -> None:
    for number in range(-2, 3):
        put(install, f"loras/{number}.safetensors", os.urandom(SIZE + number))
    local = source(install, tmp_path, budget_bytes=SIZE)
    assert look(local, quest("0" * 64)).word is Word.NOT_FOUND


def test_beyond_the_budget_we_could_not_look(install: Install, tmp_path: Path) -> None:
    for number in range(3):
        put(install, f"loras/{number}.safetensors", os.urandom(SIZE))
    answer = look(source(install, tmp_path, budget_bytes=2 * SIZE), quest("0" * 64))
    assert answer.word is Word.COULD_NOT_LOOK
    assert "was not read" in answer.why


def test_what_was_read_once_costs_no_budget(install: Install, tmp_path: Path) -> None:
    content = os.urandom(SIZE)
    put(install, "loras/a.safetensors", content)
    assert look(source(install, tmp_path), quest(sha256(content))).word is Word.FOUND
    assert look(source(install, tmp_path, budget_bytes=0), quest(sha256(content))).word is Word.FOUND


def test_without_a_digest_or_a_size_nothing_is_said_and_nothing_walked(install: Install, tmp_path: Path) -> None:
    def never() -> Shelves:
        raise AssertionError("nobody asked for a walk")

    local = LocalFiles(never, Digests(tmp_path / "digests.db"))
    nameless = Quest(Need("loras", NAME, ()))
    assert local.look([nameless, quest("0" * 64, size=None)], Leash()) == {}


def test_a_stated_digest_takes_the_size_of_whoever_tells_one(install: Install, tmp_path: Path) -> None:
    content = os.urandom(SIZE)
    put(install, "loras/a.safetensors", content)
    sized = Candidate("https://e.com/x", NAME, "loras", "note", size=SIZE, confidence=0.5)
    asked = Quest(Need("loras", NAME, (), stated=(Stated(sha256(content), "the manifest"),)), (sized,))
    assert look(source(install, tmp_path), asked).candidates[0].confidence == 1.0


def test_a_file_that_several_folders_list_is_read_once(install: Install, tmp_path: Path) -> None:
    path = put(install, "loras/a.safetensors", os.urandom(SIZE))
    (install.models_root / "checkpoints" / "link.safetensors").symlink_to(path)
    (install.models_root / "loras" / "hard.safetensors").hardlink_to(path)
    shelves = shelves_of(Inventory(install))
    assert len(shelves.by_size[SIZE]) == 1


def test_a_file_or_folder_that_cannot_be_read_is_never_not_found(tmp_path: Path) -> None:
    digests = Digests(tmp_path / "digests.db")
    gone = LocalFiles(lambda: Shelves({SIZE: (tmp_path / "gone",)}), digests)
    assert look(gone, quest("0" * 64)).word is Word.COULD_NOT_LOOK
    closed = LocalFiles(lambda: Shelves({}, (tmp_path / "closed",)), digests)
    answer = look(closed, quest("0" * 64))
    assert (answer.word, "closed" in answer.why) == (Word.COULD_NOT_LOOK, True)


def test_a_pulled_leash_ends_it(install: Install, tmp_path: Path) -> None:
    put(install, "loras/a.safetensors", os.urandom(SIZE))
    leash = Leash()
    leash.pull()
    with pytest.raises(Interrupted):
        source(install, tmp_path).look([quest("0" * 64)], leash)

"""T25: `civitai_hash` counts only when Civitai itself publishes the digest of these bytes for this version."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from download_worker.errors import Code, GiveUp, Interrupted, TryLater
from download_worker.leash import Leash
from download_worker.settings import Settings
from download_worker.verifiers.published import CivitaiPublished, nobody_publishes
from tests.jobs import make_info

SHA256 = "ab" * 32
INFO = make_info(source="civitai_hash", download_url="https://civitai.com/api/download/models/128713?type=Model")


def version(digest: object = SHA256.upper(), number: object = 128713) -> dict[str, Any]:
    return {"id": number, "files": [{"hashes": {"SHA256": "CD" * 32}}, {"hashes": {"SHA256": digest}}]}


class Civitai:
    def __init__(self, answer: object | Callable[[], object]) -> None:
        self.answer = answer
        self.asked: list[str] = []

    def __call__(self, url: str, *, leash: Leash | None = None) -> object:
        self.asked.append(url)
        return self.answer() if callable(self.answer) else self.answer


def publishes(civitai: Civitai, info: Any = INFO, sha256: str = SHA256) -> bool:
    settings = Settings(home=Path("/nowhere"), civitai_endpoint="http://127.0.0.1:9/mirror/")
    return CivitaiPublished(settings, civitai)(info, sha256, Leash())


def test_a_published_digest_in_upper_case_is_the_same_digest() -> None:
    civitai = Civitai(version())
    assert publishes(civitai)
    assert civitai.asked == [f"http://127.0.0.1:9/mirror/api/v1/model-versions/by-hash/{SHA256}"]


WRONG = {
    "another digest": version("EF" * 32),
    "a digest that only begins alike": version(SHA256[:10].upper()),
    "no files": {"id": 128713, "files": []},
    "archived": {"id": 128713, "files": None},
    "no hashes": {"id": 128713, "files": [{}]},
    "an error": {"error": "Model not found"},
    "a list": [version()],
    "null": None,
    "a text": SHA256,
    "hashes of another shape": {
        "id": 128713,
        "files": [{"hashes": [SHA256]}, {"hashes": {"SHA256": [SHA256]}}, SHA256],
    },
    "another version than the URL names": version(number=7),
    "a version number that is a text": version(number="128713"),
    "a version number that is true": version(number=True),
}


@pytest.mark.parametrize("what", WRONG)
def test_t25_anything_else_is_a_no(what: str) -> None:
    assert not publishes(Civitai(WRONG[what]))


def test_a_digest_in_the_job_names_the_version_as_well_as_the_url_does() -> None:
    info = INFO.model_copy(update={"sha256": SHA256.upper()})
    assert publishes(Civitai(version(number=7)), info)


def test_a_url_without_a_version_leaves_it_to_the_digest() -> None:
    info = INFO.model_copy(update={"download_url": "https://mirror.example/x.safetensors"})
    assert publishes(Civitai(version()), info)


@pytest.mark.parametrize("trouble", [GiveUp(Code.NOT_FOUND, "404"), TryLater(Code.NO_CONNECTION, "x"), ValueError("x")])
def test_t25_any_trouble_is_a_no(trouble: Exception) -> None:
    def fail() -> object:
        raise trouble

    assert not publishes(Civitai(fail))


def test_a_pulled_leash_is_no_answer() -> None:
    def stop() -> object:
        raise Interrupted

    with pytest.raises(Interrupted):
        publishes(Civitai(stop))


@pytest.mark.parametrize("digest", ["", "../../../admin", SHA256.upper(), SHA256 + "\n"])
def test_nothing_but_a_digest_gets_into_the_url(digest: str) -> None:
    civitai = Civitai(version())
    assert not publishes(civitai, sha256=digest)
    assert civitai.asked == []


def test_without_a_network_nobody_publishes_anything() -> None:
    assert not nobody_publishes(INFO, SHA256, Leash())

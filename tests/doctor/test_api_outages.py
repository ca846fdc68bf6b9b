"""Show 5: whatever breaks at Hugging Face or Civitai ends in "could not look", and is never shown as "not found"."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from comfy_doctor.asking import AnswerCache, Asker
from comfy_doctor.needs import Need, Stated
from comfy_doctor.resolve import Resolution, resolve
from comfy_doctor.resolvers.civitai import CivitaiPlaces, CivitaiSearch
from comfy_doctor.resolvers.huggingface import HuggingFaceFiles, HuggingFaceSearch
from comfy_doctor.resolvers.resolver import Quest, Resolver, Word
from comfy_doctor.sites import HubFile
from download_worker.clock import FakeClock
from download_worker.leash import Leash
from download_worker.settings import Settings
from download_worker.web.session import Web
from tests.doctor.replay import Exchange, Replay, hurried, named, web_to

PAGE = Exchange("", "GET", "/", 200, headers=(("Content-Type", "text/html"),), said="<html>please log in</html>")
OUTAGES = {
    "refused": None,
    "hang": replace(PAGE, breaks="hang"),
    "cut": Exchange("", "GET", "/", 200, said=[{"id": "a/b"}], breaks="cut"),
    "hang up": replace(PAGE, status=None),
    **{f"html {status}": replace(PAGE, status=status) for status in (200, 401, 403, 404, 410, 500, 502)},
    "json of a gateway": Exchange("", "GET", "/", 200, said={"error": "log in first"}),
    "500": Exchange("", "GET", "/", 500),
    "503": Exchange("", "GET", "/", 503, headers=(("Retry-After", "3600"),)),
}
"""None: nobody listens there. A page in HTML is what some network in between says, whatever its status."""
MORE_OF_A_KIND = frozenset({"html 401", "html 403", "html 410", "html 502", "503"})
SLOW = pytest.mark.slow
NAME = "Moonlit-Harbor-Watercolor-v2.safetensors"
HINTED = Need(
    "loras",
    NAME,
    (),
    stated=(Stated("1" * 64, "the workflow"),),
    hints=("https://huggingface.co/a/b", "https://civitai.com/models/215485"),
)
PLACES = (HubFile("a/b", "main", NAME).url, "https://civitai.com/api/download/models/242807")


def all_sources(asker: Asker, clock: FakeClock) -> list[Resolver]:
    search = HuggingFaceSearch(asker, publishers=("Comfy-Org",))
    return [HuggingFaceFiles(asker), search, CivitaiPlaces(asker, clock), CivitaiSearch(asker, clock)]


def resolved(need: Need, base: str, clock: FakeClock) -> Resolution:
    asker = hurried(web_to(base, clock=clock, stall_seconds=0.05), clock)
    return resolve([need], all_sources(asker, clock))[need.key]


@pytest.fixture
def host() -> Iterator[Replay]:
    with Replay() as host:
        yield host


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address where no one listens, and nobody else begins to."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@pytest.mark.slow
@pytest.mark.parametrize(
    "outage", [pytest.param(each, marks=SLOW if each in MORE_OF_A_KIND else ()) for each in OUTAGES]
)
def test_an_outage_is_never_not_found(outage: str, host: Replay, nobody: str, clock: FakeClock) -> None:
    exchange = OUTAGES[outage]
    if exchange is not None:
        host.play(exchange)
    base = nobody if exchange is None else host.base
    found = resolved(HINTED, base, clock)
    assert [each.word for each in found.asked] == [Word.COULD_NOT_LOOK] * 4, found.asked
    assert found.why.startswith("could not look everywhere") and found.choice is None and not found.candidates
    assert all(f"{each.source}: {each.why}" in found.why and each.why for each in found.asked)
    for url in PLACES:
        known = named(url, "loras")
        asked = resolved(known, base, clock)
        assert {each.word for each in asked.asked} == {Word.COULD_NOT_LOOK}, asked.asked
        assert asked.candidates == known.candidates, "what somebody named stands as it was"


def test_one_source_that_could_not_look_is_said_beside_those_that_found_nothing(
    host: Replay, nobody: str, clock: FakeClock
) -> None:
    host.play(Exchange("", "GET", "/", 200, said=[]))
    settings = Settings(hf_endpoint=host.base, civitai_endpoint=nobody, home=Path("/nowhere"))
    asker = hurried(Web(settings, clock=clock), clock)
    found = resolve([HINTED], all_sources(asker, clock))[HINTED.key]
    assert [each.word for each in found.asked] == [Word.NOT_FOUND] * 2 + [Word.COULD_NOT_LOOK] * 2
    assert found.why.startswith("could not look everywhere: Civitai: ") and "not found" not in found.why


def test_a_page_in_between_is_not_remembered(host: Replay, clock: FakeClock, tmp_path: Path) -> None:
    web, cache = web_to(host.base, clock=clock), AnswerCache(tmp_path / "answers.db", clock)
    resolver = HuggingFaceFiles(Asker(web, cache, clock, patience_seconds=0))
    known = named(PLACES[0], "loras")
    linked = Quest(known, known.candidates)
    noted = Quest(Need("loras", NAME, (), hints=HINTED.hints))
    for quest, answer in ((linked, PAGE), (noted, PAGE)):
        host.play(replace(answer, status=404))
        assert resolver.look([quest], Leash())[known.key].word is Word.COULD_NOT_LOOK
    gone = (("X-Error-Code", "EntryNotFound"), ("X-Repo-Commit", "a" * 40))
    host.play(Exchange("", "HEAD", "/", 404, headers=gone), Exchange("", "GET", "/", 200, said=[]))
    for quest in (linked, noted):
        assert resolver.look([quest], Leash())[known.key].word is Word.NOT_FOUND

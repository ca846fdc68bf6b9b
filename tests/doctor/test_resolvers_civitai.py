"""Civitai as a source, through the real client against a Civitai on the loopback: every answer ends in its word."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from comfy_doctor.asking import Asker
from comfy_doctor.needs import Candidate, Need, Stated
from comfy_doctor.resolvers.civitai import CivitaiPlaces, CivitaiSearch
from comfy_doctor.resolvers.civitai.search import TELLING_NAME
from comfy_doctor.resolvers.resolver import AUTOMATIC, Answer, Quest, Resolver, Word
from download_worker.clock import FakeClock
from download_worker.errors import Code, Interrupted, Trouble
from download_worker.leash import Leash
from download_worker.settings import Settings
from download_worker.web.session import Question, Web
from tests import canaries
from tests.hub import civitai
from tests.hub.civitai import Civitai, Json, Said, file, model, version

SAMPLES = Path(__file__).parents[3] / "shared" / "api_samples"
recorded_answers = pytest.mark.skipif(not SAMPLES.is_dir(), reason=f"the recorded answers are not at {SAMPLES}")

ONE, TWO, THREE = "1" * 64, "2" * 64, "3" * 64
LORA = "sd_xl_turbo_lora_v1.safetensors"
LORA_SHA256 = "a599c42a9f4f7494c7f410dbc0fd432cf0242720509e9d52fa41aac7a88d1b69"
LORA_BYTES = 787_342_192
TELLING = "Moonlit-Harbor-Watercolor-v2.safetensors"


@pytest.fixture
def host() -> Iterator[Civitai]:
    with Civitai() as host:
        yield host


@pytest.fixture
def clock() -> FakeClock:
    clock = FakeClock()
    clock.wall = datetime(2026, 8, 1, tzinfo=UTC)
    return clock


@pytest.fixture
def asker(host: Civitai, clock: FakeClock) -> Asker:
    def pause(leash: Leash, seconds: float) -> None:
        leash.check()
        clock.advance(seconds)

    settings = Settings(civitai_endpoint=host.base, stall_timeout_seconds=5)
    return Asker(Web(settings, clock=clock), None, clock, pause=pause)


Ask = Callable[..., Answer]


@pytest.fixture
def places(asker: Asker, clock: FakeClock) -> Ask:
    return asking(CivitaiPlaces(asker, clock))


@pytest.fixture
def search(asker: Asker, clock: FakeClock) -> Ask:
    return asking(CivitaiSearch(asker, clock))


def asking(resolver: Resolver) -> Ask:
    def ask(quest: Quest) -> Answer:
        return resolver.look([quest], Leash())[quest.need.key]

    return ask


def quest(name: str = LORA, folder: str | None = "loras", **more: Any) -> Quest:
    known, families = more.pop("known", ()), more.pop("families", frozenset())
    return Quest(Need(folder, name, (), candidates=tuple(known), **more), tuple(known), families)


def stated(*digests: str) -> dict[str, Any]:
    return {"stated": tuple(Stated(digest, "the workflow") for digest in digests)}


def embedded(url: str, name: str = LORA, **more: Any) -> Candidate:
    return Candidate(url, name, "loras", "embedded", confidence=0.9, **more)


def only(answer: Answer) -> Candidate:
    assert answer.word is Word.FOUND, answer
    (candidate,) = answer.candidates
    return candidate


def sample(name: str) -> Any:
    return json.loads((SAMPLES / f"civitai_{name}.json").read_text(encoding="utf-8"))


def harbor(
    *files: Json, number: int = 7, name: str = "Moonlit Harbor Watercolor", kind: str = "LORA", **of: Any
) -> Json:
    return model(number, name, kind, version(number * 10, *files, **of))


# By digest


@recorded_answers
def test_the_recorded_lora_is_found_by_its_digest_and_is_certain(host: Civitai, places: Ask) -> None:
    host.models.append(sample("model_215485")["response"]["body"])
    found = only(places(quest("renamed by me.safetensors", **stated(LORA_SHA256))))
    assert (found.source, found.proof, found.confidence) == ("civitai_hash", "A", 1.0)
    assert (found.sha256, found.size) == (LORA_SHA256, LORA_BYTES)
    assert found.url == "https://civitai.com/api/download/models/242807"
    assert found.page == "https://civitai.com/models/215485?modelVersionId=242807"
    assert (found.filename, found.folder, found.obstacle) == ("renamed by me.safetensors", "loras", None)


@recorded_answers
def test_the_stand_in_answers_as_it_was_recorded(host: Civitai, asker: Asker) -> None:
    """Else every other test here proves nothing: the same keys, the same places for what we read."""
    host.models.append(sample("model_215485")["response"]["body"])
    for name in ("by_hash_hit", "model_version_242807", "model_215485"):
        recorded = sample(name)
        told = asker.json(recorded["request"]["url"])
        real = recorded["response"]["body"]
        assert set(real) - {"downloadUrl"} <= set(told), name
        assert told["id"] == real["id"]
        if "files" in real:
            assert (told["files"], told["model"]["type"], told["modelId"]) == (real["files"], "LORA", 215485)
    bulk = sample("by_hash_bulk_ids")
    assert asker.json(bulk["request"]["url"], body=bulk["request"]["body"]) == bulk["response"]["body"]
    made = file("x.safetensors", ONE, 10)
    real = sample("model_version_242807")["response"]["body"]["files"][0]
    assert set(made) | {"downloadUrl", "scannedAt"} == set(real)


def test_one_digest_is_one_question_and_a_miss_is_not_found(host: Civitai, places: Ask) -> None:
    answer = places(quest(**stated("0" * 64)))
    assert answer.word is Word.NOT_FOUND
    assert [(asked.method, asked.path) for asked in host.requests] == [
        ("GET", f"/api/v1/model-versions/by-hash/{'0' * 64}")
    ]


def test_a_version_that_holds_another_file_is_no_hit(host: Civitai, places: Ask) -> None:
    """The address takes digests of any kind: what it answers may match by another one."""
    host.models.append(harbor(file("a.safetensors", TWO)))
    host.script[f"/api/v1/model-versions/by-hash/{ONE}"] = Said(200, host.models[0]["modelVersions"][0])
    assert places(quest(**stated(ONE))).word is Word.NOT_FOUND


def test_several_digests_are_asked_in_bulk_and_each_model_gets_its_own_file(host: Civitai, asker: Asker) -> None:
    host.models.append(harbor(file("a.safetensors", ONE), file("b.safetensors", TWO, primary=False)))
    quests = [quest(f"{digest[0]}.safetensors", **stated(digest)) for digest in (ONE, TWO, THREE)]
    answers = CivitaiPlaces(asker).look(quests, Leash())
    assert [asked.path for asked in host.requests] == ["/api/v1/model-versions/by-hash"]
    words = [answers[each.need.key].word for each in quests]
    assert words == [Word.FOUND, Word.FOUND, Word.NOT_FOUND]
    second = only(answers[quests[1].need.key])
    assert (second.sha256, second.url.partition("?")[2]) == (TWO, "type=Model&format=SafeTensor")


def test_of_hundreds_of_digests_only_the_known_ones_are_asked_for_versions(host: Civitai, asker: Asker) -> None:
    host.models.append(harbor(file("a.safetensors", ONE)))
    digests = [ONE, *(f"{number:064x}" for number in range(150))]
    quests = [quest(f"{digest}.safetensors", **stated(digest)) for digest in digests]
    answers = CivitaiPlaces(asker).look(quests, Leash())
    assert only(answers[quests[0].need.key]).sha256 == ONE
    assert all(answers[each.need.key].word is Word.NOT_FOUND for each in quests[1:])
    assert [(asked.path.rpartition("/")[2], len(asked.body)) for asked in host.requests] == [
        ("ids", 151),
        ("by-hash", 1),
    ]


def test_three_hundred_known_digests_are_four_questions(host: Civitai, asker: Asker) -> None:
    digests = [f"{number:064x}" for number in range(300)]
    host.models += [harbor(file("a.safetensors", digest), number=number) for number, digest in enumerate(digests, 1)]
    quests = [quest(f"{digest}.safetensors", **stated(digest)) for digest in digests]
    answers = CivitaiPlaces(asker).look(quests, Leash())
    assert [only(answers[each.need.key]).sha256 for each in quests] == digests
    assert len(host.requests) == 4


def test_another_sources_digest_is_no_surer_than_that_source(host: Civitai, places: Ask) -> None:
    host.models.append(harbor(file("a.safetensors", ONE)))
    guess = Candidate(
        "https://huggingface.co/o/r/resolve/main/x", LORA, "loras", "huggingface", sha256=ONE, confidence=0.5
    )
    assert only(places(quest(known=[guess]))).confidence == 0.5


def test_digests_in_dispute_make_nothing_certain(host: Civitai, places: Ask) -> None:
    host.models.append(harbor(file("a.safetensors", ONE)))
    assert only(places(quest(**stated(ONE, TWO)))).confidence < AUTOMATIC


def test_of_versions_with_the_same_bytes_one_that_can_be_had_is_taken(host: Civitai, asker: Asker) -> None:
    early = version(10, file("a.safetensors", ONE), earlyAccessEndsAt="2026-09-01T00:00:00.000Z")
    host.models.append(model(1, "Two", "LORA", version(20, file("a.safetensors", ONE)), early))
    quests = [quest("a.safetensors", **stated(ONE)), quest("b.safetensors", **stated(TWO))]
    answers = CivitaiPlaces(asker, FakeClock()).look(quests, Leash())
    assert only(answers[quests[0].need.key]).url.endswith("/20")


# Availability


@pytest.mark.parametrize(
    ("of_version", "of_model", "words"),
    [
        ({"earlyAccessEndsAt": "2026-09-01T00:00:00.000Z"}, {}, "early access until 2026-09-01"),
        ({"publishedAt": "2026-07-30T00:00:00.000Z", "earlyAccessTimeFrame": 7}, {}, "early access until 2026-08-06"),
        ({"availability": "EarlyAccess"}, {}, "early access"),
        ({"paidAccess": {"price": 500}}, {}, "early access"),
        ({"availability": "Private"}, {}, "private"),
        ({"usageControl": "Generation"}, {}, "on Civitai only"),
        ({"status": "Unpublished"}, {}, "Unpublished"),
        ({"files": []}, {}, "archived"),
        ({}, {"mode": "Archived"}, "archived"),
        ({}, {"mode": "TakenDown"}, "taken it down"),
    ],
)
def test_what_cannot_be_had_now_says_why(
    host: Civitai, places: Ask, of_version: Json, of_model: Json, words: str
) -> None:
    named = version(70, file(LORA, ONE), **of_version)
    host.models.append(model(7, "Harbor", "LORA", named, **of_model))
    known = embedded("https://civitai.com/models/7?modelVersionId=70")
    if of_model:  # the mode is told by the model only
        known = replace(known, url="https://civitai.com/models/7")
    answer = places(quest(known=[known]))
    assert answer.word is Word.FOUND
    assert words in str(answer.candidates[0].obstacle), answer


@pytest.mark.parametrize(
    "of_version",
    [
        {"availability": None, "stats": {"downloadCount": None}, "usageControl": None},
        {"earlyAccessEndsAt": "2026-07-31T00:00:00.000Z"},
        {"publishedAt": "2026-07-01T00:00:00.000Z", "earlyAccessTimeFrame": 7},
        {"earlyAccessConfig": None, "earlyAccessEndsAt": None, "paidAccess": None, "usageControl": "Download"},
        {"earlyAccessEndsAt": "no date", "status": None},
    ],
)
def test_null_missing_and_past_fields_stand_in_nobodys_way(host: Civitai, places: Ask, of_version: Json) -> None:
    host.models.append(harbor(file(LORA, ONE), **of_version))
    found = only(places(quest(**stated(ONE))))
    assert (found.obstacle, found.confidence) == (None, 1.0)


def test_what_a_scanner_warns_of_is_an_obstacle_and_a_pickle_is_told(host: Civitai, places: Ask) -> None:
    infected = file(LORA, ONE, virusScanResult="Danger", virusScanMessage="Win.Trojan.X")
    pickle = file("b.ckpt", TWO, primary=False, metadata={"format": "PickleTensor"})
    host.models.append(harbor(infected, pickle))
    assert "Win.Trojan.X" in str(only(places(quest(**stated(ONE)))).obstacle)
    told = only(places(quest("b.ckpt", **stated(TWO))))
    assert told.obstacle is None
    assert any("pickle" in words for words in told.evidence)


@pytest.mark.parametrize(
    ("kilobytes", "size"), [(768888.859375, LORA_BYTES), (2034.3, None), (None, None), ("9", None)]
)
def test_a_size_is_exact_or_not_told(host: Civitai, places: Ask, kilobytes: Any, size: int | None) -> None:
    host.models.append(harbor(file(LORA, ONE, sizeKB=kilobytes)))
    assert only(places(quest(**stated(ONE)))).size == size


# Places that somebody named


@pytest.mark.parametrize(
    "url",
    [
        "https://civitai.com/models/7?modelVersionId=70",
        "https://civitai.red/models/7/moonlit-harbor?modelVersionId=70",
        "https://civitai.com/api/download/models/70",
        "https://civitai.com/api/download/models/70?type=Model&format=SafeTensor",
        "urn:air:sdxl:lora:civitai:7@70",
    ],
)
def test_a_named_version_is_confirmed_by_its_host(host: Civitai, places: Ask, url: str) -> None:
    host.models.append(harbor(file(LORA, ONE, 2048)))
    found = only(places(quest(known=[embedded(url)])))
    assert (found.sha256, found.size, found.proof, found.confidence) == (ONE, 2048, "A", 0.95)
    assert found.url.startswith("https://civitai.com/api/download/models/70")
    assert "/api/v1/model-versions/70" in [asked.path for asked in host.requests]


def test_the_address_chooses_among_the_files_of_a_version(host: Civitai, places: Ask) -> None:
    half, full = (
        {"fp": "fp16", "size": "pruned", "format": "SafeTensor"},
        {"fp": "fp32", "size": "full", "format": "SafeTensor"},
    )
    host.models.append(
        harbor(file("m.safetensors", ONE, metadata=full), file("m.safetensors", TWO, primary=False, metadata=half))
    )
    url = "https://civitai.com/api/download/models/70"
    pruned = only(places(quest(known=[embedded(f"{url}?type=Model&format=SafeTensor&size=pruned&fp=fp16")])))
    assert pruned.sha256 == TWO
    assert pruned.url.partition("?")[2] == "type=Model&format=SafeTensor&size=pruned&fp=fp16"
    assert only(places(quest(known=[embedded(url)]))).sha256 == ONE
    nothing = only(places(quest(known=[embedded(f"{url}?format=GGUF")])))
    assert "fits this address" in str(nothing.obstacle)


def test_another_name_on_civitai_adds_nothing_to_what_the_source_knew(host: Civitai, places: Ask) -> None:
    host.models.append(harbor(file("moonlitHarbor_v1.safetensors", ONE), kind="Checkpoint"))
    found = only(places(quest(known=[embedded("https://civitai.com/models/7?modelVersionId=70")])))
    assert found.confidence == 0.9
    assert any("moonlitHarbor_v1" in words and "Checkpoint" in words for words in found.evidence)


@pytest.mark.parametrize("said", [None, Said(410, {"error": "Model archived"})])
def test_a_named_version_that_is_gone_is_a_candidate_that_cannot_be_had(
    host: Civitai, places: Ask, said: Said | None
) -> None:
    if said is not None:
        host.script["/api/v1/model-versions/70"] = said
    url = "https://civitai.com/api/download/models/70"
    found = only(places(quest(known=[embedded(url)])))
    assert found.url == url
    assert "any more" in str(found.obstacle)


def test_the_page_of_a_model_is_no_file_and_leads_to_the_version_of_this_name(host: Civitai, places: Ask) -> None:
    versions = (version(71, file("other.safetensors", TWO)), version(70, file(LORA, ONE)))
    host.models.append(model(7, "Harbor", "LORA", *versions))
    answer = places(quest(known=[embedded("https://civitai.com/models/7")]))
    found, page = answer.candidates
    assert (found.sha256, found.confidence, found.obstacle) == (ONE, 0.93, None)
    assert (page.url, "not of one file" in str(page.obstacle)) == ("https://civitai.com/models/7", True)


def test_a_note_counts_only_for_the_model_whose_name_is_on_its_page(host: Civitai, asker: Asker) -> None:
    host.models.append(harbor(file(LORA, ONE)))
    one_version = ("https://civitai.com/models/7?modelVersionId=70", "https://civitai.com/model-versions/70")
    hints = ("https://civitai.com/models/7", *one_version, "https://example.com/")
    quests = [quest(hints=hints), quest("quite another thing.safetensors", hints=hints)]
    answers = CivitaiPlaces(asker).look(quests, Leash())
    named = answers[quests[0].need.key].candidates
    assert {candidate.confidence for candidate in named} == {0.93, 0.95}
    assert answers[quests[1].need.key].word is Word.NOT_FOUND
    assert len(host.requests) == 2, "each place once, whoever names it"


def test_of_several_files_of_this_name_on_a_page_none_is_fetched_unasked(host: Civitai, places: Ask) -> None:
    host.models.append(model(7, "Harbor", "LORA", version(71, file(LORA, TWO)), version(70, file(LORA, ONE))))
    answer = places(quest(hints=("https://civitai.com/models/7",)))
    assert [found.sha256 for found in answer.candidates] == [TWO, ONE]
    assert all(found.confidence < AUTOMATIC for found in answer.candidates)


def test_a_file_of_this_name_and_of_another_kind_is_not_fetched_unasked(host: Civitai, places: Ask) -> None:
    host.models.append(harbor(file(LORA, ONE), kind="Checkpoint"))
    found = only(places(quest(hints=("https://civitai.com/models/7?modelVersionId=70",))))
    assert found.confidence < AUTOMATIC
    assert "Checkpoint" in found.evidence[0]


def test_a_note_about_a_checkpoint_that_civitai_renamed_is_shown_and_not_fetched(host: Civitai, places: Ask) -> None:
    host.models.append(harbor(file("moonlitHarbor_v20.safetensors", ONE), name="Moonlit Harbor", kind="Checkpoint"))
    asked = quest("moonlit_harbor_mix.safetensors", "checkpoints", hints=("https://civitai.com/models/7",))
    assert 0 < only(places(asked)).confidence < AUTOMATIC


def test_files_under_one_address_are_not_fetched_unasked(host: Civitai, places: Ask) -> None:
    same: Json = {"downloadUrl": "https://civitai.com/api/download/models/70"}
    host.models.append(harbor(file(LORA, ONE, **same), file("b.safetensors", TWO, primary=False, **same)))
    assert only(places(quest("b.safetensors", **stated(TWO)))).confidence < AUTOMATIC


def test_nothing_is_said_about_models_that_nobody_places_on_civitai(host: Civitai, asker: Asker) -> None:
    assert CivitaiPlaces(asker).look([quest()], Leash()) == {}
    assert host.requests == []


# By name


def test_a_lora_of_exactly_this_name_alone_is_likely_and_for_a_person_to_choose(host: Civitai, search: Ask) -> None:
    host.models += [harbor(file(TELLING, ONE)), harbor(file("other.safetensors", TWO), number=8)]
    found = only(search(quest(TELLING)))
    assert (found.confidence, found.source, found.proof, found.sha256) == (TELLING_NAME, "civitai", "A", ONE)
    assert TELLING_NAME < AUTOMATIC, "who uploads a file gives it any name"
    asked = host.requests[0].query
    assert (asked["nsfw"], asked["limit"], "page" in asked) == (["true"], ["50"], False)
    assert asked["types"] == ["DoRA", "LORA", "LoCon"]


@pytest.mark.parametrize(
    ("name", "folder", "models"),
    [
        ("model.safetensors", "loras", [harbor(file("model.safetensors", ONE), name="model")]),
        ("add_detail.safetensors", "loras", [harbor(file("add_detail.safetensors", ONE), name="add detail")]),
        (TELLING, "loras", [harbor(file(TELLING, ONE)), harbor(file(TELLING, TWO), number=8)]),
        (TELLING, "checkpoints", [harbor(file(TELLING, ONE), kind="Checkpoint")]),
        (TELLING, "controlnet_aux", [harbor(file(TELLING, ONE))]),
        (TELLING, None, [harbor(file(TELLING, ONE))]),
        (TELLING, "loras", [harbor(file(TELLING.lower(), ONE))]),
        (TELLING, "loras", [harbor(file(TELLING))]),
        (TELLING, "loras", [harbor(file(TELLING, ONE), baseModel="Flux.1 D")]),
    ],
    ids=[
        "everybody's name", "two words", "two files", "rewritten names", "unknown folder", "no folder", "other case",
        "no digest", "other family",
    ],
)  # fmt: skip
def test_by_name_alone_nothing_doubtful_is_fetched_unasked(
    host: Civitai, search: Ask, name: str, folder: str | None, models: list[Json]
) -> None:
    host.models += models
    answer = search(quest(name, folder, families=frozenset({"sdxl"})))
    assert answer.word is Word.FOUND
    assert all(candidate.confidence < TELLING_NAME for candidate in answer.candidates), answer


def test_equal_bytes_in_two_versions_are_one_file(host: Civitai, search: Ask) -> None:
    host.models += [harbor(file(TELLING, ONE)), harbor(file(TELLING, ONE), number=8)]
    assert only(search(quest(TELLING))).confidence == TELLING_NAME


def test_a_name_under_which_another_host_has_other_bytes_is_unlikely(host: Civitai, search: Ask) -> None:
    host.models.append(harbor(file(TELLING, ONE)))
    elsewhere = Candidate("https://huggingface.co/a/b/resolve/main/c", TELLING, "loras", "huggingface", sha256=TWO)
    assert only(search(quest(TELLING, known=[elsewhere]))).confidence < 0.2
    equal = replace(elsewhere, sha256=ONE)
    assert only(search(quest(TELLING, known=[elsewhere, equal]))).confidence == TELLING_NAME


def test_files_of_one_name_share_what_it_tells(host: Civitai, search: Ask) -> None:
    host.models += [harbor(file(TELLING, f"{number:064x}"), number=number) for number in (7, 8, 9)]
    found = search(quest(TELLING)).candidates
    assert len(found) == 3 and sum(candidate.confidence for candidate in found) < AUTOMATIC


def test_training_data_of_this_name_is_no_model(host: Civitai, search: Ask) -> None:
    host.models.append(harbor(file(TELLING, ONE, kind="Training Data")))
    assert search(quest(TELLING)).word is Word.NOT_FOUND


def test_a_model_that_is_not_for_everybody_is_found_too(host: Civitai, search: Ask) -> None:
    host.models.append(harbor(file(TELLING, ONE)) | {"nsfw": True})
    assert only(search(quest(TELLING))).sha256 == ONE


def test_a_checkpoint_is_known_by_its_title_where_its_file_name_was_made_of_it(host: Civitai, search: Ask) -> None:
    made = model(5, "Moonlit Harbor XL", "Checkpoint", version(50, file("old name.safetensors", ONE), name="v9 Night"))
    host.models.append(made)
    found = only(search(quest("moonlitHarborXL_v9Night.safetensors", "checkpoints")))
    assert 0 < found.confidence < AUTOMATIC


def test_a_name_on_the_second_page_is_found_by_its_cursor(host: Civitai, search: Ask) -> None:
    crowd = [harbor(file(f"{number}.safetensors", f"{number:064x}"), number=number) for number in range(100, 170)]
    host.models += [harbor(file(TELLING, ONE), number=1), *crowd]  # the stand-in lists the highest number first
    assert ONE in {candidate.sha256 for candidate in search(quest(TELLING)).candidates}
    assert host.requests[1].query["cursor"] == ["50"]


def test_nothing_of_this_name_is_not_found(host: Civitai, search: Ask) -> None:
    answer = search(quest(TELLING))
    assert (answer.word, answer.candidates) == (Word.NOT_FOUND, ())


# What stands in the way of looking is never "not found"


@pytest.mark.parametrize(
    "said",
    [Said(500, {"error": "boom"}), Said(429, {"error": "slow down"}, {"Retry-After": "900"}), Said(401), Said(200, [])],
    ids=["outage", "throttled", "login", "no version"],
)
def test_an_outage_is_could_not_look(host: Civitai, places: Ask, said: Said) -> None:
    host.script[f"/api/v1/model-versions/by-hash/{ONE}"] = said
    host.script["/api/v1/model-versions/70"] = said
    by_digest = places(quest(**stated(ONE)))
    assert (by_digest.word, bool(by_digest.why)) == (Word.COULD_NOT_LOOK, True)
    named = places(quest(known=[embedded("https://civitai.com/api/download/models/70")]))
    assert (named.word, bool(named.why)) == (Word.COULD_NOT_LOOK, True)


@pytest.mark.parametrize("said", [Said(500), Said(404), Said(200, {})])
@pytest.mark.parametrize("count", [2, 101])
def test_a_bulk_question_that_fails_fails_for_each(host: Civitai, asker: Asker, count: int, said: Said) -> None:
    for path in ("/api/v1/model-versions/by-hash", "/api/v1/model-versions/by-hash/ids"):
        host.script[path] = said
    quests = [quest(f"{number}.safetensors", **stated(f"{number:064x}")) for number in range(count)]
    answers = CivitaiPlaces(asker).look(quests, Leash())
    assert {answers[each.need.key].word for each in quests} == {Word.COULD_NOT_LOOK}


def test_an_overloaded_search_is_asked_again_after_the_pause_it_asks_for(
    host: Civitai, search: Ask, clock: FakeClock
) -> None:
    host.models.append(harbor(file(TELLING, ONE)))
    host.script["/api/v1/models"] = replace(civitai.SEARCH_OVERLOADED, times=1)
    began = clock.now()
    assert only(search(quest(TELLING))).sha256 == ONE
    assert (clock.now() - began).total_seconds() == 2


def test_a_search_that_stays_overloaded_could_not_look(host: Civitai, search: Ask) -> None:
    host.script["/api/v1/models"] = civitai.SEARCH_OVERLOADED
    answer = search(quest(TELLING))
    assert answer.word is Word.COULD_NOT_LOOK
    assert "overloaded" in answer.why or "allows no more" in answer.why


def test_an_answer_that_is_no_list_of_models_is_could_not_look(host: Civitai, search: Ask) -> None:
    host.script["/api/v1/models"] = Said(200, {"items": None})
    assert search(quest(TELLING)).word is Word.COULD_NOT_LOOK


def test_half_a_search_makes_nothing_the_only_one(host: Civitai, search: Ask) -> None:
    """The first page brought the file; the second, which may hold another one of this name, never came."""
    page = {"items": [harbor(file(TELLING, ONE))], "metadata": {"nextCursor": "1"}}
    host.script["/api/v1/models"] = Said(200, page, times=1, then=Said(500))
    answer = search(quest(TELLING))
    found = only(answer)
    assert (found.sha256, found.confidence < AUTOMATIC, bool(answer.why)) == (ONE, True, True)


def test_a_pulled_leash_ends_it(asker: Asker) -> None:
    leash = Leash()
    leash.pull()
    for resolver in (CivitaiPlaces(asker), CivitaiSearch(asker)):
        with pytest.raises(Interrupted):
            resolver.look([quest(**stated(ONE))], leash)


@recorded_answers
def test_the_recorded_search_errors_are_those_of_the_stand_in(host: Civitai, asker: Asker) -> None:
    """`page` beside `query`, and the overloaded search; the other two rows we cannot meet: we send no such question."""
    rows = {row["when"]: row for row in sample("models_search_errors")["response"]}
    assert rows["query together with page"]["body"] == civitai.PAGE_WITH_QUERY
    assert rows["search backend overloaded"]["body"] == civitai.OVERLOADED
    with pytest.raises(Trouble):
        asker.json("https://civitai.com/api/v1/models?query=x&page=1")


# The download addresses, through the client that the worker uses

DOWNLOADS = (
    (civitai.WANTS_LOGIN, Code.AUTH, "logged in"),
    (civitai.DOWNLOADS_DISABLED, Code.AUTH, "disabled"),
    (civitai.EARLY_ACCESS, Code.AUTH, "Early Access"),
    (civitai.NO_ACCESS, Code.AUTH, "do not have access"),
    (civitai.FILE_NOT_FOUND, Code.NOT_FOUND, "File not found"),
    (civitai.ARCHIVED_DOWNLOAD, Code.NOT_FOUND, "archived"),
    (civitai.TOO_MANY_DOWNLOADS, Code.BUSY_HOST, "unusual amount"),
    (civitai.BAD_PARAMETER, Code.LYING_SERVER, "Invalid option"),
)


@recorded_answers
def test_the_recorded_downloads_are_those_of_the_stand_in() -> None:
    recorded = {(row["status"], json.dumps(row.get("body"))) for row in sample("download")["response"]}
    refused = {(status, body) for status, body in recorded if status != 307}
    assert refused == {(said.status, json.dumps(said.body)) for said, _, _ in DOWNLOADS}


@pytest.mark.slow
@pytest.mark.parametrize(("said", "code", "words"), DOWNLOADS, ids=[words for _, _, words in DOWNLOADS])
def test_a_refused_download_ends_in_its_own_word(host: Civitai, said: Said, code: Code, words: str) -> None:
    host.script["/api/download/models/70"] = said
    web = Web(Settings(civitai_endpoint=host.base))
    with web.open_stream("https://civitai.com/api/download/models/70") as answer:
        trouble = web.refusal(answer)
    assert (trouble.code, words in trouble.message) == (code, True), trouble


def test_a_download_is_sent_on_to_storage_without_the_token_and_never_to_the_login_page(host: Civitai) -> None:
    host.models.append(harbor(file(LORA, ONE)))
    settings = Settings(civitai_endpoint=host.base, civitai_api_token=SecretStr(canaries.CIVITAI))
    with Web(settings).open_stream(
        "https://civitai.com/api/download/models/70", question=Question("HEAD", stays_home=True)
    ) as answer:
        assert answer.status == 404, "the stand-in's storage keeps no bytes; what counts is that we got there"
    assert [asked.path for asked in host.requests] == ["/api/download/models/70", "/storage/70"]
    assert host.requests[0].headers["authorization"] == f"Bearer {canaries.CIVITAI}"


def test_a_version_that_wants_a_login_names_the_token(host: Civitai, places: Ask) -> None:
    host.models.append(harbor(file(LORA, ONE), requireAuth=True))
    assert only(places(quest(**stated(ONE)))).token == "CIVITAI_API_TOKEN"

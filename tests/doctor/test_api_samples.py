"""Show 5: every row of ../shared/api_samples, replayed on the loopback, goes through the real HTTP client to its word.

`ROWS` says for each row which door it takes; a row or a case that nobody has sorted in fails. The clients' own tests
read the same samples more closely (test_resolvers_*, test_node_packs_*, test_rubric).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from enum import Enum
from typing import Any, NamedTuple

import pytest

from comfy_doctor.asking import Asker
from comfy_doctor.comfyui.server import Server, read_server
from comfy_doctor.needs import Candidate, Need, Stated
from comfy_doctor.node_packs.registry import Registry, Sight, VersionState
from comfy_doctor.resolvers.civitai import CivitaiPlaces, CivitaiSearch
from comfy_doctor.resolvers.huggingface import HuggingFaceFiles
from comfy_doctor.resolvers.huggingface.records import Standing, seen_of
from comfy_doctor.resolvers.probe import probe
from comfy_doctor.resolvers.resolver import Answer, Quest, Resolver, Word
from comfy_doctor.sites import HubFile
from download_worker.clock import FakeClock
from download_worker.errors import Code, GiveUp, Trouble, TryLater
from download_worker.leash import Leash
from download_worker.web.session import Question, Web
from tests.doctor.replay import (
    COMMIT,
    LFS_BYTES,
    Exchange,
    Replay,
    at,
    hurried,
    named,
    needs_samples,
    one,
    recorded,
    rows,
    web_to,
)

pytestmark = needs_samples


class Door(Enum):
    """Through which a row goes, and who reads it."""

    ASKER = "Asker.json, and the client of that API"
    HEAD = "Asker.head, and the resolver of Hugging Face"
    DOWNLOAD = "Web.open_stream, as the fetcher and the probe open it"
    MODEL = "the HTTP layer only: the openai package asks (test_resolvers_agent, test_rubric)"
    CONTROL = "the HTTP layer only: control of a server comes with a later issue"
    COUNTED = "the HTTP layer only: this question counts as an install and is never asked"


ROWS = {
    Door.ASKER: """
        civitai_model_version_242807 civitai_model_215485 civitai_by_hash_hit civitai_by_hash_miss
        civitai_by_hash_bulk_ids civitai_model_version_current_shape civitai_models_search_errors
        hf_model_info_blobs hf_model_info_lora hf_tree hf_redirects_and_limits hf_search
        registry_node registry_versions registry_nodes_list registry_search registry_node_by_class
        registry_version_classes registry_bulk_versions
        manager_extension_node_map manager_custom_node_list manager_model_list
    """,
    Door.HEAD: "hf_resolve_head_lfs hf_resolve_2023_cloudfront hf_resolve_small_file hf_resolve_errors",
    Door.DOWNLOAD: "civitai_download",
    Door.COUNTED: "registry_install",
    Door.CONTROL: """
        comfyui_prompt_errors_0.3.64 comfyui_prompt_errors_0.33 comfyui_models_download manager_v4_install_ok
        manager_v4_other manager_v3_install_ok manager_v3_old_GET manager_v3_blocked_outdated
    """,
    Door.MODEL: """
        openai_chat_json_schema openai_chat_json_schema_raw_request openai_chat_refusal openai_chat_truncated
        openai_errors
    """,
}


def through(*doors: Door) -> list[str]:
    return [name for door in doors for name in ROWS[door].split()]


class Ends(NamedTuple):
    """In what a case ends: the class and the registered code, words of the message, and the wait that was asked for."""

    trouble: type[Trouble]
    code: Code
    says: str = ""
    wait_seconds: float | None = None


LYING, LOGIN, MISSING = (GiveUp, Code.LYING_SERVER), (GiveUp, Code.AUTH), (GiveUp, Code.NOT_FOUND)
BUSY = (TryLater, Code.BUSY_HOST)
TROUBLES = {
    "civitai_by_hash_miss": {"": Ends(*MISSING, "Model not found")},
    "civitai_models_search_errors": {
        "query together with page": Ends(*LYING, "Use cursor-based pagination"),
        "page*limit > 1000": Ends(*BUSY, "too many pages"),
        "favorites/hidden without login": Ends(*LOGIN, "Unauthorized"),
        "search backend overloaded": Ends(*BUSY, "temporarily overloaded", 2),
    },
    "openai_errors": {
        "#0": Ends(*LOGIN),
        "#1": Ends(*BUSY, wait_seconds=20),
        "#2": Ends(*BUSY),
        "#3": Ends(*LYING),
    },
    "civitai_download": {
        "creator requires login and none given": Ends(*LOGIN, "requires you to be logged in"),
        "downloads disabled by the creator": Ends(*LOGIN, "has disabled downloads"),
        "early access not bought": Ends(*LOGIN, "Early Access"),
        "no grant / blocked": Ends(*LOGIN, "do not have access"),
        "unknown version": Ends(*MISSING, "File not found"),
        "archived": Ends(*MISSING, "Model archived"),
        "too many downloads": Ends(*BUSY, "unusual amount of downloading"),
        "bad parameter": Ends(*LYING, "Invalid option"),
    },
}
"""Case → its end, by how its `when` begins ("#2": the third one without a name). What is not here must succeed."""

BY_STATUS = {
    400: Ends(*LYING),
    403: Ends(*LOGIN),
    404: Ends(*MISSING),
    405: Ends(*LYING),
    500: Ends(TryLater, Code.SERVER_ERROR),
    None: Ends(TryLater, Code.NO_CONNECTION),
}
"""How the control routes of a server end. 201 is an answer, too."""


@pytest.fixture
def storage() -> Iterator[Replay]:
    with Replay() as host:
        yield host


@pytest.fixture
def host(storage: Replay) -> Iterator[Replay]:
    with Replay(storage=storage.base) as host:
        yield host


@pytest.fixture
def clock() -> FakeClock:
    clock = FakeClock()
    clock.wall = datetime(2026, 8, 1, tzinfo=UTC)
    return clock


@pytest.fixture
def web(host: Replay, storage: Replay, clock: FakeClock) -> Web:
    return web_to(host.base, storage.base, clock=clock)


@pytest.fixture
def asker(web: Web, clock: FakeClock) -> Asker:
    return hurried(web, clock)


def end_of(name: str, exchange: Exchange, index: int) -> Ends | None:
    """None: it brings what was asked for."""
    known = TROUBLES.get(name, {})
    when = exchange.when or (f"#{index}" if len(recorded(name)) > 1 else "")
    found = [end for case, end in known.items() if when == case or (case and when.startswith(case))]
    if found:
        return found[0]
    assert exchange.status is not None and exchange.status < 400, f"{name}: nobody has said how {when!r} ends"
    return None


def assert_ends(trouble: Trouble, end: Ends) -> None:
    assert (type(trouble), trouble.code) == (end.trouble, end.code), trouble
    assert end.says in trouble.message
    assert trouble.hint
    if isinstance(trouble, TryLater):
        assert trouble.retry_after_seconds == end.wait_seconds


# The table is whole


def test_every_row_of_the_readme_is_sorted_in() -> None:
    assert len(rows()) >= 41, "the table could not be read"
    sorted_in = through(*Door)
    assert sorted(rows()) == sorted(sorted_in), "sort the new row into ROWS, and say how its cases end"
    assert all(recorded(name) for name in sorted_in), "a sample holds no exchange that we can read"


def test_every_expected_case_is_a_recorded_one() -> None:
    """A case that was renamed would otherwise never be looked at again."""
    for name, cases in TROUBLES.items():
        whens = [exchange.when or f"#{index}" for index, exchange in enumerate(recorded(name))]
        unknown = [case for case in cases if case and not any(when.startswith(case) for when in whens)]
        assert not unknown, name


# What is asked for as JSON


@pytest.mark.parametrize("name", through(Door.ASKER, Door.MODEL, Door.COUNTED))
def test_json_arrives_equal_and_every_error_in_its_word(name: str, host: Replay, web: Web, clock: FakeClock) -> None:
    for index, exchange in enumerate(recorded(name)):
        end, asker, before = end_of(name, exchange, index), hurried(web, clock), len(host.asked)
        host.play(exchange, one("hf_model_info_blobs"))  # where it redirects to, there is a model
        url, body = exchange.url_at(host.base), exchange.asked or ({} if exchange.method == "POST" else None)
        if end is None:
            wanted = exchange.said if exchange.status == 200 else one("hf_model_info_blobs").said
            assert asker.json(url, body=body) == wanted
        else:
            with pytest.raises(Trouble) as caught:
                asker.json(url, body=body)
            assert_ends(caught.value, end)
        first = host.asked[before]
        assert (first.method, first.path) == (exchange.method, exchange.path)
        assert (json.loads(first.body) if first.body else None) == body


def test_a_wait_within_our_patience_is_waited_for(host: Replay, web: Web, clock: FakeClock) -> None:
    overloaded = one("civitai_models_search_errors", "search backend overloaded")
    host.play(overloaded, one("civitai_model_215485"))
    before = clock.steady().seconds
    told = hurried(web, clock, patience_seconds=20).json(overloaded.url)
    assert told["id"] == 215485 and clock.steady().seconds - before == 2


def test_a_renamed_repository_is_found_where_it_is_now(host: Replay, asker: Asker) -> None:
    moved = one("hf_redirects_and_limits")
    host.play(moved, one("hf_model_info_blobs"))
    assert asker.json(moved.url)["id"] == "stabilityai/sdxl-turbo"
    assert [request.target for request in host.asked] == [moved.path, dict(moved.headers)["location"]]


def test_the_next_page_is_asked_for_at_the_same_endpoint(host: Replay, asker: Asker) -> None:
    listed = one("hf_search")
    host.play(listed)
    page = asker.page(listed.url)
    assert page.next is not None and page.next.startswith("https://huggingface.co/api/models?")
    asker.page(page.next)
    assert "cursor=" in host.asked[-1].target


# Heads of files on Hugging Face

UPSCALERS = "upscale_models"
FILE = HubFile("OWNER/NAME", "main", "FILE")
STANDINGS: dict[str, tuple[Standing, Word, str]] = {
    "gated, anonymous": (Standing.GATED, Word.FOUND, "accept its licence"),
    "gated, valid token": (Standing.NOT_APPROVED, Word.FOUND, "ask for it on"),
    "repo does not exist or is private": (Standing.NO_REPOSITORY, Word.NOT_FOUND, "missing or private"),
    "repo does not exist or no access": (Standing.NO_REPOSITORY, Word.NOT_FOUND, "missing or private"),
    "file not in the revision": (Standing.NO_FILE, Word.NOT_FOUND, "is gone from"),
    "revision unknown": (Standing.NO_REVISION, Word.NOT_FOUND, "has no revision main"),
    "disabled by HF staff": (Standing.DISABLED, Word.FOUND, "was disabled"),
    "legal block": (Standing.BLOCKED, Word.NOT_FOUND, "legal reasons"),
}


def last_page(exchange: Exchange) -> Exchange:
    """The recorded Link header is there only when another page follows."""
    return replace(exchange, headers=tuple(pair for pair in exchange.headers if pair[0].lower() != "link"))


def look(resolver: Resolver, need: Need) -> Answer:
    return resolver.look([Quest(need, need.candidates)], Leash())[need.key]


def only(answer: Answer) -> Candidate:
    (candidate,) = answer.candidates
    return candidate


@pytest.mark.parametrize("exchange", recorded("hf_resolve_errors") if rows() else (), ids=lambda each: each.when[:32])
def test_a_file_that_cannot_be_had_says_why(exchange: Exchange, host: Replay, asker: Asker) -> None:
    host.play(exchange)
    host.place(last_page(at(one("hf_tree"), f"https://huggingface.co/api/models/{FILE.repo}/tree/main")))
    if exchange.status == 429:
        with pytest.raises(TryLater) as caught:
            asker.head(exchange.url)
        assert_ends(caught.value, Ends(*BUSY, "answered 429", 112))
        answer = look(HuggingFaceFiles(asker), named(exchange.url, UPSCALERS))
        assert answer.word is Word.COULD_NOT_LOOK and "no more questions for 112 seconds" in answer.why
        return
    (expected,) = [each for case, each in STANDINGS.items() if exchange.when.startswith(case)]
    standing, word, says = expected
    head = asker.head(exchange.url)
    assert head.status == exchange.status and seen_of(head, FILE).standing is standing
    answer = look(HuggingFaceFiles(asker), named(exchange.url, UPSCALERS))
    assert answer.word is word and says in answer.why
    assert says in (only(answer).obstacle or "") and only(answer).gated == says.startswith(("accept", "ask"))


def test_a_noted_repository_that_is_gone_is_not_found(host: Replay, asker: Asker) -> None:
    noted = Need(UPSCALERS, "FILE", (), hints=(f"https://huggingface.co/{FILE.repo}",))
    gone = one("hf_resolve_errors", "repo does not exist or no access")
    host.play(replace(gone, method="GET", said={"error": "Repository not found"}))
    answer = look(HuggingFaceFiles(asker), noted)
    assert answer.word is Word.NOT_FOUND and "Repository not found" in answer.why


def test_the_redirect_of_a_large_file_tells_digest_size_and_commit(host: Replay, asker: Asker) -> None:
    exchange = one("hf_resolve_head_lfs")
    host.play(exchange)
    answer = look(HuggingFaceFiles(asker), named(exchange.url, UPSCALERS))
    found = only(answer)
    assert answer.word is Word.FOUND and found.obstacle is None and found.proof == "A"
    assert found.sha256 == dict(exchange.headers)["X-Linked-ETag"].strip('"') and found.size == LFS_BYTES
    assert found.url == f"https://huggingface.co/marduk191/rife/resolve/{COMMIT}/rife47.pth"
    assert [request.method for request in host.asked] == ["HEAD"], "the storage host is not asked"


def test_the_older_storage_tells_the_same(host: Replay, asker: Asker) -> None:
    recorded_head = one("hf_resolve_2023_cloudfront")
    # It was written down without the Location that every redirect has.
    host.play(replace(recorded_head, headers=(*recorded_head.headers, ("Location", "https://storage.invalid/x"))))
    found = only(look(HuggingFaceFiles(asker), named(recorded_head.url, "checkpoints")))
    assert found.sha256 == dict(recorded_head.headers)["X-Linked-Etag"].strip('"') and found.size == 1_215_981_830


def test_a_redirect_to_nowhere_is_not_a_missing_file(host: Replay, asker: Asker) -> None:
    host.play(one("hf_resolve_2023_cloudfront"))
    answer = look(HuggingFaceFiles(asker), named(one("hf_resolve_2023_cloudfront").url, UPSCALERS))
    assert answer.word is Word.COULD_NOT_LOOK and "redirects to nowhere" in answer.why


def test_a_small_file_has_a_commit_and_no_digest(host: Replay, asker: Asker) -> None:
    exchange = one("hf_resolve_small_file")
    host.play(exchange, at(replace(exchange, status=200, headers=(("Content-Length", "1519"),)), "/"))
    found = only(look(HuggingFaceFiles(asker), named(exchange.url, "configs")))
    assert found.sha256 is None and found.size == 1519 and COMMIT in found.url and found.proof == "D"
    assert len(host.asked) == 2, "a redirect that stays at the host is followed"


def test_a_renamed_repository_is_said(host: Replay, asker: Asker) -> None:
    old, new = "runwayml/stable-diffusion-v1-5", "stable-diffusion-v1-5/stable-diffusion-v1-5"
    moved = replace(one("hf_redirects_and_limits"), headers=(("Location", f"/{new}/resolve/main/x.safetensors"),))
    host.play(moved, one("hf_resolve_head_lfs"))
    found = only(look(HuggingFaceFiles(asker), named(HubFile(old, "main", "x.safetensors").url, UPSCALERS)))
    assert found.obstacle is None and any(f"to another repository: {new}" in words for words in found.evidence)


# Downloads from Civitai


@pytest.mark.parametrize("exchange", recorded("civitai_download") if rows() else (), ids=lambda each: each.when[:24])
def test_a_download_ends_in_its_word(exchange: Exchange, host: Replay, storage: Replay, web: Web) -> None:
    login_page = Exchange(
        "", "GET", "/login", 200, headers=(("Content-Type", "text/html"),), said="<html>log in</html>"
    )
    asked = 3 if exchange.status == 404 else 1  # on a download it may pass: it is asked for again before it is believed
    host.play(*[exchange] * asked, login_page)
    storage.play(Exchange("", "GET", "/", 200, headers=(("Content-Type", "application/octet-stream"),), said="bytes"))
    end = end_of("civitai_download", exchange, 0)
    with web.open_stream(exchange.url) as answer:
        if end is not None:
            assert_ends(web.refusal(answer), end)
        else:
            body = b"<html>log in</html>" if "browser-like" in exchange.when else b"bytes"
            assert answer.status == 200 and answer.read(100) == body
    assert "authorization" not in {name for request in storage.asked for name in request.headers}
    asked = 3 if exchange.status == 404 else 1  # on a download it may pass: it is asked for again before it is believed
    host.play(*[exchange] * asked, login_page)
    seen = probe(exchange.url, web, Leash())
    assert (seen.trouble and seen.trouble.code) == (end and end.code)
    assert end is None or seen.why.startswith("could not look"), "a host's refusal says nothing about the file"


# Records of Civitai

LORA = "a599c42a9f4f7494c7f410dbc0fd432cf0242720509e9d52fa41aac7a88d1b69"
VERSION = "https://civitai.com/api/download/models/242807"


def version(**changed: Any) -> Exchange:
    """The recorded version, changed; `model` is merged into its own."""
    real = one("civitai_model_version_242807")
    model = {**real.said["model"], **changed.pop("model", {})}
    return replace(real, said={**real.said, **changed, "model": model})


def test_a_digest_that_civitai_knows_is_certain(host: Replay, asker: Asker, clock: FakeClock) -> None:
    host.play(one("civitai_by_hash_hit"))
    need = Need("loras", "any.safetensors", (), stated=(Stated(LORA, "the workflow"),))
    found = only(look(CivitaiPlaces(asker, clock), need))
    assert (found.sha256, found.confidence, found.url) == (LORA, 1.0, VERSION)


def test_a_digest_that_civitai_does_not_know_is_not_found(host: Replay, asker: Asker, clock: FakeClock) -> None:
    host.play(one("civitai_by_hash_miss"))
    need = Need("loras", "any.safetensors", (), stated=(Stated("0" * 64, "the workflow"),))
    answer = look(CivitaiPlaces(asker, clock), need)
    assert answer.word is Word.NOT_FOUND and not answer.candidates


def early_access() -> Exchange:
    deadline = one("civitai_download", "early access").said["deadline"]
    current = one("civitai_model_version_current_shape").said
    now = {key: current[key] for key in ("air", "usageControl", "earlyAccessConfig", "nsfwLevel")}
    return version(**now, availability="EarlyAccess", earlyAccessEndsAt=deadline)


OBSTACLES: dict[str, tuple[Callable[[], Exchange], str | None]] = {
    "as recorded": (version, None),
    "early access": (early_access, "early access until 2026-09-01"),
    "paid access": (lambda: version(paidAccess={"price": 500}), "early access"),
    "archived": (lambda: version(model={"mode": "Archived"}), "archived"),
    "archived, no file left": (lambda: version(files=[]), "archived"),
    "taken down": (lambda: version(model={"mode": "TakenDown"}), "taken it down"),
    "private": (lambda: version(availability="Private"), "private"),
    "nothing told": (lambda: version(availability=None, stats={"downloadCount": None}), None),
    "gone": (lambda: at(one("civitai_by_hash_miss"), "/"), "does not have this version any more"),
}


@pytest.mark.parametrize("case", OBSTACLES)
def test_a_version_that_cannot_be_had_says_why(case: str, host: Replay, asker: Asker, clock: FakeClock) -> None:
    made, obstacle = OBSTACLES[case]
    host.play(made())
    need = replace(named(VERSION, "loras"), name="sd_xl_turbo_lora_v1.safetensors")
    answer = look(CivitaiPlaces(asker, clock), need)
    found = only(answer)
    assert answer.word is Word.FOUND and (obstacle in (found.obstacle or "") if obstacle else found.obstacle is None)


@pytest.mark.parametrize("index", range(4))
def test_a_search_that_is_refused_could_not_look(index: int, host: Replay, asker: Asker, clock: FakeClock) -> None:
    exchange = recorded("civitai_models_search_errors")[index]
    host.play(exchange)
    answer = look(CivitaiSearch(asker, clock), Need("loras", "Moonlit-Harbor-v2.safetensors", ()))
    assert answer.word is Word.COULD_NOT_LOOK and exchange.said["error"] in answer.why


# The registry


def test_banned_and_deleted_are_told_from_missing(host: Replay, asker: Asker) -> None:
    registry, node, listed = Registry(asker, host.base), one("registry_node"), one("registry_versions")
    host.place(replace(node, said={**node.said, "status": "NodeStatusBanned"}))
    pack = registry.pack("comfyui-loopstrip").found
    assert pack is not None and pack.gone
    wanted = ("Banned", "Deleted", "Flagged", "Pending", "Active")
    host.place(replace(listed, said=[{**listed.said[0], "status": f"NodeVersionStatus{word}"} for word in wanted]))
    states = [each.state for each in registry.versions("comfyui-impact-pack").found or ()]
    assert states == [VersionState(word.lower()) for word in wanted]
    assert [state.refused for state in states] == [True, True, False, False, False]
    assert registry.pack("nope") == Sight(), "404 is not there"
    host.play(Exchange("", "GET", "/", 503))
    assert Registry(asker, host.base).pack("nope").trouble, "503 is not known"


def test_an_id_in_another_spelling_is_led_to_the_pack(host: Replay, asker: Asker) -> None:
    led = Exchange("", "GET", "/nodes/ComfyUI_LoopStrip", 302, headers=(("Location", "/nodes/comfyui-loopstrip"),))
    host.place(led, one("registry_node"))
    pack = Registry(asker, host.base).pack("ComfyUI_LoopStrip").found
    assert pack is not None and pack.id == "comfyui-loopstrip"


# Live servers


@pytest.mark.parametrize("name", through(Door.CONTROL))
def test_a_live_server_is_heard_word_for_word(name: str, host: Replay, web: Web) -> None:
    for exchange in recorded(name):
        host.play(exchange)
        asked = exchange.asked if isinstance(exchange.asked, dict) else {}
        question = Question("POST", asked) if exchange.method == "POST" else Question()
        try:
            with web.open_stream(exchange.url_at(host.base), question=question) as answer:
                assert answer.status == exchange.status and (answer.status < 300) == (answer.status not in BY_STATUS)
                if answer.status in BY_STATUS:
                    assert_ends(web.refusal(answer), BY_STATUS[answer.status])
                else:
                    assert b"".join(iter(lambda: answer.read(1 << 20), b"")) == exchange.body
        except TryLater as trouble:
            assert exchange.status is None
            assert_ends(trouble, BY_STATUS[None])
        assert (host.asked[-1].method, host.asked[-1].path) == (exchange.method, exchange.path)


@pytest.mark.parametrize("name", [name for name in through(Door.CONTROL) if name.startswith("manager_v")])
def test_the_packs_of_a_live_manager_are_read(name: str, host: Replay, web: Web) -> None:
    routes = ("/customnode/installed", "/v2/customnode/installed")
    listed = [each for each in recorded(name) if each.path in routes and "mode" not in each.url and each.status == 200]
    system = Exchange("", "GET", "/system_stats", 200, said={"system": {"comfyui_version": "0.33.0"}})
    for exchange in listed:
        with Replay() as server:
            server.place(system, exchange)
            found = read_server(server.base, web_to(server.base))
        assert isinstance(found, Server) and not found.unanswered
        told = {pack.folder: (pack.id or "", pack.version or "", pack.enabled) for pack in found.packs}
        assert told == {folder: (row["cnr_id"], row["ver"], row["enabled"]) for folder, row in exchange.said.items()}
    assert listed

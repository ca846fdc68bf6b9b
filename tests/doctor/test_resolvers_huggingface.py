"""Hugging Face as a source, through the real client against the stand-in: what is named is confirmed, or why not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from comfy_doctor.asking import AnswerCache, Asker, Head
from comfy_doctor.needs import Candidate, Need, Source
from comfy_doctor.resolvers.huggingface import HuggingFaceFiles
from comfy_doctor.resolvers.huggingface.records import Standing, blobs_of, repos_of, seen_of
from comfy_doctor.resolvers.resolver import AUTOMATIC, Answer, Quest, Word
from comfy_doctor.sites import HubFile, place_of
from download_worker.clock import FakeClock
from download_worker.errors import Interrupted
from download_worker.leash import Leash
from download_worker.settings import Settings
from download_worker.web.session import Web
from tests import canaries
from tests.hub.huggingface import HuggingFace, RepoFile, Repository, Trouble

SAMPLES = Path(__file__).parents[2].parent / "shared" / "api_samples"
NOWHERE = "https://cdn.invalid"
AE = RepoFile.lfs("vae/ae.safetensors", size=335_304_388)
SHA = AE.sha256
FLUX = Repository("black-forest-labs/FLUX.1-dev", [AE, RepoFile("config.json", 40)])
TOKEN = canaries.HF


@pytest.fixture
def hub() -> Iterator[HuggingFace]:
    with HuggingFace([FLUX], cdn=NOWHERE) as host:
        yield host


@pytest.fixture
def files(hub: HuggingFace, tmp_path: Path) -> HuggingFaceFiles:
    return HuggingFaceFiles(asker_for(hub, tmp_path))


def asker_for(hub: HuggingFace, folder: Path, token: str | None = None, **options: Any) -> Asker:
    settings = Settings(
        hf_endpoint=hub.base, hf_token=SecretStr(token) if token else None, stall_timeout_seconds=5, home=folder
    )
    clock = FakeClock()
    cache = AnswerCache(folder / "answers.db", clock)
    return Asker(
        Web(settings, clock=clock), cache, clock, pause=lambda leash, seconds: clock.advance(seconds), **options
    )


def link(repo: str = FLUX.id, path: str = AE.path, revision: str = "main") -> str:
    return HubFile(repo, revision, path).url


def quest(
    url: str | None = None, *, source: Source = "embedded", name: str = "ae.safetensors", hints: tuple[str, ...] = ()
) -> Quest:
    need = Need("vae", name, (), hints=hints)
    known = (
        ()
        if url is None
        else (Candidate(url, url.rpartition("/")[2], "vae", source, confidence=0.8, evidence=("named",)),)
    )
    return Quest(need, known)


def ask(files: HuggingFaceFiles, asked: Quest) -> Answer:
    return files.look([asked], Leash())[asked.need.key]


def only(answer: Answer) -> Candidate:
    (candidate,) = answer.candidates
    return candidate


# What is there is confirmed


def test_a_named_file_is_pinned_and_proven(files: HuggingFaceFiles) -> None:
    answer = ask(files, quest(link()))
    assert answer.word is Word.FOUND
    found = only(answer)
    assert found.url == f"https://huggingface.co/{FLUX.id}/resolve/{FLUX.sha}/vae/ae.safetensors"
    assert (found.sha256, found.size, found.proof) == (SHA, 335_304_388, "A")
    assert found.source == "embedded" and found.obstacle is None and not found.gated
    assert found.confidence >= 0.95
    assert found.evidence[0] == "named" and len(found.evidence) == 2
    assert place_of(found.url) == place_of(link()), "it replaces the one that was known"


@pytest.mark.parametrize("source", ["note", "template", "manager-list"])
def test_others_are_trusted_enough_when_the_name_is_right(files: HuggingFaceFiles, source: Source) -> None:
    assert only(ask(files, quest(link(), source=source))).confidence >= AUTOMATIC


def test_blob_pages_and_mirror_hosts_mean_the_file(files: HuggingFaceFiles) -> None:
    for url in (link().replace("/resolve/", "/blob/"), link().replace("huggingface.co", "hf-mirror.com")):
        assert only(ask(files, quest(url + "?download=true"))).sha256 == SHA


def test_a_link_to_a_file_of_another_name_is_for_a_person(hub: HuggingFace, files: HuggingFaceFiles) -> None:
    hub.add(Repository("a/b", [RepoFile.lfs("moss_base_int8.safetensors"), RepoFile.lfs("model.safetensors")]))
    other = only(ask(files, quest(link("a/b", "moss_base_int8.safetensors"), name="moss_sft_int8.safetensors")))
    assert other.confidence < AUTOMATIC and "moss_base" in other.evidence[-1]
    renamed = only(ask(files, quest(link("a/b", "model.safetensors"), name="moss_sft_int8.safetensors")))
    assert renamed.confidence >= 0.95, "people rename what is called `model`"


def test_a_small_file_has_no_digest_and_is_not_automatic(files: HuggingFaceFiles) -> None:
    found = only(ask(files, quest(link(path="config.json"), name="config.json")))
    assert found.sha256 is None and found.proof == "D" and found.confidence < AUTOMATIC


def test_hf_row_case_and_rename_are_followed_and_said(hub: HuggingFace, files: HuggingFaceFiles) -> None:
    cased = only(ask(files, quest(link("Black-Forest-Labs/flux.1-dev"))))
    assert cased.sha256 == SHA and cased.url == link(revision=FLUX.sha)
    hub.add(
        Repository(
            "stable-diffusion-v1-5/stable-diffusion-v1-5",
            [RepoFile.lfs("v1-5-pruned-emaonly.ckpt")],
            old_names=("runwayml/stable-diffusion-v1-5",),
        )
    )
    old = link("runwayml/stable-diffusion-v1-5", "v1-5-pruned-emaonly.ckpt")
    moved = only(ask(files, quest(old, name="v1-5-pruned-emaonly.ckpt")))
    assert place_of(moved.url) == place_of(old), "it replaces the one that was known"
    assert moved.mirrors[0].startswith("https://huggingface.co/stable-diffusion-v1-5/stable-diffusion-v1-5/resolve/")
    assert any("to another repository: stable-diffusion-v1-5/" in words for words in moved.evidence)
    assert AUTOMATIC <= moved.confidence < 0.95


# What is not


def test_hf_row_gated_tells_the_digest_and_the_way_in(hub: HuggingFace, files: HuggingFaceFiles) -> None:
    hub.add(replace(FLUX, gated="auto"))
    answer = ask(files, quest(link()))
    found = only(answer)
    assert answer.word is Word.FOUND
    assert found.gated and found.token == "HF_TOKEN" and found.page == f"https://huggingface.co/{FLUX.id}"
    assert found.obstacle is not None and "licence" in found.obstacle and "HF_TOKEN" in found.obstacle
    assert (found.sha256, found.proof) == (SHA, "A") and found.confidence >= 0.95
    assert not Quest(quest().need, answer.candidates).settled


@pytest.mark.parametrize(
    ("worth", "words"), [("bad", "accept its licence"), ("unapproved", "ask for it on"), ("approved", None)]
)
def test_hf_row_gated_with_a_token(hub: HuggingFace, tmp_path: Path, worth: Any, words: str | None) -> None:
    hub.add(replace(FLUX, gated="manual"))
    hub.tokens[TOKEN] = worth
    found = only(ask(HuggingFaceFiles(asker_for(hub, tmp_path, TOKEN)), quest(link())))
    assert found.sha256 == SHA
    assert found.obstacle is None if words is None else words in (found.obstacle or "")


def test_hf_row_missing_or_private(hub: HuggingFace, files: HuggingFaceFiles, tmp_path: Path) -> None:
    hub.add(Repository("a/secret", [AE], private=True))
    for repo in ("a/secret", "no/where"):
        answer = ask(files, quest(link(repo)))
        assert answer.word is Word.NOT_FOUND and "missing or private" in answer.why
        found = only(answer)
        assert "HF_TOKEN" in (found.obstacle or "") and found.confidence < 0.1
    hub.tokens[TOKEN] = "approved"
    mine = HuggingFaceFiles(asker_for(hub, tmp_path / "other", TOKEN))
    assert only(ask(mine, quest(link("a/secret")))).sha256 == SHA
    assert ask(mine, quest(link("no/where"))).word is Word.NOT_FOUND


def test_hf_row_disabled_and_legal(hub: HuggingFace, files: HuggingFaceFiles) -> None:
    hub.add(replace(FLUX, disabled=True))
    assert "disabled" in (only(ask(files, quest(link()))).obstacle or "")
    hub.trouble = Trouble(451, only="/resolve/")
    blocked = ask(files, quest(link("a/b")))
    assert blocked.word is Word.NOT_FOUND and "legal" in (only(blocked).obstacle or "")


def test_hf_row_entry_not_found_looks_through_the_repository(hub: HuggingFace, files: HuggingFaceFiles) -> None:
    answer = ask(files, quest(link(path="ae.safetensors")))
    gone, moved = answer.candidates
    assert answer.word is Word.FOUND and "is gone from" in answer.why
    assert gone.source == "embedded" and "is gone" in (gone.obstacle or "") and gone.confidence < 0.1
    assert moved.url == link(revision=FLUX.sha) and moved.source == "huggingface"
    assert moved.confidence >= AUTOMATIC and moved.sha256 == SHA and "which is gone" in moved.evidence[0]


def test_a_moved_file_that_could_be_two_is_not_automatic(hub: HuggingFace, files: HuggingFaceFiles) -> None:
    hub.add(Repository("a/b", [RepoFile.lfs("x/ae.safetensors"), RepoFile.lfs("y/ae.safetensors")]))
    answer = ask(files, quest(link("a/b", "ae.safetensors")))
    assert len(answer.candidates) == 3
    assert all(candidate.confidence < AUTOMATIC for candidate in answer.candidates)


def test_hf_row_entry_not_found_anywhere(files: HuggingFaceFiles) -> None:
    answer = ask(files, quest(link(path="vae/other.safetensors"), name="other.safetensors"))
    assert answer.word is Word.NOT_FOUND and only(answer).obstacle is not None


def test_hf_row_revision_not_found_looks_at_main(files: HuggingFaceFiles) -> None:
    answer = ask(files, quest(link(revision="v0.1")))
    assert "no revision v0.1" in answer.why
    assert answer.candidates[1].url == link(revision=FLUX.sha)


@pytest.mark.parametrize("trouble", [Trouble(500), Trouble(503), Trouble(429, {"Retry-After": "600"})])
def test_hf_row_outages_are_never_not_found(hub: HuggingFace, files: HuggingFaceFiles, trouble: Trouble) -> None:
    hub.trouble = trouble
    answer = ask(files, quest(link()))
    assert answer.word is Word.COULD_NOT_LOOK and not answer.candidates
    assert f"answered {trouble.status}" in answer.why


def test_hf_row_rate_limited_by_header_alone(hub: HuggingFace, files: HuggingFaceFiles) -> None:
    hub.window["resolvers"] = (0, 112)
    assert ask(files, quest(link())).word is Word.COULD_NOT_LOOK
    assert ask(files, quest(link("a/b"))).word is Word.COULD_NOT_LOOK
    assert len(hub.requests) == 1


def test_silence_is_never_not_found(hub: HuggingFace, tmp_path: Path) -> None:
    hub.trouble = Trouble(held=True)
    files = HuggingFaceFiles(asker_for(hub, tmp_path, question_seconds=0.05))
    assert ask(files, quest(link())).word is Word.COULD_NOT_LOOK


def test_a_login_page_in_between_is_never_found(hub: HuggingFace, files: HuggingFaceFiles) -> None:
    hub.trouble = Trouble(302, {"Location": "https://login.invalid/"})
    assert ask(files, quest(link())).word is Word.COULD_NOT_LOOK
    hub.trouble = None
    assert ask(files, quest(link())).word is Word.FOUND, "it is not remembered either"


def test_what_one_place_lacks_another_may_have(hub: HuggingFace, files: HuggingFaceFiles) -> None:
    hub.trouble = Trouble(500, only="/a/b/")
    asked = quest(link())
    both = replace(asked, known=(*asked.known, Candidate(link("a/b"), "ae.safetensors", "vae", "note")))
    answer = ask(files, both)
    assert answer.word is Word.FOUND and only(answer).sha256 == SHA and "500" in answer.why


def test_who_names_nothing_on_hugging_face_is_not_answered(hub: HuggingFace, files: HuggingFaceFiles) -> None:
    elsewhere = quest("https://example.invalid/ae.safetensors")
    assert files.look([quest(), elsewhere], Leash()) == {}
    assert hub.requests == []


def test_a_pulled_leash_is_felt(files: HuggingFaceFiles) -> None:
    leash = Leash()
    leash.pull()
    with pytest.raises(Interrupted):
        files.look([quest(link())], leash)


# What notes speak of


def test_a_repository_in_a_note_is_looked_through(files: HuggingFaceFiles) -> None:
    found = only(ask(files, quest(hints=(f"https://huggingface.co/{FLUX.id}",))))
    assert found.source == "huggingface" and found.url == link(revision=FLUX.sha) and found.sha256 == SHA
    assert found.confidence == pytest.approx(0.93) and "own note" in found.evidence[0]


def test_a_folder_in_a_note_is_looked_through(hub: HuggingFace, files: HuggingFaceFiles) -> None:
    hub.add(Repository("a/b", [RepoFile.lfs("x/ae.safetensors"), RepoFile.lfs("y/ae.safetensors")]))
    either = ask(files, quest(hints=("https://huggingface.co/a/b",)))
    assert len(either.candidates) == 2 and all(each.confidence < AUTOMATIC for each in either.candidates)
    assert only(ask(files, quest(hints=("https://huggingface.co/a/b/tree/main/x",)))).confidence >= AUTOMATIC


def test_a_generic_name_in_a_note_is_for_a_person(hub: HuggingFace, files: HuggingFaceFiles) -> None:
    hub.add(Repository("a/b", [RepoFile.lfs("model.safetensors")]))
    hint = ("https://huggingface.co/a/b",)
    assert only(ask(files, quest(name="model.safetensors", hints=hint))).confidence < AUTOMATIC


def test_a_repository_without_the_file_is_said(files: HuggingFaceFiles) -> None:
    answer = ask(files, quest(name="other.safetensors", hints=(f"https://huggingface.co/{FLUX.id}",)))
    assert answer.word is Word.NOT_FOUND and "no file of that name" in answer.why


def test_a_gated_repository_in_a_note_tells_the_way_in(hub: HuggingFace, files: HuggingFaceFiles) -> None:
    hub.add(replace(FLUX, gated="auto"))
    found = only(ask(files, quest(hints=(f"https://huggingface.co/{FLUX.id}",))))
    assert found.gated and found.sha256 == SHA and "licence" in (found.obstacle or "")


def test_a_large_repository_is_read_page_by_page(hub: HuggingFace, files: HuggingFaceFiles) -> None:
    hub.add(Repository("a/b", [*(RepoFile(f"a/{number:05}", 1) for number in range(2100)), AE]))
    assert only(ask(files, quest(hints=("https://huggingface.co/a/b",)))).sha256 == SHA
    assert sum("/tree/" in asked.path for asked in hub.requests) == 3


# The stand-in answers, and we read, what was recorded


def sample(name: str) -> Any:
    path = SAMPLES / f"{name}.json"
    if not path.exists():
        pytest.skip(f"no recordings here: {path}")
    return json.loads(path.read_text(encoding="utf-8"))


def head_of(response: dict[str, Any]) -> Head:
    headers = {name.lower(): str(value) for name, value in response.get("headers", {}).items()}
    return Head(response["status"], headers, (), "")


@pytest.mark.parametrize(
    ("when", "standing"),
    [
        ("gated, anonymous", Standing.GATED),
        ("gated, valid token", Standing.NOT_APPROVED),
        ("repo does not exist or is private", Standing.NO_REPOSITORY),
        ("repo does not exist or no access", Standing.NO_REPOSITORY),
        ("file not in the revision", Standing.NO_FILE),
        ("revision unknown", Standing.NO_REVISION),
        ("disabled", Standing.DISABLED),
        ("legal block", Standing.BLOCKED),
    ],
)
def test_recorded_errors_are_read(when: str, standing: Standing) -> None:
    (case,) = [case for case in sample("hf_resolve_errors")["response"] if case["when"].startswith(when)]
    assert seen_of(head_of(case), HubFile("a/b", "main", "c")).standing is standing


def test_the_stand_in_answers_errors_as_they_were_recorded(hub: HuggingFace, tmp_path: Path) -> None:
    hub.add(Repository("g/ated", [AE], gated="auto"))
    hub.tokens[TOKEN] = "unapproved"
    recorded = {case["when"].partition(" (")[0]: case for case in sample("hf_resolve_errors")["response"]}
    made = {
        "gated, anonymous": (None, link("g/ated")),
        "gated, valid token without approval": (TOKEN, link("g/ated")),
        "repo does not exist or is private, anonymous": (None, link("no/where")),
        "repo does not exist or no access, authenticated": (TOKEN, link("no/where")),
        "file not in the revision": (None, link(path="other.txt")),
        "revision unknown": (None, link(revision="v9")),
    }
    for when, (token, url) in made.items():
        head = asker_for(hub, tmp_path / when.replace(" ", "_"), token).head(url)
        told = recorded[when]
        assert head.status == told["status"], when
        assert head.headers.get("x-error-code") == told["headers"].get("x-error-code"), when
        assert head.headers["x-error-message"][:15] == told["headers"]["x-error-message"][:15], when
        assert ("www-authenticate" in head.headers) == ("www-authenticate" in told["headers"]), when


def test_the_stand_in_redirects_as_recorded(hub: HuggingFace, tmp_path: Path) -> None:
    asker = asker_for(hub, tmp_path)
    large = sample("hf_resolve_head_lfs")["response"]
    head = asker.head(link())
    assert head.status == large["status"] and head.headers["location"].startswith(f"{NOWHERE}/xet-bridge-us/")
    assert seen_of(head, HubFile(FLUX.id, "main", AE.path)).blob is not None
    small = sample("hf_resolve_small_file")["response"]
    hops = asker.head(link(path="config.json")).hops
    assert small["status"] == 307 and hops[0]["location"].startswith(small["headers"]["Location"].split("OWNER")[0])
    assert hops[0]["x-repo-commit"] == FLUX.sha and len(hops[0]["x-linked-etag"].strip('"')) == 40


def test_recorded_heads_trees_and_lists_are_read() -> None:
    old = seen_of(head_of(sample("hf_resolve_2023_cloudfront")["response"]), HubFile("a/b", "main", "c"))
    assert old.blob is not None and old.blob.size == 1_215_981_830 and old.blob.sha256 is not None
    assert old.commit == "39593d5650112b4cc580433f6b0435385882d819"
    blobs = list(blobs_of(sample("hf_tree")["response"]["body"]))
    assert [(blob.path, blob.size) for blob in blobs] == [(".gitattributes", 1519), ("face_yolov8n.pt", 6_230_011)]
    assert blobs[0].sha256 is None and (blobs[1].sha256 or "").startswith("70b640f8")
    (entry,) = sample("hf_search")["response"]["body"]
    (repo,) = repos_of([entry | {"sha": "a" * 40}])
    assert repo.id == "Bingsu/adetailer" and repo.paths == ("face_yolov8n.pt",)


def test_the_stand_in_lists_as_recorded(hub: HuggingFace, tmp_path: Path) -> None:
    asker = asker_for(hub, tmp_path)
    told = {entry["type"]: set(entry) for entry in sample("hf_tree")["response"]["body"]}
    made = asker.json(f"https://huggingface.co/api/models/{FLUX.id}/tree/main?recursive=true")
    assert set(made[0]) == {"type", "oid", "size", "path"} and made[-1]["type"] == "file"
    assert set(made[-1]) == told["file"]
    (entry,) = asker.json("https://huggingface.co/api/models?search=flux.1&full=true&limit=5")
    recorded = set(sample("hf_search")["response"]["body"][0]) - {"library_name"}
    assert recorded <= set(entry)
    info = asker.json(f"https://huggingface.co/api/models/{FLUX.id}?blobs=True")
    lora = sample("hf_model_info_lora")["response"]["body"]["siblings"][0]
    assert set(info["siblings"][0]) == set(lora) and set(info["siblings"][0]["lfs"]) == set(lora["lfs"])


@pytest.mark.parametrize("junk", [None, 1, "x", {}, [1], [{"type": "file"}], [{"type": "file", "path": 3}], [[]]])
def test_what_is_no_list_is_an_empty_one(junk: Any) -> None:
    assert list(blobs_of(junk)) == [] and list(repos_of(junk)) == []


@pytest.mark.parametrize("size", [-1, 1 << 60, "12", True, None, 1.5])
def test_a_size_that_is_none_is_not_believed(size: Any) -> None:
    (blob,) = blobs_of([{"type": "file", "path": "a", "size": size, "lfs": {"oid": "z" * 64}}])
    assert blob.size is None and blob.sha256 is None

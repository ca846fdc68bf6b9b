"""A name is looked for on Hugging Face: the right file or none, and never an outage told as "not found"."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_doctor.needs import Candidate, Need
from comfy_doctor.resolvers.huggingface import HuggingFaceSearch
from comfy_doctor.resolvers.huggingface.names import MAX_QUERIES, Fit, fit, named_after, queries_for
from comfy_doctor.resolvers.huggingface.records import Blob, Repo, Standing
from comfy_doctor.resolvers.huggingface.weighing import Place, weigh
from comfy_doctor.resolvers.resolver import AUTOMATIC, Answer, Quest, Word
from download_worker.errors import Interrupted
from download_worker.leash import Leash
from tests.doctor.test_resolvers_huggingface import NOWHERE, asker_for
from tests.hub.huggingface import HuggingFace, RepoFile, Repository, Trouble

PUBLISHERS = ("Comfy-Org", "Kijai", "black-forest-labs")
UMT5 = "umt5_xxl_fp8_e4m3fn_scaled.safetensors"
WAN = Repository(
    "Comfy-Org/Wan_2.1_ComfyUI_repackaged",
    [
        RepoFile.lfs(f"split_files/text_encoders/{UMT5}", size=6_735_906_897, seed="umt5"),
        RepoFile.lfs("split_files/vae/wan_2.1_vae.safetensors"),
        RepoFile("README.md", 20),
    ],
    downloads=1000,
)
LORA = "gummycandy_qwen_style.safetensors"
STRANGER = Repository("enigmatic/gummycandy_qwen_style", [RepoFile.lfs(LORA)], downloads=5)


@pytest.fixture
def hub() -> Iterator[HuggingFace]:
    noise = [
        Repository(f"someone/qwen-finetune-{n}", [RepoFile.lfs("model.safetensors", seed=str(n))]) for n in range(9)
    ]
    with HuggingFace([WAN, STRANGER, *noise], cdn=NOWHERE) as host:
        yield host


@pytest.fixture
def search(hub: HuggingFace, tmp_path: Path) -> HuggingFaceSearch:
    return HuggingFaceSearch(asker_for(hub, tmp_path), PUBLISHERS)


def need(name: str = UMT5, folder: str | None = "text_encoders") -> Need:
    return Need(folder, name, ())


def ask(search: HuggingFaceSearch, wanted: Need, families: frozenset[str] = frozenset()) -> Answer:
    return search.look([Quest(wanted, families=families)], Leash())[wanted.key]


def only(answer: Answer) -> Candidate:
    (candidate,) = answer.candidates
    return candidate


# Through the real client


def test_a_publishers_file_is_found_by_its_name_and_proven(search: HuggingFaceSearch) -> None:
    answer = ask(search, need())
    found = only(answer)
    assert answer.word is Word.FOUND and found.confidence >= AUTOMATIC
    assert found.url.endswith(f"/Wan_2.1_ComfyUI_repackaged/resolve/{WAN.sha}/split_files/text_encoders/{UMT5}")
    assert (found.size, found.proof, found.source) == (6_735_906_897, "A", "huggingface")
    assert found.sha256 == RepoFile.lfs("", seed="umt5").sha256 and found.obstacle is None


def test_equal_bytes_elsewhere_are_mirrors_and_make_it_surer(hub: HuggingFace, search: HuggingFaceSearch) -> None:
    hub.add(Repository("Kijai/WanVideo_comfy", [RepoFile.lfs(UMT5, seed="umt5")]))
    found = only(ask(search, need()))
    assert found.confidence >= 0.95 and len(found.mirrors) == 1 and "Kijai" in found.mirrors[0]


def test_other_bytes_of_the_same_name_stop_the_automatic_choice(hub: HuggingFace, search: HuggingFaceSearch) -> None:
    hub.add(Repository("Kijai/WanVideo_comfy", [RepoFile.lfs(UMT5, seed="another")]))
    answer = ask(search, need())
    assert len(answer.candidates) == 2
    assert all(candidate.confidence < AUTOMATIC for candidate in answer.candidates)


def test_a_repository_named_after_the_file_is_found_and_proves_nothing(search: HuggingFaceSearch) -> None:
    answer = ask(search, need(LORA, "loras"))
    assert 0.5 < only(answer).confidence < AUTOMATIC and "named after it" in only(answer).evidence[-1]
    assert "searched for" in answer.why


def test_a_strangers_file_is_for_a_person(hub: HuggingFace, search: HuggingFaceSearch) -> None:
    hub.add(Repository("who/gummycandy-things", [RepoFile.lfs("gummycandy_v9_special.safetensors")]))
    found = only(ask(search, need("gummycandy_v9_special.safetensors", "loras")))
    assert 0.5 < found.confidence < AUTOMATIC


def test_another_spelling_is_for_a_person(search: HuggingFaceSearch) -> None:
    found = only(ask(search, need("UMT5-xxl-fp8-e4m3fn-scaled.safetensors")))
    assert found.filename == UMT5 and found.confidence < AUTOMATIC


def test_a_file_for_another_folder_is_for_a_person(search: HuggingFaceSearch) -> None:
    assert only(ask(search, need(folder="checkpoints"))).confidence < AUTOMATIC


def test_generic_names_are_never_automatic(hub: HuggingFace, search: HuggingFaceSearch) -> None:
    hub.add(Repository("Kijai/model", [RepoFile.lfs("model.safetensors")]))
    alone = ask(search, need("model.safetensors", "vae"))
    assert alone.word is Word.NOT_FOUND and "on many files" in alone.why
    inside = ask(search, need("qwen-finetune-3/model.safetensors", "vae"))
    assert inside.candidates and all(candidate.confidence < 0.5 for candidate in inside.candidates)


def test_not_found_says_what_was_searched_for(search: HuggingFaceSearch) -> None:
    answer = ask(search, need("unheard_of_thing_v3.safetensors", "loras"))
    assert answer.word is Word.NOT_FOUND and not answer.candidates
    assert "unheard-of-thing" in answer.why


def test_a_gated_twin_gives_way_to_the_open_one(hub: HuggingFace, search: HuggingFaceSearch) -> None:
    hub.add(Repository("black-forest-labs/X", [RepoFile.lfs(f"te/{UMT5}", seed="umt5")], gated="auto"))
    found = only(ask(search, need()))
    assert "Comfy-Org" in found.url and found.obstacle is None and not found.mirrors


def test_a_gated_one_alone_tells_the_way_in(hub: HuggingFace, search: HuggingFaceSearch) -> None:
    hub.add(replace(WAN, gated="auto"))
    found = only(ask(search, need()))
    assert found.gated and found.token == "HF_TOKEN" and "licence" in (found.obstacle or "")
    assert found.sha256 is not None


@pytest.mark.parametrize("trouble", [Trouble(500), Trouble(503), Trouble(429, {"Retry-After": "600"})])
def test_hf_row_outages_are_never_not_found(hub: HuggingFace, search: HuggingFaceSearch, trouble: Trouble) -> None:
    hub.trouble = trouble
    answer = ask(search, need())
    assert answer.word is Word.COULD_NOT_LOOK and f"answered {trouble.status}" in answer.why
    assert len(hub.requests) <= 3 * 8, "a host that is down is not asked for every publisher"


def test_an_outage_in_the_middle_leaves_nothing_automatic(hub: HuggingFace, search: HuggingFaceSearch) -> None:
    """Where a publisher could not be listed there may be other bytes of the same name."""
    hub.trouble = Trouble(500, only="author=Kijai")
    found = only(ask(search, need()))
    assert found.confidence < AUTOMATIC and "not everything could be looked at" in found.evidence[-1]


def test_an_outage_of_the_file_host_is_never_not_found(hub: HuggingFace, search: HuggingFaceSearch) -> None:
    hub.trouble = Trouble(502, only="/resolve/")
    assert ask(search, need()).word is Word.COULD_NOT_LOOK


def test_one_model_costs_at_most_twelve_questions(hub: HuggingFace, search: HuggingFaceSearch) -> None:
    name = "alpha_beta_gamma_delta_epsilon.safetensors"
    for number in range(20):
        files = [RepoFile.lfs(name, seed=str(number))]
        hub.add(Repository(f"o{number}/alpha-{number}", files, gated="auto", downloads=number))
    ask(search, need(name, "loras"))
    own = [asked for asked in hub.requests if "author" not in asked.query]
    assert len(own) <= 12
    assert sum("search" in asked.query for asked in own) == MAX_QUERIES


def test_many_models_share_the_lists_of_publishers(hub: HuggingFace, search: HuggingFaceSearch) -> None:
    wanted = [need(), need("wan_2.1_vae.safetensors", "vae"), need(LORA, "loras")]
    answers = search.look([Quest(each) for each in wanted], Leash())
    assert [answers[each.key].word for each in wanted] == [Word.FOUND] * 3
    assert sum("author" in asked.query for asked in hub.requests) == len(PUBLISHERS)
    hub_requests = len(hub.requests)
    search.look([Quest(each) for each in wanted], Leash())
    assert len(hub.requests) == hub_requests, "for a day they are kept"


def test_a_publisher_with_many_repositories_is_read_page_by_page(hub: HuggingFace, search: HuggingFaceSearch) -> None:
    for number in range(130):
        hub.add(Repository(f"Kijai/r{number:03}", [RepoFile.lfs(f"kj_file_{number:03}_x.safetensors")]))
    assert ask(search, need("kj_file_129_x.safetensors", "loras")).word is Word.FOUND


def test_a_publishers_file_is_looked_for_at_others_too(hub: HuggingFace, search: HuggingFaceSearch) -> None:
    """The first search only: who has other bytes under its name makes it less sure."""
    for owner in ("anna", "bert"):
        hub.add(Repository(f"{owner}/umt5-xxl-resaved", [RepoFile.lfs(UMT5, seed="resaved")]))
    found = ask(search, need()).candidates
    assert len(found) == 2 and found[0].url.startswith("https://huggingface.co/Comfy-Org/")
    assert found[0].confidence < AUTOMATIC and "somebody else has other bytes" in found[0].evidence[-1]
    assert sum("search" in asked.query for asked in hub.requests) == 1


def test_what_one_model_brings_is_seen_for_the_others_of_its_workflow(
    hub: HuggingFace, search: HuggingFaceSearch
) -> None:
    """No word of this vae leads to the repository that its lora is found in."""
    lora, vae = "mossy_valley_style.safetensors", "k_vae_fifteen.safetensors"
    hub.add(Repository("who/mossy-valley", [RepoFile.lfs(lora), RepoFile.lfs(f"vae/{vae}")]))
    assert ask(search, need(vae, "vae")).word is Word.NOT_FOUND
    wanted = [need(vae, "vae"), need(lora, "loras")]
    answers = search.look([Quest(each) for each in wanted], Leash())
    assert [only(answers[each.key]).filename for each in wanted] == [vae, lora]


def test_nothing_to_look_for_is_no_question(hub: HuggingFace, search: HuggingFaceSearch) -> None:
    assert search.look([], Leash()) == {} and hub.requests == []


def test_a_pulled_leash_is_felt(search: HuggingFaceSearch) -> None:
    leash = Leash()
    leash.pull()
    with pytest.raises(Interrupted):
        search.look([Quest(need())], leash)


# How sure: pure


def place(repo: str, path: str, digest: str | None = "a", *, gated: bool = False) -> Place:
    sha = None if digest is None else digest * 64
    standing = Standing.GATED if gated else Standing.HERE
    return Place(Repo(repo, "c" * 40, (path,), gated=gated), Blob(path, 10, sha), standing)


NAME = "velvetWitchOfTheNorthernMarsh_v2.safetensors"


def sureness(*places: Place, name: str = NAME, folder: str | None = "loras", families: str = "") -> list[float]:
    found = weigh(need(name, folder), places, families=frozenset(filter(None, [families])))
    return [candidate.confidence for candidate in found]


def test_several_strangers_make_it_likely_and_not_automatic() -> None:
    """They may have taken a copy of what is gone from each other."""
    (several,) = sureness(place("a/x", NAME), place("b/y", NAME))
    (one,) = sureness(place("a/x", NAME), place("a/y", NAME))
    assert one < several < AUTOMATIC, "one owner twice is one owner"


def test_of_strangers_with_other_bytes_those_who_agree_are_likelier() -> None:
    first, second = sureness(place("a/x", NAME, "a"), place("b/y", NAME, "b"), place("c/z", NAME, "b"))
    assert second < first < AUTOMATIC and first + second < 1
    found = weigh(need(NAME, "loras"), [place("a/x", NAME, "a"), place("b/y", NAME, "b"), place("c/z", NAME, "b")])
    assert found[0].sha256 == "b" * 64


def test_a_stranger_with_other_bytes_is_heard_against_a_publisher() -> None:
    publisher, others = place("Kijai/x", NAME, "a"), (place("b/y", NAME, "b"), place("c/z", NAME, "b"))
    assert max(sureness(publisher)) >= AUTOMATIC
    assert max(sureness(publisher, others[0])) < AUTOMATIC
    assert max(sureness(publisher, *others)) < AUTOMATIC
    assert max(sureness(publisher, *others, place("d/w", NAME, "a"))) >= AUTOMATIC, "somebody bears it out"


def test_a_pickle_of_a_publisher_beside_other_bytes_is_for_a_person() -> None:
    pickle = NAME.replace(".safetensors", ".pt")
    places = (place("Kijai/x", pickle, "a"), place("b/y", pickle, "b"))
    assert max(sureness(*places, name=pickle)) < AUTOMATIC


def test_a_pickle_of_a_stranger_is_for_a_person() -> None:
    pickle = NAME.replace(".safetensors", ".pt")
    assert sureness(place("a/x", pickle), place("b/y", pickle), name=pickle) < [AUTOMATIC]
    assert sureness(place("Kijai/x", pickle), name=pickle) >= [AUTOMATIC]


@pytest.mark.parametrize("name", ["model.safetensors", "learned_embeds-steps-1000.bin", "diffusion_pytorch_model.bin"])
def test_names_that_libraries_write_are_never_automatic(name: str) -> None:
    assert sureness(*(place(f"{owner}/x", name) for owner in PUBLISHERS), name=name) < [0.5]


def test_a_name_of_one_word_needs_three_witnesses() -> None:
    two, three = (["Kijai/x", "Kijai/y"], ["Kijai/x", "Kijai/y", "Comfy-Org/z"])
    assert sureness(*(place(repo, "ae.sft") for repo in two), name="ae.sft") < [AUTOMATIC]
    assert sureness(*(place(repo, "ae.sft") for repo in three), name="ae.sft") >= [AUTOMATIC]


def test_the_only_known_publisher_is_likelier_the_original_than_a_stranger() -> None:
    one, other = sureness(place("a/x", NAME, "b"), place("Kijai/y", NAME, "a"))
    assert AUTOMATIC > one > 0.8 > other


def test_two_known_publishers_with_other_bytes_are_a_question() -> None:
    assert max(sureness(place("Comfy-Org/x", NAME, "b"), place("Kijai/y", NAME, "a"))) < AUTOMATIC


def test_the_folder_tells_two_of_one_publisher_apart() -> None:
    places = (place("Kijai/x", f"loras/{NAME}", "a"), place("Kijai/x", f"vae/{NAME}", "b"))
    one, other = sureness(*places)
    assert one >= AUTOMATIC > other
    assert max(sureness(*places, folder=None)) < AUTOMATIC


def test_the_family_of_the_graph_leads_but_does_not_decide() -> None:
    ae = "ae_special_encoder_one.safetensors"
    places = (place("Kijai/FLUX.2-dev", ae, "a"), place("Kijai/FLUX.1-dev", ae, "b"))
    found = weigh(need(ae, "vae"), places, families=frozenset({"flux"}))
    assert "FLUX.1" in found[0].url and found[0].confidence < AUTOMATIC


def test_without_a_digest_nothing_is_automatic() -> None:
    assert sureness(place("Kijai/x", NAME, None)) < [AUTOMATIC]


def test_a_gated_place_comes_after_an_open_one() -> None:
    (found,) = weigh(need(NAME, "loras"), [place("Comfy-Org/x", NAME, gated=True), place("a/y", NAME)])
    assert found.url.startswith("https://huggingface.co/a/y/") and found.obstacle is None


@pytest.mark.parametrize(
    ("path", "folder", "expected"),
    [
        ("split_files/text_encoders/x", "text_encoders", Fit.YES),
        ("split_files/text_encoders/x", "clip", Fit.YES),
        ("transformer/x", "unet", Fit.YES),
        ("Text-Encoders/x", "text_encoders", Fit.YES),
        ("x", "vae", Fit.UNTOLD),
        ("Lightx2v/x", "loras", Fit.UNTOLD),
        ("split_files/diffusion_models/x", "loras", Fit.OTHER),
        ("vae/x", None, Fit.UNTOLD),
        ("sams/x", "sams", Fit.YES),
        ("vae", "vae", Fit.UNTOLD),
    ],
)
def test_paths_speak_of_folders(path: str, folder: str | None, expected: Fit) -> None:
    assert fit(path, folder) is expected


@pytest.mark.parametrize(
    ("name", "queries"),
    [
        ("umt5_xxl_fp8_e4m3fn_scaled.safetensors", ("umt5-xxl", "umt-5", "umt5")),
        ("flux1-dev-Q4_K_S.gguf", ("flux1-dev", "flux-1", "flux1")),
        ("wan2.1_t2v_1.3B_fp16.safetensors", ("wan2.1-t2v-1.3B", "wan2.1-t2v", "wan-2.1", "wan2.1")),
        (
            "NetaYumev35_all_in_one.safetensors",
            ("NetaYumev35-all-in-one", "NetaYumev35-all-in", "NetaYumev35-all", "NetaYumev35", "NetaYume"),
        ),
        ("krea2_turbo_int8_convrot.safetensors", ("krea2-turbo", "krea-2", "turbo", "krea2")),
        ("4x-UltraSharp.pth", ("4x-UltraSharp", "UltraSharp")),
    ],
)
def test_queries_leave_out_how_weights_are_written(name: str, queries: tuple[str, ...]) -> None:
    assert queries_for(name) == queries


@given(st.text(max_size=200))
def test_queries_are_few_and_short_for_any_name(name: str) -> None:
    queries = queries_for(name)
    assert len(queries) <= MAX_QUERIES and all(3 <= len(query) <= 60 for query in queries)


def test_a_repository_is_named_after_a_file_only_if_that_says_enough() -> None:
    assert named_after(
        "systms/SYSTMS-INFL8-LoRA-Qwen-Image-Edit-2511", "SYSTMS_INFL8_LoRA_Qwen_Image_Edit_2511.safetensors"
    )
    assert not named_after("who/flux-lora", "flux_lora_v1.safetensors"), "family and form are no name"
    assert not named_after("who/gummy-candy", "gummy_candy_style.safetensors")

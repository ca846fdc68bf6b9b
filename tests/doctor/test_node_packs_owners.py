"""Which pack brings a node type: the rules, each on a list that is small enough to see through."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfy_doctor.needs import PackClue
from comfy_doctor.node_packs.index import MAX_FITTED_CHARS, MIN_FITTING, PackIndex, index_of, safe_pattern
from comfy_doctor.node_packs.owners import Company, PackChoice, choose, company_of

GIT = "https://github.com"


def listed(*places: str, **ids: str) -> dict[str, Any]:
    """A custom-node-list in this order; `ids` are the list's own ids by place with `__` for the slash."""
    named = {place.replace("__", "/"): listed_id for place, listed_id in ids.items()}
    return {
        "custom_nodes": [
            {"reference": f"{GIT}/{place}", "files": [f"{GIT}/{place}"]}
            | ({"id": named[place]} if place in named else {})
            for place in (*places, *(place for place in named if place not in places))
        ]
    }


def index(rows: dict[str, Any], pack_list: Any = None) -> PackIndex:
    """`rows`: place → its types, or (types, what else the map says)."""
    node_map = {}
    for place, row in rows.items():
        types, about = row if isinstance(row, tuple) else (row, {})
        node_map[f"{GIT}/{place}"] = [types, {"title_aux": place, **about}]
    return index_of(node_map, listed(*rows) if pack_list is None else pack_list)


def place(choice: PackChoice) -> str | None:
    return choice.repository and choice.repository.removeprefix(f"{GIT}/")


def others(choice: PackChoice) -> list[str]:
    return [other.removeprefix(f"{GIT}/") for other in choice.alternatives]


def test_the_only_pack_that_registers_a_type_is_it() -> None:
    choice = choose("VHS_VideoCombine", [], index({"k/ComfyUI-VideoHelperSuite": ["VHS_VideoCombine"]}))
    assert (place(choice), choice.came_from, choice.certain) == ("k/ComfyUI-VideoHelperSuite", "manager-map", True)
    assert choice.alternatives == () and choice.id is None


def test_a_type_that_nobody_registers_stays_without_a_repository() -> None:
    choice = choose("IPAdapterApply", [], index({"c/ComfyUI_IPAdapter_plus": ["IPAdapter", "IPAdapterAdvanced"]}))
    assert choice == PackChoice(why="no list and no workflow says which pack brings it")
    assert choice.public() is None


def test_of_several_packs_the_first_listed_is_a_guess_with_the_others_beside_it() -> None:
    two = index({"z/copy": ["T"], "a/origin": ["T"]}, listed("a/origin", "z/copy"))
    choice = choose("T", [], two)
    assert (place(choice), others(choice), choice.guess) == ("a/origin", ["z/copy"], True)
    assert "guess" in choice.why


def test_two_spellings_of_one_repository_are_one_pack() -> None:
    twice = index_of({f"{GIT}/a/b": [["T"], {}], f"{GIT}/a/b.git": [["T"], {}], f"{GIT}/a/b/": [["T"], {}]}, None)
    assert choose("T", [], twice).certain


def test_a_pack_that_is_in_no_pack_list_comes_last() -> None:
    choice = choose("T", [], index({"a/unlisted": ["T"], "z/listed": ["T"]}, listed("z/listed")))
    assert place(choice) == "z/listed"


def test_a_pack_that_the_workflow_needs_anyway_beats_an_older_one() -> None:
    two = index({"a/old": ["Shared"], "b/needed": ["Shared", "Own"]})
    alone = {kind: choose(kind, [], two) for kind in ("Shared", "Own")}
    assert place(alone["Shared"]) == "a/old"
    company = company_of(alone, {"Shared": frozenset({"w"}), "Own": frozenset({"w"})})
    together = choose("Shared", [], two, company["Shared"])
    assert (place(together), others(together), together.guess) == ("b/needed", ["a/old"], True)
    apart = company_of(alone, {"Shared": frozenset({"w"}), "Own": frozenset({"another"})})
    assert place(choose("Shared", [], two, apart["Shared"])) == "a/old"


def test_a_guess_is_no_company() -> None:
    two = index({"a/old": ["One"], "b/bundle": ["One", "Two"], "c/third": ["Two"]})
    alone = {kind: choose(kind, [], two) for kind in ("One", "Two")}
    company = company_of(alone, dict.fromkeys(alone, frozenset({"w"})))
    assert all(not near.needed for near in company.values())


def test_a_claim_to_a_type_beats_age_and_company() -> None:
    claimed = index({"a/old": ["T"], "b/claims": (["T"], {"preemptions": ["T"]})})
    choice = choose("T", [], claimed, Company({f"{GIT}/a/old": 3}))
    assert (place(choice), others(choice), choice.certain) == ("b/claims", ["a/old"], True)


def test_of_two_claims_none_is_certain() -> None:
    both = index({"a/one": (["T"], {"preemptions": ["T"]}), "b/two": (["T"], {"preemptions": ["T"]}), "c/c": ["T"]})
    choice = choose("T", [], both)
    assert (place(choice), others(choice), choice.guess) == ("a/one", ["b/two", "c/c"], True)


# --- the workflow's own word ------------------------------------------------------------------------------------------

TEACACHE = index({"old/accel": ["TeaCache"], "w/ComfyUI-TeaCache": ["TeaCache"]})


@pytest.mark.parametrize("cnr_id", ["ComfyUI-TeaCache", "comfyui_teacache", "teacache"])
def test_an_id_that_fits_a_registering_pack_decides(cnr_id: str) -> None:
    choice = choose("TeaCache", [PackClue(cnr_id, None, "1.2.3")], TEACACHE)
    assert (place(choice), choice.id, choice.version) == ("w/ComfyUI-TeaCache", cnr_id, "1.2.3")
    assert (choice.came_from, others(choice), choice.certain) == ("workflow", ["old/accel"], True)


def test_aux_id_beats_a_claim_of_another_pack() -> None:
    claimed = index({"p/chroma": (["Pulid"], {"preemptions": ["Pulid"]}), "l/ll": ["Pulid"]})
    choice = choose("Pulid", [PackClue(None, "L/LL", "ba90657")], claimed)
    assert (place(choice), choice.version, others(choice)) == ("l/ll", "ba90657", ["p/chroma"])


@pytest.mark.parametrize("version", ["unknown", "nightly", "", None])
def test_a_word_that_is_no_version_is_none(version: str | None) -> None:
    assert choose("TeaCache", [PackClue("teacache", None, version)], TEACACHE).version is None


def test_a_pack_that_is_named_exactly_counts_though_the_lists_miss_the_type() -> None:
    """ComfyUI-Lora-Manager spells its classes otherwise than the workflows (corpus 059)."""
    manager = index({"w/ComfyUI-Lora-Manager": ["LoraLoaderLM"], "x/other": ["Y"]})
    choice = choose("Lora Loader (LoraManager)", [PackClue("comfyui-lora-manager")], manager)
    assert (place(choice), choice.came_from) == ("w/ComfyUI-Lora-Manager", "workflow")


def test_an_id_that_only_resembles_a_pack_is_no_pick() -> None:
    """Nobody can know: the id is not the pack's name, and the list does not know the type (corpus 015)."""
    choice = choose("MergeVideo", [PackClue("Listhelper", None, "abc")], index({"d/ComfyUI-ListHelper": ["Other"]}))
    assert (choice.repository, choice.id, choice.version) == (None, "Listhelper", "abc")
    assert others(choice) == ["d/ComfyUI-ListHelper"] and choice.public() is not None


def test_the_lists_own_id_is_not_the_registrys() -> None:
    """ "audiotools" is one pack's id in the list and another's in the registry (corpus 013)."""
    rows = {"j/Jags_Audiotools": ["A"], "b/ComfyUI_AudioTools": ["LoadAudioMW"]}
    both = index(rows, listed(*rows, j__Jags_Audiotools="audiotools"))
    assert place(choose("LoadAudioMW", [PackClue("audiotools")], both)) == "b/ComfyUI_AudioTools"
    assert choose("SomethingNew", [PackClue("audiotools")], both).repository is None


def test_the_lists_own_id_is_a_guess_where_nothing_else_resembles_it() -> None:
    rows = {"s/Comfyroll_Nodes": ["CR A"]}
    choice = choose("CR B", [PackClue("crnodes")], index(rows, listed(*rows, s__Comfyroll_Nodes="crnodes")))
    assert (place(choice), choice.guess) == ("s/Comfyroll_Nodes", True)


def test_an_unlisted_repository_is_only_taken_when_no_list_knows_the_type() -> None:
    known = index({"a/pack": ["T"]})
    taken = choose("New", [PackClue(None, "me/mine", "abcdef0")], known)
    assert (place(taken), taken.guess, taken.version) == ("me/mine", True, "abcdef0")
    left = choose("T", [PackClue(None, "me/mine")], known)
    assert (place(left), others(left)) == ("a/pack", ["me/mine"])


def test_a_moved_or_copied_repository_leads_to_its_namesake() -> None:
    choice = choose("T", [PackClue(None, "old-owner/Pack_X", "abc")], index({"z/first": ["T"], "new/pack-x": ["T"]}))
    assert place(choice) == "new/pack-x"


@pytest.mark.parametrize("aux_id", ["../../etc", "a/b/c", "owner/na me", "https://evil.example/x", "a/" + "b" * 200])
def test_an_aux_id_that_is_no_github_place_says_nothing(aux_id: str) -> None:
    assert choose("New", [PackClue(None, aux_id)], index({"a/b": ["T"]})).repository is None


def test_the_word_of_most_nodes_counts() -> None:
    clues = [PackClue("teacache", None, "1.0")] + 2 * [PackClue("teacache", None, "2.0")]
    assert choose("TeaCache", clues, TEACACHE).version == "2.0"


def test_nodes_that_name_two_packs_make_a_guess() -> None:
    clues = [PackClue(None, "old/accel"), PackClue("teacache"), PackClue("teacache")]
    choice = choose("TeaCache", clues, TEACACHE)
    assert (place(choice), others(choice), choice.guess) == ("w/ComfyUI-TeaCache", ["old/accel"], True)


def test_comfyuis_own_id_names_no_pack() -> None:
    assert choose("New", [PackClue("comfy-core", None, "0.3.64")], TEACACHE).public() is None


def test_a_renamed_id_is_kept_beside_the_only_pack_that_brings_the_type() -> None:
    choice = choose("T", [PackClue("new-name", None, "3.1")], index({"a/old-name": ["T"]}))
    assert (place(choice), choice.id, choice.version, choice.came_from) == (
        "a/old-name",
        "new-name",
        "3.1",
        "manager-map",
    )


# --- patterns, marks, and what only JavaScript draws ------------------------------------------------------------------


def test_a_copy_that_alone_registers_a_type_with_another_packs_mark_is_a_guess() -> None:
    """The map of 2026 has `Seed (rgthree)` in a copy only."""
    rows = {
        "copy/Many": ["Seed (rgthree)", "Other", "More"],
        "r/rgthree": (["A (rgthree)", "B (rgthree)", "C (rgthree)"], {"nodename_pattern": r" \(rgthree\)$"}),
    }
    alone = choose("Seed (rgthree)", [], index(rows))
    assert (place(alone), alone.guess, others(alone)) == ("copy/Many", True, ["r/rgthree"])
    among = choose("Seed (rgthree)", [], index(rows), Company(needed={f"{GIT}/r/rgthree": 2}))
    assert (place(among), among.guess) == ("r/rgthree", True)


def test_a_packs_own_pattern_finds_types_that_no_list_names() -> None:
    choice = choose("Label (rgthree)", [], index({"r/rgthree-comfy": ([], {"nodename_pattern": r" \(rgthree\)$"})}))
    assert (place(choice), choice.came_from, choice.certain) == ("r/rgthree-comfy", "pattern", True)


def test_a_pattern_that_fits_mostly_other_packs_types_is_not_believed() -> None:
    wide = index(
        {"w/wide": (["HunyuanOne"], {"nodename_pattern": "Hunyuan"}), "k/k": [f"Hunyuan{n}" for n in range(9)]}
    )
    choice = choose("HunyuanUnheardOf", [], wide)
    assert (choice.repository, others(choice)) == (None, ["w/wide"])


def test_a_few_foreign_types_do_not_speak_against_a_pattern() -> None:
    rows: dict[str, Any] = {
        "r/r": ([], {"nodename_pattern": r" \(rr\)$"}),
        "x/x": [f"{n} (rr)" for n in range(MIN_FITTING - 1)],
    }
    assert place(choose("Label (rr)", [], index(rows))) == "r/r"


@pytest.mark.parametrize(
    "pattern", ["(a|a)" * 30, "(a+)+$", "(a*)*b", "(.*.*)*x", "a{9}", "[a-z]+", "(", ".*.*.*x$", "", 7, "x" * 999]
)
def test_t45_a_pattern_that_could_run_away_is_not_used(pattern: object) -> None:
    assert safe_pattern(pattern) is None


def test_t45_a_name_longer_than_any_real_one_is_not_held_against_patterns() -> None:
    """`.*.*x$` costs the square of a name's length."""
    found = index({"r/r": ([], {"nodename_pattern": ".*.*x$"})})
    longest = "a" * (MAX_FITTED_CHARS - 1) + "x"
    assert found.matching(longest) == ((f"{GIT}/r/r",), ())
    assert found.matching(f"a{longest}") == ((), ())


@pytest.mark.parametrize(
    "pattern", [r" \(rgthree\)$", r"^\[Comfy3D\]", r"(Gallery-dl|Web.*Scraper)", "^🤖 Leon", r"C\+\+"]
)
def test_the_patterns_that_there_are_can_be_used(pattern: str) -> None:
    assert safe_pattern(pattern) is not None


def test_a_mark_that_three_types_of_one_pack_share_is_the_packs() -> None:
    marked = index({"p/scripts": ["A|snake", "B|snake", "C|snake"], "x/x": ["D (Advanced)"]})
    assert place(choose("E|snake", [], marked)) == "p/scripts"
    assert choose("E (Advanced)", [], marked).repository is None, "one type makes no rule"


def test_a_mark_that_two_packs_share_is_nobodys() -> None:
    marked = index({"p/p": ["A (x1)", "B (x1)", "C (x1)"], "q/q": ["D (x1)"]})
    assert choose("E (x1)", [], marked).repository is None


def test_a_mark_of_a_declared_neighbour_is_followed_unless_the_list_speaks_against_it() -> None:
    rows = index({"m/marked": ["M"], "x/x": ["Foreign (Two)"]})
    uses: dict[str, list[PackClue]] = {
        "One (Solo)": [PackClue(None, "m/marked")],
        "New (Solo)": [],
        "One (Two)": [PackClue(None, "m/marked")],
    }
    alone = {kind: choose(kind, clues, rows) for kind, clues in {**uses, "New (Two)": []}.items()}
    company = company_of(alone, dict.fromkeys(alone, frozenset({"w"})))
    assert place(choose("New (Solo)", [], rows, company["New (Solo)"])) == "m/marked"
    assert choose("New (Two)", [], rows, company["New (Two)"]).repository is None


def test_a_packs_own_name_as_mark_needs_a_class_that_is_spelled_alike() -> None:
    manager = index({"w/ComfyUI-Lora-Manager": ["UNETLoaderLM"]})
    assert place(choose("Unet Loader (LoraManager)", [], manager)) == "w/ComfyUI-Lora-Manager"
    assert choose("Play Sound (LoraManager)", [], manager).repository is None


@pytest.mark.parametrize(
    ("node_type", "pack"),
    [
        ("SetNode", "kijai/ComfyUI-KJNodes"),
        ("easy getNode", "yolain/ComfyUI-Easy-Use"),
        ("PresetText|pysssss", "pythongosssss/ComfyUI-Custom-Scripts"),
        ("## My Component [a1b2c3]", "Comfy-Org/ComfyUI-Manager"),
    ],
)
def test_what_only_javascript_registers_is_known_without_any_list(node_type: str, pack: str) -> None:
    assert place(choose(node_type, [], index_of(None, None))) == pack


@pytest.mark.parametrize("spelling", ["comfyanonymous/ComfyUI", "Comfy-Org/ComfyUI"])
def test_a_type_that_the_map_gives_to_comfyui_itself_is_never_a_packs(spelling: str) -> None:
    choice = choose("NewCore", [], index({spelling: ["NewCore"], "copy/cat": ["NewCore"]}))
    assert choice.core and choice.repository is None and choice.id == "comfy-core"


# --- hostile lists ----------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from([f"{GIT}/a/b", "T"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([f"{GIT}/a/b", "custom_nodes", "id",
        "files", "reference", "preemptions", "nodename_pattern", "x"]), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(JSON, JSON, st.text(max_size=12))
def test_lists_of_any_shape_make_an_index(node_map: Any, pack_list: Any, node_type: str) -> None:
    made = index_of(node_map, pack_list)
    named = choose("T", [PackClue(node_type, node_type, node_type)], made)
    for choice in (named, choose(node_type, [], made)):
        assert choice.repository is None or choice.repository.startswith("https://"), choice
        assert choice.repository not in choice.alternatives


def test_types_of_the_wrong_kind_are_left_out_and_the_rest_stays() -> None:
    odd = index_of(
        {f"{GIT}/a/b": [["T", 7, None, ["x"], "y" * 999], {}], "javascript:x": [["U"], {}], f"{GIT}/c/d": 5}, 7
    )
    assert dict(odd.owners) == {"T": (f"{GIT}/a/b",)}


def test_many_types_are_chosen_in_linear_time() -> None:
    big = index({f"o/p{n}": [f"T{n}-{m}" for m in range(10)] for n in range(2000)})
    begun = time.process_time()
    for n in range(2000):
        choose(f"T{n}-3", [], big)
    assert time.process_time() - begun < 1.0

"""Digests from all sources are compared; who disagrees is shown, and nothing is picked silently."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from comfy_doctor.needs import Candidate, Need, Source, Stated
from comfy_doctor.resolvers.consensus import Hearing, Judged, combined
from comfy_doctor.resolvers.resolver import AUTOMATIC

A, B, C = "a" * 64, "b" * 64, "c" * 64
HF = "https://huggingface.co/o/r/resolve/main/x.safetensors"


def had(
    url: str = HF, *, sha256: str | None = None, confidence: float = 0.95, source: Source = "embedded", **more: object
) -> Candidate:
    candidate = Candidate(url, "x.safetensors", "loras", source, sha256=sha256, confidence=confidence)
    return replace(candidate, **more)  # type: ignore[arg-type]


def heard(*told: tuple[str, Candidate], stated: tuple[Stated, ...] = ()) -> Judged:
    hearing = Hearing(Need("loras", "x.safetensors", (), stated=stated))
    for by, candidate in told:
        hearing.hear([candidate], by)
    return hearing.judge()


def test_one_sure_source_is_chosen() -> None:
    assert heard(("the workflow", had(sha256=A))).choice == had(sha256=A)


def test_an_unsure_source_is_shown_and_not_chosen() -> None:
    judged = heard(("the agent", had(confidence=AUTOMATIC - 0.01)))
    assert judged.choice is None and len(judged.candidates) == 1


def test_a_host_that_names_another_digest_than_the_workflow_stops_the_item_and_both_are_named() -> None:
    judged = heard(("the workflow", had(sha256=A)), ("Hugging Face", had(sha256=B)))
    assert judged.choice is None
    assert judged.stopped is not None
    assert "aaaaaaaaaaaa… says the workflow" in judged.stopped
    assert "bbbbbbbbbbbb… says Hugging Face" in judged.stopped


def test_another_spelling_of_one_place_is_the_same_place() -> None:
    pinned = HF.replace("/main/", "/0123456789abcdef/")
    judged = heard(("the workflow", had(sha256=A)), ("Hugging Face", had(pinned, sha256=B)))
    assert judged.choice is None and len(judged.candidates) == 1


def test_a_disputed_place_does_not_keep_another_one_from_being_chosen() -> None:
    sure = had("https://h.example/x", sha256=C)
    judged = heard(("the workflow", had(sha256=A)), ("Hugging Face", had(sha256=B)), ("a list", sure))
    assert judged.choice == sure
    assert judged.candidates[-1].obstacle is not None


def test_two_sure_places_with_different_bytes_are_a_question_for_a_person() -> None:
    judged = heard(("the workflow", had(sha256=A)), ("a list", had("https://h.example/x", sha256=B, source="template")))
    assert judged.choice is None
    assert judged.stopped is not None and "embedded" in judged.stopped and "template" in judged.stopped


def test_two_places_with_equal_bytes_are_one_candidate_with_a_mirror() -> None:
    judged = heard(("the workflow", had(sha256=A)), ("a list", had("https://h.example/x", sha256=A, confidence=0.91)))
    assert judged.choice is not None
    assert (judged.choice.url, judged.choice.mirrors) == (HF, ("https://h.example/x",))
    assert len(judged.candidates) == 1


def test_of_equal_bytes_the_place_that_can_be_had_leads() -> None:
    gated = had(sha256=A, obstacle="wants a licence", gated=True)
    judged = heard(("the workflow", gated), ("a list", had("https://h.example/x", sha256=A, confidence=0.91)))
    assert judged.choice is not None
    assert judged.choice.url == "https://h.example/x"
    assert judged.choice.mirrors == ()


def test_a_likely_file_behind_a_licence_is_shown_before_an_unlikely_one() -> None:
    gated = had(sha256=A, obstacle="accept its licence", gated=True)
    judged = heard(("a search", had("https://h.example/y", sha256=B, confidence=0.15)), ("the workflow", gated))
    assert judged.choice is None
    assert [candidate.url for candidate in judged.candidates] == [HF, "https://h.example/y"]


def test_the_digest_that_was_asked_for_is_certain_wherever_it_is_found() -> None:
    judged = heard(("a search", had(sha256=A, confidence=0.4)), stated=(Stated(A, "the lock file"),))
    assert judged.choice is not None and judged.choice.confidence == 1.0


def test_a_known_digest_that_was_not_asked_for_is_another_file_and_stops_the_item() -> None:
    judged = heard(("the workflow", had(sha256=B)), stated=(Stated(A, "the lock file"),))
    assert judged.choice is None
    assert judged.candidates[0].confidence == 0.0
    assert judged.stopped is not None and "the lock file" in judged.stopped and "huggingface.co" in judged.stopped


def test_what_has_no_known_digest_must_have_the_one_that_was_asked_for() -> None:
    judged = heard(("the workflow", had()), stated=(Stated(A, "the lock file"),))
    assert judged.choice is not None and judged.choice.sha256 == A


def test_two_digests_asked_for_stop_the_item_whatever_was_found() -> None:
    stated = (Stated(A, "the lock file"), Stated(B, "the node's metadata"))
    judged = heard(("the workflow", had(sha256=A)), stated=stated)
    assert judged.choice is None
    assert judged.stopped is not None and "the lock file" in judged.stopped and "metadata" in judged.stopped


def test_t24_a_look_up_does_not_make_an_agents_proposal_somebody_elses() -> None:
    confirmed = combined(had(source="agent"), had(source="huggingface", sha256=A, proof="A"))
    assert confirmed.source == "agent"


def test_what_was_found_by_its_digest_says_so() -> None:
    assert combined(had(source="embedded"), had(source="civitai_hash")).source == "civitai_hash"


def test_a_place_that_is_gone_loses_what_its_proposer_trusted() -> None:
    gone = combined(had(confidence=0.95), had(confidence=0.1, obstacle="the file is gone"))
    assert (gone.confidence, gone.obstacle) == (0.1, "the file is gone")


CANDIDATES = st.builds(
    had,
    st.sampled_from([HF, "https://h.example/1", "https://h.example/2"]),
    sha256=st.sampled_from([None, A, B]),
    confidence=st.sampled_from([0.2, 0.9, 0.95, 1.0]),
    obstacle=st.sampled_from([None, None, "closed"]),
)


@given(
    st.lists(st.tuples(st.sampled_from(["x", "y"]), CANDIDATES), max_size=6),
    st.lists(st.sampled_from([Stated(A, "s"), Stated(B, "t")]), max_size=2, unique=True),
)
def test_a_choice_is_sure_free_and_never_in_dispute(told: list[tuple[str, Candidate]], stated: list[Stated]) -> None:
    judged = heard(*told, stated=tuple(stated))
    if judged.choice is None:
        return
    assert judged.stopped is None
    assert judged.choice.obstacle is None and judged.choice.confidence >= AUTOMATIC
    assert judged.choice.sha256 in (None, *(entry.sha256 for entry in stated)) or not stated
    rivals = {c.sha256 for c in judged.candidates if c.confidence >= AUTOMATIC and c.obstacle is None and c.sha256}
    assert len(rivals) <= 1


def test_t25_a_workflows_own_digest_is_never_vouched_for_by_the_list_that_names_another_place() -> None:
    """A list names a pickle without its digest; a workflow must not put its own bytes under the list's good name."""
    hostile = had("https://evil.example/x.pt", confidence=0.9)
    listed = had("https://github.example/x.pt", source="manager-list", confidence=0.97)
    judged = heard(("the workflow", hostile), ("the list", listed), stated=(Stated(A, "the node's metadata"),))
    assert judged.choice is not None
    assert (judged.choice.source, judged.choice.proof) == ("embedded", "D")


def test_t25_a_digest_that_an_agent_adds_to_a_listed_place_is_the_agents_word() -> None:
    assert combined(had(source="template"), had(source="agent", sha256=A)).source == "agent"
    assert combined(had(source="template", sha256=A), had(source="agent", sha256=A)).source == "template"


def test_a_source_that_repeats_the_digest_it_was_asked_with_is_no_witness() -> None:
    echo = had(sha256=A, confidence=0.05, obstacle="the file is gone")
    judged = heard(("the workflow", had(sha256=A)), ("Hugging Face", echo), ("a mirror list", had(sha256=B, proof="B")))
    assert judged.stopped is not None
    assert "aaaaaaaaaaaa… says the workflow;" in judged.stopped


def test_two_sure_places_without_digests_but_of_other_sizes_are_a_question_for_a_person() -> None:
    other = had("https://h.example/x", source="template", size=6)
    judged = heard(("the workflow", had(size=5)), ("a list", other))
    assert judged.choice is None
    assert judged.stopped is not None and "5 bytes says embedded; 6 bytes says template" in judged.stopped


def test_bytes_that_lie_here_are_as_sure_as_the_same_bytes_elsewhere() -> None:
    here = had("file:///models/y.safetensors", source="local", sha256=A, confidence=0.6)
    judged = heard(("this disk", here), ("a search", had(sha256=A, confidence=0.95, source="huggingface")))
    assert judged.choice is not None and judged.choice.source == "local"


def test_what_is_no_url_is_shown_and_never_chosen() -> None:
    for url in ("http://[::bad/x", "ftp://h.example/x", "--yes", "https://h.example/\nout=/etc/passwd"):
        judged = heard(("the workflow", had(url, sha256=A)), ("a list", had("https://h.example/x", sha256=A)))
        assert judged.choice is not None
        assert (judged.choice.url, judged.choice.mirrors) == ("https://h.example/x", ())

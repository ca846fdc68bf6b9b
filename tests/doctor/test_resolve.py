"""All sources are asked in their order; what could not look is never shown as not found; heads are read beforehand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from comfy_doctor.needs import Candidate, Key, Need, Use
from comfy_doctor.resolve import Asked, Resolution, _why_none, resolve
from comfy_doctor.resolvers.probe import Probe
from comfy_doctor.resolvers.resolver import Answer, Quest, Word
from download_worker.errors import Code, GiveUp, TryLater
from download_worker.leash import Leash
from download_worker.verifiers.content.families import Family
from download_worker.verifiers.content.families import Word as Fits
from download_worker.verifiers.content.slots import Fit

HERE = Need("loras", "x.safetensors", (Use("w.json", "1", "LoraLoader", "lora_name", active=True),))


def had(url: str = "https://h.example/x", *, confidence: float = 0.95) -> Candidate:
    return Candidate(url, "x.safetensors", "loras", "huggingface", confidence=confidence)


@dataclass
class Source:
    """Answers what the test says, and remembers what it was asked."""

    name: str
    answer: Answer
    search: bool = False
    asked: list[list[Quest]] = field(default_factory=list)

    def look(self, quests: Sequence[Quest], leash: Leash) -> Mapping[Key, Answer]:
        self.asked.append(list(quests))
        return {quest.need.key: self.answer for quest in quests}


class Down(Source):
    def look(self, quests: Sequence[Quest], leash: Leash) -> Mapping[Key, Answer]:
        raise TryLater(Code.NO_CONNECTION, "h.example does not answer")


A_VAE = Probe(Fit(Fits.NO, "it is a vae"))
NOTHING = Answer(Word.NOT_FOUND, why="nobody has it")


def found(*candidates: Candidate) -> Answer:
    return Answer(Word.FOUND, candidates)


def of(need: Need, *sources: Source, look: Callable[[Candidate], Probe] | None = None) -> Resolution:
    def looks(candidates: Sequence[Candidate], leash: Leash) -> Sequence[Probe]:
        assert look is not None
        return [look(candidate) for candidate in candidates]

    return resolve([need], sources, None if look is None else looks)[need.key]


def test_a_search_is_not_asked_about_what_is_settled() -> None:
    search = Source("search", NOTHING, search=True)
    assert of(HERE, Source("list", found(had())), search).choice == had()
    assert search.asked == []


def test_a_search_is_asked_when_a_list_is_not_sure_and_hears_what_it_said() -> None:
    search = Source("search", NOTHING, search=True)
    resolution = of(HERE, Source("list", found(had(confidence=0.5))), search)
    ((quest,),) = search.asked
    assert [candidate.confidence for candidate in quest.known] == [0.5]
    assert resolution.choice is None and "choose" in resolution.why


def test_who_could_not_look_is_named_as_such() -> None:
    resolution = of(HERE, Down("Hugging Face", NOTHING), Source("Civitai", NOTHING))
    assert [(entry.source, entry.word) for entry in resolution.asked] == [
        ("Hugging Face", Word.COULD_NOT_LOOK),
        ("Civitai", Word.NOT_FOUND),
    ]
    assert resolution.why == "could not look everywhere: Hugging Face: h.example does not answer"


def test_what_nobody_has_is_not_found_and_says_who_was_asked() -> None:
    assert of(HERE, Source("a list", NOTHING), Source("Civitai", NOTHING)).why == "not found at a list, Civitai"


def test_a_head_of_the_wrong_kind_makes_room_for_the_next_candidate() -> None:
    wrong, right = had("https://h.example/vae"), had("https://h.example/lora", confidence=0.92)

    def look(candidate: Candidate) -> Probe:
        return A_VAE if candidate == wrong else Probe(Fit(Fits.YES, "its head is a lora's"), size_bytes=7)

    resolution = of(HERE, Source("list", found(wrong, right)), look=look)
    assert resolution.choice == replace(right, size=7, evidence=("its head is a lora's",))
    assert [c.obstacle for c in resolution.candidates if c.url == wrong.url] == ["it is a vae"]


def test_when_every_head_is_wrong_nothing_is_chosen_and_the_reason_is_said() -> None:
    resolution = of(HERE, Source("list", found(had())), look=lambda candidate: A_VAE)
    assert (resolution.choice, resolution.why) == (None, "it is a vae")


def test_only_what_would_be_fetched_has_its_head_read() -> None:
    looked: list[str] = []

    def look(candidate: Candidate) -> Probe:
        looked.append(candidate.url)
        return Probe(Fit(Fits.UNKNOWN))

    of(HERE, Source("list", found(had(), had("https://h.example/other", confidence=0.3))), look=look)
    assert looked == ["https://h.example/x"]


def test_the_families_of_the_workflows_other_models_are_told() -> None:
    source = Source("search", NOTHING, search=True)
    base = replace(HERE, folder="checkpoints", name="sdxl_base.safetensors")
    elsewhere = replace(base, name="wan_2.safetensors", uses=(replace(HERE.uses[0], workflow="other.json"),))
    resolve([HERE, base, elsewhere], [source])
    families = {quest.need.name: quest.families for quest in source.asked[0]}
    assert families["x.safetensors"] == {"sdxl"}
    assert families["sdxl_base.safetensors"] == frozenset()


def test_another_family_than_the_workflows_is_a_word_and_no_refusal() -> None:
    base = replace(HERE, folder="checkpoints", name="sdxl_base.safetensors")
    looked = Probe(Fit(Fits.YES), family=Family("flux"))
    known = resolve([HERE, base], [Source("list", found(had()))], lambda candidates, leash: [looked] * len(candidates))
    resolution = known[HERE.key]
    assert resolution.choice is not None
    (note,) = resolution.notes
    assert "flux" in note and "sdxl" in note


IN_A_REPOSITORY = Candidate(
    "https://huggingface.co/evil/r/resolve/main/x.pt", "x.pt", "loras", "huggingface", sha256="a" * 64, confidence=0.93
)


def test_t24_what_is_found_where_a_workflows_note_points_is_a_notes_word() -> None:
    noted = replace(HERE, hints=("https://huggingface.co/evil/r",))
    resolution = of(noted, Source("Hugging Face", found(IN_A_REPOSITORY)))
    assert resolution.choice is not None and resolution.choice.source == "note"


def test_t24_what_is_found_beside_a_dead_link_of_the_workflow_is_the_workflows_word() -> None:
    dead = replace(had("https://huggingface.co/evil/r/resolve/main/gone/x.pt", confidence=0.9), source="embedded")
    linked = replace(HERE, candidates=(dead,))
    gone = replace(dead, confidence=0.05, obstacle="the file is gone")
    resolution = of(linked, Source("Hugging Face", found(gone, IN_A_REPOSITORY)))
    assert resolution.choice is not None and resolution.choice.source == "embedded"


def test_what_a_search_finds_by_itself_is_its_hosts_word() -> None:
    resolution = of(HERE, Source("Hugging Face", found(IN_A_REPOSITORY), search=True))
    assert resolution.choice is not None and resolution.choice.source == "huggingface"


def test_after_three_heads_of_the_wrong_kind_no_fourth_file_is_fetched_unseen() -> None:
    many = [had(f"https://h.example/{n}", confidence=0.99 - n / 100) for n in range(5)]
    resolution = of(HERE, Source("list", found(*many)), look=lambda candidate: A_VAE)
    assert resolution.choice is None and "3 candidates" in resolution.why


def test_a_file_of_another_size_at_its_host_is_another_file() -> None:
    sized = replace(had(), size=7)
    resolution = of(HERE, Source("list", found(sized)), look=lambda candidate: Probe(Fit(Fits.YES, ""), size_bytes=8))
    assert resolution.choice is None and "8 bytes at its host, 7" in resolution.why


def test_a_source_that_is_gone_makes_room_for_the_next() -> None:
    gone = GiveUp(Code.NOT_FOUND, "h.example has no such file")

    def look(candidate: Candidate) -> Probe:
        if candidate.url.endswith("dead"):
            return Probe(Fit(Fits.UNKNOWN, f"could not look: {gone}"), trouble=gone)
        return Probe(Fit(Fits.YES, ""))

    dead, alive = had("https://h.example/dead", confidence=0.97), had("https://h.example/x")
    resolution = of(HERE, Source("list", found(dead, alive)), look=look)
    assert resolution.choice is not None and resolution.choice.url == alive.url


def test_a_dead_candidate_does_not_hide_that_others_could_not_look() -> None:
    gone = replace(had(confidence=0.05), obstacle="the file is gone")
    resolution = of(HERE, Source("Hugging Face", Answer(Word.NOT_FOUND, (gone,))), Down("Civitai", NOTHING))
    assert resolution.why == "the file is gone; could not look everywhere: Civitai: h.example does not answer"


def test_families_of_the_other_models_only_are_around_a_model() -> None:
    def of_family(name: str, workflow: str = "w.json") -> Need:
        return Need("loras", name, (Use(workflow, "1", "LoraLoader", "lora_name", active=True),))

    asked = Source("list", NOTHING)
    resolve([of_family("a_flux.safetensors"), of_family("b_sdxl.safetensors"), of_family("wan.pt", "v.json")], [asked])
    assert [set(quest.families) for quest in asked.asked[0]] == [{"sdxl"}, {"flux"}, set()]


def test_what_stands_in_the_way_is_said_once() -> None:
    """The source that could not look has left its reason with the candidate too."""
    gone = replace(had(confidence=0.5), obstacle="h.example rests for 60 s")
    asked = [Asked("Hub", Word.COULD_NOT_LOOK, "h.example rests for 60 s"), Asked("B", Word.COULD_NOT_LOOK, "silent")]
    assert _why_none([gone], asked) == "h.example rests for 60 s; could not look everywhere: B: silent"
    more = [Asked("Hub", Word.COULD_NOT_LOOK, "h.example rests for 60 s; 503")]
    assert _why_none([gone], more) == "h.example rests for 60 s; could not look everywhere: Hub: 503"


def test_a_host_that_does_not_answer_now_is_told_beside_its_file() -> None:
    silent = Probe(Fit(Fits.UNKNOWN, "could not look"), trouble=TryLater(Code.BUSY_HOST, "h.example is busy"))
    resolution = of(HERE, Source("list", found(had())), look=lambda candidate: silent)
    assert resolution.choice is not None
    assert resolution.notes == ("h.example is busy",)

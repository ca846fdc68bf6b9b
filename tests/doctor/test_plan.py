"""One plan over all workflows: equal bytes once, sizes per volume, tokens and licences beforehand, and reasons."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from comfy_doctor.apply import tasks_of
from comfy_doctor.comfyui.shelves import State
from comfy_doctor.diagnose import ModelFinding
from comfy_doctor.needs import Candidate, Criticality, Key, Need, Use
from comfy_doctor.plan import Disk, Item, Plan, Volume, make_plan, tokens_of, volumes_of
from comfy_doctor.plan_forms import aria2_of, urls_of
from comfy_doctor.render.plans import plan_picture
from comfy_doctor.resolve import Resolution

ROOT = Path("/models")
A = "a" * 64


def missing(name: str = "x.safetensors", folder: str | None = "loras", **more: object) -> ModelFinding:
    need = Need(folder, name, (Use("w.json", "1", "LoraLoader", "lora_name", active=True),))
    return ModelFinding(replace(need, **more), State.MISSING, "not here")  # type: ignore[arg-type]


def had(url: str = "https://h.example/x", **more: object) -> Candidate:
    return replace(Candidate(url, "x", "loras", "embedded", confidence=0.95), **more)  # type: ignore[arg-type]


def planned(
    *models: ModelFinding, choice: Candidate | None = None, why: str = "", which: str = "required"
) -> list[Item]:
    known: dict[Key, Resolution] = {}
    for model in models:
        candidates = (choice,) if choice else ()
        known[model.need.key] = Resolution(model.need, candidates, choice, why)
    return list(make_plan(models, known, models_root=ROOT, which=which))  # type: ignore[arg-type]


def test_a_missing_model_with_a_sure_source_is_fetched_to_its_place() -> None:
    (item,) = planned(missing("sub/x.safetensors"), choice=had())
    assert (item.action, item.target) == ("download", ROOT / "loras/sub/x.safetensors")


def test_without_a_sure_source_a_person_is_asked_and_told_why() -> None:
    (item,) = planned(missing(), why="could not look everywhere: Civitai: no answer")
    assert (item.action, item.why) == ("ask", "could not look everywhere: Civitai: no answer")


def test_the_same_file_under_another_name_is_linked_and_behind_another_slash_renamed() -> None:
    here = replace(missing(), state=State.ELSEWHERE, path=Path("/models/loras/sub/x.safetensors"))
    (link,) = planned(replace(here, relink="sub/x.safetensors"))
    assert (link.action, link.link_from) == ("link", here.path)
    (slash,) = planned(replace(here, relink=here.need.name))
    assert slash.action == "relink"


def test_the_same_bytes_that_lie_here_are_linked(tmp_path: Path) -> None:
    here = tmp_path / "ein Modell.safetensors"
    (item,) = planned(missing(), choice=had(here.as_uri(), source="local", sha256=A))
    assert (item.action, item.link_from) == ("link", here)


def test_equal_bytes_for_two_folders_are_fetched_once_and_counted_once() -> None:
    first, second = planned(missing(), missing(folder="checkpoints"), choice=had(sha256=A, size=7))
    assert (first.action, second.action, second.link_from) == ("download", "link", first.target)
    assert Plan((first, second)).bytes == 7


def test_which_models_are_wanted() -> None:
    muted = missing("muted.pt", uses=(Use("w.json", "1", "LoraLoader", None, active=False),))
    optional = missing("optional.pt", criticality=Criticality.OPTIONAL)
    flexible = missing("flexible.pt", criticality=Criticality.FLEXIBLE)
    models = (muted, optional, flexible)
    assert [item.model for item in planned(*models)] == [flexible]
    assert len(planned(*models, which="all")) == 3
    assert planned(*models, which="skip") == []


def test_a_name_that_is_no_safe_name_is_a_persons_question() -> None:
    (item,) = planned(missing("../x.safetensors"), choice=had())
    assert item.action == "ask" and "file name" in item.why


def test_sizes_are_summed_per_volume_and_what_does_not_fit_is_seen() -> None:
    items = [
        *planned(missing("a.safetensors"), choice=had(size=60)),
        *planned(missing("b.safetensors", folder="vae"), choice=had(size=50)),
        *planned(missing("c.safetensors", folder="vae"), choice=had()),
    ]
    (one,) = volumes_of(items, lambda path: Disk(1, 115), reserve=0)
    assert (one.needed, one.unsized, one.fits) == (110, 1, True)
    (one,) = volumes_of(items, lambda path: Disk(1, 115), reserve=10)
    assert not one.fits
    two = volumes_of(items, lambda path: Disk(2 if path.name == "vae" else 1, 100), reserve=0)
    assert [volume.needed for volume in two] == [60, 50]


def test_tokens_and_licences_are_named_beforehand() -> None:
    page = "https://huggingface.co/o/r"
    gated = had(gated=True, token="HF_TOKEN", page=page, obstacle="accept its licence")
    item = replace(planned(missing())[0], candidates=(gated,))
    (token,) = tokens_of([item], lambda variable: False)
    assert (token.variable, token.files, token.set) == ("HF_TOKEN", ("x.safetensors",), False)
    assert Plan((item,)).licences == {page: ["x.safetensors"]}


def test_urls_and_aria2_files_are_for_other_downloaders() -> None:
    items = planned(missing("sub/x.safetensors"), choice=had(mirrors=("https://m.example/x",), sha256=A))
    assert urls_of(items) == "https://h.example/x\n"
    assert aria2_of(items).splitlines() == [
        "https://h.example/x\thttps://m.example/x",
        "  dir=/models/loras/sub",
        "  out=x.safetensors",
        f"  checksum=sha-256={A}",
    ]


def test_a_url_cannot_smuggle_options_into_another_downloaders_file() -> None:
    items = planned(missing(), choice=had("https://h.example/x\n  on-download-complete=/bin/sh"))
    assert urls_of(items) == aria2_of(items) == ""


def test_one_url_that_two_folders_ask_for_is_fetched_once_although_nobody_knows_its_digest() -> None:
    first, second = planned(missing(), missing(folder="checkpoints"), choice=had(size=7))
    assert (first.action, second.action, second.link_from) == ("download", "link", first.target)


def test_two_words_for_one_folder_are_one_target_and_one_file() -> None:
    first, second = planned(missing(folder="text_encoders"), missing(folder="clip"), choice=had(sha256=A))
    assert first.target == second.target
    assert (first.action, second.action) == ("download", "skip")
    assert [task.name for task in tasks_of([first, second])] == ["x.safetensors"], "nothing is left to do for it"


def test_two_files_for_one_target_are_a_question_for_a_person() -> None:
    models = [missing(folder="text_encoders"), missing(folder="clip")]
    choices = [had(sha256=A), had("https://h.example/y", sha256="b" * 64)]
    known = {m.need.key: Resolution(m.need, (c,), c, "") for m, c in zip(models, choices, strict=True)}
    assert [item.action for item in make_plan(models, known, models_root=ROOT)] == ["download", "ask"]


def test_a_file_here_whose_name_has_a_percent_sign_is_found(tmp_path: Path) -> None:
    here = tmp_path / "100%25 real.safetensors"
    (item,) = planned(missing(), choice=had(here.as_uri(), source="local", sha256=A))
    assert item.link_from == here


def test_a_model_without_a_folder_gets_no_command_that_cannot_work() -> None:
    model = missing(folder=None)
    known = {model.need.key: Resolution(model.need, (had(confidence=0.5),), None, "unsure")}
    data = Plan(make_plan([model], known, models_root=ROOT)).data()
    console = Console(file=io.StringIO(), width=200)
    console.print(plan_picture(data))
    assert "enqueue" not in console.file.getvalue()  # type: ignore[attr-defined]


def test_t24_a_pickle_that_only_its_name_has_found_is_a_persons_question() -> None:
    """The author of a hostile workflow can publish a file of the very name that the workflow asks for."""
    named = had("https://huggingface.co/evil/r/resolve/main/x.pth", sha256=A)
    actions = {
        source: planned(missing("x.pth"), choice=replace(named, source=source))[0].action
        for source in ("huggingface", "civitai", "agent", "embedded", "template", "civitai_hash")
    }
    assert actions == dict.fromkeys(("huggingface", "civitai", "agent", "embedded"), "ask") | dict.fromkeys(
        ("template", "civitai_hash"), "download"
    )
    assert planned(missing(), choice=replace(named, source="huggingface"))[0].action == "download"


def shown(data: Mapping[str, Any]) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(plan_picture(data))
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_an_unknown_size_is_not_said_to_be_nothing() -> None:
    items = planned(missing(), choice=had(size=None))
    volume = Volume(Path("/models"), 10**9, 0, 0, unsized=1)
    text = shown(Plan(tuple(items), volumes=(volume,)).data())
    assert "1 file to fetch: 1 file of unknown size" in text
    assert "/models: 1 file of unknown size needed, 1 GB free" in text and "0 B" not in text


def test_what_does_not_fit_says_so_without_colour() -> None:
    items = planned(missing(), choice=had(size=2 * 10**9))
    text = shown(Plan(tuple(items), volumes=(Volume(Path("/m"), 10**9, 0, 2 * 10**9),)).data())
    assert "/m: 2 GB needed, 1 GB free: it does not fit" in text

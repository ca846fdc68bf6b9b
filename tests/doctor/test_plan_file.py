"""A plan's file is carried out as it was made here; one from elsewhere vouches for nothing."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from comfy_doctor.apply import apply, carry_out, link_what_came
from comfy_doctor.needs import Candidate, Use
from comfy_doctor.plan import Plan
from comfy_doctor.plan_file import read_plan, write_plan
from download_worker.clock import FakeClock
from download_worker.errors import Trouble
from download_worker.jobs.bell import MemoryBell
from download_worker.jobs.counter import Counter
from download_worker.jobs.memory_ledger import MemoryLedger
from download_worker.report import ExitCode
from tests import canaries

from .test_plan import had, missing, planned

A = "a" * 64


class Desk:
    def __init__(self, folder: Path) -> None:
        self.models = folder / "models"
        self.file, self.key = folder / "plan.json", folder / "state/plan.key"
        self.counter = Counter(MemoryLedger(), MemoryBell(), FakeClock(), lambda url: None)

    def write(self, choice: Candidate, name: str = "x.safetensors") -> None:
        write_plan(self.file, Plan(tuple(planned(missing(name), choice=choice))), self.key)

    def edit(self, **changes: Any) -> None:
        document = json.loads(self.file.read_text())
        document["items"][0]["choice"] |= changes
        self.file.write_text(json.dumps(document))

    def read(self) -> Any:
        return read_plan(self.file, self.models, self.key)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_applying_a_plan_twice_makes_one_job(desk: Desk) -> None:
    desk.write(had("https://h.example/x?sig=abc", source="huggingface", sha256=A, size=7))
    for deduplicated in (False, True):
        tasks, own = desk.read()
        done = carry_out(tasks, desk.counter, desk.models)
        assert own and not done.errors
        (added,) = done.added
        assert added.deduplicated is deduplicated
        info = added.job.model_info
        assert (info.source, info.sha256, info.size, info.subfolder) == ("huggingface", A, 7, "")
        assert info.download_url == "https://h.example/x?sig=abc", "a signature is what makes the URL work"


def test_t22_a_plans_file_is_private_and_holds_no_token(desk: Desk) -> None:
    desk.write(had(f"https://h.example/x?token={canaries.IN_URL}"))
    assert stat.S_IMODE(desk.file.stat().st_mode) == stat.S_IMODE(desk.key.stat().st_mode) == 0o600
    assert canaries.WORD not in desk.file.read_text()


@pytest.mark.parametrize("change", [{"sha256": "b" * 64}, {"url": "https://evil.example/x"}, {"source": "civitai"}])
def test_t25_an_edited_plan_proves_nothing_in_a_publishers_name(desk: Desk, change: dict[str, str]) -> None:
    desk.write(had(source="huggingface", sha256=A))
    desk.edit(**change)
    ((task,), own) = desk.read()
    assert not own and task.info.source == "embedded"


def test_t25_a_plan_of_another_home_proves_nothing_either(desk: Desk) -> None:
    desk.write(had(source="huggingface", sha256=A))
    desk.key.write_bytes(b"k" * 32)
    assert desk.read()[0][0].info.source == "embedded"
    desk.key.unlink()
    assert desk.read()[0][0].info.source == "embedded"


def test_a_link_is_made_once_its_file_is_there_and_never_for_a_foreign_plan(desk: Desk) -> None:
    source = desk.models / "loras/here.safetensors"
    desk.write(had(source.as_uri(), source="local", sha256=A))
    tasks, _ = desk.read()
    assert carry_out(tasks, desk.counter, desk.models).waiting == list(tasks)
    source.parent.mkdir(parents=True)
    source.write_bytes(b"weights")
    assert len(link_what_came(tasks, desk.counter, desk.models).linked) == 1
    assert (desk.models / "loras/x.safetensors").samefile(source)
    again = carry_out(tasks, desk.counter, desk.models)
    assert (again.linked, again.errors) == ([], [])
    desk.edit(sha256="b" * 64)
    ((task,), _) = desk.read()
    assert task.link_from is None and "not made here" in task.why


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"comfy_doctor_plan": 1}', '{"comfy_doctor_plan": 1, "items": [{"kind": "x"}]}']
)
def test_what_is_no_plan_is_refused_with_the_next_step(desk: Desk, text: str) -> None:
    desk.file.write_text(text)
    with pytest.raises(Trouble) as caught:
        desk.read()
    assert caught.value.code == "bad_plan" and "plan -o" in caught.value.hint


def test_a_hostile_plan_is_refused_item_by_item(desk: Desk) -> None:
    desk.write(had(), name="x.safetensors")
    document = json.loads(desk.file.read_text())
    document["items"][0]["need"] |= {"name": "../../../x.safetensors"}
    desk.file.write_text(json.dumps(document))
    tasks, _ = desk.read()
    (complaint,) = carry_out(tasks, desk.counter, desk.models).errors
    assert complaint.code == "unsafe_name" and desk.counter.jobs() == []


def test_a_link_is_not_made_to_a_file_that_has_changed_since_the_plan(desk: Desk) -> None:
    source = desk.models / "loras/here.safetensors"
    source.parent.mkdir(parents=True)
    source.write_bytes(b"other weights")
    desk.write(had(source.as_uri(), source="local", sha256=A, size=7))
    tasks, _ = desk.read()
    (complaint,) = carry_out(tasks, desk.counter, desk.models).errors
    assert complaint.code == "conflict" and "7 bytes" in complaint.message
    assert not (desk.models / "loras/x.safetensors").exists()


def test_a_plan_that_cannot_be_written_says_so_and_leaves_nothing(desk: Desk, tmp_path: Path) -> None:
    plan = Plan(tuple(planned(missing(), choice=had())))
    (tmp_path / "file").write_text("")
    for path, key in ((Path(), desk.key), (tmp_path, desk.key), (desk.file, tmp_path / "file/plan.key")):
        with pytest.raises(Trouble) as caught:
            write_plan(path, plan, key)
        assert caught.value.code == "bad_plan"
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".new")]


def test_a_name_that_is_no_unicode_is_written_and_the_seal_holds(desk: Desk) -> None:
    model = missing("x.safetensors", uses=(Use("w\udcff.json", "1", "LoraLoader", "lora_name", active=True),))
    write_plan(desk.file, Plan(tuple(planned(model, choice=had()))), desk.key)
    assert desk.read()[1]


def test_half_a_key_seals_nothing_and_is_made_anew(desk: Desk) -> None:
    desk.key.parent.mkdir(parents=True)
    desk.key.write_bytes(b"")
    desk.write(had(source="huggingface", sha256=A))
    assert desk.read()[1] and len(desk.key.read_bytes()) == 32


def test_a_plan_too_deep_to_be_read_is_refused(desk: Desk) -> None:
    depth = 900
    desk.key.parent.mkdir(parents=True)
    desk.key.write_bytes(b"k" * 32)
    for deep in (depth, 100 * depth):
        desk.file.write_text('{"comfy_doctor_plan": 1, "seal": "s", "items": [], "x": ' + "[" * deep + "]" * deep + "}")
        try:
            assert not desk.read()[1]
        except Trouble as trouble:
            assert trouble.code == "bad_plan"


def test_a_plan_of_which_everything_is_refused_ends_with_the_code_for_that(desk: Desk) -> None:
    desk.write(had(), name="x.safetensors")
    document = json.loads(desk.file.read_text())
    document["items"][0]["need"] |= {"name": "../../../x.safetensors"}
    desk.file.write_text(json.dumps(document))
    tasks, own = desk.read()
    assert apply(tasks, desk.counter, desk.models, Agreeing(), own=own).exit_code is ExitCode.REFUSED


def test_a_second_word_for_one_folder_leaves_nothing_to_do(desk: Desk) -> None:
    models = (missing(folder="text_encoders"), missing(folder="clip"))
    write_plan(desk.file, Plan(tuple(planned(*models, choice=had(sha256=A)))), desk.key)
    tasks, own = desk.read()
    assert apply(tasks, desk.counter, desk.models, Agreeing(), own=own).exit_code is ExitCode.OK


class Agreeing:
    def asked(self, question: str) -> bool:
        return True

    def say(self, text: str) -> None: ...


def test_a_plan_takes_the_place_of_a_plan_and_of_no_workflow(desk: Desk) -> None:
    for _ in range(2):
        desk.write(had(sha256=A))
    desk.file.write_text('{"nodes": []}')
    with pytest.raises(Trouble) as caught:
        desk.write(had(sha256=A))
    assert caught.value.code == "bad_plan" and desk.file.read_text() == '{"nodes": []}'

"""What is refused, by the rules and by a language model, and what waits for one that does not answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from download_worker.jobs.job import Status
from tests.hub import BEHAVIOURS
from tests.hub.llm import Answer, LlmStub, verdict
from tests.makers import html_page, safetensors_bytes

from .house import House, events


def saying(word: str, reason: str = "as the evidence shows") -> Callable[[Any], Answer]:
    """A model that gives the same verdict whatever it is asked."""

    def answer(body: Any) -> Answer:
        asked = json.loads(body["messages"][1]["content"])
        echoed = {key: asked[key] for key in ("nonce", "job_id", "sha256")}
        return verdict(**echoed, verdict=word, reason=reason)

    return answer


def asking(model: LlmStub) -> dict[str, str]:
    return {
        "OPENAI_BASE_URL": model.base_url,
        "OPENAI_API_KEY": "key",
        "COMFY_DOCTOR_LLM_MODEL": "qwen-stub",
        "COMFY_DOCTOR_LLM_TIMEOUT_SECONDS": "10",
    }


def lines_of(house: House) -> list[dict[str, Any]]:
    log = house.home / "state/verification_failures.log"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


@pytest.mark.slow
def test_a_page_under_a_models_name_is_refused_with_one_line_and_nothing_left(house: House) -> None:
    url = house.publish("/page.safetensors", 3_000_000, behaviour=BEHAVIOURS["html_as_octet"])[0]
    house.hub.bytes_per_second = 1_000_000
    job_id = house.submit(url)
    assert house.drain().exit_code == 1
    job = house.job(job_id)
    assert (job.status, job.result.code) == (Status.FAILED, "html")
    assert "browser" in (job.result.reason or ""), "the reason ends with the next step"
    (line,) = lines_of(house)
    assert (line["job_id"], line["file"], line["code"]) == (job_id, "page.safetensors", "html")
    assert line.keys() >= {"time", "url", "reason", "evidence_sha256"}
    assert (house.staged(), house.library()) == ([], {})
    assert house.hub.bytes_sent("/page.safetensors") < 2_000_000, "the line is dropped after the first look"

    house.publish("/good.safetensors")
    house.submit(house.hub.url("/good.safetensors"))
    assert house.drain().exit_code == 0, "only what ended in this run counts"


@pytest.mark.slow
def test_l1_a_language_model_may_pass_what_the_rules_pass(house: House) -> None:
    url, data = house.publish("/m.safetensors")
    with LlmStub(saying("VERIFIED")) as model:
        job_id = house.submit(url)
        assert house.drain(env=asking(model)).exit_code == 0
        assert len(model.requests) == 1
    found = house.job(job_id).result.verdict
    assert found is not None
    assert (found.verdict, found.by, found.reason) == ("VERIFIED", "qwen-stub", "as the evidence shows")
    assert found.prompt_sha256 and found.evidence_sha256
    assert house.library() == {"loras/m.safetensors": data}


@pytest.mark.slow
def test_a_language_model_may_refuse_what_the_rules_pass(house: House) -> None:
    with LlmStub(saying("REJECTED", "this is another architecture")) as model:
        job_id = house.submit(house.publish("/m.safetensors")[0])
        assert house.drain(env=asking(model)).exit_code == 1
    job = house.job(job_id)
    assert (job.status, job.result.code) == (Status.FAILED, "rejected_by_rubric")
    assert "this is another architecture" in (job.result.reason or "")
    (line,) = lines_of(house)
    assert (line["by"], line["job_id"]) == ("qwen-stub", job_id)
    assert (house.staged(), house.library()) == ([], {})


@pytest.mark.slow
def test_l2_a_language_model_that_always_says_yes_saves_no_wrong_file(house: House) -> None:
    """The rules look first, and what they refuse no model is asked about."""
    wrong = "0" * 64
    bad = safetensors_bytes(40_000)
    with LlmStub(saying("VERIFIED", "trust me")) as model:
        mismatch = house.enqueue(house.hub.publish("/digest.safetensors", bad), "--sha256", wrong)
        torn = house.submit(house.hub.publish("/torn.safetensors", bad[:-100]))
        page = house.submit(house.hub.publish("/page.safetensors", html_page(50_000)))
        assert house.drain(env=asking(model)).exit_code == 1
        assert model.requests == []
    codes = [house.job(job_id).result.code for job_id in (mismatch, torn, page)]
    assert codes == ["hash_mismatch", "broken_structure", "html"]
    assert sorted(line["code"] for line in lines_of(house)) == sorted(codes, key=str)
    assert (house.staged(), house.library()) == ([], {})


@pytest.mark.slow
def test_l4_a_file_waits_for_a_model_that_is_away_and_is_not_fetched_again(house: House) -> None:
    url, data = house.publish("/m.safetensors")
    with LlmStub(saying("VERIFIED")) as model:
        port = model.port
        env = asking(model)
    with house.worker(env=env):
        job_id = house.submit(url)
        house.wait_for_job(job_id, lambda job: len(events(job, "Verifying")) >= 2)
        job = house.wait_for_job(job_id, lambda job: job.not_before is not None)
        assert job.status is Status.VERIFYING
        assert "OPENAI_BASE_URL" in job.history[-1].event, "it says what to look at"
        assert house.library() == {}
        with LlmStub(saying("VERIFIED"), port=port) as back:
            house.wait_for_job(job_id, Status.SUCCESS)
            assert len(back.requests) == 1
    assert len(house.hub.hits) == 1
    assert house.library() == {"loras/m.safetensors": data}

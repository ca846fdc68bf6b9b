"""Tokens go to the one host they belong to and are written nowhere."""

from __future__ import annotations

import json

import pytest

from tests.hub import BEHAVIOURS, Hub
from tests.hub.llm import LlmStub

from .drawings import HUB, wanting
from .house import House
from .test_refusals import asking, saying

HF, CIVITAI, OPENAI, IN_URL = "hf_canary-4f1d9c", "civitai-canary-8e2b7a", "sk-canary-17ac55", "url-canary-c0ffee"
SIGNATURE = "signature-canary-9d31"
TOKENS = {"HF_TOKEN": HF, "CIVITAI_API_TOKEN": CIVITAI}
SHELF = "/org/portrait/resolve/main"


@pytest.mark.slow
def test_h20_no_token_is_written_anywhere_or_sent_to_another_host(house: House) -> None:
    good, data = house.publish("/good.safetensors")
    page = house.publish("/page.safetensors", behaviour=BEHAVIOURS["html_200"])[0]
    heard = []
    with Hub() as elsewhere, LlmStub(saying("VERIFIED")) as model:
        final = elsewhere.publish("/final.safetensors", data) + f"?X-Amz-Signature={SIGNATURE}"
        for name in ("moved.safetensors", "locked.safetensors"):
            house.publish(f"{SHELF}/{name}")
        house.hub.behave(f"{SHELF}/moved.safetensors", BEHAVIOURS["redirect"](to=final))
        house.hub.behave(f"{SHELF}/locked.safetensors", BEHAVIOURS["s401"])
        away = elsewhere.publish("/away.safetensors", data)
        env = TOKENS | asking(model) | {"OPENAI_API_KEY": OPENAI, "COMFY_DOCTOR_MAX_TRIES": "2"}
        for url in (f"{good}?token={IN_URL}", f"{page}?token={IN_URL}", f"{HUB}/moved.safetensors", away):
            heard.append(house.cli("enqueue", url, "--type", "loras", env=env))
        heard.append(house.drain("--verbose", env=env))
        workflow = house.folder / "workflow.json"
        workflow.write_text(json.dumps(wanting("locked.safetensors")))
        heard.append(house.cli("fix", workflow, "--yes", "--verbose", as_json=False, env=env))
        heard += [house.cli("jobs", env=env), house.cli("jobs", "show", heard[0].job_id, as_json=False, env=env)]
        other_host, asked = elsewhere.hits, model.requests

    assert [said.exit_code for said in heard] == [0, 0, 0, 0, 1, 1, 0, 0], heard[4:6]
    assert sorted(house.library()) == [f"loras/{name}.safetensors" for name in ("away", "good", "moved")]
    for name in ("moved", "locked"):
        tokens = {hit.headers.get("authorization") for hit in house.hub.hits_for(f"{SHELF}/{name}.safetensors")}
        assert tokens == {f"Bearer {HF}"}, "the token's own host gets it"
    assert {hit.path for hit in other_host} == {"/final.safetensors", "/away.safetensors"}
    assert all("authorization" not in hit.headers for hit in other_host)

    canaries = (HF, CIVITAI, OPENAI, IN_URL, SIGNATURE)
    for canary in canaries:
        for said in heard:
            assert canary not in said.stdout + said.stderr, said
        for hit in other_host:
            assert canary == SIGNATURE or canary not in f"{hit.target}{dict(hit.headers)}"
        for question in asked:
            assert canary == OPENAI or canary not in f"{question.body}{dict(question.headers)}"
    for path, content in house.written().items():
        for canary in canaries:
            assert canary.encode() not in content, (canary, path)

"""Tokens go to the one host they belong to and are written nowhere."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack

import pytest

from comfy_doctor.tui.app import Dashboard
from comfy_doctor.tui.table import JobTable
from download_worker import wiring
from download_worker.settings import Settings
from tests import canaries
from tests.hub import BEHAVIOURS, Hit, Hub
from tests.hub.llm import LlmStub

from .drawings import HUB, wanting
from .house import House, Said
from .test_refusals import asking, saying

HF = canaries.HF
SHELF = "/org/portrait/resolve/main"


@pytest.mark.slow
def test_h20_no_token_is_written_anywhere_or_sent_to_another_host(house: House) -> None:
    good, data = house.publish("/good.safetensors")
    page = house.publish("/page.safetensors", behaviour=BEHAVIOURS["html_200"])[0]
    heard = []
    with Hub() as elsewhere, LlmStub(saying("VERIFIED")) as model:
        final = canaries.signed(elsewhere.publish("/final.safetensors", data))
        for name in ("moved.safetensors", "locked.safetensors"):
            house.publish(f"{SHELF}/{name}")
        house.hub.behave(f"{SHELF}/moved.safetensors", BEHAVIOURS["redirect"](to=final))
        house.hub.behave(f"{SHELF}/locked.safetensors", BEHAVIOURS["s401"])
        away = elsewhere.publish("/away.safetensors", data)
        env = asking(model) | {"OPENAI_API_KEY": canaries.OPENAI, "COMFY_DOCTOR_MAX_TRIES": "2"}
        for url in (
            f"{good}?token={canaries.IN_URL}",
            f"{page}?token={canaries.IN_URL}",
            f"{HUB}/moved.safetensors",
            away,
        ):
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

    for said in heard:
        assert canaries.found_in(f"{said.stdout}{said.stderr}".encode()) == [], said
    _only_their_own(other_host, canaries.SIGNATURE)
    for question in asked:
        assert canaries.found_in(f"{question.body}{dict(question.headers)}".encode(), but=[canaries.OPENAI]) == []
    for path, content in house.written().items():
        assert canaries.found_in(content) == [], path


_ILLS = """
s401 s403 s404 s429 s500 html_200 html_as_octet json_200 redirect_loop redirect_bad redirect_no_location rst_now
bad_status_line header_bomb length_garbage bitflip eof_mid
"""
ILLS = _ILLS.split()
"""Ways to fail that say different things; those that take minutes are left to the matrix of `tests/faults`."""
STORY = {
    "COMFY_DOCTOR_MAX_TRIES": "2",
    "COMFY_DOCTOR_STALL_TIMEOUT_SECONDS": "1",
    "COMFY_DOCTOR_BACKOFF_CAP_SECONDS": "0.2",
    "COMFY_DOCTOR_PROBE_CAP_SECONDS": "0.2",
    "COMFY_DOCTOR_OUTAGE_PATIENCE_SECONDS": "0",
    "COMFY_DOCTOR_NETWORK_PATIENCE_SECONDS": "0",
    "COMFY_DOCTOR_JOBS": "16",
    "COMFY_DOCTOR_JOBS_PER_HOST": "16",
    "COMFY_DOCTOR_QUARANTINE": "keep",
}
DEAD_PORT = "127.0.0.1:9"
"""`discard`, where nobody listens."""
SCREEN = (200, 60)


@pytest.mark.slow
async def test_t22_five_canaries_are_silent_through_every_failure_of_every_host(house: House) -> None:
    """In no file, log, row, screen or foreign request: two hosts misbehave in many ways, one after a redirect with
    a signed address; a proxy asks for its password, refuses it, is dead; the language model answers nonsense."""
    heard: list[Said] = []
    with ExitStack() as stack:
        elsewhere, proxy = stack.enter_context(Hub()), stack.enter_context(Hub())
        model = stack.enter_context(LlmStub(saying("REJECTED", "see the token you sent")))
        env = STORY | asking(model) | {"OPENAI_API_KEY": canaries.OPENAI}
        for name in ILLS:
            _publish_twice(house, elsewhere, name)
            house.hub.behave(f"{SHELF}/home-{name}.safetensors", BEHAVIOURS[name])
            elsewhere.behave(f"/away-{name}.safetensors", BEHAVIOURS[name])
        files = [f"{side}-{name}.safetensors" for side in ("home", "away") for name in ILLS]
        for name in files:
            house.submit(f"{house.hub.base}{SHELF}/{name}")
        heard.append(house.drain("--verbose", env=env))
        heard += [_through_a_proxy(house, address, env) for address in (proxy.base.removeprefix("http://"), DEAD_PORT)]
        heard += _looks_around(house, env)
        requests = {"elsewhere": elsewhere.hits, "proxy": proxy.hits, "home": house.hub.hits}
        asked = [f"{question.body}{dict(question.headers)}".encode() for question in model.requests]

    assert len(requests["elsewhere"]) > len(ILLS), "the story was told: whoever was sent elsewhere came there"
    assert requests["proxy"] and asked, "the proxy and the model were asked, too"
    for said in heard:
        assert canaries.found_in(f"{said.stdout}{said.stderr}".encode()) == [], said
    for screen in await _screens(house):
        assert canaries.found_in(screen.encode()) == [], screen
    _only_their_own(requests["elsewhere"], canaries.SIGNATURE)
    _only_their_own(requests["home"], canaries.HF, canaries.CIVITAI)
    _only_their_own(requests["proxy"], canaries.PROXY_PASSWORD, canaries.HF, canaries.CIVITAI)
    assert [canaries.found_in(question, but=[canaries.OPENAI]) for question in asked] == [[]] * len(asked)
    written = house.written()
    assert any(path.endswith("download_worker.log") for path in written)
    for path, content in written.items():
        assert canaries.found_in(content) == [], path


CRASH = """
import os, requests
from requests.adapters import HTTPAdapter

def send(self, request, **options):
    if "Signature" not in request.url:
        return true(self, request, **options)
    said = f"Max retries exceeded with url: {request.url} (Caused by Bearer {os.environ['CIVITAI_API_TOKEN']})"
    raise (RuntimeError if "fault" in request.url else requests.ConnectionError)(said)

true, HTTPAdapter.send = HTTPAdapter.send, send
"""


@pytest.mark.slow
def test_t22_a_worker_whose_requests_crash_with_all_that_they_hold_writes_none_of_it(house: House) -> None:
    """Once as a library fails, once as a fault of ours does: with the signed address of a redirect, and a token."""
    (house.folder / "crash").mkdir()
    (house.folder / "crash/sitecustomize.py").write_text(CRASH)
    env = {"PYTHONPATH": f"{house.folder / 'crash'}:{house.env['PYTHONPATH']}", "COMFY_DOCTOR_MAX_TRIES": "1"}
    for name in ("library", "fault"):
        url, data = house.publish(f"{SHELF}/{name}.safetensors")
        signed = canaries.signed(house.hub.publish(f"/signed/{name}", data))
        house.hub.behave(f"{SHELF}/{name}.safetensors", BEHAVIOURS["redirect"](to=signed))
        house.submit(url)
    heard = [house.drain("--verbose", env=env), house.cli("jobs", as_json=False, env=env)]
    jobs = house.cli("jobs", env=env).jobs
    heard += [house.cli("jobs", "show", job["job_id"], as_json=False, env=env) for job in jobs]
    assert {job["status"] for job in jobs} == {"FAILED"}, jobs
    log = (house.home / "state/download_worker.log").read_text()
    assert "Traceback" in log and "?[secret]" in log and "Bearer [secret]" in log
    for said in heard:
        assert canaries.found_in(f"{said.stdout}{said.stderr}".encode()) == [], said
    assert canaries.found_in(log.encode()) == []


def _publish_twice(house: House, elsewhere: Hub, name: str) -> None:
    """A file that its host has itself, and one that it sends elsewhere for, to a signed address."""
    _, data = house.publish(f"{SHELF}/home-{name}.safetensors", sha256_header=True)
    signed = canaries.signed(elsewhere.publish(f"/away-{name}.safetensors", data))
    house.publish(f"{SHELF}/away-{name}.safetensors")
    house.hub.behave(f"{SHELF}/away-{name}.safetensors", BEHAVIOURS["redirect"](to=signed))


def _through_a_proxy(house: House, address: str, env: dict[str, str]) -> Said:
    way = f"http://{canaries.PROXY_USER}:{canaries.PROXY_PASSWORD}@{address}"
    env = env | {"COMFY_DOCTOR_PROXY": way, "COMFY_DOCTOR_NO_PROXY": "nobody.example"}
    for number in range(3):
        house.submit(house.publish(f"/proxied-{number}-{address.partition(':')[2]}.safetensors")[0])
    return house.drain("--verbose", env=env)


def _looks_around(house: House, env: dict[str, str]) -> list[Said]:
    """Every verb that shows something, and some that fail: with words for people, and as JSON."""
    failed = [job["job_id"] for job in house.cli("jobs", "--status", "FAILED", env=env).jobs]
    workflow = house.folder / "workflow.json"
    workflow.write_text(json.dumps(wanting("home-s401.safetensors", "away-s403.safetensors", "nowhere.safetensors")))
    broken = env | {"HF_TOKEN": f"{canaries.HF} and a space"}
    heard = [house.cli("jobs", "show", job_id, as_json=False, env=env) for job_id in failed[:2]]
    for as_json, words in (
        (False, ["jobs"]),
        (True, ["jobs"]),
        (False, ["diagnose", workflow, "--verbose"]),
        (True, ["plan", workflow]),
        (True, ["fix", workflow, "--yes"]),
        (False, ["enqueue", f"http://someone:{canaries.PROXY_PASSWORD}@[", "--type", "loras", "--verbose"]),
    ):
        heard.append(house.cli(*words, as_json=as_json, env=env))
    heard.append(house.cli("status", program="download_worker", as_json=False, env=env))
    heard.append(house.cli("status", "--verbose", program="download_worker", as_json=False, env=broken))
    return heard


async def _screens(house: House) -> list[str]:
    """What the dashboard shows of this home: the list, and each of its first jobs in full."""
    screens = []
    with wiring.counter_of(Settings(home=house.home)) as counter:
        app = Dashboard(counter, workers=lambda: 1, refresh_seconds=0.05)
        async with app.run_test(size=SCREEN) as pilot:
            table = app.query_one(JobTable)
            for _ in range(200):
                if table.rows:
                    break
                await pilot.pause(0.02)
            assert table.rows, "the dashboard shows the jobs"
            for number in range(0, len(table.rows), 8):
                table.select(number)
                await pilot.pause(0.1)
                screens.append("\n".join(strip.text for strip in app.screen._compositor.render_strips()))
            screens.append(app.export_screenshot())
    return screens


def _only_their_own(hits: Sequence[Hit], *own: str) -> None:
    for hit in hits:
        told = f"{hit.target}{dict(hit.headers)}"
        assert canaries.found_in(told.encode(), but=own) == [], (hit.path, told)

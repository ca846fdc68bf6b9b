"""What goes wrong while a secret is in somebody's hands or mouth tells it nowhere: not in a row, a log or a report.

The walk, the ledger, the logs and the far side are the real ones; `canary_watch` searches what each test leaves.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest
import requests
import urllib3.exceptions as pool
from loguru import logger

from download_worker import logs, wiring
from download_worker.clock import SystemClock
from download_worker.errors import Trouble
from download_worker.jobs.job import Job, Lease, Status, WorkerId
from download_worker.leash import Leash
from download_worker.process import process
from download_worker.settings import Settings
from download_worker.web.link import _GuardedAdapter
from download_worker.web.session import Web
from tests import canaries
from tests.hub import Hub
from tests.hub.behaviours import Turn, redirect
from tests.hub.messages import Reply, text_reply
from tests.hub.wearing import Behaviour
from tests.jobs import make_info, make_job
from tests.makers import safetensors_bytes

TOKENS = (canaries.HF, canaries.CIVITAI)
"""One that looks like a token, and one that looks like any word."""
Echo = Callable[[str], Reply]
ECHOES: dict[str, Echo] = {
    "a message in JSON": lambda told: _json(401, {"message": f"who is {told}?"}),
    "an error in JSON": lambda told: _json(404, {"error": {"message": f"who is {told}?"}}),
    "a header of the hub": lambda told: text_reply(403, "no", ("X-Error-Message", f"who is {told}?")),
    "a length that is none": lambda told: Reply(200, (("Content-Length", told),)),
    "two lengths": lambda told: Reply(200, (("Content-Length", told), ("Content-Length", "7"))),
    "an encoding": lambda told: text_reply(200, "x", ("Content-Encoding", told)),
    "a place to go": lambda told: text_reply(302, "", ("Location", f"http://[{told}")),
    "a strange scheme": lambda told: text_reply(302, "", ("Location", f"ftp://{told}.example/")),
    "a range": lambda told: text_reply(206, "x", ("Content-Range", f"bytes {told}")),
    "a time to wait": lambda told: text_reply(429, "x", ("Retry-After", told)),
    "a page": lambda told: text_reply(200, f"<!doctype html><html><title>{told}</title>", kind="text/html"),
}


def _json(status: int, document: object) -> Reply:
    return text_reply(status, json.dumps(document), kind="application/json")


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as running:
        yield running


@contextmanager
def worker(home: Path, **settings: object) -> Iterator[Callable[[str], Job]]:
    """Walks a job for a URL to the end of its try, as a worker of this home does."""
    (home / "models/loras").mkdir(parents=True)
    given = Settings(home=home, allow_hosts=("127.0.0.1",), max_tries=1, disk_reserve_bytes=0, **settings)  # type: ignore[arg-type]
    wiring.set_up_logs(given, verbose=True)
    clock = SystemClock()

    def walk(url: str) -> Job:
        job = make_job(home / "models", info=make_info("m.safetensors", download_url=url))
        ledger.add(job)
        claimed = ledger.claim(WorkerId("worker-1-aaaaaaaaaaaa"), Lease.starting(clock.steady(), 60), clock.now())
        assert claimed is not None
        return process(claimed, wiring.workshop(given, ledger, 0o022), Leash())

    try:
        with wiring.ledger_of(given) as ledger:
            yield walk
    finally:
        logger.remove()
        logger.configure(extra={}, patcher=lambda _: None)


def echoing(echo: Echo) -> Behaviour:
    """A host that repeats the token that it was sent."""

    def act(turn: Turn, reply: Reply) -> Reply:
        return echo(turn.request.headers.get("authorization", "nobody").removeprefix("Bearer "))

    return Behaviour("echo", after=act)


@pytest.mark.parametrize("echo", ECHOES)
@pytest.mark.parametrize("token", TOKENS)
def test_t22_a_host_that_repeats_the_token_is_quoted_without_it(
    tmp_path: Path, hub: Hub, token: str, echo: str, capsys: pytest.CaptureFixture[str]
) -> None:
    url = hub.publish("/m.safetensors", b"x", behaviour=echoing(ECHOES[echo]))
    endpoint = "hf_endpoint" if token == canaries.HF else "civitai_endpoint"
    with worker(tmp_path, **{endpoint: hub.base}) as walk:
        job = walk(url)
    assert job.status is Status.FAILED
    assert {hit.headers["authorization"] for hit in hub.hits} == {f"Bearer {token}"}
    shown = json.dumps(job.public()) + job.model_dump_json() + capsys.readouterr().err
    assert canaries.found_in(shown.encode()) == []
    assert canaries.found_below(tmp_path) == []


@pytest.mark.parametrize("token", TOKENS)
def test_t22_json_that_cannot_be_read_is_told_without_the_address_that_brought_it(hub: Hub, token: str) -> None:
    away = canaries.signed(hub.publish("/away.json", token.encode()))
    url = hub.publish("/x.json", b"", behaviour=redirect(to=away))
    with pytest.raises(Trouble) as caught:
        Web(Settings(home=Path("/nowhere"), allow_hosts=("127.0.0.1",))).get_json(url)
    assert canaries.found_in(str(caught.value).encode()) == []


def _lines(url: str, secret: str) -> dict[str, Exception]:
    """What libraries say of a request, with all that it was made of in their mouth."""
    said = f"HTTPConnectionPool(host='h.example', port=443): Max retries exceeded with url: {url} (Bearer {secret})"
    return {
        "requests, with the URL": requests.ConnectionError(said),
        "requests, of a URL": requests.exceptions.InvalidURL(f"Failed to parse: {url}#{secret}"),
        "requests, of a header": requests.exceptions.InvalidHeader(f"Header value must be str: {secret!r}"),
        "requests, of a proxy": requests.exceptions.ProxyError(f"Cannot connect: {secret}"),
        "requests, of a certificate": requests.exceptions.SSLError(f"{url} has {secret}"),
        "urllib3, of a header": pool.InvalidHeader(f"not a number: {secret}"),
        "urllib3, of a place": pool.LocationParseError(f"{url} {secret}"),
        "http.client, of a line": http.client.BadStatusLine(f"{secret} {url}"),
        "the system": OSError(5, f"{secret} {url}"),
        "a value": ValueError(f"{secret} {url}"),
        "a fault of ours": RuntimeError({"Authorization": f"Bearer {secret}", "url": url}),
        "a key of ours": KeyError(secret),
    }


@pytest.mark.slow
@pytest.mark.parametrize("words", _lines("", ""))
@pytest.mark.parametrize("token", TOKENS)
def test_t22_a_crash_that_names_token_and_signature_is_written_down_without_them(
    tmp_path: Path,
    hub: Hub,
    token: str,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    signed = canaries.signed(hub.publish("/away.safetensors", safetensors_bytes(2_000)))
    error = _lines(signed, token)[words]

    def crash(*_: object, **__: object) -> NoReturn:
        raise error

    monkeypatch.setattr(_GuardedAdapter, "send", crash)
    with worker(tmp_path, hf_endpoint=hub.base) as walk:
        job = walk(hub.url("/m.safetensors"))
    assert job.status is Status.FAILED and job.result.reason
    log = (tmp_path / "state" / logs.LOG_NAME).read_text()
    assert "failed" in log
    shown = job.model_dump_json() + log + capsys.readouterr().err
    assert canaries.found_in(shown.encode()) == []
    assert canaries.found_below(tmp_path) == []

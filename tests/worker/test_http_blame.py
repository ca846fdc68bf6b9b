"""Whose host an attempt's trouble was met at: the one that rests for it must be the one that failed."""

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from download_worker.errors import Code, Trouble
from download_worker.fetchers.http import HttpFetcher
from download_worker.jobs.job import ModelInfo
from download_worker.leash import Leash
from download_worker.room import Room
from download_worker.settings import Settings
from download_worker.web.names import Place
from download_worker.web.session import Web
from tests.hub import BEHAVIOURS, Behaviour, Hub, SizedPattern, sha256_of
from tests.hub.behaviours import eof_mid, redirect, s404, s429

DATA = SizedPattern(300_000)
DIES = [eof_mid(after_bytes=200_000).times(1), s404.after_request(1)]
"""A leader that gives its share and is gone for good: its mirror is what may still be asked later."""

Fetch = Callable[..., Trouble]


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as host:
        yield host


@pytest.fixture
def fetch(hub: Hub, tmp_path: Path) -> Fetch:
    """The trouble of an attempt whose leader is `a.test` and whose mirror is `b.test`."""

    def failing(leader: list[Behaviour] | Behaviour, mirror: Behaviour, **values: Any) -> Trouble:
        names = ("a.test", "b.test")
        given: dict[str, Any] = {"allow_hosts": names, "disk_reserve_bytes": 0, "stall_timeout_seconds": 5.0}
        settings = Settings(home=tmp_path, **(given | values))
        web = Web(settings, resolve=lambda host, port: [Place(socket.AF_INET, ("127.0.0.1", port))])
        urls = [
            hub.publish(f"/{name}", DATA, behaviour=behaviour).replace("127.0.0.1", name)
            for name, behaviour in zip(names, (leader, mirror), strict=True)
        ]
        wanted = ModelInfo(
            expected_filename="m.safetensors", model_type="loras", download_url=urls[0], sha256=sha256_of(DATA)
        )
        room = Room(tmp_path / "staging" / "job" / "1")
        room.folder.mkdir(parents=True)
        fetcher = HttpFetcher(web, settings, pause_seconds=0.0)
        leash = Leash()
        watchdog = threading.Timer(20.0, leash.pull)
        watchdog.start()
        try:
            with pytest.raises(Trouble) as caught:
                fetcher.fetch(urls[0], urls[1:], wanted, room, leash, lambda head: None)
        finally:
            watchdog.cancel()
        return caught.value

    return failing


def test_h16_a_mirror_that_asks_for_time_is_named_although_the_leader_began(fetch: Fetch) -> None:
    trouble = fetch(DIES, s429)
    assert (trouble.code, trouble.host, trouble.beyond) == (Code.BUSY_HOST, "b.test", False)


def test_h16_where_the_mirrors_redirect_led_is_said_too(fetch: Fetch, hub: Hub) -> None:
    trouble = fetch(DIES, redirect(to=hub.publish("/edge", DATA, behaviour=s429).replace("127.0.0.1", "a.test")))
    assert (trouble.code, trouble.host, trouble.beyond) == (Code.BUSY_HOST, "b.test", True)


@pytest.mark.slow
def test_n8_a_mirror_that_is_too_slow_is_named_too(fetch: Fetch) -> None:
    slow = BEHAVIOURS["drip"](bytes_per_second=10.0)
    trouble = fetch(DIES, slow, min_bytes_per_second=100_000, min_speed_window_seconds=1.0)
    assert (trouble.code, trouble.host) == (Code.TOO_SLOW, "b.test")

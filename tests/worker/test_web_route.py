"""A route to one URL: the connection that is kept, the address that is remembered, and who gets the token then."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from download_worker.errors import Code, GiveUp, Interrupted, TryLater
from download_worker.leash import Leash
from download_worker.settings import Settings
from download_worker.web import body as web_body
from download_worker.web.session import Answer, Question, Web
from tests import canaries
from tests.hub import BEHAVIOURS, Behaviour, Hub, SizedPattern
from tests.hub.behaviours import redirect, refused, stall_mid

TOKEN = canaries.HF
DATA = SizedPattern(300_000)


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as host:
        yield host


@pytest.fixture
def storage() -> Iterator[Hub]:
    with Hub() as host:
        yield host


def web(**values: Any) -> Web:
    given: dict[str, Any] = {"home": Path("/nowhere"), "allow_hosts": ("127.0.0.1",), "stall_timeout_seconds": 5.0}
    return Web(Settings(**(given | values)), pauses_seconds=(0.0, 0.0))


def body(answer: Answer, step: int = 65536, *, soon_seconds: float | None = None) -> bytes:
    """All of it, by `read_into`; with `soon_seconds` by `read_soon`."""
    got, view = bytearray(), memoryview(bytearray(step))
    while count := answer.read_into(view) if soon_seconds is None else answer.read_soon(view, soon_seconds):
        got += view[:count]
    return bytes(got)


BOTH_WAYS = pytest.mark.parametrize("soon_seconds", [None, 10.0], ids=["read_into", "read_soon"])


def part(first: int, last: int) -> dict[str, str]:
    return {"Range": f"bytes={first}-{last}"}


def connections(hub: Hub) -> int:
    return len({hit.connection for hit in hub.hits})


# --- read_into --------------------------------------------------------------------------------------------------------


@BOTH_WAYS
@pytest.mark.parametrize("step", [1000, 65536, 1 << 20])
def test_a_body_arrives_in_the_callers_memory(hub: Hub, step: int, soon_seconds: float | None) -> None:
    with web().open_stream(hub.publish("/m.bin", DATA)) as answer:
        assert body(answer, step, soon_seconds=soon_seconds) == DATA.read(0, DATA.size)
        view = memoryview(bytearray(8))
        assert answer.read_into(view) == 0 and answer.read_soon(view, 10.0) == 0 and answer.read(8) == b""


def test_all_ways_to_read_may_take_turns(hub: Hub) -> None:
    with web().open_stream(hub.publish("/m.bin", DATA)) as answer:
        view, got = memoryview(bytearray(20_000)), b""
        for _ in range(3):
            got += answer.read(700)
            got += view[: answer.read_into(view)]
            got += view[: answer.read_soon(view, 10.0)]
            got += answer.read(1)
            got += view[: answer.read_soon(view[:10], 10.0)]
        assert got + body(answer) == DATA.read(0, DATA.size)


@BOTH_WAYS
@pytest.mark.parametrize("behaviour", ["chunked", "no_length_close"])
def test_a_body_without_a_length_arrives_in_the_callers_memory(
    hub: Hub, behaviour: str, soon_seconds: float | None
) -> None:
    with web().open_stream(hub.publish("/m.bin", DATA, behaviour=BEHAVIOURS[behaviour])) as answer:
        assert answer.framing.length is None
        assert body(answer, soon_seconds=soon_seconds) == DATA.read(0, DATA.size)


@pytest.mark.parametrize("has_readv", [True, False])
def test_where_nothing_comes_a_short_patience_ends(hub: Hub, has_readv: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not has_readv:
        monkeypatch.setattr(web_body, "_READV", None)
    url, view = hub.publish("/m.bin", DATA, behaviour=BEHAVIOURS["stall_mid"]), memoryview(bytearray(65536))
    with web().open_stream(url) as answer:
        got = view[: answer.read_into(view)].nbytes
        while count := answer.read_soon(view, 0.2):
            got += count
        assert count is None and 0 < got < DATA.size


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        ("eof_mid", Code.CUT_SHORT),
        ("rst_mid", Code.CUT_SHORT),
        ("chunked_cut", Code.CUT_SHORT),
        ("length_long", Code.CUT_SHORT),
        ("stall_mid", Code.STALLED),
    ],
)
@BOTH_WAYS
def test_n5_n6_n7_h9_a_body_that_breaks_off_is_for_later(
    hub: Hub, behaviour: str, code: Code, soon_seconds: float | None
) -> None:
    url = hub.publish("/m.bin", DATA, behaviour=BEHAVIOURS[behaviour])
    patience = 0.2 if code is Code.STALLED else 10.0
    with pytest.raises(TryLater) as caught, web(stall_timeout_seconds=patience).open_stream(url) as answer:
        body(answer, soon_seconds=soon_seconds if code is not Code.STALLED else None)
    assert caught.value.code is code and caught.value.__cause__ is not None


def test_h29_not_a_byte_more_than_the_length_is_read(hub: Hub) -> None:
    url = hub.publish("/m.bin", DATA, behaviour=BEHAVIOURS["extra_bytes_keepalive"])
    with web().open_stream(url) as answer:
        assert body(answer, 1 << 20) == DATA.read(0, DATA.size)


def test_a_head_has_no_body_although_it_tells_a_length(hub: Hub) -> None:
    with web().route(hub.publish("/m.bin", DATA)) as route:
        with route.ask(question=Question("HEAD")) as answer:
            assert answer.framing.length == DATA.size and body(answer) == b""
        with route.ask() as answer:
            assert body(answer) == DATA.read(0, DATA.size)
    assert connections(hub) == 1


# --- one connection, many questions -----------------------------------------------------------------------------------


def test_a_connection_serves_one_question_after_the_other(hub: Hub) -> None:
    with web().route(hub.publish("/m.bin", DATA)) as route:
        for first in range(0, 300_000, 100_000):
            with route.ask(part(first, first + 99_999)) as answer:
                assert answer.status == 206
                assert body(answer) == DATA.read(first, first + 100_000)
    assert [hit.connection for hit in hub.hits] == [hub.hits[0].connection] * 3


def test_an_answer_that_was_not_read_to_its_end_costs_its_connection(hub: Hub) -> None:
    with web().route(hub.publish("/m.bin", DATA)) as route:
        with route.ask() as answer:
            answer.read(10)
        with route.ask(part(5, 9)) as answer:
            assert body(answer) == DATA.read(5, 10)
    assert connections(hub) == 2


def test_h29_an_answer_whose_rest_is_still_to_come_costs_its_connection() -> None:
    """Nothing waits to be read, and yet what comes next on that connection is no answer to the next question."""
    answering = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b"
    rest = answering % (5, b"WRONG")

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(answering % (5 + len(rest), b"right"))
            with suppress(ConnectionResetError):
                if connection.recv(65536):
                    connection.sendall(rest)
                    return
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(answering % (5, b"right"))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve, args=(listener,))
        server.start()
        with web().route(f"http://127.0.0.1:{listener.getsockname()[1]}/") as route:
            with route.ask() as answer:
                assert answer.read(5) == b"right" and not answer.more_within(0.0)
            with route.ask() as answer:
                assert body(answer) == b"right"
        server.join()


@pytest.mark.parametrize("at_once", [True, False])
def test_h29_a_connection_with_bytes_after_the_end_is_never_used_again(at_once: bool) -> None:
    """They look like the next answer; `at_once`: they come with the body, else while nobody reads."""
    smuggled = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nWRONG"
    may_smuggle = threading.Event()

    def serve(listener: socket.socket) -> None:
        for number in range(2):
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                honest = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nright"
                connection.sendall(honest + (smuggled if at_once else b""))
                if not number and not at_once:
                    may_smuggle.wait(10)
                    connection.sendall(smuggled)
                    smuggled_now.set()
                with suppress(ConnectionResetError):
                    if connection.recv(65536):
                        connection.sendall(honest.replace(b"right", b"reuse"))

    smuggled_now = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve, args=(listener,))
        server.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        with closing(web()) as asking, asking.route(url) as route:
            with route.ask() as answer:
                assert body(answer) == b"right"
            if not at_once:
                may_smuggle.set()
                smuggled_now.wait(10)
            with route.ask() as answer:
                assert body(answer) == b"right"
        server.join()


def test_chunks_end_their_connection(hub: Hub) -> None:
    with web().route(hub.publish("/m.bin", DATA, behaviour=BEHAVIOURS["chunked"])) as route:
        for _ in range(2):
            with route.ask() as answer:
                assert body(answer) == DATA.read(0, DATA.size)
    assert connections(hub) == 2


def test_a_host_that_hung_up_between_two_questions_is_asked_again_without_a_word() -> None:
    """It takes the second question before it hangs up: only then does the client notice."""

    def serve(listener: socket.socket) -> None:
        for asked in (2, 1):
            connection, _ = listener.accept()
            with connection:
                for number in range(asked):
                    connection.recv(65536)
                    if number == 0:
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve, args=(listener,))
        server.start()
        with web().route(f"http://127.0.0.1:{listener.getsockname()[1]}/") as route:
            for _ in range(2):
                with route.ask() as answer:
                    assert body(answer) == b"ok"
        server.join()


# --- where it led (H21, H20, T21) -------------------------------------------------------------------------------------


def test_the_next_question_goes_straight_to_where_the_redirect_led(hub: Hub, storage: Hub) -> None:
    storage.publish("/signed", DATA)
    start = hub.publish("/m.bin", DATA, behaviour=redirect(to=canaries.signed(storage.url("/signed"))))
    with web().route(start) as route:
        for first in (0, 1000):
            with route.ask(part(first, first + 9)) as answer:
                assert body(answer) == DATA.read(first, first + 10)
                assert canaries.WORD not in answer.url + repr(answer) + repr(route)
                assert len(answer.hops) == 1
    assert (len(hub.hits), len(storage.hits), connections(storage)) == (1, 2, 1)


def test_routes_to_one_url_share_where_it_led_and_forget_it_with_the_last_of_them(hub: Hub, storage: Hub) -> None:
    storage.publish("/signed", DATA)
    start = hub.publish("/m.bin", DATA, behaviour=redirect(to=storage.url("/signed")))
    client = web()
    with client.route(start) as first, client.route(start) as second:
        for route in (first, second):
            with route.ask(part(0, 9)) as answer:
                assert answer.status == 206
        assert len(hub.hits) == 1
    del first, second, route
    with client.route(start) as third, third.ask(part(0, 9)):
        assert len(hub.hits) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 500, 503])
def test_h21_a_signed_address_that_ran_out_is_asked_for_again_at_the_origin_once(
    hub: Hub, storage: Hub, status: int
) -> None:
    """400 is what Cloudflare R2 says of one that has expired; a 5xx may be this one edge of a CDN."""

    refuses = Behaviour("refuses", after=lambda turn, reply: refused(status))
    storage.publish("/signed", DATA)
    start = hub.publish("/m.bin", DATA, behaviour=redirect(to=storage.url("/signed")))
    with web().route(start) as route:
        with route.ask(part(0, 9)) as answer:
            body(answer)
        storage.behave("/signed", refuses, times=1)
        with route.ask(part(10, 19)) as answer:
            assert body(answer) == DATA.read(10, 20)
        assert (len(hub.hits), len(storage.hits)) == (2, 3)
        storage.behave("/signed", refuses)
        with route.ask(part(10, 19)) as answer:
            assert answer.status == status
    assert (len(hub.hits), len(storage.hits)) == (3, 5), "once, and then it is the answer"


def test_h16_a_remembered_host_that_asks_for_time_gets_no_second_question_by_way_of_the_origin(
    hub: Hub, storage: Hub
) -> None:
    storage.publish("/signed", DATA)
    start = hub.publish("/m.bin", DATA, behaviour=redirect(to=storage.url("/signed")))
    with web().route(start) as route:
        with route.ask(part(0, 9)) as answer:
            body(answer)
        storage.behave("/signed", BEHAVIOURS["s429"], times=1)
        with route.ask(part(10, 19)) as answer:
            assert answer.status == 429
        assert (len(hub.hits), len(storage.hits)) == (1, 2)
        with route.ask(part(10, 19)) as answer:
            assert body(answer) == DATA.read(10, 20)
    assert len(hub.hits) == 2, "the next question begins at the origin"


def test_a_remembered_host_that_cannot_be_reached_is_forgotten(hub: Hub) -> None:
    with web(connect_timeout_seconds=2.0).route(hub.publish("/m.bin", DATA)) as route:
        with Hub() as gone:
            gone.publish("/signed", DATA)
            hub.behave("/m.bin", redirect(to=gone.url("/signed")), times=1)
            with route.ask() as answer:
                answer.read(1)
        with pytest.raises(TryLater), route.ask():
            pass
        with route.ask() as answer:
            assert body(answer) == DATA.read(0, DATA.size)


def test_h20_t21_a_remembered_address_elsewhere_never_gets_the_token_and_its_origin_does(
    hub: Hub, storage: Hub
) -> None:
    """Also when the address that is remembered lies on the first origin again, by way of a foreign one."""
    hub.publish("/back.bin", DATA)
    storage.publish("/away.bin", DATA, behaviour=redirect(to=hub.url("/back.bin")))
    storage.publish("/signed", DATA)
    client = web(hf_endpoint=hub.base, hf_token=SecretStr(TOKEN))
    for to in ("/signed", "/away.bin"):
        start = hub.publish(f"/of{to}", DATA, behaviour=redirect(to=storage.url(to)))
        with client.route(start) as route:
            for _ in range(3):
                with route.ask(part(0, 9)) as answer:
                    assert body(answer) == DATA.read(0, 10)
    assert [hit.headers.get("authorization") for hit in storage.hits] == [None] * 4
    assert {hit.path: hit.headers.get("authorization") for hit in hub.hits} == {
        "/of/signed": f"Bearer {TOKEN}",
        "/of/away.bin": f"Bearer {TOKEN}",
        "/back.bin": None,
    }
    assert len(hub.hits_for("/back.bin")) == 3


def test_t21_the_token_stays_with_every_question_on_its_own_origin(hub: Hub) -> None:
    hub.publish("/new/m.bin", DATA)
    start = hub.publish("/old/m.bin", DATA, behaviour=redirect(to="/new/m.bin", status=307))
    with web(hf_endpoint=hub.base, hf_token=SecretStr(TOKEN)).route(start) as route:
        for _ in range(2):
            with route.ask(part(0, 9)) as answer:
                body(answer)
    assert [hit.path for hit in hub.hits] == ["/old/m.bin", "/new/m.bin", "/new/m.bin"]
    assert {hit.headers.get("authorization") for hit in hub.hits} == {f"Bearer {TOKEN}"}


# --- Civitai's “no such file” (FACTS 5: also said in passing) ---------------------------------------------------------


def test_a_download_that_civitai_does_not_find_is_asked_for_three_times_and_then_given_up(hub: Hub) -> None:
    client = web(civitai_endpoint=hub.base, civitai_api_token=SecretStr(TOKEN))
    for path, times, expected in (("/api/download/models/7", 2, 200), ("/api/download/models/8", 9, 404)):
        hub.publish(path, DATA)
        hub.behave(path, BEHAVIOURS["s404"], times=times)
        with client.open_stream(f"https://civitai.com{path}") as answer:
            assert answer.status == expected
            if expected == 404:
                assert isinstance(client.refusal(answer), GiveUp)
        assert [hit.headers.get("authorization") for hit in hub.hits_for(path)] == [f"Bearer {TOKEN}"] * 3


def test_what_civitai_knows_nothing_about_is_believed_at_once(hub: Hub) -> None:
    client = web(civitai_endpoint=hub.base)
    with pytest.raises(GiveUp):
        client.get_json("https://civitai.com/api/v1/model-versions/7")
    assert len(hub.hits) == 1


# --- cutting ----------------------------------------------------------------------------------------------------------


def test_a_route_that_is_cut_ends_its_read_and_asks_nothing_more(hub: Hub) -> None:
    url = hub.publish("/m.bin", DATA, behaviour=stall_mid)
    with web(stall_timeout_seconds=60.0).route(url) as route:
        timer = threading.Timer(0.05, route.cut)
        began = time.monotonic()
        with pytest.raises(TryLater) as caught, route.ask() as answer:
            timer.start()
            body(answer)
        assert caught.value.code is Code.CUT_SHORT and time.monotonic() - began < 5.0
        timer.join()
        seen = len(hub.hits)
        with pytest.raises(TryLater), route.ask():
            pass
    assert len(hub.hits) == seen


def test_a_pulled_leash_ends_a_route_also_between_two_questions(hub: Hub) -> None:
    leash = Leash()
    with web().route(hub.publish("/m.bin", DATA), leash=leash) as route:
        with route.ask(part(0, 9)) as answer:
            body(answer)
        leash.pull()
        with pytest.raises(Interrupted), route.ask(part(0, 9)):
            pass
    assert len(hub.hits) == 1


def test_a_refusal_of_the_origin_is_not_asked_twice(hub: Hub) -> None:
    client = web()
    with client.route(hub.publish("/m.bin", DATA, behaviour=BEHAVIOURS["s404"])) as route, route.ask() as answer:
        assert isinstance(client.refusal(answer), GiveUp)
    assert len(hub.hits) == 1


# --- who is to blame --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("behaviour", ["s429", "stall_now", "rst_now", "stall_mid"])
def test_a_trouble_says_whether_it_was_met_beyond_a_redirect(hub: Hub, storage: Hub, behaviour: str) -> None:
    there = storage.publish("/m.bin", DATA, behaviour=BEHAVIOURS[behaviour])
    client = web(stall_timeout_seconds=0.2)
    for url, beyond in ((there, False), (hub.publish("/m.bin", DATA, behaviour=redirect(to=there)), True)):
        with pytest.raises(TryLater) as caught, client.route(url) as route, route.ask() as answer:
            if answer.status == 429:
                raise client.refusal(answer)
            body(answer)
        assert caught.value.beyond is beyond

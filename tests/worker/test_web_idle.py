"""Connections between jobs: taken up again by the next one to the very same place, and by nobody else."""

import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import SecretStr

from download_worker.errors import Code, Interrupted, TryLater
from download_worker.leash import Leash
from download_worker.settings import Settings
from download_worker.web.idle import IDLE_SECONDS, MOST_FOR_ONE, MOST_IN_ALL, Idle
from download_worker.web.link import Goal, Link
from download_worker.web.origins import Origin
from download_worker.web.proxies import Login, Proxy
from download_worker.web.session import Answer, Web
from tests.hub import Hub, SizedPattern
from tests.hub.behaviours import redirect, stall_mid

TOKEN = "hf_planted_token_123456"
DATA = SizedPattern(100_000)
RIGHT = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nright"

Serve = Callable[[socket.socket, int], None]


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as host:
        yield host


@pytest.fixture
def other() -> Iterator[Hub]:
    with Hub() as host:
        yield host


@contextmanager
def web(**values: Any) -> Iterator[Web]:
    given: dict[str, Any] = {"home": Path("/nowhere"), "allow_hosts": ("127.0.0.1",), "stall_timeout_seconds": 5.0}
    with closing(Web(Settings(**(given | values)), pauses_seconds=(0.0, 0.0))) as asking:
        yield asking


def body(answer: Answer) -> bytes:
    got, view = bytearray(), memoryview(bytearray(65536))
    while count := answer.read_into(view):
        got += view[:count]
    return bytes(got)


def fetched(asking: Web, url: str, leash: Leash | None = None) -> bytes:
    """As a job does it: one route, one question."""
    with asking.route(url, leash=leash) as route, route.ask() as answer:
        return body(answer)


def connections(hub: Hub) -> int:
    return len({hit.connection for hit in hub.hits})


@contextmanager
def serving(*conversations: Serve) -> Iterator[str]:
    """A host whose connections are served one after the other, each in its own way."""

    def serve() -> None:
        for number, conversation in enumerate(conversations):
            with suppress(OSError):
                connection, _ = listener.accept()
                connection.settimeout(5.0)
                with connection:
                    conversation(connection, number)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10.0)
        server = threading.Thread(target=serve)
        server.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        finally:
            server.join()


@contextmanager
def serving_at_once(conversation: Serve) -> Iterator[str]:
    """A host that serves each connection in the same way, all at the same time."""

    def talk(connection: socket.socket, number: int) -> None:
        with connection, suppress(OSError):
            conversation(connection, number)

    def serve() -> None:
        with suppress(OSError):
            for number in itertools.count():
                connection, _ = listener.accept()
                talks.append(threading.Thread(target=talk, args=(connection, number)))
                talks[-1].start()

    talks: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve)
        server.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for thread in (server, *talks):
                thread.join()


def honest(connection: socket.socket, _number: int) -> None:
    while connection.recv(65536):
        connection.sendall(RIGHT)


# --- the same origin --------------------------------------------------------------------------------------------------


def test_jobs_one_after_the_other_share_one_connection(hub: Hub) -> None:
    urls = [hub.publish(f"/{name}.bin", DATA) for name in "abcd"]
    with web() as asking:
        for url in urls:
            assert fetched(asking, url) == DATA.read(0, DATA.size)
    assert connections(hub) == 1 and len(hub.hits) == 4


def test_who_asks_at_the_same_time_has_a_connection_of_its_own(hub: Hub) -> None:
    url = hub.publish("/m.bin", DATA)
    with web() as asking:
        for _ in range(2):
            with ExitStack() as stack:
                for route in [stack.enter_context(asking.route(url)) for _ in range(3)]:
                    assert body(stack.enter_context(route.ask())) == DATA.read(0, DATA.size)
    assert connections(hub) == 3


def test_a_host_that_only_redirects_keeps_its_connection_too(hub: Hub, other: Hub) -> None:
    """What Hugging Face says besides the address is a line of text that nobody wants."""
    led = other.publish("/m.bin", DATA)

    def redirecting(connection: socket.socket, _number: int) -> None:
        head = f"HTTP/1.1 302 Found\r\nLocation: {led}\r\nContent-Length: 24\r\n\r\n".encode()
        while connection.recv(65536):
            connection.sendall(head + b"Found. Redirecting to it")

    with serving(redirecting) as url, web() as asking:  # a second connection would be accepted by nobody
        for _ in range(3):
            assert fetched(asking, url) == DATA.read(0, DATA.size)
    assert connections(other) == 1


def test_who_asks_for_a_word_only_hangs_up_afterwards(hub: Hub) -> None:
    url = hub.publish("/m.bin", DATA)
    with web() as asking:
        for _ in range(2):
            with asking.open_stream(url) as answer:
                body(answer)
    assert connections(hub) == 2


# --- nobody else's ----------------------------------------------------------------------------------------------------


def test_t21_neither_connection_nor_token_goes_to_another_origin(hub: Hub, other: Hub) -> None:
    ours, theirs = hub.publish("/m.bin", DATA), other.publish("/m.bin", DATA)
    with web(hf_endpoint=hub.base, hf_token=SecretStr(TOKEN)) as asking:
        for url in (ours, theirs, ours, theirs):
            fetched(asking, url)
    assert connections(hub) == connections(other) == 1
    assert [hit.headers.get("authorization") for hit in hub.hits] == [f"Bearer {TOKEN}"] * 2
    assert not any("authorization" in hit.headers for hit in other.hits)


def test_t21_a_token_belongs_to_a_question_and_not_to_its_connection(hub: Hub, other: Hub) -> None:
    """Who comes back to the origin by way of another one asks without it, also where it was said before."""
    back = hub.publish("/back.bin", DATA)
    theirs = other.publish("/m.bin", DATA, behaviour=redirect(to=back))
    ours = hub.publish("/m.bin", DATA, behaviour=redirect(to=theirs))
    with web(hf_endpoint=hub.base, hf_token=SecretStr(TOKEN)) as asking:
        assert fetched(asking, ours) == DATA.read(0, DATA.size)
    assert [hit.headers.get("authorization") for hit in hub.hits] == [f"Bearer {TOKEN}", None]
    assert connections(hub) == 1


def test_two_webs_share_nothing(hub: Hub) -> None:
    """Each has its own rules for addresses and its own authorities."""
    url = hub.publish("/m.bin", DATA)
    with web() as one, web() as another:
        fetched(one, url)
        fetched(another, url)
    assert connections(hub) == 2


# --- not fit to be used again -----------------------------------------------------------------------------------------


def test_a_host_that_hung_up_meanwhile_is_dialed_again() -> None:
    gone = threading.Event()

    def answers_once(connection: socket.socket, _number: int) -> None:
        connection.recv(65536)
        connection.sendall(RIGHT)
        connection.shutdown(socket.SHUT_RDWR)
        gone.set()

    with serving(answers_once, honest) as url, web() as asking:
        assert fetched(asking, url) == b"right"
        assert gone.wait(10)
        assert fetched(asking, url) == b"right"


def test_a_host_that_hangs_up_on_the_question_is_asked_once_more_on_a_new_connection() -> None:
    """The race that every kept connection knows. Nobody hears of it."""
    questions: list[int] = []

    def takes_one_more(connection: socket.socket, number: int) -> None:
        connection.recv(65536)
        connection.sendall(RIGHT)
        questions.append(number)
        connection.recv(65536)
        questions.append(number)

    with serving(takes_one_more, honest) as url, web() as asking:
        assert fetched(asking, url) == b"right"
        assert fetched(asking, url) == b"right"
    assert questions == [0, 0]


def test_the_new_connection_is_the_last_one_and_what_it_meets_is_told() -> None:
    def takes_one_more(connection: socket.socket, _number: int) -> None:
        connection.recv(65536)
        connection.sendall(RIGHT)
        connection.recv(65536)

    def silent(connection: socket.socket, number: int) -> None:
        connection.recv(65536)
        met.append(number)

    met: list[int] = []
    with serving(takes_one_more, silent) as url, web() as asking:
        assert fetched(asking, url) == b"right"
        with pytest.raises(TryLater) as caught:
            fetched(asking, url)
    assert caught.value.code is Code.NO_CONNECTION and met == [1]


def test_a_new_connection_on_which_nobody_answers_is_no_stale_one() -> None:
    met: list[int] = []

    def silent(connection: socket.socket, number: int) -> None:
        connection.recv(65536)
        met.append(number)

    with serving(silent) as url, web() as asking, pytest.raises(TryLater) as caught:
        fetched(asking, url)
    assert caught.value.message.endswith("dropped the connection before it answered") and met == [0]


def test_n11_when_one_leads_nowhere_the_others_are_not_tried_one_by_one() -> None:
    """A network that went away: on each connection that is kept somebody would wait for the whole stall timeout."""

    def once(connection: socket.socket, _number: int) -> None:
        connection.recv(65536)
        connection.sendall(RIGHT)
        over.wait(10)

    over = threading.Event()
    with serving_at_once(once) as url, web(stall_timeout_seconds=0.2) as asking, ExitStack() as stack:
        stack.callback(over.set)
        with ExitStack() as together:
            for _ in range(3):
                route = together.enter_context(asking.route(url))
                assert body(together.enter_context(route.ask())) == b"right"
        with pytest.raises(TryLater) as silent:
            fetched(asking, url)
        assert silent.value.code is Code.STALLED
        assert fetched(asking, url) == b"right"


@pytest.mark.parametrize("at_once", [True, False])
def test_h29_a_connection_on_which_there_is_more_to_read_is_not_used_again(at_once: bool) -> None:
    smuggled, sent = RIGHT.replace(b"right", b"WRONG"), threading.Event()
    parked = threading.Event()

    def smuggles(connection: socket.socket, _number: int) -> None:
        connection.recv(65536)
        connection.sendall(RIGHT + (smuggled if at_once else b""))
        if not at_once:
            parked.wait(10)
            connection.sendall(smuggled)
        sent.set()
        with suppress(ConnectionResetError):
            assert not connection.recv(65536)

    with serving(smuggles, honest) as url, web() as asking:
        assert fetched(asking, url) == b"right"
        parked.set()
        assert sent.wait(10)
        assert fetched(asking, url) == b"right"


def test_an_answer_that_was_left_early_leaves_no_connection(hub: Hub) -> None:
    url = hub.publish("/m.bin", DATA)
    with web() as asking:
        with asking.route(url) as route, route.ask() as answer:
            answer.read(10)
        fetched(asking, url)
    assert connections(hub) == 2


# --- cutting ----------------------------------------------------------------------------------------------------------


def test_a_pulled_leash_cuts_a_connection_that_was_taken_over(hub: Hub) -> None:
    quick, slow = hub.publish("/m.bin", DATA), hub.publish("/s.bin", DATA, behaviour=stall_mid)
    leash = Leash()
    with web(stall_timeout_seconds=60.0) as asking:
        fetched(asking, quick)
        with asking.route(slow, leash=leash) as route, route.ask() as answer:
            assert answer.read(10)
            threading.Timer(0.05, leash.pull).start()
            began = time.monotonic()
            with pytest.raises(Interrupted):
                while answer.read(65536):
                    pass
                leash.check()
            assert time.monotonic() - began < 10.0
    assert connections(hub) == 1


def test_a_route_that_is_over_cuts_nobody(hub: Hub) -> None:
    url = hub.publish("/m.bin", DATA)
    with web() as asking:
        with asking.route(url) as former, former.ask() as answer:
            body(answer)
        with asking.route(url) as route:
            former.cut()
            with route.ask() as answer:
                assert body(answer) == DATA.read(0, DATA.size)
    assert connections(hub) == 1


def test_what_was_cut_is_not_kept(hub: Hub) -> None:
    url = hub.publish("/m.bin", DATA)
    with web() as asking:
        with asking.route(url) as route:
            with route.ask() as answer:
                body(answer)
            route.cut()
        assert fetched(asking, url) == DATA.read(0, DATA.size)
    assert connections(hub) == 2


# --- how many, how long -----------------------------------------------------------------------------------------------


class FakeLink:
    def __init__(self, goal: Goal) -> None:
        self.goal = goal
        self.is_quiet = True
        self.closed = False

    def close(self) -> None:
        self.closed = True


HOST = Origin("https", "models.example", 443)
STRAIGHT = Goal(HOST, None)


def link(goal: Goal = STRAIGHT) -> Any:
    return FakeLink(goal)


def park(idle: Idle, *links: Any) -> None:
    for each in links:
        idle.park(cast(Link, each))


@pytest.mark.parametrize(
    "goal",
    [
        Goal(Origin("http", "models.example", 443), None),
        Goal(Origin("https", "models.example", 8443), None),
        Goal(Origin("https", "other.example", 443), None),
        Goal(HOST, Proxy("http", "proxy.example", 80)),
        Goal(HOST, Proxy("http", "proxy.example", 80, Login("somebody", "else"))),
    ],
)
def test_only_the_very_same_way_leads_to_a_connection(goal: Goal) -> None:
    idle, straight = Idle(), link()
    park(idle, straight)
    assert idle.take(goal) is None and idle.take(STRAIGHT) is straight and idle.take(STRAIGHT) is None


def test_the_same_proxy_with_another_login_is_another_way() -> None:
    idle = Idle()
    mine, yours = (Goal(HOST, Proxy("http", "p.example", 80, Login(user, "secret"))) for user in ("me", "you"))
    park(idle, link(mine))
    assert idle.take(yours) is None and idle.take(mine) is not None


def test_the_one_that_was_used_last_is_taken_first() -> None:
    idle, links = Idle(), [link(), link()]
    park(idle, *links)
    assert [idle.take(STRAIGHT), idle.take(STRAIGHT)] == links[::-1]


def test_one_that_is_not_quiet_any_more_is_closed_and_the_next_one_taken() -> None:
    idle = Idle()
    good, bad = link(), link()
    park(idle, good, bad)
    bad.is_quiet = False
    assert (idle.take(STRAIGHT) is good, bad.closed, good.closed) == (True, True, False)


@pytest.mark.parametrize("by", ["take", "park"])
def test_after_a_while_they_are_closed_at_the_next_opportunity(by: str) -> None:
    now = [100.0]
    idle, old, young = Idle(lambda: now[0]), link(), link()
    park(idle, old)
    now[0] += IDLE_SECONDS / 2
    park(idle, young)
    now[0] += IDLE_SECONDS / 2
    assert not old.closed
    if by == "take":
        assert idle.take(Goal(HOST, Proxy("http", "p.example", 80))) is None
    else:
        park(idle, link(Goal(Origin("https", "other.example", 443), None)))
    assert old.closed and not young.closed


def test_n11_only_what_leads_to_the_same_goal_is_forgotten() -> None:
    idle, elsewhere = Idle(), Goal(Origin("https", "other.example", 443), None)
    lost, kept = [link(), link()], link(elsewhere)
    park(idle, lost[0], kept, lost[1])
    idle.forget(STRAIGHT)
    assert all(each.closed for each in lost) and not kept.closed
    assert idle.take(STRAIGHT) is None and idle.take(elsewhere) is kept


def test_the_oldest_of_too_many_are_closed() -> None:
    idle, links = Idle(), [link() for _ in range(MOST_FOR_ONE + 2)]
    park(idle, *links)
    assert [each.closed for each in links] == [True] * 2 + [False] * MOST_FOR_ONE

    idle = Idle()
    links = [link(Goal(Origin("https", f"h{number}.example", 443), None)) for number in range(MOST_IN_ALL + 3)]
    park(idle, *links)
    assert [each.closed for each in links] == [True] * 3 + [False] * MOST_IN_ALL


def test_the_end_of_the_web_is_the_end_of_its_connections() -> None:
    ends: list[bytes] = []

    def hears_the_end(connection: socket.socket, _number: int) -> None:
        connection.recv(65536)
        connection.sendall(RIGHT)
        ends.append(connection.recv(65536))

    with serving(hears_the_end) as url, web() as asking:
        assert fetched(asking, url) == b"right"
        asking.close()
    assert ends == [b""]
    idle, late = Idle(), link()
    idle.close()
    park(idle, late)
    assert late.closed and idle.take(STRAIGHT) is None

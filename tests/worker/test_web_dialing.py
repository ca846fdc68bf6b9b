"""From a name to a connection: lookups that can be believed, addresses that are raced, and nothing left behind."""

import errno
import gc
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from download_worker.errors import Code, GiveUp, Interrupted, Refused, Trouble, TryLater
from download_worker.hosts import Sign, sign_of
from download_worker.leash import Leash
from download_worker.settings import Settings
from download_worker.web import dialing
from download_worker.web.addresses import AddressPolicy
from download_worker.web.dialing import Dialer, alternating
from download_worker.web.line import Line
from download_worker.web.names import Names, Place, Resolve, system_resolve
from download_worker.web.proxies import Proxy
from download_worker.web.session import Web
from tests import descriptors
from tests.hub import Hub

URL = "http://model.example/m.bin"
NO_SUCH_NAME = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
AGAIN = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as host:
        host.publish("/m.bin", b"bytes of a model")
        yield host


def web(resolve: Resolve, **values: Any) -> Web:
    given: dict[str, Any] = {"home": Path("/nowhere"), "allow_hosts": ("127.0.0.0/8", "::1")}
    return Web(Settings(**(given | values)), resolve=resolve, pauses_seconds=(0.0, 0.0))


def at(*ports: int) -> list[Place]:
    return [Place(socket.AF_INET, ("127.0.0.1", port)) for port in ports]


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def black_hole() -> Iterator[int]:
    """A port whose listener accepts nobody and whose queue is full: SYNs vanish (N3)."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        time.sleep(0.01)
        yield int(listener.getsockname()[1])


def open_files() -> int:
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.exists() else 0


def trouble_of(client: Web, url: str = URL) -> Trouble:
    with pytest.raises(Trouble) as caught, client.open_stream(url):
        pass
    return caught.value


class Resolver:
    """Answers from a list, the last answer for ever; other names than the first are `known` ones."""

    def __init__(self, *answers: list[Place] | Exception, known: list[Place] | Exception = NO_SUCH_NAME) -> None:
        self._answers = list(answers)
        self._known = known
        self.asked: list[str] = []

    def __call__(self, host: str, port: int) -> list[Place]:
        self.asked.append(host)
        answer = self._known
        if host == "model.example":
            answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


# --- names (N2, N11) --------------------------------------------------------------------------------------------------


def test_n2_a_name_that_three_lookups_do_not_find_is_none_and_another_source_may_do() -> None:
    resolver = Resolver(NO_SUCH_NAME, known=at(80))
    trouble = trouble_of(web(resolver))
    assert isinstance(trouble, GiveUp) and trouble.code is Code.NOT_FOUND and trouble.elsewhere
    assert "model.example" in str(trouble) and resolver.asked.count("model.example") == 3


def test_n2_a_name_that_the_third_lookup_finds_is_connected_to(hub: Hub) -> None:
    resolver = Resolver(NO_SUCH_NAME, NO_SUCH_NAME, at(hub.port))
    with web(resolver).open_stream(URL) as answer:
        assert answer.status == 200


def test_n11_while_no_name_at_all_is_found_none_is_taken_for_wrong() -> None:
    """So does macOS without a network, and a router whose line is down: the circuit breaker sees no way."""
    trouble = trouble_of(web(Resolver(NO_SUCH_NAME, known=NO_SUCH_NAME)))
    assert isinstance(trouble, TryLater) and trouble.code is Code.NO_CONNECTION
    assert isinstance(trouble.__cause__, OSError) and not isinstance(trouble.__cause__, socket.gaierror)


@pytest.mark.parametrize("others_are_found", [True, False])
def test_n2_n11_a_known_home_is_never_taken_for_none(others_are_found: bool) -> None:
    """Something hides it, or the network is away; which of the two tells the cause, to the circuit breaker."""
    resolver = Resolver(NO_SUCH_NAME, known=at(80) if others_are_found else NO_SUCH_NAME)
    trouble = trouble_of(web(resolver, hf_endpoint="http://model.example"))
    assert isinstance(trouble, TryLater) and resolver.asked == ["model.example", "civitai.com"]
    assert isinstance(trouble.__cause__, socket.gaierror) is others_are_found


def test_n2_servfail_is_for_later_at_once() -> None:
    resolver = Resolver(AGAIN, known=at(80))
    trouble = trouble_of(web(resolver))
    assert isinstance(trouble, TryLater) and trouble.code is Code.NO_CONNECTION and trouble.__cause__ is AGAIN
    assert resolver.asked == ["model.example"]


def test_n2_a_silent_resolver_ends_at_the_connect_timeout_and_is_asked_by_one_thread() -> None:
    silence = threading.Event()
    asked: list[str] = []

    def silent(host: str, port: int) -> list[Place]:
        asked.append(host)
        silence.wait(30)
        return []

    began = time.monotonic()
    client = web(silent, connect_timeout_seconds=0.05)
    for _ in range(3):
        trouble = trouble_of(client)
        assert trouble.code is Code.NO_CONNECTION and isinstance(trouble.__cause__, TimeoutError)
    assert time.monotonic() - began < 4.0 and len(asked) == 1
    silence.set()


def test_d8_a_lookup_without_descriptors_says_nothing_about_the_host_or_the_network() -> None:
    """glibc says so by EMFILE, or that there is no such name, or that it may be asked again: whatever fails first."""
    for answer in (OSError(errno.EMFILE, "Too many open files"), OSError(errno.ENFILE, "too many")):
        trouble = trouble_of(web(Resolver(answer)))
        assert isinstance(trouble, TryLater) and trouble.code is Code.STORAGE and "ulimit -n" in trouble.hint
        assert sign_of(trouble) is Sign.NOTHING


@pytest.mark.parametrize("said", [AGAIN, NO_SUCH_NAME, OSError(errno.EMFILE, "Too many open files")])
def test_d8_the_systems_resolver_is_not_believed_without_descriptors(
    monkeypatch: pytest.MonkeyPatch, said: OSError
) -> None:
    def exhausted(*_: object, **__: object) -> Any:
        raise said

    monkeypatch.setattr(socket, "getaddrinfo", exhausted)
    with descriptors.none_left(), pytest.raises(OSError, match="Too many open files") as caught:
        system_resolve("model.example", 80)
    assert caught.value.errno == errno.EMFILE
    with pytest.raises(OSError, match=re.escape(str(said))) as caught:
        system_resolve("model.example", 80)
    assert caught.value is said


def test_d8_a_glance_that_nobody_can_take_leads_nowhere() -> None:
    """Where a proxy looks names up, what is known here of the name must be allowed; unseen it is not."""
    names = Names(Resolver(OSError(errno.EMFILE, "Too many open files")), (), ())
    dialer = Dialer(AddressPolicy(), names, Line(), Leash(), connect_timeout_seconds=5.0)
    with pytest.raises(TryLater) as caught:
        dialer.judge("model.example", 80)
    assert caught.value.code is Code.STORAGE


def test_a_lookup_for_which_there_is_no_thread_is_made_later(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Left in the list, it would let every later question for this name wait for an answer that nobody looks for."""
    start = threading.Thread.start

    def none_left(thread: threading.Thread) -> None:
        if thread.name.startswith("resolves"):
            raise RuntimeError("can't start new thread")
        start(thread)

    client = web(Resolver(at(hub.port)), connect_timeout_seconds=5.0)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", none_left)
        trouble = trouble_of(client)
    assert isinstance(trouble, TryLater) and trouble.code is Code.STORAGE and "ulimit -u" in trouble.hint
    assert sign_of(trouble) is Sign.NOTHING
    with client.open_stream(URL) as answer:
        assert answer.status == 200


def test_a_lookup_that_ends_in_an_unforeseen_way_ends_for_all_who_wait() -> None:
    """Python loads the codec of names at the first lookup, and says so in its own way where it cannot."""
    trouble = trouble_of(web(Resolver(LookupError("unknown encoding: idna")), connect_timeout_seconds=5.0))
    assert isinstance(trouble, TryLater) and trouble.code is Code.NO_CONNECTION and "unknown encoding" in str(trouble)


def test_a_cut_route_does_not_wait_for_the_resolver() -> None:
    asked, silence = threading.Event(), threading.Event()

    def silent(host: str, port: int) -> list[Place]:
        asked.set()
        silence.wait(30)
        return []

    with web(silent).route(URL) as route:

        def cut_when_asked() -> None:
            asked.wait(10)
            route.cut()

        cutter = threading.Thread(target=cut_when_asked)
        cutter.start()
        began = time.monotonic()
        with pytest.raises(TryLater), route.ask():
            pass
        assert time.monotonic() - began < 4.0
    silence.set()
    cutter.join()


# --- addresses (N3, N13) ----------------------------------------------------------------------------------------------


def test_n13_a_dead_address_costs_a_moment_and_no_timeout(hub: Hub) -> None:
    with black_hole() as dead:
        began = time.monotonic()
        with web(Resolver(at(dead, hub.port))).open_stream(URL) as answer:
            assert answer.status == 200
        assert time.monotonic() - began < 3.0, "15 s is the connect timeout"


def test_n13_an_address_that_refuses_costs_nothing(hub: Hub) -> None:
    places = at(closed_port(), closed_port(), hub.port)
    began = time.monotonic()
    with web(Resolver(places)).open_stream(URL) as answer:
        assert answer.status == 200
    assert time.monotonic() - began < 0.25, "the delay between two attempts is only for those that are silent"


def test_n13_a_refusal_lets_the_next_one_begin_at_once_beside_a_silent_one(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialing, "NEXT_ADDRESS_SECONDS", 0.6)
    with black_hole() as silent:
        began = time.monotonic()
        with web(Resolver(at(silent, closed_port(), hub.port))).open_stream(URL) as answer:
            assert answer.status == 200
        assert time.monotonic() - began < 1.1, "one delay and not two"


def test_n13_a_family_that_this_machine_does_not_know_is_passed_over(hub: Hub) -> None:
    unknown = Place(9999, ("127.0.0.1", hub.port))
    with web(Resolver([unknown, *at(hub.port)])).open_stream(URL) as answer:
        assert answer.status == 200


@pytest.mark.slow
def test_n13_the_first_address_may_still_win_when_the_next_one_is_dead() -> None:
    """It is not given up when the second is tried; its SYN is repeated by the kernel after a second."""
    with black_hole() as dead, socket.create_server(("127.0.0.1", 0), backlog=0) as slow, ExitStack() as stack:
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(slow.getsockname())

        def make_room() -> None:
            while not answered.is_set():
                connection, _ = slow.accept()
                stack.callback(connection.close)
                connection.settimeout(0.01)
                try:
                    if connection.recv(65536):
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                        answered.set()
                except TimeoutError:
                    pass

        answered = threading.Event()
        accepts = threading.Timer(0.4, make_room)
        accepts.start()
        with web(Resolver(at(slow.getsockname()[1], dead))).open_stream(URL) as answer:
            assert answer.read(2) == b"ok"
        accepts.join()


def test_n13_families_take_turns_beginning_with_the_preferred_one() -> None:
    six = [Place(socket.AF_INET6, (f"2600::{n}", 443)) for n in range(3)]
    four = [Place(socket.AF_INET, (f"8.8.8.{n}", 443)) for n in range(2)]
    assert alternating([*six, *four, six[0]]) == [six[0], four[0], six[1], four[1], six[2]]
    assert alternating([four[0], *six]) == [four[0], *six]


def test_n13_one_address_that_is_not_public_is_enough_to_connect_to_none(hub: Hub) -> None:
    trouble = trouble_of(web(Resolver(at(hub.port)), allow_hosts=()))
    assert isinstance(trouble, Refused) and hub.connections_seen == 0


def test_n3_a_black_hole_ends_at_the_connect_timeout_and_says_so() -> None:
    with black_hole() as dead:
        began = time.monotonic()
        trouble = trouble_of(web(Resolver(at(dead, dead)), connect_timeout_seconds=0.1))
        assert time.monotonic() - began < 4.0
    assert isinstance(trouble, TryLater) and trouble.code is Code.NO_CONNECTION
    assert isinstance(trouble.__cause__, TimeoutError)


def test_n3_a_host_that_never_accepts_holds_up_nobody(hub: Hub) -> None:
    """One and the same Web: its other questions are answered while that host has all its time yet."""
    waits, leash = threading.Event(), Leash()

    def resolve(host: str, port: int) -> list[Place]:
        if host == "dead.example":
            waits.set()
            return at(dead)
        return at(hub.port)

    def ask() -> None:
        with pytest.raises(Interrupted), client.open_stream("http://dead.example/m.bin", leash=leash):
            pass

    with black_hole() as dead:
        client = web(resolve, connect_timeout_seconds=6.0)
        asking = threading.Thread(target=ask)
        asking.start()
        assert waits.wait(10)
        began = time.monotonic()
        with client.open_stream(URL) as answer:
            assert answer.status == 200
        assert time.monotonic() - began < 3.0
        leash.pull()
        asking.join(10)


def test_n1_a_refusal_says_more_than_silence() -> None:
    with black_hole() as dead:
        trouble = trouble_of(web(Resolver(at(closed_port(), dead)), connect_timeout_seconds=0.1))
    assert isinstance(trouble.__cause__, ConnectionRefusedError)


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS])
def test_d8_a_machine_that_can_open_no_connection_is_no_sign_about_the_host(
    monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def exhausted(*_: object) -> Any:
        raise OSError(code, "none left")

    client = web(Resolver(at(80)))
    monkeypatch.setattr(socket, "socketpair", exhausted)
    trouble = trouble_of(client)
    assert isinstance(trouble, TryLater) and trouble.code is Code.STORAGE and "ulimit" in trouble.hint
    assert sign_of(trouble) is Sign.NOTHING


def test_d8_nor_is_it_one_about_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: object, **__: object) -> Any:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(dialing, "through", exhausted)
    names = Names(lambda host, port: at(port), (), ())
    dialer = Dialer(AddressPolicy(), names, Line(), Leash(), connect_timeout_seconds=5.0)
    dialer.via = Proxy("socks5h", "127.0.0.1", 1080)
    with pytest.raises(TryLater) as caught:
        dialer.dial("model.example", 80)
    assert caught.value.code is Code.STORAGE and "proxy" not in str(caught.value)


def test_a_pulled_leash_cuts_a_connect() -> None:
    with black_hole() as dead:
        leash = Leash()
        puller = threading.Timer(0.05, leash.pull)
        puller.start()
        began = time.monotonic()
        with pytest.raises(Interrupted), web(Resolver(at(dead))).open_stream(URL, leash=leash):
            pass
        assert time.monotonic() - began < 4.0
        puller.join()


@pytest.mark.slow
def test_a_race_leaves_no_socket_and_no_thread_behind(hub: Hub) -> None:
    with black_hole() as dead:
        for places in (at(dead, hub.port), at(dead), at(closed_port(), hub.port)):
            gc.collect()
            before = open_files()
            client = web(Resolver(places), connect_timeout_seconds=0.3)
            try:
                with client.open_stream(URL) as answer:
                    answer.read(10)
            except TryLater:
                pass
            hub_side = hub.port in [place.sockaddr[1] for place in places]
            assert open_files() <= before + hub_side
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("resolves")]

"""The guarded GET against a hub on the loopback: addresses, redirects, tokens, the environment, and how errors read."""

import json
import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from download_worker import json_texts
from download_worker.errors import Code, GiveUp, Interrupted, Refused, Trouble, TryLater
from download_worker.json_texts import MAX_VALUES, TooManyValues, bounded_json
from download_worker.leash import Leash
from download_worker.settings import Settings
from download_worker.web.names import Place, system_resolve
from download_worker.web.session import Answer, Web
from tests import canaries
from tests.hub import BEHAVIOURS, Hub, SizedPattern
from tests.hub.behaviours import Turn, redirect, s401, s429, stall_mid, stall_now
from tests.hub.messages import Reply
from tests.hub.wearing import on_reply

TOKEN = canaries.HF
DATA = SizedPattern(100_000)


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as host:
        yield host


def settings(**values: Any) -> Settings:
    given: dict[str, Any] = {"home": Path("/nowhere"), "allow_hosts": ("127.0.0.1",), "stall_timeout_seconds": 5.0}
    return Settings(**(given | values))


def body(answer: Answer) -> bytes:
    return b"".join(iter(lambda: answer.read(65536), b""))


def trouble_of(web: Web, url: str) -> Trouble:
    with pytest.raises(Trouble) as caught, web.open_stream(url) as answer:
        body(answer)
    return caught.value


def test_an_honest_answer_arrives_byte_for_byte(hub: Hub) -> None:
    with Web(settings()).open_stream(hub.publish("/m.bin", DATA)) as answer:
        assert (answer.status, answer.framing.length) == (200, 100_000)
        assert body(answer) == DATA.read(0, DATA.size)
    told = hub.hits[0].headers
    assert told["accept-encoding"] == "identity" and told["user-agent"].startswith("comfy-doctor/")
    assert not {"authorization", "cookie", "referer"} & told.keys()


# --- addresses (T18, T19) ---------------------------------------------------------------------------------------------


def test_t18_the_loopback_is_refused_without_one_byte_to_it(hub: Hub) -> None:
    trouble = trouble_of(Web(settings(allow_hosts=())), hub.publish("/m.bin", DATA))
    assert isinstance(trouble, Refused) and trouble.code is Code.REFUSED_ADDRESS
    assert hub.connections_seen == 0


def test_t18_a_name_that_resolves_to_the_loopback_is_refused(hub: Hub) -> None:
    web = Web(settings(allow_hosts=()), resolve=lambda host, port: system_resolve("127.0.0.1", port))
    trouble = trouble_of(web, f"http://model.example:{hub.port}/m.bin")
    assert trouble.code is Code.REFUSED_ADDRESS and hub.connections_seen == 0


def test_t18_one_private_address_among_public_ones_is_enough_to_refuse(hub: Hub) -> None:
    def mixed(host: str, port: int) -> list[Place]:
        return [Place(socket.AF_INET, ("127.0.0.1", port)), Place(socket.AF_INET, ("198.51.100.7", port))]

    web = Web(settings(allow_hosts=("127.0.0.0/8",)), resolve=mixed)
    assert trouble_of(web, f"http://model.example:{hub.port}/m.bin").code is Code.REFUSED_ADDRESS
    assert hub.connections_seen == 0


def test_t19_a_name_is_resolved_once_and_connected_to_as_it_was_judged(hub: Hub) -> None:
    hub.publish("/m.bin", DATA)
    asked: list[str] = []

    def rebinding(host: str, port: int) -> list[Place]:
        asked.append(host)
        return system_resolve("127.0.0.1" if len(asked) == 1 else "198.51.100.7", port)

    web = Web(settings(allow_hosts=("127.0.0.1",)), resolve=rebinding)
    with web.open_stream(f"http://model.example:{hub.port}/m.bin") as answer:
        assert len(body(answer)) == DATA.size
    assert asked == ["model.example"]
    assert hub.hits[0].headers["host"] == f"model.example:{hub.port}"


def test_t18_t19_the_peer_is_judged_before_a_byte_is_sent(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The judged address was public; what was connected to is not (a lying network, or a fault of ours)."""
    connect = socket.socket.connect_ex
    monkeypatch.setattr(socket.socket, "connect_ex", lambda self, _: connect(self, ("127.0.0.1", hub.port)))
    web = Web(settings(allow_hosts=()), resolve=lambda host, port: [Place(socket.AF_INET, ("8.8.8.8", port))])
    trouble = trouble_of(web, f"http://model.example:{hub.port}/m.bin")
    assert trouble.code is Code.REFUSED_ADDRESS and "127.0.0.1" in str(trouble)
    hub.wait_for(lambda host: host.connections_seen == 1)
    assert hub.hits == []


def test_n13_the_next_address_is_tried_when_one_is_dead(hub: Hub) -> None:
    hub.publish("/m.bin", DATA)

    def two(host: str, port: int) -> list[Place]:
        return [Place(socket.AF_INET6, ("::1", port)), Place(socket.AF_INET, ("127.0.0.1", port))]

    web = Web(settings(allow_hosts=("127.0.0.1", "::1")), resolve=two)
    with web.open_stream(f"http://model.example:{hub.port}/m.bin") as answer:
        assert answer.status == 200


def test_t20_a_redirect_to_a_private_address_is_refused(hub: Hub) -> None:
    with Hub() as inner:
        secret = inner.publish("/secret", b"metadata")
        url = hub.publish("/m.bin", DATA, behaviour=redirect(to=secret))
        trouble = trouble_of(Web(settings(allow_hosts=(f"127.0.0.1:{hub.port}",))), url)
        assert trouble.code is Code.REFUSED_ADDRESS
        assert inner.connections_seen == 0


def test_a_moved_endpoint_is_reached_without_naming_it_again(hub: Hub) -> None:
    hub.publish("/hf/o/r/resolve/main/m.bin", DATA)
    web = Web(settings(allow_hosts=(), hf_endpoint=f"{hub.base}/hf"))
    with web.open_stream("https://huggingface.co/o/r/blob/main/m.bin") as answer:
        assert answer.url == f"{hub.base}/hf/o/r/resolve/main/m.bin"
        assert len(body(answer)) == DATA.size


# --- redirects and tokens (H18–H20, T21, T22) -------------------------------------------------------------------------


def test_h18_a_redirect_loop_ends_after_ten(hub: Hub) -> None:
    trouble = trouble_of(Web(settings()), hub.publish("/m.bin", DATA, behaviour=BEHAVIOURS["redirect_loop"]))
    assert isinstance(trouble, GiveUp) and trouble.code is Code.REDIRECTS
    assert len(hub.hits) == 11, "the question and ten redirects"


@pytest.mark.parametrize("behaviour", ["redirect_no_location", "redirect_bad"])
def test_h19_a_redirect_to_nowhere_or_to_a_file_is_refused(hub: Hub, behaviour: str) -> None:
    trouble = trouble_of(Web(settings()), hub.publish("/m.bin", DATA, behaviour=BEHAVIOURS[behaviour]))
    assert isinstance(trouble, GiveUp) and trouble.code is Code.REDIRECTS


def test_a_redirect_on_the_same_origin_keeps_the_token(hub: Hub) -> None:
    hub.publish("/new/m.bin", DATA)
    hub.publish("/old/m.bin", DATA, behaviour=redirect(to="/new/m.bin", status=307))
    web = Web(settings(hf_endpoint=hub.base, hf_token=SecretStr(TOKEN)))
    with web.open_stream("https://huggingface.co/old/m.bin") as answer:
        assert answer.url == f"{hub.base}/new/m.bin"
    assert [hit.headers.get("authorization") for hit in hub.hits] == [f"Bearer {TOKEN}"] * 2


def test_h20_t21_the_token_is_dropped_for_good_when_a_redirect_leaves_its_origin(hub: Hub) -> None:
    """Only the port differs; and the way back does not bring the token back."""
    with Hub() as other:
        hub.publish("/back.bin", DATA)
        hub.publish("/m.bin", DATA, behaviour=redirect(to=other.url("/away.bin")))
        other.publish("/away.bin", DATA, behaviour=redirect(to=hub.url("/back.bin")))
        web = Web(settings(hf_endpoint=hub.base, hf_token=SecretStr(TOKEN)))
        with web.open_stream(hub.url("/m.bin")) as answer:
            assert answer.status == 200
        told = [hit.headers.get("authorization") for hit in (*hub.hits, *other.hits)]
        assert told == [f"Bearer {TOKEN}", None, None]
        assert not any("referer" in hit.headers for hit in (*hub.hits, *other.hits))


def test_t21_a_host_that_is_no_endpoint_gets_no_token(hub: Hub) -> None:
    web = Web(settings(hf_token=SecretStr(TOKEN), civitai_api_token=SecretStr(canaries.CIVITAI)))
    with web.open_stream(hub.publish("/m.bin", DATA)) as answer:
        assert answer.status == 200
    assert "authorization" not in hub.hits[0].headers


def test_cookies_are_never_kept(hub: Hub) -> None:
    hub.publish("/new.bin", DATA)
    hub.publish("/m.bin", DATA, headers={"Set-Cookie": "id=planted; Path=/"}, behaviour=redirect(to="/new.bin"))
    web = Web(settings())
    for _ in range(2):
        with web.open_stream(hub.url("/m.bin")) as answer:
            assert answer.status == 200
    assert not any("cookie" in hit.headers for hit in hub.hits)


def test_t22_no_error_shows_the_token(hub: Hub) -> None:
    hub.publish("/m.bin", DATA, behaviour=s401)
    web = Web(settings(civitai_endpoint=hub.base, civitai_api_token=SecretStr(canaries.CIVITAI)))
    with web.open_stream(canaries.of_its_host(hub.url(f"/m.bin?token={canaries.IN_URL}"))) as answer:
        trouble = web.refusal(answer)
    assert "CIVITAI_API_TOKEN" in str(trouble)
    for told in (str(trouble), repr(trouble), answer.url, repr(web), repr(answer)):
        assert canaries.WORD not in told


def test_h21_a_signed_link_that_is_refused_is_for_later_and_no_question_of_tokens(hub: Hub) -> None:
    with Hub() as storage:
        hub.publish(
            "/m.bin", DATA, behaviour=redirect(to=storage.publish("/signed", DATA, behaviour=BEHAVIOURS["s403"]))
        )
        web = Web(settings())
        with web.open_stream(hub.url("/m.bin")) as answer:
            trouble = web.refusal(answer)
    assert isinstance(trouble, TryLater) and trouble.code is Code.SERVER_ERROR


def test_a_refusal_carries_what_civitai_says_in_json(hub: Hub) -> None:
    said = json.dumps({"error": "Unauthorized", "message": "The creator requires you to be logged in"}).encode()
    url = hub.publish("/m.bin", said, content_type="application/json")
    web = Web(settings())
    with web.open_stream(url) as answer:
        object.__setattr__(answer, "status", 401)
        trouble = web.refusal(answer)
    assert "The creator requires you to be logged in" in trouble.message


# --- the environment (N12) --------------------------------------------------------------------------------------------


@pytest.fixture
def hostile_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password planted-netrc\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))


@pytest.mark.usefixtures("hostile_environment")
def test_n12_ambient_proxies_and_netrc_are_ignored(hub: Hub) -> None:
    with Web(settings()).open_stream(hub.publish("/m.bin", DATA)) as answer:
        assert answer.status == 200
    assert "authorization" not in hub.hits[0].headers


@pytest.mark.usefixtures("hostile_environment")
def test_n12_a_configured_dead_proxy_is_obeyed_and_named(hub: Hub) -> None:
    trouble = trouble_of(Web(settings(use_environment_proxies=True)), hub.publish("/m.bin", DATA))
    assert isinstance(trouble, TryLater) and trouble.code is Code.NO_CONNECTION
    assert hub.connections_seen == 0


def test_n12_a_configured_proxy_gets_the_question(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", hub.base)
    with Web(settings(allow_hosts=(), use_environment_proxies=True)).open_stream(
        "http://models.example/m.bin"
    ) as answer:
        assert answer.status in (200, 404)
    assert hub.hits[0].target == "http://models.example/m.bin"


def test_t18_a_proxy_is_no_way_around_the_address_rules(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", hub.base)
    trouble = trouble_of(Web(settings(allow_hosts=(), use_environment_proxies=True)), "http://169.254.169.254/latest")
    assert trouble.code is Code.REFUSED_ADDRESS and hub.connections_seen == 0


# --- what errors become (N1, N2, N5–N7, H11, H23, H24) ----------------------------------------------------------------


def test_n1_a_closed_port_is_for_later() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    trouble = trouble_of(Web(settings()), f"http://127.0.0.1:{port}/m.bin")
    assert isinstance(trouble, TryLater) and trouble.code is Code.NO_CONNECTION


@pytest.mark.parametrize(
    ("behaviour", "kind", "code"),
    [
        ("rst_now", TryLater, Code.NO_CONNECTION),
        ("rst_mid", TryLater, Code.CUT_SHORT),
        ("eof_mid", TryLater, Code.CUT_SHORT),
        ("stall_now", TryLater, Code.STALLED),
        ("stall_mid", TryLater, Code.STALLED),
        ("chunked_cut", TryLater, Code.CUT_SHORT),
        ("length_long", TryLater, Code.CUT_SHORT),
        ("length_negative", GiveUp, Code.LYING_SERVER),
        ("length_garbage", GiveUp, Code.LYING_SERVER),
        ("two_lengths", GiveUp, Code.LYING_SERVER),
        ("te_and_cl", GiveUp, Code.LYING_SERVER),
        ("header_bomb", GiveUp, Code.LYING_SERVER),
        ("header_endless_line", GiveUp, Code.LYING_SERVER),
        ("http09", TryLater, Code.LYING_SERVER),
        ("bad_status_line", TryLater, Code.LYING_SERVER),
    ],
)
def test_n1_n5_n6_n7_h11_h23_h24_every_fault_has_its_name(
    hub: Hub, behaviour: str, kind: type[Trouble], code: Code
) -> None:
    url = hub.publish("/m.bin", DATA, behaviour=BEHAVIOURS[behaviour])
    patience = 0.2 if code is Code.STALLED else 10.0
    trouble = trouble_of(Web(settings(stall_timeout_seconds=patience)), url)
    assert (type(trouble), trouble.code) == (kind, code)
    assert trouble.__cause__ is not None or kind is GiveUp, "the original error is kept"


def test_h29_bytes_after_the_end_are_never_looked_at(hub: Hub) -> None:
    url = hub.publish("/m.bin", DATA, behaviour=BEHAVIOURS["extra_bytes_keepalive"])
    web = Web(settings())
    for _ in range(2):
        with web.open_stream(url) as answer:
            assert body(answer) == DATA.read(0, DATA.size)
    assert len({hit.connection for hit in hub.hits}) == 2, "a connection serves one question"


# --- the leash --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("behaviour", [stall_now, stall_mid])
def test_a_pulled_leash_cuts_a_wait_for_the_head_and_for_the_body(hub: Hub, behaviour: Any) -> None:
    url = hub.publish("/m.bin", DATA, behaviour=behaviour)
    leash = Leash()

    def pull_when_asked() -> None:
        hub.wait_for(lambda host: bool(host.hits))
        leash.pull()

    puller = threading.Thread(target=pull_when_asked)
    puller.start()
    began = time.monotonic()
    with pytest.raises(Interrupted), Web(settings(stall_timeout_seconds=60.0)).open_stream(url, leash=leash) as answer:
        body(answer)
    assert time.monotonic() - began < 5.0
    puller.join()


def test_a_pulled_leash_does_not_wait_for_the_resolver() -> None:
    leash, asked, silence = Leash(), threading.Event(), threading.Event()

    def silent(host: str, port: int) -> list[Place]:
        asked.set()
        silence.wait(30)
        return []

    def pull_when_asked() -> None:
        asked.wait(10)
        leash.pull()

    puller = threading.Thread(target=pull_when_asked)
    puller.start()
    began = time.monotonic()
    with pytest.raises(Interrupted), Web(settings(), resolve=silent).open_stream("http://model.example/", leash=leash):
        pass
    assert time.monotonic() - began < 4.0
    silence.set()
    puller.join()


def test_shutdown_from_another_thread_ends_a_read(hub: Hub) -> None:
    url = hub.publish("/m.bin", DATA, behaviour=stall_mid)
    with Web(settings(stall_timeout_seconds=60.0)).open_stream(url) as answer:
        assert len(answer.read(1)) == 1
        timer = threading.Timer(0.05, answer.shutdown)
        timer.start()
        with pytest.raises(TryLater) as caught:
            body(answer)
        assert caught.value.code is Code.CUT_SHORT
        timer.join()


# --- JSON -------------------------------------------------------------------------------------------------------------


def test_p8_where_there_are_no_more_threads_a_question_waits(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(timer: threading.Timer) -> None:
        raise RuntimeError("can't start new thread")

    url, web = hub.publish("/api", b"{}"), Web(settings())
    monkeypatch.setattr(threading.Timer, "start", none)
    with pytest.raises(TryLater, match="no more threads") as caught:
        web.get_json(url)
    assert caught.value.code is Code.STORAGE


def test_json_is_read_within_its_bound(hub: Hub) -> None:
    url = hub.publish("/api", b'{"id": 7}', content_type="application/json")
    assert Web(settings()).get_json(url) == {"id": 7}
    assert hub.hits[0].headers["accept"] == "application/json"
    with pytest.raises(GiveUp) as caught:
        Web(settings()).get_json(url, max_bytes=8)
    assert caught.value.code is Code.LYING_SERVER


@pytest.mark.parametrize("text", [b"<html>", b"", b"[" * 100_000, b"\xff\xfe\xfa"])
def test_what_is_no_json_is_a_lying_server(hub: Hub, text: bytes) -> None:
    with pytest.raises(GiveUp) as caught:
        Web(settings()).get_json(hub.publish("/api", text))
    assert caught.value.code is Code.LYING_SERVER


def test_json_of_countless_small_values_is_not_built(hub: Hub) -> None:
    """4 MB that would be 100 MB of memory; 60 MB of them would be 1.75 GB."""
    url = hub.publish("/api", b"[" + b"[]," * (MAX_VALUES // 2) + b"[]]")
    tracemalloc.start()
    with pytest.raises(GiveUp, match=f"more than {MAX_VALUES} values") as caught:
        Web(settings()).get_json(url)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert caught.value.code is Code.LYING_SERVER and peak_bytes < 40_000_000


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
def test_values_are_counted_in_every_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_texts, "MAX_VALUES", 5)
    assert bounded_json('{"a": [1, 2], "b": 3}'.encode(encoding)) == {"a": [1, 2], "b": 3}
    with pytest.raises(TooManyValues):
        bounded_json('{"a": [1, 2], "b": [3, 4]}'.encode(encoding))


def test_json_of_something_that_was_made_is_read_too(hub: Hub) -> None:
    @on_reply
    def created(turn: Turn, reply: Reply) -> Reply:
        return replace(reply, status=201)

    assert Web(settings()).get_json(hub.publish("/api", b"{}", behaviour=created)) == {}


def test_a_status_is_judged_for_json_too(hub: Hub) -> None:
    with pytest.raises(TryLater) as caught:
        Web(settings()).get_json(hub.publish("/api", b"{}", behaviour=s429))
    assert caught.value.code is Code.BUSY_HOST and caught.value.retry_after_seconds == 1.0
    with pytest.raises(GiveUp) as gone:
        Web(settings()).get_json(hub.url("/nothing"))
    assert gone.value.code is Code.NOT_FOUND


@pytest.mark.parametrize(
    ("begin", "again"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", b"1"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"1"),
    ],
    ids=["100 for ever", "a dripped head", "a dripped body", "a dripped body without an end"],
)
def test_n6_an_answer_that_never_ends_does_not_hold_whoever_asked(
    monkeypatch: pytest.MonkeyPatch, begin: bytes, again: bytes
) -> None:
    """Each byte comes in time, so that no stall ends it."""
    monkeypatch.setattr("download_worker.web.session.ANSWER_SECONDS", 0.3)

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            connection.recv(65536)
            connection.sendall(begin)
            until = time.monotonic() + 5.0
            while time.monotonic() < until:
                connection.sendall(again)
                time.sleep(0.02)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve, args=(listener,))
        server.start()
        began = time.monotonic()
        with pytest.raises(TryLater) as caught:
            Web(settings()).get_json(f"http://127.0.0.1:{listener.getsockname()[1]}/")
        assert caught.value.code is Code.STALLED
        assert time.monotonic() - began < 3.0
        server.join()

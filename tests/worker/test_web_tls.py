"""Certificates are always verified, and nothing leads from https back to http. A hub with TLS on the loopback."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from download_worker.errors import BadRequest, Code, GiveUp, Trouble, TryLater
from download_worker.settings import Settings
from download_worker.web.session import Web
from download_worker.web.trust import trusting, trusting_the_usual
from tests import canaries
from tests.hub import BEHAVIOURS, Hub, SizedPattern, certificates
from tests.hub.behaviours import redirect, stall_mid
from tests.hub.certificates import AUTHORITY, KEY, NOT_YET_VALID

DATA = SizedPattern(100_000)
TOKEN = canaries.HF

ServedWith = Callable[[str], Hub]


@pytest.fixture
def served_with() -> Iterator[ServedWith]:
    hubs: list[Hub] = []

    def serve(name: str) -> Hub:
        hubs.append(Hub(ssl_context=certificates.serving(name)))
        return hubs[-1]

    yield serve
    for hub in hubs:
        hub.close()


def web(*, trusted: bool = True, authority: str = AUTHORITY, **values: Any) -> Web:
    given: dict[str, Any] = {"home": Path("/nowhere"), "allow_hosts": ("127.0.0.1",)}
    context = certificates.trusting(authority) if trusted else None
    return Web(Settings(**(given | values)), ssl_context=context)


def trouble_of(client: Web, url: str) -> Trouble:
    with pytest.raises(Trouble) as caught, client.open_stream(url):
        pass
    return caught.value


def test_a_trusted_host_is_read_over_tls(served_with: ServedWith) -> None:
    hub = served_with("good")
    with web().open_stream(hub.publish("/m.bin", DATA)) as answer:
        pieces = b"".join(iter(lambda: answer.read(65536), b""))
    assert pieces == DATA.read(0, DATA.size)


def test_a_connection_with_tls_is_left_to_the_next_file(served_with: ServedWith) -> None:
    hub, asking = served_with("good"), web()
    for url in [hub.publish(f"/{name}.bin", DATA) for name in "abc"]:
        with asking.route(url) as route, route.ask() as answer:
            assert b"".join(iter(lambda: answer.read(65536), b"")) == DATA.read(0, DATA.size)
    asking.close()
    assert len({hit.connection for hit in hub.hits}) == 1 and len(hub.hits) == 3


@pytest.mark.parametrize(("name", "trusted"), [("good", False), ("wrong host", True), ("expired", True)])
def test_n4_a_certificate_that_does_not_hold_is_final(served_with: ServedWith, name: str, trusted: bool) -> None:
    hub = served_with(name)
    trouble = trouble_of(web(trusted=trusted), hub.publish("/m.bin", DATA))
    assert isinstance(trouble, GiveUp) and trouble.code is Code.TLS
    assert hub.hits == []


def test_c5_a_certificate_of_the_future_means_a_wrong_clock_and_is_for_later(served_with: ServedWith) -> None:
    hub = served_with("not yet valid")
    trouble = trouble_of(web(authority=NOT_YET_VALID), hub.publish("/m.bin", DATA))
    assert isinstance(trouble, TryLater) and trouble.code is Code.TLS and "clock" in trouble.hint
    assert hub.hits == []


def test_a_ca_file_is_trusted_beside_the_usual_ones(served_with: ServedWith, tmp_path: Path) -> None:
    (tmp_path / "own.pem").write_text(AUTHORITY)
    hub = served_with("good")
    with web(trusted=False, home=tmp_path, ca_file=Path("own.pem")).open_stream(hub.publish("/m.bin", DATA)) as answer:
        assert answer.status == 200
    assert len(trusting(tmp_path / "own.pem").get_ca_certs()) == len(trusting(None).get_ca_certs()) + 1
    trouble = trouble_of(web(trusted=False), hub.url("/m.bin"))
    assert trouble.code is Code.TLS, "the file is trusted by whom it was named to"


@pytest.mark.parametrize("content", [None, "", "no certificate", KEY])
def test_a_ca_file_that_is_none_ends_the_start_and_is_named(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "own.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(BadRequest) as caught:
        web(trusted=False, ca_file=path)
    assert caught.value.code is Code.BAD_SETTING
    assert "ca_file" in str(caught.value) and str(path) in str(caught.value)


def test_the_openssl_variables_add_to_what_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in every program with OpenSSL; what requests brings stays trusted beside it."""
    (tmp_path / "own.pem").write_text(AUTHORITY)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "own.pem"))
    trusting_the_usual.cache_clear()
    names = [str(each["subject"]) for each in trusting_the_usual().get_ca_certs()]
    trusting_the_usual.cache_clear()
    assert any("comfy-doctor tests CA" in name for name in names) and len(names) > 50


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [(b"HTTP/1.1 400 Bad Request\r\n\r\n", GiveUp, Code.TLS), (b"", TryLater, Code.NO_CONNECTION)],
    ids=["it speaks plainly", "it hangs up"],
)
def test_n4_a_host_that_speaks_no_tls_is_final_and_one_that_hangs_up_is_for_later(
    answer: bytes, kind: type[Trouble], code: Code
) -> None:
    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve)
        server.start()
        trouble = trouble_of(web(), f"https://127.0.0.1:{listener.getsockname()[1]}/m.bin")
        server.join()
    assert (type(trouble), trouble.code) == (kind, code)


@pytest.mark.parametrize("step", [1000, 1 << 20])
def test_a_body_over_tls_arrives_in_the_callers_memory_on_one_connection(served_with: ServedWith, step: int) -> None:
    hub = served_with("good")
    view = memoryview(bytearray(step))
    with web().route(hub.publish("/m.bin", DATA)) as route:
        for _ in range(2):
            got = bytearray()
            with route.ask() as answer:
                while count := answer.read_into(view):
                    got += view[:count]
            assert got == DATA.read(0, DATA.size)
    assert len({hit.connection for hit in hub.hits}) == 1


@pytest.mark.parametrize("secure", [True, False])
def test_a_silent_host_is_told_from_one_that_has_more(served_with: ServedWith, secure: bool) -> None:
    view = memoryview(bytearray(1 << 20))
    with Hub() if not secure else nullcontext(served_with("good")) as hub:
        url = hub.publish("/m.bin", DATA, behaviour=stall_mid(after_bytes=50_000))
        with web().open_stream(url) as answer:
            got = 0
            while got < 50_000:
                assert answer.more_within(10.0)
                got += answer.read_into(view[:100])
            assert not answer.more_within(0.01)
        hub.behave("/m.bin", None)
        with web().open_stream(url) as answer:
            while answer.read_into(view):
                assert answer.more_within(10.0), "the end counts"


@pytest.mark.parametrize(("behaviour", "code"), [("eof_mid", Code.CUT_SHORT), ("stall_mid", Code.STALLED)])
def test_n6_n7_a_body_over_tls_that_breaks_off_is_for_later_and_all_that_came_is_handed_over(
    served_with: ServedWith, behaviour: str, code: Code
) -> None:
    hub = served_with("good")
    url = hub.publish("/m.bin", DATA, behaviour=BEHAVIOURS[behaviour])
    view, got = memoryview(bytearray(1 << 20)), 0
    with pytest.raises(TryLater) as caught, web(stall_timeout_seconds=0.2).open_stream(url) as answer:
        while count := answer.read_into(view):
            got += count
    assert caught.value.code is code and got == hub.bytes_sent("/m.bin") > 0


def test_h29_bytes_after_the_end_cost_a_connection_over_tls_too(served_with: ServedWith) -> None:
    hub = served_with("good")
    url = hub.publish("/m.bin", DATA, behaviour=BEHAVIOURS["extra_bytes_keepalive"])
    with web().route(url) as route:
        for _ in range(2):
            with route.ask() as answer:
                assert b"".join(iter(lambda: answer.read(65536), b"")) == DATA.read(0, DATA.size)
    assert len({hit.connection for hit in hub.hits}) == 2


def test_h22_a_redirect_from_https_to_http_is_refused(served_with: ServedWith) -> None:
    hub = served_with("good")
    with Hub() as plain:
        url = hub.publish("/m.bin", DATA, behaviour=redirect(to=plain.publish("/m.bin", DATA)))
        trouble = trouble_of(web(), url)
        assert isinstance(trouble, GiveUp) and trouble.code is Code.REDIRECTS
        assert plain.connections_seen == 0


def test_h20_t21_the_token_does_not_follow_from_http_to_https(served_with: ServedWith) -> None:
    secure = served_with("good")
    with Hub() as plain:
        plain.publish("/m.bin", DATA, behaviour=redirect(to=secure.publish("/m.bin", DATA)))
        client = web(hf_endpoint=plain.base, hf_token=SecretStr(TOKEN))
        with client.open_stream(plain.url("/m.bin")) as answer:
            assert answer.url == secure.url("/m.bin")
        assert plain.hits[0].headers["authorization"] == f"Bearer {TOKEN}"
        assert "authorization" not in secure.hits[0].headers


def test_t18_the_peer_is_judged_before_the_tls_handshake(served_with: ServedWith) -> None:
    hub = served_with("good")
    trouble = trouble_of(web(allow_hosts=()), hub.publish("/m.bin", DATA))
    assert trouble.code is Code.REFUSED_ADDRESS and hub.connections_seen == 0


@pytest.fixture
def netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "netrc"
    path.write_text("machine 127.0.0.1 login somebody password planted-netrc\n")
    path.chmod(0o600)
    monkeypatch.setenv("NETRC", str(path))


@pytest.mark.usefixtures("netrc")
def test_n12_netrc_is_used_only_when_configured_and_only_over_https(served_with: ServedWith) -> None:
    secure = served_with("good")
    secure.publish("/m.bin", DATA)
    with Hub() as plain:
        plain.publish("/m.bin", DATA)
        for client in (web(), web(use_netrc=True)):
            for hub in (secure, plain):
                with client.open_stream(hub.url("/m.bin")) as answer:
                    assert answer.status == 200
        assert [hit.headers.get("authorization") for hit in plain.hits] == [None, None]
    assert [hit.headers.get("authorization") for hit in secure.hits] == [None, "Basic c29tZWJvZHk6cGxhbnRlZC1uZXRyYw=="]

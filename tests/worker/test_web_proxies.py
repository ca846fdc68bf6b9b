"""Proxies: only those that were configured, for the right hosts, and never a word of their passwords."""

import base64
import importlib.util
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from download_worker.errors import BadRequest, Code, Interrupted, Refused, Trouble, TryLater
from download_worker.leash import Leash
from download_worker.settings import Settings
from download_worker.web.names import Place, Resolve
from download_worker.web.origins import parse_url
from download_worker.web.proxies import parse_proxy, spares
from download_worker.web.session import Answer, Web
from tests import canaries
from tests.hub import Hub, SizedPattern, certificates

DATA = SizedPattern(300_000)
NEEDS_PYSOCKS = pytest.mark.skipif(importlib.util.find_spec("socks") is None, reason="PySocks is not installed")
CONTEXT = certificates.trusting()


class ProxyStub:
    """A proxy on the loopback that leads everybody to one place: plain, by CONNECT, or by SOCKS5.

    `asked` is what it was told of the goals, `logins` the users and passwords that came with it.
    """

    def __init__(self, goal_port: int, *, login: str | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.asked: list[str] = []
        self.logins: list[str | None] = []
        self._goal = ("127.0.0.1", goal_port)
        self._login = login
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._threads = [threading.Thread(target=self._serve, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                thread = threading.Thread(target=self._client, args=(client,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _client(self, client: socket.socket) -> None:
        with suppress(OSError), ExitStack() as stack:
            stack.callback(client.close)
            if self._tls is not None:
                client = stack.enter_context(self._tls.wrap_socket(client, server_side=True))
            first = client.recv(1)
            greeted = self._socks(client) if first == b"\x05" else self._http(client, first)
            if greeted is not None:
                goal = stack.enter_context(socket.create_connection(self._goal))
                goal.sendall(greeted)
                _relay(client, goal)

    def _http(self, client: socket.socket, head: bytes) -> bytes | None:
        """What the goal is to be told first; None when it was refused."""
        while b"\r\n\r\n" not in head:
            head += client.recv(65536)
        method, target = head.decode("latin-1").split(" ", 2)[:2]
        lines = head.split(b"\r\n")
        told = [line[21:].decode() for line in lines if line.startswith(b"Proxy-Authorization: ")]
        login = base64.b64decode(told[0].removeprefix("Basic ")).decode() if told else None
        canaries.BOOK.request(self.port, method, target, {"proxy-authorization": "".join(told)})
        self.asked.append(target)
        self.logins.append(login)
        if self._login is not None and login != self._login:
            client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return None
        if method == "CONNECT":
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            return b""
        return b"\r\n".join(line for line in lines if not line.startswith(b"Proxy-Authorization: "))

    def _socks(self, client: socket.socket) -> bytes | None:
        methods = client.recv(client.recv(1)[0])
        wanted = b"\x02" if self._login is not None else b"\x00"
        client.sendall(b"\x05" + (wanted if wanted in methods else b"\xff"))
        login = None
        if self._login is not None:
            client.recv(1)
            login = ":".join(client.recv(client.recv(1)[0]).decode() for _ in range(2))
            client.sendall(b"\x01" + (b"\x00" if login == self._login else b"\x01"))
        self.logins.append(login)
        if len(head := client.recv(4)) < 4:
            return None
        length = {1: 4, 4: 16}.get(head[3]) or client.recv(1)[0]
        raw = client.recv(length)
        host = raw.decode() if head[3] == 3 else socket.inet_ntop({1: socket.AF_INET, 4: socket.AF_INET6}[head[3]], raw)
        self.asked.append(f"{host}:{int.from_bytes(client.recv(2))}")
        client.sendall(b"\x05\x00\x00\x01" + bytes(6))
        return b""


def _relay(one: socket.socket, other: socket.socket) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(one, selectors.EVENT_READ, other)
        selector.register(other, selectors.EVENT_READ, one)
        while True:
            for key, _ in selector.select():
                source: Any = key.fileobj
                piece = source.recv(65536)
                if not piece:
                    return
                key.data.sendall(piece)
                while isinstance(source, ssl.SSLSocket) and source.pending():
                    key.data.sendall(source.recv(65536))


MakeProxy = Callable[..., ProxyStub]


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as host:
        host.publish("/m.bin", DATA)
        yield host


@pytest.fixture
def secure_hub() -> Iterator[Hub]:
    """Its certificate is for elsewhere.example, so that a proxy is the way to it."""
    with Hub(ssl_context=certificates.serving("wrong host")) as host:
        host.publish("/m.bin", DATA)
        yield host


@pytest.fixture
def proxy_to() -> Iterator[MakeProxy]:
    with ExitStack() as stack:

        def make(hub: Hub, **values: Any) -> ProxyStub:
            stub = ProxyStub(hub.port, **values)
            stack.callback(stub.close)
            return stub

        yield make


def local(host: str, port: int) -> list[Place]:
    if host not in ("127.0.0.1", "localhost"):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return [Place(socket.AF_INET, ("127.0.0.1", port))]


def leading_to(address: str) -> Resolve:
    """A resolver for which every name but the proxy's is there."""
    return lambda host, port: [Place(socket.AF_INET, ("127.0.0.1" if host == "127.0.0.1" else address, port))]


def web(proxy: str | None, *, resolve: Resolve = local, **values: Any) -> Web:
    given: dict[str, Any] = {"home": Path("/nowhere"), "stall_timeout_seconds": 5.0}
    secret = None if proxy is None else SecretStr(proxy)
    return Web(Settings(**(given | values), proxy=secret), resolve=resolve, ssl_context=CONTEXT)


def body(answer: Answer) -> bytes:
    return b"".join(iter(lambda: answer.read(65536), b""))


def trouble_of(client: Web, url: str) -> Trouble:
    with pytest.raises(Trouble) as caught, client.open_stream(url) as answer:
        raise client.refusal(answer)
    return caught.value


# --- ways through -----------------------------------------------------------------------------------------------------


def test_n12_a_proxy_is_asked_for_plain_http_with_its_login(hub: Hub, proxy_to: MakeProxy) -> None:
    proxy = proxy_to(hub, login=f"me:p@ss {canaries.PROXY_PASSWORD}")
    with web(f"http://me:p%40ss%20{canaries.PROXY_PASSWORD}@127.0.0.1:{proxy.port}").open_stream(
        "http://model.example/m.bin"
    ) as answer:
        assert body(answer) == DATA.read(0, DATA.size)
    assert proxy.asked == ["http://model.example/m.bin"] and proxy.logins == [f"me:p@ss {canaries.PROXY_PASSWORD}"]


@pytest.mark.parametrize("kind", ["http", "https", "socks5h", "socks5"])
def test_n12_a_proxy_leads_to_https_and_the_host_never_sees_its_login(
    secure_hub: Hub, proxy_to: MakeProxy, kind: str
) -> None:
    if kind.startswith("socks"):
        pytest.importorskip("socks")
    tls = certificates.serving() if kind == "https" else None
    proxy = proxy_to(secure_hub, login=f"me:{canaries.PROXY_PASSWORD}", tls=tls)
    resolve = (lambda host, port: [Place(socket.AF_INET, ("127.0.0.1", port))]) if kind == "socks5" else local
    client = web(
        f"{kind}://me:{canaries.PROXY_PASSWORD}@127.0.0.1:{proxy.port}", resolve=resolve, allow_hosts=("127.0.0.1",)
    )
    with client.route("https://elsewhere.example/m.bin") as route:
        for _ in range(2):
            with route.ask() as answer:
                view, got = memoryview(bytearray(1 << 20)), bytearray()
                while count := answer.read_into(view):
                    got += view[:count]
            assert got == DATA.read(0, DATA.size)
    asked = "127.0.0.1:443" if kind == "socks5" else "elsewhere.example:443"
    assert proxy.asked == [asked] and proxy.logins == [f"me:{canaries.PROXY_PASSWORD}"], "once: the connection is kept"
    assert not any(canaries.WORD in f"{hit.headers}" or "proxy-authorization" in hit.headers for hit in secure_hub.hits)


@NEEDS_PYSOCKS
def test_n12_a_socks_proxy_leads_to_plain_http(hub: Hub, proxy_to: MakeProxy) -> None:
    proxy, looked_up = proxy_to(hub), []

    def resolve(host: str, port: int) -> list[Place]:
        looked_up.append(host)
        return local(host, port)

    client = web(f"socks5h://127.0.0.1:{proxy.port}", resolve=resolve)
    with client.open_stream("http://model.example/m.bin") as answer:
        assert body(answer) == DATA.read(0, DATA.size)
    assert proxy.asked == ["model.example:80"] and hub.hits[0].headers["host"] == "model.example"
    assert looked_up == ["127.0.0.1"], "that is what the h means"


@NEEDS_PYSOCKS
def test_t18_a_name_that_leads_home_is_refused_before_a_socks5_proxy_hears_of_it(hub: Hub, proxy_to: MakeProxy) -> None:
    proxy = proxy_to(hub)
    client = web(
        f"socks5://127.0.0.1:{proxy.port}", resolve=lambda host, port: [Place(socket.AF_INET, ("10.0.0.1", port))]
    )
    assert isinstance(trouble_of(client, "http://model.example/m.bin"), Refused)
    assert proxy.asked == []


@pytest.mark.parametrize("kind", ["http", "socks5h"])
def test_t18_a_proxy_that_looks_names_up_is_no_way_to_an_address_that_is_refused(
    hub: Hub, proxy_to: MakeProxy, kind: str
) -> None:
    if kind.startswith("socks"):
        pytest.importorskip("socks")
    proxy = proxy_to(hub)
    trouble = trouble_of(web(f"{kind}://127.0.0.1:{proxy.port}"), "http://169.254.169.254/latest")
    assert isinstance(trouble, Refused) and proxy.asked == []


@pytest.mark.parametrize("url", ["http://127-0-0-1.nip.example/m.bin", "https://127-0-0-1.nip.example/m.bin"])
def test_t18_a_name_that_leads_home_is_refused_before_a_proxy_hears_of_it(
    hub: Hub, proxy_to: MakeProxy, url: str
) -> None:
    """Most proxies run on this machine, and look names up as it does."""
    proxy = proxy_to(hub)
    client = web(f"http://127.0.0.1:{proxy.port}", resolve=leading_to("10.0.0.1"))
    assert isinstance(trouble_of(client, url), Refused)
    assert proxy.asked == []


@pytest.mark.parametrize("address", ["10.0.0.1", "93.184.216.34"])
def test_t18_a_name_that_is_public_or_allowed_goes_to_the_proxy(hub: Hub, proxy_to: MakeProxy, address: str) -> None:
    proxy = proxy_to(hub)
    client = web(f"http://127.0.0.1:{proxy.port}", resolve=leading_to(address), allow_hosts=("10.0.0.0/8",))
    with client.open_stream("http://model.example/m.bin") as answer:
        assert answer.status == 200
    assert proxy.asked == ["http://model.example/m.bin"]


def test_t18_a_resolver_without_a_word_does_not_keep_anybody_from_the_proxy(
    hub: Hub, proxy_to: MakeProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a company's proxy there may be none for the world outside."""
    monkeypatch.setattr("download_worker.web.dialing.GLANCE_SECONDS", 0.05)
    proxy, released = proxy_to(hub), threading.Event()

    def resolve(host: str, port: int) -> list[Place]:
        if host == "model.example":
            released.wait(10)
        return local(host, port)

    client = web(f"http://127.0.0.1:{proxy.port}", resolve=resolve)
    with client.open_stream("http://model.example/m.bin") as answer:
        assert answer.status == 200
    released.set()


def test_n12_the_loopback_needs_no_proxy_unless_the_user_says_so(hub: Hub, proxy_to: MakeProxy) -> None:
    proxy = proxy_to(hub)
    address = f"http://127.0.0.1:{proxy.port}"
    with web(address, allow_hosts=("127.0.0.1",)).open_stream(hub.url("/m.bin")) as answer:
        assert answer.status == 200
    assert proxy.asked == []
    with web(address, allow_hosts=("127.0.0.1",), no_proxy=()).open_stream(hub.url("/m.bin")):
        pass
    assert proxy.asked == [hub.url("/m.bin")]


# --- what goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["http", "https", "socks5h"])
@pytest.mark.parametrize("url", ["http://model.example/m.bin", "https://elsewhere.example/m.bin"])
def test_n12_a_dead_proxy_is_for_later_and_its_login_is_told_to_nobody(kind: str, url: str) -> None:
    if kind.startswith("socks"):
        pytest.importorskip("socks")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    client = web(f"{kind}://me:{canaries.PROXY_PASSWORD}@127.0.0.1:{port}")
    trouble = trouble_of(client, url)
    assert isinstance(trouble, TryLater) and trouble.code is Code.NO_CONNECTION
    chain: BaseException | None = trouble
    while chain is not None:
        assert canaries.WORD not in f"{chain} {chain!r}"
        chain = chain.__cause__ or chain.__context__
    assert canaries.WORD not in repr(client)


@pytest.mark.parametrize("kind", ["http", "socks5h"])
@pytest.mark.parametrize("url", ["http://model.example/m.bin", "https://elsewhere.example/m.bin"])
def test_n12_a_wrong_login_is_for_later_and_points_to_the_proxy(
    secure_hub: Hub, proxy_to: MakeProxy, kind: str, url: str
) -> None:
    if kind.startswith("socks"):
        pytest.importorskip("socks")
    proxy = proxy_to(secure_hub, login="me:right")
    trouble = trouble_of(web(f"{kind}://me:{canaries.PROXY_PASSWORD}@127.0.0.1:{proxy.port}"), url)
    assert isinstance(trouble, TryLater) and trouble.code is Code.NO_CONNECTION
    assert "proxy" in trouble.message and "password" in trouble.hint and canaries.WORD not in str(trouble)


def test_n12_a_proxy_with_a_bad_certificate_is_not_believed(secure_hub: Hub, proxy_to: MakeProxy) -> None:
    proxy = proxy_to(secure_hub, tls=certificates.serving("wrong host"))
    trouble = trouble_of(web(f"https://127.0.0.1:{proxy.port}"), "https://elsewhere.example/m.bin")
    assert isinstance(trouble, TryLater) and "proxy" in trouble.message
    assert proxy.asked == []


def test_n4_a_host_behind_a_proxy_is_verified_all_the_same(proxy_to: MakeProxy, secure_hub: Hub) -> None:
    proxy = proxy_to(secure_hub)
    trouble = trouble_of(web(f"http://127.0.0.1:{proxy.port}"), "https://another.example/m.bin")
    assert trouble.code is Code.TLS and not isinstance(trouble, TryLater) and secure_hub.hits == []


def test_n2_a_proxy_whose_name_is_none_is_no_fault_of_the_job() -> None:
    def resolve(host: str, port: int) -> list[Place]:
        if host == "proxy.example":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [Place(socket.AF_INET, ("93.184.216.34", port))]

    secret = SecretStr("http://proxy.example:3128")
    client = Web(Settings(home=Path("/nowhere"), proxy=secret), resolve=resolve, pauses_seconds=())
    trouble = trouble_of(client, "http://model.example/m.bin")
    assert isinstance(trouble, TryLater) and "proxy" in trouble.message


@NEEDS_PYSOCKS
def test_a_pulled_leash_cuts_a_socks_proxy_that_says_nothing() -> None:
    leash = Leash()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        puller = threading.Timer(0.05, leash.pull)
        puller.start()
        client = web(f"socks5h://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        with pytest.raises(Interrupted), client.open_stream("http://model.example/", leash=leash):
            pass
        assert time.monotonic() - began < 4.0, "15 s is the connect timeout"
        puller.join()


@pytest.mark.parametrize(
    "url", ["ftp://127.0.0.1:1", "http://", "socks4://127.0.0.1:1", "http://h:99999", "http://h:0"]
)
def test_a_proxy_that_is_none_ends_the_start_without_its_password(url: str) -> None:
    with pytest.raises(BadRequest) as caught:
        web(url.replace("://", f"://me:{canaries.PROXY_PASSWORD}@"))
    assert (
        caught.value.code is Code.BAD_SETTING
        and "proxy" in str(caught.value)
        and canaries.WORD not in str(caught.value)
    )


def test_a_socks_proxy_without_pysocks_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadRequest) as caught:
        web("socks5://127.0.0.1:1080")
    assert caught.value.code is Code.BAD_SETTING and "comfy-doctor[socks]" in caught.value.hint


# --- rules ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "url", "spared"),
    [
        ("*", "http://any.example/", True),
        ("model.example", "http://model.example/", True),
        ("model.example", "http://sub.model.example/", True),
        (".model.example", "http://model.example/", True),
        ("*.model.example", "http://sub.model.example/", True),
        ("MODEL.example", "http://model.EXAMPLE/", True),
        ("model.example.", "http://model.example/", True),
        ("model.example", "http://notmodel.example/", False),
        ("model.example", "http://model.example.evil/", False),
        ("model.example:8080", "http://model.example:8080/", True),
        ("model.example:8080", "http://model.example/", False),
        ("10.0.0.1", "http://10.0.0.1/", True),
        ("10.0.0.1", "http://10.0.0.11/", False),
        ("10.0.0.0/8", "http://10.9.9.9/", True),
        ("10.0.0.0/8", "http://11.9.9.9/", False),
        ("10.0.0.1:81", "http://10.0.0.1/", False),
        ("::1", "http://[::1]/", True),
        ("[::1]", "http://[::1]/", True),
        ("[::1]:8188", "http://[::1]:8188/", True),
        ("[::1]:8188", "http://[::1]/", False),
        ("fd00::/8", "http://[fd12::3]/", True),
        ("fd00::/8", "http://[2600::3]/", False),
        ("10.0.0.0/8", "http://[fd12::3]/", False),
        ("1", "http://127.0.0.1/", False),
        ("0.0.1", "http://127.0.0.1/", False),
        ("*.0.0.1", "http://127.0.0.1/", False),
        ("127.0.0.0/8:443", "https://127.0.0.1/", True),
        ("127.0.0.0/8:443", "http://127.0.0.1/", False),
        ("fd00::/8:443", "http://[fd12::3]/", False),
        ("", "http://model.example/", False),
        (".", "http://model.example/", False),
        ("bad/99", "http://model.example/", False),
    ],
)
def test_n12_hosts_without_a_proxy_are_named_as_for_curl(entry: str, url: str, spared: bool) -> None:
    assert spares([f" {entry} "], parse_url(url).origin) is spared


def test_a_proxy_shows_itself_without_its_login() -> None:
    proxy = parse_proxy(f"http://me:{canaries.PROXY_PASSWORD}@[::1]:3128", "proxy")
    assert f"{proxy}" == "http://[::1]:3128" and canaries.WORD not in repr(proxy)
    assert parse_proxy(proxy.url, "proxy") == proxy
    assert parse_proxy("proxy.example:8080", "proxy").scheme == "http"

"""The door to the web: one guarded question, its redirects followed by hand, its errors in the words of the house.

It uses the adapter of requests, not its Session: so nothing of the environment, no cookie, no netrc and no automatic
redirect can get in by itself. A connection serves one question and is then closed; what a host sends after the end of
its answer (H29) is never looked at.
"""

from __future__ import annotations

import socket
import ssl
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, NamedTuple, cast
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_environ_proxies, get_netrc_auth, select_proxy
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool

from download_worker import __version__
from download_worker.clock import Clock, SystemClock
from download_worker.errors import BadRequest, Code, GiveUp, Trouble
from download_worker.json_texts import bounded_json
from download_worker.leash import Leash
from download_worker.settings import Settings
from download_worker.text import public_url
from download_worker.web.addresses import is_address
from download_worker.web.answers import Asked, Framing, Headers, check_head, framing, redirect_target, refusal
from download_worker.web.dialing import Dialer, Line, Resolve, system_resolve
from download_worker.web.origins import (
    Address,
    Origin,
    address_policy,
    credential_for,
    effective_url,
    next_hop,
    parse_url,
)
from download_worker.web.translation import body_errors, head_errors

USER_AGENT = f"comfy-doctor/{__version__}"
"""Plain on purpose: Civitai sends a browser to its login page, and everybody else an error in JSON (FACTS 5)."""

MAX_REDIRECTS = 10
MAX_JSON_BYTES = 32 * 1024 * 1024
MAX_EXPLANATION_BYTES = 4096


class Question(NamedTuple):
    """How a URL is asked for. A `body` is sent as JSON, and never to another origin than the one it was meant for."""

    method: Literal["GET", "HEAD", "POST"] = "GET"
    body: Any = None
    stays_home: bool = False

    @property
    def keeps_to_itself(self) -> bool:
        return self.stays_home or self.body is not None


GET = Question()


@dataclass(frozen=True)
class Answer:
    """The head of an answer, and its body to be read. `url` is where it finally came from, without secrets."""

    status: int
    headers: Headers
    url: str
    framing: Framing
    asked: Asked
    _raw: Any
    _line: Line
    _leash: Leash
    hops: tuple[Headers, ...] = ()
    """The heads of the redirects on the way here, in order: Hugging Face tells digest and size there (FACTS 5)."""

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    def read(self, max_bytes: int) -> bytes:
        """What is there, at least one byte; empty at the end of the body. Waits as long as the stall timeout.

        The end of a body without framing may also be a cut line, or a pulled leash: the caller has to ask.
        Raises TryLater(stalled, cut_short), Interrupted.
        """
        with body_errors(self.host, self._leash):
            piece: bytes = self._raw.read1(max_bytes, decode_content=False)
            return piece

    def shutdown(self) -> None:
        """Cut a read that blocks, from another thread. Never raises."""
        self._line.cut()


class Web:
    """Everything that leaves this process over HTTP goes through here. Safe to share between threads."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock | None = None,
        resolve: Resolve = system_resolve,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._policy = address_policy(settings)
        self._resolve = resolve
        self._ssl_context = ssl_context or _trusting_the_usual()
        self._timeouts = (settings.connect_timeout_seconds, settings.stall_timeout_seconds)

    @contextmanager
    def open_stream(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        leash: Leash | None = None,
        question: Question = GET,
    ) -> Iterator[Answer]:
        """Ask for a URL, at its endpoint if that was moved, with the token of its origin if there is one.

        The answer has any status but a redirect's; see `refusal`. A pull of the leash cuts it in every phase. A
        `question` that stays at home is not redirected to another origin: then the redirect itself is the answer.

        Raises:
            BadRequest: bad_url. Refused: refused_address. TryLater: no_connection, stalled, lying_server.
            GiveUp: tls, redirects, lying_server. Interrupted.
        """
        leash = leash or Leash()
        with ExitStack() as stack:
            line = Line()
            stack.callback(line.close)
            stack.enter_context(leash.cutting(line.cut))
            seconds = self._settings.connect_timeout_seconds
            dialer = Dialer(self._policy, self._resolve, line, leash, connect_timeout_seconds=seconds)
            adapter = _GuardedAdapter(dialer, self._ssl_context)
            stack.callback(adapter.close)
            start = parse_url(effective_url(url, self._settings))
            yield self._followed(start, dict(headers or {}), _Wire(adapter, line, leash, stack), question)

    def leads_to(self, url: str) -> tuple[str, bool]:
        """The URL that is really asked, and whether with a secret of ours: what an answer depends on.

        Raises BadRequest(bad_url).
        """
        address = parse_url(effective_url(url, self._settings))
        return str(address), bool(self._authorization(address.origin))

    def get_json(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        max_bytes: int = MAX_JSON_BYTES,
        leash: Leash | None = None,
        question: Question = GET,
    ) -> Any:
        """The JSON at a URL. Raises what `open_stream` and `refusal` say, and GiveUp(lying_server) when it is none."""
        asking = {"Accept": "application/json", **(headers or {})}
        with self.open_stream(url, headers=asking, leash=leash, question=question) as answer:
            if answer.status != 200:
                raise self.refusal(answer)
            return self.json_of(answer, max_bytes)

    def json_of(self, answer: Answer, max_bytes: int = MAX_JSON_BYTES) -> Any:
        """The JSON that this answer brings. Raises GiveUp(lying_server) when it is none, or too much of it."""
        body = _read_up_to(answer, max_bytes + 1)
        if len(body) > max_bytes:
            what = f"{answer.host} sends more than {max_bytes} bytes of JSON"
            raise GiveUp(Code.LYING_SERVER, what, elsewhere=True)
        try:
            return bounded_json(body)
        except ValueError as error:
            what = f"{answer.host} sends no JSON that can be read for {answer.asked.url}: {error}"[:500]
            raise GiveUp(Code.LYING_SERVER, what, elsewhere=True) from error

    def refusal(self, answer: Answer) -> Trouble:
        """What an answer that brings no file means, with what the host says about it."""
        return refusal(
            answer.status,
            answer.headers,
            answer.asked,
            now=self._clock.now(),
            cap_seconds=self._settings.backoff_cap_seconds,
            said=_explanation(answer),
        )

    def _followed(self, start: Address, headers: dict[str, str], wire: _Wire, question: Question) -> Answer:
        """The first answer that is no redirect. Credentials go to the first origin, never again once that was left."""
        own = self._authorization(start.origin)
        current, crossed = start, False
        hops: list[Headers] = []
        for _ in range(MAX_REDIRECTS + 1):
            response = self._sent(current, headers if crossed else {**headers, **own}, wire, question)
            told = {name.lower(): value for name, value in response.headers.items()}
            check_head(told, current.origin.host)
            location = redirect_target(response.status_code, told, str(current))
            target = None if location is None else next_hop(current, location)
            if target is None or (question.keeps_to_itself and target.origin != start.origin):
                asked = Asked(public_url(str(start)), credential_for(start.origin, self._settings), crossed)
                frame = framing(told, current.origin.host)
                where = public_url(str(current))
                ends = (wire.line, wire.leash, tuple(hops))
                return Answer(response.status_code, told, where, frame, asked, response.raw, *ends)
            response.close()
            hops.append(told)
            crossed = crossed or target.origin != current.origin
            current = target
        message = f"{public_url(str(start))} redirects more than {MAX_REDIRECTS} times"
        raise GiveUp(Code.REDIRECTS, message, elsewhere=True)

    def _sent(self, address: Address, headers: dict[str, str], wire: _Wire, question: Question) -> requests.Response:
        plain = {"User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "identity", "Connection": "close"}
        proxies = self._proxies(address)
        try:
            asking = requests.Request(question.method, str(address), headers={**plain, **headers}, json=question.body)
            request = asking.prepare()
        except (requests.RequestException, ValueError) as error:
            raise BadRequest(Code.BAD_URL, f"{public_url(str(address))} cannot be asked for") from error
        with head_errors(address.origin.host, wire.leash):
            response = wire.adapter.send(request, stream=True, timeout=self._timeouts, verify=True, proxies=proxies)
        wire.closing.callback(response.close)
        return response

    def _authorization(self, origin: Origin) -> dict[str, str]:
        credential = credential_for(origin, self._settings)
        if credential is not None and credential.token is not None:
            return {"Authorization": f"Bearer {credential.token.get_secret_value()}"}
        login = get_netrc_auth(str(origin)) if self._settings.use_netrc and origin.scheme == "https" else None
        return {} if login is None else {"Authorization": _basic(*login)}

    def _proxies(self, address: Address) -> dict[str, str]:
        """None unless the settings say so. A proxy resolves names itself: only plain addresses can be judged then."""
        if not self._settings.use_environment_proxies:
            return {}
        proxies = get_environ_proxies(str(address), no_proxy=None)
        chosen = select_proxy(str(address), proxies)
        if chosen is None:
            return {}
        if "://" in chosen and urlsplit(chosen).scheme.lower() not in ("http", "https"):
            raise BadRequest(Code.BAD_SETTING, f"the proxy {public_url(chosen)} is neither http nor https")
        if is_address(address.origin.host):
            self._policy.check(address.origin.host, address.origin.port, address.origin.host)
        return proxies


class _GuardedAdapter(HTTPAdapter):
    """The adapter of requests, whose connections are made by a Dialer and whose certificates are always verified."""

    def __init__(self, dialer: Dialer, ssl_context: ssl.SSLContext) -> None:
        self._connections = _dialed_by(dialer)
        self._ssl_context = ssl_context
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
        super().init_poolmanager(connections, maxsize, block, ssl_context=self._ssl_context, **pool_kwargs)

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
        return super().proxy_manager_for(proxy, ssl_context=self._ssl_context, **proxy_kwargs)

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """The context holds the trusted certificates already; loading a bundle for each connection costs 20 ms."""
        conn.cert_reqs = "CERT_REQUIRED"

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> HTTPConnectionPool:
        pool = cast(HTTPConnectionPool, super().get_connection_with_tls_context(*args, **kwargs))
        plain, secure = self._connections
        pool.ConnectionCls = secure if pool.scheme == "https" else plain
        return pool


class _Wire(NamedTuple):
    """What one stream runs on, however often it is redirected."""

    adapter: _GuardedAdapter
    line: Line
    leash: Leash
    closing: ExitStack


def _dialed_by(dialer: Dialer) -> tuple[type[HTTPConnection], type[HTTPSConnection]]:
    """Classes, because urllib3 makes its connections itself; at `_new_conn` its own SOCKS connections step in, too."""

    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return dialer.dial(self._dns_host, self.port, trusted=self.proxy is not None)

    class Secure(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return dialer.dial(self._dns_host, self.port, trusted=self.proxy is not None)

    return Plain, Secure


@cache
def _trusting_the_usual() -> ssl.SSLContext:
    """The certificates of the operating system (a company may have added its own) and those that requests brings."""
    context = ssl.create_default_context()
    context.load_verify_locations(DEFAULT_CA_BUNDLE_PATH)
    return context


def _basic(user: str, password: str) -> str:
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode("ascii")


def _read_up_to(answer: Answer, max_bytes: int) -> bytes:
    pieces: list[bytes] = []
    left = max_bytes
    while left and (piece := answer.read(left)):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def _explanation(answer: Answer) -> str:
    """Hugging Face explains in a header, Civitai in JSON; of anything else (HTML) nothing is worth showing."""
    told = answer.headers.get("x-error-message", "")
    if told or "json" not in answer.headers.get("content-type", ""):
        return told
    try:
        document = bounded_json(_read_up_to(answer, MAX_EXPLANATION_BYTES))
    except (Trouble, ValueError):
        return ""
    if not isinstance(document, dict):
        return ""
    said = document.get("message") or document.get("error") or ""
    if isinstance(said, dict):  # OpenAI's shape
        said = said.get("message") or ""
    until = document.get("deadline")  # Civitai's early access
    return f"{said}, until {until}" if isinstance(until, str) else str(said)

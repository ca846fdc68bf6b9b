"""The door to the web: one guarded question, its redirects followed by hand, its errors in the words of the house.

Behind it: `wire.py` holds the connection, `route.py` the redirects and who may see which secret, `body.py` the bytes.
`open_stream` asks once and hangs up; `route` keeps its connection for the next question to the same file, and leaves
it to the next file of the same origin.
"""

from __future__ import annotations

import threading
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from netrc import NetrcParseError
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary, finalize

from requests.utils import get_netrc_auth

from download_worker.clock import Clock, SystemClock
from download_worker.errors import Code, GiveUp, Trouble, TryLater
from download_worker.json_texts import bounded_json
from download_worker.leash import Leash
from download_worker.room import MORE_FILES, OUT_OF_DESCRIPTORS
from download_worker.settings import Settings
from download_worker.text import Redactor
from download_worker.threads import thread_errors
from download_worker.web.addresses import is_address
from download_worker.web.answers import refusal
from download_worker.web.idle import Idle
from download_worker.web.link import Network
from download_worker.web.names import Names, Resolve, system_resolve
from download_worker.web.origins import (
    Address,
    Credential,
    Origin,
    address_policy,
    credential_for,
    effective_url,
    parse_url,
)
from download_worker.web.proxies import Proxies, Proxy
from download_worker.web.route import MAX_REDIRECTS, Answer, Route, Way
from download_worker.web.tls import TlsContext
from download_worker.web.trust import trusting
from download_worker.web.wire import GET, USER_AGENT, Question, Wire

__all__ = ["GET", "MAX_REDIRECTS", "USER_AGENT", "Answer", "Question", "Route", "Web"]

CIVITAI_DOWNLOADS = "/api/download/"
MAX_JSON_BYTES = 32 * 1024 * 1024
MAX_EXPLANATION_BYTES = 4096
ANSWER_SECONDS = 300.0
"""For one question and the whole of its answer, where no file is fetched: a host may send a byte in time for ever."""
PAUSES_SECONDS = (0.5, 1.5)
"""Before “no such name” and Civitai's “no such file” are believed: both are said in passing, too (N2, FACTS 5)."""


class Web:
    """Everything that leaves this process over HTTP goes through here. Safe to share between threads."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock | None = None,
        resolve: Resolve = system_resolve,
        ssl_context: TlsContext | None = None,
        pauses_seconds: Sequence[float] = PAUSES_SECONDS,
    ) -> None:
        self._settings = settings
        self._redact = Redactor(settings.secrets())
        self._clock = clock or SystemClock()
        self._policy = address_policy(settings)
        timeouts = (settings.connect_timeout_seconds, settings.stall_timeout_seconds)
        self._pauses_seconds = tuple(pauses_seconds)
        self._proxies = Proxies(settings)
        self._lock = threading.Lock()
        self._ways: WeakValueDictionary[Address, Way] = WeakValueDictionary()
        homes = (parse_url(url).origin.host for url in (settings.hf_endpoint, settings.civitai_endpoint))
        names = Names(resolve, homes, pauses_seconds)
        self._network = Network(self._policy, names, ssl_context or trusting(_ca_file(settings)), timeouts)
        self._idle = Idle()
        self._closing = finalize(self, self._idle.close)  # also of one that nobody closes, and when the process ends

    def close(self) -> None:
        """No connection stays open for later."""
        self._closing()

    @contextmanager
    def route(self, url: str, *, leash: Leash | None = None) -> Iterator[Route]:
        """The way to a URL, at its endpoint if that was moved; its connection stays open between questions, and for a
        while after them for the next route to the same origin.

        Routes to one URL at the same time share where its redirects led: only the first of them asks its origin. A pull
        of the leash cuts it in every phase. Raises BadRequest(bad_url), Interrupted.
        """
        with self._opened(self._shared_way(url), leash or Leash(), keep=True) as route:
            yield route

    @contextmanager
    def open_stream(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        leash: Leash | None = None,
        question: Question = GET,
    ) -> Iterator[Answer]:
        """Ask for a URL once, with the token of its origin if there is one; all in all within `ANSWER_SECONDS`.

        Raises what `Route.ask` says.
        """
        with (
            self._opened(self._way(url), leash or Leash(), keep=False) as route,
            _in_time(route),
            route.ask(headers, question) as answer,
        ):
            yield answer

    @contextmanager
    def _opened(self, way: Way, leash: Leash, *, keep: bool) -> Iterator[Route]:
        idle = self._idle if keep else None
        with closing(Wire(self._network, leash, idle)) as wire, leash.cutting(wire.cut):
            yield Route(way, wire, self, leash, keep=keep)

    def _way(self, url: str) -> Way:
        return Way(parse_url(effective_url(url, self._settings)))

    def _shared_way(self, url: str) -> Way:
        way = self._way(url)
        with self._lock:
            return self._ways.setdefault(way.start, way)

    def leads_to(self, url: str) -> tuple[str, bool]:
        """The URL that is really asked, and whether with a secret of ours: what an answer depends on.

        Raises BadRequest(bad_url).
        """
        address = parse_url(effective_url(url, self._settings))
        return str(address), bool(self.authorization(address.origin))

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
            if answer.status not in (200, 201):
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
            said=self.redact(_explanation(answer)),
        )

    def redact(self, text: str) -> str:
        return self._redact(text)

    def authorization(self, origin: Origin) -> dict[str, str]:
        """What may be sent to this exact origin: its token, else the login that the user keeps for it."""
        credential = self.credential(origin)
        if credential is not None and credential.token is not None:
            return {"Authorization": f"Bearer {credential.token.get_secret_value()}"}
        login = _kept_login(origin) if self._settings.use_netrc and origin.scheme == "https" else None
        return {} if login is None else {"Authorization": _basic(*login)}

    def credential(self, origin: Origin) -> Credential | None:
        return credential_for(origin, self._settings)

    def doubts(self, start: Address, status: int) -> Sequence[float]:
        """The pauses, in seconds, after which such an answer of the first origin should be asked for again."""
        civitai = parse_url(self._settings.civitai_endpoint)
        download = f"{civitai.path.rstrip('/')}{CIVITAI_DOWNLOADS}"
        doubtful = status == 404 and start.origin == civitai.origin and start.path.startswith(download)
        return self._pauses_seconds if doubtful else ()

    def proxy(self, address: Address) -> Proxy | None:
        """None unless the settings say so. Plain addresses are judged here, and names as well as they are known here
        (see `Dialer.judge`); but for `socks5h`, which is chosen so that no name is looked up here."""
        proxy = self._proxies.leading_to(address)
        if proxy is not None and is_address(address.origin.host):
            self._policy.check(address.origin.host, address.origin.port, address.origin.host)
        return proxy


def _kept_login(origin: Origin) -> tuple[str, str] | None:
    """What .netrc says; nothing where it cannot be read. Raises TryLater(storage): without a descriptor nobody knows,
    and the host would be asked without the login that it wants."""
    try:
        return get_netrc_auth(str(origin), raise_errors=True)
    except NetrcParseError:
        return None
    except OSError as error:
        if error.errno in OUT_OF_DESCRIPTORS:
            raise TryLater(Code.STORAGE, "too many files are open to read .netrc", hint=MORE_FILES) from error
        return None


@contextmanager
def _in_time(route: Route) -> Iterator[None]:
    """Raises TryLater(stalled) instead of whatever became of a question that was cut at its deadline; it may even look
    answered, since a body without framing ends where it is cut."""
    late = threading.Event()

    def end() -> None:
        late.set()
        route.cut()

    timer = threading.Timer(ANSWER_SECONDS, end)
    timer.daemon = True
    with thread_errors():
        timer.start()
    trouble: Trouble | None = None
    try:
        yield
    except Trouble as error:
        trouble = error
    finally:
        timer.cancel()
    if late.is_set():
        host = route.way.start.origin.host
        raise TryLater(Code.STALLED, f"{host} did not answer to the end in {ANSWER_SECONDS:.0f} s") from trouble
    if trouble is not None:
        raise trouble


def _ca_file(settings: Settings) -> Path | None:
    return None if settings.ca_file is None else settings.home / settings.ca_file.expanduser()


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

"""The recorded answers of ../shared/api_samples, and a host on the loopback that gives them as they stand there.

A sample holds one answer, a list of cases, a table of named cases, or a whole conversation with a live server; all
four become `Exchange`s. Where a sample has a placeholder instead of a value (`<40 hex>`), a value of that form is told.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, unquote, urlsplit

import pytest

from comfy_doctor.asking import Asker
from comfy_doctor.needs import Candidate, Need
from download_worker.clock import FakeClock
from download_worker.settings import Settings
from download_worker.web.session import Web
from tests.hub.connection import Connection
from tests.hub.data import Blob
from tests.hub.loopback import Loopback
from tests.hub.messages import Ending, Reply, Request

SAMPLES = Path(__file__).parents[3] / "shared" / "api_samples"
needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason=f"the recorded answers are not at {SAMPLES}")

COMMIT = "39593d5650112b4cc580433f6b0435385882d819"
LFS_BYTES = 21_344_000
_FILLED = {
    "<40 hex>": COMMIT,
    "<40-hex git sha1>": "e7223117b4a22a9806853068e5bdbb24c4b4d7aa",
    "<commit>": COMMIT,
    "<sha>": COMMIT,
    "<bytes>": str(LFS_BYTES),
    "<repo>": "OWNER/NAME",
}
_BODIES = ("body", "response", "body_text_GET", "body_excerpt_first_3")
_JSON = "application/json; charset=utf-8"
_MOVED_BY_THE_WEB = frozenset({"huggingface.co", "civitai.com"})


@dataclass(frozen=True)
class Exchange:
    """One question and its answer. `status` None: the host hangs up without a word. `said` is the body as recorded.

    `breaks`: nothing is sent at all, or the line is cut within the body (that of a HEAD before its answer).
    """

    when: str
    method: str
    url: str
    status: int | None
    asked: Any = None
    headers: tuple[tuple[str, str], ...] = ()
    said: Any = None
    breaks: Literal["hang", "cut"] | None = None

    @property
    def body(self) -> bytes:
        if self.said is None:
            return b""
        return (self.said if isinstance(self.said, str) else json.dumps(self.said)).encode()

    @property
    def path(self) -> str:
        return unquote(urlsplit(self.url).path)

    def url_at(self, base: str) -> str:
        """Where to ask for it: the web moves two hosts by itself, all others are replaced here by `base`."""
        parts = urlsplit(self.url)
        if parts.hostname in _MOVED_BY_THE_WEB:
            return self.url
        return base + quote(parts.path) + (f"?{parts.query}" if parts.query else "")

    def reply(self, storage: str) -> Reply:
        """As it goes over the wire. Where it redirects to another host, that is at `storage`."""
        assert self.status is not None
        return Reply(self.status, tuple((name, _wired(_led(name, value, storage))) for name, value in self.headers))


def rows() -> dict[str, str]:
    """File → its kind, for every row of the README's table; empty where there is no README."""
    readme = SAMPLES / "README.md"
    lines = readme.read_text(encoding="utf-8").splitlines() if readme.exists() else []
    cells = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines if line.startswith("|")]
    return {row[0].removesuffix(".json"): row[1] for row in cells if row[0].endswith(".json")}


def recorded(name: str) -> tuple[Exchange, ...]:
    """Every exchange of a sample, in order; what was only noted beside them (a websocket) is left out."""
    sample = document(name)
    request, response = sample["request"], sample["response"]
    if isinstance(response, list):
        entries = [(entry.get("when", ""), entry) for entry in response]
    elif "status" in response:
        entries = [("", response)]
    else:
        entries = list(response.items())
    return tuple(_exchange(when, request, entry) for when, entry in entries if {"status", "exception"} & set(entry))


def one(name: str, when: str = "") -> Exchange:
    """The only exchange of a sample, or the one whose case begins with these words."""
    (found,) = [exchange for exchange in recorded(name) if exchange.when.startswith(when)]
    return found


@cache
def document(name: str) -> Any:
    """Shared: do not change it."""
    return json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))


def _exchange(when: str, request: Mapping[str, Any], entry: Mapping[str, Any]) -> Exchange:
    live = "path" in entry
    method = str(entry["method"] if live else request["method"]).split()[0]
    asked = entry.get("request_body") if live else entry.get("request", request.get("body"))
    said = next((entry[key] for key in _BODIES if key in entry), None)
    return Exchange(
        when=when or (f"{method} {entry['path']}" if live else ""),
        method=method,
        url=_filled(entry["path"] if live else request["url"]),
        status=entry.get("status"),
        asked=asked,
        headers=tuple(_headers(entry, said, live=live)),
        said=said,
    )


def _headers(entry: Mapping[str, Any], said: Any, *, live: bool) -> Iterator[tuple[str, str]]:
    told = {name: _filled(str(value)) for name, value in entry.get("headers", {}).items()}
    yield from told.items()
    if live:
        named = {"Content-Type": entry.get("content_type"), "Allow": entry.get("allow")}
        yield from ((name, value) for name, value in named.items() if value)
    elif isinstance(said, dict | list) and "content-type" not in map(str.lower, told):
        yield "Content-Type", _JSON


def _filled(text: str) -> str:
    for placeholder, value in _FILLED.items():
        text = text.replace(placeholder, value)
    return text


def _led(name: str, value: str, storage: str) -> str:
    parts = urlsplit(value)
    if name.lower() != "location" or not parts.netloc:
        return value
    return f"{storage}{parts.path}?{parts.query}"


def _wired(value: str) -> str:
    """UTF-8, as hosts send it, in the one byte a letter of which a head is made."""
    return value.encode().decode("latin-1")


class Replay(Loopback):
    """Gives the exchange that was placed at a path, else the next of those to play; the last one over and over.

    `asked` is every question so far. Without anything to give, it answers 404 and nothing else.
    """

    def __init__(self, *exchanges: Exchange, storage: str = "https://storage.invalid") -> None:
        self.asked: list[Request] = []
        self._storage = storage
        self._playing = list(exchanges)
        self._placed: dict[tuple[str, str], Exchange] = {}
        super().__init__()

    def play(self, *exchanges: Exchange) -> None:
        with self._changed:
            self._playing = list(exchanges)

    def place(self, *exchanges: Exchange) -> None:
        """Each at its own method and path; the first of several stays."""
        with self._changed:
            for exchange in exchanges:
                self._placed.setdefault((exchange.method, exchange.path), exchange)

    def _converse(self, connection: Connection) -> None:
        for request in connection.requests():
            exchange = self._next(request)
            if exchange is None:
                exchange = Exchange("", request.method, request.target, 404)
            if exchange.breaks == "hang" and not connection.stall():
                return
            if exchange.status is None or (exchange.breaks and request.method == "HEAD"):
                return
            reply = exchange.reply(self._storage)
            whole = reply if request.method == "HEAD" else reply.with_body(Blob(exchange.body))
            if not connection.deliver(whole.stopping(Ending.CLOSE) if exchange.breaks else whole):
                return

    def _next(self, request: Request) -> Exchange | None:
        with self._changed:
            self.asked.append(request)
            self._changed.notify_all()
            placed = self._placed.get((request.method, request.path))
            if placed is not None:
                return placed
            return self._playing.pop(0) if len(self._playing) > 1 else next(iter(self._playing), None)


def at(exchange: Exchange, url: str, method: str | None = None) -> Exchange:
    """The same answer to another question."""
    return replace(exchange, url=url, method=method or exchange.method)


def web_to(base: str, *more: str, clock: FakeClock | None = None, stall_seconds: float = 5.0) -> Web:
    """The real one, for which Hugging Face and Civitai are at `base`; it may speak to `more`, too."""
    allowed = tuple(each.partition("://")[2] for each in (base, *more))
    home = Path("/nowhere")
    return Web(
        Settings(
            hf_endpoint=base,
            civitai_endpoint=base,
            allow_hosts=allowed,
            stall_timeout_seconds=stall_seconds,
            home=home,
        ),
        pauses_seconds=(0.0, 0.0),
        clock=clock,
    )


def hurried(web: Web, clock: FakeClock, patience_seconds: float = 0.0) -> Asker:
    """Without patience each question is asked once; pauses pass at once. Nothing is kept."""
    return Asker(
        web, None, clock, patience_seconds=patience_seconds, pause=lambda leash, seconds: clock.advance(seconds)
    )


def named(url: str, folder: str) -> Need:
    """A model of which the workflow names just this URL."""
    name = url.partition("?")[0].rpartition("/")[2]
    return Need(folder, name, (), candidates=(Candidate(url, name, folder, "embedded", confidence=0.8),))

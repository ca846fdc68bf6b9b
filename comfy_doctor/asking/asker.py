"""The one who asks: each question once, its answer kept with its age, and every host at the pace that it asks for.

A pause within our patience is waited for, a longer one is an answer by itself: TryLater, at once and for every further
question to that host, which is "could not look" and never "not found". An answer that says a thing is missing is kept
like one that brings it, but not for longer than an hour.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, TypeVar
from urllib.parse import urljoin
from weakref import WeakValueDictionary

from comfy_doctor.asking.cache import AnswerCache
from comfy_doctor.asking.doors import UNTOLD_WAIT_SECONDS, Door, Doors
from download_worker.clock import Clock, SystemClock
from download_worker.errors import Code, GiveUp, Interrupted, Trouble, TryLater
from download_worker.leash import Leash
from download_worker.text import public_url
from download_worker.web.answers import Headers, retry_after_seconds
from download_worker.web.session import Answer, Question, Web

HOUR = 3600.0
DAY = 24 * HOUR
LONGEST_PAUSE_SECONDS = HOUR
QUESTION_SECONDS = 90.0
"""For one question in all, however slowly its answer drips."""
SECOND_TRY_SECONDS = 1.0
_FLIGHT_SECONDS = 0.05

_PASSING = frozenset({Code.SERVER_ERROR, Code.CUT_SHORT, Code.NO_CONNECTION})
"""What may be over in a second; who was silent for a minute is not asked twice."""
_MISSING = frozenset({404, 410})
_KEPT_HEADERS = frozenset(
    {"location", "etag", "content-length", "content-type", "content-disposition", "last-modified"}
    | {"x-linked-etag", "x-linked-size", "x-repo-commit", "x-error-code", "x-error-message", "www-authenticate"}
)
_NEXT = re.compile(r"""<([^<>]{1,4096})>\s*;[^<]*\brel="?next\b""")

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Page:
    """A JSON answer, and the URL of the page after it if its Link header names one."""

    body: Any
    next: str | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """What a HEAD was answered; names in lower case, locations without signatures, nothing else that is secret.

    `hops` are the heads of the redirects on the way, in order; `url` is where the last answer came from.
    """

    status: int
    headers: Headers
    hops: tuple[Headers, ...]
    url: str

    def first(self, name: str) -> str | None:
        """The header of the earliest answer that has it: what the host itself says, not its storage."""
        return next((head[name] for head in (*self.hops, self.headers) if head.get(name)), None)


class Asker:
    """Safe to share between threads. `offline` asks nobody: what is kept, of any age, must do."""

    def __init__(
        self,
        web: Web,
        cache: AnswerCache | None = None,
        clock: Clock | None = None,
        *,
        patience_seconds: float = 20.0,
        at_once: int = 8,
        question_seconds: float = QUESTION_SECONDS,
        offline: bool = False,
        pause: Callable[[Leash, float], None] = Leash.wait,
    ) -> None:
        self._web = web
        self._cache = cache
        self._clock = clock or SystemClock()
        self._patience_seconds = patience_seconds
        self._question_seconds = question_seconds
        self._at_once = at_once
        self._offline = offline
        self._pause = pause
        self._doors = Doors(self._clock, at_once)
        self._over = Leash()
        self._guard = threading.Lock()
        self._flights: WeakValueDictionary[str, _Flight] = WeakValueDictionary()

    def json(self, url: str, *, body: Any = None, max_age_seconds: float = DAY, leash: Leash | None = None) -> Any:
        """The JSON at a URL; a `body` is sent to it as JSON.

        Raises:
            GiveUp: not_found (also from the cache), auth, lying_server, tls, redirects. TryLater: every reason why it
            could not be asked now. Refused, BadRequest: the URL itself. Interrupted.
        """
        return self.page(url, body=body, max_age_seconds=max_age_seconds, leash=leash).body

    def page(self, url: str, *, body: Any = None, max_age_seconds: float = DAY, leash: Leash | None = None) -> Page:
        """As `json`, with where the next page is."""
        question = Question() if body is None else Question("POST", body)
        told = self._told(url, question, max_age_seconds, leash or Leash())
        if told["status"] != 200:
            raise GiveUp(Code.NOT_FOUND, told["said"], elsewhere=True)
        return Page(told["body"], told["next"])

    def head(
        self,
        url: str,
        *,
        max_age_seconds: float = HOUR,
        leash: Leash | None = None,
        keep_if: Callable[[Head], object] = bool,
    ) -> Head:
        """The head of an answer of any status but 429 and 5xx; a redirect to another host is the answer itself.

        `keep_if` tells an answer of that host from one that some network in between gives: only those are kept.

        Raises:
            TryLater: every reason why it could not be asked now. GiveUp: tls, redirects, lying_server. Refused,
            BadRequest: the URL itself. Interrupted.
        """
        question = Question("HEAD", stays_home=True)
        told = self._told(url, question, max_age_seconds, leash or Leash(), lambda told: keep_if(_head_of(told)))
        return _head_of(told)

    def side_by_side(self, function: Callable[[T], R], things: Iterable[T], leash: Leash | None = None) -> list[R]:
        """`function` of each, in order, several at once. The first exception ends all that has not begun yet.

        Ctrl-C also ends every question of this asker that is under way, and whatever else runs on `leash`: nobody
        waits for a silent host then.
        """
        todo = list(things)
        if len(todo) < 2:
            return [function(thing) for thing in todo]
        with ThreadPoolExecutor(min(self._at_once, len(todo)), thread_name_prefix="asks") as pool:
            futures = [pool.submit(function, thing) for thing in todo]
            try:
                return [future.result() for future in futures]
            except BaseException as error:
                pool.shutdown(wait=False, cancel_futures=True)
                if isinstance(error, KeyboardInterrupt):
                    self._over.pull()
                    (leash or self._over).pull()
                raise

    def _told(
        self,
        url: str,
        question: Question,
        max_age_seconds: float,
        leash: Leash,
        keep_if: Callable[[dict[str, Any]], object] = bool,
    ) -> dict[str, Any]:
        """From the cache, else from the host. Who asks the same thing at the same time waits, then reads the cache."""
        key = _key(*self._web.leads_to(url), question)
        with self._on_both(leash) as leash, self._flight(key, leash):
            kept = self._kept(key, max_age_seconds)
            if kept is not None:
                return kept
            if self._offline:
                message = f"{public_url(url)} was not asked: we are offline, and no earlier answer is kept"
                raise TryLater(Code.NO_CONNECTION, message, hint="ask again without --offline")
            told = self._asked(url, question, leash)
            lasting = 200 <= told["status"] < 400 or told["status"] in _MISSING
            if self._cache is not None and lasting and keep_if(told):
                self._cache.write(key, told)
            return told

    def _kept(self, key: str, max_age_seconds: float) -> dict[str, Any] | None:
        if self._cache is None:
            return None
        kept = self._cache.read(key, None if self._offline else max_age_seconds)
        if isinstance(kept, dict) and kept.get("status") in _MISSING:
            kept = self._cache.read(key, min(max_age_seconds, HOUR))
        return kept if isinstance(kept, dict) else None

    def _asked(self, url: str, question: Question, leash: Leash) -> dict[str, Any]:
        """Ask, and ask again after a pause, as long as all pauses together are within our patience."""
        door = self._doors.of(url)
        patience_seconds = self._patience_seconds
        second_try = False
        while True:
            seconds = door.closed_for_seconds()
            if seconds > patience_seconds:
                raise door.refusal(seconds)
            if seconds:
                patience_seconds -= seconds
                self._pause(leash, seconds)
                continue
            try:
                return self._once(url, question, door, leash)
            except TryLater as trouble:
                if trouble.code is Code.BUSY_HOST and door.closed_for_seconds() <= patience_seconds:
                    continue
                if trouble.code not in _PASSING or second_try or patience_seconds < SECOND_TRY_SECONDS:
                    raise
            second_try = True
            patience_seconds -= SECOND_TRY_SECONDS
            self._pause(leash, SECOND_TRY_SECONDS)

    def _once(self, url: str, question: Question, door: Door, leash: Leash) -> dict[str, Any]:
        asking = {"Accept": "application/json"} if question.method != "HEAD" else {}
        try:
            with (
                door.seat(leash),
                self._in_time(url, leash) as timed,
                self._web.open_stream(url, headers=asking, leash=timed, question=question) as answer,
            ):
                self._heed(door, answer)
                told = self._read(answer, question)
        except TryLater as trouble:
            if trouble.code is not Code.BUSY_HOST:
                door.failed(trouble)
            elif trouble.retry_after_seconds is None:
                door.close_for(UNTOLD_WAIT_SECONDS)
            else:
                door.close_for(max(trouble.retry_after_seconds, SECOND_TRY_SECONDS))
            raise
        door.opened()
        return told

    def _heed(self, door: Door, answer: Answer) -> None:
        """Every answer may say that it was the last one of its window (FACTS 5)."""
        for headers in (*answer.hops, answer.headers):
            wait = retry_after_seconds(headers, now=self._clock.now(), cap_seconds=LONGEST_PAUSE_SECONDS)
            if wait:
                door.close_for(wait)

    def _read(self, answer: Answer, question: Question) -> dict[str, Any]:
        """What is kept of an answer, as JSON. Raises what its status means."""
        if question.method == "HEAD":
            if answer.status == 429 or answer.status >= 500:
                raise self._web.refusal(answer)
            head = Head(answer.status, _plain(answer.headers), tuple(map(_plain, answer.hops)), answer.url)
            return asdict(head)
        if answer.status == 200:
            body = self._web.json_of(answer)
            return {"status": 200, "body": body, "next": _next_page(answer)}
        refusal = self._web.refusal(answer)
        if answer.status not in _MISSING:
            raise refusal
        if "html" in answer.headers.get("content-type", "").lower():
            # No API tells us so: it is the page of some network in between, or of an endpoint that has no such API.
            raise GiveUp(Code.LYING_SERVER, f"{refusal.message}, in a web page and not in JSON", elsewhere=True)
        return {"status": answer.status, "said": refusal.message}

    @contextmanager
    def _in_time(self, url: str, leash: Leash) -> Iterator[Leash]:
        """A leash that is pulled with the other one, or when time is up. Raises TryLater(stalled) for the latter."""
        timed = Leash()
        timer = threading.Timer(self._question_seconds, timed.pull)
        timer.daemon = True
        with leash.cutting(timed.pull):
            timer.start()
            try:
                yield timed
            except (Interrupted, Trouble) as error:
                leash.check()
                if not timed.pulled:
                    raise
                what = f"{public_url(url)} was not answered within {self._question_seconds:g} seconds"
                raise TryLater(Code.STALLED, what, hint="ask again later") from error
            finally:
                timer.cancel()

    @contextmanager
    def _on_both(self, leash: Leash) -> Iterator[Leash]:
        """A leash that is pulled with this one, and when all is over. Raises Interrupted."""
        either = Leash()
        with leash.cutting(either.pull), self._over.cutting(either.pull):
            yield either

    @contextmanager
    def _flight(self, key: str, leash: Leash) -> Iterator[None]:
        with self._guard:
            flight = self._flights.setdefault(key, _Flight())
        while not flight.lock.acquire(timeout=_FLIGHT_SECONDS):
            leash.check()
        try:
            yield
        finally:
            flight.lock.release()


class _Flight:
    """Lives as long as somebody asks its question."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


def _head_of(told: dict[str, Any]) -> Head:
    return Head(told["status"], told["headers"], tuple(told["hops"]), told["url"])


def _key(address: str, known: bool, question: Question) -> str:
    """Without secrets: it is written to the disk. `known`: by a token of ours, to which a host may show more.

    A mirror's answer never stands for that of the host itself: the address is the one that is really asked.
    """
    asker = " with a token" if known else ""
    key = f"{question.method}{asker} {public_url(address)}".encode(errors="backslashreplace").decode()
    if question.body is None:
        return key
    body = json.dumps(question.body, sort_keys=True).encode()
    return f"{key} {hashlib.sha256(body).hexdigest()}"


def _plain(headers: Headers) -> dict[str, str]:
    kept = {name: value for name, value in headers.items() if name in _KEPT_HEADERS}
    return kept | {"location": public_url(kept["location"])} if "location" in kept else kept


def _next_page(answer: Answer) -> str | None:
    """RFC 8288. A token in it would be written to the disk: it is left out, the web adds its own."""
    found = _NEXT.search(_as_sent(answer.headers.get("link", "")))
    return None if found is None else public_url(urljoin(answer.url, found[1]))


def _as_sent(header: str) -> str:
    """http.client reads heads as Latin-1, hosts write UTF-8."""
    try:
        return header.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return header

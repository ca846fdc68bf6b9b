"""Fetching one file over HTTP: ask, decide, pour; when the line breaks, go on from the last byte that was written.

One attempt makes a few connections by itself (tenacity, seconds apart); real patience, and the count of tries that no
progress refills, belong to the ledger. A file that is whole in the room is handed over without a question to anybody.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from loguru import logger
from tenacity import RetryCallState, Retrying, retry_if_exception

from download_worker.errors import Code, GiveUp, Interrupted, Trouble, TryLater
from download_worker.fetchers.fetcher import Inspect
from download_worker.fetchers.http.part import Part, fetched, opened
from download_worker.fetchers.http.ranges import (
    AllHere,
    Append,
    AskAgain,
    Decision,
    End,
    Head,
    Limits,
    Restart,
    Whole,
    ask,
    decide,
    described,
    end_of_body,
)
from download_worker.jobs.job import ModelInfo
from download_worker.jobs.moves import backoff_seconds
from download_worker.leash import Leash
from download_worker.room import Fetched, Room, source_key
from download_worker.settings import Settings
from download_worker.text import public_url
from download_worker.web.session import Answer, Web

MAX_CONNECTIONS = 20
"""Per attempt, and one more for every `BYTES_PER_CONNECTION` of the file; progress does not refill it."""
BYTES_PER_CONNECTION = 16 * 1024 * 1024
MAX_FRUITLESS = 5
"""Connections in a row that brought no byte; then the job waits in the ledger."""
MAX_RESTARTS = 3
"""Per attempt, times that bytes which were here already had to be thrown away."""
MAX_PAUSE_SECONDS = 10.0
PIECE_BYTES = 256 * 1024

# What a moment may heal; the second set only where this attempt got bytes already: the host was there just now.
_BLIPS = frozenset({Code.CUT_SHORT, Code.STALLED})
_BLIPS_ON_THE_WAY = _BLIPS | {Code.NO_CONNECTION, Code.SERVER_ERROR}


class _Useless(TryLater):
    """An answer that could not be gone on with. The next connection asks differently, so it need not wait long."""


class HttpFetcher:
    """The Fetcher for http and https. `pause_seconds` is the unit of the growing pauses between two connections."""

    def __init__(
        self,
        web: Web,
        settings: Settings,
        *,
        free_bytes: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
        pause_seconds: float = 0.5,
    ) -> None:
        self._web = web
        self._settings = settings
        self._free_bytes = free_bytes
        self._pause_seconds = pause_seconds

    def fetch(self, url: str, wanted: ModelInfo, room: Room, leash: Leash, inspect: Inspect) -> Fetched:
        source = source_key(url)
        whole = room.whole_file()
        if whole is not None and whole.source == source:
            return fetched(room, whole, whole.durable_bytes)
        former = room.journal()
        with opened(
            room,
            inspect,
            lambda: self._free_bytes(room.folder),
            checkpoint_bytes=self._settings.checkpoint_bytes,
            reserve_bytes=self._settings.disk_reserve_bytes,
        ) as part:
            if former is not None and former.source == source and former.durable_bytes:
                part.resume(former, leash)
            else:
                part.clear(source)
            return _Attempt(self._web, self._settings, url, wanted, part, leash, self._pause_seconds).run()


class _Attempt:
    """One attempt at one source: a few connections, one part file."""

    def __init__(
        self, web: Web, settings: Settings, url: str, wanted: ModelInfo, part: Part, leash: Leash, pause_seconds: float
    ) -> None:
        self._web = web
        self._url = url
        self._wanted = wanted
        self._limits = Limits(wanted.size, settings.max_file_bytes)
        self._part = part
        self._leash = leash
        self._pause_seconds = pause_seconds
        self._connections = 0
        self._fruitless = 0
        self._brought_bytes = False
        self._restarts = 0
        self._odd_answers = 0
        self._silent_end: str | None = None

    def run(self) -> Fetched:
        """Raises what `Fetcher.fetch` says."""
        connections = Retrying(
            retry=retry_if_exception(self._is_blip),
            stop=self._is_enough,
            wait=self._pause,
            sleep=self._leash.wait,
            before_sleep=self._tell,
            reraise=True,
        )
        return connections(self._connection)

    def _connection(self) -> Fetched:
        """All that happens on one connection: the whole file, or a reason to try another one."""
        part = self._part
        self._leash.progress(part.at, self._total)
        if part.at and part.at == part.journal.total:
            return part.finish(part.journal.origin)  # the last attempt died between the last byte and the word
        asked = ask(part.journal, part.at, self._wanted)
        if asked is None:
            logger.info("what is here of {} cannot be gone on with: its host names no version", public_url(self._url))
            self._throw_away()
        self._connections += 1
        self._fruitless += 1
        with self._web.open_stream(self._url, headers=asked, leash=self._leash) as answer:
            if answer.status not in (200, 206, 416):
                raise self._web.refusal(answer)
            head = Head(answer.status, answer.headers, answer.framing, answer.host)
            decision = decide(head, part.journal, part.at, self._wanted, self._limits)
            if self._prepared(decision, answer):
                part.make_room_for(part.journal.total)
                self._pour(answer)
            return self._ended(answer)

    def _prepared(self, decision: Decision, answer: Answer) -> bool:
        """Make the part file ready for the body. False when there is nothing more to come. Raises _Useless."""
        part = self._part
        match decision:
            case Append(total=total):
                part.learn_total(total)
            case Whole(total):
                self._throw_away()
                part.begin(described(part.journal, answer.headers, total, answer.url))
            case AllHere(total) if part.sha256 == self._wanted.sha256:
                part.learn_total(total)
                return False
            case AllHere():
                raise self._useless(answer, "it has no more bytes, but these have another digest", start_over=True)
            case Restart(why):
                raise self._useless(answer, why, start_over=True)
            case AskAgain(why):
                self._odd_answers += 1
                raise self._useless(answer, why, start_over=self._odd_answers > 1)
        return True

    def _pour(self, answer: Answer) -> None:
        """The body into the part file. However it ends, what came is durable then."""
        try:
            while piece := answer.read(PIECE_BYTES):
                self._check_room_for(piece, answer)
                self._part.write(piece)
                self._fruitless, self._brought_bytes = 0, True
                self._leash.progress(self._part.at, self._total, connections=1)
                self._leash.check()
            self._leash.check()  # a line that we cut ourselves looks like the end of the body
        except Interrupted:
            with suppress(TryLater, GiveUp):  # the order to stop is what counts
                self._part.checkpoint()
            raise
        except TryLater:
            self._part.checkpoint()
            raise

    def _ended(self, answer: Answer) -> Fetched:
        part = self._part
        end = end_of_body(answer.framing, part.at, part.journal.total, self._wanted)
        if end is End.DIGEST_DECIDES:
            # The same bytes twice are what this host has, right or wrong; that is for a verifier to say.
            twice, self._silent_end = part.sha256 == self._silent_end, part.sha256
            end = End.COMPLETE if twice or part.sha256 == self._wanted.sha256 else End.CUT
        if end is End.COMPLETE:
            return part.finish(answer.url)
        part.checkpoint()
        raise TryLater(Code.CUT_SHORT, f"{answer.host} ended after {part.at} of {self._total or 'unknown'} bytes")

    def _check_room_for(self, piece: bytes, answer: Answer) -> None:
        """Not one byte more than there can be (H26)."""
        total = self._part.journal.total
        most = self._limits.most if total is None else total
        if self._part.at + len(piece) > most:
            code = Code.TOO_LARGE if total is None and self._limits.size is None else Code.SIZE_MISMATCH
            raise GiveUp(code, f"{answer.host} sends more than {most} bytes", elsewhere=True)

    def _useless(self, answer: Answer, why: str, *, start_over: bool) -> Trouble:
        message = f"{answer.host} cannot go on with this file: {why}"
        if start_over:
            self._throw_away()
        if self._restarts > MAX_RESTARTS:
            return GiveUp(Code.LYING_SERVER, f"{message}, and this {self._restarts} times", elsewhere=True)
        return _Useless(Code.LYING_SERVER, message)

    def _throw_away(self) -> None:
        self._restarts += self._part.at > 0
        self._part.clear(self._part.journal.source)

    @property
    def _total(self) -> int | None:
        return self._part.journal.total or self._limits.size

    def _is_blip(self, error: BaseException) -> bool:
        if not isinstance(error, TryLater):
            return False
        return isinstance(error, _Useless) or error.code in (_BLIPS_ON_THE_WAY if self._brought_bytes else _BLIPS)

    def _is_enough(self, _: RetryCallState) -> bool:
        most = MAX_CONNECTIONS + (self._total or 0) // BYTES_PER_CONNECTION
        return self._connections >= most or self._fruitless >= MAX_FRUITLESS or self._restarts > MAX_RESTARTS

    def _pause(self, _: RetryCallState) -> float:
        return backoff_seconds(self._fruitless + 1, base_seconds=self._pause_seconds, cap_seconds=MAX_PAUSE_SECONDS)

    def _tell(self, state: RetryCallState) -> None:
        trouble = state.outcome.exception() if state.outcome else None
        message = trouble.message if isinstance(trouble, TryLater) else ""
        logger.warning("{}; going on from byte {} in {:.1f} s", message, self._part.at, state.upcoming_sleep)

"""A look at the head of a file before it is fetched: some kilobytes tell its exact size, its kind and its family.

Ranged reads only, and never more than `MAX_HEAD_BYTES` of one file; a host that ignores ranges is hung up on. What
cannot be looked at is an answer of its own, never a refusal; what the worker would refuse after 20 GB is refused now.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from loguru import logger

from comfy_doctor.comfyui.plain_files import read_start
from comfy_doctor.needs import Candidate
from download_worker.errors import BadRequest, Code, GiveUp, Refused, Trouble
from download_worker.leash import Leash
from download_worker.text import public_url, safe_text
from download_worker.verifiers.content.families import Family, Kind, Word
from download_worker.verifiers.content.formats import FIRST_BYTES, MAX_HEAD_BYTES, read_head, wanted_bytes
from download_worker.verifiers.content.heads import Format, Head
from download_worker.verifiers.content.kinds import NOTHING_TOLD, tell
from download_worker.verifiers.content.slots import Fit, fits
from download_worker.verifiers.content.zip_directory import TAIL_BYTES, entry_names, find_directory, is_torch
from download_worker.verifiers.filetype import HTML_PAGE, content_of, inspect_head
from download_worker.verifiers.safetensors_header import Broken
from download_worker.web.session import Answer, Web

_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)\Z")
_MODELS = frozenset({".safetensors", ".sft", ".gguf", ".ckpt", ".pt", ".pth", ".bin"})
NOT_ASKED = Fit(Word.UNKNOWN)
EMPTY = "the file is empty at its source; use another one"
MAX_QUESTIONS = 8
"""A host may send less than was asked for, but not byte by byte."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What the head of a file says. `size_bytes` is exact or None; `why` is a sentence for a person.

    `trouble` is what stood in the way when nobody could look; then all else is unknown. `fit` is NO for what is certain
    to be refused later: the wrong kind for its folder, a web page, a file that is cut short at its source, an address
    that is not public or cannot be read.
    """

    fit: Fit
    head: Head | None = None
    kind: Kind | None = None
    family: Family | None = None
    size_bytes: int | None = None
    trouble: Trouble | None = None

    @property
    def looked(self) -> bool:
        return self.trouble is None

    @property
    def why(self) -> str:
        return self.fit.why


class _Asked(NamedTuple):
    url: str
    filename: str
    folder: str | None


def probe(asked: str | Candidate, web: Web, leash: Leash, *, folder: str | None = None) -> Probe:
    """Look at the head of this candidate, or of the file at this URL that is to lie in `folder`.

    Raises:
        Interrupted: the leash was pulled. All other trouble is part of the answer.
    """
    wanted = _asked(asked, folder)
    if isinstance(asked, Candidate) and asked.source == "local":  # never because of a URL that somebody wrote
        return _here(wanted)
    far = _Far(web, wanted.url, leash)
    try:
        found = _looked(wanted, far)
    except (Refused, BadRequest) as trouble:
        return Probe(Fit(Word.NO, trouble.message), trouble=trouble)
    except Trouble as trouble:
        logger.debug("{} could not be probed: {}", public_url(wanted.url), trouble)
        return Probe(Fit(Word.UNKNOWN, f"could not look: {trouble}"), trouble=trouble)
    logger.debug("{} is {} {} of {} bytes", wanted.filename, found.family, found.kind, found.size_bytes)
    return found


def _asked(asked: str | Candidate, folder: str | None) -> _Asked:
    if isinstance(asked, Candidate):
        return _Asked(asked.url, asked.filename, folder or asked.folder)
    try:
        path = unquote(urlsplit(asked).path)
    except ValueError:
        path = ""  # the web will say what is wrong with such a URL
    return _Asked(asked, PurePosixPath(path).name, folder)


def _here(wanted: _Asked) -> Probe:
    """A file of this disk that may be linked: of its bytes only the kind is asked, everything else is known."""
    try:
        start = read_start(Path(url2pathname(urlsplit(wanted.url).path)), MAX_HEAD_BYTES)
        head = read_head(start) if wanted_bytes(start) <= len(start) else None
    except (OSError, ValueError, Broken) as error:
        return Probe(Fit(Word.UNKNOWN, f"could not look: {error}"))
    told = NOTHING_TOLD if head is None else tell(head)
    fit = NOT_ASKED if wanted.folder is None else fits(told.kind, told.family, wanted.folder)
    return Probe(fit, head, told.kind, told.family)


def _looked(wanted: _Asked, far: _Far) -> Probe:
    """Raises Trouble, Interrupted."""
    try:
        far.read_start()
        no_model = EMPTY if far.total == 0 else _no_model(wanted, bytes(far.start))
        if no_model is not None:
            return Probe(Fit(Word.NO, no_model), size_bytes=far.total)
        head = _head(far)
    except Broken as rule:
        return Probe(Fit(Word.NO, f"it is damaged at its source: {rule}; use another source"), size_bytes=far.total)
    cut = _wrong_size(head, far.total)
    if cut is not None:
        return Probe(Fit(Word.NO, cut), head, size_bytes=far.total)
    told = NOTHING_TOLD if head is None else tell(head)
    fit = NOT_ASKED if wanted.folder is None else fits(told.kind, told.family, wanted.folder)
    size = far.total if far.total is not None or head is None or not head.exact else head.total_bytes
    return Probe(fit, head, told.kind, told.family, size)


def _no_model(wanted: _Asked, start: bytes) -> str | None:
    """Why these first bytes cannot be the file, by the very rules that the worker has for them."""
    if PurePosixPath(wanted.filename).suffix.lower() not in _MODELS:
        return f"{_page_at(wanted.url)}" if content_of(start[:FIRST_BYTES]) == HTML_PAGE else None
    try:
        inspect_head(safe_text(wanted.filename, max_chars=200))(start)
    except GiveUp as rejected:
        return str(rejected)
    return None


def _page_at(url: str) -> str:
    return f"{public_url(url)} is a web page, not a model; open it in a browser: it probably wants a login"


def _head(far: _Far) -> Head | None:
    """The head, or None where it is longer than what is read of a file. Raises Broken, Trouble."""
    start = bytes(far.start)
    if wanted_bytes(start) > len(start):
        if far.total is not None and far.total <= len(start):
            raise Broken("it ends before its own header does")
        return None
    head = read_head(start)
    return _archive(far) if head.format is Format.TORCH_ZIP else head


def _archive(far: _Far) -> Head:
    """What the directory at the end of a zip archive says: PyTorch's or not. Raises Broken, Trouble."""
    unknown = Head(Format.OTHER, complete=False)
    if far.total is None or not far.takes_ranges:
        return unknown
    begin = max(0, far.total - TAIL_BYTES)
    tail = far.read_range(begin, far.total)
    directory = find_directory(tail, far.total)
    if directory.length > MAX_HEAD_BYTES - FIRST_BYTES - TAIL_BYTES:
        return unknown
    end = directory.offset + directory.length
    raw = (
        tail[directory.offset - begin : end - begin]
        if directory.offset >= begin
        else far.read_range(directory.offset, end)
    )
    return Head(Format.TORCH_ZIP if is_torch(entry_names(raw, directory)) else Format.OTHER, complete=False)


def _wrong_size(head: Head | None, total: int | None) -> str | None:
    """Why a file of so many bytes is not the one that its head describes."""
    promised = None if head is None else head.total_bytes
    if head is None or promised is None or total is None:
        return None
    if total < promised:
        return f"it is truncated at its source: {total} bytes of {promised}; use another source"
    if head.exact and total > promised:
        return f"it has {total - promised} bytes more at its source than its header describes; use another source"
    return None


class _Far:
    """A file at its host: its first bytes as far as they were read, its size in bytes, and whether ranges work."""

    def __init__(self, web: Web, url: str, leash: Leash) -> None:
        self._web, self._url, self._leash = web, url, leash
        self.start = bytearray()
        self.total: int | None = None
        self.takes_ranges = True

    def read_start(self) -> None:
        """As many first bytes as the head needs, at most MAX_HEAD_BYTES. Raises Trouble, Interrupted, Broken."""
        goal = FIRST_BYTES
        for _ in range(MAX_QUESTIONS):
            before = len(self.start)
            with self._open(before, goal) as answer:
                if answer.status == 416:
                    return
                self._read_on(answer, goal)
            goal = _goal(self.start)
            if len(self.start) in (before, self.total) or goal <= len(self.start):
                return

    def _read_on(self, answer: Answer, goal: int) -> None:
        """Where ranges are ignored, this one answer has to do: it is read for as long as the head goes on.

        Its end tells the size of the file only if its last chunk was seen; a body without framing may have been cut.
        """
        while len(self.start) < goal:
            piece = answer.read(goal - len(self.start))
            self.start += piece
            if not piece:
                if not self.takes_ranges and answer.framing.chunked:
                    self.total = len(self.start)
                return
            if not self.takes_ranges and len(self.start) == goal:
                goal = _goal(self.start)

    def read_range(self, first: int, end: int) -> bytes:
        """The bytes from `first` up to `end`. Raises Trouble, Interrupted."""
        pieces = bytearray()
        with self._open(first, end) as answer:
            while len(pieces) < end - first and (piece := answer.read(end - first - len(pieces))):
                pieces += piece
            if len(pieces) < end - first:
                raise _lying(answer)
        return bytes(pieces)

    @contextmanager
    def _open(self, first: int, end: int) -> Iterator[Answer]:
        """An answer whose body begins at byte `first`, or 416 for an empty file. Raises Trouble, Interrupted."""
        asking = {"Range": f"bytes={first}-{end - 1}"}
        with self._web.open_stream(self._url, headers=asking, leash=self._leash) as answer:
            if answer.status == 416 and first == 0 and answer.headers.get("content-range", "").strip() == "bytes */0":
                self.total = 0
            elif answer.status in (200, 206):
                self._understand(answer, first)
            else:
                raise self._web.refusal(answer)
            yield answer

    def _understand(self, answer: Answer, first: int) -> None:
        """Raises GiveUp(lying_server) for what is neither the range that was asked for nor the whole file."""
        coding = answer.headers.get("content-encoding", "identity").strip().lower()
        told = _RANGE.match(answer.headers.get("content-range", "").strip())
        total = answer.framing.length if answer.status == 200 else _number(told)
        begins = 0 if answer.status == 200 else (int(told[1]) if told else None)
        if coding != "identity" or begins != first or (first and self.total is not None and total != self.total):
            raise _lying(answer)
        self.takes_ranges = answer.status == 206
        self.total = total


def _lying(answer: Answer) -> GiveUp:
    return GiveUp(Code.LYING_SERVER, f"{answer.host} does not send the bytes that were asked for", elsewhere=True)


def _number(told: re.Match[str] | None) -> int | None:
    return None if told is None or told[3] == "*" else int(told[3])


def _goal(start: bytearray) -> int:
    """How far to read on: to where the head ends, or not at all where that is too far."""
    wanted = wanted_bytes(bytes(start))
    return wanted if wanted <= MAX_HEAD_BYTES else len(start)

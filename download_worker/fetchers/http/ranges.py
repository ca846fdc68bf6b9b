"""How to go on with a file of which some bytes are here already: what to ask for, and what the answer allows. Pure.

Nothing is put beside other bytes unless the answer proves that it begins exactly where it was asked to, in the very
same representation: start and total of Content-Range, ETag or Last-Modified. Where the host offers no validator, only
a trusted SHA-256 can tell a spliced file from a good one, so only then is such a file resumed, split, or gone on with
from another source (FAULTS.md H1–H8, H10, H12, H24, H26; RFC 9110, 13.1.5, 14 and 15.3.7).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import Enum
from pathlib import PurePosixPath
from typing import NamedTuple

from download_worker.errors import Code, GiveUp
from download_worker.jobs.job import ModelInfo
from download_worker.room import Span, Version
from download_worker.web.answers import Framing, Headers

# Their header says to the byte how long the file is, and a verifier holds it to that (FAULTS.md H8).
SELF_MEASURING = frozenset({".safetensors", ".sft"})


class Limits(NamedTuple):
    """What the job may receive at most. `size` is the exact size where it is known; all in bytes."""

    size: int | None
    max_file_bytes: int

    @property
    def most(self) -> int:
        return self.max_file_bytes if self.size is None else min(self.size, self.max_file_bytes)


class Head(NamedTuple):
    """An answer, as far as these rules look at it."""

    status: int
    headers: Headers
    framing: Framing
    host: str


class Held(NamedTuple):
    """What is known when a question is asked: the source's own `version` (None: it was never heard), the `total` of
    the file in bytes, and whether bytes of it are here."""

    version: Version | None
    total: int | None
    begun: bool


@dataclass(frozen=True)
class Append:
    """The body brings the bytes of `span`; the whole file will have `total` bytes."""

    span: Span
    total: int


@dataclass(frozen=True)
class Whole:
    """The body is the whole file from byte 0, of `total` bytes if anybody knows: what is here gives way to it."""

    total: int | None


@dataclass(frozen=True)
class Restart:
    """The answer is of no use, and what is here cannot be gone on with: the next connection begins at byte 0."""

    why: str


@dataclass(frozen=True)
class AskAgain:
    """The answer is of no use, but what is here may still be good: only when this happens twice, begin at byte 0."""

    why: str


@dataclass(frozen=True)
class AllHere:
    """The host says that there is nothing more; the digest of what is here has the last word."""

    total: int


Decision = Append | Whole | Restart | AskAgain | AllHere


class End(Enum):
    """What the end of a body means."""

    COMPLETE = "complete"
    CUT = "cut"
    DIGEST_DECIDES = "only the digest can tell"


def ask(version: Version | None, at: int, end: int | None) -> dict[str, str]:
    """Headers that ask for the bytes [at, end), or from `at` on; none at all for the whole file."""
    if at == 0 and end is None:
        return {}
    validator = None if version is None else strong_validator(version)
    only_if = {} if validator is None else {"If-Range": validator}
    return {"Range": f"bytes={at}-{'' if end is None else end - 1}", **only_if}


def can_be_split(version: Version | None, wanted: ModelInfo) -> bool:
    """Whether bytes of one representation, brought by several answers, can be told from a splice of two (H5, H6)."""
    return wanted.sha256 is not None or (version is not None and strong_validator(version) is not None)


def is_same_file(helper: Version, lead: Version, wanted: ModelInfo) -> bool:
    """Whether another source may go on with what the lead began: a digest will judge, or both name one strong ETag."""
    if wanted.sha256 is not None:
        return True
    return helper.etag is not None and not helper.etag.startswith("W/") and helper.etag == lead.etag


def strong_validator(version: Version) -> str | None:
    """A strong ETag, else Last-Modified where there is no ETag at all (RFC 9110, 13.1.5: with one, no date)."""
    if version.etag is None:
        return version.last_modified
    return None if version.etag.startswith("W/") else version.etag


def described(source: str, headers: Headers, origin: str) -> Version:
    """The representation that these headers speak of."""
    return Version(
        source=source,
        etag=_bounded(headers.get("etag")),
        last_modified=_dated(headers),
        content_type=_bounded(headers.get("content-type")),
        origin=origin,
    )


def decide(head: Head, held: Held, at: int, wanted: ModelInfo, limits: Limits) -> Decision:
    """What an answer of 200, 206 or 416 to `ask(held.version, at, …)` is good for.

    Raises:
        GiveUp: `lying_server`, `size_mismatch`, `too_large` or `html`: this source cannot have the file.
    """
    if head.status != 416:
        _refuse_encoded(head)
    if head.status == 200:
        return Whole(_total(head, wanted, limits))
    if not held.begun:
        raise _lying(head, f"answers {head.status} to a question without a range")
    if head.status == 416:
        return _nothing_more(head, at, wanted, limits)
    return _continued(head, held, at, wanted, limits)


def end_of_body(framing: Framing, at: int, total: int | None, wanted: ModelInfo) -> End:
    """What it means that the body ended when `at` bytes of the file were here.

    Silence alone proves nothing (H8): there must be a size, a last chunk, or a digest; or the file measures itself.
    """
    if total is not None:
        return End.COMPLETE if at == total else End.CUT
    if framing.chunked:
        return End.COMPLETE
    return End.DIGEST_DECIDES if wanted.sha256 is not None else End.COMPLETE


def parse_content_range(text: str | None) -> tuple[int, int, int] | None:
    """`bytes 5-9/10` → (5, 9, 10). None when it is missing, garbled, contradicts itself, or does not know the total."""
    match = re.fullmatch(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})", (text or "").strip())
    if match is None:
        return None
    first, last, total = map(int, match.groups())
    return (first, last, total) if first <= last < total else None


def _continued(head: Head, held: Held, at: int, wanted: ModelInfo, limits: Limits) -> Decision:
    """206 (H2–H5)."""
    part = parse_content_range(head.headers.get("content-range"))
    if part is None:
        return Restart("it sent a part without saying which")
    first, last, total = part
    if held.total not in (None, total):
        return Restart(f"its file had {held.total} bytes before and {total} now")
    _check_size(head, total, limits)
    version = held.version
    if version is not None and (
        _changed(version.etag, head.headers.get("etag"))
        or _changed(version.last_modified, head.headers.get("last-modified"))
    ):
        return Restart("its file has changed")
    if wanted.sha256 is None and version is not None and version.etag and "etag" not in head.headers:
        return Restart("it does not say of which version its part is")  # RFC 9110, 15.3.7: it must
    if first != at:
        return AskAgain(f"it was asked for byte {at} and sent byte {first}")
    if head.framing.length not in (None, last - first + 1):
        return AskAgain("the length of its part contradicts the range")
    return Append(Span(first, last + 1), total)


def _nothing_more(head: Head, at: int, wanted: ModelInfo, limits: Limits) -> Decision:
    """416 (H7): believed only with the right size and a digest to check."""
    told = re.fullmatch(r"bytes \*/([0-9]{1,18})", head.headers.get("content-range", "").strip())
    if told and int(told[1]) == at and limits.size in (None, at) and wanted.sha256 is not None:
        return AllHere(at)
    return Restart("it has no such range")


def _total(head: Head, wanted: ModelInfo, limits: Limits) -> int | None:
    """The size of a whole file that is about to come (H8, H10). Raises GiveUp."""
    length = head.framing.length
    if length is not None:
        _check_size(head, length, limits)
        return length
    if limits.size is not None:
        _check_size(head, limits.size, limits)
        return limits.size
    extension = PurePosixPath(wanted.expected_filename).suffix.lower()
    if not head.framing.chunked and wanted.sha256 is None and extension not in SELF_MEASURING:
        raise _lying(
            head, f"does not say how long the file is, and nothing in a {extension} file would show that it was cut"
        )
    return None


def _check_size(head: Head, total: int, limits: Limits) -> None:
    if total == 0 or limits.size not in (None, total):
        if head.headers.get("content-type", "").lower().startswith("text/html"):
            raise GiveUp(Code.HTML, f"{head.host} sends a web page instead of the file", elsewhere=True)
        expected = "" if limits.size is None else f", not the {limits.size} that were expected"
        raise GiveUp(Code.SIZE_MISMATCH, f"the file at {head.host} has {total} bytes{expected}", elsewhere=True)
    if total > limits.max_file_bytes:
        raise GiveUp(Code.TOO_LARGE, f"the file at {head.host} has {total} bytes, more than {limits.max_file_bytes}")


def _refuse_encoded(head: Head) -> None:
    """H12: the bytes of an encoded body are not the bytes of the file, and a resume would mix the two."""
    encoding = head.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise _lying(head, "sends the file encoded although that was declined")


def _changed(before: str | None, now: str | None) -> bool:
    return before is not None and now is not None and before != _bounded(now)


def _dated(headers: Headers) -> str | None:
    """Last-Modified, unless the file changed in the very second of the answer (RFC 9110, 8.8.2.2)."""
    text, date = headers.get("last-modified"), headers.get("date")
    try:
        if text is None or (date and parsedate_to_datetime(date) <= parsedate_to_datetime(text)):
            return None
    except (ValueError, TypeError):
        return None
    return _bounded(text)


def _bounded(text: str | None, max_chars: int = 500) -> str | None:
    return text if text is not None and len(text) <= max_chars else None


def _lying(head: Head, what: str) -> GiveUp:
    return GiveUp(Code.LYING_SERVER, f"{head.host} {what}", elsewhere=True)

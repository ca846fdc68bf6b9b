"""What goes over the wire: a Request as it was read, a Reply as it is meant to be sent, flaws and all."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from http import HTTPStatus
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from .data import EMPTY, Blob, Data

Headers = tuple[tuple[str, str], ...]

LINE_BYTES_MAX = 64 * 1024
BODY_BYTES_MAX = 64 * 1024 * 1024


@dataclass(frozen=True)
class Request:
    """One request. Header names are in lower case, `path` is decoded and without the query, `target` as it was sent."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def path(self) -> str:
        return unquote(urlsplit(self.target).path) or "/"

    @property
    def query(self) -> str:
        return urlsplit(self.target).query

    def last_of_connection(self) -> bool:
        return self.headers.get("connection", "").lower() == "close"

    def without(self, header: str) -> "Request":
        return self.asking(header, None)

    def asking(self, header: str, value: str | None) -> "Request":
        kept = {name: text for name, text in self.headers.items() if name != header.lower()}
        return replace(self, headers=kept if value is None else {**kept, header.lower(): value})


def read_request(stream: BinaryIO) -> Request | None:
    """The next request, or None where the client has left or does not speak HTTP."""
    words = stream.readline(LINE_BYTES_MAX).decode("latin-1").split()
    if len(words) != 3:
        return None
    headers: dict[str, str] = {}
    while (line := stream.readline(LINE_BYTES_MAX).decode("latin-1")).strip():
        name, _, value = line.partition(":")
        key = name.strip().lower()
        headers[key] = f"{headers[key]}, {value.strip()}" if key in headers else value.strip()
    length = headers.get("content-length", "")
    body = stream.read(min(int(length), BODY_BYTES_MAX)) if length.isdigit() else b""
    return Request(words[0], words[1], headers, body)


class Ending(Enum):
    """What the hub does when it has sent what it wanted to send."""

    KEEP = "keep the connection for the next request"
    CLOSE = "close the connection"
    RESET = "reset the connection"
    STALL = "keep the connection and send nothing until it is released, then the rest"


@dataclass(frozen=True)
class Reply:
    """An answer before it is sent.

    `head` replaces status line and headers by raw bytes, `trailer` follows the body, `cut` is the number of body bytes
    after which `ending` happens (None = after all of them), `first_byte` is the offset in the file where it begins.
    `delay_seconds` pass before its first byte, `trailer_delay_seconds` before its trailer; `bytes_per_second` holds for
    a raw head and for the body.
    """

    status: int
    headers: Headers = ()
    body: Data = EMPTY
    first_byte: int = 0
    head: Data | None = None
    chunked: bool = False
    trailer: bytes = b""
    cut: int | None = None
    ending: Ending = Ending.KEEP
    bytes_per_second: float | None = None
    delay_seconds: float = 0.0
    trailer_delay_seconds: float = 0.0

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def without(self, *names: str) -> "Reply":
        gone = {name.lower() for name in names}
        return replace(self, headers=tuple(pair for pair in self.headers if pair[0].lower() not in gone))

    def adding(self, *pairs: tuple[str, str]) -> "Reply":
        return replace(self, headers=self.headers + pairs)

    def with_header(self, name: str, value: str) -> "Reply":
        return self.without(name).adding((name, value))

    def with_body(self, body: Data) -> "Reply":
        return replace(self.with_header("Content-Length", str(body.size)), body=body)

    def closing(self) -> "Reply":
        return replace(self.with_header("Connection", "close"), ending=Ending.CLOSE)

    def stopping(self, ending: Ending, after_bytes: int | None = None) -> "Reply":
        """This reply, cut after so many bytes of its body; after half of them if nobody says where."""
        return replace(self, cut=self.body.size // 2 if after_bytes is None else after_bytes, ending=ending)

    def bodiless(self) -> "Reply":
        """This reply as HEAD gets it: nothing to cut, so nothing is cut; a raw head stays as raw as it is."""
        if self.head is not None:
            return replace(self, body=EMPTY, trailer=b"")
        return replace(self, body=EMPTY, trailer=b"", chunked=False, cut=None, ending=Ending.KEEP)

    def head_bytes(self) -> bytes:
        lines = [f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def last_of_connection(self) -> bool:
        return self.ending in (Ending.CLOSE, Ending.RESET) or (self.header("Connection") or "").lower() == "close"


def text_reply(status: int, text: str | bytes, *headers: tuple[str, str], kind: str = "text/plain") -> Reply:
    content = text.encode() if isinstance(text, str) else text
    return Reply(status, (("Content-Type", kind), *headers)).with_body(Blob(content))

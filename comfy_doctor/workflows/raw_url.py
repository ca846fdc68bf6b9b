"""A workflow at a URL: the raw file behind the page that people copy, read within a bound and never stored.

Its bytes go through the same reading as a file; in a report its path is the public URL. What answers with a page
instead of a file is told apart by content, since several hosts call everything text/plain.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from comfy_doctor.workflows.containers import MAX_WORKFLOW_BYTES, sniff
from comfy_doctor.workflows.documents import Document, read_bytes_document
from download_worker.errors import Code, GiveUp
from download_worker.leash import Leash
from download_worker.text import public_url
from download_worker.web.session import Answer, Web

_HEAD_BYTES = 4096


class _Page(NamedTuple):
    """The address of a page about a file, and the address of the file."""

    pattern: re.Pattern[str]
    file: str


# A blob page of Hugging Face is not here: `Web` itself leads to its file.
_PAGES = (
    _Page(re.compile(r"https?://(?:www\.)?github\.com/([^/]+/[^/]+)/blob/"), r"https://raw.githubusercontent.com/\1/"),
    _Page(re.compile(r"https?://gist\.github\.com/([^/]+/[0-9a-f]+)(?:/?\Z|/(?!raw(?:/|\Z)))"), r"https://gist.github.com/\1/raw/"),
    _Page(re.compile(r"(https?://gitlab\.com/.+?/-)/blob/"), r"\1/raw/"),
    _Page(re.compile(r"https?://pastebin\.com/(?!raw/)(\w+)/?\Z"), r"https://pastebin.com/raw/\1"),
)  # fmt: skip


def is_raw_url(text: str) -> bool:
    """Whether this argument names a file in the web and none on this disk."""
    return re.match(r"https?://[^/\s]", text, re.IGNORECASE) is not None


def raw_form(url: str) -> str:
    """The URL of the file behind a page of GitHub (blob, gist), GitLab or Pastebin; any other URL as it is."""
    plain, _, _fragment = url.strip().partition("#")
    address, mark, query = plain.partition("?")
    for page in _PAGES:
        raw, changed = page.pattern.subn(page.file, address, count=1)
        if changed:
            return raw
    return address + mark + query


def read_url_document(url: str, web: Web, leash: Leash | None = None) -> Document:
    """The document at this URL, under its public form. Raises what `fetch_workflow` raises."""
    return read_bytes_document(public_url(url), fetch_workflow(url, web, leash))


def fetch_workflow(url: str, web: Web, leash: Leash | None = None) -> bytes:
    """The bytes of the raw file at this URL, at most `MAX_WORKFLOW_BYTES`.

    Raises:
        BadRequest, Refused, TryLater, GiveUp, Interrupted: what `Web.open_stream` and `Web.refusal` say.
        TryLater: cut_short, stalled. GiveUp: too_large, or html: a page answered instead of a file.
    """
    leash = leash or Leash()
    with web.open_stream(raw_form(url), leash=leash) as answer:
        if answer.status != 200:
            raise web.refusal(answer)
        data = _body(answer, leash)
        if _is_page(data, answer.headers.get("content-type", "")):
            message = f"{answer.host} answers with a page instead of a file at {public_url(url)}"
            raise GiveUp(Code.HTML, message, hint="open it in a browser and copy the link of its Raw button")
    return data


def _body(answer: Answer, leash: Leash) -> bytes:
    told = answer.framing.length
    pieces: list[bytes] = []
    size = 0
    while size <= MAX_WORKFLOW_BYTES and (told is None or told <= MAX_WORKFLOW_BYTES):
        leash.check()
        piece = answer.read(MAX_WORKFLOW_BYTES + 1 - size)
        if not piece:
            break
        pieces.append(piece)
        size += len(piece)
    leash.check()
    if max(size, told or 0) > MAX_WORKFLOW_BYTES:
        message = f"{answer.url} is larger than {MAX_WORKFLOW_BYTES} bytes"
        raise GiveUp(Code.TOO_LARGE, message, hint="download it and diagnose the file")
    return b"".join(pieces)


def _is_page(data: bytes, content_type: str) -> bool:
    head = data[:_HEAD_BYTES]
    if sniff(head) != "json" or not head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return False
    return "html" in content_type.lower() or re.search(rb"<(?:!doctype\s{1,8})?html", head, re.IGNORECASE) is not None

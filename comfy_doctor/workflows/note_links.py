"""Links in notes, descriptions and downloader nodes: where people say that the models of a workflow can be had.

A link to a file of a needed name is a candidate; a link to a repository or a model page is a hint. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from urllib.parse import quote, unquote, urlsplit

from comfy_doctor.needs import Candidate, Need
from comfy_doctor.sites import HubFile, place_of, site_of
from comfy_doctor.workflows.names import looks_like_model
from download_worker.jobs.places import ALIASES, FOLDERS
from download_worker.text import without_credentials

MAX_LINKS = 1_000
MAX_HINTS = 50
MAX_TEXT_CHARS = 500_000
NOTE_CONFIDENCE = 0.75
NOTE_IN_FOLDER_CONFIDENCE = 0.8
_LINES_ABOVE = 6

# Brackets end a URL here: they belong to Markdown. So does the punctuation of Chinese and Japanese texts.
_URL = re.compile(r"(?:https?://|urn:air:)[^\s<>\"'`|\\^{}\[\]，。；：！？、（）【】「」『』]{3,2000}", re.IGNORECASE)
_AFTER_URL = ".,;:!?*_~"
_MODELS_PATH = re.compile(r"models[/\\]+([A-Za-z_]{2,40})")
_HEADING = re.compile(r"[\W_]*([A-Za-z][A-Za-z _-]{1,38}[A-Za-z])[\W_]*\Z")
_MODELSCOPE_PAGE = re.compile(r"(/models/[^/]+/[^/]+)/file/view/([^/]+)/(.+)\Z")
_FOLDER_OF = {name.lower(): name for name in FOLDERS} | dict(ALIASES)


@dataclass(frozen=True, slots=True)
class Link:
    """`url` is as one would download it; `filename` is empty for a page; `folder` is the nearest one that is named."""

    url: str
    filename: str
    folder: str | None = None


def links_in(text: str) -> Iterator[Link]:
    """The links of one text, in order."""
    lines = text[:MAX_TEXT_CHARS].splitlines()
    named = [_folder_named(line) for line in lines]
    for number, line in enumerate(lines):
        for match in _URL.finditer(line):
            url = _clean(match[0])
            if url is not None:
                above = named[max(0, number - _LINES_ABOVE) : number + 1]
                yield _link(url, next((folder for folder in reversed(above) if folder), None))


def helped(needs: Iterable[Need], texts: Iterable[str]) -> tuple[Need, ...]:
    """The needs with what these texts of their workflow say of them."""
    found = list(dict.fromkeys(islice((link for text in texts for link in links_in(text)), MAX_LINKS)))
    needed = tuple(needs)
    if not found:
        return needed
    homes: dict[str, set[str | None]] = {}
    for need in needed:
        homes.setdefault(need.filename, set()).add(need.folder)
    pages = (link.url for link in found if link.filename not in homes and site_of(link.url) is not None)
    hints = tuple(islice(dict.fromkeys(pages), MAX_HINTS))
    return tuple(_with_links(need, found, homes[need.filename], hints) for need in needed)


def _with_links(need: Need, links: Sequence[Link], homes: set[str | None], hints: tuple[str, ...]) -> Need:
    known = {place_of(candidate.url) for candidate in need.candidates}
    fresh: list[Candidate] = []
    for link in links:
        elsewhere = link.folder != need.folder and link.folder in homes
        if link.filename == need.filename and not elsewhere and place_of(link.url) not in known:
            known.add(place_of(link.url))
            fresh.append(_candidate(need, link))
    return replace(need, candidates=(*need.candidates, *fresh), hints=hints)


def _candidate(need: Need, link: Link) -> Candidate:
    in_folder = link.folder is not None and link.folder == need.folder
    return Candidate(
        url=link.url,
        filename=need.filename,
        folder=need.folder or link.folder or "",
        source="note",
        confidence=NOTE_IN_FOLDER_CONFIDENCE if in_folder else NOTE_CONFIDENCE,
        evidence=("a note of the workflow links to a file of this name",)
        + (("and names the same folder beside it",) if in_folder else ()),
    )


def _clean(written: str) -> str | None:
    """Without what Markdown or a sentence puts after it, and without anybody's token; None when nothing is left."""
    open_brackets = 0
    for place, sign in enumerate(written):
        open_brackets += (sign == "(") - (sign == ")")
        if open_brackets < 0:
            written = written[:place]
            break
    try:
        return without_credentials(written.rstrip(_AFTER_URL).replace("&amp;", "&"))
    except ValueError:
        return None


def _link(url: str, folder: str | None) -> Link:
    site = site_of(url)
    if isinstance(site, HubFile):
        return Link(site.url, site.filename, folder)
    try:
        parts = urlsplit(url)
    except ValueError:
        return Link(url, "", folder)
    if parts.hostname in ("modelscope.cn", "www.modelscope.cn") and (page := _MODELSCOPE_PAGE.match(parts.path)):
        url = f"https://modelscope.cn{page[1]}/resolve/{page[2]}/{quote(unquote(page[3]))}"
    elif parts.hostname == "github.com":
        url = url.replace("/blob/", "/raw/", 1)
    filename = unquote(parts.path).rpartition("/")[2]
    return Link(url, filename if looks_like_model(filename) else "", folder)


def _folder_named(line: str) -> str | None:
    """The model folder that this line names: in a path below `models`, or as a heading of its own."""
    said = [match[1] for match in _MODELS_PATH.finditer(_URL.sub(" ", line))]
    heading = _HEADING.match(line) if len(line) < 80 else None
    if heading is not None:
        said.append(re.sub(r"[ -]+", "_", heading[1]))
    return next((folder for word in said if (folder := _folder_of(word.lower())) is not None), None)


def _folder_of(word: str) -> str | None:
    return _FOLDER_OF.get(word) or _FOLDER_OF.get(f"{word}s") or _FOLDER_OF.get(word.removesuffix("s"))

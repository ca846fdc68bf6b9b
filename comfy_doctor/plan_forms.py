"""A plan for people who bring their own downloader: plain URLs, or an input file of aria2. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType

from comfy_doctor.plan import Item
from download_worker.errors import BadRequest
from download_worker.web.origins import parse_url


def urls_of(items: Sequence[Item]) -> str:
    """A URL per line, for people who bring their own downloader."""
    return "".join(f"{url}\n" for item in items if item.action == "download" for url in _plain_urls(item)[:1])


def aria2_of(items: Sequence[Item]) -> str:
    """An aria2 input file: mirrors tab-separated on one line, then the options of that file (aria2c(1), Input File)."""
    lines = []
    for item in items:
        if item.action != "download" or item.choice is None or item.target is None:
            continue
        urls = _plain_urls(item)
        if not urls:
            continue
        lines.append("\t".join(urls))
        lines += [f"  dir={item.target.parent}", f"  out={item.target.name}"]
        if item.choice.sha256:
            lines.append(f"  checksum=sha-256={item.choice.sha256}")
    return "".join(f"{line}\n" for line in lines)


def _plain_urls(item: Item) -> list[str]:
    """Only URLs that a strict reader takes: a line break in one would be a line of the downloader's own options."""
    plain = []
    for url in (item.choice.url, *item.choice.mirrors) if item.choice else ():
        with suppress(BadRequest):
            plain.append(str(parse_url(url)))
    return plain


FORMS: Mapping[str, Callable[[Sequence[Item]], str]] = MappingProxyType({"urls": urls_of, "aria2": aria2_of})

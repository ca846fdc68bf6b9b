"""The texts in SVG and XMP, found by one pass over the markup that knows no entities but the five of XML.

A full XML parser is not needed and would have to be guarded against entity bombs: here nothing is ever expanded.
ComfyUI's SaveSVG puts `{"prompt": …, "workflow": …}` as CDATA into a `metadata` element; XMP holds texts as elements
or attributes of any name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from comfy_doctor.workflows.containers.source import MAX_WORKFLOW_BYTES, Source, Text

_ENTITIES = {"quot": '"', "apos": "'", "lt": "<", "gt": ">", "amp": "&"}
_REFERENCE = re.compile(r"&(?:#(\d{1,7})|#x([0-9A-Fa-f]{1,6})|(quot|apos|lt|gt|amp));")
_NAME = re.compile(r"[\w:.-]{1,128}")
_VALUE_MARK = re.compile(r"""=\s{0,8}(["'])""")
_MAX_NAME_CHARS = 128
_TAG_MARK = re.compile(r"""[>"']""")
_SECTIONS = (("<![CDATA[", "]]>"), ("<!--", "-->"), ("<?", "?>"))


def svg_texts(source: Source) -> Iterator[Text]:
    """Of a drawing larger than `MAX_WORKFLOW_BYTES` only the beginning, where metadata stands."""
    return xmp_texts(source.read(0, MAX_WORKFLOW_BYTES), source)


def xmp_texts(markup: bytes, source: Source) -> Iterator[Text]:
    """Every text that could hold JSON, under the name of its element or attribute. Each part is a step of `source`.

    Raises:
        Unreadable: too many parts.
    """
    text = markup.decode("utf-16" if markup[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8", "replace")
    for name, part, is_escaped in _parts(text):
        source.step()
        if "{" in part:
            plain = _REFERENCE.sub(_meant, part) if is_escaped else part
            yield Text(name, plain.encode("utf-8", "replace"))


def _parts(text: str) -> Iterator[tuple[str, str, bool]]:
    """(name, text, whether it is escaped) of elements, attributes, CDATA sections, comments and declarations."""
    element, at = "", 0
    while at < len(text):
        opening = text.find("<", at)
        yield element, text[at : opening if opening >= 0 else None], True
        if opening < 0:
            return
        section = next((pair for pair in _SECTIONS if text.startswith(pair[0], opening)), None)
        if section:
            at = _after(text, section[1], opening)
            yield element, text[opening + len(section[0]) : at - len(section[1])], False
        else:
            at = _end_of_tag(text, opening)
            tag = text[opening + 1 : at - 1]
            name = _NAME.match(tag)
            element = name[0] if name else ""
            yield from _attributes(tag)


def _attributes(tag: str) -> Iterator[tuple[str, str, bool]]:
    at = 0
    while (mark := _VALUE_MARK.search(tag, at)) is not None:
        end = tag.find(mark[1], mark.end())
        if end < 0:
            return
        before = tag[max(at, mark.start() - _MAX_NAME_CHARS) : mark.start()].split()
        yield before[-1] if before else "", tag[mark.end() : end], True
        at = end + 1


def _meant(reference: re.Match[str]) -> str:
    decimal, hexadecimal, name = reference.groups()
    if name:
        return _ENTITIES[name]
    number = int(decimal) if decimal else int(hexadecimal, 16)
    return chr(number) if number <= 0x10FFFF else ""


def _after(text: str, mark: str, start: int) -> int:
    """Behind this mark; a section that does not end goes on to the end."""
    found = text.find(mark, start)
    return len(text) + len(mark) if found < 0 else found + len(mark)


def _end_of_tag(text: str, start: int) -> int:
    """Behind the `>` that closes this tag, which may stand in quotes before."""
    at = start
    while (mark := _TAG_MARK.search(text, at)) is not None:
        if mark[0] == ">":
            return mark.end()
        closing = text.find(mark[0], mark.end())
        if closing < 0:
            break
        at = closing + 1
    return len(text) + 1

"""Which pack registers a node type, told from the text of its files: a search for the quoted name, nothing is run.

A name counts where code registers it: `"NAME":` and `["NAME"] =` in a Python file with NODE_CLASS_MAPPINGS, V3's
`node_id="NAME"`, a decorator or call whose name says register, or LiteGraph's `registerNodeType("NAME"` in JavaScript.
A name that is only spoken of counts for nothing: packs know one another's nodes. Some packs sign their types,
`Seed (rgthree)`, `SAMLoader //Inspire`, and quote them without the signature; there a pack of that name is believed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Hashable, Iterator, Mapping
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

Owner = TypeVar("Owner", bound=Hashable)

MAX_FILES_PER_PACK = 1_000
MAX_FOLDER_DEPTH = 8
MAX_FILE_BYTES = 2 * 1024 * 1024
MAX_PACK_BYTES = 32 * 1024 * 1024
MAX_SCAN_BYTES = 512 * 1024 * 1024
_SUFFIXES = (".py", ".js", ".mjs", ".py.disabled")
_NO_CODE_OF_NODES = frozenset({"node_modules", "tests", "test", "docs", "venv", "site-packages", "__pycache__"})
_QUOTES = re.compile(rb"[\"'`]")
_SIGNED = re.compile(r"(.+?)\s*(?:\(([\w -]{3,40})\)|(?:\||//)\s*(\w{3,40}))\Z")
_CALLED = rb"(?:register\w*|node_id\s*=\s*|NODE_ID\s*=\s*)[(\[\s]*(?:name\s*=\s*)?[\"'`]{0}[\"'`]"
_KEYED = rb"(?m)(?:^|[{,\[])\s*[\"']{0}[\"']\s*(?::|\]\s*=[^=])"
_NAMED = rb"(?:[^=!]=|type:|name:)\s*[\"'`]{0}[\"'`]"
_REGISTERS = (b"CLASS_MAPPINGS", b"node_list")


class _Wanted(NamedTuple):
    """A node type and the bytes that are looked for in one pack's files."""

    type: str
    quoted: bytes
    signed: bool


class Bringer(NamedTuple, Generic[Owner]):
    """Who registers a type; `scripted` when its JavaScript does, so that no server knows the type."""

    owner: Owner
    scripted: bool


def scan_types(packs: Mapping[Owner, Path], types: Collection[str]) -> dict[str, Bringer[Owner]]:
    """Node type → the first pack, in the order given, whose files register it; Python counts before JavaScript."""
    found: dict[str, Bringer[Owner]] = {}
    budget = MAX_SCAN_BYTES
    for owner, place in packs.items():
        open_types = [node_type for node_type in types if node_type not in found]
        if not open_types or budget <= 0:
            break
        wanted = {want.quoted: want for want in map(lambda t: _wanted(t, place), open_types)}
        spent = 0
        for text, script in _files(place):
            spent += len(text)
            here = wanted.keys() & set(_QUOTES.split(text))
            seen = [wanted[name].type for name in here if _registers(text, wanted[name], script=script)]
            found |= {name: Bringer(owner, script) for name in seen if not script or name not in found}
            if spent > min(MAX_PACK_BYTES, budget):
                break
        budget -= spent
    return found


def _wanted(node_type: str, place: Path) -> _Wanted:
    signature = _SIGNED.match(node_type)
    if signature is not None:
        signed_by = _letters(signature[2] or signature[3])
        if signed_by in _letters(place.name):
            return _Wanted(node_type, signature[1].encode(), signed=True)
    return _Wanted(node_type, node_type.encode(), signed=False)


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.lower()))


def _registers(text: bytes, want: _Wanted, *, script: bool) -> bool:
    if want.signed:
        return True
    name = re.escape(want.quoted)
    if re.search(_CALLED.replace(b"{0}", name), text):
        return True
    if script:
        return b"registerNodeType" in text and re.search(_NAMED.replace(b"{0}", name), text) is not None
    return any(word in text for word in _REGISTERS) and re.search(_KEYED.replace(b"{0}", name), text) is not None


def _files(place: Path) -> Iterator[tuple[bytes, bool]]:
    """(content, whether it is JavaScript) of a pack's code, within bounds; links to folders are not followed."""
    for path in _paths(place):
        try:
            with path.open("rb") as file:
                text = file.read(MAX_FILE_BYTES)
        except OSError:
            continue
        yield text, path.suffix in (".js", ".mjs")


def _paths(place: Path) -> Iterator[Path]:
    if place.is_file():
        yield place
        return
    count = 0
    for directory, folders, files in os.walk(place):
        depth = len(Path(directory).relative_to(place).parts)
        kept = sorted(name for name in folders if name not in _NO_CODE_OF_NODES and not name.startswith("."))
        folders[:] = kept if depth < MAX_FOLDER_DEPTH else []
        for name in sorted(files):
            if name.endswith(_SUFFIXES):
                count += 1
                if count > MAX_FILES_PER_PACK:
                    return
                yield Path(directory, name)

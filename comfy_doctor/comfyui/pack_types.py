"""Which pack registers a node type, told from the text of its files: a search for the quoted name, nothing is run.

A name counts where code registers it: `"NAME":` and `["NAME"] =` in a Python file with NODE_CLASS_MAPPINGS, V3's
`node_id="NAME"`, a decorator or call whose name says register, or LiteGraph's `registerNodeType("NAME"` in JavaScript.
A name that is only spoken of counts for nothing: packs know one another's nodes. Some packs sign their types,
`Seed (rgthree)`, `SAMLoader //Inspire`, and quote them without the signature; there a pack of that name is believed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Container, Hashable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from comfy_doctor.comfyui.plain_files import read_start

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
# What stands before and behind a quoted name; only so many bytes on each side, as some files are nothing but blanks.
_AROUND_BYTES = 160
MAX_PLACES_PER_FILE = 2_000
_CALLED = re.compile(rb"(?:register\w*|node_id\s*=\s*|NODE_ID\s*=\s*)[(\[\s]*(?:name\s*=\s*)?\Z")
_NAMED = re.compile(rb"(?:[^=!]=|type:|name:)\s*\Z")
_KEYED = re.compile(rb"(?m)(?:^|[{,\[])\s*\Z")
_HAS_VALUE = re.compile(rb"\s*(?::|\]\s*=[^=])")
_REGISTERS = (b"CLASS_MAPPINGS", b"node_list")
# A file without any of these registers nothing, and is not taken apart: `_CALLED` and `_REGISTERS` in their shortest.
_MAY_REGISTER = (*_REGISTERS, b"register", b"node_id", b"NODE_ID")


class _Wanted(NamedTuple):
    """A node type and the bytes that are looked for in one pack's files."""

    type: str
    quoted: bytes
    signed: bool


class _Signature(NamedTuple):
    """A node type that ends in the name of a pack, and its bytes without it."""

    type: str
    bare: bytes
    signer: str


class Bringer(NamedTuple, Generic[Owner]):
    """Who registers a type; `scripted` when its JavaScript does, so that no server knows the type."""

    owner: Owner
    scripted: bool


def scan_types(packs: Mapping[Owner, Path], types: Collection[str]) -> dict[str, Bringer[Owner]]:
    """Node type → the first pack, in the order given, whose files register it; Python counts before JavaScript."""
    found: dict[str, Bringer[Owner]] = {}
    plain = {_bytes(node_type): _Wanted(node_type, _bytes(node_type), signed=False) for node_type in types}
    signatures = [signature for node_type in types if (signature := _signature(node_type)) is not None]
    budget = MAX_SCAN_BYTES
    for owner, place in packs.items():
        if not plain or budget <= 0:
            break
        signed = _signed_by(place, signatures, found)
        wanted = _with_signed(plain, signed)
        spent = 0
        for text, script in _files(place):
            spent += len(text)
            if not (signed or any(word in text for word in _MAY_REGISTER)):
                continue
            here = wanted.keys() & set(_QUOTES.split(text))
            seen = [wanted[name].type for name in here if _registers(text, wanted[name], script=script)]
            found |= {name: Bringer(owner, script) for name in seen if not script or name not in found}
            if spent > min(MAX_PACK_BYTES, budget):
                break
        budget -= spent
        plain = {name: want for name, want in plain.items() if want.type not in found}
    return found


def _signature(node_type: str) -> _Signature | None:
    match = _SIGNED.match(node_type)
    return _Signature(node_type, _bytes(match[1]), _letters(match[2] or match[3])) if match is not None else None


def _signed_by(place: Path, signatures: Iterable[_Signature], found: Container[str]) -> dict[bytes, _Wanted]:
    """The types that bear this pack's name; it quotes them without it."""
    pack = _letters(place.name)
    own = (entry for entry in signatures if entry.signer in pack and entry.type not in found)
    return {entry.bare: _Wanted(entry.type, entry.bare, signed=True) for entry in own}


def _with_signed(plain: Mapping[bytes, _Wanted], signed: Mapping[bytes, _Wanted]) -> Mapping[bytes, _Wanted]:
    if not signed:
        return plain
    types = {want.type for want in signed.values()}
    return {name: want for name, want in plain.items() if want.type not in types} | dict(signed)


def _bytes(name: str) -> bytes:
    """JSON may carry half characters: such a name is in no file."""
    return name.encode("utf-8", "surrogatepass")


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.lower()))


def _registers(text: bytes, want: _Wanted, *, script: bool) -> bool:
    if want.signed:
        return True
    lists = (b"registerNodeType" in text) if script else any(word in text for word in _REGISTERS)
    quoted = re.finditer(rb"[\"'`]" + re.escape(want.quoted) + rb"[\"'`]", text)
    for place in islice(quoted, MAX_PLACES_PER_FILE):
        before = text[max(0, place.start() - _AROUND_BYTES) : place.start()]
        if _CALLED.search(before):
            return True
        if lists and (
            _NAMED.search(before) if script else _is_key(before, text[place.end() : place.end() + _AROUND_BYTES])
        ):
            return True
    return False


def _is_key(before: bytes, after: bytes) -> bool:
    return _KEYED.search(before) is not None and _HAS_VALUE.match(after) is not None


def _files(place: Path) -> Iterator[tuple[bytes, bool]]:
    """(content, whether it is JavaScript) of a pack's code, within bounds; links to folders are not followed."""
    for path in _paths(place):
        try:
            text = read_start(path, MAX_FILE_BYTES)
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

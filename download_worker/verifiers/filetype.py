"""What these bytes are, and whether that fits the name they are to have. Only this module opens libmagic.

Our own rules decide: each model extension takes exactly the contents listed in `_CONTENTS`, recognised by their first
bytes. libmagic is the second opinion: it names what our rules do not know, and may object where a format has no
signature of its own (ONNX, which is bare protobuf). It is not asked about formats with a signature, because the length
field that begins a safetensors file may look like anything to it (a header of 23,117 bytes begins with “MZ”).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import PurePosixPath
from types import MappingProxyType

import pylibmagic  # isort: skip - before magic: it says where the shared library is
import magic

from download_worker.errors import Code, TryLater
from download_worker.fetchers.fetcher import HEAD_BYTES, Inspect
from download_worker.leash import Leash
from download_worker.text import safe_text
from download_worker.verifiers.reading import reading
from download_worker.verifiers.verifier import Evidence, Rejected, Specimen

MIN_MODEL_BYTES = 16
MAX_SAFETENSORS_HEADER_BYTES = 100_000_000
"""The limit of the safetensors library (`MAX_HEADER_SIZE` in its tensor.rs)."""

SAFETENSORS, GGUF, TORCH_ZIP, PICKLE, ONNX, TFLITE = "safetensors", "gguf", "zip", "pickle", "onnx", "tflite"
PICKLED = frozenset({TORCH_ZIP, PICKLE})
"""Contents that run code when a naive reader loads them (a zip under a model's name holds a pickle, or may)."""

HTML_PAGE = "an HTML page"
_WITH_ARTICLE = MappingProxyType(
    {
        SAFETENSORS: "a safetensors file",
        GGUF: "a GGUF file",
        TORCH_ZIP: "a zip archive",
        PICKLE: "a pickle",
        ONNX: "an ONNX model",
        TFLITE: "a TensorFlow Lite model",
    }
)
_CONTENTS = MappingProxyType(
    {
        ".safetensors": frozenset({SAFETENSORS}),
        ".sft": frozenset({SAFETENSORS}),
        ".gguf": frozenset({GGUF}),
        ".ckpt": PICKLED,
        ".pt": PICKLED,
        ".pth": PICKLED,
        ".pkl": PICKLED,
        ".bin": PICKLED,
        ".pt2": frozenset({TORCH_ZIP}),
        ".onnx": frozenset({ONNX}),
        ".task": frozenset({TORCH_ZIP, TFLITE}),
    }
)

# First bytes → what a person would call it. The first that fits wins; text is looked at afterwards.
_SIGNATURES: Sequence[tuple[bytes, str]] = (
    (b"PK\x03\x04", TORCH_ZIP),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x7fELF", "a Linux executable"),
    (b"\xfe\xed\xfa\xce", "a macOS executable"),
    (b"\xfe\xed\xfa\xcf", "a macOS executable"),
    (b"\xce\xfa\xed\xfe", "a macOS executable"),
    (b"\xcf\xfa\xed\xfe", "a macOS executable"),
    (b"\xca\xfe\xba\xbe", "a macOS executable or Java class"),
    (b"MZ", "a Windows executable"),
    (b"#!", "a script"),
    (b"\0asm", "a WebAssembly program"),
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"RIFF", "a RIFF file (WebP image, WAV or AVI)"),
    (b"\x1f\x8b", "gzip-compressed data"),
    (b"BZh", "bzip2-compressed data"),
    (b"\xfd7zXZ\0", "xz-compressed data"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed data"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"%PDF", "a PDF document"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file that it stands for"),
)

_MARKUP_CHARS = 4096
_HTML = re.compile(r"<!doctype\s+html|<(html|head|body|script|title|meta|iframe)[\s>]", re.IGNORECASE)
_GGUF_VERSIONS = frozenset({1, 2, 3})
_PICKLE_START = re.compile(rb"\x80[\x02-\x05][^\0]")
# ONNX is a protobuf ModelProto (onnx.proto): field 1 is ir_version, a small varint; then comes field 2–8, 14, 20 or 25.
_ONNX_START = re.compile(rb"\x08[\x01-\x20](\x12|\x1a|\x22|\x28|\x32|\x3a|\x42|\x72|\xa2\x01|\xca\x01)")


class FiletypeVerifier:
    """The same look as `inspect_head`, at the file as it lies on the disk."""

    name = "filetype"

    def examine(self, specimen: Specimen, leash: Leash) -> Evidence:
        """Raises Rejected (html, wrong_type), LostClaim, or TryLater, GiveUp (storage)."""
        leash.check()
        with reading(specimen) as file:
            head = file.read(HEAD_BYTES)
        filename, content = specimen.wanted.expected_filename, content_of(head)
        told = specimen.file.content_type
        facts = {
            "content": content,
            "extension": _extension(filename),
            "libmagic": libmagic_says(head),
            "content_type_header": None if told is None else safe_text(told, max_chars=100),
        }
        trouble = _objection(filename, head, content)
        if trouble is not None:
            raise Rejected(*trouble, evidence=facts)
        return Evidence(self.name, facts)


def inspect_head(filename: str) -> Inspect:
    """A look at the first bytes (at most 64 KiB) of what is to become `filename`, before the rest may come.

    The look raises Rejected(html | wrong_type), saying what was found; TryLater(storage), see `libmagic_says`.
    """

    def inspect(head: bytes) -> None:
        if len(head) < MIN_MODEL_BYTES:
            return  # too little to judge; the whole file is looked at again before it is placed
        content = content_of(head[:HEAD_BYTES])
        trouble = _objection(filename, head[:HEAD_BYTES], content)
        if trouble is not None:
            raise Rejected(*trouble, evidence={"content": content})

    return inspect


def content_of(head: bytes) -> str:
    """One of the model contents above, else a short description of what it is instead.

    Raises TryLater(storage), see `libmagic_says`.
    """
    if not head:
        return "an empty file"
    if _is_safetensors(head):
        return SAFETENSORS
    known = next((what for sign, what in _SIGNATURES if head.startswith(sign)), None)
    if known is not None:
        return known
    if _PICKLE_START.match(head):
        return PICKLE
    if head.startswith(b"GGUF"):
        return GGUF if int.from_bytes(head[4:8], "little") in _GGUF_VERSIONS else "a GGUF file of unknown version"
    if head[4:8] == b"TFL3":
        return TFLITE
    return _text(head) or _onnx(head) or _foreign(head)


def libmagic_says(head: bytes) -> str:
    """libmagic's MIME type, for example `application/octet-stream`.

    Raises TryLater(storage) where its database cannot be opened, which happens at the first question.
    """
    return _second_opinion(head, mime=True)


def _second_opinion(head: bytes, *, mime: bool) -> str:
    """One handle, one thread at a time. Bytes that libmagic fails at are nothing that it knows; a database that it
    cannot open says nothing of the bytes. Raises TryLater(storage)."""
    with _MAGIC_LOCK:
        try:
            handle = _magic(mime)
        except magic.MagicException as error:
            message = f"libmagic cannot open its database: {_told(error)}"
            raise TryLater(Code.STORAGE, message, hint=_NO_DATABASE_HINT) from error
        try:
            return safe_text(handle.from_buffer(head[:HEAD_BYTES]), max_chars=100)
        except magic.MagicException as error:
            return f"libmagic fails at it: {_told(error)}"


_NO_DATABASE_HINT = (
    "raise the worker's limit of open files (ulimit -n) if there are too many; else install pylibmagic anew; "
    "the worker tries again by itself"
)
_MAGIC_LOCK = threading.Lock()


@lru_cache(maxsize=2)
def _magic(mime: bool) -> magic.Magic:
    """Only under the lock: a libmagic handle keeps its state between calls and belongs to one thread at a time."""
    return magic.Magic(mime=mime, magic_file=str(pylibmagic.data.joinpath("magic.mgc")))


def _told(error: magic.MagicException) -> str:
    """python-magic hands libmagic's own words on as they are, as bytes; the number of the error is lost there."""
    words = error.message
    return safe_text(words.decode("utf-8", "replace") if isinstance(words, bytes) else str(words), max_chars=200)


def _objection(filename: str, head: bytes, content: str) -> tuple[Code, str] | None:
    """Code and message when this content cannot have this name."""
    extension = _extension(filename)
    if content in _CONTENTS.get(extension, frozenset()):
        return None
    if content == HTML_PAGE:
        return Code.HTML, f"{filename} is an HTML page, not a model{_title(head)}"
    return Code.WRONG_TYPE, f"{filename} should be {_expected(extension)}, but it is {_named(content)}"


def _expected(extension: str) -> str:
    wanted = sorted(_CONTENTS.get(extension, frozenset()))
    return " or ".join(map(_named, wanted)) or f"a model, and {extension or 'no extension'} is none of theirs"


def _named(content: str) -> str:
    return _WITH_ARTICLE.get(content, content)


def _extension(filename: str) -> str:
    return PurePosixPath(filename).suffix.lower()


def _is_safetensors(head: bytes) -> bool:
    """Eight bytes of little-endian header length, then the header, which begins with a brace.

    This is asked before all two- and three-byte signatures, because such a length may look like one of them. Only a zip
    goes first: its signature would be a header of 67 MB, which nobody has.
    """
    return (
        not head.startswith(b"PK")
        and 2 <= int.from_bytes(head[:8], "little") <= MAX_SAFETENSORS_HEADER_BYTES
        and head[8:9] == b"{"
    )


def _text(head: bytes) -> str | None:
    text = _decoded(head)
    if text is None:
        return None
    start = text.lstrip("\ufeff \t\r\n")[:_MARKUP_CHARS]
    if start.startswith("<"):
        if _HTML.search(start):
            return HTML_PAGE
        return "an XML document" if start.startswith("<?xml") else "a text file with markup"
    if start.startswith(("{", "[")):
        return "a JSON document"
    return "plain text"


def _decoded(head: bytes) -> str | None:
    """The beginning as text, if that is what it is: UTF-8 or UTF-16 without control characters."""
    piece = head[:_MARKUP_CHARS]
    encoding = "utf-16" if piece.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8"
    text = piece.decode(encoding, errors="ignore")
    damaged = len(piece) - len(text.encode(encoding)) > 3  # a character may be cut in two at the end
    if damaged or any(char < " " and char not in "\t\r\n\f" for char in text):
        return _decoded_markup(piece)
    return text


def _decoded_markup(piece: bytes) -> str | None:
    """A page in an old encoding is a page all the same."""
    text = piece.decode("latin-1").lstrip()
    return text if text.startswith("<") and _HTML.search(text) else None


def _onnx(head: bytes) -> str | None:
    if not _ONNX_START.match(head) or libmagic_says(head) != "application/octet-stream":
        return None
    return ONNX


def _foreign(head: bytes) -> str:
    if not head.strip(b"\0"):
        return "nothing but zero bytes"
    described = _second_opinion(head, mime=False)
    return "unknown data" if described == "data" else f"something else ({described})"


def _title(head: bytes) -> str:
    found = re.search(rb"<title[^>]{0,200}>([^<]{1,300})", head[:HEAD_BYTES], re.IGNORECASE)
    return f" (“{safe_text(found[1].decode('utf-8', 'replace').strip(), max_chars=100)}”)" if found else ""

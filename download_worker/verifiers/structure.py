"""Is the inside of the file what its format says? Proven for safetensors, looked at for GGUF, not examined for others.

“Not examined” is said as such in the evidence, and the rubric draws the conclusion from it: nothing is unpickled or
unpacked here or anywhere else.
"""

from __future__ import annotations

import os
import struct
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import safetensors

from download_worker.errors import Code
from download_worker.leash import Leash
from download_worker.text import safe_text
from download_worker.verifiers.filetype import GGUF, SAFETENSORS, content_of
from download_worker.verifiers.reading import reading
from download_worker.verifiers.safetensors_file import LENGTH_BYTES, Broken, Header, header_length, parse_header
from download_worker.verifiers.verifier import Evidence, Rejected, Specimen

SHOWN_TENSORS = 12
SHOWN_METADATA = 16
SHOWN_CHARS = 120
HEAD_BYTES = 512
_GGUF_HEADER = struct.Struct("<4sIQQ")
_GGUF_VERSIONS = frozenset({2, 3})
# The least that a tensor description and a metadata pair take in a GGUF 2 or 3 file (docs/gguf.md in ggml).
_GGUF_TENSOR_BYTES, _GGUF_PAIR_BYTES = 24, 13


class StructureVerifier:
    name = "structure"

    def examine(self, specimen: Specimen, leash: Leash) -> Evidence:
        """Raises Rejected(broken_structure) naming the rule, LostClaim, GiveUp(storage) or Interrupted."""
        leash.check()
        filename = specimen.wanted.expected_filename
        with reading(specimen) as file:
            content = content_of(file.read(HEAD_BYTES))
            file.seek(0)
            try:
                facts = _facts(content, file)
            except Broken as rule:
                reason = f"{filename} is broken: {rule}"
                raise Rejected(Code.BROKEN_STRUCTURE, reason, evidence={"format": content, "rule": str(rule)}) from rule
        return Evidence(self.name, facts)


def _facts(content: str, file: BinaryIO) -> dict[str, Any]:
    size = os.fstat(file.fileno()).st_size
    if content == SAFETENSORS:
        header = _safetensors_header(file, size)
        _check_with_library(Path(file.name), header)
        return {"format": content, "examined": "whole", **_header_facts(header)}
    if content == GGUF:
        return {"format": content, "examined": "header only", **_gguf_facts(file, size)}
    return {"format": content, "examined": "not examined"}


def _safetensors_header(file: BinaryIO, size: int) -> Header:
    length = header_length(file.read(LENGTH_BYTES), size)
    return parse_header(file.read(length), size)


def _check_with_library(path: Path, header: Header) -> None:
    """Two readers must agree. The library reads and checks the header before it looks for the framework that would hold
    the tensors, so that numpy need not be there (safetensors 0.8.0; a test holds it to that)."""
    try:
        with safetensors.safe_open(path, framework="numpy") as opened:
            names = set(opened.keys())
    except ModuleNotFoundError:
        return
    except safetensors.SafetensorError as error:
        raise Broken(f"the safetensors library cannot read it: {safe_text(error, max_chars=300)}") from error
    if names != {tensor.name for tensor in header.tensors}:
        raise Broken("the safetensors library sees other tensors in it")


def _header_facts(header: Header) -> dict[str, Any]:
    return {
        "tensors": len(header.tensors),
        "parameters": header.parameters,
        "dtypes": header.dtypes,
        "first_tensors": [
            {"name": _shown(tensor.name), "dtype": tensor.dtype, "shape": list(tensor.shape[:8])}
            for tensor in header.tensors[:SHOWN_TENSORS]
        ],
        "metadata_keys": len(header.metadata),
        "metadata": {_shown(key): _shown(text) for key, text in islice(header.metadata.items(), SHOWN_METADATA)},
        "library": f"safetensors {safetensors.__version__}",
    }


def _gguf_facts(file: BinaryIO, size: int) -> dict[str, Any]:
    raw = file.read(_GGUF_HEADER.size)
    if len(raw) < _GGUF_HEADER.size:
        raise Broken("the GGUF header is cut short")
    _magic, version, tensors, pairs = _GGUF_HEADER.unpack(raw)
    if version not in _GGUF_VERSIONS:
        raise Broken(f"GGUF version {version} is unknown")
    if tensors * _GGUF_TENSOR_BYTES + pairs * _GGUF_PAIR_BYTES > size - len(raw):
        raise Broken(f"{tensors} tensors and {pairs} metadata pairs do not fit into {size} bytes")
    return {"version": version, "tensors": tensors, "metadata_keys": pairs}


def _shown(text: str) -> str:
    return safe_text(text, max_chars=SHOWN_CHARS)

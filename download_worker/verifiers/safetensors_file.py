"""Is a safetensors file sound inside? Its header is read strictly by us and once more by the library.

Other formats are not examined yet, and the evidence says so; the rubric draws its conclusion from that. Nothing is
unpickled or unpacked, here or anywhere else.
"""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import safetensors

from download_worker.errors import Code, TryLater
from download_worker.leash import Leash
from download_worker.text import safe_text
from download_worker.verifiers.reading import reading
from download_worker.verifiers.safetensors_header import LENGTH_BYTES, Broken, Header, header_length, parse_header
from download_worker.verifiers.verifier import Evidence, Rejected, Specimen

SHOWN_TENSORS = 12
SHOWN_METADATA = 16
SHOWN_CHARS = 120
EXTENSIONS = (".safetensors", ".sft")


class SafetensorsVerifier:
    name = "structure"

    def examine(self, specimen: Specimen, leash: Leash) -> Evidence:
        """Raises Rejected(broken_structure) naming the rule, LostClaim, TryLater, GiveUp (storage) or Interrupted."""
        leash.check()
        filename = specimen.wanted.expected_filename
        if not filename.lower().endswith(EXTENSIONS):
            return Evidence(self.name, {"examined": "not examined"})
        with reading(specimen) as file:
            try:
                header = _own_reading(file)
                _library_reading(specimen.file.path, header)
            except Broken as rule:
                facts = {"format": "safetensors", "rule": str(rule)}
                raise Rejected(Code.BROKEN_STRUCTURE, f"{filename} is broken: {rule}", evidence=facts) from rule
        return Evidence(self.name, {"examined": "whole", "format": "safetensors", **_facts(header)})


def _own_reading(file: BinaryIO) -> Header:
    size = os.fstat(file.fileno()).st_size
    length = header_length(file.read(LENGTH_BYTES), size)
    return parse_header(file.read(length), size)


def _library_reading(path: Path, header: Header) -> None:
    """Two readers must agree. The library reads and checks the header before it looks for the framework that would hold
    the tensors, so that numpy need not be there (safetensors 0.8.0; a test holds it to that). It says “no such file”
    of every file that it cannot open, whatever the reason was.

    Raises Broken, TryLater(storage), OSError.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as opened:
            names = set(opened.keys())
    except ModuleNotFoundError:
        return
    except OSError as error:
        with path.open("rb"):  # raises the true reason, if it is one still
            raise TryLater(Code.STORAGE, f"the safetensors library could not open {path}") from error
    except safetensors.SafetensorError as error:
        raise Broken(f"the safetensors library cannot read it: {safe_text(error, max_chars=300)}") from error
    if names != {tensor.name for tensor in header.tensors}:
        raise Broken("the safetensors library sees other tensors in it")


def _facts(header: Header) -> dict[str, Any]:
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


def _shown(text: str) -> str:
    """Cut before and after, because one invisible character becomes eight visible ones."""
    return safe_text(text, max_chars=SHOWN_CHARS)[: 2 * SHOWN_CHARS]

"""What a language model is shown: bounded, escaped JSON facts, and the three values that its answer must echo.

Nothing raw: no bytes of the file, no query of a URL, no secret. The same facts always make the same document, whose
digest is in the verdict; the nonce is not part of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

from download_worker.text import safe_text
from download_worker.verifiers.verifier import Evidence, Specimen

MAX_EVIDENCE_BYTES = 15 * 1024
"""With nonce, job id and digest around it, the whole document stays under 16 KiB."""
MAX_DEPTH = 4
# Longest text in characters, most items of a list or table: the first pair whose document fits is used.
_CAPS = ((240, 64), (120, 24), (60, 8), (24, 3), (8, 1))

Facts = tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Question:
    """One judgement asked of a model. An answer that does not echo all three values belongs to another question."""

    nonce: str
    job_id: str
    sha256: str
    evidence: Facts

    def document(self) -> str:
        """ASCII JSON of at most 16 KiB: whatever is not plain text arrives as an escape."""
        echoed = {"nonce": self.nonce, "job_id": self.job_id, "sha256": self.sha256}
        return json.dumps(echoed | {"evidence": self.evidence})


def gathered(specimen: Specimen, evidence: Sequence[Evidence], redact: Callable[[str], str]) -> Facts:
    """The request and what each step found, shortened evenly until they fit into `MAX_EVIDENCE_BYTES`."""
    whole = (_request(specimen), *(step.document() for step in evidence))
    bounded: Facts = ()
    for max_chars, max_items in _CAPS:
        bounded = tuple(_bounded(facts, max_chars, max_items, redact) for facts in whole)
        if len(canonical(bounded)) <= MAX_EVIDENCE_BYTES:
            break
    return bounded


def canonical(facts: Facts) -> bytes:
    """The one form in which facts are digested."""
    return json.dumps(facts, sort_keys=True, separators=(",", ":")).encode("ascii")


def digest_of(facts: Facts) -> str:
    return hashlib.sha256(canonical(facts)).hexdigest()


def _request(specimen: Specimen) -> dict[str, Any]:
    wanted, file = specimen.wanted, specimen.file
    return {
        "step": "request",
        "filename": wanted.expected_filename,
        "model_type": wanted.model_type,
        "subfolder": wanted.subfolder,
        "named_by": wanted.source,
        "asked_of": _place(wanted.download_url),
        "came_from": _place(file.origin),
    }


def _place(url: str) -> dict[str, str | None]:
    """Scheme, host and path; a query may carry a signature, and says nothing about the file."""
    try:
        parts = urlsplit(url)
        return {"scheme": parts.scheme, "host": parts.hostname, "path": parts.path}
    except ValueError:
        return {"scheme": None, "host": None, "path": None}


def _bounded(facts: Mapping[str, Any], max_chars: int, max_items: int, redact: Callable[[str], str]) -> dict[str, Any]:
    def shown(text: object) -> str:
        return safe_text(redact(str(text)), max_chars=max_chars)

    def bound(value: object, depth: int) -> Any:
        if value is None or isinstance(value, (bool, int, float)):
            return value
        if not isinstance(value, (Mapping, list, tuple)):
            return shown(value)
        if depth == 0:
            return "…"
        if isinstance(value, Mapping):
            return {shown(key): bound(item, depth - 1) for key, item in islice(value.items(), max_items)}
        return [bound(item, depth - 1) for item in islice(value, max_items)]

    # The outermost table is ours, and the names of its facts stay whole.
    return {key: bound(value, MAX_DEPTH) for key, value in facts.items()}

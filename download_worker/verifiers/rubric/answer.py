"""What of a model's answer counts: exactly one JSON object of exactly this shape, and nothing around it. Pure.

Whatever else comes (prose, a code fence, two objects, a key twice, another enum) is no verdict. A lenient reader would
let a file name decide which of two answers is read.
"""

from __future__ import annotations

import hmac
import json
from dataclasses import dataclass
from typing import Any, Literal

from download_worker.text import safe_text
from download_worker.verifiers.rubric.evidence import Question

MAX_ANSWER_CHARS = 16 * 1024
MAX_REASON_BYTES = 2_000
_KEYS = frozenset({"nonce", "job_id", "sha256", "verdict", "reason"})

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "nonce": {"type": "string"},
        "job_id": {"type": "string"},
        "sha256": {"type": "string"},
        "verdict": {"type": "string", "enum": ["VERIFIED", "REJECTED"]},
        "reason": {"type": "string"},
    },
    "required": ["nonce", "job_id", "sha256", "verdict", "reason"],
    "additionalProperties": False,
}


class Unusable(Exception):
    """No verdict can be read from this answer. The message says why, in words of our own."""


@dataclass(frozen=True)
class Answer:
    verdict: Literal["VERIFIED", "REJECTED"]
    reason: str


def read_answer(content: str, question: Question) -> Answer:
    """The verdict that this text is. Raises Unusable."""
    document = _one_object(content)
    if document.keys() != _KEYS:
        raise Unusable(f"the keys must be exactly {', '.join(sorted(_KEYS))}")
    for key, expected in (("nonce", question.nonce), ("job_id", question.job_id), ("sha256", question.sha256)):
        told = document[key]
        if not isinstance(told, str) or not hmac.compare_digest(told.encode("utf-8", "replace"), expected.encode()):
            raise Unusable(f"{key} is not the one of this question")
    verdict = document["verdict"]
    if verdict not in ("VERIFIED", "REJECTED"):
        raise Unusable("verdict must be VERIFIED or REJECTED")
    return Answer(verdict, _reason(document["reason"]))


def _one_object(content: str) -> dict[str, Any]:
    text = content.strip(" \t\r\n")
    if len(text) > MAX_ANSWER_CHARS:
        raise Unusable(f"it is longer than {MAX_ANSWER_CHARS} characters")
    if not text.startswith("{"):
        raise Unusable("it does not begin with a JSON object")
    try:
        document: dict[str, Any] = STRICT.decode(text)
    except (ValueError, RecursionError) as error:
        raise Unusable("it is not exactly one JSON object") from error
    return document


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise Unusable("it has a key twice")
    return table


def _no_constant(name: str) -> float:
    raise Unusable(f"{name} is no JSON")


STRICT = json.JSONDecoder(object_pairs_hook=_without_duplicates, parse_constant=_no_constant)
"""Raises Unusable for what one reader would understand in another way than the next; ValueError for no JSON."""


def _reason(told: object) -> str:
    if not isinstance(told, str) or not told.strip():
        raise Unusable("reason must be a text")
    if len(told.encode("utf-8", "replace")) > MAX_REASON_BYTES:
        raise Unusable(f"reason is longer than {MAX_REASON_BYTES} bytes")
    if "\0" in told:
        raise Unusable("reason has a NUL character")
    return safe_text(told.strip())

"""What a model's words count for: one search of a known kind, or one conclusion; anything else is unusable. Pure.

The protocol is JSON in plain chat, because many endpoints know no function calling. Where an endpoint cannot be held to
JSON either, its thoughts, a code fence or some prose around the one object are passed over; the nonce of this turn must
be in it, so that no text that a search brought along can be taken for the model's own answer.
"""

from __future__ import annotations

import hmac
import json
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from download_worker.text import safe_text
from download_worker.verifiers.rubric.answer import STRICT, Unusable

MAX_SAID_CHARS = 32 * 1024
MAX_QUERY_CHARS = 120
MAX_PICKS = 8
MAX_URL_CHARS = 1_000
MAX_REASON_CHARS = 300


class Tool(StrEnum):
    SEARCH_HUGGING_FACE = "search_hugging_face"
    LIST_HUGGING_FACE_REPO = "list_hugging_face_repo"
    SEARCH_CIVITAI = "search_civitai"
    WEB_SEARCH = "web_search"


class Status(StrEnum):
    FOUND = "FOUND"
    UNCERTAIN = "UNCERTAIN"
    NOT_FOUND = "NOT_FOUND"


# Civitai's ModelType (developer.civitai.com/site/reference/enums, 2026), as far as ComfyUI loads files of it.
CIVITAI_TYPES = frozenset(
    {"Checkpoint", "TextualInversion", "Hypernetwork", "LORA", "LoCon", "DoRA", "Controlnet", "Upscaler"}
    | {"MotionModule", "VAE", "Detection", "Other"}
)
ANSWER = "answer"
REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}\Z", re.ASCII)
_THOUGHTS = re.compile(r"\A\s*<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL)
_ADDRESS = re.compile(r"(?i)\b(?:[a-z][a-z0-9+.-]*://|www\.)\S+")


@dataclass(frozen=True, slots=True)
class Call:
    """One search. `type` is one of `CIVITAI_TYPES` or empty, and only for Civitai."""

    tool: Tool
    query: str
    type: str = ""

    def document(self, nonce: str) -> str:
        """As the model should have written it."""
        return json.dumps({"nonce": nonce, "action": self.tool, "query": self.query, "type": self.type})


class Pick(NamedTuple):
    """A place that the model names; nothing says yet that there is such a place."""

    url: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Conclusion:
    """`reason` is the model's own, in safe text; an address in it is no address any more."""

    status: Status
    picks: tuple[Pick, ...]
    reason: str


def schema(tools: frozenset[Tool]) -> dict[str, Any]:
    """For `response_format`. Strict backends want every key required and know no optional ones: empty stands in."""
    text = {"type": "string"}
    pick = {"url": text, "confidence": {"type": "number"}}
    keys = {
        "nonce": text,
        "action": {"type": "string", "enum": [*sorted(tools), ANSWER]},
        "query": text,
        "type": {"type": "string", "enum": ["", *sorted(CIVITAI_TYPES)]},
        "status": {"type": "string", "enum": ["", *Status]},
        "candidates": {"type": "array", "items": _object(pick)},
        "reason": text,
    }
    return _object(keys)


def _object(keys: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": keys, "required": list(keys), "additionalProperties": False}


def read_action(said: str, nonce: str, tools: frozenset[Tool]) -> Call | Conclusion:
    """Raises Unusable, which says what is wrong in words that may go back to the model."""
    document = _one_object(said)
    told = document.get("nonce")
    if not isinstance(told, str) or not hmac.compare_digest(told.encode("utf-8", "replace"), nonce.encode()):
        raise Unusable("nonce is not the one of this turn")
    action = document.get("action")
    if action == ANSWER:
        return _conclusion(document)
    if not isinstance(action, str) or action not in tools:
        raise Unusable(f"action must be one of {', '.join([*sorted(tools), ANSWER])}")
    return _call(Tool(action), document)


def _one_object(said: str) -> dict[str, Any]:
    if len(said) > MAX_SAID_CHARS:
        raise Unusable(f"it is longer than {MAX_SAID_CHARS} characters")
    text = _THOUGHTS.sub("", said)
    start = text.find("{")
    if start < 0:
        raise Unusable("there is no JSON object in it")
    try:
        document, end = STRICT.raw_decode(text, start)
    except (ValueError, RecursionError) as error:
        raise Unusable("it is not one whole JSON object") from error
    if "{" in text[end:]:
        raise Unusable("there is more than one JSON object in it")
    return dict(document)


def _call(tool: Tool, document: dict[str, Any]) -> Call:
    query, kind = document.get("query"), document.get("type") or ""
    if not isinstance(query, str) or not query.strip():
        raise Unusable("query must be a text that is not empty")
    query = " ".join(query.split())
    if len(query) > MAX_QUERY_CHARS or not query.isprintable():
        raise Unusable(f"query must be one plain line of at most {MAX_QUERY_CHARS} characters")
    if tool is Tool.LIST_HUGGING_FACE_REPO and not REPO.match(query):
        raise Unusable("query must be a repository as owner/name")
    if tool is not Tool.SEARCH_CIVITAI:
        return Call(tool, query)
    if not isinstance(kind, str) or (kind and kind not in CIVITAI_TYPES):
        raise Unusable(f"type must be empty or one of {', '.join(sorted(CIVITAI_TYPES))}")
    return Call(tool, query, kind)


def _conclusion(document: dict[str, Any]) -> Conclusion:
    status, picks, reason = document.get("status"), document.get("candidates", []), document.get("reason", "")
    if not isinstance(status, str) or status not in set(Status):
        raise Unusable("status must be FOUND, UNCERTAIN or NOT_FOUND")
    if not isinstance(picks, list) or not isinstance(reason, str):
        raise Unusable("candidates must be a list, and reason a text")
    if len(picks) > MAX_PICKS:
        raise Unusable(f"there may be at most {MAX_PICKS} candidates")
    named = tuple(map(_pick, picks))
    if status == Status.FOUND and not named:
        raise Unusable("FOUND needs a candidate")
    return Conclusion(Status(status), named, plain(reason, MAX_REASON_CHARS))


def _pick(told: object) -> Pick:
    if not isinstance(told, dict):
        raise Unusable("a candidate must be an object with url and confidence")
    url, confidence = told.get("url"), told.get("confidence", 0.0)
    if not isinstance(url, str) or len(url) > MAX_URL_CHARS:
        raise Unusable("the url of a candidate must be copied from a result")
    if isinstance(confidence, bool) or not isinstance(confidence, int | float) or not 0 <= confidence <= 1:
        raise Unusable("confidence must be a number from 0 to 1")
    return Pick(url.strip(), float(confidence))


def plain(text: str, max_chars: int) -> str:
    """Foreign prose as one safe line in which no address is left for anybody to follow."""
    return safe_text(_ADDRESS.sub("[address]", " ".join(text.split())), max_chars=max_chars)

"""The conversation about one model file: a turn is one search or the end, and there are few turns.

A model that cannot be understood is told once why; the second time the conversation is over. Nothing that it says can
lengthen it, and nothing that a search brings is ever an instruction: results are values in a JSON document.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from time import monotonic
from typing import NamedTuple, Protocol

from loguru import logger

from comfy_doctor.resolvers.agent.actions import Conclusion, read_action
from comfy_doctor.resolvers.agent.desk import Desk, Facts
from download_worker.leash import Leash
from download_worker.text import safe_text
from download_worker.verifiers.rubric.answer import Unusable
from download_worker.verifiers.rubric.prompt import versioned_prompt

PROMPT = "search_agent_prompt.txt"
MAX_TURNS = 8
"""Of the model, repairs included. A turn is at most one search, so there are fewer searches than turns."""
MAX_ANSWERS_OF_TIME = 3
"""One need may take as long as this many slow answers, its searches included."""
ECHOED_CHARS = 1_000

Message = dict[str, str]


class Speaker(Protocol):
    """A language model, as far as a conversation needs one."""

    def ask(self, messages: Sequence[Message], leash: Leash, deadline: float, *, simpler: bool = False) -> str:
        """Raises Unusable, TryLater (the endpoint failed), Interrupted."""
        ...


class Ending(NamedTuple):
    """How a conversation ended; without a conclusion, `why` says in our words what went wrong."""

    conclusion: Conclusion | None
    why: str = ""


def converse(
    wanted: Facts, desk: Desk, model: Speaker, leash: Leash, answer_seconds: float, nonce: Callable[[], str]
) -> Ending:
    """Raises TryLater where the endpoint failed, and Interrupted."""
    messages: list[Message] = [{"role": "system", "content": versioned_prompt(PROMPT).text}]
    end = monotonic() + MAX_ANSWERS_OF_TIME * answer_seconds
    facts: Facts = {"wanted": wanted, "tools": sorted(desk.tools)}
    repaired = False
    for left in reversed(range(MAX_TURNS)):
        if monotonic() >= end:
            return Ending(None, "its time was up")
        sign, said = nonce(), ""
        messages.append(_user({"nonce": sign, "turns_left": left} | facts))
        try:
            said = model.ask(messages, leash, min(end, monotonic() + answer_seconds), simpler=repaired)
            action = read_action(said, sign, desk.tools)
        except Unusable as error:
            if repaired:
                return Ending(None, f"it gave no usable answer twice: {error}")
            logger.debug("the agent gave no usable answer ({}); asking once more", error)
            repaired = True
            messages.append(_assistant(safe_text(said, max_chars=ECHOED_CHARS) or "(nothing)"))
            facts = {"complaint": f"That answer cannot be used: {error}. Reply with one JSON object as described."}
            continue
        if isinstance(action, Conclusion):
            return Ending(action)
        messages.append(_assistant(action.document(sign)))
        facts = desk.use(action, leash) if left else {}
    return Ending(None, f"it came to no end in {MAX_TURNS} turns")


def _user(document: Facts) -> Message:
    """ASCII JSON: whatever is not plain text arrives as an escape."""
    return {"role": "user", "content": json.dumps(document)}


def _assistant(text: str) -> Message:
    return {"role": "assistant", "content": text}

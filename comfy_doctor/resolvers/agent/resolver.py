"""The agent as a resolver: some models side by side, bounded in time, and silent hosts are asked no further.

It is simply not there without a configured language model. An endpoint that failed twice in a row fails for the rest
of the look, too: every answer says which host it was, and "could not look" is never shown as "not found".
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue
from time import monotonic

from loguru import logger

from comfy_doctor.needs import Key
from comfy_doctor.resolvers.agent.actions import schema
from comfy_doctor.resolvers.agent.conversation import Speaker, converse
from comfy_doctor.resolvers.agent.desk import Desk, wanted_facts
from comfy_doctor.resolvers.agent.outcome import answer_of
from comfy_doctor.resolvers.agent.searches import Searches
from comfy_doctor.resolvers.resolver import Answer, Quest, Word
from download_worker.clock import Clock, SystemClock
from download_worker.errors import Trouble
from download_worker.leash import Leash
from download_worker.settings import Settings
from download_worker.text import Redactor, safe_text

AT_ONCE = 3
LOOK_SECONDS = 1_800.0
MAX_TROUBLES_IN_A_ROW = 2


def agent_of(settings: Settings, searches: Searches, *, offline: bool = False) -> Agent | None:
    """The agent, where a language model is configured and the network may be asked."""
    reachable = settings.openai_base_url is not None or settings.openai_api_key is not None
    return Agent(settings, searches) if settings.llm_model and reachable and not offline else None


class Agent:
    """Implements `Resolver`. What it proposes is never fetched unasked (`outcome.MAX_CONFIDENCE`)."""

    name = "agent"
    search = True

    def __init__(
        self,
        settings: Settings,
        searches: Searches,
        *,
        clock: Clock | None = None,
        nonce: Callable[[], str] = lambda: secrets.token_hex(8),
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._settings = settings
        self._searches = searches
        self._clock = clock or SystemClock()
        self._nonce = nonce
        self._look_seconds = look_seconds
        self._redact = Redactor(settings.secrets())

    def look(self, quests: Sequence[Quest], leash: Leash) -> Mapping[Key, Answer]:
        """Raises Interrupted."""
        if not quests:
            return {}
        round_ = _Round(quests, monotonic() + self._look_seconds)
        hands = min(AT_ONCE, len(quests))
        with ThreadPoolExecutor(hands, thread_name_prefix="agent") as pool:
            try:
                for hand in [pool.submit(self._work, round_, leash) for _ in range(hands)]:
                    hand.result()
            except KeyboardInterrupt:
                leash.pull()  # the hands hear of it too, and nobody waits for a silent model
                raise
        return round_.answers

    def _work(self, round_: _Round, leash: Leash) -> None:
        model = self._model()
        while (quest := round_.next()) is not None:
            leash.check()
            round_.answers[quest.need.key] = self._answered(quest, model, round_, leash)

    def _answered(self, quest: Quest, model: Speaker, round_: _Round, leash: Leash) -> Answer:
        obstacle = round_.obstacle
        if obstacle is not None:
            return Answer(Word.COULD_NOT_LOOK, why=obstacle)
        desk = Desk(quest.need.filename, self._searches, self._redact)
        try:
            wanted = wanted_facts(quest, self._redact)
            ending = converse(wanted, desk, model, leash, self._settings.llm_timeout_seconds, self._nonce)
        except Trouble as trouble:
            logger.warning(
                "{}; the agent looks for {} when asked again", trouble.message, safe_text(quest.need.filename)
            )
            round_.troubles.append(trouble.message)
            return Answer(Word.COULD_NOT_LOOK, why=trouble.message)
        round_.troubles.clear()
        answer = answer_of(quest, ending, desk, self._redact)
        logger.info("the agent about {}: {} ({})", safe_text(quest.need.filename), answer.word, answer.why)
        return answer

    def _model(self) -> Speaker:
        """One for each hand, because it learns what its endpoint refuses."""
        from download_worker.verifiers.rubric.model import LanguageModel  # noqa: PLC0415 - openai: a second's work

        tools = Desk("", self._searches, self._redact).tools
        return LanguageModel(self._settings, self._clock, name="action", schema=schema(tools))


class _Round:
    """One look, shared by its hands. `troubles` are those of the endpoint since it last answered."""

    def __init__(self, quests: Sequence[Quest], end: float) -> None:
        self._left: SimpleQueue[Quest] = SimpleQueue()
        for quest in quests:
            self._left.put(quest)
        self._end = end
        self.troubles: list[str] = []
        self.answers: dict[Key, Answer] = {}

    def next(self) -> Quest | None:
        try:
            return self._left.get_nowait()
        except Empty:
            return None

    @property
    def obstacle(self) -> str | None:
        """Why no further model is asked about."""
        if len(self.troubles) >= MAX_TROUBLES_IN_A_ROW:
            return self.troubles[0]
        return "the time of this look was used up by other models" if monotonic() >= self._end else None

"""A language model on the loopback: OpenAI-compatible, every answer written by the test; in time, late or never."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .connection import Connection
from .loopback import Loopback
from .messages import Reply, Request, text_reply

COMPLETIONS = "/v1/chat/completions"


@dataclass(frozen=True)
class Answer:
    """What the model says, after `delay_seconds`.

    `raw_body` replaces the whole body; `close` hangs up instead of answering, `held` never answers. With a status of
    400 or more, `content` is the message of an OpenAI error.
    """

    status: int = 200
    content: str | None = None
    refusal: str | None = None
    finish_reason: str = "stop"
    raw_body: bytes | str | None = None
    delay_seconds: float = 0.0
    close: bool = False
    held: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


def hold() -> Answer:
    """No answer until the stub is closed (or released, which hangs up)."""
    return Answer(held=True)


def verdict(**fields: object) -> Answer:
    """An answer whose content is this JSON object."""
    return Answer(content=json.dumps(fields))


def error(status: int, code: str | None, message: str, kind: str = "invalid_request_error", **headers: str) -> Answer:
    """An OpenAI error; header names may be written with underscores."""
    body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, raw_body=json.dumps(body), headers=told)


@dataclass(frozen=True)
class Asked:
    """One request as the model got it; `body` is the decoded JSON."""

    path: str
    headers: Mapping[str, str]
    body: Any


Script = Callable[[Any], Answer]


class LlmStub(Loopback):
    """`script` makes each answer from the JSON of the request, or is the one Answer to all; it may be changed."""

    def __init__(self, script: Script | Answer, port: int = 0) -> None:
        self.script = script
        self._asked: list[Asked] = []
        super().__init__(port)
        self.base_url = f"{self.base}/v1"

    @property
    def requests(self) -> list[Asked]:
        with self._changed:
            return list(self._asked)

    def _converse(self, connection: Connection) -> None:
        for request in connection.requests():
            if (request.method, request.path) != ("POST", COMPLETIONS):
                answer = error(404, None, f"Unknown request URL: {request.method} {request.path}.")
                connection.deliver(_reply(answer, None))
                continue
            body = _decoded(request)
            with self._changed:
                self._asked.append(Asked(request.path, request.headers, body))
                self._changed.notify_all()
            answer = self.script if isinstance(self.script, Answer) else self.script(body)
            if not self._give(connection, answer, body):
                return

    def _give(self, connection: Connection, answer: Answer, body: Any) -> bool:
        if answer.held:
            connection.stall()
            return False
        if self._closing.wait(answer.delay_seconds) or answer.close:
            return False
        return connection.deliver(_reply(answer, body))


def _decoded(request: Request) -> Any:
    try:
        return json.loads(request.body)
    except ValueError:
        return None


def _reply(answer: Answer, body: Any) -> Reply:
    text = json.dumps(_body(answer, body)) if answer.raw_body is None else answer.raw_body
    return text_reply(answer.status, text, *answer.headers.items(), kind="application/json")


def _body(answer: Answer, body: Any) -> dict[str, Any]:
    """The shapes that OpenAI sends (openai-python tests/lib/chat/test_completions.py, openapi.yaml ErrorResponse)."""
    if answer.status >= 400:
        message = answer.content or str(answer.status)
        return {"error": {"message": message, "type": "server_error", "param": None, "code": None}}
    said = {"role": "assistant", "content": answer.content, "refusal": answer.refusal}
    return {
        "id": "chatcmpl-stub",
        "object": "chat.completion",
        "created": 1727346143,
        "model": body.get("model", "stub") if isinstance(body, dict) else "stub",
        "choices": [{"index": 0, "message": said, "logprobs": None, "finish_reason": answer.finish_reason}],
        "usage": {"prompt_tokens": 79, "completion_tokens": 14, "total_tokens": 93},
        "system_fingerprint": None,
    }

"""The language model behind an OpenAI-compatible endpoint. Only this module loads openai, which takes a second.

Everything about an answer is bounded: its time by one deadline for all requests of a judgement, its body by bytes, its
encoding and redirects by refusing them. A request runs in a thread of its own, so that a pulled leash or the deadline
is felt at once, whatever a name server or a silent host does; such a thread ends by its own timeouts.
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any

import httpx2
import openai
from loguru import logger

from download_worker.clock import Clock
from download_worker.errors import Code, TryLater
from download_worker.leash import Leash
from download_worker.room import MORE_FILES, OUT_OF_DESCRIPTORS
from download_worker.settings import Settings
from download_worker.text import public_url, safe_text
from download_worker.threads import thread_errors
from download_worker.verifiers.rubric.answer import SCHEMA, Unusable
from download_worker.web.answers import retry_after_seconds

MAX_BODY_BYTES = 256 * 1024
OPENAI_HOME = "https://api.openai.com/v1"
_NO_KEY = "none"  # local servers need no key, but the client insists on one

_OBJECT_FORMAT = {"type": "json_object"}
_FORMAT_WORDS = ("response_format", "json_schema", "json_object", "guided", "structured output")
_REFUSES_A_PARAMETER = frozenset({400, 404, 422})
_KEY_HINT = "check OPENAI_API_KEY for OPENAI_BASE_URL; the file waits in staging"
_REDIRECT_HINT = "set OPENAI_BASE_URL to the final address; the file waits in staging"
_MODEL_HINT = "check COMFY_DOCTOR_LLM_MODEL and OPENAI_BASE_URL; the file waits in staging"

Message = dict[str, str]


class LanguageModel:
    """`schema` is what its answers must look like, as far as the endpoint can hold it to that."""

    def __init__(
        self, settings: Settings, clock: Clock, *, name: str = "verdict", schema: Mapping[str, Any] = SCHEMA
    ) -> None:
        if settings.llm_model is None:
            raise ValueError("no language model is configured")
        self.name = settings.llm_model
        self._settings = settings
        self._clock = clock
        self._base_url = settings.openai_base_url or OPENAI_HOME
        # What the endpoint has refused is not asked of it again.
        strict = {"type": "json_schema", "json_schema": {"name": name, "strict": True, "schema": schema}}
        self._formats: Sequence[dict[str, Any] | None] = (strict, _OBJECT_FORMAT, None)
        self._extras: dict[str, Any] = {"temperature": 0}

    def ask(self, messages: Sequence[Message], leash: Leash, deadline: float, *, simpler: bool = False) -> str:
        """The text of one answer. `deadline` is a reading of `time.monotonic`; `simpler` leaves the schema out.

        Raises:
            Unusable: an answer came, but there is no text in it. TryLater: no_verdict; storage, when too many files
            are open. Interrupted.
        """
        while True:
            form = self._formats[min(int(simpler), len(self._formats) - 1)]
            call = partial(self._complete, messages, form, self._extras, deadline)
            try:
                return _in_time(call, leash, deadline)
            except openai.APIStatusError as error:
                if not self._gave_way(error):
                    raise self._status_trouble(error) from error
            except openai.APIConnectionError as error:
                raise self._trouble(f"cannot be reached ({_cause(error)})") from error
            except (openai.OpenAIError, httpx2.InvalidURL) as error:
                raise self._trouble(f"failed ({type(error).__name__})") from error
            except TimeoutError as error:
                raise self._trouble(f"gave no answer within {self._settings.llm_timeout_seconds:g} s") from error
            except OSError as error:  # the certificates could not be read
                if error.errno in OUT_OF_DESCRIPTORS:
                    what = f"too many files are open to ask the language model {safe_text(self.name, max_chars=80)}"
                    raise TryLater(Code.STORAGE, what, hint=MORE_FILES) from error
                raise self._trouble(f"cannot be asked ({safe_text(error, max_chars=200)})") from error

    def _complete(
        self, messages: Sequence[Message], form: dict[str, Any] | None, extras: dict[str, Any], deadline: float
    ) -> str:
        body = extras if form is None else extras | {"response_format": form}
        with self._client(deadline) as client:
            raw = client.chat.completions.with_raw_response.create(
                model=self.name,
                messages=messages,  # type: ignore[arg-type]  # its TypedDicts, as plain tables
                extra_body=body,
            )
            return _content(raw.http_response.content)

    def _client(self, deadline: float) -> openai.OpenAI:
        left = max(0.001, deadline - monotonic())
        key = self._settings.openai_api_key
        http = openai.DefaultHttpxClient(
            timeout=httpx2.Timeout(left, connect=min(left, self._settings.connect_timeout_seconds)),
            follow_redirects=False,
            verify=_trusted(self._settings.use_environment_proxies),
            trust_env=self._settings.use_environment_proxies,
            event_hooks={"response": [lambda response: _bound(response, deadline)]},
        )
        return openai.OpenAI(
            api_key=_NO_KEY if key is None else key.get_secret_value(),
            base_url=self._base_url,
            max_retries=0,
            http_client=http,
            default_headers={"Accept-Encoding": "identity"},
        )

    def _gave_way(self, error: openai.APIStatusError) -> bool:
        """Whether the endpoint refuses something that we can do without, and is now asked without it."""
        if error.status_code not in _REFUSES_A_PARAMETER:
            return False
        told = error.response.text.lower()
        if "temperature" in told and self._extras:
            self._extras = {}
            return True
        if len(self._formats) > 1 and any(word in told for word in _FORMAT_WORDS):
            self._formats = self._formats[1:]
            logger.debug("{} refuses an answer format; asking for a simpler one", public_url(self._base_url))
            return True
        return False

    def _status_trouble(self, error: openai.APIStatusError) -> TryLater:
        status = error.status_code
        if status in (401, 403):
            return self._trouble(f"refuses our key ({status})", hint=_KEY_HINT)
        if status == 404:
            return self._trouble(f"knows no model “{safe_text(self.name, max_chars=80)}” (404)", hint=_MODEL_HINT)
        if 300 <= status < 400:
            return self._trouble(f"redirects ({status}), which is not followed", hint=_REDIRECT_HINT)
        told = {name.lower(): value for name, value in error.response.headers.items()}
        cap = self._settings.backoff_cap_seconds
        wait = retry_after_seconds(told, now=self._clock.now(), cap_seconds=cap)
        return self._trouble(f"answers {status}", retry_after_seconds=wait)

    def _trouble(self, what: str, **details: Any) -> TryLater:
        return TryLater(Code.NO_VERDICT, f"the language model at {public_url(self._base_url)} {what}", **details)


def _in_time(call: Callable[[], str], leash: Leash, deadline: float) -> str:
    """The result of `call`, run in a thread that is left alone when the leash or the deadline ends the wait.

    Raises TimeoutError, Interrupted, or what `call` raises.
    """
    box: SimpleQueue[str | Exception | None] = SimpleQueue()

    def run() -> None:
        try:
            box.put(call())
        except Exception as error:  # noqa: BLE001 - raised again by the one who waits
            box.put(error)

    with leash.cutting(lambda: box.put(None)):
        asking = threading.Thread(target=run, name="language model", daemon=True)
        with thread_errors():
            asking.start()
        try:
            outcome = box.get(timeout=max(0.0, deadline - monotonic()))
        except Empty:
            raise TimeoutError from None
    leash.check()
    if outcome is None or isinstance(outcome, Exception):
        raise outcome or TimeoutError
    return outcome


@cache
def _trusted(environment: bool) -> ssl.SSLContext:
    """The certificates of all requests: reading them takes longer than many an answer."""
    return httpx2.create_ssl_context(trust_env=environment)


class _BoundedBody(httpx2.SyncByteStream):
    def __init__(self, inner: httpx2.SyncByteStream, deadline: float) -> None:
        self._inner = inner
        self._deadline = deadline

    def __iter__(self) -> Iterator[bytes]:
        left = MAX_BODY_BYTES
        for piece in self._inner:
            left -= len(piece)
            if left < 0:
                raise httpx2.RemoteProtocolError(f"its answer is longer than {MAX_BODY_BYTES} bytes")
            if monotonic() > self._deadline:
                raise httpx2.ReadTimeout("its answer takes too long")
            yield piece

    def close(self) -> None:
        self._inner.close()


def _bound(response: httpx2.Response, deadline: float) -> None:
    """Called when the headers are there and before any of the body is read, for errors too."""
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        raise httpx2.RemoteProtocolError("its answer is compressed, which was not asked for")
    if isinstance(response.stream, httpx2.SyncByteStream):
        response.stream = _BoundedBody(response.stream, deadline)


def _content(body: bytes) -> str:
    """The one text in a chat completion. Raises Unusable for everything else: refusals, answers cut short, no JSON."""
    try:
        choice = json.loads(body)["choices"][0]
        message, ending = choice["message"], choice.get("finish_reason")
        content, refusal = message.get("content"), message.get("refusal")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise Unusable("it is no chat completion") from error
    if refusal:
        raise Unusable("the model refused to answer")
    if ending in ("length", "content_filter", "tool_calls", "function_call"):
        raise Unusable(f"the answer ended early ({ending})")
    if not isinstance(content, str) or not content.strip():
        raise Unusable("the answer is empty")
    return content


def _cause(error: openai.APIConnectionError) -> str:
    return safe_text(error.__cause__ or error.message, max_chars=200)

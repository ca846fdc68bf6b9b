"""The watch over the whole suite: every test runs with planted tokens, and none may be left behind by it.

After each test what it leaves is searched: its folders with ledgers, journals, queues and logs, what it printed, what
its programs said, what was logged, and what every host of the test was asked. A leak fails the test that made it.
Only a test that is about having no token asks for the fixture `no_tokens`; one that plays a user who writes a
secret into a file names the file by `canaries.BOOK.hold`.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Generator
from functools import wraps
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from download_worker.jobs.memory_ledger import MemoryLedger
from download_worker.settings import Settings
from tests import canaries
from tests.canaries import BOOK

MAX_ROWS = 200
"""Of a ledger in memory: more are made by tests that count."""


class CanaryWatch:
    def __init__(self) -> None:
        self._folders: list[Path] = []
        self._ledgers: list[MemoryLedger] = []
        self._tap: int | None = None

    def begin(self, patch: pytest.MonkeyPatch) -> None:
        """Plant the tokens, and listen at every door through which something leaves a test."""
        for variable, token in canaries.TOKENS.items():
            patch.setenv(variable, token)

        def listen(owner: type, name: str, note: Callable[..., None], *, before: bool = False) -> None:
            patch.setattr(owner, name, _listened(getattr(owner, name), note, before=before))

        listen(Settings, "__init__", _bind)
        listen(MemoryLedger, "__init__", lambda _, ledger: self._ledgers.append(ledger))
        listen(pytest.TempPathFactory, "mktemp", lambda made, *_: self._folders.append(made))
        listen(tempfile.TemporaryDirectory, "cleanup", lambda _, folder: BOOK.folder(Path(folder.name)), before=True)
        listen(pytest.CaptureFixture, "readouterr", lambda told, *_: _hear("what it printed", *told))
        listen(subprocess.Popen, "communicate", lambda told, *_: _hear("what a program said", *told))
        listen(BaseHTTPRequestHandler, "parse_request", _overhear)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self) -> None:
        """Hear the logs again, if the last test has removed all who do: to add one takes milliseconds."""
        if self._tap not in logger._core.handlers:  # type: ignore[attr-defined]
            tell = "{message} {extra} {exception}"
            self._tap = logger.add(_hear_log, format=tell, level=0, diagnose=False, backtrace=False)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if call.when == "teardown":
            leaks = self._close(report)
            if leaks:
                report.outcome = "failed"
                report.longrepr = "Planted secrets were left behind:\n" + "\n".join(leaks)
        return report

    def _close(self, report: pytest.TestReport) -> list[str]:
        """All fixtures are gone, so whatever they had open is written."""
        for name, content in report.sections:
            BOOK.text(name, content)
        for ledger in self._ledgers:
            for job in list(ledger._jobs.values())[-MAX_ROWS:]:
                BOOK.text("a row", repr(job))
        for folder in self._folders:
            BOOK.folder(folder)
        self._ledgers.clear()
        self._folders.clear()
        return BOOK.close()


def _listened(true: Callable[..., Any], note: Callable[..., None], *, before: bool) -> Callable[..., Any]:
    @wraps(true)
    def listened(*args: Any, **options: Any) -> Any:
        if before:
            note(None, *args)
        answer = true(*args, **options)
        if not before:
            note(answer, *args)
        return answer

    return listened


def _hear(where: str, *told: str | bytes | None) -> None:
    for each in told:
        BOOK.text(where, each)


def _hear_log(line: str) -> None:
    BOOK.text("a log", line)


def _bind(_: None, settings: Settings, *__: object) -> None:
    """A token belongs to the endpoint that stands beside it, whatever the product makes of that."""
    owners = (
        (settings.hf_token, settings.hf_endpoint),
        (settings.civitai_api_token, settings.civitai_endpoint),
        (settings.openai_api_key, settings.openai_base_url),
    )
    for token, endpoint in owners:
        if token is not None and endpoint is not None:
            BOOK.bind(token.get_secret_value(), endpoint)
    if settings.proxy is not None:
        BOOK.bind_proxy(settings.proxy.get_secret_value())


def _overhear(understood: bool, handler: BaseHTTPRequestHandler) -> None:
    if understood:
        headers = {name.lower(): value for name, value in handler.headers.items()}
        BOOK.request(handler.connection.getsockname()[1], handler.command, handler.path, headers)

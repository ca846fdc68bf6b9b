"""The first signal asks the worker to stop; the second one ends it, whichever of the two they are."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from download_worker import cli


class Engine:
    def __init__(self) -> None:
        self.stops = 0

    def stop(self) -> None:
        self.stops += 1

    def run(self, *, drain: bool = False) -> bool:
        return drain


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    former = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in former.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_p3_a_second_signal_ends_at_once(
    first: signal.Signals, second: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, ended = Engine(), list[int]()
    monkeypatch.setattr(os, "_exit", ended.append)
    cli._obey_signals(engine)
    signal.raise_signal(first)
    assert (engine.stops, ended) == (1, [])
    signal.raise_signal(second)
    assert (engine.stops, ended) == (1, [128 + second])

"""How many connections one file should have: found by trying more, measuring, and going back where it was for nothing.

A trial doubles the lanes or more, or takes a quarter of them away, and compares the bytes per second of all with those
before. No more are tried while the lanes wait for ourselves (a free buffer, the bandwidth limit) or soon would, and
nothing near the end. Pure: all time is in the samples.
"""

from __future__ import annotations

from typing import NamedTuple

BYTES_PER_LANE = 4 * 1024 * 1024
"""What must remain for each lane of a trial; for less no connection is worth its making."""
END_SECONDS = 1.5
"""When what remains takes less than this, nothing is tried any more."""
OWN_WAIT_SHARE = 0.1
"""The lanes waited for ourselves for more than this share of the time: more of them would only wait more."""
FAR_SECONDS = 0.1
"""Where a connection needs longer than this for its first byte, each trial takes a second and a young connection is far
below its speed anyway: the first step is to all the lanes there may be, and fewer are tried later."""

# The times of a trial, connect times not counted.
SETTLE_SECONDS = 0.04
LOOK_SECONDS = 0.09
QUICK_SECONDS = 0.09
FULL_SECONDS = 0.45
MAX_CONNECT_SECONDS = 2.0
"""No connect time counts for more: what takes so long is not the way but the host."""
PATIENCE_SECONDS = 3.0
"""A lane that has not come, or not gone, by then is not waited for."""
MAX_EPOCH_SECONDS = 5.0
REST_SECONDS = 5.0
"""After a trial of more lanes for nothing; twice as long after the next, and so on."""
LONG_REST_SECONDS = 25.0
"""At least, before fewer lanes are tried: they cost speed while they are tried."""
MAX_REST_SECONDS = 200.0

EASY_BYTES_PER_SECOND = 100 * 1024 * 1024
"""What is slower costs this machine next to nothing: the first trial is of four times the lanes instead of twice."""
ENOUGH_BYTES_PER_SECOND = 600 * 1024 * 1024
"""Half of what one core digests: what is faster waits for ourselves soon, and a trial costs more than it can bring."""
GAIN = 1.15
"""Further lanes are kept for this."""
CLEAR_SHARE = 0.5
"""Half of what further lanes can bring at best is a gain that is seen at once."""
LINEAR_SHARE = 0.9
"""They brought so much of it: the next step is twice as wide."""
LOSS = 0.93
"""Fewer lanes are kept for this."""


class Sample(NamedTuple):
    """What one file's lanes have done until now. Bytes and seconds are totals since the beginning, own waits summed
    over the lanes; `connect_seconds` is what the latest new lane needed from its start to its first byte."""

    at_seconds: float
    received_bytes: int
    lanes: int
    pressed_seconds: float
    throttled_seconds: float
    remaining_bytes: int
    connect_seconds: float


class _Epoch(NamedTuple):
    """What was measured between two samples."""

    seconds: float
    bytes_per_second: float
    is_ours: bool
    """The lanes waited for ourselves, not for the host."""

    @staticmethod
    def between(first: Sample, last: Sample) -> _Epoch:
        seconds = max(last.at_seconds - first.at_seconds, 1e-6)
        waited = last.pressed_seconds + last.throttled_seconds - first.pressed_seconds - first.throttled_seconds
        brought = last.received_bytes - first.received_bytes
        return _Epoch(seconds, brought / seconds, waited > OWN_WAIT_SHARE * seconds * max(1, last.lanes))


class _Level(NamedTuple):
    lanes: int
    bytes_per_second: float


class Tuner:
    """Begins with one lane, and never wants more than `most`. Not thread-safe."""

    def __init__(self, most: int) -> None:
        self._most = max(1, most)
        self._lanes = 1
        self._changed_at: float | None = None
        self._first: Sample | None = None  # of the epoch that is measured; None while a change settles
        self._before: _Level | None = None  # what the trial under way is measured against
        self._rest_until = 0.0
        self._rest_seconds = REST_SECONDS
        self._fewer_next = False

    def observe(self, sample: Sample) -> int:
        """How many lanes there should be now. To be told several times a second."""
        sample = sample._replace(connect_seconds=min(sample.connect_seconds, MAX_CONNECT_SECONDS))
        if self._changed_at is None:
            self._open(sample)
        elif self._first is None:
            self._first = sample if self._is_settled(sample, self._changed_at) else None
        elif self._before is None:
            self._look(sample, _Epoch.between(self._first, sample))
        elif self._before.lanes < self._lanes:
            self._judge_more(sample, _Epoch.between(self._first, sample), self._before)
        else:
            self._judge_fewer(sample, _Epoch.between(self._first, sample), self._before)
        return self._lanes

    def refused(self) -> None:
        """The host does not want the latest of the lanes: there are never so many again."""
        self._most = max(1, min(self._most, self._lanes - 1))
        self._lanes = min(self._lanes, self._most)
        self._before = self._first = None

    def _open(self, sample: Sample) -> None:
        self._change(self._affordable(sample) if sample.connect_seconds > FAR_SECONDS else 1, sample)
        if self._lanes > 1:
            self._rest(sample)

    def _is_settled(self, sample: Sample, changed_at: float) -> bool:
        passed = sample.at_seconds - changed_at
        if sample.lanes != self._lanes and passed < PATIENCE_SECONDS:
            return False
        return passed >= SETTLE_SECONDS + 2 * sample.connect_seconds

    def _look(self, sample: Sample, epoch: _Epoch) -> None:
        """No trial is under way. Begin one when it is time, and may be of use."""
        if epoch.seconds < LOOK_SECONDS + sample.connect_seconds:
            return
        if sample.at_seconds >= self._rest_until and not _is_near_end(sample, epoch):
            if self._fewer_next and self._lanes > 1:
                self._change(_fewer(self._lanes), sample, _Level(self._lanes, epoch.bytes_per_second))
            else:
                is_easy = epoch.bytes_per_second < EASY_BYTES_PER_SECOND and not self._rest_until
                self._try_more(sample, epoch, 4 if is_easy else 2)
        if self._first is not None and (epoch.is_ours or epoch.seconds > MAX_EPOCH_SECONDS):
            self._first = sample

    def _try_more(self, sample: Sample, epoch: _Epoch, factor: int) -> None:
        more = min(factor * self._lanes, self._affordable(sample))
        is_enough = epoch.is_ours or epoch.bytes_per_second > ENOUGH_BYTES_PER_SECOND
        if more > self._lanes and not is_enough and not _is_near_end(sample, epoch):
            self._change(more, sample, _Level(self._lanes, epoch.bytes_per_second))

    def _judge_more(self, sample: Sample, epoch: _Epoch, before: _Level) -> None:
        gain = epoch.bytes_per_second / max(1.0, before.bytes_per_second)
        at_best = self._lanes / before.lanes
        quickly = epoch.seconds >= QUICK_SECONDS + sample.connect_seconds
        clear = quickly and gain > 1 + CLEAR_SHARE * (at_best - 1)
        if clear or (gain > GAIN and _is_full(sample, epoch)):
            self._keep(sample)
            self._try_more(sample, epoch, 4 if gain > LINEAR_SHARE * at_best else 2)
        elif _is_full(sample, epoch):
            self._back(sample, before)

    def _judge_fewer(self, sample: Sample, epoch: _Epoch, before: _Level) -> None:
        if not _is_full(sample, epoch):
            return
        if epoch.bytes_per_second < LOSS * before.bytes_per_second:
            self._back(sample, before)
        elif self._lanes > 1:  # the speed to be held is still that of the first step: small losses add up
            self._change(_fewer(self._lanes), sample, _Level(self._lanes, before.bytes_per_second))
        else:
            self._keep(sample)

    def _keep(self, sample: Sample) -> None:
        self._before, self._first = None, sample
        if self._lanes == 1 or self._lanes >= self._most:
            self._rest(sample)

    def _back(self, sample: Sample, before: _Level) -> None:
        self._change(before.lanes, sample)
        self._rest(sample)

    def _rest(self, sample: Sample) -> None:
        """Then try the other direction, if there is one."""
        self._fewer_next = self._lanes > 1 and not (self._fewer_next and self._lanes < self._most)
        least = LONG_REST_SECONDS if self._fewer_next else REST_SECONDS
        self._rest_until = sample.at_seconds + max(least, self._rest_seconds)
        self._rest_seconds = min(2 * self._rest_seconds, MAX_REST_SECONDS)

    def _change(self, lanes: int, sample: Sample, before: _Level | None = None) -> None:
        self._lanes, self._before, self._first = lanes, before, None
        self._changed_at = sample.at_seconds

    def _affordable(self, sample: Sample) -> int:
        return max(1, min(self._most, sample.remaining_bytes // BYTES_PER_LANE))


def _is_near_end(sample: Sample, epoch: _Epoch) -> bool:
    return sample.remaining_bytes < END_SECONDS * epoch.bytes_per_second


def _is_full(sample: Sample, epoch: _Epoch) -> bool:
    return epoch.seconds >= FULL_SECONDS + 4 * sample.connect_seconds


def _fewer(lanes: int) -> int:
    return lanes - max(1, lanes // 4)

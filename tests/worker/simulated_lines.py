"""Connections that exist only in arithmetic: lines of many kinds, and a crew that fetches one file over them.

Time goes in steps; within a step every lane has the speed that its line gives it, shared fairly where the lines meet.
What the real crew does with threads and sockets, this one does with numbers, and it asks the very `Work` and `Tuner`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from download_worker.fetchers.http.segments import Work
from download_worker.fetchers.http.tuning import Sample, Tuner

MIB = 1024 * 1024
GIB = 1024 * MIB
GIGABIT = 125_000_000 * 0.95
"""What headers leave of 1 Gbit/s, in bytes per second."""
PACKET_BYTES = 1448
FIRST_WINDOW_PACKETS = 10
NEVER = float("inf")
TICK_SECONDS = 0.02
ASK_AGAIN_SECONDS = 0.1


@dataclass(frozen=True)
class Line:
    """One kind of way to a host; speeds in bytes per second.

    `total` is what all lanes share, `sink` what our own disk and digest take, `lane_speed` what the host gives lane n
    at a time, `throttle` our own limit. A first question costs `handshakes` round trips more. With a `loss` per packet
    the connections behave as CUBIC (RFC 9438), else, with `slow_start`, they only begin slowly.
    """

    rtt_seconds: float = 0.0005
    handshakes: float = 1.0
    total: float = NEVER
    sink: float = NEVER
    throttle: float = NEVER
    loss: float | None = None
    slow_start: bool = False
    lane_speed: Callable[[int, float], float] = lambda lane, now: NEVER
    noise: Callable[[float], float] = lambda now: 1.0

    @property
    def has_window(self) -> bool:
        return self.slow_start or self.loss is not None


@dataclass
class _Window:
    """The congestion window of one connection, in packets."""

    packets: float = FIRST_WINDOW_PACKETS
    threshold: float = NEVER
    _sent: float = 0.0
    _most: float = 0.0
    _lost_at: float = 0.0

    def send(self, n_packets: float, now: float, loss: float | None, chance: random.Random) -> None:
        self._sent += n_packets
        while self._sent >= self.packets:
            self._sent -= self.packets
            self._end_round(now, loss, chance)

    def _end_round(self, now: float, loss: float | None, chance: random.Random) -> None:
        if loss is not None and chance.random() < 1 - (1 - loss) ** self.packets:
            self._most, self._lost_at = self.packets, now
            self.packets = self.threshold = max(2.0, self.packets * 0.7)
        elif self.packets < self.threshold:
            self.packets *= 2
        else:
            back = (self._most * 0.3 / 0.4) ** (1 / 3)
            self.packets = max(self.packets + 0.5, 0.4 * (now - self._lost_at - back) ** 3 + self._most)


@dataclass
class _Lane:
    number: int
    now: float
    at: int = 0
    end: int = 0
    busy_from: float = 0.0
    ask_seconds: float = 0.0
    connected: bool = False
    retired: bool = False
    gone: bool = False
    window: _Window = field(default_factory=_Window)


@dataclass
class Outcome:
    seconds: float = 0.0
    lanes_wanted: list[tuple[float, int]] = field(default_factory=lambda: [(0.0, 1)])
    brought_bytes: dict[int, int] = field(default_factory=dict)
    last_byte_at: dict[int, float] = field(default_factory=dict)
    connects: int = 0

    def lanes_at(self, seconds: float) -> int:
        return next(lanes for at, lanes in reversed(self.lanes_wanted) if at <= seconds)

    @property
    def most_lanes(self) -> int:
        return max(lanes for _, lanes in self.lanes_wanted)

    def lane_seconds(self) -> float:
        ends = [at for at, _ in self.lanes_wanted[1:]] + [self.seconds]
        return sum(lanes * (end - at) for (at, lanes), end in zip(self.lanes_wanted, ends, strict=True))


class SimulatedCrew:
    """Fetches `total_bytes` over a line, with as many lanes as the tuner wants, or `fixed` from the first byte on."""

    def __init__(
        self,
        line: Line,
        total_bytes: int,
        *,
        seed: int = 1,
        step_seconds: float = 0.01,
        most: int = 16,
        fixed: int | None = None,
    ) -> None:
        self.tuner = Tuner(most)
        self.outcome = Outcome()
        self._line, self._total_bytes, self._step, self._fixed = line, total_bytes, step_seconds, fixed
        self._chance = random.Random(seed)
        self._work = Work(total_bytes)
        self._now = self._pressed = self._throttled = self._connect_seconds = 0.0
        self._received = self._hired = 0
        self._lanes: list[_Lane] = []

    def run(self, most_seconds: float = 3600.0) -> Outcome:
        steps = 0
        while not self._work.done and self._now < most_seconds:
            if steps % max(1, round(TICK_SECONDS / self._step)) == 0:
                self._hire(self._wanted())
            self._move()
            steps += 1
            self._now = steps * self._step
        self.outcome.seconds = self._now
        return self.outcome

    def _wanted(self) -> int:
        if not self._received or self._fixed:
            return self._fixed if self._received and self._fixed else 1
        wanted = self.tuner.observe(
            Sample(
                at_seconds=self._now,
                received_bytes=self._received,
                lanes=len(self._lanes),
                pressed_seconds=self._pressed,
                throttled_seconds=self._throttled,
                remaining_bytes=self._work.remaining_bytes,
                connect_seconds=self._connect_seconds,
            )
        )
        if wanted != self.outcome.lanes_wanted[-1][1]:
            self.outcome.lanes_wanted.append((self._now, wanted))
        return wanted

    def _hire(self, wanted: int) -> None:
        self._lanes = [lane for lane in self._lanes if not lane.gone]
        for lane in self._lanes[wanted:]:
            lane.retired = True
        while len(self._lanes) < wanted:
            self._hired += 1
            self._lanes.append(_Lane(self._hired, self._now))
            self._ask(self._lanes[-1])

    def _ask(self, lane: _Lane) -> None:
        claim = self._work.claim
        asked = len(self._lanes)
        span = None if lane.retired else claim(lane.number, lane.now, lanes=asked, ask_seconds=self._connect_seconds)
        if span is None:
            lane.gone = lane.retired or self._work.done
            lane.busy_from = lane.now + ASK_AGAIN_SECONDS
            if lane.gone:
                self._work.release(lane.number)
            return
        lane.at, lane.end = span
        lane.ask_seconds = self._line.rtt_seconds * (1 if lane.connected else 1 + self._line.handshakes)
        lane.busy_from = lane.now + lane.ask_seconds
        if not lane.connected:
            lane.connected, lane.window = True, _Window()
            self.outcome.connects += 1

    def _move(self) -> None:
        end = self._now + self._step
        flowing = [lane for lane in self._lanes if not lane.gone and lane.busy_from < end]
        noise = self._line.noise(self._now)
        speeds = _fair({lane.number: noise * self._demand(lane) for lane in flowing}, noise * self._line.total)
        coming = sum(speeds.values())
        own = min(self._line.sink, self._line.throttle)
        if coming > own:
            waited = self._step * len(flowing) * (1 - own / coming)
            self._pressed += waited * (own == self._line.sink)
            self._throttled += waited * (own != self._line.sink)
            speeds = _fair(speeds, own)
        for lane in flowing:
            self._flow(lane, speeds[lane.number], end)

    def _demand(self, lane: _Lane) -> float:
        speed = self._line.lane_speed(lane.number, self._now)
        if self._line.has_window:
            return min(speed, lane.window.packets * PACKET_BYTES / self._line.rtt_seconds)
        return speed

    def _flow(self, lane: _Lane, speed: float, end: float) -> None:
        """One lane's way through one step: what it waits, brings, and asks for."""
        lane.now = max(lane.now, self._now)
        while not lane.gone and lane.now < end:
            if lane.busy_from > lane.now:
                lane.now = min(end, lane.busy_from)
                continue
            reach = self._work.advance(lane.number, lane.at, lane.now)
            if lane.at < reach:
                self._connect_seconds = lane.ask_seconds
                self._bring(lane, min(int(speed * (end - lane.now)), reach - lane.at), speed, end)
                reach = self._work.advance(lane.number, lane.at, lane.now)
            if lane.at >= reach:
                lane.connected = lane.connected and lane.end <= reach  # a body that is not read to its end is given up
                self._ask(lane)

    def _bring(self, lane: _Lane, n_bytes: int, speed: float, end: float) -> None:
        if n_bytes <= 0:
            lane.now = end
            return
        lane.now = min(end, lane.now + n_bytes / speed + 1e-9)
        lane.at += n_bytes
        self._received += n_bytes
        self.outcome.brought_bytes[lane.number] = self.outcome.brought_bytes.get(lane.number, 0) + n_bytes
        self.outcome.last_byte_at[lane.number] = lane.now
        if self._line.has_window:
            lane.window.send(n_bytes / PACKET_BYTES, lane.now, self._line.loss, self._chance)


def _fair(demands: dict[int, float], cap: float) -> dict[int, float]:
    """Max-min fair shares: nobody gets more than it can take, and what it leaves is for the others."""
    shares: dict[int, float] = {}
    left, hungry = cap, len(demands)
    for lane, demand in sorted(demands.items(), key=lambda item: item[1]):
        shares[lane] = min(demand, left / hungry)
        left -= shares[lane]
        hungry -= 1
    return shares

"""What a Behaviour is, and how a host wears it: a frozen value that changes the question or the answer.

A behaviour is worn as it is (`rst_mid`), with other parameters (`rst_mid(after_bytes=1000)`), for some requests only
(`s503.times(2)`, `etag_changed.after_request(3)`, `s403.on("HEAD")`, `stall_mid.where(beyond(0.5))`), or together with
others (`[etag_changed, rst_mid.times(1)]`, applied from left to right). `BEHAVIOURS` holds every one by its name.
"""

import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .honest import Item, asked_range, honest
from .messages import Reply, Request


@dataclass(frozen=True)
class Turn:
    """One request on its way to its answer. `number` counts the requests for this path from 1.

    `connection` numbers the host's connections, `nth_on_connection` the requests on this one (from 1),
    `connection_bytes` are the body bytes that it carried before, `busy` counts the answers for this path that are under
    way with this one included, and `repeats` how often this very target, query included, was asked for.
    """

    request: Request
    item: Item
    number: int = 1
    connection: int = 1
    nth_on_connection: int = 1
    connection_bytes: int = 0
    busy: int = 1
    repeats: int = 1

    @property
    def asked(self) -> tuple[int, int] | None:
        return asked_range(self.request, self.item.data.size)


When = Callable[[Turn], bool]


def beyond(share: float) -> When:
    """A range that begins in this part of the file or later: other segments than the first."""
    return lambda turn: turn.asked is not None and turn.asked[0] >= share * turn.item.data.size


def is_ranged(turn: Turn) -> bool:
    return turn.asked is not None


def _same_turn(turn: Turn) -> Turn:
    return turn


def _same_reply(turn: Turn, reply: Reply) -> Reply:
    return reply


@dataclass(frozen=True)
class Behaviour:
    """One way to misbehave: `before` changes the Turn, `after` the Reply. Called, it takes other parameters."""

    name: str
    before: Callable[..., Turn] = _same_turn
    after: Callable[..., Reply] = _same_reply
    parameters: tuple[tuple[str, Any], ...] = ()
    first: int = 1
    last: int | None = None
    most: int | None = None
    method: str | None = None
    when: When | None = None

    def __call__(self, **parameters: Any) -> "Behaviour":
        act = self.after if self.before is _same_turn else self.before
        unknown = parameters.keys() - inspect.signature(act).parameters.keys()
        if unknown:
            raise TypeError(f"{self.name} knows no {', '.join(sorted(unknown))}")
        return replace(self, parameters=tuple((dict(self.parameters) | parameters).items()))

    def times(self, count: int) -> "Behaviour":
        """Only the first so many requests that it concerns."""
        return replace(self, most=count)

    def after_request(self, count: int) -> "Behaviour":
        """Only what comes after the first so many requests."""
        return replace(self, first=count + 1)

    def on(self, method: str) -> "Behaviour":
        """Only this method, and only its requests count."""
        return replace(self, method=method)

    def where(self, when: When) -> "Behaviour":
        """Only requests of which this is true."""
        return replace(self, when=when)

    def applies(self, turn: Turn, seen: Mapping[str, int], worn_before: int) -> bool:
        """Whether it is worn for this request.

        `seen` counts the requests per method, this one included; `worn_before` how often it was worn.
        """
        method = turn.request.method
        if self.method not in (None, method) or (self.when is not None and not self.when(turn)):
            return False
        number = sum(seen.values()) if self.method is None else seen[method]
        used_up = self.most is not None and worn_before >= self.most
        return self.first <= number and (self.last is None or number <= self.last) and not used_up


Worn = Behaviour | Sequence[Behaviour] | None


def together(worn: Worn) -> tuple[Behaviour, ...]:
    if worn is None:
        return ()
    return (worn,) if isinstance(worn, Behaviour) else tuple(worn)


def in_turn(*behaviours: Behaviour) -> tuple[Behaviour, ...]:
    """The first behaviour for the first request, the second for the second, then honesty."""
    return tuple(replace(each, first=number, last=number) for number, each in enumerate(behaviours, 1))


def worn_for(turn: Turn, wardrobe: Sequence[Behaviour], seen: Mapping[str, int], worn: Counter[int]) -> list[Behaviour]:
    """What of the wardrobe is worn for this request; `worn` counts that, by its place there."""
    chosen = [place for place, each in enumerate(wardrobe) if each.applies(turn, seen, worn[place])]
    worn.update(chosen)
    return [wardrobe[place] for place in chosen]


def answer(turn: Turn, worn: Iterable[Behaviour]) -> Reply:
    """What a host that wears these behaviours sends."""
    worn = tuple(worn)
    for each in worn:
        turn = each.before(turn, **(dict(each.parameters) if each.before is not _same_turn else {}))
    reply = honest(turn.request, turn.item)
    for each in worn:
        reply = each.after(turn, reply, **(dict(each.parameters) if each.after is not _same_reply else {}))
    return reply


BEHAVIOURS: dict[str, Behaviour] = {}


def listed(behaviour: Behaviour, name: str | None = None) -> Behaviour:
    named = replace(behaviour, name=name or behaviour.name)
    BEHAVIOURS[named.name] = named
    return named


def on_turn(act: Callable[..., Turn]) -> Behaviour:
    return listed(Behaviour(act.__name__, before=act))


def on_reply(act: Callable[..., Reply]) -> Behaviour:
    return listed(Behaviour(act.__name__, after=act))

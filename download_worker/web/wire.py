"""The questions of one stream, one after the other, each on a link to where it goes: a new one or an idle one.

A connection stays open for the next question only when the answer before it was read to its end and nothing followed
it (H29); a host that hung up in between is dialed again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import requests

from download_worker import __version__
from download_worker.errors import BadRequest, Code, GiveUp, TryLater
from download_worker.leash import Leash
from download_worker.text import public_url
from download_worker.web.addresses import is_address
from download_worker.web.answers import check_head
from download_worker.web.idle import Idle
from download_worker.web.line import Line
from download_worker.web.link import Goal, Link, Network, Reply
from download_worker.web.origins import Address, Origin
from download_worker.web.proxies import Proxy
from download_worker.web.translation import head_errors

USER_AGENT = f"comfy-doctor/{__version__}"
"""Plain on purpose: Civitai sends a browser to its login page, and everybody else an error in JSON (FACTS 5)."""

_PLAIN = {"User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "identity"}


class Question(NamedTuple):
    """How a URL is asked for. A `body` is sent as JSON, and never to another origin than the one it was meant for."""

    method: Literal["GET", "HEAD", "POST"] = "GET"
    body: Any = None
    stays_home: bool = False

    @property
    def keeps_to_itself(self) -> bool:
        return self.stays_home or self.body is not None


GET = Question()


class Wire:
    """Asks, one question after the other. `close` it; `cut` it from any other thread.

    With `idle` its links come from there and go there.
    """

    def __init__(self, network: Network, leash: Leash, idle: Idle | None = None) -> None:
        self._network = network
        self._leash = leash
        self._idle = idle
        self._line = Line()
        self._link: Link | None = None
        self._judged: set[Origin] = set()

    def send(
        self, address: Address, headers: Mapping[str, str], question: Question, proxy: Proxy | None = None
    ) -> Reply:
        """Raises what `Route.ask` says."""
        try:
            asking = requests.Request(
                question.method, str(address), headers={**_PLAIN, **headers}, json=question.body
            ).prepare()
        except (requests.RequestException, ValueError) as error:
            raise BadRequest(Code.BAD_URL, f"{public_url(str(address))} cannot be asked for") from error
        link = self._link_to(Goal(address.origin, proxy))
        self._judge(link)
        dialed = link.dialed
        try:
            return self._sent(asking, link)
        except (TryLater, GiveUp) as trouble:
            was_new = link.dialed != dialed
            if not was_new and self._idle is not None:
                self._idle.forget(link.goal)
            if was_new or question.method == "POST" or not _is_of_the_connection(trouble):
                raise
        return self._sent(asking, link)  # on a new connection: the host had left this one in the meantime

    def cut(self) -> None:
        """From any thread; never raises. Nothing is asked or read on it any more."""
        self._line.cut()

    def close(self) -> None:
        self._part()
        self._line.close()

    def _link_to(self, goal: Goal) -> Link:
        if self._link is not None and self._link.goal == goal:
            return self._link
        self._part()
        link = self._idle.take(goal) if self._idle is not None else None
        if link is None:
            link = Link(goal, self._network, self._line, self._leash)
        else:
            link.serve(self._line, self._leash)
        self._link = link
        return link

    def _part(self) -> None:
        """From the link that there is."""
        link, self._link = self._link, None
        if link is None:
            return
        if self._idle is not None and link.leave():
            self._idle.park(link)
        else:
            link.close()

    def _judge(self, link: Link) -> None:
        """Once for each origin: its name is a proxy's to look up."""
        origin, proxy = link.goal
        if proxy is None or proxy.is_socks or origin in self._judged or is_address(origin.host):
            return
        link.judge()
        self._judged.add(origin)

    def _sent(self, asking: requests.PreparedRequest, link: Link) -> Reply:
        host = link.goal.origin.host
        with head_errors(host, self._leash):
            reply = link.send(asking)
        try:
            check_head(reply.headers, host)
        except BaseException:
            reply.close()
            raise
        return reply


def _is_of_the_connection(trouble: TryLater | GiveUp) -> bool:
    """Whether a connection that was used before may be to blame: its host has left it, or it is out of step. No
    certificate was looked at on it, so TLS has nothing else to complain about."""
    if isinstance(trouble, GiveUp):
        return trouble.code is Code.TLS
    return trouble.code is not Code.STALLED

"""The statements that every job costs, built once: to build one takes longer than to answer it.

Their parameters: `of` and `on` (what is looked for), `now` and `too_far` (ISO-8601), see `in_line` for the rest.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import Column, Integer, Select, String, bindparam, delete, func, literal, or_, select, update

from download_worker.jobs.tables import CLAIMABLE, JOB_FIELDS, LIVE, OWNED, QUEUE_PAUSED, TIMED, flags, jobs

_BY_ID = jobs.c.job_id == bindparam("of")
_DUE = or_(jobs.c.not_before <= bindparam("now"), jobs.c.not_before > bindparam("too_far"))

ADD = jobs.insert()
GET = select(*JOB_FIELDS).where(_BY_ID).with_for_update()
CHANGE = update(jobs).where(_BY_ID)
LIVE_FOR_TARGET = select(*JOB_FIELDS).where(jobs.c.target == bindparam("of"), jobs.c.machine == bindparam("on"), LIVE)
BEAT = (
    update(jobs)
    .where(_BY_ID, jobs.c.worker == bindparam("by"), jobs.c.attempts == bindparam("fence"))
    .returning(jobs.c.cancel_requested, jobs.c.paused)
)
HOLDINGS = select(jobs.c.job_id, jobs.c.worker, jobs.c.attempts, jobs.c.lease, jobs.c.status, jobs.c.priority).where(
    OWNED
)
ANY_DUE = select(literal(1)).select_from(jobs).where(TIMED, _DUE).limit(1)
WAKE_THE_DUE = update(jobs).where(TIMED, _DUE).values(not_before=None)
NEXT_DUE = select(func.min(jobs.c.not_before)).where(TIMED, ~jobs.c.paused)
UNFINISHED = select(func.count()).select_from(jobs).where(LIVE, ~jobs.c.paused)
IS_QUEUE_PAUSED = select(flags.c.name).where(flags.c.name == QUEUE_PAUSED)
LET_QUEUE_GO_ON = delete(flags).where(flags.c.name == QUEUE_PAUSED)


@cache
def in_line(
    columns: tuple[Column[Any], ...],
    *,
    folders: int = 0,
    past_hosts: bool = False,
    above: bool = False,
    lock: bool = False,
    limit: int = 1,
) -> Select[Any]:
    """The first jobs that may be claimed, in the order of turns, answered by the index.

    It passes over targets below `folder_0`, `folder_1`, … (of `length_0`, … characters), over rows with one of the
    `hosts`, and over a priority that is not `above`.
    """
    asked = select(*columns).where(CLAIMABLE, ~IS_QUEUE_PAUSED.exists())
    for number in range(folders):
        folder, length = bindparam(f"folder_{number}", type_=String), bindparam(f"length_{number}", type_=Integer)
        asked = asked.where(func.substr(jobs.c.target, 1, length) != folder)
    if past_hosts:
        asked = asked.where(jobs.c.host.not_in(bindparam("hosts", expanding=True)))
    if above:
        asked = asked.where(jobs.c.priority > bindparam("above"))
    asked = asked.order_by(jobs.c.priority.desc(), jobs.c.seq).limit(limit)
    return asked.with_for_update(skip_locked=True) if lock else asked

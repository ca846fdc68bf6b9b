"""The ledger's tables. What is asked for by index is a column; what is only carried along is JSON.

The conditions of the partial indexes are literal SQL and are used word for word in the queries: SQLite uses a partial
index only when it can see that the query implies its condition, which it cannot through a bound parameter. And no
index begins with `status`: SQLite would take it for every one of those queries, and sort what the partial one holds in
order.

A ledger is made by the migrations, these tables are what it is asked by; a test compares the two on SQLite. Hence no
`postgresql_where` here, which the migrations have: it would load that dialect, 20 ms of every start.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    desc,
    text,
)

metadata = MetaData()

CLAIMABLE = text("worker IS NULL AND NOT paused AND not_before IS NULL AND status IN ('PENDING', 'VERIFYING')")
OWNED = text("worker IS NOT NULL")
WAITING = text("worker IS NULL AND status IN ('PENDING', 'VERIFYING', 'DOWNLOADING')")
ENDED = text("status IN ('SUCCESS', 'FAILED')")
LIVE = text("status IN ('PENDING', 'DOWNLOADING', 'VERIFYING')")
TIMED = text("not_before IS NOT NULL")

jobs = Table(
    "jobs",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("job_id", String(36), nullable=False, unique=True),
    Column("status", String(16), nullable=False),
    Column("machine", String(64), nullable=False),
    Column("target", String, nullable=False),
    Column("host", String, nullable=False),  # of all sources, with spaces between; empty while VERIFYING
    Column("haystack", String, nullable=False),  # lower-case file name, folder and host, for search
    Column("priority", Integer, nullable=False),
    Column("not_before", String(32)),  # ISO-8601 of one length, so text order is time order
    Column("paused", Boolean, nullable=False),
    Column("cancel_requested", Boolean, nullable=False),
    Column("promoting", Boolean, nullable=False),
    Column("worker", String(64)),
    Column("attempts", Integer, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("lease", JSON(none_as_null=True)),
    Column("added_at", String(32), nullable=False),
    Column("ended_at", String(32)),
    Column("kind", String(16), nullable=False),
    Column("models_root", String, nullable=False),
    Column("model_info", JSON, nullable=False),
    Column("history", JSON, nullable=False),
    Column("progress", JSON, nullable=False),
    Column("result", JSON, nullable=False),
    Column("asking", JSON(none_as_null=True)),  # what `progress` says since 0002, apart for workers that know 0001
    sqlite_autoincrement=True,
)

Index("jobs_claimable", desc(jobs.c.priority), jobs.c.seq, jobs.c.host, sqlite_where=CLAIMABLE)
Index("jobs_owned", jobs.c.seq, sqlite_where=OWNED)
Index("jobs_waiting", desc(jobs.c.priority), jobs.c.seq, sqlite_where=WAITING)
Index("jobs_timed", jobs.c.not_before, sqlite_where=TIMED)
Index("jobs_ended", jobs.c.seq, jobs.c.status, sqlite_where=ENDED)
Index("jobs_ended_at", jobs.c.ended_at, sqlite_where=ENDED)
Index("jobs_live", jobs.c.status, sqlite_where=LIVE)
Index("jobs_by_target", jobs.c.target, jobs.c.seq)
Index("jobs_one_live_per_target", jobs.c.machine, jobs.c.target, unique=True, sqlite_where=LIVE)

# What a job is read from; the other columns are for looking it up.
JOB_FIELDS = tuple(column for column in jobs.c if column.name not in {"seq", "target", "host", "haystack", "ended_at"})

# How many jobs have ended how: kept with every change, so that counting never walks through years of them.
tallies = Table(
    "tallies",
    metadata,
    Column("status", String(16), primary_key=True),
    Column("number", Integer, nullable=False),
)

flags = Table("flags", metadata, Column("name", String(64), primary_key=True))

QUEUE_PAUSED = "queue_paused"

# The digests of the pieces of files that were proven, for a later repair. They outlive the jobs.
pieces = Table(
    "pieces",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("piece_bytes", Integer, nullable=False),
    Column("algorithm", String(16), nullable=False),
    Column("digests", LargeBinary, nullable=False),
    Column("noted_at", String(32), nullable=False),
)

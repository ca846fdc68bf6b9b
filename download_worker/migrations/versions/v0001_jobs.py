"""The first ledger: jobs, and the flags of the whole queue.

Revision ID: 0001
Revises:
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

CLAIMABLE = sa.text("worker IS NULL AND NOT paused AND not_before IS NULL AND status IN ('PENDING', 'VERIFYING')")
OWNED = sa.text("worker IS NOT NULL")
WAITING = sa.text("worker IS NULL AND status IN ('PENDING', 'VERIFYING', 'DOWNLOADING')")
ENDED = sa.text("status IN ('SUCCESS', 'FAILED')")
LIVE = sa.text("status IN ('PENDING', 'DOWNLOADING', 'VERIFYING')")
TIMED = sa.text("not_before IS NOT NULL")

INDEXES: tuple[tuple[str, tuple[Any, ...], Any, bool], ...] = (
    ("jobs_claimable", (sa.desc("priority"), "seq", "host"), CLAIMABLE, False),
    ("jobs_owned", ("seq",), OWNED, False),
    ("jobs_waiting", (sa.desc("priority"), "seq"), WAITING, False),
    ("jobs_timed", ("not_before",), TIMED, False),
    ("jobs_ended", ("seq", "status"), ENDED, False),
    ("jobs_ended_at", ("ended_at",), ENDED, False),
    ("jobs_live", ("status",), LIVE, False),
    ("jobs_by_target", ("target", "seq"), None, False),
    ("jobs_one_live_per_target", ("machine", "target"), LIVE, True),
)


def upgrade() -> None:
    op.create_table(
        "jobs",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("job_id", sa.String(36), nullable=False, unique=True),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("machine", sa.String(64), nullable=False),
        sa.Column("target", sa.String, nullable=False),
        sa.Column("host", sa.String, nullable=False),
        sa.Column("haystack", sa.String, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("not_before", sa.String(32)),
        sa.Column("paused", sa.Boolean, nullable=False),
        sa.Column("cancel_requested", sa.Boolean, nullable=False),
        sa.Column("promoting", sa.Boolean, nullable=False),
        sa.Column("worker", sa.String(64)),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("lease", sa.JSON),
        sa.Column("added_at", sa.String(32), nullable=False),
        sa.Column("ended_at", sa.String(32)),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("models_root", sa.String, nullable=False),
        sa.Column("model_info", sa.JSON, nullable=False),
        sa.Column("history", sa.JSON, nullable=False),
        sa.Column("progress", sa.JSON, nullable=False),
        sa.Column("result", sa.JSON, nullable=False),
        sqlite_autoincrement=True,
    )
    for name, columns, where, unique in INDEXES:
        op.create_index(name, "jobs", list(columns), unique=unique, sqlite_where=where, postgresql_where=where)
    tallies = op.create_table(
        "tallies",
        sa.Column("status", sa.String(16), primary_key=True),
        sa.Column("number", sa.Integer, nullable=False),
    )
    op.bulk_insert(tallies, [{"status": status, "number": 0} for status in ("SUCCESS", "FAILED")])
    op.create_table("flags", sa.Column("name", sa.String(64), primary_key=True))


def downgrade() -> None:
    raise RuntimeError("the first version of the ledger has nothing before it")

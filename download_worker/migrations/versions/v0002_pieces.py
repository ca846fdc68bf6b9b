"""The digests of the pieces of proven files; what a download asks; and all hosts of jobs with mirrors.

A worker of 0001 that still runs goes on beside one of 0002: it reads and writes the columns that it knows.

Revision ID: 0002
Revises: 0001
"""

import json
from urllib.parse import urlsplit

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "pieces",
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("piece_bytes", sa.Integer, nullable=False),
        sa.Column("algorithm", sa.String(16), nullable=False),
        sa.Column("digests", sa.LargeBinary, nullable=False),
        sa.Column("noted_at", sa.String(32), nullable=False),
    )
    op.add_column("jobs", sa.Column("asking", sa.JSON))
    _name_all_hosts(op.get_bind())
    op.execute("UPDATE jobs SET host = '' WHERE status = 'VERIFYING'")  # nobody is asked any more


def _name_all_hosts(connection: sa.Connection) -> None:
    """Of jobs with mirrors that are to be fetched: 0001 named the first source's host alone."""
    live = "SELECT seq, model_info FROM jobs WHERE status IN ('PENDING', 'DOWNLOADING')"
    rename = sa.text("UPDATE jobs SET host = :host WHERE seq = :seq")
    for seq, model_info in connection.execute(sa.text(live)).all():
        try:
            info = json.loads(model_info) if isinstance(model_info, str) else model_info
            hosts = [urlsplit(url).hostname or "" for url in (info["download_url"], *info["mirrors"])]
        except (ValueError, LookupError, TypeError, AttributeError):
            continue  # a damaged row, which is found when its turn comes
        if len(hosts) > 1:
            named = [hosts[0], *filter(None, hosts[1:])]
            connection.execute(rename, {"seq": seq, "host": " ".join(dict.fromkeys(named))})


def downgrade() -> None:
    op.drop_column("jobs", "asking")
    op.drop_table("pieces")

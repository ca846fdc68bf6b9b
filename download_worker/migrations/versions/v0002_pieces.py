"""The digests of the pieces of proven files.

Revision ID: 0002
Revises: 0001
"""

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


def downgrade() -> None:
    op.drop_table("pieces")

"""Rules choose points by the type of their device; every version of a rule that ran is kept."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this revision."""
    with op.batch_alter_table("device") as batch_op:
        batch_op.add_column(sa.Column("type", sa.String(length=80), nullable=False, server_default=""))
    with op.batch_alter_table("point") as batch_op:
        batch_op.add_column(sa.Column("device_type", sa.String(length=80), nullable=False, server_default=""))
    op.create_table(
        "rule_version",
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("since_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", "version", name=op.f("pk_rule_version")),
    )
    op.create_table(
        "rule_set",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("since_us", sa.BigInteger(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_rule_set")),
    )


def downgrade() -> None:
    """Take this revision back."""
    op.drop_table("rule_set")
    op.drop_table("rule_version")
    with op.batch_alter_table("point") as batch_op:
        batch_op.drop_column("device_type")
    with op.batch_alter_table("device") as batch_op:
        batch_op.drop_column("type")

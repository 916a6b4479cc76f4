"""Who is called: rosters, buildings under test, and steps with deadlines."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this revision."""
    op.create_table(
        "notify_roster",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("since_us", sa.BigInteger(), nullable=False),
        sa.Column("person", sa.String(length=200), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_notify_roster")),
    )
    op.create_table(
        "notify_test",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("building", sa.String(length=80), nullable=False),
        sa.Column("since_us", sa.BigInteger(), nullable=False),
        sa.Column("until_us", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.String(length=300), nullable=False),
        sa.Column("person", sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_notify_test")),
    )
    op.create_table(
        "notify_step",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("alarm", sa.String(length=36), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("incident", sa.String(length=320), nullable=False),
        sa.Column("urgency", sa.Integer(), nullable=False),
        sa.Column("unit", sa.String(length=80), nullable=False),
        sa.Column("building", sa.String(length=80), nullable=False),
        sa.Column("call", sa.String(length=64), nullable=False),
        sa.Column("stage", sa.Integer(), nullable=False),
        sa.Column("contact", sa.String(length=64), nullable=False),
        sa.Column("channel", sa.String(length=64), nullable=False),
        sa.Column("address", sa.String(length=300), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("forward", sa.Boolean(), nullable=False),
        sa.Column("due_us", sa.BigInteger(), nullable=False),
        sa.Column("why", sa.String(length=40), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("claimed_us", sa.BigInteger(), nullable=True),
        sa.Column("give_up_us", sa.BigInteger(), nullable=True),
        sa.Column("done_us", sa.BigInteger(), nullable=True),
        sa.Column("outcome", sa.String(length=300), nullable=False),
        sa.Column("message", sa.BigInteger(), nullable=True),
        sa.Column("answered_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_notify_step")),
        sa.UniqueConstraint(
            "kind", "alarm", "version", "call", "stage", "contact", "channel", "address",
            name=op.f("uq_notify_step_kind"),
        ),
    )  # fmt: skip
    with op.batch_alter_table("notify_step") as batch_op:
        batch_op.create_index("ix_notify_step_due", ["state", "due_us"], unique=False)
        batch_op.create_index("ix_notify_step_alarm", ["alarm", "state"], unique=False)
        batch_op.create_index("ix_notify_step_message", ["message"], unique=False)


def downgrade() -> None:
    """Take this revision back."""
    op.drop_table("notify_step")
    op.drop_table("notify_test")
    op.drop_table("notify_roster")

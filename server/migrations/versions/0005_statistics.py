"""Statistics ask the record by time, and devices by the batch of their production."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this revision."""
    with op.batch_alter_table("device") as batch_op:
        batch_op.add_column(sa.Column("batch", sa.String(length=80), nullable=False, server_default=""))
    with op.batch_alter_table("alarm_record") as batch_op:
        batch_op.create_index("ix_alarm_record_at_us", ["at_us"])


def downgrade() -> None:
    """Take this revision back."""
    with op.batch_alter_table("alarm_record") as batch_op:
        batch_op.drop_index("ix_alarm_record_at_us")
    with op.batch_alter_table("device") as batch_op:
        batch_op.drop_column("batch")

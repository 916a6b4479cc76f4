"""The tables of notification in the state database."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, String, Table, Text, UniqueConstraint

from fengsui.database import metadata

roster_table = Table(
    "notify_roster",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("since_us", BigInteger, nullable=False),
    Column("person", String(200), nullable=False),
    Column("body", Text, nullable=False),
)

test_table = Table(
    "notify_test",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("building", String(80), nullable=False),
    Column("since_us", BigInteger, nullable=False),
    Column("until_us", BigInteger, nullable=False),
    Column("reason", String(300), nullable=False),
    Column("person", String(200), nullable=False),
)


step_table = Table(
    "notify_step",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("alarm", String(36), nullable=False),
    Column("version", Integer, nullable=False),
    Column("incident", String(320), nullable=False),
    Column("urgency", Integer, nullable=False),
    Column("unit", String(80), nullable=False),
    Column("building", String(80), nullable=False),
    Column("call", String(64), nullable=False),
    Column("stage", Integer, nullable=False),
    Column("contact", String(64), nullable=False),
    Column("channel", String(64), nullable=False),
    Column("address", String(300), nullable=False),
    Column("rank", Integer, nullable=False),
    Column("forward", Boolean, nullable=False),
    Column("due_us", BigInteger, nullable=False),
    Column("why", String(40), nullable=False),
    Column("state", String(12), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("claimed_us", BigInteger, nullable=True),
    Column("give_up_us", BigInteger, nullable=True),
    Column("done_us", BigInteger, nullable=True),
    Column("outcome", String(300), nullable=False),
    Column("message", BigInteger, nullable=True),
    Column("answered_us", BigInteger, nullable=True),
    UniqueConstraint("kind", "alarm", "version", "call", "stage", "contact", "channel", "address"),
    Index("ix_notify_step_due", "state", "due_us"),
    Index("ix_notify_step_alarm", "alarm", "state"),
    Index("ix_notify_step_message", "message"),
)

"""The state database's schema: what Alembic makes is what the code says."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from fengsui.database import connect, metadata, writing
from server.migrations import upgrade

OWNERS = ("alerting.alarms.record", "alerting.rulebook.kept", "console.auth", "ingest.registry")
"""Modules that define tables."""


def test_the_migrated_schema_is_the_metadata(tmp_path: Path) -> None:
    """A table changed in code without a revision fails here."""
    for module in OWNERS:
        import_module(module)
    url = f"sqlite:///{tmp_path / 'state.db'}"
    upgrade(url)
    engine = connect(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_upgrading_twice_changes_nothing(tmp_path: Path) -> None:
    """The core upgrades at every start; what is stored stays."""
    url = f"sqlite:///{tmp_path / 'state.db'}"
    upgrade(url)
    engine = connect(url)
    with writing(engine) as connection:
        connection.execute(text("INSERT INTO detect_cursor VALUES ('j', 1, 2)"))
    upgrade(url)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT telemetry FROM detect_cursor")).scalar() == 2
        pragmas = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 1000}
    engine.dispose()

"""The state database's schema: what Alembic makes is what the code says."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from alerting.errors import RecordUnavailable
from fengsui.database import connect, metadata, writing
from fengsui.errors import Unavailable
from server.migrations import upgrade
from tests.databases import Database, in_folder
from tests.servers import HOST, free_port

OWNERS = (
    "alerting.alarms.record",
    "alerting.notify.tables",
    "alerting.rulebook.kept",
    "console.auth",
    "ingest.registry",
)
"""Modules that define tables."""


def test_the_migrated_schema_is_the_metadata(state: Database) -> None:
    """A table changed in code without a revision fails here."""
    for module in OWNERS:
        import_module(module)
    upgrade(state.url)
    engine = connect(state.url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_upgrading_twice_changes_nothing(state: Database) -> None:
    """The core upgrades at every start; what is stored stays."""
    upgrade(state.url)
    engine = connect(state.url)
    with writing(engine) as connection:
        connection.execute(text("INSERT INTO detect_cursor VALUES ('j', 1, 2)"))
    upgrade(state.url)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT telemetry FROM detect_cursor")).scalar() == 2
    engine.dispose()


def test_the_state_is_durable_and_its_writers_take_turns(state: Database) -> None:
    """What the driver or the server would do by themselves is set by us, on each connection."""
    sqlite = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 1000}
    postgresql = {
        "transaction_isolation": "repeatable read", "synchronous_commit": "on", "lock_timeout": "1s",
    }  # fmt: skip
    ask, expected = ("PRAGMA", sqlite) if state.kind == "sqlite" else ("SHOW", postgresql)
    engine = connect(state.url)
    with engine.connect() as connection:
        settings = {name: connection.execute(text(f"{ask} {name}")).scalar() for name in expected}
    assert settings == expected
    impatient = connect(state.url, busy_timeout_ms=50)
    with writing(engine), pytest.raises(OperationalError, match="lock"), writing(impatient):
        pass
    with writing(impatient):
        pass
    impatient.dispose()
    engine.dispose()


def test_a_file_that_is_away_is_not_made_anew(tmp_path: Path) -> None:
    """Between two mounts of its volume nothing is put in the place of the state."""
    folder = tmp_path / "a volume"
    folder.mkdir()
    url = in_folder(folder).url
    upgrade(url)
    engine = connect(url)
    with writing(engine) as connection:
        connection.execute(text("INSERT INTO detect_cursor VALUES ('j', 1, 2)"))
    engine.dispose()
    folder.rename(tmp_path / "elsewhere")
    folder.mkdir()
    with pytest.raises(OperationalError, match="unable to open"), writing(engine):
        pass
    assert list(folder.iterdir()) == []
    folder.rmdir()
    (tmp_path / "elsewhere").rename(folder)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT telemetry FROM detect_cursor")).scalar() == 2
    engine.dispose()


def test_a_database_that_does_not_answer_is_told() -> None:
    """A core that starts before its database says so, and is started again (exit code 69)."""
    with pytest.raises(RecordUnavailable, match="the state database did not answer") as told:
        upgrade(f"postgresql://fengsui@{HOST}:{free_port()}/fengsui")
    assert isinstance(told.value, Unavailable)

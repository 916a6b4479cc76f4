"""The relational state: one metadata for every package's tables, how to connect, how to write.

The engine is synchronous and is used through ``asyncio.to_thread`` (docs/adr/0006). On SQLite a reader never
waits for the writer (WAL), and a transaction that writes takes the write lock at its first statement, so that
it cannot fail half way because another one wrote in between.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, MetaData, create_engine, event
from sqlalchemy.pool import ConnectionPoolEntry

from fengsui.errors import UsageError

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

STATE = "state.db"
"""The state database's name in a core's data directory, unless it is somewhere else."""

_WRITES = "fengsui_writes"


def existing(folder: Path, url: str | None) -> Engine:
    """An engine for the state database of a core that ran before: at ``url``, or else in its ``folder``.

    Raises:
        UsageError: There is none in ``folder``.
    """
    if url is not None:
        return connect(url)
    path = folder / STATE
    if not path.exists():
        raise UsageError(f"{path} is not there; start the core once, or name its data directory with --data")
    return connect(f"sqlite:///{path}")


def connect(url: str, *, busy_timeout_ms: int = 1000) -> Engine:
    """An engine for ``url``; SQLite gets WAL, full sync, a busy time-out and foreign keys."""
    engine = create_engine(url)
    if engine.dialect.name == "sqlite":
        pragmas = (
            f"busy_timeout={busy_timeout_ms}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON",
        )  # fmt: skip

        @event.listens_for(engine, "connect")
        def _prepare(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
            connection.isolation_level = None  # we say BEGIN ourselves: Python's driver would defer it
            for pragma in pragmas:
                connection.execute(f"PRAGMA {pragma}").close()

        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            writes = connection.get_execution_options().get(_WRITES, False)
            connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One transaction that writes: committed at the end, rolled back by an exception."""
    with engine.connect().execution_options(**{_WRITES: True}) as connection, connection.begin():
        yield connection

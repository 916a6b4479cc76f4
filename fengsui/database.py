"""The relational state: one metadata for every package's tables, how to connect, how to write.

The engine is synchronous and is used through ``asyncio.to_thread`` (docs/adr/0006). SQLite and PostgreSQL
behave alike: a reader sees the state of one moment and never waits for the writer; a transaction that writes
takes the one write lock at its first statement, so that it cannot fail half way because another one wrote in
between (docs/adr/0033).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, MetaData, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError
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
_WRITE_LOCK = 0x66656E67737569
"""Key of the advisory lock that whoever writes holds; spells "fengsui"."""
_GONE_S = 5
"""A PostgreSQL that acknowledges no byte for so long is gone."""


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


def parse_url(text: str) -> URL:
    """The address of a database.

    Raises:
        ValueError: It is none, or of a kind that is not served.
    """
    try:
        url = make_url(text)
    except ArgumentError as error:
        raise ValueError(
            f"{text!r} is no database URL such as postgresql://fengsui@127.0.0.1/fengsui"
        ) from error
    if url.get_backend_name() not in _DIALECTS:
        raise ValueError(f"{url.drivername!r} is not served; use {' or '.join(_DIALECTS)}")
    return url


def connect(url: str, *, busy_timeout_ms: int = 1000) -> Engine:
    """An engine for ``url``, ``sqlite:///FILE`` or ``postgresql://USER@HOST/DATABASE``.

    Args:
        url: Whatever else libpq reads, such as ``passfile`` and ``sslmode``, may follow as ``?name=value``.
        busy_timeout_ms: How long a transaction waits for another one's lock.

    Raises:
        UsageError: No such kind of database, or its driver is not installed.
    """
    try:
        parsed = parse_url(url)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return _DIALECTS[parsed.get_backend_name()](parsed, busy_timeout_ms)


def _sqlite(url: URL, busy_timeout_ms: int) -> Engine:
    """WAL, full sync, a busy time-out and foreign keys; a file that was there once is never made anew.

    Its volume is away then, and an empty database in the folder below would only be in the way.
    """
    engine = create_engine(url)
    opened = False
    pragmas = (
        f"busy_timeout={busy_timeout_ms}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON",
    )  # fmt: skip

    @event.listens_for(engine, "do_connect")
    def _open(_dialect: object, _entry: object, args: list[str], options: dict[str, object]) -> None:
        if opened:
            args[0] = f"{Path(args[0]).absolute().as_uri()}?mode=rw"
            options["uri"] = True

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves: Python's driver would defer it
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}").close()
        nonlocal opened
        opened = True

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if _writes(connection) else "BEGIN")

    return engine


def _postgresql(url: URL, busy_timeout_ms: int) -> Engine:
    """One writer at a time, like SQLite; a server that is gone is noticed within seconds."""
    options = {
        "application_name": "fengsui",
        "connect_timeout": _GONE_S,
        "tcp_user_timeout": _GONE_S * 1000,
        "options": f"-c lock_timeout={busy_timeout_ms} -c synchronous_commit=on -c timezone=UTC",
    }
    try:
        engine = create_engine(
            url.set(drivername="postgresql+psycopg"),
            pool_pre_ping=True,
            connect_args={name: value for name, value in options.items() if name not in url.query},
        )
    except ModuleNotFoundError as error:
        raise UsageError("PostgreSQL needs its driver: pip install 'fengsui[postgresql]'") from error

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if _writes(connection):
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITE_LOCK})")
        else:
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")

    return engine


_DIALECTS: dict[str, Callable[[URL, int], Engine]] = {"sqlite": _sqlite, "postgresql": _postgresql}


def _writes(connection: Connection) -> bool:
    return bool(connection.get_execution_options().get(_WRITES, False))


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One transaction that writes: committed at the end, rolled back by an exception."""
    with engine.connect().execution_options(**{_WRITES: True}) as connection, connection.begin():
        yield connection

"""State databases for tests: a file of SQLite, or a database of its own in a real PostgreSQL."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from sqlalchemy import create_engine, make_url, text

from fengsui.database import connect, writing
from tests.servers import HOST, Process, postgresql, running

Kind = Literal["sqlite", "postgresql"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_numbers = count(1)


class Database(NamedTuple):
    """One empty state database."""

    url: str

    @property
    def kind(self) -> str:
        """Which of ``KINDS``."""
        return make_url(self.url).get_backend_name()

    def query(self, sql: str, **values: object) -> list[Any]:
        """All rows that a query finds."""
        engine = connect(self.url)
        try:
            with engine.connect() as connection:
                return list(connection.execute(text(sql), values))
        finally:
            engine.dispose()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Another process's hand on it: nobody else writes while the block lasts."""
        other = connect(self.url)
        try:
            with writing(other):
                yield
        finally:
            other.dispose()


@contextmanager
def cluster() -> Iterator[Process]:
    """A PostgreSQL that runs for the length of the block; for fixtures, outside any event loop."""
    with _home() as home:
        server = postgresql(home)
        asyncio.run(server.start())
        try:
            yield server
        finally:
            asyncio.run(server.stop())


@asynccontextmanager
async def own_cluster() -> AsyncIterator[Process]:
    """The same for a test that breaks it."""
    with _home() as home:
        async with running(await asyncio.to_thread(postgresql, home)) as server:
            yield server


@contextmanager
def _home() -> Iterator[Path]:
    home = Path(tempfile.mkdtemp(prefix="fengsui-pg-"))
    try:
        yield home
    finally:
        shutil.rmtree(home)


def in_cluster(server: Process) -> Database:
    """A new database in a running PostgreSQL."""
    name = f"state{next(_numbers)}"
    address = f"postgresql+psycopg://fengsui@{HOST}:{server.port}"
    admin = create_engine(f"{address}/postgres", isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    admin.dispose()
    return Database(f"postgresql://fengsui@{HOST}:{server.port}/{name}")


def in_folder(folder: Path) -> Database:
    """A file of SQLite."""
    return Database(f"sqlite:///{folder / 'state.db'}")


def family(pid: int) -> list[int]:
    """A server and its children, the server first."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]

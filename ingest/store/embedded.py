"""The series store without a server: SQLite, a file for each UTC day of the stamp.

A day's file holds ``reading(point, at, value, quality)`` keyed by (point, at), in WAL mode with
``synchronous=FULL``; NaN is stored as NULL. One thread writes; any process may read. Old days leave by
unlinking their file. Files that are not days:

- ``odd.db``: stamps before now - 400 days or after now + 1 day. A gateway with a wrong clock could otherwise
  make a file for every day there ever was; here it makes one, bounded by ``odd_limit_bytes``. A reading that
  was odd when it came and is sent again once its day has come is known for the duplicate it is.
- ``*.damaged``: a file that SQLite could not read, moved aside for a person to recover and reported as a
  fault. A day's file gets its name when it is whole, so one without its table is damaged, never a new day.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
import structlog
from numpy.typing import NDArray

from fengsui.log import sync_folder
from fengsui.model import Point
from fengsui.runtime import wall_us
from fengsui.viewer import Viewer
from ingest.store.base import (
    Outcome,
    Refused,
    Rows,
    Series,
    StoreMisconfigured,
    StoreUnavailable,
    Thinning,
    check_seen,
    pieces,
)

DAY_US: Final = 86_400_000_000
PAST_DAYS: Final = 400
FUTURE_DAYS: Final = 1
ODD: Final = "odd"
"""Name of the file that stands for every day out of bounds."""

BUSY_S = 5.0
"""How long a file that another process holds locked is waited for."""
_OPEN_FILES = 8
_FETCH_ROWS = 50_000
_SCHEMA = """
CREATE TABLE reading (
    point INTEGER NOT NULL, at INTEGER NOT NULL, value REAL, quality INTEGER NOT NULL, PRIMARY KEY (point, at)
) WITHOUT ROWID
"""
_INSERT = "INSERT OR IGNORE INTO reading VALUES (?, ?, ?, ?)"
_REPLACE = "INSERT OR REPLACE INTO reading VALUES (?, ?, ?, ?)"
_HELD = "SELECT 1 FROM reading WHERE point = ? AND at = ?"
_COUNT = "SELECT count(*) FROM reading"
_COUNT_OF = "SELECT count(*) FROM reading WHERE point = ?"
_ODD_DAYS = f"SELECT DISTINCT at / {DAY_US} FROM reading"  # noqa: S608 - a constant of ours
_READ = """
SELECT reading.* FROM json_each(?) AS wanted CROSS JOIN reading
    ON point = wanted.value AND at >= ? AND at < ? LIMIT ?
"""
_SELECT = "SELECT at, value, quality FROM reading WHERE point = ? AND at >= ? AND at < ? ORDER BY at"

# Our statements never change, so SQLITE_ERROR means a file without our table.
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR})
_FOR_A_PERSON = frozenset({sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN})

_Row: TypeAlias = tuple[int, int, float | None, int]
_Work: TypeAlias = Callable[[sqlite3.Connection], list[int]]


class EmbeddedHistory:
    """The readings in a folder of SQLite files, to read; harmless beside the core that writes them.

    Args:
        folder: The store's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.faults: list[str] = []

    async def history(
        self, viewer: Viewer, point: Point, from_us: int, to_us: int, max_points: int
    ) -> Series:
        """A point's readings out of every file that can hold some; see ``History.history``."""
        check_seen(viewer, point)
        return await asyncio.to_thread(self._history, point.index, from_us, to_us, max_points)

    async def read(
        self, viewer: Viewer, points: Sequence[Point], from_us: int, to_us: int
    ) -> AsyncIterator[Rows]:
        """Readings of many points, each sought in its place; see ``History.read``."""
        for point in points:
            check_seen(viewer, point)
        wanted = str(sorted({point.index for point in points}))

        async def window(from_us: int, to_us: int, most: int) -> Rows | None:
            return await asyncio.to_thread(self._window, wanted, from_us, to_us, most)

        async for piece in pieces(window, from_us, to_us):
            yield piece

    async def count(self, point: Point | None) -> int:
        """Readings in all files."""
        return await asyncio.to_thread(self._count, None if point is None else point.index)

    async def aclose(self) -> None:
        """Nothing is held between two questions."""

    # reading, in any thread

    def _history(self, point: int, from_us: int, to_us: int, max_points: int) -> Series:
        thinning = Thinning(from_us, to_us, max_points)

        def collect(file: sqlite3.Connection) -> None:
            cursor = file.execute(_SELECT, (point, from_us, to_us))
            while rows := cursor.fetchmany(_FETCH_ROWS):
                at, value, quality = zip(*rows, strict=True)
                piece = np.array(at, np.int64), np.array(value, np.float64), np.array(quality, np.uint8)
                thinning.add(Series(*piece))

        self._read_days(from_us, to_us, collect)
        return thinning.series()

    def _window(self, wanted: str, from_us: int, to_us: int, most: int) -> Rows | None:
        found: list[Rows] = []
        left = most + 1

        def collect(file: sqlite3.Connection) -> None:
            nonlocal left
            cursor = file.execute(_READ, (wanted, from_us, to_us, left))
            while rows := cursor.fetchmany(_FETCH_ROWS):
                left -= len(rows)
                point, at, value, quality = zip(*rows, strict=True)
                found.append(
                    Rows(
                        np.array(point, np.int32),
                        np.array(at, np.int64),
                        np.array(value, np.float64),
                        np.array(quality, np.uint8),
                    )
                )

        self._read_days(from_us, to_us, collect)
        return Rows.of(*found) if left > 0 else None

    def _read_days(self, from_us: int, to_us: int, work: Callable[[sqlite3.Connection], None]) -> None:
        """Read every file that can hold something of the span."""
        for path in self._files():
            day = _day(path.stem)
            if day is None or from_us // DAY_US <= day <= (to_us - 1) // DAY_US:
                self._read(path, work)

    def _count(self, point: int | None) -> int:
        counts: list[int] = []

        def count(file: sqlite3.Connection) -> None:
            cursor = file.execute(_COUNT) if point is None else file.execute(_COUNT_OF, (point,))
            counts.append(cursor.fetchone()[0])

        for path in self._files():
            self._read(path, count)
        return sum(counts)

    def _read(self, path: Path, work: Callable[[sqlite3.Connection], None]) -> None:
        """Read a file; one that is damaged is reported and left to the writing thread."""
        with self._errors():
            try:
                with contextlib.closing(_connect(path, "ro")) as file:
                    work(file)
            except sqlite3.Error as error:
                if _code(error) in _DAMAGE:
                    self._tell(f"{path} cannot be read: {error}")
                elif path.exists():  # it is not one whose retention ended just now
                    raise

    def _tell(self, fault: str) -> None:
        if fault not in self.faults:
            self.faults.append(fault)

    # names and errors

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.db"

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("*.db"))

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            text = f"the series store in {self.folder}: {error}"
            if _code(error) in _FOR_A_PERSON or isinstance(error, PermissionError):
                raise StoreMisconfigured(f"{text}; check owner and rights") from error
            raise StoreUnavailable(None, text) from error


class EmbeddedStore(EmbeddedHistory):
    """The same folder, written.

    Args:
        folder: Its own folder, made if it is not there.
        retention_days: Whole days kept before today; at most ``PAST_DAYS``.
        odd_limit_bytes: Bound of ``odd.db``; beyond it, odd readings are refused.
        now_us: The wall clock, us since 1970 UTC.
    """

    kind = "embedded"

    def __init__(
        self,
        folder: Path,
        *,
        retention_days: int = PAST_DAYS,
        odd_limit_bytes: int = 1 << 30,
        now_us: Callable[[], int] = wall_us,
    ) -> None:
        super().__init__(folder)
        self._retention_days = min(retention_days, PAST_DAYS)
        self._odd_limit_bytes = odd_limit_bytes
        self._now_us = now_us
        self._open: OrderedDict[str, sqlite3.Connection] = OrderedDict()
        self._odd_days: set[int] = set()
        self._pruned_on = -1
        self._log = structlog.get_logger("store")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="series-store")
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(folder.glob("*.damaged")):
            self._report(path)
        if self._path(ODD).exists():
            with self._errors():
                self._within(ODD, self._learn_odd_days)

    async def write(self, rows: Rows) -> Outcome:
        """Store rows, one transaction per day; see ``Writable.write``.

        After an error some days may be stored: the same rows sent again are then counted as duplicates.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._write, rows)

    async def aclose(self) -> None:
        """Wait for the write under way and close every file."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown()

    # writing, in the one thread

    def _write(self, rows: Rows) -> Outcome:
        with self._errors():
            today = self._now_us() // DAY_US
            self._prune(today)
            days = rows.at_us // DAY_US
            is_odd = (days < today - PAST_DAYS) | (days > today + FUTURE_DAYS)
            refused = self._refuse_odd(np.flatnonzero(is_odd))
            duplicates: list[int] = []
            for day in np.unique(days[~is_odd]).tolist():
                duplicates += self._insert(_name(day), rows, np.flatnonzero(~is_odd & (days == day)), day)
            if is_odd.any() and not refused:
                duplicates += self._insert(ODD, rows, np.flatnonzero(is_odd), None)
                self._odd_days.update(np.unique(days[is_odd]).tolist())
        return Outcome(rows.count - len(duplicates) - len(refused), duplicates, refused)

    def _insert(self, name: str, rows: Rows, part: NDArray[np.intp], day: int | None) -> list[int]:
        """Put ``part`` into one file; which of its rows were there before."""
        part = part[np.lexsort((rows.at_us[part], rows.point[part]))]
        places = part.tolist()
        table = _table(rows.take(part))
        known: list[int] = []
        if day in self._odd_days:
            held = self._within(ODD, lambda file: _overwrite_held(file, table))
            known = [places[i] for i in held]
            keep = sorted(set(range(len(places))).difference(held))
            places, table = [places[i] for i in keep], [table[i] for i in keep]
        found = self._within(name, lambda file: _insert(file, table))
        return known + [places[i] for i in found]

    def _refuse_odd(self, odd: NDArray[np.intp]) -> list[Refused]:
        path = self._path(ODD)
        if not len(odd) or not path.exists() or path.stat().st_size < self._odd_limit_bytes:
            return []
        text = f"stamp out of bounds, and {path} is full ({self._odd_limit_bytes} bytes)"
        return [Refused(row, text) for row in odd.tolist()]

    def _within(self, name: str, work: _Work) -> list[int]:
        """Do ``work`` in a transaction of a file; a file found damaged is moved aside, once."""
        try:
            return self._transact(name, work)
        except sqlite3.DatabaseError as error:
            if _code(error) not in _DAMAGE:
                raise
            self._set_aside(name, error)
        return self._transact(name, work)

    def _transact(self, name: str, work: _Work) -> list[int]:
        file = self._file(name)
        try:
            file.execute("PRAGMA synchronous = FULL")
            file.execute("BEGIN IMMEDIATE")
            result = work(file)
            file.execute("COMMIT")
        except sqlite3.Error:
            # Closing takes everything back, also where a ROLLBACK would fail, and the next try reads afresh.
            self._let_go(name)
            raise
        return result

    def _file(self, name: str) -> sqlite3.Connection:
        file = self._open.get(name)
        if file is None:
            path = self._path(name)
            if not path.exists():
                _create(path)
            while len(self._open) >= _OPEN_FILES:
                self._let_go(next(iter(self._open)))
            file = self._open[name] = _connect(path, "rw")
        self._open.move_to_end(name)
        return file

    def _let_go(self, name: str) -> None:
        file = self._open.pop(name, None)
        if file is not None:
            file.close()

    def _set_aside(self, name: str, reason: object) -> None:
        path = self._path(name)
        aside = self.folder / f"{path.name}.{self._now_us()}.damaged"
        for end in ("-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + end).replace(aside.with_name(aside.name + end))
        path.replace(aside)
        sync_folder(self.folder)
        if name == ODD:
            self._odd_days.clear()
        self._report(aside)
        self._log.error("series_file_damaged", file=str(path), moved_to=str(aside), reason=str(reason))

    def _report(self, aside: Path) -> None:
        self._tell(f"{aside} was damaged and moved aside; recover it with sqlite3's .recover, or delete it")

    def _prune(self, today: int) -> None:
        if self._pruned_on == today:
            return
        for path in self.folder.glob("*.db"):
            day = _day(path.stem)
            if day is not None and day < today - self._retention_days:
                self._let_go(path.stem)
                for end in ("", "-wal", "-shm"):
                    path.with_name(path.name + end).unlink(missing_ok=True)
        self._pruned_on = today

    def _learn_odd_days(self, file: sqlite3.Connection) -> list[int]:
        self._odd_days = {day for (day,) in file.execute(_ODD_DAYS)}
        return []

    def _close(self) -> None:
        for name in list(self._open):
            self._let_go(name)


def _create(path: Path) -> None:
    """Make an empty file whole before it gets its name."""
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(new, isolation_level=None)) as file:
        file.execute("PRAGMA synchronous = FULL")
        file.execute("PRAGMA journal_mode = WAL")
        file.execute(_SCHEMA)
    new.replace(path)
    sync_folder(path.parent)


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_S, check_same_thread=False)


def _insert(file: sqlite3.Connection, table: list[_Row]) -> list[int]:
    """Insert rows; the places in ``table`` of those that were there before, which are overwritten."""
    before = file.total_changes
    file.execute("SAVEPOINT all_new")
    file.executemany(_INSERT, table)
    if file.total_changes - before == len(table):
        return []
    # Rare: a batch that was stored before a crash, or a stamp used twice. Row by row tells which.
    file.execute("ROLLBACK TO all_new")
    found = []
    for place, row in enumerate(table):
        if file.execute(_INSERT, row).rowcount == 0:
            file.execute(_REPLACE, row)
            found.append(place)
    return found


def _overwrite_held(file: sqlite3.Connection, table: list[_Row]) -> list[int]:
    """Overwrite the rows that a file holds already; their places in ``table``."""
    held = [place for place, row in enumerate(table) if file.execute(_HELD, row[:2]).fetchone()]
    file.executemany(_REPLACE, [table[place] for place in held])
    return held


def _table(rows: Rows) -> list[_Row]:
    value: list[float | None] = rows.value.tolist()
    for place in np.flatnonzero(np.isnan(rows.value)).tolist():
        value[place] = None
    return list(zip(rows.point.tolist(), rows.at_us.tolist(), value, rows.quality.tolist(), strict=True))


def _name(day: int) -> str:
    return datetime.fromtimestamp(day * 86_400, UTC).strftime("%Y-%m-%d")


def _day(name: str) -> int | None:
    """Days since 1970 of a file's name; None for ``odd``."""
    with contextlib.suppress(ValueError):
        return int(datetime.strptime(name, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()) // 86_400
    return None


def _code(error: Exception) -> int:
    """SQLite's primary result code; 0 for other errors."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF

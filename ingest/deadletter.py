"""The dead letter: what could not be used, kept with its reason until a person has looked at it.

A SQLite file of its own, so that a full or broken state database costs no evidence. What is put is on the
medium when ``put`` returns, and putting it again changes nothing. At its quota the file keeps what it has;
further letters are counted in ``overflow`` (and by reason in the store balance), their bytes are not kept.

Another process may read the file and ask for a replay: it marks letters, and the core picks the marks up.

::

    DeadLetterError
    +-- DeadLetterUnavailable    the file did not take it; hold it and try again
    +-- DeadLetterForbidden      this person may not see or replay dead letters
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar

from fengsui.errors import FengsuiError
from fengsui.journal import Entry
from fengsui.model import Lane
from fengsui.viewer import Action, Viewer
from fengsui.wire import HEADER, MAX_BODY
from ingest.decode import UNKNOWN_POINT, Decoder, Reject
from ingest.store.base import Outcome, Rows

KEPT_BYTES = HEADER.size + MAX_BODY
"""As much of a message as is kept: the largest valid record is kept whole."""
FAULT_FILL = 0.8

_ROW_BYTES = 600
"""Room a letter needs besides its bytes: its row, its names, its part of the indices."""
_PAGE = 200
_MAX_TEXT = 500
_SCHEMA = """
CREATE TABLE IF NOT EXISTS letter (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    journal TEXT, lane TEXT, n INTEGER,
    gateway TEXT NOT NULL, reason TEXT NOT NULL, text TEXT NOT NULL, at_us INTEGER NOT NULL,
    readings INTEGER NOT NULL, first INTEGER NOT NULL, size INTEGER NOT NULL, raw BLOB NOT NULL,
    replay_requested INTEGER NOT NULL DEFAULT 0,
    UNIQUE (journal, lane, n, reason)
);
CREATE INDEX IF NOT EXISTS letter_gateway ON letter (gateway);
CREATE INDEX IF NOT EXISTS letter_requested ON letter (id) WHERE replay_requested;
CREATE TABLE IF NOT EXISTS name (
    gateway TEXT NOT NULL, name TEXT NOT NULL, letter INTEGER NOT NULL REFERENCES letter ON DELETE CASCADE,
    PRIMARY KEY (gateway, name, letter)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS name_letter ON name (letter);
CREATE TABLE IF NOT EXISTS overflow (
    journal TEXT NOT NULL, lane TEXT NOT NULL, upto INTEGER NOT NULL, letters INTEGER NOT NULL,
    PRIMARY KEY (journal, lane)
) WITHOUT ROWID;
"""
_SUMMARY = "id, gateway, reason, text, at_us, readings, first, size, journal, lane, n, replay_requested"
_P = ParamSpec("_P")
_T = TypeVar("_T")


class DeadLetterError(FengsuiError):
    """Root of this tree."""


class DeadLetterUnavailable(DeadLetterError):
    """The file cannot be read or written now; nothing was changed."""


class DeadLetterForbidden(DeadLetterError):
    """Dead letters belong to no unit: only engineers and administrators who see every unit read them."""


class Letter(NamedTuple):
    """Something to be put aside; ``journal``, ``lane`` and ``n`` are its number, if it has one."""

    gateway: str
    """Gateway or device, as the broker knows it."""
    reason: str
    text: str
    raw: bytes
    at_us: int
    """Received at, server clock."""
    readings: int = 1
    names: tuple[str, ...] = ()
    """Unknown points it names."""
    journal: str | None = None
    lane: Lane | None = None
    n: int | None = None

    @classmethod
    def of(cls, reject: Reject, journal: str) -> Letter:
        """The letter of what the decoder rejected; ``journal`` is the journal's identity."""
        entry, reason, text, readings, names = reject
        return cls(
            entry.gateway, reason, text, entry.record, entry.received_at_us, readings, names,
            journal, entry.lane, entry.n,
        )  # fmt: skip


class Summary(NamedTuple):
    """A letter in the file, without its bytes."""

    id: int
    gateway: str
    reason: str
    text: str
    at_us: int
    readings: int
    first: bool
    """Whether it was its gateway's first one in the file."""
    size: int
    """Bytes received; at most ``KEPT_BYTES`` of them are kept."""
    journal: str | None
    lane: str | None
    n: int | None
    replay_requested: bool


class Put(NamedTuple):
    """What became of letters: kept, known before, or beyond the quota; gateways whose first is among them."""

    kept: int
    known: int
    overflow: int
    first: list[str]


class Replayed(NamedTuple):
    """What a replay delivered, and how many letters stay because something in them still cannot be used."""

    letters: int
    readings: int
    left: int


class DeadLetter:
    """The file. Its methods may be called from any task; each is one transaction in a thread.

    Args:
        path: The file; made if it is not there.
        quota_bytes: How large it may grow.

    Raises:
        DeadLetterUnavailable: It is not a file of ours, or cannot be opened.
    """

    def __init__(self, path: Path, *, quota_bytes: int = 1 << 30) -> None:
        self.path = path
        self.quota_bytes = quota_bytes
        self._lock = threading.Lock()
        with self._translated():
            self._db = sqlite3.connect(path, timeout=1.0, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute("PRAGMA foreign_keys=ON")
            self._db.executescript(_SCHEMA)
            self._page_bytes = int(self._one("PRAGMA page_size"))
            self.used_bytes = self._used()
            self.overflow = int(self._one("SELECT coalesce(sum(letters), 0) FROM overflow"))

    @property
    def fill(self) -> float:
        """How much of the quota is used, 0 to 1."""
        return self.used_bytes / self.quota_bytes

    @property
    def fault(self) -> tuple[str, str] | None:
        """What a person must be told, in English and Chinese: nearly full, or letters not kept."""
        if self.overflow:
            return (
                f"The dead letter is full: {self.overflow} messages were counted but not kept",
                f"死信文件已满：{self.overflow} 条消息只计数、未保存",
            )
        if self.fill >= FAULT_FILL:
            return (f"The dead letter is {self.fill:.0%} full", f"死信文件已用 {self.fill:.0%}")
        return None

    # for this process

    async def put(self, letters: Sequence[Letter]) -> Put:
        """Keep letters; on the medium when this returns. The same number and reason are kept once.

        Raises:
            DeadLetterUnavailable: Nothing was kept; put the same again later.
        """
        return await self._in_thread(self._put, letters)

    async def replay(
        self, decoder: Decoder, write: Callable[[Rows], Awaitable[Outcome]], gateway: str, name: str
    ) -> Replayed:
        """Deliver what was put aside because of one unknown point; letters that are wholly delivered go.

        A record is decoded as a whole, so readings that were stored before are written again, which changes
        nothing. The store balance keeps counting all of them as dead: they were delivered beside it.

        Raises:
            DeadLetterUnavailable: The file did not answer; what was delivered will be delivered again.
        """
        query = (
            "SELECT letter FROM name WHERE gateway = ? AND name = ? AND letter > ? ORDER BY letter LIMIT ?"
        )
        return await self._replay(decoder, write, query, (gateway, name))

    async def replay_requested(
        self, decoder: Decoder, write: Callable[[Rows], Awaitable[Outcome]]
    ) -> Replayed:
        """Deliver what another process asked for; call it every few seconds, it costs one look when idle.

        Raises:
            DeadLetterUnavailable: As for ``replay``.
        """
        query = "SELECT id FROM letter WHERE replay_requested AND id > ? ORDER BY id LIMIT ?"
        return await self._replay(decoder, write, query, ())

    async def aclose(self) -> None:
        """Close the file."""
        await self._in_thread(self._db.close)

    # for a person

    async def newest(self, viewer: Viewer, limit: int, before: int | None = None) -> list[Summary]:
        """Up to ``limit`` letters, newest first; those older than the id ``before``.

        Raises:
            DeadLetterForbidden: The viewer may not.
            DeadLetterUnavailable: The file did not answer.
        """
        _check(viewer, Action.READ_DEAD_LETTERS)
        query = f"SELECT {_SUMMARY} FROM letter WHERE id < ? ORDER BY id DESC LIMIT ?"  # noqa: S608 - constant
        bound = (2**63 - 1 if before is None else before, limit)
        return await self._in_thread(lambda: [_summary(row) for row in self._db.execute(query, bound)])

    async def show(self, viewer: Viewer, id_: int) -> tuple[Summary, bytes] | None:
        """A letter and what was kept of its bytes, or None when there is no such letter.

        Raises:
            DeadLetterForbidden: The viewer may not.
            DeadLetterUnavailable: The file did not answer.
        """
        _check(viewer, Action.READ_DEAD_LETTERS)
        query = f"SELECT {_SUMMARY}, raw FROM letter WHERE id = ?"  # noqa: S608 - constant
        row = await self._in_thread(lambda: self._db.execute(query, (id_,)).fetchone())
        return None if row is None else (_summary(row[:-1]), row[-1])

    async def request_replay(
        self,
        viewer: Viewer,
        *,
        ids: Sequence[int] = (),
        gateway: str | None = None,
        reason: str | None = None,
    ) -> int:
        """Ask the core to deliver letters again: these ids, or all of a gateway, of a reason, or of both.

        Returns how many letters are marked. One without a number cannot be delivered again and is left out.

        Raises:
            DeadLetterForbidden: The viewer may not.
            DeadLetterUnavailable: The file did not answer.
        """
        _check(viewer, Action.REPLAY_DEAD_LETTERS)
        return await self._in_thread(self._request, ids, gateway, reason)

    # inside

    async def _in_thread(self, do: Callable[_P, _T], *args: _P.args, **named: _P.kwargs) -> _T:
        def locked() -> _T:
            # A cancelled task leaves its thread running: the lock, not the loop, keeps transactions apart.
            with self._lock, self._translated():
                return do(*args, **named)

        return await asyncio.to_thread(locked)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise DeadLetterUnavailable(f"{self.path}: {error}") from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _one(self, query: str, *bound: object) -> Any:
        row = self._db.execute(query, bound).fetchone()
        return None if row is None else row[0]

    def _used(self) -> int:
        return self._page_bytes * (
            int(self._one("PRAGMA page_count")) - int(self._one("PRAGMA freelist_count"))
        )

    def _put(self, letters: Sequence[Letter]) -> Put:
        kept = known = overflow = 0
        first: list[str] = []
        with self._transaction():
            room = self.quota_bytes - self._used()
            for letter in letters:
                letter = letter._replace(gateway=_cut(letter.gateway), text=_cut(letter.text))
                if letter.n is not None and self._has(letter):
                    known += 1
                    continue
                need = min(len(letter.raw), KEPT_BYTES) + _ROW_BYTES + sum(map(len, letter.names)) * 2
                if need > room:
                    overflow += self._overflow(letter)
                    continue
                room -= need
                is_first = self._one("SELECT 1 FROM letter WHERE gateway = ? LIMIT 1", letter.gateway) is None
                self._insert(letter, is_first)
                kept += 1
                if is_first:
                    first.append(letter.gateway)
            used = self._used()
        self.used_bytes = used
        self.overflow += overflow
        return Put(kept, known, overflow, first)

    def _has(self, letter: Letter) -> bool:
        query = "SELECT 1 FROM letter WHERE journal = ? AND lane = ? AND n = ? AND reason = ?"
        return self._one(query, letter.journal, letter.lane, letter.n, letter.reason) is not None

    def _insert(self, letter: Letter, is_first: bool) -> None:
        cursor = self._db.execute(
            "INSERT INTO letter (journal, lane, n, gateway, reason, text, at_us, readings, first, size, raw)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                letter.journal, letter.lane, letter.n, letter.gateway, letter.reason, letter.text,
                letter.at_us, letter.readings, is_first, len(letter.raw), letter.raw[:KEPT_BYTES],
            ),
        )  # fmt: skip
        rows = [(letter.gateway, name, cursor.lastrowid) for name in letter.names]
        self._db.executemany("INSERT OR IGNORE INTO name VALUES (?, ?, ?)", rows)

    def _overflow(self, letter: Letter) -> int:
        """Count a letter there is no room for; a numbered one only once, as numbers come in order."""
        journal, lane, n = letter.journal or "", letter.lane or "", letter.n
        upto = self._one("SELECT upto FROM overflow WHERE journal = ? AND lane = ?", journal, lane)
        if n is not None and upto is not None and n <= int(upto):
            return 0
        self._db.execute(
            "INSERT INTO overflow VALUES (?, ?, ?, 1) ON CONFLICT DO UPDATE"
            " SET upto = excluded.upto, letters = letters + 1",
            (journal, lane, n or 0),
        )
        return 1

    def _request(self, ids: Sequence[int], gateway: str | None, reason: str | None) -> int:
        marked = 0
        mark = "UPDATE letter SET replay_requested = 1 WHERE n IS NOT NULL AND replay_requested = 0 AND "
        with self._transaction():
            for id_ in ids:
                marked += self._db.execute(mark + "id = ?", (id_,)).rowcount
            if not ids:
                where = mark + "(?1 IS NULL OR gateway = ?1) AND (?2 IS NULL OR reason = ?2)"
                marked = self._db.execute(where, (gateway, reason)).rowcount
        return marked

    async def _replay(
        self,
        decoder: Decoder,
        write: Callable[[Rows], Awaitable[Outcome]],
        query: str,
        bound: tuple[str, ...],
    ) -> Replayed:
        """Deliver the letters whose ids ``query`` gives, page by page in the order of their ids."""
        letters = readings = left = last = 0
        while page := await self._in_thread(self._entries, query, (*bound, last, _PAGE)):
            last = page[-1][0]
            for lane in Lane:
                of_lane = [(id_, entry) for id_, entry in page if entry.lane is lane]
                if of_lane:
                    delivered = await self._deliver(of_lane, decoder, write)
                    letters += delivered.letters
                    readings += delivered.readings
                    left += delivered.left
        return Replayed(letters, readings, left)

    async def _deliver(
        self,
        page: list[tuple[int, Entry]],
        decoder: Decoder,
        write: Callable[[Rows], Awaitable[Outcome]],
    ) -> Replayed:
        decoded = decoder.decode([entry for _, entry in page])
        rows = Rows.of(decoded.batch)
        outcome = await write(rows) if rows.count else Outcome(0, [], [])
        # The store's refusals name rows, not letters: then all of them stay, and nothing is lost by it.
        stay = {id(reject.entry): reject for reject in decoded.rejects}
        done = [] if outcome.refused else [id_ for id_, entry in page if id(entry) not in stay]
        again = [(id_, stay[id(entry)]) for id_, entry in page if id(entry) in stay]
        await self._in_thread(self._settle, [id_ for id_, _ in page], done, again)
        return Replayed(len(done), rows.count - len(outcome.refused), len(page) - len(done))

    def _entries(self, query: str, bound: tuple[object, ...]) -> list[tuple[int, Entry]]:
        ids = [id_ for (id_,) in self._db.execute(query, bound)]
        select = "SELECT n, lane, gateway, at_us, readings, raw FROM letter WHERE id = ?"
        page = []
        for id_ in ids:
            n, lane, gateway, at_us, readings, raw = self._db.execute(select, (id_,)).fetchone()
            page.append((id_, Entry(n, Lane(lane), gateway, at_us, readings, raw)))
        return page

    def _settle(self, asked: list[int], done: list[int], again: list[tuple[int, Reject]]) -> None:
        """Take delivered letters out; the others keep the names still unknown, and lose their mark."""
        with self._transaction():
            self._db.executemany(
                "UPDATE letter SET replay_requested = 0 WHERE id = ?", [(id_,) for id_ in asked]
            )
            self._db.executemany("DELETE FROM letter WHERE id = ?", [(id_,) for id_ in done])
            for id_, reject in again:
                if reject.reason == UNKNOWN_POINT:
                    self._db.execute("DELETE FROM name WHERE letter = ?", (id_,))
                    rows = [(reject.entry.gateway, name, id_) for name in reject.names]
                    self._db.executemany("INSERT INTO name VALUES (?, ?, ?)", rows)
                    changed = (_cut(reject.text), reject.readings, id_)
                    self._db.execute("UPDATE letter SET text = ?, readings = ? WHERE id = ?", changed)
            used = self._used()
        self.used_bytes = used


def _check(viewer: Viewer, action: Action) -> None:
    if not viewer.may(action) or not viewer.sees(""):
        raise DeadLetterForbidden(f"{viewer.person} may not {action.replace('_', ' ')}; ask an engineer")


def _cut(text: str) -> str:
    return text[:_MAX_TEXT].encode(errors="replace").decode()


def _summary(row: Sequence[object]) -> Summary:
    summary = Summary(*row)  # type: ignore[arg-type]
    return summary._replace(first=bool(summary.first), replay_requested=bool(summary.replay_requested))

"""The server's journal: what is in it is committed, and every gateway may forget it.

Two lanes, each a log: an alarm's sync never waits behind telemetry's, and alarm records are never given up.
At the head of every segment stand the marks of all gateways, so that recovery reads the last segment only and
a record that is sent again after any crash is known for a duplicate. Readers keep cursors of their own.

An entry, little-endian: 8 received_at_us, 4 readings, 1 length of the gateway's name, name, the record as it
came off the wire. Entries of the server's own hand have seq 0: a ``plain`` device's readings (spool 0) and
the closing of a hole that nobody can fill any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import struct
import zlib
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from enum import Enum
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import msgspec

from fengsui.errors import FengsuiError
from fengsui.log import Chunk, Damage, Log, LogError, holds_records, lock_folder, write_durably
from fengsui.marks import MAX_AHEAD, MAX_ISLANDS, Marks
from fengsui.model import AGE_UNKNOWN, Kind, Lane
from fengsui.wire import (
    HEADER,
    UNREADABLE,
    Header,
    Shed,
    encode_body,
    encode_record,
    spool_text,
    unpack_header,
)

_ENTRY = struct.Struct("<QIB")
_RECENT_BYTES = 32 << 20
_ENTRY_BYTES = 200
"""What an entry takes in memory beside its record."""
_MOST_ENTRIES = 100
"""Per read: its decoding is one turn of the event loop, in which an alarm waits. About 0.5 ms."""
_RECENT_CRCS = 1 << 14
_SPOOLS_KEPT = 4

Cursor = Mapping[Lane, int]
"""Per lane the number of the last entry a reader is done with."""


class JournalError(FengsuiError):
    """The journal cannot be opened; the text says which file and what a person can do."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One committed record and what the server knew about it when it came.

    ``record`` is header and body exactly as received; ``readings`` is what it counts for in the balance.
    Tens of thousands are in memory: the garbage collector does not look at them (they refer to nothing that
    could refer back).
    """

    n: int
    lane: Lane
    gateway: str
    received_at_us: int
    readings: int
    record: bytes

    @property
    def header(self) -> Header:
        """The record's header, not checked again."""
        return unpack_header(self.record)


class Offer(Enum):
    """What became of a record that was offered; only ``NEW`` writes anything."""

    NEW = "new"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    """The same identity with another crc: never a duplicate, always a fault."""
    AHEAD = "ahead"
    """Too far beyond what is there to be honest; it stays unanswered."""


class Account(msgspec.Struct):
    """The record balance of one (gateway, spool, lane), by the server's own counting."""

    marks: Marks
    received: int = 0
    """Records journalled."""
    shed: int = 0
    """Numbers the gateway gave up."""
    lost: int = 0
    """Numbers closed as ``lost_by_server``."""


class _Head(msgspec.Struct):
    """State of a lane before its segment's first entry."""

    accounts: dict[str, dict[str, Account]]
    journalled: dict[str, int]


class Tally(NamedTuple):
    """The last entry of a segment, and the readings of each gateway in it."""

    last: int
    readings: dict[str, int]


class _Lane:
    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.log: Log
        self.accounts: dict[str, dict[int, Account]] = {}
        self.journalled: dict[str, int] = {}
        self.crcs: OrderedDict[tuple[str, int, int], int] = OrderedDict()
        self.recent: list[Entry] = []
        self.recent_bytes = 0
        self.read_back: list[Entry] = []
        """What the last look into the files found; a reader that is far behind takes it in many reads."""
        self.unsynced: list[Entry] = []
        self.committed = 0

    def head(self) -> bytes:
        accounts = {
            gateway: {spool_text(spool): account for spool, account in spools.items()}
            for gateway, spools in self.accounts.items()
        }
        return _pack.encode(_Head(accounts, self.journalled))

    def restore(self, head: bytes, chunk: Chunk) -> None:
        try:
            state = _unpack_head.decode(head)
        except msgspec.DecodeError as error:
            raise JournalError(f"{self.log.folder}: the journal's head cannot be read: {error}") from error
        self.accounts = {
            gateway: {int(spool, 16): account for spool, account in spools.items()}
            for gateway, spools in state.accounts.items()
        }
        self.journalled = state.journalled
        self.committed = self.log.synced
        for number, payload in chunk.records:
            entry = decode_entry(number, self.lane, payload)
            self.count(entry, entry.header)

    def account(self, gateway: str, spool: int) -> Account:
        spools = self.accounts.setdefault(gateway, {})
        if spool not in spools:
            spools[spool] = Account(Marks())
            while len(spools) > _SPOOLS_KEPT:
                del spools[next(iter(spools))]
        return spools[spool]

    def count(self, entry: Entry, header: Header) -> None:
        """Enter a journalled record into the account; the same when it is new and when it is read back."""
        if header.spool:
            account = self.account(entry.gateway, header.spool)
            if header.seq:
                account.received += account.marks.add(header.seq, header.seq)
                self.crcs[entry.gateway, header.spool, header.seq] = header.crc
                while len(self.crcs) > _RECENT_CRCS:
                    self.crcs.popitem(last=False)
            if header.kind == Kind.SHED:
                self._close(account, header, entry.record)
        self.journalled[entry.gateway] = self.journalled.get(entry.gateway, 0) + entry.readings

    @staticmethod
    def _close(account: Account, header: Header, record: bytes) -> None:
        shed = _shed_of(header, record)
        if shed is None:
            return  # a tombstone that cannot be read closes nothing; it is dead-lettered like any other body
        closed = account.marks.add(shed.first, shed.last)
        if header.seq:
            account.shed += closed
        else:
            account.lost += closed

    def remember(self) -> None:
        """What was offered is synced: from now on readers see it."""
        if self.unsynced:
            self.committed = self.unsynced[-1].n
        self.recent += self.unsynced
        self.recent_bytes += sum(map(_size, self.unsynced))
        self.unsynced.clear()
        if self.recent_bytes > _RECENT_BYTES:
            drop, kept = 0, self.recent_bytes
            while kept > _RECENT_BYTES * 3 // 4:
                kept -= _size(self.recent[drop])
                drop += 1
            del self.recent[:drop]
            self.recent_bytes = kept


class Journal:
    """Two lanes of committed records, with the marks of every gateway.

    Belongs to one event loop. ``offer`` is in memory; what was offered counts after ``commit`` has returned,
    and a lane's owner must not offer while its commit is under way.

    Args:
        folder: The journal's own folder.
        quota_bytes: Bound of the telemetry lane; the alarm lane may use as much again.
        segment_bytes: Grain in which space is given back.
    """

    def __init__(self, folder: Path, *, quota_bytes: int, segment_bytes: int = 32 << 20) -> None:
        self.folder = folder
        self.quota_bytes = quota_bytes
        self.damage: list[tuple[Lane, Damage]] = []
        self._segment_bytes = min(segment_bytes, max(1 << 16, quota_bytes // 8))
        self._lanes: dict[Lane, _Lane] = {}
        self._grown = asyncio.Event()
        self._commits = 0
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = lock_folder(folder)
        if self._lock is None:
            raise JournalError(f"{folder} is in use by another process; stop that core first")
        try:
            self._open()
        except BaseException:
            self._unlock()
            raise

    @property
    def identity(self) -> str:
        """Drawn at random when the journal was created; a cursor counts in one journal only."""
        return self._identity

    # intake

    def offer(
        self, lane: Lane, gateway: str, record: bytes, header: Header, readings: int, at_us: int
    ) -> Offer:
        """Take a record into the lane's next commit, or say why not; the header alone decides.

        Raises:
            LogFull: The lane's quota is reached; make room and offer again.
        """
        state = self._lanes[lane]
        if header.spool:
            marks = state.account(gateway, header.spool).marks
            if marks.has(header.seq):
                known = state.crcs.get((gateway, header.spool, header.seq), header.crc)
                if known != header.crc:
                    return Offer.CONFLICT
                if not _closes_more(marks, header, record):
                    return Offer.DUPLICATE
            elif _is_ahead(marks, header):
                return Offer.AHEAD
        self._append(state, gateway, record, header, readings, at_us)
        return Offer.NEW

    async def commit(self, lane: Lane) -> None:
        """Put on the medium what was offered; when this returns it is committed and readers see it.

        Raises:
            LogNoSpace: No room; offer nothing more, make room and commit again.
            LogFailed: The medium failed; the process must stop.
        """
        state = self._lanes[lane]
        if not state.unsynced:
            return
        await asyncio.to_thread(state.log.sync)
        state.remember()
        self._commits += 1
        self._grown.set()

    def account(self, lane: Lane, gateway: str, spool: int) -> Account:
        """The record balance of one spool's lane; an unknown one begins at nothing."""
        return self._lanes[lane].account(gateway, spool)

    def accounts(self, lane: Lane) -> dict[str, dict[int, Account]]:
        """The record balances of a lane by gateway and spool, the newest spool last."""
        return self._lanes[lane].accounts

    def close_hole(self, lane: Lane, gateway: str, spool: int, first: int, last: int, at_us: int) -> None:
        """Close numbers that nobody holds any more as ``lost_by_server``; counts after the next commit."""
        body = encode_body(Shed(first, last, 0, "lost_by_server"))
        record = encode_record(Kind.SHED, spool, 0, AGE_UNKNOWN, body)
        header = unpack_header(record)
        self._append(self._lanes[lane], gateway, record, header, 1, at_us, beyond_quota=True)

    # readers

    def journalled(self) -> dict[str, int]:
        """Readings journalled since the journal began, by gateway."""
        total: dict[str, int] = {}
        for state in self._lanes.values():
            for gateway, readings in state.journalled.items():
                total[gateway] = total.get(gateway, 0) + readings
        return total

    def end(self) -> dict[Lane, int]:
        """The cursor of a reader that has read everything."""
        return {lane: state.committed for lane, state in self._lanes.items()}

    def first(self, lane: Lane) -> int:
        """The oldest entry that can still be read."""
        return self._lanes[lane].log.first

    def fill(self, lane: Lane) -> float:
        """How much of its quota a lane uses, 0 to 1."""
        return self._lanes[lane].log.size / self.quota_bytes

    def limit(self, quota_bytes: int) -> None:
        """Set another quota from now on; what is there beyond it stays until every reader is done with it."""
        self.quota_bytes = quota_bytes
        for state in self._lanes.values():
            state.log.quota_bytes = quota_bytes

    def is_behind(self, cursor: Cursor) -> bool:
        """Is there anything a reader has not read?"""
        return any(cursor[lane] < state.committed for lane, state in self._lanes.items())

    async def read(self, cursor: Cursor, *, max_readings: int) -> list[Entry]:
        """What follows a cursor, of one lane, the alarm lane first; waits until there is something."""
        while True:
            commits = self._commits
            for lane in (Lane.ALARM, Lane.TELEMETRY):
                if cursor[lane] < self._lanes[lane].committed:
                    entries = await self._read_lane(self._lanes[lane], cursor[lane] + 1, max_readings)
                    if entries:
                        return entries
            if commits == self._commits:  # nothing, or nothing that can still be read
                self._grown.clear()
                await self._grown.wait()

    def release(self, cursors: Iterable[Cursor]) -> None:
        """Give back the space of what every reader is done with."""
        cursors = list(cursors)
        for lane, state in self._lanes.items():
            state.log.release(min(cursor[lane] for cursor in cursors))

    async def tally_oldest(self, lane: Lane, after: int) -> Tally | None:
        """What giving up the lane's oldest segment takes, of entries beyond ``after``; None = no segment.

        Nothing is given up by asking: move the reader's cursor past ``last``, then ``release``.
        """
        state = self._lanes[lane]
        segment = state.log.oldest_segment
        if segment is None:
            return None
        readings: dict[str, int] = {}
        number = max(segment[0], after + 1)
        while number <= segment[1]:
            chunk = await asyncio.to_thread(state.log.read, number, max_bytes=4 << 20)
            for n, payload in chunk.records:
                if n <= segment[1]:
                    entry = decode_entry(n, lane, payload)
                    readings[entry.gateway] = readings.get(entry.gateway, 0) + entry.readings
            number = chunk.next
        return Tally(segment[1], readings)

    def close(self) -> None:
        """Close the files."""
        for state in self._lanes.values():
            state.log.close()
        self._unlock()

    # inside

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _append(
        self,
        state: _Lane,
        gateway: str,
        record: bytes,
        header: Header,
        readings: int,
        at_us: int,
        *,
        beyond_quota: bool = False,
    ) -> None:
        entry = Entry(state.log.next, state.lane, gateway, at_us, readings, record)
        state.log.append(encode_entry(entry), beyond_quota=beyond_quota)
        state.count(entry, header)
        state.unsynced.append(entry)

    async def _read_lane(self, state: _Lane, number: int, max_readings: int) -> list[Entry]:
        recent = state.recent
        if recent and number >= recent[0].n:
            begin = number - recent[0].n
            found = recent[begin : begin + _MOST_ENTRIES]
        elif state.read_back and state.read_back[0].n <= number <= state.read_back[-1].n:
            begin = bisect_left(state.read_back, number, key=_number)
            found = state.read_back[begin : begin + _MOST_ENTRIES]
        else:
            chunk = await asyncio.to_thread(state.log.read, number, max_bytes=1 << 20)
            for damage in chunk.damage:
                if (state.lane, damage) not in self.damage:
                    self.damage.append((state.lane, damage))
            found = [decode_entry(n, state.lane, payload) for n, payload in chunk.records]
            if not found and chunk.next > number:
                return await self._read_lane(state, chunk.next, max_readings)
            state.read_back, found = found, found[:_MOST_ENTRIES]
        entries: list[Entry] = []
        for entry in found:
            entries.append(entry)
            max_readings -= entry.readings
            if max_readings <= 0:
                break
        return entries

    def _open(self) -> None:
        pointer = self.folder / "identity"
        begun = pointer.exists()
        if begun:
            self._identity = pointer.read_text().strip()
        else:
            if any(holds_records(self.folder / lane) for lane in Lane):
                raise JournalError(
                    f"{self.folder} holds entries but no file 'identity'. Restore it from a backup, or move "
                    "the folder away to begin a new journal."
                )
            self._identity = secrets.token_hex(8)
        for lane in Lane:
            state = self._lanes[lane] = _Lane(lane)
            folder = self.folder / lane
            arguments = {
                "quota_bytes": self.quota_bytes,
                "segment_bytes": self._segment_bytes,
            }
            if not begun:
                if folder.exists():  # left by a creation that was interrupted
                    shutil.rmtree(folder)
                state.log = Log.create(folder, head=state.head, **arguments)
                continue
            try:
                state.log, head, chunk = Log.open(folder, head=state.head, **arguments)
            except LogError as error:
                raise JournalError(
                    f"{error}. Restore it from a backup, or move {self.folder} away to begin a new journal."
                ) from error
            self.damage += [(lane, damage) for damage in chunk.damage]
            state.restore(head, chunk)
        if not begun:
            write_durably(pointer, self._identity.encode())


def _is_ahead(marks: Marks, header: Header) -> bool:
    """A tombstone may stand for everything before it, however far that reaches."""
    is_far = header.seq > marks.upto + MAX_AHEAD and header.kind != Kind.SHED
    return is_far or (len(marks.islands) >= MAX_ISLANDS and header.seq != marks.upto + 1)


def _shed_of(header: Header, record: bytes) -> Shed | None:
    """The body of a tombstone; None when it cannot be read."""
    body = record[HEADER.size :]
    if zlib.crc32(body) != header.crc:
        return None
    with contextlib.suppress(*UNREADABLE):
        return _unpack_shed.decode(body)
    return None


def _closes_more(marks: Marks, header: Header, record: bytes) -> bool:
    """Does a tombstone that came before close what it did not then, when it was damaged on the way?"""
    if header.kind != Kind.SHED or (shed := _shed_of(header, record)) is None:
        return False
    return marks.count(shed.first, shed.last) < shed.last - shed.first + 1


def _size(entry: Entry) -> int:
    return len(entry.record) + _ENTRY_BYTES


def encode_entry(entry: Entry) -> bytes:
    """An entry as it stands in a log; lane and number are its place there."""
    name = entry.gateway.encode()
    return _ENTRY.pack(entry.received_at_us, entry.readings, len(name)) + name + entry.record


def decode_entry(number: int, lane: Lane, payload: bytes) -> Entry:
    """An entry from its place in a log of this lane."""
    received_at_us, readings, length = _ENTRY.unpack_from(payload)
    begin = _ENTRY.size + length
    gateway = payload[_ENTRY.size : begin].decode()
    return Entry(number, lane, gateway, received_at_us, readings, payload[begin:])


_number = attrgetter("n")
_pack = msgspec.msgpack.Encoder()
_unpack_head = msgspec.msgpack.Decoder(_Head)
_unpack_shed = msgspec.msgpack.Decoder(Shed)

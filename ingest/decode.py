"""From journal entries to arrays: bodies are read, names become points, and what cannot be read is set aside.

Pure: no I/O, no clock. Columns of many records are joined and checked at once; only a record that looks wrong
is looked at by itself, to learn the reason. Every entry is accounted for in ``Decoded.counts``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import nan
from typing import NamedTuple, Protocol
from zlib import crc32

import msgspec
import numpy as np
from numpy.typing import NDArray

from fengsui.batch import UNKNOWN_AGE, Batch, GatewayEvent, Position
from fengsui.journal import Entry
from fengsui.model import AGE_UNKNOWN, POINT_NAME, Description, Event, Kind, Point, Quality
from fengsui.wire import (
    HEADER,
    MAX_BODY,
    MAX_STAMP_US,
    BodyError,
    Describe,
    Header,
    Readings,
    Shed,
    check_body,
    unpack_body,
)

UNKNOWN_POINT = "unknown_point"
"""Reason of a reject whose names nobody has registered; it is delivered again once somebody has."""

_CACHED_NAMES = 1_000_000


class Bindings(Protocol):
    """What the decoder asks the registry."""

    generation: int

    def point(self, gateway: str, name: str) -> Point | None:
        """The point that this gateway's name is bound to."""


class Reject(NamedTuple):
    """A record, or the readings of it that name unknown points, for the dead letter.

    ``readings`` is what it takes from the store balance; ``names`` are the unknown points.
    """

    entry: Entry
    reason: str
    text: str
    readings: int
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """A name nobody has registered, as it came past: its last value (NaN for an event) and how often."""

    gateway: str
    name: str
    value: float
    at_us: int
    count: int


class Described(NamedTuple):
    """What the drivers of a gateway know of their points."""

    gateway: str
    points: list[Description]


class GivenUp(NamedTuple):
    """Records a gateway gave up (or the server closed as lost), as its tombstone says."""

    entry: Entry
    shed: Shed


@dataclass(slots=True)
class Counts:
    """One gateway's part of a decoding, in readings: ``journalled == delivered + passed + sum(dead)``."""

    journalled: int = 0
    delivered: int = 0
    """Rows of the batch."""
    passed: int = 0
    """Events, shed and describe records, one each: they reached whom they are for."""
    dead: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decoded:
    """Consecutive journal entries of one lane, read."""

    batch: Batch
    rejects: list[Reject]
    seen: list[Seen]
    described: list[Described]
    given_up: list[GivenUp]
    counts: dict[str, Counts]
    infinite: int
    """Values that came infinite and were made NaN with quality *bad*."""
    entries: list[Entry]
    """The entries whose readings are in the batch."""
    origin: NDArray[np.intp]
    """Shape (n,): which of ``entries`` each reading of the batch came in."""


class _Table(NamedTuple):
    """The list ``p`` of a record: which point each name is bound to, -1 when to none."""

    names: tuple[str, ...]
    point: NDArray[np.int32]


class _Row(NamedTuple):
    """A readings record on its way into the columns."""

    entry: Entry
    body: Readings
    table: _Table
    age_us: int


@dataclass(frozen=True, slots=True)
class _Columns:
    """The readings of all records one after another, shape (n,); ``row`` says which record each came in."""

    row: NDArray[np.intp]
    index: NDArray[np.uint16]
    at_us: NDArray[np.int64]
    value: NDArray[np.float64]
    quality: NDArray[np.uint8]

    def only(self, keep: NDArray[np.bool_]) -> _Columns:
        return _Columns(
            self.row[keep], self.index[keep], self.at_us[keep], self.value[keep], self.quality[keep]
        )


class _Lengths(msgspec.Struct):
    """As much of a readings body as counting needs."""

    i: bytes
    dt: bytes
    x: bytes


_unpack_lengths = msgspec.msgpack.Decoder(_Lengths)


def count_readings(record: bytes) -> int:
    """What a record counts for in the balance: the rows of a readings record with whole columns, else 1."""
    if len(record) < HEADER.size or len(record) - HEADER.size > MAX_BODY:
        return 1
    kind, crc = record[3], int.from_bytes(record[24:28], "little")
    body = record[HEADER.size :]
    if kind != Kind.READINGS or crc32(body) != crc:
        return 1
    try:
        columns = _unpack_lengths.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 1
    n = len(columns.x) // 8
    whole = len(columns.x) == 8 * n and len(columns.i) == 2 * n and len(columns.dt) == 4 * n
    return n if whole and n else 1


class Decoder:
    """Reads journal entries against a registry; remembers the lists of names it has met."""

    def __init__(self, registry: Bindings) -> None:
        self._registry = registry
        self._generation = registry.generation
        self._tables: dict[tuple[str, bytes], _Table] = {}
        self._cached_names = 0

    def decode(self, entries: Sequence[Entry]) -> Decoded:
        """Decode one or more consecutive entries of one lane; no bytes in them can make this raise."""
        self._refresh()
        reading = _Reading(entries)
        for entry in entries:
            counts = reading.counts_of(entry.gateway)
            counts.journalled += entry.readings
            try:
                header, body = _unpack(entry)
                if isinstance(body, Readings):
                    table = self._table(entry.gateway, body)
                    reading.rows.append(_Row(entry, body, table, _age_us(header)))
                    continue
                check_body(body)
            except BodyError as error:
                reading.reject(entry, error)
                continue
            counts.passed += entry.readings
            if isinstance(body, Event):
                point = self._registry.point(entry.gateway, body.point)
                age_ms = UNKNOWN_AGE if header.age_ms == AGE_UNKNOWN else header.age_ms
                event = GatewayEvent(entry.gateway, body, point, entry.received_at_us, age_ms)
                reading.events.append(event)
                if point is None:
                    reading.seen.append(Seen(entry.gateway, body.point, nan, body.at, 1))
            elif isinstance(body, Shed):
                reading.given_up.append(GivenUp(entry, body))
            else:
                assert isinstance(body, Describe)
                reading.described.append(Described(entry.gateway, body.points))
        return reading.close()

    def _refresh(self) -> None:
        # A hostile gateway can send another list in every record: the memory of them is bounded.
        if self._generation != self._registry.generation or self._cached_names > _CACHED_NAMES:
            self._generation = self._registry.generation
            self._tables.clear()
            self._cached_names = 0

    def _table(self, gateway: str, body: Readings) -> _Table:
        """The points a record's names are bound to.

        Raises:
            BodyError: Columns of unequal length, no list of names, or a name that is none.
        """
        n = len(body.x) // 8
        lengths = (len(body.x), len(body.i), len(body.dt), n if body.q is None else len(body.q))
        if lengths != (8 * n, 2 * n, 4 * n, n) or n == 0:
            check_body(body)
        key = (gateway, bytes(body.p))
        table = self._tables.get(key)
        if table is None:
            names = body.names()
            if not all(map(POINT_NAME.fullmatch, names)):
                check_body(body)
            points = (self._registry.point(gateway, name) for name in names)
            indices = [-1 if point is None else point.index for point in points]
            table = self._tables[key] = _Table(tuple(names), np.array(indices, np.int32))
            self._cached_names += len(indices)
        return table


class _Reading:
    """One decoding under way."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.position = Position(entries[-1].lane, entries[-1].n)
        self.rows: list[_Row] = []
        self.events: list[GatewayEvent] = []
        self.rejects: list[Reject] = []
        self.seen: list[Seen] = []
        self.described: list[Described] = []
        self.given_up: list[GivenUp] = []
        self.counts: dict[str, Counts] = {}

    def counts_of(self, gateway: str) -> Counts:
        counts = self.counts.get(gateway)
        if counts is None:
            counts = self.counts[gateway] = Counts()
        return counts

    def reject(self, entry: Entry, error: BodyError) -> None:
        self._dead(Reject(entry, error.reason, str(error), entry.readings))

    def close(self) -> Decoded:
        columns = self._join()
        if self._reject_suspects(columns):
            columns = self._join()
        point = self._bind(columns)
        unknown = point < 0
        if unknown.any():
            self._set_aside(columns, unknown)
            columns, point = columns.only(~unknown), point[~unknown]
        value, quality = columns.value, columns.quality
        infinite = np.isinf(value)
        if infinite.any():
            value = np.where(infinite, nan, value)
            quality = np.where(infinite, np.uint8(Quality.BAD), quality)
        received_at_us = np.array([row.entry.received_at_us for row in self.rows], np.int64)
        age_us = np.array([row.age_us for row in self.rows], np.int64)
        batch = Batch(
            position=self.position,
            point=point,
            at_us=columns.at_us,
            value=value,
            quality=quality,
            received_at_us=received_at_us[columns.row],
            age_us=age_us[columns.row],
            events=self.events,
        )
        return Decoded(
            batch,
            self.rejects,
            self.seen,
            self.described,
            self.given_up,
            self.counts,
            int(np.count_nonzero(infinite)),
            [row.entry for row in self.rows],
            columns.row,
        )

    def _dead(self, reject: Reject) -> None:
        self.rejects.append(reject)
        dead = self.counts_of(reject.entry.gateway).dead
        dead[reject.reason] = dead.get(reject.reason, 0) + reject.readings

    def _join(self) -> _Columns:
        rows = self.rows
        lengths = [row.body.count for row in rows]
        of_row = np.repeat(np.arange(len(rows)), lengths)
        base = np.array([row.body.t0 for row in rows], np.int64)
        return _Columns(
            row=of_row,
            index=np.frombuffer(b"".join(row.body.i for row in rows), "<u2"),
            at_us=base[of_row] + np.frombuffer(b"".join(row.body.dt for row in rows), "<u4"),
            value=np.frombuffer(b"".join(row.body.x for row in rows), "<f8").astype(np.float64, copy=False),
            quality=np.frombuffer(b"".join(_quality(row.body) for row in rows), np.uint8),
        )

    def _reject_suspects(self, columns: _Columns) -> bool:
        """Set records aside whose index, stamp or quality is out of bounds; whether there were any."""
        if not self.rows:
            return False
        starts = np.cumsum([0, *(row.body.count for row in self.rows[:-1])])
        suspect = (
            (np.maximum.reduceat(columns.index, starts) >= [len(row.table.names) for row in self.rows])
            | (np.maximum.reduceat(columns.at_us, starts) >= MAX_STAMP_US)
            | (np.maximum.reduceat(columns.quality, starts) > max(Quality))
        )
        if not suspect.any():
            return False
        good = []
        for row, doubtful in zip(self.rows, suspect.tolist(), strict=True):
            try:
                if doubtful:
                    check_body(row.body)
                good.append(row)
            except BodyError as error:
                self.reject(row.entry, error)
        self.rows = good
        return True

    def _bind(self, columns: _Columns) -> NDArray[np.int32]:
        """The point of every reading, -1 for an unknown name; counts them all as delivered."""
        # Gateways repeat their list of names record after record: each list is joined once.
        place_of: dict[int, int] = {}
        tables: list[NDArray[np.int32]] = [np.empty(0, np.int32)]
        size = 0
        places = []
        for row in self.rows:
            place = place_of.get(id(row.table))
            if place is None:
                place = place_of[id(row.table)] = size
                tables.append(row.table.point)
                size += len(row.table.point)
            places.append(place)
            self.counts_of(row.entry.gateway).delivered += row.body.count
        point: NDArray[np.int32] = np.concatenate(tables)[
            np.array(places, np.intp)[columns.row] + columns.index
        ]
        return point

    def _set_aside(self, columns: _Columns, unknown: NDArray[np.bool_]) -> None:
        """One reject per record that names unknown points, and the last value of each such name."""
        seen: dict[tuple[str, str], Seen] = {}
        at = np.flatnonzero(unknown)
        record, starts = np.unique(columns.row[at], return_index=True)
        for number, rows in zip(record.tolist(), np.split(at, starts[1:]), strict=True):
            entry, _, table, _ = self.rows[number]
            names: dict[str, int] = {}
            for place, index in zip(rows.tolist(), columns.index[rows].tolist(), strict=True):
                name = table.names[index]
                names[name] = names.get(name, 0) + 1
                before = seen.get((entry.gateway, name))
                count = 1 if before is None else before.count + 1
                value, at_us = float(columns.value[place]), int(columns.at_us[place])
                seen[entry.gateway, name] = Seen(entry.gateway, name, value, at_us, count)
            self.counts_of(entry.gateway).delivered -= len(rows)
            shown = ", ".join(list(names)[:5]) + (" ..." if len(names) > 5 else "")
            text = f"no registered point is bound to {shown} of {entry.gateway}"
            self._dead(Reject(entry, UNKNOWN_POINT, text, len(rows), tuple(names)))
        self.seen.extend(seen.values())


def _unpack(entry: Entry) -> tuple[Header, Readings | Event | Shed | Describe]:
    record = entry.record
    if len(record) < HEADER.size:
        raise BodyError("short", f"{len(record)} bytes; a record has at least {HEADER.size}")
    header = entry.header
    return header, unpack_body(header, record[HEADER.size :])


def _age_us(header: Header) -> int:
    return UNKNOWN_AGE if header.age_ms == AGE_UNKNOWN else header.age_ms * 1000


def _quality(body: Readings) -> bytes:
    return bytes(body.count) if body.q is None else body.q

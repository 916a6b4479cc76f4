"""Captured traffic: what a core has journalled, in one file, to be played again elsewhere.

A capture is a segment of a log (``fengsui/log.py``: length, number and contents of each record are under a
crc32, and the next good record is found after a damaged one). Its head is MessagePack of :class:`Head`. The
payload of each record begins with a byte that says what follows::

    0  MessagePack, a list of registered points (``fengsui.model.Point``); before all entries
    1  an entry of the journal's alarm lane, 2 of its telemetry lane, as in ``fengsui/journal.py``
    3  MessagePack of End; always the last one, so that a capture that was cut short is known

Entries stand in the order in which the core received them, a lane by itself always. No logins are in it: the
journal has none, and of the registry only the points are taken.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from pathlib import Path
from types import TracebackType

import msgspec

from fengsui.errors import UsageError
from fengsui.journal import Entry, decode_entry, encode_entry
from fengsui.log import Segment, begin, frame, read_head, scan
from fengsui.model import Kind, Lane, Point
from fengsui.tail import Tail

VERSION = 1
_POINTS, _END = b"\x00", b"\x03"
_LANES = {Lane.ALARM: b"\x01", Lane.TELEMETRY: b"\x02"}
_LANE_OF = {mark[0]: lane for lane, mark in _LANES.items()}
_POINTS_PER_RECORD = 1_000
_BUFFER = 1 << 20


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """What a capture says of itself."""

    capture: int = VERSION
    journal: str
    """Identity of the journal it was taken from."""
    begun_at_us: int
    """By the clock of the machine it was taken on."""


class End(msgspec.Struct, frozen=True, kw_only=True):
    """What a whole capture ends with."""

    entries: int
    readings: int
    missed: int
    """Entries that were given up by the core before they could be read, or are damaged in its journal."""


class Follower:
    """Reads both lanes of a journal beside the core that writes it.

    Raises:
        UsageError: There is no journal in this folder.
    """

    def __init__(self, folder: Path) -> None:
        identity = folder / "identity"
        try:
            self.identity = identity.read_text().strip()
        except OSError as error:
            text = f"{identity} cannot be read ({error.strerror}); is that a journal, and may you read it?"
            raise UsageError(text) from error
        self._tails = {lane: Tail(folder / lane) for lane in Lane}
        self.missed = 0

    def skip(self) -> None:
        """Begin at the end of what is there."""
        for tail in self._tails.values():
            tail.skip()

    def entries(self) -> Iterator[Entry]:
        """What has come since the last time, in the order in which it was received."""
        return heapq.merge(*(self._lane(lane) for lane in Lane), key=attrgetter("received_at_us"))

    def close(self) -> None:
        """Close the files."""
        for tail in self._tails.values():
            tail.close()

    def _lane(self, lane: Lane) -> Iterator[Entry]:
        while True:
            chunk = self._tails[lane].read()
            self.missed += sum(damage.last - damage.first + 1 for damage in chunk.damage)
            if not chunk.records:
                return
            for number, payload in chunk.records:
                yield decode_entry(number, lane, payload)


class Writer:
    """A capture being written; a context manager that closes it with an :class:`End`.

    Args:
        path: Must not exist.
        head: Of the capture.
        points: The registered points.

    Attributes:
        entries: Entries written.
        readings: Readings in them.
        size: Bytes of the file so far.
        missed: Goes into the end.

    Raises:
        UsageError: The file is there already, or cannot be written.
    """

    def __init__(self, path: Path, head: Head, points: Sequence[Point]) -> None:
        self.entries = self.readings = self.size = self.missed = 0
        self._number = 0
        self._path = path
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError as error:
            raise UsageError(f"{path} is there already; choose another file") from error
        except OSError as error:
            raise self._refused(error) from error
        self._file = os.fdopen(handle, "wb", _BUFFER)
        self._write(begin(_pack.encode(head)))
        for at in range(0, len(points), _POINTS_PER_RECORD):
            self._append(_POINTS + _pack.encode(points[at : at + _POINTS_PER_RECORD]))

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._append(
                _END + _pack.encode(End(entries=self.entries, readings=self.readings, missed=self.missed))
            )
            self._file.close()
        except OSError as failed:
            raise self._refused(failed) from failed

    def add(self, entry: Entry) -> None:
        """Append an entry.

        Raises:
            UsageError: The file cannot be written.
        """
        self._append(_LANES[entry.lane] + encode_entry(entry))
        self.entries += 1
        self.readings += entry.readings

    def _append(self, payload: bytes) -> None:
        self._number += 1
        self._write(frame(self._number, payload))

    def _write(self, data: bytes) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            raise self._refused(error) from error
        self.size += len(data)

    def _refused(self, error: OSError) -> UsageError:
        return UsageError(f"{self._path} cannot be written: {error.strerror}")


class Capture:
    """A capture, read.

    Attributes:
        head: What it says of itself.
        points: Registered points of the gateways in it; their ``index`` is their place in this list.
        end: None when the capture was cut short.
        gateways: Who is heard in it.
        plain: Those of the gateways that are plain devices.
        damaged: Records that cannot be read.
        span_us: When its first and its last entry were received; None when it has none.

    Raises:
        UsageError: The file cannot be read, is no capture, or one of a later version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            found = read_head(path)
            self._size = path.stat().st_size
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror}") from error
        if found is None:
            raise UsageError(f"{path} is no capture; `fengsui capture` makes one")
        try:
            self.head = _unpack_head.decode(found[0])
        except msgspec.MsgspecError as error:
            raise UsageError(f"{path} is no capture but another log; `fengsui capture` makes one") from error
        if self.head.capture != VERSION:
            raise UsageError(f"{path} is of version {self.head.capture}; this program knows {VERSION}")
        self._begin = found[1]
        self.end: End | None = None
        self.damaged = 0
        self.span_us: tuple[int, int] | None = None
        self.plain: set[str] = set()
        points: list[Point] = []
        heard: set[str] = set()
        for payload in self._payloads(count=True):
            if payload[:1] == _POINTS:
                points += _unpack_points.decode(payload[1:])
            elif payload[:1] == _END:
                self.end = _unpack_end.decode(payload[1:])
            elif payload[0] in _LANE_OF:
                entry = decode_entry(0, _LANE_OF[payload[0]], payload[1:])
                heard.add(entry.gateway)
                if entry.header.kind is Kind.READINGS and entry.header.seq == 0:
                    self.plain.add(entry.gateway)
                first_us, last_us = self.span_us or (entry.received_at_us, entry.received_at_us)
                self.span_us = min(first_us, entry.received_at_us), max(last_us, entry.received_at_us)
        self.gateways = sorted(heard)
        kept = sorted((point for point in points if point.gateway in heard), key=attrgetter("index"))
        self.points = [msgspec.structs.replace(point, index=index) for index, point in enumerate(kept)]

    def entries(self) -> Iterator[Entry]:
        """The entries in their order; what is damaged is left out."""
        for number, payload in enumerate(self._payloads(), 1):
            lane = _LANE_OF.get(payload[0])
            if lane is not None:
                yield decode_entry(number, lane, payload[1:])

    def _payloads(self, *, count: bool = False) -> Iterable[bytes]:
        segment, number, place = Segment(1, self.path), 1, self._begin
        with self.path.open("rb", buffering=0) as file:
            while True:
                chunk, place = scan(file.fileno(), segment, place, number, self._size, _BUFFER)
                number = chunk.next
                if count:
                    self.damaged += sum(damage.last - damage.first + 1 for damage in chunk.damage)
                if not chunk.records:
                    return
                for _, payload in chunk.records:
                    yield payload


_pack = msgspec.msgpack.Encoder()
_unpack_head = msgspec.msgpack.Decoder(Head)
_unpack_points = msgspec.msgpack.Decoder(list[Point])
_unpack_end = msgspec.msgpack.Decoder(End)

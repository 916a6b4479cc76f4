"""The wire contract, version 1: records, ``committed`` and ``hello``. No I/O, no clock, no logging.

A record is one MQTT message, a fixed 28-byte little-endian header and a MessagePack body::

    0   2  "FS"
    2   1  version, 1
    3   1  kind: 1 readings, 2 event, 3 shed, 4 describe
    4   8  spool   random identity of the spool, drawn when it is created
    12  8  seq     u64, from 1 per (spool, lane)
    20  4  age_ms  u32, how long the gateway has held it; 0xFFFFFFFF unknown
    24  4  crc32 of the body

The server commits by the header alone; a body that cannot be read is dead-lettered under its number.
Readings travel as columns of equal length, so that a server decodes them without an object per reading.
"""

from __future__ import annotations

import struct
import zlib
from array import array
from collections.abc import Sequence
from math import isfinite
from typing import Annotated, NamedTuple

import msgspec

from fengsui.model import (
    AGE_UNKNOWN,
    POINT_NAME,
    Clock,
    Description,
    Event,
    Kind,
    Lane,
    Quality,
    Reading,
)

VERSION = 1
HEADER = struct.Struct("<2sBBQQII")
MAX_BODY = 64 * 1024
MAX_READINGS = 65_535
MAX_STAMP_US = 2**53
MAX_SPAN_US = 2**32 - 1
"""``dt`` is a u32 of microseconds: one record spans at most 71 minutes."""

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises on hostile bytes: not the shape, not UTF-8, nested a thousand deep."""

_MOST = 2**63 - 1
Count = Annotated[int, msgspec.Meta(ge=0, le=_MOST)]
"""What a stranger counts in JSON: bounded, so that it can be written again."""
Offset = Annotated[int, msgspec.Meta(ge=-_MOST, le=_MOST)]

_MAGIC = b"FS"


class WireError(ValueError):
    """Bytes that are not the contract's; ``reason`` is one word for the dead letter and the counter."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class HeaderError(WireError):
    """No header: the bytes have no number, so nothing can be committed for them."""


class BodyError(WireError):
    """The header is good, the body is not: dead letter under its number."""


class Header(NamedTuple):
    """The fixed part of a record; ``kind`` stays an integer because a server commits unknown kinds too."""

    kind: int
    spool: int
    seq: int
    age_ms: int
    crc: int


class Readings(msgspec.Struct, frozen=True):
    """The body of a ``readings`` record: ``p`` names points, the other columns have n rows each.

    ``t0`` is us since 1970 UTC; ``i`` n x u16 into ``p``; ``dt`` n x u32 us after ``t0``; ``x`` n x f64 in
    the point's unit of measure, NaN = measured and invalid; ``q`` n x u8 ``Quality``, absent = all good.
    ``p`` is still MessagePack: a gateway repeats it in every record, and who has met its bytes before need
    not read them again (``names``).
    """

    t0: Annotated[int, msgspec.Meta(ge=0, lt=MAX_STAMP_US)]
    c: Clock
    p: msgspec.Raw
    i: bytes
    dt: bytes
    x: bytes
    q: bytes | None = None

    @property
    def count(self) -> int:
        """Number of readings, n."""
        return len(self.x) // 8

    def names(self) -> list[str]:
        """The names of points in ``p``, read anew at each call.

        Raises:
            BodyError: Something else stands there.
        """
        try:
            return _names.decode(self.p)
        except UNREADABLE as error:
            raise BodyError("decode", str(error)) from error


class Shed(msgspec.Struct, frozen=True):
    """The gateway gave up the records ``first`` to ``last`` of this lane, ``readings`` in all, and why."""

    first: Annotated[int, msgspec.Meta(ge=1)]
    last: Annotated[int, msgspec.Meta(ge=1)]
    readings: Annotated[int, msgspec.Meta(ge=0)]
    reason: Annotated[str, msgspec.Meta(max_length=64)]


class Describe(msgspec.Struct, frozen=True):
    """What the drivers of a gateway know of their points."""

    points: list[Description]


Body = Readings | Event | Shed | Describe


class Committed(msgspec.Struct, frozen=True):
    """Everything up to ``upto`` is in the server's journal, fsynced: the gateway may forget exactly that."""

    spool: str
    lane: Lane
    upto: int
    missing: list[tuple[int, int]]
    """Holes older than 2 s, first and last seq of each; to be resent at once."""
    window: int
    """Unconfirmed records allowed in flight."""
    epoch: int = 1
    v: int = VERSION


class LaneState(msgspec.Struct, frozen=True):
    """One lane of a spool as the gateway reports it; ``first`` is the oldest seq it still answers for."""

    first: Annotated[int, msgspec.Meta(ge=1, le=_MOST)]
    next: Annotated[int, msgspec.Meta(ge=1, le=_MOST)]
    bytes: Count
    oldest_age_ms: Count
    shed: Count = 0
    """Records given up so far under this spool identity."""


class Step(msgspec.Struct, frozen=True):
    """The clock was corrected: records of ``lane`` up to the next step, from ``from_seq`` on, are off."""

    lane: Lane
    from_seq: Count = msgspec.field(name="from")
    offset_us: Offset = msgspec.field(name="offset")


class Hello(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a gateway says on every connect and every 20 s; ``gone`` is the broker's Will."""

    spool: str
    lanes: dict[Lane, LaneState]
    v: int = VERSION
    gone: bool = False
    fresh: bool = False
    """True on the first one of a connection: asks for a ``committed`` of both lanes."""
    software: str = ""
    config: str = ""
    """Hash of the configuration in force."""
    clock: Clock = Clock.SYNCED
    offset_us: Offset | None = None
    steps: list[Step] = []
    points: Count = 0
    silent: Count = 0
    temperature_c: float | None = None
    rss_mb: float | None = None
    disk_free: Count | None = None
    written_today: Count | None = None
    autonomy_h: float | None = None
    faults: Annotated[list[str], msgspec.Meta(max_length=100)] = []


def spool_text(spool: int) -> str:
    """A spool's identity as JSON carries it: 16 hexadecimal digits (a u64 is no safe JSON number)."""
    return f"{spool:016x}"


def encode_record(kind: Kind, spool: int, seq: int, age_ms: int, body: bytes) -> bytes:
    """One record; ``age_ms`` is bounded to u32."""
    return HEADER.pack(_MAGIC, VERSION, kind, spool, seq, min(age_ms, AGE_UNKNOWN), zlib.crc32(body)) + body


def decode_header(record: bytes | memoryview) -> Header:
    """The header of a record.

    Raises:
        HeaderError: too short, another magic or version, or a spool or seq 0 (the server's own records).
    """
    if len(record) < HEADER.size:
        raise HeaderError("short", f"{len(record)} bytes; a record has at least {HEADER.size}")
    magic, version, kind, spool, seq, age_ms, crc = HEADER.unpack_from(record)
    if magic != _MAGIC:
        raise HeaderError("magic", "does not begin with FS")
    if version != VERSION:
        raise HeaderError("version", f"version {version}; this server speaks {VERSION}")
    if seq == 0:
        raise HeaderError("seq", "seq 0; numbers begin at 1")
    if spool == 0:
        raise HeaderError("spool", "spool 0 is the server's own")
    return Header(kind, spool, seq, age_ms, crc)


def unpack_header(record: bytes) -> Header:
    """The header of a record that was accepted before: not checked again."""
    return Header(*HEADER.unpack_from(record)[2:])


def encode_readings(readings: Sequence[Reading], clock: Clock) -> bytes:
    """Body of a ``readings`` record: at least 1, at most ``MAX_READINGS``, spanning at most ``MAX_SPAN_US``.

    An infinite value becomes NaN with quality *bad*.
    """
    t0 = min(r.at_us for r in readings)
    names: dict[str, int] = {}
    index = array("H", (names.setdefault(r.point, len(names)) for r in readings))
    offsets = array("I", (r.at_us - t0 for r in readings))
    values = array("d", (r.value if isfinite(r.value) else float("nan") for r in readings))
    body: dict[str, object] = {
        "t0": t0, "c": int(clock), "p": list(names),
        "i": _little(index), "dt": _little(offsets), "x": _little(values),
    }  # fmt: skip
    quality = bytes(Quality.BAD if r.value in _INFINITE else r.quality for r in readings)
    if any(quality):
        body["q"] = quality
    return _pack.encode(body)


def encode_body(body: Event | Shed | Describe) -> bytes:
    """Body of any other kind of record."""
    return _pack.encode(body)


def decode_body(header: Header, body: bytes | memoryview) -> Body:
    """The body of a record, checked as far as it can be without the registry.

    Raises:
        BodyError: wrong size, crc, kind or shape, an index out of range, columns of unequal length.
    """
    decoded = unpack_body(header, body)
    check_body(decoded)
    return decoded


def unpack_body(header: Header, body: bytes | memoryview) -> Body:
    """The body of a record, typed but not yet checked: the server checks the columns of many records at once.

    Raises:
        BodyError: wrong size, crc, kind or shape.
    """
    if len(body) > MAX_BODY:
        raise BodyError("size", f"body of {len(body)} bytes; at most {MAX_BODY}")
    if zlib.crc32(body) != header.crc:
        raise BodyError("crc", "body does not match its crc32")
    decoder = _decoders.get(header.kind)
    if decoder is None:
        raise BodyError("kind", f"unknown kind {header.kind}")
    try:
        return decoder.decode(body)
    except UNREADABLE as error:
        raise BodyError("decode", str(error)) from error


def check_body(body: Body) -> None:
    """Check what the types of a body cannot say.

    Raises:
        BodyError: columns of unequal length, an index, a stamp or a name out of bounds.
    """
    match body:
        case Readings():
            _check_readings(body)
        case Event():
            if not POINT_NAME.fullmatch(body.point):
                raise BodyError("point", f"not a point name: {body.point[:80]!r}")
            if not 0 <= body.at < MAX_STAMP_US:
                raise BodyError("time", f"event time {body.at} us is out of bounds")
        case Shed():
            if body.last < body.first:
                raise BodyError("range", f"shed range {body.first}..{body.last} is empty")
        case Describe():
            for point in body.points:
                if not POINT_NAME.fullmatch(point.name):
                    raise BodyError("point", f"not a point name: {point.name[:80]!r}")


def _check_readings(body: Readings) -> None:
    n = body.count
    if not 1 <= n <= MAX_READINGS or len(body.x) != 8 * n or len(body.i) != 2 * n or len(body.dt) != 4 * n:
        raise BodyError("columns", "columns are empty or of unequal length")
    if body.q is not None and (len(body.q) != n or max(body.q) > max(Quality)):
        raise BodyError("columns", "quality column has another length or an unknown quality")
    if body.t0 + max(_native("I", body.dt)) >= MAX_STAMP_US:
        raise BodyError("time", "a stamp is out of bounds")
    names = body.names()
    if max(_native("H", body.i)) >= len(names):
        raise BodyError("index", "an index points outside the list of points")
    for name in names:
        if not POINT_NAME.fullmatch(name):
            raise BodyError("point", f"not a point name: {name[:80]!r}")


def _native(code: str, column: bytes) -> array[int]:
    values = array(code, column)
    if _BIG_ENDIAN:
        values.byteswap()
    return values


def _little(values: array[int] | array[float]) -> bytes:
    if _BIG_ENDIAN:
        values.byteswap()
    return values.tobytes()


_BIG_ENDIAN = struct.pack("=H", 1) != struct.pack("<H", 1)
_INFINITE = (float("inf"), float("-inf"))
_pack = msgspec.msgpack.Encoder()
_Names = Annotated[list[str], msgspec.Meta(min_length=1, max_length=MAX_READINGS)]
_names: msgspec.msgpack.Decoder[list[str]] = msgspec.msgpack.Decoder(_Names)
_decoders: dict[int, msgspec.msgpack.Decoder[Body]] = {
    Kind.READINGS.value: msgspec.msgpack.Decoder(Readings),
    Kind.EVENT.value: msgspec.msgpack.Decoder(Event),
    Kind.SHED.value: msgspec.msgpack.Decoder(Shed),
    Kind.DESCRIBE.value: msgspec.msgpack.Decoder(Describe),
}

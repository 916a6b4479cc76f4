"""Frames of GB/T 26875.3-2011 (6.6, table 1). No I/O, no clock.

Little-endian::

    0   2  "@@"
    2   2  serial number; a confirmation or answer repeats that of the initiator
    4   2  protocol version: main (1), user
    6   6  time label of sending, see ``label``
    12  6  source address
    18  6  destination address
    24  2  length L of the application data unit, at most 1024
    26  1  command, see ``Command``
    27  L  application data unit, see ``unit``; may be empty
    ..  1  checksum: sum of the bytes 2 to 26+L, mod 256
    ..  2  "##"

A frame ends where its length says: a label of second 35, minute 35 is "##" too.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Literal

import msgspec

START = b"@@"
END = b"##"
HEADER = struct.Struct("<2sHBB6s6s6sHB")
MAX_UNIT = 1024
OVERHEAD = HEADER.size + 3
MAX_FRAME = OVERHEAD + MAX_UNIT
MAX_ADDRESS = 2**48 - 1
_LENGTH = struct.Struct("<H")
_LENGTH_AT = 24

Reason = Literal["start", "length", "end", "checksum", "incomplete"]
"""Why bytes are no frame; ``incomplete`` is a stream's word for a frame that never ended."""


class Command(IntEnum):
    """The command byte (table 2); 128 to 255 belong to users, the rest is reserved."""

    CONTROL = 1
    SEND = 2
    CONFIRM = 3
    REQUEST = 4
    RESPONSE = 5
    DENY = 6


class FrameError(ValueError):
    """Bytes that are no frame, whatever follows.

    ``reason`` is one word; ``skip`` says how many bytes to drop before trying again; ``size`` is how long the
    frame said it was (at least the shortest), so that what lies inside is not told as a fault of its own.
    """

    def __init__(self, reason: Reason, text: str, *, skip: int, size: int = OVERHEAD) -> None:
        super().__init__(text)
        self.reason: Reason = reason
        self.skip = skip
        self.size = size


class Frame(msgspec.Struct, frozen=True):
    """One frame as it was on the wire; ``encode`` gives back its bytes."""

    serial: int
    version: tuple[int, int]
    sent: bytes
    """Time label of sending; kept as bytes, because devices send labels that are no date."""
    source: int
    destination: int
    command: int
    unit: bytes = b""
    """The application data unit."""


def decode(buffer: bytes | bytearray, end: bytes = END) -> tuple[Frame, int] | None:
    """The frame at the start of ``buffer`` and the bytes it used, or None if more bytes are needed.

    Args:
        buffer: What came, from where a frame is expected.
        end: The end mark; one maker's differs.

    Raises:
        FrameError: What is there is no frame, whatever follows.
    """
    if not buffer.startswith(START[: len(buffer)]):
        raise FrameError("start", "no start mark @@", skip=_next_start(buffer))
    size = size_of(buffer, 0)
    if size is not None and size > MAX_FRAME:
        text = f"a length of {size - OVERHEAD}; an application data unit has at most {MAX_UNIT} bytes"
        raise FrameError("length", text, skip=_next_start(buffer))
    if size is None or len(buffer) < size:
        return None
    if (wrong := find_fault(buffer, 0, size, end)) is not None:
        raise FrameError(*wrong, skip=_next_start(buffer), size=size)
    return _head(buffer, bytes(buffer[HEADER.size : size - 3])), size


def read_head(data: bytes) -> Frame | None:
    """What a refused frame says of itself, to answer it with a denial; None = not even that is there."""
    if len(data) < HEADER.size or not data.startswith(START):
        return None
    return _head(data, b"")


def encode(frame: Frame, end: bytes = END) -> bytes:
    """The bytes of a frame.

    Raises:
        ValueError: Its application data unit is too long, or a number does not fit its field.
    """
    if len(frame.unit) > MAX_UNIT:
        raise ValueError(f"an application data unit of {len(frame.unit)} bytes; at most {MAX_UNIT}")
    try:
        head = HEADER.pack(
            START,
            frame.serial,
            *frame.version,
            frame.sent,
            frame.source.to_bytes(6, "little"),
            frame.destination.to_bytes(6, "little"),
            len(frame.unit),
            frame.command,
        )
    except (struct.error, OverflowError) as error:
        raise ValueError(f"a number of the frame does not fit its field: {error}") from error
    body = head + frame.unit
    return body + bytes((checksum(body[2:]),)) + end


def checksum(counted: bytes | bytearray) -> int:
    """Sum of the bytes, mod 256 (6.6)."""
    return sum(counted) & 0xFF


def size_of(buffer: bytes | bytearray, at: int) -> int | None:
    """How long the frame at ``at`` says it is, from mark to mark; None = its length has not come yet."""
    if len(buffer) < at + _LENGTH_AT + _LENGTH.size:
        return None
    return OVERHEAD + int(_LENGTH.unpack_from(buffer, at + _LENGTH_AT)[0])


def find_fault(buffer: bytes | bytearray, at: int, size: int, end: bytes) -> tuple[Reason, str] | None:
    """What is wrong with the ``size`` bytes at ``at``, as reason and text; None = they are a frame."""
    mark = bytes(buffer[at + size - len(end) : at + size])
    if mark != end:
        text = f"end mark {mark.hex(' ')}, not {end.hex(' ')}"
        return "end", f"{text}: it, or the length {size - OVERHEAD}, is wrong"
    stated, counted = buffer[at + size - 3], checksum(buffer[at + 2 : at + size - 3])
    if stated != counted:
        return "checksum", f"checksum {stated:02x}, the bytes give {counted:02x}"
    return None


def _head(buffer: bytes | bytearray, unit: bytes) -> Frame:
    _, serial, main, user, sent, source, destination, _, command = HEADER.unpack_from(buffer)
    addresses = int.from_bytes(source, "little"), int.from_bytes(destination, "little")
    return Frame(serial, (main, user), sent, *addresses, command, unit)


def _next_start(buffer: bytes | bytearray) -> int:
    """How many bytes lie before the next place, but the first, where a frame may begin."""
    at = buffer.find(START, 1)
    if at >= 0:
        return at
    return len(buffer) - 1 if len(buffer) > 1 and buffer.endswith(START[:1]) else len(buffer)

"""Readings of a device without a gateway of ours: ``{"p": point, "x": value, "t": time}``, or a list of such.

``t`` may be left out. So may ``q``, the quality: 0 good, 1 uncertain, 2 bad, 3 out of range, 4 simulated or
test. Pure: no I/O, no clock. Everything about the payload is hostile until :func:`parse` has returned.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Annotated

import msgspec

from fengsui.model import POINT_NAME, Clock, Kind, Quality, Reading
from fengsui.wire import MAX_SPAN_US, MAX_STAMP_US, encode_readings, encode_record

MAX_PAYLOAD = 64 * 1024
MAX_READINGS = 1000

_MS_UP_TO = 10**14
"""``t`` is in ms up to here and in us beyond."""
_ROWS_PER_RECORD = 500
"""Keeps a record's body under 64 KiB even when every name is 64 bytes long."""
_EXAMPLE = '{"p": "smoke-3f-12", "x": 0.034}'


class PlainError(ValueError):
    """A refused payload; ``reason`` is one word for the counter, ``str()`` tells the device what to do."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class _Item(msgspec.Struct, forbid_unknown_fields=True):
    p: str
    x: float
    t: Annotated[int, msgspec.Meta(ge=0, lt=MAX_STAMP_US)] | msgspec.UnsetType = msgspec.UNSET
    q: Quality | msgspec.UnsetType = msgspec.UNSET

    @property
    def keys(self) -> int:
        """How many keys it has."""
        return 4 - (self.t is msgspec.UNSET) - (self.q is msgspec.UNSET)

    @property
    def quality(self) -> Quality:
        """What it says, and otherwise good."""
        return Quality.GOOD if isinstance(self.q, msgspec.UnsetType) else self.q


_decoder = msgspec.json.Decoder(_Item | list[_Item])


def parse(device: str, payload: bytes, received_at_us: int) -> list[Reading]:
    """The readings in a payload, in its order.

    A reading without ``t`` gets the server's time and quality *uncertain*, if it says nothing worse; several
    of one point in a payload are 1 us apart, so that none overwrites another.

    Args:
        device: Name of the device, as the broker knows it; only named in texts.
        payload: As received.
        received_at_us: The server's clock, us since 1970 UTC.

    Raises:
        PlainError: The payload as a whole is refused; nothing of it may be kept.
    """
    if len(payload) > MAX_PAYLOAD:
        raise PlainError("size", f"{device}: {len(payload)} bytes; send at most {MAX_PAYLOAD} in one message")
    try:
        decoded = _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise PlainError("json", f"{device}: {error}; send {_EXAMPLE} or a list of such") from error
    items = decoded if isinstance(decoded, list) else [decoded]
    if not 1 <= len(items) <= MAX_READINGS:
        raise PlainError(
            "count",
            f"{device}: {len(items)} readings; send 1 to {MAX_READINGS} in one message, rest in the next",
        )
    for item in items:
        if not POINT_NAME.fullmatch(item.p):
            text = f"{device}: not a point name: {item.p[:80]!r}; use 1 to 64 of A-Z a-z 0-9 _ . : -"
            raise PlainError("point", text)
    # Names hold no quotes, so their number is known; a key that is there twice adds some.
    quotes = sum(2 * item.keys + 2 for item in items)
    if payload.count(b'"') != quotes:
        raise PlainError("duplicate", f"{device}: a key is there twice; send each of p, x, t, q once")
    return list(_stamped(device, items, received_at_us))


def encode(readings: Sequence[Reading]) -> bytes:
    """A payload as a device makes it, with times in us: ``parse`` gives the same readings back.

    Args:
        readings: 1 to ``MAX_READINGS``; values are finite, and stamps later than 1973-03-03, as ``t`` asks.
    """
    items = [_Item(r.point, r.value, r.at_us, r.quality or msgspec.UNSET) for r in readings]
    return msgspec.json.encode(items)


def records(readings: Sequence[Reading]) -> list[bytes]:
    """A device's readings as journal records, spool 0, seq 0: as few as the contract allows."""
    groups: list[list[Reading]] = []
    for reading in sorted(readings, key=lambda reading: reading.at_us):
        group = groups[-1] if groups else None
        if group is None or len(group) == _ROWS_PER_RECORD or reading.at_us - group[0].at_us > MAX_SPAN_US:
            groups.append(group := [])
        group.append(reading)
    # Nobody knows how such a device keeps its clock.
    return [encode_record(Kind.READINGS, 0, 0, 0, encode_readings(group, Clock.UNSYNCED)) for group in groups]


def _stamped(device: str, items: Sequence[_Item], received_at_us: int) -> Iterator[Reading]:
    stamps: dict[str, int] = {}
    for item in items:
        if isinstance(item.t, msgspec.UnsetType):
            at_us = stamps.get(item.p, received_at_us - 1) + 1
            stamps[item.p] = at_us
            yield Reading(item.p, at_us, item.x, item.quality or Quality.UNCERTAIN)
        else:
            at_us = item.t if item.t > _MS_UP_TO else item.t * 1000
            if at_us >= MAX_STAMP_US:
                text = (
                    f"{device}: t {item.t} is out of bounds; send milliseconds since 1970 UTC or leave it out"
                )
                raise PlainError("time", text)
            yield Reading(item.p, at_us, item.x, item.quality)


class Refusals:
    """Which refusals are told to the device: at most one per second and device; the rest are counted."""

    def __init__(self, *, every_s: float = 1.0, devices: int = 10_000) -> None:
        self._every_s = every_s
        self._devices = devices
        self._told_s: OrderedDict[str, float] = OrderedDict()
        self.total = 0
        """Payloads refused."""
        self.untold = 0
        """Of these, not told."""

    def is_due(self, device: str, now_s: float) -> bool:
        """Count a refusal at ``now_s`` (monotonic) and say whether to tell the device about it."""
        self.total += 1
        told_s = self._told_s.get(device)
        if told_s is not None and now_s - told_s < self._every_s:
            self.untold += 1
            return False
        self._told_s[device] = now_s
        self._told_s.move_to_end(device)
        if len(self._told_s) > self._devices:
            self._told_s.popitem(last=False)
        return True

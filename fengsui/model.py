"""The words of the trade as types: what a driver gives, what the wire carries, what an officer sees.

Imports nothing but msgspec, so that a gateway which only relays stays small.
"""

from __future__ import annotations

import re
from enum import IntEnum, StrEnum

import msgspec

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""A gateway or device name; match it with ``fullmatch`` only."""

POINT_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
"""A point's name inside its gateway, and a point's id in the registry."""

AGE_UNKNOWN = 0xFFFF_FFFF
"""``age_ms`` of a record whose holding time was lost (reboot with an unsynced clock)."""


SIMULATED_EVENT = "simulated"
"""``code`` of an event that no real device made: events have no quality, and TEST must be seen to be TEST."""


class Lane(StrEnum):
    """Which of the two connections a record takes; ``alarm`` never waits behind ``telemetry``."""

    ALARM = "alarm"
    TELEMETRY = "telemetry"


class Kind(IntEnum):
    """What the body of a record is (wire contract, byte 3 of the header)."""

    READINGS = 1
    EVENT = 2
    SHED = 3
    DESCRIBE = 4


class Quality(IntEnum):
    """How far a reading can be trusted (wire contract, column ``q``)."""

    GOOD = 0
    UNCERTAIN = 1
    BAD = 2
    OUT_OF_RANGE = 3
    SIMULATED = 4


class Clock(IntEnum):
    """State of the gateway's wall clock when a record was stamped (wire contract, key ``c``)."""

    SYNCED = 0
    UNSYNCED = 1
    CORRECTED = 2


class What(StrEnum):
    """What an event says happened (wire contract, key ``what``)."""

    FIRE = "fire"
    PREALARM = "prealarm"
    SUPERVISORY = "supervisory"
    FAULT = "fault"
    RESTORED = "restored"
    SILENCE = "silence"
    RESET = "reset"
    TEST = "test"
    DISABLED = "disabled"
    ENABLED = "enabled"
    LOCAL_ALARM = "local_alarm"
    INFO = "info"


class AlarmClass(StrEnum):
    """Class of an alarm, in the order an officer must see them."""

    FIRE = "fire"
    PREALARM = "prealarm"
    SUPERVISORY = "supervisory"
    FAULT = "fault"
    DISABLEMENT = "disablement"
    TECHNICAL = "technical"
    SECURITY = "security"


class Reading(msgspec.Struct, frozen=True, gc=False):
    """One measured value of one point.

    ``value`` is in the point's unit of measure, NaN when it was measured and invalid; ``at_us`` is
    microseconds since 1970 UTC by the clock of whoever measured it.
    """

    point: str
    at_us: int
    value: float
    quality: Quality = Quality.GOOD


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something a device said happened; ``raw`` keeps the field protocol's own bytes as evidence."""

    point: str
    at: int
    """Microseconds since 1970 UTC, gateway clock."""
    what: What
    c: Clock = Clock.SYNCED
    text: str | None = None
    code: str | None = None
    raw: bytes | None = None
    rule: str | None = None
    """With ``local_alarm``: the rule that the gateway judged by, and its version, value and limit."""
    version: int | None = None
    value: float | None = None
    limit: float | None = None


class Description(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a driver knows of a point before anybody registered it."""

    name: str
    quantity: str
    unit: str
    """Unit of measure, UCUM-like text such as ``degC`` or ``%/m``."""
    range: tuple[float, float] | None = None
    text: str | None = None


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """A registered point: where it is, what it measures, and which source speaks for it."""

    index: int
    """Dense, stable, never reused: the row of this point in every array and in the embedded store."""
    id: str
    gateway: str
    name: str
    """Name inside its gateway; (gateway, name) binds to exactly one point."""
    quantity: str
    uom: str
    """Unit of measure; *unit* alone is the organisation (单位)."""
    device: str = ""
    device_type: str = ""
    """What kind of device it is, such as ``hydrant``; rules choose points by it."""
    zone: str = ""
    building: str = ""
    unit: str = ""
    place: str = ""
    """Floor and room in words, big to small."""
    low: float | None = None
    high: float | None = None

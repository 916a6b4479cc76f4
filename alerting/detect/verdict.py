"""What detection says: one verdict per change of one rule at one point, with its reason."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import msgspec

from fengsui.model import AlarmClass


class VerdictKind(StrEnum):
    """What changed."""

    RAISE = "raise"
    CLEAR = "clear"
    PAST = "past"
    """A late reading was beyond the limit, and newer readings are known already: it was so, then."""


LATE_US = 10_000_000
"""A record held longer than this is *late*: GB 26875.1-2011 4.1.2.1 gives a transmitter 10 s."""

HOLD_S = 1.0
"""How long something late waits for what its source has to add, such as that it is over."""


class Level(StrEnum):
    """How sure several devices together are, and so what an officer does."""

    VERIFY = "verify"
    """Somebody looks on site."""
    CONFIRMED = "confirmed"
    """Go: nobody needs to look first."""


class Zone(NamedTuple):
    """A fire zone; its name means something inside its building only."""

    unit: str
    building: str
    name: str


class Reason(msgspec.Struct, frozen=True):
    """Why, as numbers and as a sentence in both languages."""

    key: str
    value: float | None
    limit: float | None
    window_s: float | None
    text_en: str
    text_zh: str


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """One rule's change of mind about one point, or about a gateway or a zone (``point`` is then -1)."""

    point: int
    """``Point.index``."""
    gateway: str
    """Only for a verdict about the gateway itself, else empty."""
    cls: AlarmClass
    kind: VerdictKind
    rule: str
    version: int
    severity: int
    at_us: int
    """Event time of the reading that decided; server time for silence."""
    value: float | None
    limit: float | None
    reset: float | None
    window_s: float
    received_at_us: int
    age_us: int
    """How long the gateway held the record; negative = unknown, read as live."""
    test: bool
    """The deciding reading was simulated."""
    missing: bool = False
    """The verdict is about data that does not come, not about a value."""
    folded: int = 0
    """Points that this verdict stands for (a gateway's)."""
    zone: Zone | None = None
    """Only for a verdict about a zone."""
    level: Level | None = None
    """Only of a zone."""
    linkage: bool = False
    """A zone's: linkage may be proposed, for two independent devices report fire."""
    points: tuple[int, ...] = ()
    """``Point.index`` of those that made a zone's verdict, oldest first."""
    reasons: tuple[Reason, ...] = ()

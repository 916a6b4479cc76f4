"""What detection says: one verdict per change of one rule at one point, with its reason."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from fengsui.model import AlarmClass


class VerdictKind(StrEnum):
    """What changed."""

    RAISE = "raise"
    CLEAR = "clear"
    PAST = "past"
    """A late reading was beyond the limit, and newer readings are known already: it was so, then."""


class Reason(msgspec.Struct, frozen=True):
    """Why, as numbers and as a sentence in both languages."""

    key: str
    value: float | None
    limit: float | None
    window_s: float | None
    text_en: str
    text_zh: str


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """One rule's change of mind about one point, or about a gateway (``point`` is then -1)."""

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
    reasons: tuple[Reason, ...] = ()

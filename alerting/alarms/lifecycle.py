"""An alarm, and the one table that says how its state may change.

States carry their ISA-18.2 names. Every change of state in the house is an entry of ``TABLE``; a pair that is
not there is refused. Fire latches: only a person's reset ends it.
"""

from __future__ import annotations

from enum import StrEnum
from uuid import UUID, uuid5

import msgspec

from alerting.detect.verdict import Level, Reason
from fengsui.model import AlarmClass

LATCHING = frozenset({AlarmClass.FIRE})

_NAMESPACE = UUID("6d0f2c52-8a53-5e6b-9d4e-0c9a3f7e1b21")
"""Drawn once; alarm ids of every installation are made in it."""


class State(StrEnum):
    """Where an alarm stands."""

    UNACKNOWLEDGED = "unacknowledged"
    ACKNOWLEDGED = "acknowledged"
    RETURNED_UNACKNOWLEDGED = "returned_unacknowledged"
    LATCHED_UNACKNOWLEDGED = "latched_unacknowledged"
    LATCHED_ACKNOWLEDGED = "latched_acknowledged"
    CLOSED = "closed"


class Step(StrEnum):
    """What can happen to an alarm."""

    RAISE = "raise"
    """The condition holds, again or by another source."""
    ESCALATE = "escalate"
    """It holds and is worse than what a person has acknowledged."""
    RETURN = "return"
    """No source holds any more."""
    LATCH = "latch"
    """The same, of a class that stays until a reset."""
    ACKNOWLEDGE = "acknowledge"
    RESET = "reset"


_S = State
TABLE: dict[tuple[State, Step], State] = {
    (_S.UNACKNOWLEDGED, Step.RAISE): _S.UNACKNOWLEDGED,
    (_S.UNACKNOWLEDGED, Step.ESCALATE): _S.UNACKNOWLEDGED,
    (_S.UNACKNOWLEDGED, Step.RETURN): _S.RETURNED_UNACKNOWLEDGED,
    (_S.UNACKNOWLEDGED, Step.LATCH): _S.LATCHED_UNACKNOWLEDGED,
    (_S.UNACKNOWLEDGED, Step.ACKNOWLEDGE): _S.ACKNOWLEDGED,
    (_S.ACKNOWLEDGED, Step.RAISE): _S.ACKNOWLEDGED,
    (_S.ACKNOWLEDGED, Step.ESCALATE): _S.UNACKNOWLEDGED,
    (_S.ACKNOWLEDGED, Step.RETURN): _S.CLOSED,
    (_S.ACKNOWLEDGED, Step.LATCH): _S.LATCHED_ACKNOWLEDGED,
    (_S.RETURNED_UNACKNOWLEDGED, Step.RAISE): _S.UNACKNOWLEDGED,
    (_S.RETURNED_UNACKNOWLEDGED, Step.ACKNOWLEDGE): _S.CLOSED,
    (_S.LATCHED_UNACKNOWLEDGED, Step.RAISE): _S.UNACKNOWLEDGED,
    (_S.LATCHED_UNACKNOWLEDGED, Step.ACKNOWLEDGE): _S.LATCHED_ACKNOWLEDGED,
    (_S.LATCHED_ACKNOWLEDGED, Step.RAISE): _S.UNACKNOWLEDGED,
    (_S.LATCHED_ACKNOWLEDGED, Step.RESET): _S.CLOSED,
}


def diagram() -> str:
    """The table as a Mermaid state diagram, for the documentation."""
    lines = [f"    {before} --> {after}: {step}" for (before, step), after in TABLE.items()]
    return "\n".join(["stateDiagram-v2", f"    [*] --> {State.UNACKNOWLEDGED}: raise", *lines])


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """One occurrence of one class at one point; what the record keeps and the console shows.

    Times are us since 1970 UTC; ``measured_at_us`` is by the source's clock, all others by the server's.
    """

    id: str
    number: int | None = None
    """Number of the last record entry about it; None = this version is not yet recorded."""
    version: int = 1
    """Rises by one with each change; an action names the version it was decided on."""
    point: str
    """Registered id, ``gateway/name`` of an unregistered point, ``gateway/`` for the gateway itself, or
    ``/unit/building/zone`` for a zone."""
    name: str
    gateway: str
    quantity: str
    uom: str
    cls: AlarmClass
    severity: int
    state: State
    active: bool
    """At least one source holds now."""
    stale: bool = False
    """Active, but its point gives no data: nobody knows whether it still holds."""
    late: bool = False
    """Learned long after it began."""
    silent: bool = False
    """Does not sound: it was learned late and is over, or its last second of doubt about that still runs."""
    test: bool = False
    """Every source so far was simulated."""
    count: int = 1
    """How often it was raised while open."""
    measured_at_us: int
    """When it began, by the source's clock."""
    raised_at_us: int
    """The newest raise of this occurrence, by the source's clock."""
    age_us_at_receipt: int
    received_at_us: int
    detected_at_us: int
    recorded_at_us: int | None = None
    acknowledged_at_us: int | None = None
    acknowledged_by: str | None = None
    cleared_at_us: int | None = None
    """When the last source let go, by the source's clock."""
    rule: str
    rule_version: int
    value: float | None = None
    limit: float | None = None
    reset: float | None = None
    reasons: tuple[Reason, ...] = ()
    sources: tuple[str, ...] = ()
    """What holds it active: rule names, ``test:`` in front of simulated ones, ``event:`` and ``local:``."""
    unit: str = ""
    building: str = ""
    zone: str = ""
    place: str = ""
    folded: int = 0
    """Points that this alarm stands for."""
    level: Level | None = None
    """Only of a zone: what an officer does. The highest one since it was opened."""
    linkage: bool = False
    """Only of a zone: linkage may be proposed, for two devices report fire (GB 50116-2013 4.1.6)."""
    points: tuple[str, ...] = ()
    """Only of a zone: the registered ids of the points that raised it, oldest first."""


def alarm_id(point: str, cls: AlarmClass, raised_at_us: int) -> str:
    """The id of the occurrence that a sample of ``point`` raised: the same for whoever computes it."""
    return str(uuid5(_NAMESPACE, f"{point}\n{cls}\n{raised_at_us}"))

"""An alarm, and the one table that says how its state may change.

States carry their ISA-18.2 names. Every change of state in the house is an entry of ``TABLE``; a pair that is
not there is refused. Fire latches: only a person's reset ends it.

Three things stand beside the state and never change it (docs/adr/0027): whether data of the point is
``stale`` or ``unknown``, whether the alarm is *inhibited*, and who handles it with what was found.
"""

from __future__ import annotations

from enum import StrEnum
from uuid import UUID, uuid5

import msgspec

from alerting.detect.device import EVENT
from alerting.detect.verdict import Level, Reason
from alerting.finding import Finding
from fengsui.model import AlarmClass, What

LATCHING = frozenset({AlarmClass.FIRE})

NEVER_INHIBITED = frozenset({AlarmClass.FIRE, AlarmClass.DISABLEMENT})
"""A fire always sounds; what inhibits is itself always shown."""

_NAMESPACE = UUID("6d0f2c52-8a53-5e6b-9d4e-0c9a3f7e1b21")
"""Drawn once; alarm ids of every installation are made in it."""


class State(StrEnum):
    """Where an alarm stands: its condition, and whether a person has seen it."""

    UNACKNOWLEDGED = "unacknowledged"
    ACKNOWLEDGED = "acknowledged"
    RETURNED_UNACKNOWLEDGED = "returned_unacknowledged"
    LATCHED_UNACKNOWLEDGED = "latched_unacknowledged"
    LATCHED_ACKNOWLEDGED = "latched_acknowledged"
    CLOSED = "closed"


class Step(StrEnum):
    """What can happen to an alarm; from ``acknowledge`` on it is a person who does it."""

    RAISE = "raise"
    """The condition holds, again or by another source."""
    ESCALATE = "escalate"
    """It holds and is worse than what a person has acknowledged, or nothing inhibits it any more."""
    RETURN = "return"
    """No source holds any more."""
    LATCH = "latch"
    """The same, of a class that stays until a reset."""
    ACKNOWLEDGE = "acknowledge"
    RESET = "reset"
    """Ends the occurrence; where a source still holds, the next one begins at once (EN 54-2 7.6)."""
    SILENCE = "silence"
    """The desk's sound ends, until the alarm is raised or escalates again; what sounds on site is its own."""
    COMMENT = "comment"
    ASSIGN = "assign"
    TAKE = "take"
    """I am handling it."""
    VERIFY = "verify"
    """Somebody has looked on site."""
    CLOSE = "close"
    """The case is closed, with what was found."""
    REOPEN = "reopen"
    SHELVE = "shelve"
    """It shall not sound for a while; then it does again."""
    UNSHELVE = "unshelve"
    DISABLE = "disable"
    """Its point goes out of service for maintenance."""
    ENABLE = "enable"


_S = State
UNACKNOWLEDGED = frozenset({_S.UNACKNOWLEDGED, _S.RETURNED_UNACKNOWLEDGED, _S.LATCHED_UNACKNOWLEDGED})
"""What waits for a person."""

_OPEN = frozenset(State) - {_S.CLOSED}
_OVER = frozenset({_S.LATCHED_ACKNOWLEDGED, _S.CLOSED})

_MOVES: dict[tuple[State, Step], State] = {
    (_S.UNACKNOWLEDGED, Step.RAISE): _S.UNACKNOWLEDGED,
    (_S.UNACKNOWLEDGED, Step.ESCALATE): _S.UNACKNOWLEDGED,
    (_S.UNACKNOWLEDGED, Step.RETURN): _S.RETURNED_UNACKNOWLEDGED,
    (_S.UNACKNOWLEDGED, Step.LATCH): _S.LATCHED_UNACKNOWLEDGED,
    (_S.UNACKNOWLEDGED, Step.ACKNOWLEDGE): _S.ACKNOWLEDGED,
    (_S.ACKNOWLEDGED, Step.RAISE): _S.ACKNOWLEDGED,
    (_S.ACKNOWLEDGED, Step.ESCALATE): _S.UNACKNOWLEDGED,
    (_S.ACKNOWLEDGED, Step.RETURN): _S.CLOSED,
    (_S.ACKNOWLEDGED, Step.LATCH): _S.LATCHED_ACKNOWLEDGED,
    (_S.ACKNOWLEDGED, Step.RESET): _S.CLOSED,
    (_S.RETURNED_UNACKNOWLEDGED, Step.RAISE): _S.UNACKNOWLEDGED,
    (_S.RETURNED_UNACKNOWLEDGED, Step.ACKNOWLEDGE): _S.CLOSED,
    (_S.LATCHED_UNACKNOWLEDGED, Step.RAISE): _S.UNACKNOWLEDGED,
    (_S.LATCHED_UNACKNOWLEDGED, Step.ACKNOWLEDGE): _S.LATCHED_ACKNOWLEDGED,
    (_S.LATCHED_ACKNOWLEDGED, Step.RAISE): _S.UNACKNOWLEDGED,
    (_S.LATCHED_ACKNOWLEDGED, Step.RESET): _S.CLOSED,
}

_STAYS: dict[Step, frozenset[State]] = {
    Step.SILENCE: UNACKNOWLEDGED,
    Step.COMMENT: frozenset(State),
    Step.ASSIGN: _OPEN,
    Step.TAKE: _OPEN,
    Step.VERIFY: _OPEN,
    Step.CLOSE: _OVER,
    Step.REOPEN: _OVER,
    Step.SHELVE: _OPEN,
    Step.UNSHELVE: _OPEN,
    Step.DISABLE: _OPEN,
    Step.ENABLE: _OPEN,
}
"""Where a step is allowed that changes what stands beside the state."""

TABLE = _MOVES | {
    (state, step): state for step, states in _STAYS.items() for state in State if state in states
}


def diagram() -> str:
    """The table as a Mermaid state diagram, for the documentation; steps of one arrow in one line."""
    arrows: dict[tuple[State, State], list[str]] = {}
    for (before, step), after in TABLE.items():
        arrows.setdefault((before, after), []).append(step)
    lines = [f"    {before} --> {after}: {', '.join(steps)}" for (before, after), steps in arrows.items()]
    return "\n".join(["stateDiagram-v2", f"    [*] --> {State.UNACKNOWLEDGED}: raise", *lines])


class Inhibition(StrEnum):
    """Why an alarm neither sounds nor is sent, though it is shown, recorded and counted (ISA-18.2)."""

    SHELVED = "shelved"
    """By a person, for a limited time."""
    SUPPRESSED = "suppressed"
    """By design: its device reports that it is disabled, so that its faults are no news."""
    OUT_OF_SERVICE = "out_of_service"
    """By a person, for maintenance of the point."""


class Mark(msgspec.Struct, frozen=True):
    """Something was done: when, by whom, and what they said.

    ``at_us`` is by the server's clock, of what was done on site by the gateway's; ``by`` is a person or a
    gateway.
    """

    at_us: int
    by: str
    text: str = ""


class Moved(msgspec.Struct, frozen=True):
    """The last change that a person who decides must know of: its version, what, by whom, server's clock."""

    version: int
    what: str
    by: str
    at_us: int


class Disablement(msgspec.Struct, frozen=True):
    """A person's word that alarms of a point shall not sound; it holds an alarm of class ``disablement``."""

    kind: Inhibition
    cls: AlarmClass | None
    """The class it is about; None = every class but fire."""
    mark: Mark
    until_us: int
    """Server's clock."""

    @property
    def source(self) -> str:
        """What holds the alarm active."""
        return f"{DESK}{self.kind}:{self.cls or 'all'}"


DESK = "desk:"
"""What the sources of persons begin with."""


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
    unknown: bool = False
    """Over, but its point gives no data: nobody knows whether it holds again."""
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
    notified_at_us: int | None = None
    """When the first message about it was handed over."""
    seen_at_us: int | None = None
    """When it was first reported to be on an officer's screen."""
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
    """What holds it active: rule names, ``test:`` in front of simulated ones, ``event:``, ``local:`` and
    ``desk:``."""
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
    after: str | None = None
    """The occurrence that was reset while this one's sources still held."""
    moved: Moved | None = None
    inhibited: Inhibition | None = None
    disablements: tuple[Disablement, ...] = ()
    """Only of class disablement: what persons have said; each is one of the sources."""
    silenced: Mark | None = None
    """On the desk; None = it sounds as far as its state says so."""
    silenced_on_site: Mark | None = None
    reset_on_site: Mark | None = None
    assigned_to: str = ""
    taken: Mark | None = None
    """Who is handling it."""
    verified: Mark | None = None
    comments: int = 0
    """Their words are in the record."""
    finding: Finding | None = None
    """None = the case is open."""
    closed: Mark | None = None


def inhibition(disabling: Alarm | None, cls: AlarmClass) -> Inhibition | None:
    """Why an alarm of ``cls`` shall not sound at a point; ``disabling`` is its alarm of class disablement."""
    if disabling is None or not disabling.active or cls in NEVER_INHIBITED:
        return None
    kinds = {one.kind for one in disabling.disablements if one.cls in (None, cls)}
    if DEVICE_DISABLED in disabling.sources and cls in _SUPPRESSED_BY_DESIGN:
        kinds.add(Inhibition.SUPPRESSED)
    return next((kind for kind in _STRONGEST_FIRST if kind in kinds), None)


DEVICE_DISABLED = f"{EVENT}{What.DISABLED}"
_SUPPRESSED_BY_DESIGN = frozenset({AlarmClass.FAULT, AlarmClass.TECHNICAL})
_STRONGEST_FIRST = (Inhibition.OUT_OF_SERVICE, Inhibition.SUPPRESSED, Inhibition.SHELVED)


def alarm_id(point: str, cls: AlarmClass, raised_at_us: int) -> str:
    """The id of the occurrence that a sample of ``point`` raised: the same for whoever computes it."""
    return str(uuid5(_NAMESPACE, f"{point}\n{cls}\n{raised_at_us}"))


def successor_id(alarm: str) -> str:
    """The id of the occurrence that comes back when ``alarm`` is reset while its sources hold."""
    return str(uuid5(_NAMESPACE, f"after {alarm}"))

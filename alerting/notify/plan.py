"""Who is told what when: from an alarm and the roster to steps with deadlines. Pure; time is an argument.

Every step that an alarm may need is planned when it is raised, escalation and fallback channels included. So
nothing has to be remembered but the rows: what a person's acknowledgement makes needless is cancelled, what a
delivery makes needless (the fallback) too, and the rest is done when it is due.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from enum import StrEnum
from typing import NamedTuple

from alerting.alarms.lifecycle import LATCHING, UNACKNOWLEDGED, Alarm, State
from alerting.detect.verdict import Level
from alerting.notify import duty
from alerting.notify.roster import Call, Roster, Stage
from fengsui.model import AlarmClass

VERIFIED = "verified"
"""What a change is called with which a person says that somebody has looked; of a fire: it burns."""

_ANEW = frozenset({"raised", "sounded", "resumed"})
"""Changes after which somebody is called again, unless steps are still to be done."""


class Why(StrEnum):
    """Why a step is later than its stage says."""

    AT_ONCE = ""
    QUIET = "quiet hours"
    UNDER_TEST = "building under test"


class Case(NamedTuple):
    """What of an alarm decides who is called."""

    cls: AlarmClass
    severity: int = 4
    unit: str = ""
    building: str = ""
    test: bool = False


class Step(NamedTuple):
    """One message to one contact on one channel."""

    call: str
    stage: int
    contact: str
    channel: str
    to: str
    rank: int
    """0 = the contact's first channel; a higher one is only needed while no lower one has delivered."""
    due_us: int
    """us since 1970 UTC."""
    forward: bool = False
    why: Why = Why.AT_ONCE


class Wanted(NamedTuple):
    """What a change of an alarm asks of the steps there are."""

    plan: bool = False
    forward: bool = False
    cancel: bool = False
    """Everything pending but what is forwarded."""
    calm: bool = False
    """Escalation: it is over by itself."""


def wanted(alarm: Alarm, what: str, *, planned: bool, pending: bool, forwarded: bool) -> Wanted:
    """What has to be done about a change.

    Args:
        alarm: After the change.
        what: As in ``Change``.
        planned: Steps were planned for it before.
        pending: Some of them are still to be done.
        forwarded: It was forwarded, or is being.
    """
    confirmed = alarm.cls is AlarmClass.FIRE and (alarm.level is Level.CONFIRMED or what == VERIFIED)
    forward = confirmed and not alarm.test and not forwarded and alarm.state is not State.CLOSED
    if alarm.state not in UNACKNOWLEDGED or alarm.inhibited is not None:
        return Wanted(forward=forward, cancel=True)
    if not alarm.active:
        never = not planned and not alarm.silent  # raised and over within one transaction: still told of
        return Wanted(plan=never, forward=forward, calm=alarm.cls not in LATCHING)
    if alarm.silent:
        return Wanted(forward=forward)
    anew = what == "escalated" or (what in _ANEW and not pending) or not planned
    return Wanted(plan=anew, forward=forward)


def plan(
    case: Case,
    roster: Roster,
    now_us: int,
    *,
    inside: Collection[str],
    under_test_until_us: int | None = None,
    forward: bool = False,
) -> list[Step]:
    """Every step that a case may need from ``now_us`` on, in the order they are due.

    Args:
        case: The alarm.
        roster: Who is called; checked.
        now_us: us since 1970 UTC.
        inside: Channels that do not leave the house: all that a TEST may use.
        under_test_until_us: The building is under test until then: what leaves the house waits for the end,
            and is cancelled when the alarm is acknowledged before. None = it is not.
        forward: Plan the calls that forward, and no other.
    """
    steps: dict[tuple[str, str, str, int], Step] = {}
    for call in roster.calls:
        if call.forward == forward and _fits(call, case):
            for number, stage in enumerate(call.stages):
                for step in _of_stage(call, number, stage, case, roster, now_us):
                    gap_us = round(roster.fallback_s * 1e6)
                    placed = _placed(step, case, inside, under_test_until_us, gap_us)
                    if placed is not None:
                        steps.setdefault((placed.contact, placed.channel, placed.to, placed.due_us), placed)
    return sorted(steps.values(), key=lambda step: (step.due_us, step.stage, step.rank))


def _fits(call: Call, case: Case) -> bool:
    return (
        case.cls in call.classes
        and (not call.units or case.unit in call.units)
        and (not call.buildings or case.building in call.buildings)
        and case.severity >= call.severity
    )


def _of_stage(
    call: Call, number: int, stage: Stage, case: Case, roster: Roster, now_us: int
) -> Iterator[Step]:
    due_us = now_us + round(stage.after_s * 1e6)
    named = [id_ for who in stage.who for id_ in roster.members(who, case.unit, due_us)]
    for id_ in dict.fromkeys(roster.standing_in(id_, due_us) for id_ in named):
        contact = roster.contact(id_)
        at_us, why = due_us, Why.AT_ONCE
        if case.cls is not AlarmClass.FIRE and contact.quiet is not None:
            at_us = duty.ends_us(contact.quiet, due_us)
            why = Why.QUIET if at_us > due_us else why
        usable = [
            reach
            for reach in contact.reach
            if not stage.channels or reach.channel in stage.channels
            if case.cls is AlarmClass.FIRE or reach.channel not in contact.mute
        ]
        for rank, reach in enumerate(usable):
            later_us = 0 if stage.together else round(rank * roster.fallback_s * 1e6)
            yield Step(
                call.id, number, id_, reach.channel, reach.to, 0 if stage.together else rank,
                at_us + later_us, call.forward, why,
            )  # fmt: skip


def _placed(
    step: Step, case: Case, inside: Collection[str], until_us: int | None, gap_us: int
) -> Step | None:
    """The step where a test lets it be; None = nowhere."""
    if step.channel in inside:
        return step
    if case.test:
        return None
    if until_us is not None and (after_us := until_us + step.rank * gap_us) > step.due_us:
        return step._replace(due_us=after_us, why=Why.UNDER_TEST)
    return step

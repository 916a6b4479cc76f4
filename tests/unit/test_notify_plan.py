"""Who is told what when: plans at given times, and what each change of an alarm asks for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.alarms.lifecycle import UNACKNOWLEDGED, Inhibition, State
from alerting.detect.verdict import Level
from alerting.notify.plan import Case, Step, Wanted, Why, plan, wanted
from fengsui.model import AlarmClass
from tests.alarms import alarm
from tests.rosters import INSIDE, MONDAY_NIGHT_US, MONDAY_NOON_US, TEXT, S, roster

FIRE = Case(AlarmClass.FIRE, 4, "u1", "tower")
FAULT = Case(AlarmClass.FAULT, 2, "u1", "tower")
ROSTER = roster()


def told(steps: list[Step], from_us: int) -> list[tuple[float, str, str]]:
    """Seconds, contact and channel of each step."""
    return [((step.due_us - from_us) / S, step.contact, step.channel) for step in steps]


def test_a_fire_is_told_at_once_and_escalates() -> None:
    """Sounder and officer on all channels at once, the chief after 60 s, the unit's contact with 120 s."""
    assert told(plan(FIRE, ROSTER, MONDAY_NOON_US, inside=INSIDE), MONDAY_NOON_US) == [
        (0, "sounder", "desk"),
        (0, "wang", "sms"),
        (0, "wang", "mail"),
        (60, "chief", "sms"),
        (120, "chief", "sms"),
        (120, "owner", "mail"),
    ]


def test_fire_knows_no_quiet_hours_and_no_mute_and_a_fault_does() -> None:
    """At 23:00 a fire goes to everybody; a fault goes to a muted channel never, and after the quiet hours."""
    awake = roster(TEXT.replace("hours: 08:00-20:00", "hours: 00:00-24:00"))
    fire = plan(FIRE, awake, MONDAY_NIGHT_US, inside=INSIDE)
    assert [(s.contact, s.channel, s.due_us) for s in fire[:3]] == [
        ("sounder", "desk", MONDAY_NIGHT_US),
        ("wang", "sms", MONDAY_NIGHT_US),
        ("wang", "mail", MONDAY_NIGHT_US),
    ]
    fault = plan(FAULT, awake, MONDAY_NIGHT_US, inside=INSIDE)
    assert told(fault, MONDAY_NIGHT_US) == [(8 * 3600, "wang", "sms")]
    assert fault[0].why is Why.QUIET


def test_the_next_channel_follows_unless_the_first_delivers() -> None:
    """Without ``together`` the second channel has rank 1 and is due after the fallback time."""
    steps = plan(FAULT, ROSTER, MONDAY_NIGHT_US, inside=INSIDE)
    assert [(s.contact, s.channel, s.rank, s.due_us - MONDAY_NIGHT_US) for s in steps[:2]] == [
        ("li", "sms", 0, 0), ("li", "mail", 1, 45 * S),
    ]  # fmt: skip


def test_who_is_absent_is_stood_in_for() -> None:
    """On the day li is away the chief is told in his place, for as long as the absence lasts."""
    tuesday_night_us = MONDAY_NIGHT_US + 86_400 * S
    named = [s.contact for s in plan(FAULT, ROSTER, tuesday_night_us, inside=INSIDE)]
    assert "li" not in named
    assert named[0] == "chief"


def test_when_all_are_away_the_one_who_was_meant_is_told() -> None:
    """A ring of substitutes who are all away never means that nobody is told."""
    ring = TEXT.replace(
        "    lang: en\n",
        "    absent: [{since: 2026-01-01T00:00:00Z, until: 2027-01-01T00:00:00Z, substitute: li}]\n",
    )
    tuesday_night_us = MONDAY_NIGHT_US + 86_400 * S
    assert plan(FAULT, roster(ring), tuesday_night_us, inside=INSIDE)[0].contact == "li"


def test_a_test_never_leaves_the_house() -> None:
    """A simulated alarm is told on inside channels only, and is never forwarded."""
    steps = plan(FIRE._replace(test=True), ROSTER, MONDAY_NOON_US, inside=INSIDE)
    assert [(step.contact, step.channel) for step in steps] == [("sounder", "desk")]
    assert plan(FIRE._replace(test=True), ROSTER, MONDAY_NOON_US, inside=INSIDE, forward=True) == []


def test_a_building_under_test_holds_what_leaves_the_house() -> None:
    """The sounder sounds; everybody else is told when the test ends, fallbacks in their order."""
    until_us = MONDAY_NOON_US + 3600 * S
    steps = plan(FIRE, ROSTER, MONDAY_NOON_US, inside=INSIDE, under_test_until_us=until_us)
    assert steps[0].channel == "desk"
    assert steps[0].due_us == MONDAY_NOON_US
    assert {(s.due_us, s.why) for s in steps[1:]} == {(until_us, Why.UNDER_TEST)}
    fault = plan(FAULT, ROSTER, MONDAY_NIGHT_US, inside=INSIDE, under_test_until_us=MONDAY_NIGHT_US + S)
    assert [(s.due_us - MONDAY_NIGHT_US) / S for s in fault[:2]] == [1, 46]


def test_only_calls_that_fit_are_made() -> None:
    """A fault below the call's severity and a class without a call tell nobody."""
    assert plan(FAULT._replace(severity=1), ROSTER, MONDAY_NOON_US, inside=INSIDE) == []
    assert plan(Case(AlarmClass.SECURITY), ROSTER, MONDAY_NOON_US, inside=INSIDE) == []
    assert told(plan(FIRE, ROSTER, 0, inside=INSIDE, forward=True), 0) == [(0, "119", "centre")]


@given(
    at_s=st.integers(MONDAY_NOON_US // S, MONDAY_NOON_US // S + 14 * 86_400),
    unit=st.sampled_from(["", "u1", "x"]),
)
def test_a_real_fire_always_reaches_somebody_at_once(at_s: int, unit: str) -> None:
    """At every hour, in every unit, somebody outside the house is told with the first step."""
    steps = plan(FIRE._replace(unit=unit), ROSTER, at_s * S, inside=INSIDE)
    assert any(step.due_us == at_s * S and step.channel not in INSIDE for step in steps)


@pytest.mark.parametrize("state", list(State))
def test_a_person_who_has_seen_it_ends_the_calling(state: State) -> None:
    """Steps are cancelled exactly in the states in which nobody is wanted any more."""
    asked = wanted(alarm(state=state), "returned", planned=True, pending=True, forwarded=False)
    assert asked.cancel == (state not in UNACKNOWLEDGED)
    assert not asked.plan


@pytest.mark.parametrize(
    ("what", "planned", "pending", "anew"),
    [
        ("raised", False, False, True),
        ("raised", True, True, False),
        ("raised", True, False, True),
        ("repeated", True, False, False),
        ("repeated", False, False, True),
        ("escalated", True, True, True),
        ("sounded", False, False, True),
        ("resumed", True, False, True),
        ("stale", True, False, False),
    ],
)
def test_when_an_alarm_is_planned_anew(what: str, planned: bool, pending: bool, anew: bool) -> None:
    """A new alarm and one that got worse are; one that repeats itself is not."""
    assert wanted(alarm(), what, planned=planned, pending=pending, forwarded=False).plan is anew


def test_an_inhibited_alarm_calls_nobody() -> None:
    """What is shelved or out of service is not told of, and what was to be told is cancelled."""
    fault = alarm(cls=AlarmClass.FAULT, inhibited=Inhibition.SHELVED)
    asked = wanted(fault, "shelved", planned=True, pending=True, forwarded=False)
    assert asked == Wanted(cancel=True)


def test_a_silent_alarm_waits_until_it_sounds() -> None:
    """What was learned late and may be over is not told before its second of doubt has passed."""
    assert wanted(alarm(silent=True), "raised", planned=False, pending=False, forwarded=False) == Wanted()
    over = alarm(silent=True, active=False, state=State.LATCHED_UNACKNOWLEDGED)
    assert wanted(over, "returned", planned=False, pending=False, forwarded=False) == Wanted()


def test_what_returns_before_it_was_planned_is_still_told() -> None:
    """A fire that came and went inside one transaction is not forgotten."""
    over = alarm(active=False, state=State.LATCHED_UNACKNOWLEDGED)
    assert wanted(over, "returned", planned=False, pending=False, forwarded=False).plan


def test_a_fault_that_is_over_escalates_no_further_and_a_fire_does() -> None:
    """Escalation ends by itself for what does not latch."""
    fault = alarm(cls=AlarmClass.FAULT, active=False, state=State.RETURNED_UNACKNOWLEDGED)
    fire = alarm(active=False, state=State.LATCHED_UNACKNOWLEDGED)
    assert wanted(fault, "returned", planned=True, pending=True, forwarded=False).calm
    assert not wanted(fire, "returned", planned=True, pending=True, forwarded=False).calm


@pytest.mark.parametrize(
    ("changes", "what", "forwarded", "forward"),
    [
        ({}, "raised", False, False),
        ({"level": Level.VERIFY}, "raised", False, False),
        ({"level": Level.CONFIRMED}, "raised", False, True),
        ({"level": Level.CONFIRMED}, "escalated", True, False),
        ({"level": Level.CONFIRMED, "test": True}, "raised", False, False),
        ({"level": Level.CONFIRMED, "state": State.ACKNOWLEDGED}, "acknowledged", False, True),
        ({"state": State.LATCHED_ACKNOWLEDGED}, "verified", False, True),
        ({"level": Level.CONFIRMED, "state": State.CLOSED}, "reset", False, False),
        ({"cls": AlarmClass.FAULT}, "verified", False, False),
    ],
)
def test_a_confirmed_fire_is_forwarded_once(
    changes: dict[str, object], what: str, forwarded: bool, forward: bool
) -> None:
    """By its zone's level or by a person's word, acknowledged or not; never a test, never twice."""
    asked = wanted(alarm(**changes), what, planned=True, pending=False, forwarded=forwarded)
    assert asked.forward is forward

"""The alarm book: occurrences, joining, latching, late alarms, staleness, unregistered fire, acknowledge."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.alarms.book import UNREGISTERED_PER_GATEWAY, Book, Change
from alerting.alarms.desk import DEEDS, Desk
from alerting.alarms.lifecycle import Alarm, State, Step
from alerting.detect.rules import RuleSet
from alerting.detect.verdict import Level, Reason, Verdict, VerdictKind, Zone
from alerting.errors import NotAllowed, StaleAlarm, UnknownAlarm
from fengsui.batch import UNKNOWN_AGE, GatewayEvent
from fengsui.model import SIMULATED_EVENT, AlarmClass, Event, What
from fengsui.viewer import Role, Viewer
from tests.ordering import order
from tests.unit.detection import T0_US, S, heat, point

RAISE, CLEAR, PAST = VerdictKind.RAISE, VerdictKind.CLEAR, VerdictKind.PAST
POINTS = [point(0), point(1, unit="u2"), point(2, gateway="gw-2")]
EVERYBODY = Viewer("0001", frozenset({Role.OFFICER}), None)
QUARTER_HOUR_US = 900 * S


class Scene:
    """A book with a clock of its own, and the newest state of every alarm it told about."""

    def __init__(self, book: Book | None = None) -> None:
        self.book = book or Book(
            POINTS, RuleSet(threshold=(heat(), heat(name="pre", cls=AlarmClass.PREALARM)))
        )
        self.hands = Desk(self.book)
        self.now_s = 0.0
        self.changes: list[Change] = []

    @property
    def now_us(self) -> int:
        """The wall clock, which goes with the monotonic one."""
        return T0_US + int(self.now_s * S)

    def says(self, *verdicts: Verdict, replay: bool = False) -> list[str]:
        """Enter verdicts of one batch; what changed."""
        return self._note(self.book.apply(verdicts, (), now_us=self.now_us, now_s=self.now_s, replay=replay))

    def hears(self, *events: GatewayEvent, replay: bool = False) -> list[str]:
        """Enter events of one batch; what changed."""
        return self._note(self.book.apply((), events, now_us=self.now_us, now_s=self.now_s, replay=replay))

    def passes(self, seconds: float) -> list[str]:
        """Let time go by."""
        self.now_s += seconds
        return self._note(self.book.advance(now_us=self.now_us, now_s=self.now_s))

    def _note(self, changes: list[Change]) -> list[str]:
        self.changes += changes
        return [change.what for change in changes]

    @property
    def open(self) -> list[Alarm]:
        """All open alarms."""
        return self.book.alarms(EVERYBODY)

    @property
    def alarm(self) -> Alarm:
        """The only open alarm."""
        (alarm,) = self.open
        return alarm

    def acknowledge(self, viewer: Viewer = EVERYBODY) -> Alarm:
        """Acknowledge the only open alarm at its version."""
        return self.orders(Step.ACKNOWLEDGE, self.alarm, viewer=viewer)

    def orders(self, step: Step, alarm: Alarm, *, viewer: Viewer = EVERYBODY, **more: object) -> Alarm:
        """A person does something to an alarm; the alarm after it."""
        changes = self.hands.act(viewer, order(step, alarm, **more), now_us=self.now_us)
        self._note(changes)
        return changes[0].alarm


def verdict(kind: VerdictKind = RAISE, /, **changes: object) -> Verdict:
    """A live verdict of the heat rule about point 0."""
    fields: dict[str, object] = {
        "point": 0, "gateway": "", "cls": AlarmClass.FIRE, "kind": kind, "rule": "heat", "version": 1,
        "severity": 4, "at_us": T0_US, "value": 60.0, "limit": 57.0, "reset": 50.0, "window_s": 0.0,
        "received_at_us": T0_US, "age_us": 0, "test": False,
    }  # fmt: skip
    return Verdict(**(fields | changes))  # type: ignore[arg-type]  # the tests say what they change


def missing(kind: VerdictKind, *, index: int = 0, gateway: str = "") -> Verdict:
    """Silence of a point, or of a gateway."""
    return verdict(
        kind, point=-1 if gateway else index, gateway=gateway, cls=AlarmClass.FAULT,
        rule="gateway-offline" if gateway else "no-data", severity=2, missing=True,
        folded=2 if gateway else 0,
    )  # fmt: skip


def event(
    what: What, *, registered: bool = True, name: str = "n0", age_ms: int = 0, at_s: int = 0, **more: object
) -> GatewayEvent:
    """An event of gw-1, by default about point 0."""
    body = Event(point=name, at=T0_US + at_s * S, what=what, **more)  # type: ignore[arg-type]
    return GatewayEvent("gw-1", body, POINTS[0] if registered else None, T0_US, age_ms)


def test_a_verdict_becomes_one_alarm_with_its_reason_and_place() -> None:
    """What an officer needs stands in the alarm."""
    desk = Scene()
    assert desk.says(verdict()) == ["raised"]
    alarm = desk.alarm
    assert (alarm.state, alarm.active, alarm.version) == (State.UNACKNOWLEDGED, True, 1)
    assert (alarm.point, alarm.unit, alarm.value, alarm.rule, alarm.late, alarm.silent) == (
        "p0", "u1", 60.0, "heat", False, False,
    )  # fmt: skip


def test_one_occurrence_per_point_and_class() -> None:
    """Another source joins; another class or point is another alarm."""
    desk = Scene()
    desk.says(verdict())
    assert desk.hears(event(What.FIRE)) == ["repeated"]
    assert desk.alarm.count == 2
    desk.says(verdict(cls=AlarmClass.PREALARM, rule="pre"), verdict(point=1))
    assert len(desk.open) == 3


def test_a_local_alarm_and_the_servers_own_have_one_id() -> None:
    """Whoever is first, the occurrence is the same, and the server's verdict clears it."""
    local = event(What.LOCAL_ALARM, rule="heat", version=1, value=60.0, limit=57.0)
    one, other = Scene(), Scene()
    one.says(verdict())
    one.hears(local)
    other.hears(local)
    other.says(verdict())
    assert one.alarm.id == other.alarm.id
    other.says(verdict(CLEAR, at_us=T0_US + S))
    assert other.alarm.state is State.LATCHED_UNACKNOWLEDGED


def test_a_local_alarm_of_an_unknown_rule_is_a_fire() -> None:
    """What the server cannot judge by itself is taken at its worst, and ends with the gateway's own word."""
    desk = Scene()
    desk.hears(event(What.LOCAL_ALARM, rule="own\nrule", version=7))
    assert (desk.alarm.cls, desk.alarm.sources) == (AlarmClass.FIRE, ("local:rule",))
    assert desk.hears(event(What.RESTORED, at_s=1)) == ["returned"]


def test_fire_latches_until_a_person_resets_it() -> None:
    """Neither a normal value nor an acknowledgement takes a fire off the list."""
    desk = Scene()
    desk.says(verdict(), verdict(CLEAR, at_us=T0_US + S))
    assert (desk.alarm.state, desk.alarm.silent) == (State.LATCHED_UNACKNOWLEDGED, False)
    assert desk.acknowledge().state is State.LATCHED_ACKNOWLEDGED
    desk.orders(Step.RESET, desk.alarm)
    assert desk.open == []


def test_other_classes_close_when_returned_and_acknowledged() -> None:
    """In either order."""
    for first in ("acknowledge", "return"):
        desk = Scene()
        pre: dict[str, object] = {"cls": AlarmClass.PREALARM, "rule": "pre"}
        desk.says(verdict(**pre))
        if first == "acknowledge":
            desk.acknowledge()
            desk.says(verdict(CLEAR, **pre))
        else:
            desk.says(verdict(CLEAR, **pre))
            assert desk.alarm.state is State.RETURNED_UNACKNOWLEDGED
            desk.acknowledge()
        assert desk.open == []


def test_it_returns_when_the_last_source_lets_go() -> None:
    """One rule back to normal does not end what a device reports."""
    desk = Scene()
    desk.says(verdict())
    desk.hears(event(What.FIRE))
    assert desk.says(verdict(CLEAR)) == ["eased"]
    assert desk.alarm.active
    assert desk.hears(event(What.RESET, at_s=5)) == ["returned", "reset_on_site"]
    assert desk.alarm.state is State.LATCHED_UNACKNOWLEDGED


def test_restored_ends_no_disablement_and_enabled_nothing_else() -> None:
    """A disablement is ended by its own word."""
    desk = Scene()
    desk.hears(event(What.DISABLED), event(What.FAULT))
    assert desk.hears(event(What.RESTORED, at_s=1)) == ["returned"]
    assert {a.cls for a in desk.open if a.active} == {AlarmClass.DISABLEMENT}
    assert desk.hears(event(What.ENABLED, at_s=2)) == ["returned", "resumed"]


def test_a_raise_after_an_acknowledged_return_is_visible_again() -> None:
    """A latched fire that flares up asks for attention once more."""
    desk = Scene()
    desk.says(verdict(), verdict(CLEAR, at_us=T0_US + S))
    desk.acknowledge()
    assert desk.says(verdict(at_us=T0_US + 2 * S)) == ["raised"]
    assert (desk.alarm.state, desk.alarm.count) == (State.UNACKNOWLEDGED, 2)


def test_worse_than_acknowledged_asks_again() -> None:
    """A higher severity, or the first real source of a test alarm, is new."""
    desk = Scene()
    desk.says(verdict(severity=3, rule="low"))
    desk.acknowledge()
    assert desk.says(verdict(severity=2, rule="lower")) == ["repeated"]
    assert desk.alarm.state is State.ACKNOWLEDGED
    assert desk.says(verdict(severity=4)) == ["escalated"]
    assert (desk.alarm.state, desk.alarm.severity, desk.alarm.rule) == (State.UNACKNOWLEDGED, 4, "heat")


def test_test_is_test_until_something_real_joins() -> None:
    """A simulated alarm is marked; a real source at the same point makes it a real alarm."""
    desk = Scene()
    desk.says(verdict(test=True))
    assert desk.alarm.test
    desk.acknowledge()
    assert desk.says(verdict()) == ["escalated"]
    assert (desk.alarm.test, desk.alarm.state) == (False, State.UNACKNOWLEDGED)
    assert desk.says(verdict(CLEAR, test=True)) == ["eased"]


# --- late ----------------------------------------------------------------------------------------------


def test_a_late_fire_still_active_sounds_within_two_seconds() -> None:
    """Began 15 min ago, learned now: it is shown at once and sounds like any other."""
    desk = Scene()
    desk.says(verdict(age_us=QUARTER_HOUR_US))
    assert (desk.alarm.late, desk.alarm.active) == (True, True)
    assert desk.passes(1.0) == ["sounded"]
    assert not desk.alarm.silent
    assert desk.now_s <= 2.0


def test_a_late_fire_event_still_active_sounds() -> None:
    """The same for what a panel reports."""
    desk = Scene()
    desk.hears(event(What.FIRE, age_ms=900_000))
    desk.passes(1.0)
    assert (desk.alarm.late, desk.alarm.silent) == (True, False)


def test_a_late_fire_restored_by_its_own_backlog_stays_silent() -> None:
    """It is recorded and stays on the list until reset, but nobody is woken for what is over."""
    desk = Scene()
    desk.says(verdict(age_us=QUARTER_HOUR_US))
    desk.says(verdict(CLEAR, at_us=T0_US + 60 * S, age_us=QUARTER_HOUR_US - 60 * S))
    assert desk.passes(5.0) == []
    assert (desk.alarm.state, desk.alarm.silent, desk.alarm.late) == (
        State.LATCHED_UNACKNOWLEDGED, True, True,
    )  # fmt: skip


def test_a_late_fire_restored_after_it_sounded_has_sounded() -> None:
    """The hold is a second, not the length of the backlog."""
    desk = Scene()
    desk.says(verdict(age_us=QUARTER_HOUR_US))
    desk.passes(1.0)
    desk.says(verdict(CLEAR, at_us=T0_US + S, age_us=S))
    assert not desk.alarm.silent


def test_a_late_fire_flaring_up_again_sounds() -> None:
    """Over in the backlog, and raised again: by a live reading at once, by a late one after its hold."""
    for age_us, waits in ((0, False), (600 * S, True)):
        desk = Scene()
        desk.says(verdict(age_us=QUARTER_HOUR_US), verdict(CLEAR, at_us=T0_US + S, age_us=QUARTER_HOUR_US))
        desk.passes(3.0)
        desk.says(verdict(at_us=T0_US + 300 * S, age_us=age_us))
        assert desk.alarm.silent is waits
        desk.passes(1.0)
        assert not desk.alarm.silent


def test_a_live_source_joining_a_held_alarm_makes_it_sound_at_once() -> None:
    """Whatever is true now needs no waiting."""
    desk = Scene()
    desk.says(verdict(age_us=QUARTER_HOUR_US))
    desk.hears(event(What.FIRE))
    assert not desk.alarm.silent


def test_age_decides_and_no_clock_does() -> None:
    """A stamp from 1970 or an unknown age is live."""
    desk = Scene()
    desk.says(verdict(at_us=0), verdict(point=1, age_us=UNKNOWN_AGE))
    assert [(a.late, a.silent) for a in desk.open] == [(False, False), (False, False)]


def test_a_live_fire_that_is_over_in_one_batch_still_sounds() -> None:
    """Only late alarms can be silent."""
    desk = Scene()
    desk.says(verdict(), verdict(CLEAR, at_us=T0_US + S))
    assert not desk.alarm.silent


def test_a_held_alarm_sounds_after_a_restart() -> None:
    """The second of doubt does not outlive the process: what was loaded silent and active sounds."""
    desk = Scene()
    desk.says(verdict(age_us=QUARTER_HOUR_US))
    again = Scene()
    again.book.load(desk.open, [])
    assert again.passes(0.0) == ["sounded"]


def test_past_excursion_is_recorded_once() -> None:
    """A late reading beyond the limit of something long normal begins and ends an alarm."""
    desk = Scene()
    assert desk.says(verdict(PAST, age_us=QUARTER_HOUR_US)) == ["raised", "returned"]
    assert (desk.alarm.active, desk.alarm.silent) == (False, True)
    assert desk.says(verdict(PAST, at_us=T0_US - S, age_us=QUARTER_HOUR_US)) == []
    desk.passes(2.0)
    assert desk.alarm.silent


def test_past_says_nothing_about_an_active_alarm() -> None:
    """It belongs to the excursion the book knows."""
    desk = Scene()
    desk.says(verdict())
    assert desk.says(verdict(PAST, at_us=T0_US - S)) == []


# --- zones ----------------------------------------------------------------------------------------------


def zone(kind: VerdictKind = RAISE, /, **changes: object) -> Verdict:
    """A verdict that points 0 and 2 confirm each other."""
    reasons = (
        Reason("two", 2.0, 2.0, 60.0, "2 devices", "2 台设备"),
        Reason("two#1", 60.0, 57.0, None, "p0", "p0"),
    )
    fields: dict[str, object] = {
        "point": -1, "rule": "two", "level": Level.CONFIRMED, "zone": Zone("u1", "b1", "z1"),
        "points": (0, 2), "value": 2.0, "limit": 2.0, "reset": None, "reasons": reasons,
    }  # fmt: skip
    return verdict(kind, **(fields | changes))


def test_a_zone_is_the_subject_of_an_alarm_of_its_own() -> None:
    """On top of its points' alarms, which come first; seen by its unit, with level, points and reasons."""
    points = [msgspec.structs.replace(p, place=f"{p.index}F") for p in POINTS]
    desk = Scene(Book(points, RuleSet()))
    assert desk.says(zone(), verdict()) == ["raised", "raised"]
    own, alarm = desk.open
    assert (own.point, alarm.point, alarm.gateway, alarm.name) == ("p0", "/u1/b1/z1", "", "z1")
    assert (alarm.unit, alarm.building, alarm.zone, alarm.place) == ("u1", "b1", "z1", "0F; 2F")
    assert (alarm.level, alarm.points, alarm.sources) == (Level.CONFIRMED, ("p0", "p2"), ("two",))
    assert [reason.key for reason in alarm.reasons] == ["two", "two#1"]
    elsewhere = Viewer("0002", frozenset({Role.OFFICER}), frozenset({"u2"}))
    assert desk.book.alarms(elsewhere) == []


def test_a_zones_occurrence_is_named_by_zone_class_and_time() -> None:
    """Whoever computes it; another class, zone or moment is another occurrence."""
    ids = {
        (desk := Scene()).says(said) and desk.alarm.id
        for said in (
            zone(), zone(), zone(cls=AlarmClass.PREALARM), zone(zone=Zone("u1", "b2", "z1")),
            zone(at_us=T0_US + 1),
        )
    }  # fmt: skip
    assert len(ids) == 4


def test_a_second_rule_joins_the_zones_alarm_and_linkage_asks_again() -> None:
    """One line per zone and class; that linkage may be proposed is news even to who has acknowledged."""
    desk = Scene()
    desk.says(zone(level=Level.VERIFY))
    desk.acknowledge()
    assert desk.says(zone(rule="more", points=(0, 1))) == ["escalated"]
    assert (desk.alarm.level, desk.alarm.points) == (Level.CONFIRMED, ("p0", "p2", "p1"))
    desk.acknowledge()
    assert desk.says(zone(rule="look", level=Level.VERIFY)) == ["repeated"]
    assert desk.says(zone(rule="link", linkage=True)) == ["escalated"]
    assert (desk.alarm.linkage, desk.alarm.level) == (True, Level.CONFIRMED)
    assert desk.alarm.state is State.UNACKNOWLEDGED


def test_a_zone_clears_latches_and_forgets_the_parts_of_its_old_reason() -> None:
    """A fire of a zone is a fire: only a person ends it. Raised anew, it names who raised it now."""
    desk = Scene()
    desk.says(zone(), zone(CLEAR, at_us=T0_US + S, reasons=(), points=()))
    assert desk.alarm.state is State.LATCHED_UNACKNOWLEDGED
    again = (Reason("two", 2.0, 2.0, 60.0, "2 devices", "2 台设备"),)
    assert desk.says(zone(at_us=T0_US + 2 * S, reasons=again, points=(1,))) == ["raised"]
    assert (desk.alarm.reasons, desk.alarm.points) == (again, ("p1",))


def test_a_zones_alarm_is_test_while_all_of_it_is() -> None:
    """And says so to detection after a restart."""
    desk = Scene()
    desk.says(zone(test=True))
    assert desk.alarm.test
    (active,) = desk.book.active_rules()
    assert (active.rule, active.test, active.zone) == ("two", True, Zone("u1", "b1", "z1"))
    again = Scene()
    again.book.load(desk.open, [])
    assert again.book.active_rules() == [active]
    again.says(zone(rule="link"))
    assert not again.alarm.test


def test_a_zones_alarm_is_stale_when_one_of_its_points_gives_no_data() -> None:
    """By silence of the point or of its gateway, also after a restart; another zone is not concerned."""
    points = [msgspec.structs.replace(p, zone="z1") for p in POINTS]
    for gone in (missing, lambda kind: missing(kind, gateway="gw-2")):
        desk = Scene(Book(points, RuleSet()))
        desk.says(zone(), zone(zone=Zone("u1", "b1", "z2"), points=(1,)))
        again = Scene(Book(points, RuleSet()))
        again.book.load(desk.open, [])
        assert [c.alarm.zone for c in desk.changes if c.what == "stale"] == []
        for one in (desk, again):
            assert one.says(gone(RAISE)) == ["raised", "stale"]
            assert [a.zone for a in one.open if a.stale] == ["z1"]
            assert "fresh" in one.says(gone(CLEAR))


def test_a_simulated_event_ends_nothing_real() -> None:
    """What a device reported stays until the device, not a test, takes it back."""
    desk = Scene()
    desk.hears(event(What.FIRE))
    assert desk.hears(event(What.RESTORED, at_s=1, code=SIMULATED_EVENT)) == []
    desk.hears(event(What.FIRE, at_s=2, code=SIMULATED_EVENT))
    assert desk.alarm.sources == ("event:fire", "test:event:fire")
    assert desk.hears(event(What.RESTORED, at_s=3, code=SIMULATED_EVENT)) == ["eased"]
    assert desk.hears(event(What.RESTORED, at_s=4)) == ["returned"]


def test_detection_is_told_what_devices_hold_too() -> None:
    """A zone counts a pressed call point after a restart as well."""
    desk = Scene()
    desk.hears(event(What.FIRE))
    (active,) = desk.book.active_rules()
    assert (active.rule, active.point, active.cls, active.raised_at_us, active.zone) == (
        "event:fire", 0, AlarmClass.FIRE, T0_US, None,
    )  # fmt: skip


# --- missing data --------------------------------------------------------------------------------------


def test_a_silent_points_alarm_is_stale_and_never_cleared() -> None:
    """Nobody knows whether it still burns, so it stays."""
    desk = Scene()
    desk.says(verdict())
    assert desk.says(missing(RAISE)) == ["raised", "stale"]
    fire = next(a for a in desk.open if a.cls is AlarmClass.FIRE)
    assert (fire.active, fire.stale) == (True, True)
    assert desk.says(missing(CLEAR)) == ["returned", "fresh"]


def test_an_offline_gateway_makes_the_alarms_behind_it_stale() -> None:
    """One fault, with its points folded, in the unit all its points share."""
    desk = Scene()
    desk.says(verdict(point=2))
    assert desk.says(missing(RAISE, gateway="gw-2")) == ["raised", "stale"]
    fault = next(a for a in desk.open if a.cls is AlarmClass.FAULT)
    assert (fault.point, fault.unit, fault.folded) == ("gw-2/", "u1", 2)
    assert desk.says(missing(CLEAR, gateway="gw-2")) == ["returned", "fresh"]


def test_staleness_survives_a_restart() -> None:
    """The book remembers who is silent by the fault that says so."""
    desk = Scene()
    desk.says(verdict(), missing(RAISE))
    again = Scene()
    again.book.load(desk.open, [])
    assert [(r.rule, r.point) for r in again.book.active_rules()] == [("heat", 0), ("no-data", 0)]
    again.says(missing(RAISE, gateway="gw-1"))
    again.says(missing(CLEAR, gateway="gw-1"))
    assert next(a for a in again.open if a.cls is AlarmClass.FIRE).stale


# --- unregistered --------------------------------------------------------------------------------------


def test_an_unregistered_fire_sounds_at_once() -> None:
    """Named by gateway and raw point; lesser events of unknown points raise nothing."""
    desk = Scene()
    assert desk.hears(event(What.FAULT, registered=False, name="x-9")) == []
    desk.hears(event(What.FIRE, registered=False, name="x-9", text="Zone 4" + "!" * 1000))
    alarm = desk.alarm
    assert (alarm.point, alarm.gateway, alarm.name, alarm.silent) == ("gw-1/x-9", "gw-1", "x-9", False)
    assert len(alarm.reasons[0].text_en) < 300
    assert desk.hears(event(What.RESTORED, registered=False, name="x-9", at_s=1)) == ["returned"]


def test_unregistered_fires_are_bounded_per_gateway() -> None:
    """A hostile gateway cannot fill the book: further points fold into one fire of the gateway."""
    desk = Scene()
    for number in range(UNREGISTERED_PER_GATEWAY + 50):
        desk.hears(event(What.FIRE, registered=False, name=f"x-{number}"))
    assert len(desk.open) == UNREGISTERED_PER_GATEWAY + 1
    assert next(a for a in desk.open if a.point == "gw-1/").count == 50


# --- repeats and replay --------------------------------------------------------------------------------


def test_repeats_in_one_batch_are_one_change() -> None:
    """A chattering device counts; it does not fill the record."""
    desk = Scene()
    assert desk.hears(*[event(What.FIRE, at_s=i) for i in range(100)]) == ["raised", "repeated"]
    assert desk.alarm.count == 100


def test_a_replay_over_the_recorded_cursor_changes_nothing_twice() -> None:
    """A batch that holds entries of before the restart is entered once."""
    desk = Scene()
    stream = [verdict(), verdict(CLEAR, at_us=T0_US + S), verdict(at_us=T0_US + 2 * S)]
    desk.says(*stream)
    before = desk.alarm
    assert desk.says(*stream, replay=True) == []
    assert desk.alarm == before


def test_a_closed_alarm_is_not_raised_again_by_a_replay() -> None:
    """Its id is remembered across the restart."""
    desk = Scene()
    pre: dict[str, object] = {"cls": AlarmClass.PREALARM, "rule": "pre"}
    desk.says(verdict(**pre), verdict(CLEAR, **pre))
    desk.acknowledge()
    again = Scene()
    again.book.load([], [desk.changes[-1].alarm.id])
    assert again.says(verdict(**pre), verdict(CLEAR, **pre), replay=True) == []


def test_fire_after_the_sources_clock_fell_back_is_not_taken_for_a_replay() -> None:
    """Live entries are entered whatever their stamps say."""
    desk = Scene()
    desk.says(verdict(), verdict(CLEAR, at_us=T0_US + S))
    desk.acknowledge()
    assert desk.says(verdict(at_us=T0_US - 3 * 3600 * S)) == ["raised"]
    assert desk.alarm.state is State.UNACKNOWLEDGED


# --- people --------------------------------------------------------------------------------------------


def test_acknowledge_says_who_and_when() -> None:
    """And a second one on the old version is refused as stale."""
    desk = Scene()
    desk.says(verdict())
    seen = desk.alarm
    alarm = desk.acknowledge()
    assert (alarm.state, alarm.acknowledged_by, alarm.active) == (State.ACKNOWLEDGED, "0001", True)
    with pytest.raises(StaleAlarm, match="look again"):
        desk.orders(Step.ACKNOWLEDGE, seen)
    with pytest.raises(StaleAlarm):
        desk.orders(Step.ACKNOWLEDGE, alarm)


def test_another_units_alarm_does_not_exist() -> None:
    """Neither to see nor to touch, in the same words as one that never was."""
    desk = Scene()
    desk.says(verdict(point=1))
    stranger = Viewer("0002", frozenset({Role.OFFICER}), frozenset({"u1"}))
    assert desk.book.alarms(stranger) == []
    with pytest.raises(UnknownAlarm):
        desk.acknowledge(stranger)


@pytest.mark.parametrize("role", [Role.VIEWER, Role.ADMIN])
def test_who_only_looks_may_not_acknowledge_or_reset(role: Role) -> None:
    """State is unchanged."""
    desk = Scene()
    desk.says(verdict())
    before = desk.alarm
    looker = Viewer("0003", frozenset({role}), None)
    for step in DEEDS:
        with pytest.raises(NotAllowed):
            desk.orders(step, before, viewer=looker)
    with pytest.raises(NotAllowed):
        desk.hands.seen(looker, [before.id], now_us=0)
    assert desk.alarm == before


actions = st.lists(
    st.tuples(
        st.sampled_from([
            "raise", "clear", "event", "restored", "past", "silent", "back", "ack", "old ack", "reset",
            "tick",
        ]),
        st.sampled_from([0, 0, 900 * S]),
        st.sampled_from([AlarmClass.FIRE, AlarmClass.PREALARM]),
    ),
    max_size=40,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(script=actions)
def test_whatever_happens(script: list[tuple[str, int, AlarmClass]]) -> None:
    """Versions rise; nothing active stays silent; only a late alarm is silent; a fire leaves by reset."""
    desk = Scene()
    seen: dict[AlarmClass, Alarm] = {}
    fires_reset = 0
    for number, (action, age_us, cls) in enumerate(script):
        rule = "heat" if cls is AlarmClass.FIRE else "pre"
        fields = {"cls": cls, "rule": rule, "age_us": age_us, "at_us": T0_US + number * S}
        alarm = next((a for a in desk.open if a.cls is cls), None)
        match action:
            case "raise" | "clear" | "past":
                desk.says(verdict(VerdictKind(action), **fields))
            case "event":
                desk.hears(event(What.FIRE, age_ms=age_us // 1000, at_s=number))
            case "restored":
                desk.hears(event(What.RESTORED, at_s=number))
            case "silent" | "back":
                desk.says(missing(RAISE if action == "silent" else CLEAR))
            case "tick":
                desk.passes(1.0)
                assert not [a for a in desk.open if a.active and a.silent]
            case "ack" | "old ack" | "reset" if alarm is not None:
                target = seen.get(cls, alarm) if action == "old ack" else alarm
                step = Step.RESET if action == "reset" else Step.ACKNOWLEDGE
                try:
                    desk.orders(step, target)
                    fires_reset += action == "reset" and cls is AlarmClass.FIRE
                except (StaleAlarm, UnknownAlarm):
                    assert action != "ack" or alarm.state is not State.UNACKNOWLEDGED
        if alarm is not None:
            seen.setdefault(cls, alarm)
        assert len({(a.point, a.cls) for a in desk.open}) == len(desk.open)
        assert all(a.active == bool(a.sources) for a in desk.open)
    history: dict[str, list[Alarm]] = {}
    for change in desk.changes:
        history.setdefault(change.alarm.id, []).append(change.alarm)
    for versions in history.values():
        numbers = [alarm.version for alarm in versions]
        assert numbers == sorted(set(numbers))
        assert all(not a.silent or a.late for a in versions)
    closed = [v[-1] for v in history.values() if v[-1].state is State.CLOSED and v[-1].cls is AlarmClass.FIRE]
    assert len(closed) == fires_reset
    reloaded = Book(POINTS, RuleSet())
    encoded = [msgspec.json.decode(msgspec.json.encode(a), type=Alarm) for a in desk.open]
    reloaded.load(encoded, [])
    assert reloaded.alarms(EVERYBODY) == desk.open

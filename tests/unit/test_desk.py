"""The desk: what persons do to alarms, what they are refused, and a machine that tries every pair."""

from __future__ import annotations

from itertools import product

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from alerting.alarms.book import UNMOVED, Book, Change
from alerting.alarms.desk import DEEDS, OUT_OF_SERVICE_AT_MOST_S, SHELVED_AT_MOST_S
from alerting.alarms.lifecycle import NEVER_INHIBITED, TABLE, UNACKNOWLEDGED, Alarm, Inhibition, State, Step
from alerting.detect.rules import RuleSet
from alerting.detect.verdict import VerdictKind
from alerting.errors import Impossible, NotAllowed, StaleAlarm, UnknownAlarm
from alerting.finding import Finding
from alerting.watch import of_devices
from fengsui.batch import GatewayEvent
from fengsui.model import AlarmClass, Event, What
from fengsui.viewer import Role, Viewer
from tests.unit.detection import T0_US, S, heat, point
from tests.unit.test_book import CLEAR, EVERYBODY, RAISE, Scene, event, missing, verdict, zone

CHIEF = Viewer("0002", frozenset({Role.OFFICER}), None)
ENGINEER = Viewer("0300", frozenset({Role.ENGINEER}), None)
PRE: dict[str, object] = {"cls": AlarmClass.PREALARM, "rule": "pre"}
WORDS: dict[str, object] = {
    "text": "because", "to": "0002", "for_s": 600, "finding": Finding.COOKING,
}  # fmt: skip


def of(scene: Scene, cls: AlarmClass) -> Alarm:
    """The open alarm of a class."""
    return next(alarm for alarm in scene.open if alarm.cls is cls)


# --- reset and what comes back -------------------------------------------------------------------------


def test_a_source_still_in_alarm_after_a_reset_comes_back_as_a_new_occurrence() -> None:
    """At once, unacknowledged, with nothing done about it, and naming the one before."""
    scene = Scene()
    scene.says(verdict())
    scene.acknowledge()
    before = scene.orders(Step.TAKE, scene.alarm)
    scene.now_s += 5
    gone = scene.orders(Step.RESET, before)
    assert (gone.id, gone.state, gone.active) == (before.id, State.CLOSED, False)
    again = scene.alarm
    assert [change.what for change in scene.changes[-2:]] == ["reset", "raised"]
    assert (again.after, again.state, again.version, again.count) == (before.id, State.UNACKNOWLEDGED, 1, 1)
    assert (again.sources, again.acknowledged_by, again.taken) == (("heat",), None, None)
    assert (again.measured_at_us, again.detected_at_us) == (T0_US, T0_US + 5 * S)
    assert scene.says(verdict(CLEAR, at_us=T0_US + 9 * S)) == ["returned"]


def test_what_a_panel_reports_is_reset_on_site_first() -> None:
    """A device's fire holds until the device lets go; its reset is recorded, and then the desk's ends it."""
    scene = Scene()
    scene.hears(event(What.FIRE))
    scene.orders(Step.RESET, scene.acknowledge())
    assert scene.alarm.after is not None
    scene.acknowledge()
    assert scene.hears(event(What.RESET, at_s=9, text="panel")) == ["returned", "reset_on_site"]
    alarm = scene.alarm
    assert alarm.reset_on_site is not None
    assert (alarm.reset_on_site.by, alarm.reset_on_site.at_us) == ("gw-1", T0_US + 9 * S)
    assert (scene.changes[-1].origin, scene.changes[-1].reason) == ("gateway", "panel")
    assert scene.hears(event(What.RESET, at_s=9, text="panel")) == []
    scene.orders(Step.RESET, alarm)
    assert scene.open == []


def test_a_panels_reset_is_about_all_of_its_parts_and_nothing_else() -> None:
    """Registered or not; a name that only begins alike, and another gateway, are no parts."""
    names = ("panel:1.1", "panel:1.1:10-2", "panel:1.10:3")
    points = [msgspec.structs.replace(point(i), name=name) for i, name in enumerate(names)]
    scene = Scene(Book(points, RuleSet(threshold=(heat(),))))

    def says(what: What, name: str, at_s: int, gateway: str = "gw-1") -> list[str]:
        known = {point.name: point for point in points} if gateway == "gw-1" else {}
        body = Event(point=name, at=T0_US + at_s * S, what=what)
        return scene.hears(GatewayEvent(gateway, body, known.get(name), T0_US, 0))

    for name in (*names[1:], "panel:1.1:unregistered"):
        says(What.FIRE, name, 0)
    says(What.FIRE, "panel:1.1:10-2", 0, "gw-2")
    scene.says(verdict(point=1, at_us=T0_US))
    assert says(What.SILENCE, "panel:1.1", 1) == ["silenced_on_site", "silenced_on_site"]
    assert says(What.RESET, "panel:1.1", 2) == ["eased", "reset_on_site", "returned", "reset_on_site"]
    assert {alarm.point: alarm.sources for alarm in scene.open} == {
        "p1": ("heat",), "p2": ("event:fire",), "gw-1/panel:1.1:unregistered": (),
        "gw-2/panel:1.1:10-2": ("event:fire",),
    }  # fmt: skip
    assert says(What.RESTORED, "panel:1.10", 3) == []


def test_repeated_events_of_a_point_add_a_count() -> None:
    """Never a second alarm; and a version before them is good enough to acknowledge."""
    scene = Scene()
    scene.hears(event(What.FIRE))
    looked_at = scene.alarm
    for second in range(1, 30):
        scene.hears(event(What.FIRE, at_s=second))
    assert scene.alarm.count == 30
    assert scene.orders(Step.ACKNOWLEDGE, looked_at).state is State.ACKNOWLEDGED


# --- silence -------------------------------------------------------------------------------------------


def test_silence_on_site_and_on_the_desk_are_records_of_their_own() -> None:
    """In either order neither takes the other back."""
    for first in ("desk", "site"):
        scene = Scene()
        scene.says(verdict())
        for where in ("desk", "site") if first == "desk" else ("site", "desk"):
            if where == "desk":
                scene.orders(Step.SILENCE, scene.alarm)
            else:
                assert scene.hears(event(What.SILENCE, at_s=3)) == ["silenced_on_site"]
        alarm = scene.alarm
        assert alarm.silenced is not None
        assert alarm.silenced_on_site is not None
        assert (alarm.silenced.by, alarm.silenced_on_site.by) == ("0001", "gw-1")
        assert (alarm.state, alarm.silent) == (State.UNACKNOWLEDGED, False)


def test_what_is_worse_sounds_again_after_a_silence() -> None:
    """Silence is for what was heard; what is silenced on site stays so on record."""
    scene = Scene()
    scene.says(verdict(severity=3, rule="low"))
    scene.hears(event(What.SILENCE, at_s=1))
    scene.orders(Step.SILENCE, scene.alarm)
    scene.says(verdict(severity=3, rule="other"))
    assert scene.alarm.silenced is not None
    scene.says(verdict(severity=4))
    worse = scene.alarm
    assert worse.silenced is None
    assert worse.silenced_on_site is not None


def test_a_simulated_event_marks_nothing_real() -> None:
    """A test silences and resets what is a test."""
    scene = Scene()
    scene.hears(event(What.FIRE))
    assert scene.hears(event(What.SILENCE, at_s=1, code="simulated")) == []
    assert scene.hears(event(What.RESET, at_s=1, code="simulated")) == []


# --- handling ------------------------------------------------------------------------------------------


def test_who_handles_it_and_what_it_was() -> None:
    """Assign, take, verify and close leave marks, the words go to the record; a case can be reopened."""
    scene = Scene()
    scene.says(verdict(), verdict(CLEAR, at_us=T0_US + S))
    scene.acknowledge()
    scene.orders(Step.ASSIGN, scene.alarm, to="0002")
    scene.orders(Step.TAKE, scene.alarm, viewer=CHIEF)
    scene.orders(Step.COMMENT, scene.alarm, text="kitchen on 3")
    scene.orders(Step.VERIFY, scene.alarm, viewer=CHIEF, text="pan on the stove")
    closed = scene.orders(Step.CLOSE, scene.alarm, finding=Finding.COOKING, text="aired")
    assert (closed.assigned_to, closed.comments, closed.finding) == ("0002", 1, Finding.COOKING)
    assert closed.taken is not None
    assert closed.verified is not None
    assert (closed.taken.by, closed.verified.text, closed.state) == (
        "0002", "pan on the stove", State.LATCHED_ACKNOWLEDGED,
    )  # fmt: skip
    assert [(c.actor, c.reason) for c in scene.changes if c.reason] == [
        ("0001", "kitchen on 3"), ("0002", "pan on the stove"), ("0001", "aired"),
    ]  # fmt: skip
    with pytest.raises(StaleAlarm, match="closed by 0001"):
        scene.orders(Step.CLOSE, scene.alarm, finding=Finding.REAL)
    gone = scene.orders(Step.RESET, scene.alarm)
    assert (scene.open, scene.book.closed(EVERYBODY, 10)) == ([], [gone])
    reopened = scene.orders(Step.REOPEN, gone, text="it was dust")
    assert (reopened.finding, reopened.closed, reopened.state) == (None, None, State.CLOSED)
    with pytest.raises(StaleAlarm, match="its case is open"):
        scene.orders(Step.REOPEN, reopened, text="again")
    assert scene.orders(Step.CLOSE, reopened, finding=Finding.DUST).finding is Finding.DUST
    assert scene.says(verdict(at_us=T0_US + 9 * S)) == ["raised"]


def test_a_fire_that_flares_up_takes_its_finding_back() -> None:
    """What was found of the one before says nothing of this one."""
    scene = Scene()
    scene.says(verdict(), verdict(CLEAR, at_us=T0_US + S))
    scene.acknowledge()
    scene.orders(Step.CLOSE, scene.alarm, finding=Finding.STEAM)
    scene.says(verdict(at_us=T0_US + 2 * S))
    assert (scene.alarm.finding, scene.alarm.closed, scene.alarm.state) == (None, None, State.UNACKNOWLEDGED)


def test_closed_alarms_are_kept_over_a_restart_and_hidden_from_other_units() -> None:
    """The newest ones can still be looked at and commented by who may see them."""
    scene = Scene()
    scene.says(verdict(**PRE), verdict(CLEAR, **PRE))
    gone = scene.acknowledge()
    again = Scene()
    again.book.load([], [gone.id], [gone])
    stranger = Viewer("0009", frozenset({Role.OFFICER}), frozenset({"u2"}))
    assert again.book.closed(stranger, 10) == []
    with pytest.raises(UnknownAlarm):
        again.orders(Step.COMMENT, gone, viewer=stranger, text="x")
    assert again.orders(Step.COMMENT, gone, text="x").comments == 1
    assert again.says(verdict(**PRE)) == []


def test_seen_and_notified_are_stamped_once_and_move_nothing() -> None:
    """The first report counts; nothing is invented before it; an order on the version before is good."""
    scene = Scene()
    scene.says(verdict(), verdict(point=1))
    looked_at, other = scene.open
    assert (looked_at.seen_at_us, looked_at.notified_at_us) == (None, None)
    scene.now_s += 2
    changes = scene.hands.seen(
        Viewer("0009", frozenset({Role.OFFICER}), frozenset({"u1"})),
        [looked_at.id, looked_at.id, other.id, "nothing"], now_us=scene.now_us,
    )  # fmt: skip
    assert [(change.alarm.id, change.what) for change in changes] == [(looked_at.id, "seen")]
    assert [c.what for c in scene.book.notified(looked_at.id, now_us=scene.now_us)] == ["notified"]
    scene.now_s += 2
    assert scene.hands.seen(EVERYBODY, [looked_at.id], now_us=scene.now_us) == []
    assert scene.book.notified(looked_at.id, now_us=scene.now_us) == []
    done = scene.orders(Step.ACKNOWLEDGE, looked_at)
    assert (done.seen_at_us, done.notified_at_us, done.acknowledged_at_us) == (
        T0_US + 2 * S, T0_US + 2 * S, T0_US + 4 * S,
    )  # fmt: skip


# --- inhibition ----------------------------------------------------------------------------------------


def test_a_shelved_alarm_is_listed_with_owner_reason_and_end_and_sounds_again_when_it_is_over() -> None:
    """Though it had been acknowledged; by the monotonic clock, whatever the wall clock does."""
    scene = Scene()
    scene.says(verdict(**PRE))
    scene.acknowledge()
    shelved = scene.orders(Step.SHELVE, scene.alarm, text="works until noon", for_s=600)
    assert (shelved.inhibited, shelved.state) == (Inhibition.SHELVED, State.ACKNOWLEDGED)
    listed = of(scene, AlarmClass.DISABLEMENT)
    (word,) = listed.disablements
    assert (word.mark.by, word.mark.text, word.until_us) == ("0001", "works until noon", T0_US + 600 * S)
    assert (listed.state, listed.acknowledged_by, listed.unit) == (State.ACKNOWLEDGED, "0001", "u1")
    assert {(c.what, c.actor, c.reason) for c in scene.changes[-2:]} == {
        ("raised", "0001", "works until noon"), ("shelved", "0001", "works until noon"),
    }  # fmt: skip
    assert scene.passes(1) == []
    hour_us = 3600 * S
    assert scene.book.advance(now_us=scene.now_us + hour_us, now_s=scene.now_s) == []
    scene.now_s += 599
    changes = scene.book.advance(now_us=scene.now_us - hour_us, now_s=scene.now_s)
    assert [change.what for change in changes] == ["returned", "resumed"]
    assert (scene.alarm.state, scene.alarm.inhibited) == (State.UNACKNOWLEDGED, None)


def test_a_shelf_outlives_the_alarm_and_the_process() -> None:
    """Raised anew meanwhile it is inhibited from its first version on, also after a restart."""
    scene = Scene()
    scene.says(verdict(**PRE))
    scene.orders(Step.SHELVE, scene.alarm, text="works", for_s=600)
    scene.orders(Step.ACKNOWLEDGE, of(scene, AlarmClass.PREALARM))
    scene.says(verdict(CLEAR, **PRE, at_us=T0_US + S))
    assert [alarm.cls for alarm in scene.open] == [AlarmClass.DISABLEMENT]
    again = Scene()
    again.book.load(scene.open, [])
    assert again.book.active_rules() == []
    again.says(verdict(**PRE, at_us=T0_US + 2 * S), verdict(at_us=T0_US + 2 * S))
    assert of(again, AlarmClass.PREALARM).inhibited is Inhibition.SHELVED
    assert of(again, AlarmClass.FIRE).inhibited is None
    again.passes(1)
    assert again.passes(600) == ["returned", "resumed"]


def test_unshelving_is_a_persons_word() -> None:
    """Recorded with who and why; twice is refused, like shelving twice."""
    scene = Scene()
    scene.says(verdict(**PRE))
    with pytest.raises(StaleAlarm, match="not shelved"):
        scene.orders(Step.UNSHELVE, scene.alarm)
    shelved = scene.orders(Step.SHELVE, scene.alarm, text="works", for_s=600)
    with pytest.raises(StaleAlarm, match="already"):
        scene.orders(Step.SHELVE, shelved, text="works", for_s=60)
    back = scene.orders(Step.UNSHELVE, shelved, text="done", viewer=CHIEF)
    assert (back.inhibited, back.state) == (None, State.UNACKNOWLEDGED)
    assert {(c.what, c.actor, c.reason) for c in scene.changes[-2:]} == {
        ("returned", "0002", "done"), ("resumed", "0002", "done"),
    }  # fmt: skip


def test_a_fire_is_never_inhibited() -> None:
    """It cannot be shelved, and sounds at a point that is out of service and disabled by its device."""
    scene = Scene()
    scene.says(verdict(), verdict(**PRE))
    with pytest.raises(Impossible, match="never shelved"):
        scene.orders(Step.SHELVE, of(scene, AlarmClass.FIRE), text="works", for_s=60)
    scene.orders(Step.DISABLE, of(scene, AlarmClass.FIRE), text="new detector", for_s=3600, viewer=ENGINEER)
    scene.hears(event(What.DISABLED, at_s=1))
    assert of(scene, AlarmClass.PREALARM).inhibited is Inhibition.OUT_OF_SERVICE
    assert of(scene, AlarmClass.FIRE).inhibited is None
    scene.orders(Step.ENABLE, of(scene, AlarmClass.DISABLEMENT), viewer=ENGINEER)
    assert of(scene, AlarmClass.PREALARM).inhibited is None
    assert of(scene, AlarmClass.DISABLEMENT).sources == ("event:disabled",)


def test_faults_of_a_disabled_device_are_suppressed_by_design() -> None:
    """Whichever comes first; a pre-alarm is not; enabled, the fault asks for attention again."""
    scene = Scene()
    scene.says(missing(RAISE), verdict(**PRE))
    assert scene.hears(event(What.DISABLED)) == ["raised", "suppressed"]
    assert of(scene, AlarmClass.FAULT).inhibited is Inhibition.SUPPRESSED
    assert of(scene, AlarmClass.PREALARM).inhibited is None
    assert scene.hears(event(What.ENABLED, at_s=1)) == ["returned", "resumed"]
    scene.hears(event(What.DISABLED, at_s=2))
    scene.hears(event(What.FAULT, at_s=3))
    assert of(scene, AlarmClass.FAULT).inhibited is Inhibition.SUPPRESSED


@pytest.mark.parametrize(
    ("step", "viewer", "words"),
    [
        (Step.SHELVE, EVERYBODY, {"for_s": 60}),
        (Step.SHELVE, EVERYBODY, {"text": "works"}),
        (Step.SHELVE, EVERYBODY, {"text": "works", "for_s": SHELVED_AT_MOST_S + 1}),
        (Step.SHELVE, EVERYBODY, {"text": "works", "for_s": -1}),
        (Step.DISABLE, ENGINEER, {"text": "works", "for_s": OUT_OF_SERVICE_AT_MOST_S + 1}),
        (Step.COMMENT, EVERYBODY, {}),
        (Step.COMMENT, EVERYBODY, {"text": "x" * 501}),
        (Step.ASSIGN, EVERYBODY, {}),
        (Step.CLOSE, EVERYBODY, {}),
        (Step.REOPEN, EVERYBODY, {}),
    ],
)
def test_an_order_without_what_it_needs_is_refused(
    step: Step, viewer: Viewer, words: dict[str, object]
) -> None:
    """A reason, a limit, a name or a finding; nothing has changed."""
    scene = Scene()
    scene.says(verdict(**PRE))
    before = scene.alarm
    with pytest.raises(Impossible):
        scene.orders(step, before, viewer=viewer, **words)
    assert scene.open == [before]


def test_zones_are_not_shelved() -> None:
    """What several devices say together is not put aside; each device may be."""
    scene = Scene()
    scene.says(zone(cls=AlarmClass.SUPERVISORY))
    with pytest.raises(Impossible, match="zone"):
        scene.orders(Step.SHELVE, scene.alarm, text="works", for_s=60)


# --- stale and unknown ---------------------------------------------------------------------------------


def test_what_is_over_is_unknown_while_no_data_comes() -> None:
    """No data is no all-clear: neither for what is active nor for what was."""
    scene = Scene()
    scene.says(verdict(), verdict(**PRE), verdict(CLEAR, at_us=T0_US + S))
    assert scene.says(missing(RAISE)) == ["raised", "unknown", "stale"]
    fire = of(scene, AlarmClass.FIRE)
    assert (fire.stale, fire.unknown, fire.active) == (False, True, False)
    assert scene.hears(event(What.FIRE, at_s=2)) == ["raised"]
    assert not of(scene, AlarmClass.FIRE).unknown
    scene.hears(event(What.RESTORED, at_s=3))
    assert of(scene, AlarmClass.FIRE).unknown
    assert scene.says(missing(CLEAR)) == ["returned", "fresh", "fresh"]


def test_a_stale_order_is_told_what_changed_by_whom_and_when() -> None:
    """So that the person need not guess."""
    scene = Scene()
    scene.says(verdict())
    looked_at = scene.alarm
    scene.now_s += 61
    scene.orders(Step.TAKE, looked_at, viewer=CHIEF)
    with pytest.raises(StaleAlarm, match=r"taken by 0002 at 22:14:21 UTC, version 2") as refused:
        scene.orders(Step.ACKNOWLEDGE, looked_at)
    assert refused.value.alarm == scene.alarm
    with pytest.raises(StaleAlarm):
        scene.orders(Step.ACKNOWLEDGE, scene.alarm, version=99)


def test_only_an_engineer_takes_points_out_of_service() -> None:
    """An officer may shelve what is no fire, for a shift."""
    scene = Scene()
    scene.says(verdict(**PRE))
    with pytest.raises(NotAllowed):
        scene.orders(Step.DISABLE, scene.alarm, text="works", for_s=60)
    scene.orders(Step.DISABLE, scene.alarm, text="works", for_s=60, viewer=ENGINEER)
    assert of(scene, AlarmClass.PREALARM).inhibited is Inhibition.OUT_OF_SERVICE


# --- every pair, and interleavings ---------------------------------------------------------------------


def brought_to(state: State) -> tuple[Scene, Alarm]:
    """An alarm in that state."""
    scene = Scene()
    fields = {} if "latched" in state else PRE
    scene.says(verdict(**fields))
    if state in (State.ACKNOWLEDGED, State.CLOSED):
        scene.acknowledge()
    if state not in (State.UNACKNOWLEDGED, State.ACKNOWLEDGED):
        scene.says(verdict(CLEAR, at_us=T0_US + S, **fields))
    if state is State.LATCHED_ACKNOWLEDGED:
        scene.acknowledge()
    alarm = scene.book.find(scene.changes[-1].alarm.id)
    assert alarm is not None
    assert alarm.state is state
    return scene, alarm


@pytest.mark.parametrize(("state", "step"), list(product(State, DEEDS)))
def test_a_person_is_refused_exactly_what_the_table_refuses(state: State, step: Step) -> None:
    """For every state and every step of a person, apart from what stands beside the state."""
    scene, alarm = brought_to(state)
    if (state, step) not in TABLE:
        with pytest.raises(StaleAlarm):
            scene.orders(step, alarm, viewer=ENGINEER, **WORDS)
        assert scene.book.find(alarm.id) == alarm
    elif step in (Step.UNSHELVE, Step.ENABLE, Step.REOPEN):
        with pytest.raises(StaleAlarm, match=r"not|open"):
            scene.orders(step, alarm, viewer=ENGINEER, **WORDS)
    elif step is Step.SHELVE and alarm.cls is AlarmClass.FIRE:
        with pytest.raises(Impossible):
            scene.orders(step, alarm, viewer=ENGINEER, **WORDS)
    else:
        scene.orders(step, alarm, viewer=ENGINEER, **WORDS)
        after = scene.book.find(alarm.id)
        assert after is not None
        assert after.state is TABLE[state, step]
        assert any(change.actor == "0300" for change in scene.changes)


class Interleaved(RuleBasedStateMachine):
    """Devices, time and three persons who act on what they last looked at, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.scene = Scene()
        self.looks: dict[str, dict[str, Alarm]] = {"0001": {}, "0002": {}, "0300": {}}
        self.people = {"0001": EVERYBODY, "0002": CHIEF, "0300": ENGINEER}
        self.read = 0

    classes = st.sampled_from([AlarmClass.FIRE, AlarmClass.PREALARM, AlarmClass.FAULT])
    persons = st.sampled_from(["0001", "0002", "0300"])

    def _at(self) -> int:
        self.scene.now_s += 1
        return self.scene.now_us

    @rule(cls=classes, kind=st.sampled_from([RAISE, CLEAR]), severity=st.integers(2, 4))
    def judge(self, cls: AlarmClass, kind: VerdictKind, severity: int) -> None:
        """A rule raises or lets go."""
        self.scene.says(verdict(kind, cls=cls, rule=f"r-{cls}", severity=severity, at_us=self._at()))

    @rule(
        what=st.sampled_from([
            What.FIRE, What.FAULT, What.RESTORED, What.RESET, What.SILENCE, What.DISABLED, What.ENABLED,
        ])
    )  # fmt: skip
    def report(self, what: What) -> None:
        """The device says something."""
        self._at()
        self.scene.hears(event(what, at_s=int(self.scene.now_s)))

    @rule(gone=st.booleans())
    def data(self, gone: bool) -> None:
        """Data stops or comes back."""
        self.scene.says(missing(RAISE if gone else CLEAR))

    @rule(seconds=st.sampled_from([1, 30, 700]))
    def wait(self, seconds: int) -> None:
        """Time passes."""
        self.scene.passes(seconds)

    @precondition(lambda self: self.scene.open)
    @rule(person=persons)
    def look(self, person: str) -> None:
        """A person looks at the list; what they see there now is what they may act on much later."""
        self.looks[person] = {alarm.id: alarm for alarm in self.scene.open}

    @precondition(lambda self: self.scene.changes)
    @rule(person=persons, pick=st.integers(0, 9), step=st.sampled_from(list(DEEDS)), fresh=st.booleans())
    def order(self, person: str, pick: int, step: Step, fresh: bool) -> None:
        """A person acts on what is, or on what they saw: done exactly when nothing has moved since."""
        known = [*self.scene.open, *self.scene.book.closed(EVERYBODY, 3)]
        now = known[pick % len(known)]
        looked_at = now if fresh else self.looks[person].get(now.id, now)
        self._at()
        assert now.moved is not None
        missed = now.moved.version > looked_at.version
        try:
            self.scene.orders(step, looked_at, viewer=self.people[person], **WORDS)
        except NotAllowed:
            assert not self.people[person].may(DEEDS[step].action)
        except Impossible:
            assert step is Step.SHELVE
            assert now.cls in NEVER_INHIBITED
        except StaleAlarm:
            assert self.scene.book.find(now.id) == now
            beside = step in (
                Step.CLOSE, Step.REOPEN, Step.SHELVE, Step.UNSHELVE, Step.DISABLE, Step.ENABLE,
            )  # fmt: skip
            assert missed or (now.state, step) not in TABLE or beside
        else:
            assert not missed
            assert (now.state, step) in TABLE

    @precondition(lambda self: any(alarm.cls is AlarmClass.FIRE for alarm in self.scene.open))
    @rule(person=persons)
    def see_it_through(self, person: str) -> None:
        """The usual way of a fire: acknowledged, over, closed with a finding, reset."""
        viewer = self.people[person]
        if of(self.scene, AlarmClass.FIRE).state in UNACKNOWLEDGED:
            self.scene.orders(Step.ACKNOWLEDGE, of(self.scene, AlarmClass.FIRE), viewer=viewer)
        for source in of(self.scene, AlarmClass.FIRE).sources:
            self._at()
            if source.startswith("event:"):
                self.report(What.RESET)
            else:
                self.judge(AlarmClass.FIRE, CLEAR, 4)
        fire = of(self.scene, AlarmClass.FIRE)
        assert fire.state is State.LATCHED_ACKNOWLEDGED
        if fire.closed is None:
            fire = self.scene.orders(Step.CLOSE, fire, viewer=viewer, finding=Finding.DUST)
        self._at()
        assert self.scene.orders(Step.RESET, fire, viewer=viewer).state is State.CLOSED
        assert not any(alarm.cls is AlarmClass.FIRE for alarm in self.scene.open)

    @invariant()
    def holds(self) -> None:
        """One open alarm per class; active = has sources; a fire is never inhibited; changes follow TABLE."""
        alarms = self.scene.open
        assert len({alarm.cls for alarm in alarms}) == len(alarms)
        assert all(alarm.active == bool(alarm.sources) for alarm in alarms)
        assert all(alarm.inhibited is None for alarm in alarms if alarm.cls is AlarmClass.FIRE)
        assert not any(alarm.stale and not alarm.active for alarm in alarms)
        assert not any(alarm.unknown and alarm.active for alarm in alarms)
        for change in self.scene.changes[self.read :]:
            self._follows(change)
        self.read = len(self.scene.changes)

    def _follows(self, change: Change) -> None:
        """A re-raise is visible, only a person closes a fire, and the newest move is on the alarm."""
        alarm = change.alarm
        assert alarm.moved is not None
        assert (alarm.moved.version == alarm.version) == (change.what not in UNMOVED)
        if change.what in ("raised", "escalated") and alarm.cls is not AlarmClass.DISABLEMENT:
            assert alarm.state in UNACKNOWLEDGED
        if alarm.state is State.CLOSED and alarm.cls is AlarmClass.FIRE:
            assert change.origin == "person"

    def teardown(self) -> None:
        """Versions of an occurrence follow each other; what was loaded again is the same."""
        versions: dict[str, list[int]] = {}
        for change in self.scene.changes:
            versions.setdefault(change.alarm.id, []).append(change.alarm.version)
        for numbers in versions.values():
            assert numbers == sorted(set(numbers))
        again = Scene()
        encoded = [msgspec.json.decode(msgspec.json.encode(alarm), type=Alarm) for alarm in self.scene.open]
        again.book.load(encoded, [])
        assert again.open == self.scene.open


Interleaved.TestCase.settings = settings(max_examples=1000, stateful_step_count=30, deadline=None)
TestInterleaved = Interleaved.TestCase


def test_detection_hears_of_each_part_what_is_done_to_the_whole() -> None:
    """Also where nobody registered the panel itself; other events are about their own point only."""
    names = ("panel:1.1", "panel:1.1:10-2", "panel:1.10:3")
    points = [msgspec.structs.replace(point(i), name=name) for i, name in enumerate(names)]

    def heard(what: What, name: str, about: int | None) -> list[int]:
        known = None if about is None else points[about]
        told = GatewayEvent("gw-1", Event(point=name, at=T0_US, what=what), known, T0_US, 0)
        return [event.point for event in of_devices([told], points)]

    assert heard(What.RESET, "panel:1.1", 0) == [0, 1]
    assert heard(What.RESET, "panel", None) == [0, 1, 2]
    assert heard(What.FIRE, "panel:1.1", 0) == [0]
    assert heard(What.FIRE, "panel", None) == []

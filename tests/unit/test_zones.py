"""Zones: coincidence, corroboration, windows in event time, clearing, late data, restart, linkage."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import NamedTuple

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.detect.device import DeviceEvent
from alerting.detect.engine import ActiveRule, Engine
from alerting.detect.rules import Coincidence, RuleError, RuleSet
from alerting.detect.scope import Scope
from alerting.detect.verdict import Level, Reason, Verdict, VerdictKind, Zone
from alerting.detect.zones import ENDED_KEPT, Zones
from alerting.rulebook.file import default_rules
from fengsui.model import SIMULATED_EVENT, AlarmClass, Event, Point, Quality, What
from tests.unit.detection import T0_US, S, Sample, feed, heat, point

RAISE, CLEAR, PAST = VerdictKind.RAISE, VerdictKind.CLEAR, VerdictKind.PAST
FIRE, PREALARM = AlarmClass.FIRE, AlarmClass.PREALARM
HOME = Zone("u1", "b1", "z1")
MINUTE_LATE = 60 * S


def at(index: int, zone: str = "z1", **changes: object) -> Point:
    """A point of building b1; by default of a device of its own."""
    placed = {"zone": zone, "building": "b1", "device": f"d{index}"} | changes
    return msgspec.structs.replace(point(index), **placed)


def two(**changes: object) -> Coincidence:
    """Two devices within 60 s, cleared after 30 s."""
    fields: dict[str, object] = {
        "name": "two", "version": 1, "cls": FIRE, "severity": 4, "level": Level.CONFIRMED, "devices": 2,
        "window_s": 60.0, "hold_s": 30.0,
    }  # fmt: skip
    return Coincidence(**(fields | changes))  # type: ignore[arg-type]  # the tests say what they change


def rules(*coincidences: Coincidence) -> RuleSet:
    """A rule set with a heat rule and these."""
    return RuleSet(threshold=(heat(),), coincidence=coincidences or (two(),))


WHY = Reason("heat", 60.0, 57.0, 0.0, "Temperature 60 °C", "温度 60 °C")


class Heard(NamedTuple):
    """What one point says; seconds since T0, received ``age_s`` later."""

    at_s: float
    point: int
    kind: VerdictKind = RAISE
    cls: AlarmClass = FIRE
    test: bool = False
    age_s: float = 0.0
    rule: str = "heat"

    @property
    def verdict(self) -> Verdict:
        """As the engine says it."""
        at_us = T0_US + round(self.at_s * S)
        age_us = round(self.age_s * S)
        return Verdict(
            point=self.point, gateway="", cls=self.cls, kind=self.kind, rule=self.rule, version=1, severity=4,
            at_us=at_us, value=60.0, limit=57.0, reset=50.0, window_s=0.0, received_at_us=at_us + age_us,
            age_us=age_us, test=self.test, reasons=() if self.kind is CLEAR else (WHY,),
        )  # fmt: skip


class Said(NamedTuple):
    """What of a zone's verdict most tests look at; seconds since T0."""

    kind: VerdictKind
    at_s: float


class Scene:
    """Zones over a few points, in one place."""

    def __init__(self, *coincidences: Coincidence, points: Sequence[Point] | None = None) -> None:
        self.points = [at(i) for i in range(4)] if points is None else list(points)
        self.zones = Zones(rules(*coincidences), self.points)

    def hear(self, *heard: Heard) -> list[Verdict]:
        """One batch."""
        verdicts = [one.verdict for one in heard]
        return self.zones.update(verdicts, (), verdicts[-1].received_at_us)

    def tell(self, what: What, index: int, at_s: float, code: str | None = None) -> list[Verdict]:
        """A device's own event, live."""
        at_us = T0_US + round(at_s * S)
        event = DeviceEvent(index, Event(point="n", at=at_us, what=what, code=code), at_us, 0)
        return self.zones.update((), [event], at_us)

    def wait(self, at_s: float) -> list[Said]:
        """Time passes."""
        return said(self.zones.advance(T0_US + round(at_s * S)))


def said(verdicts: Sequence[Verdict]) -> list[Said]:
    """Kinds and stamps."""
    return [Said(v.kind, (v.at_us - T0_US) / S) for v in verdicts]


def test_two_devices_in_one_zone_confirm() -> None:
    """The verdict is about the zone, at the moment of the second device, and says who and why in words."""
    scene = Scene(two(label_en="Confirmed", label_zh="证实"))
    assert scene.hear(Heard(0, 0)) == []
    (verdict,) = scene.hear(Heard(5, 1))
    assert (verdict.kind, verdict.zone, verdict.point, verdict.cls) == (RAISE, HOME, -1, FIRE)
    assert (verdict.at_us, verdict.value, verdict.limit, verdict.window_s) == (T0_US + 5 * S, 2.0, 2.0, 60.0)
    assert (verdict.points, verdict.level, verdict.linkage) == ((0, 1), Level.CONFIRMED, False)
    main, first, second = verdict.reasons
    assert main.text_en == "Confirmed: 2 devices agree within 60 s, 2 needed; confirmed: go"
    assert main.text_zh == "证实:60 秒内 2 台设备一致,需 2;已确认,立即出动"
    assert (first.text_en, first.text_zh) == ("p0, fire: Temperature 60 °C", "p0,火警:温度 60 °C")
    assert (second.key, second.value, second.limit) == ("two#2", 60.0, 57.0)


def test_one_device_twice_is_one_device() -> None:
    """Two points of one device, and one point by two rules, confirm nothing."""
    scene = Scene(points=[at(0, device="d"), at(1, device="d"), at(2)])
    assert scene.hear(Heard(0, 0), Heard(1, 1), Heard(2, 0, cls=PREALARM, rule="pre"), Heard(3, 1)) == []
    assert said(scene.hear(Heard(4, 2))) == [Said(RAISE, 4)]


def test_a_point_without_a_device_is_a_device() -> None:
    """Its name may even be the name of some device."""
    scene = Scene(points=[at(0, device="p1"), at(1, device="")])
    assert said(scene.hear(Heard(0, 0), Heard(1, 1))) == [Said(RAISE, 1)]


@pytest.mark.parametrize("other", [at(1, zone=""), at(1, zone="z2"), at(1, building="b2"), at(1, unit="u2")])
def test_zones_are_apart(other: Point) -> None:
    """No zone, another zone, and a zone of the same name in another building or unit do not count."""
    scene = Scene(points=[at(0), other])
    assert scene.hear(Heard(0, 0), Heard(1, 1)) == []
    assert Scene(points=[at(0, zone=""), at(1, zone="")]).hear(Heard(0, 0), Heard(1, 1)) == []


@pytest.mark.parametrize(("second_s", "agree"), [(70.0, True), (70.000001, False)])
def test_the_window_ends_where_it_says(second_s: float, agree: bool) -> None:
    """A signal that ended counts for the window after its end, to the microsecond."""
    found = Scene().hear(Heard(0, 0), Heard(10, 0, CLEAR), Heard(second_s, 1))
    assert bool(found) is agree


def test_what_stands_counts_however_long() -> None:
    """A detector in alarm since an hour ago is in alarm."""
    assert said(Scene().hear(Heard(0, 0), Heard(3600, 1))) == [Said(RAISE, 3600)]


def test_it_clears_when_too_few_counted_for_the_hold() -> None:
    """In event time: end, window, hold; whoever learns of it and when."""
    scene = Scene()
    scene.hear(Heard(0, 0), Heard(5, 1), Heard(20, 1, CLEAR))
    assert scene.wait(110) == []
    assert scene.wait(300) == [Said(CLEAR, 110)]
    assert scene.wait(900) == []
    assert said(scene.hear(Heard(1000, 2))) == [Said(RAISE, 1000)]


def test_what_comes_as_the_hold_ends_still_keeps_it() -> None:
    """However the batches are cut: the hold is over after its last moment."""
    scene = Scene()
    scene.hear(Heard(0, 0), Heard(5, 1), Heard(20, 1, CLEAR))
    assert scene.wait(110) == []
    assert scene.hear(Heard(110, 2)) == []
    assert scene.wait(9000) == []


def test_it_holds_while_enough_of_others_count() -> None:
    """Who began it may go; a signal within the hold keeps it without a word."""
    scene = Scene()
    scene.hear(Heard(0, 0), Heard(5, 1), Heard(6, 2), Heard(7, 0, CLEAR))
    assert scene.wait(1000) == []
    assert said(scene.hear(Heard(1001, 1, CLEAR), Heard(1080, 3))) == []
    assert scene.wait(5000) == []


def test_readings_drive_the_clock_before_what_they_say() -> None:
    """A coincidence that was over is cleared before the next one is raised, without a tick between."""
    scene = Scene()
    scene.hear(Heard(0, 0), Heard(5, 1), Heard(20, 1, CLEAR))
    assert said(scene.hear(Heard(500, 1))) == [Said(CLEAR, 110), Said(RAISE, 500)]


def test_simulated_and_real_are_apart() -> None:
    """A test cannot confirm a real fire, nor end what confirmed it."""
    scene = Scene(two(), two(name="link", linkage=True, classes=(FIRE,)))
    assert scene.hear(Heard(0, 0), Heard(1, 1, test=True)) == []
    verdicts = scene.hear(Heard(2, 2, test=True))
    assert {(v.rule, v.test, v.linkage) for v in verdicts} == {("two", True, False), ("link", True, False)}
    verdicts = scene.hear(Heard(3, 3))
    assert {(v.rule, v.test, v.linkage) for v in verdicts} == {("two", False, False), ("link", False, True)}
    scene.hear(*(Heard(4, i, CLEAR, test=True) for i in range(4)))
    assert [v.test for v in scene.zones.advance(T0_US + 9000 * S)] == [True, True]


def test_device_events_count_and_end() -> None:
    """A call point and a detector confirm each other; the panel's reset takes its part away."""
    scene = Scene()
    assert scene.tell(What.FIRE, 0, 0) == []
    (verdict,) = scene.hear(Heard(1, 1))
    assert verdict.reasons[1].text_en == "p0, fire: The device reports fire"
    scene.tell(What.RESET, 1, 2)  # point 1 is held by a rule of ours, which a panel cannot reset
    assert scene.wait(1000) == []
    scene.tell(What.ENABLED, 0, 500)  # ends a disablement and nothing else
    assert scene.wait(1000) == []
    scene.tell(What.RESET, 0, 1001)
    assert scene.wait(2000) == [Said(CLEAR, 1091)]


def test_readings_and_events_of_a_batch_count_in_the_order_they_came() -> None:
    """Whatever lane or list they stand in."""
    scene = Scene()
    events = [
        DeviceEvent(1, Event(point="n", at=T0_US + at_s * S, what=what), T0_US + at_s * S, 0)
        for at_s, what in ((5, What.FIRE), (20, What.RESET))
    ]
    verdicts = [Heard(0, 0).verdict, Heard(500, 1).verdict]
    found = scene.zones.update(verdicts, events, T0_US + 500 * S)
    assert said(found) == [Said(RAISE, 5), Said(CLEAR, 110), Said(RAISE, 500)]


def test_simulated_events_are_apart_too() -> None:
    """Neither raise nor end reaches what is real."""
    scene = Scene()
    scene.tell(What.FIRE, 0, 0)
    assert scene.tell(What.FIRE, 1, 1, SIMULATED_EVENT) == []
    scene.tell(What.RESTORED, 0, 2, SIMULATED_EVENT)
    assert said(scene.tell(What.FIRE, 1, 500)) == [Said(RAISE, 500)]


def test_a_gateways_own_alarm_ends_with_the_servers_verdict() -> None:
    """The same rule in the same version is one source, whoever spoke first."""
    scene = Scene()
    event = Event(point="n", at=T0_US, what=What.LOCAL_ALARM, rule="heat", version=1, value=60.0, limit=57.0)
    scene.zones.update((), [DeviceEvent(0, event, T0_US, 0)], T0_US)
    scene.hear(Heard(1, 0), Heard(2, 0, CLEAR))
    assert scene.hear(Heard(100, 1)) == []


def test_what_counts_is_chosen_by_class_rule_and_quantity() -> None:
    """What is not named takes no part, and one of the class in ``including`` must be there."""
    points = [at(0), at(1, quantity="smoke"), at(2, quantity="residual_current")]
    pre = Heard(1, 1, cls=PREALARM, rule="pre")
    assert Scene(two(classes=(FIRE,)), points=points).hear(Heard(0, 0), pre) == []
    assert Scene(two(rules=("heat",)), points=points).hear(Heard(0, 0), pre) == []
    assert Scene(two(quantities=("temperature",)), points=points).hear(Heard(0, 0), pre) == []
    assert Scene(two(ignoring=("residual_current",)), points=points).hear(Heard(0, 0), Heard(1, 2)) == []
    assert Scene(two(scope=Scope(point="!p2")), points=points).hear(Heard(0, 0), Heard(1, 2)) == []
    both = two(including=FIRE)
    assert Scene(both, points=points).hear(Heard(0, 0, cls=PREALARM, rule="pre"), pre) == []
    assert said(Scene(both, points=points).hear(Heard(0, 0), pre)) == [Said(RAISE, 1)]


def test_quantities_corroborate_each_other_even_in_one_device() -> None:
    """Smoke with CO is more than smoke twice."""
    rule = two(devices=1, different_quantities=2, quantities=("smoke", "co"), level=Level.VERIFY)
    head = [at(i, quantity=q, device="head") for i, q in enumerate(["smoke", "smoke", "co", "humidity"])]
    scene = Scene(rule, points=head)
    assert scene.hear(Heard(0, 0), Heard(1, 1), Heard(2, 3)) == []
    (verdict,) = scene.hear(Heard(3, 2))
    assert (verdict.level, verdict.value, verdict.points) == (Level.VERIFY, 2.0, (0, 1, 2))
    assert "2 quantities agree within 60 s, 2 needed; verify on site" in verdict.reasons[0].text_en
    assert "2 种参量" in verdict.reasons[0].text_zh


def test_linkage_is_proposed_for_registered_devices_in_fire_only() -> None:
    """A device that the register does not name may be the same as the next one; a pre-alarm is no trigger."""
    link = two(name="link", linkage=True, classes=(FIRE,))
    scene = Scene(link, points=[at(0), at(1, device=""), at(2)])
    assert scene.hear(Heard(0, 0), Heard(1, 1), Heard(2, 2, cls=PREALARM, rule="pre")) == []
    (verdict,) = scene.hear(Heard(3, 2))
    assert (verdict.linkage, verdict.points) == (True, (0, 2))
    assert "GB 50116-2013 4.1.6" in verdict.reasons[0].text_en
    assert "联动" in verdict.reasons[0].text_zh


def test_no_linkage_for_what_is_over() -> None:
    """Both triggers must be there when it is learned: a backlog proposes nothing for an hour ago."""
    link = two(name="link", linkage=True, classes=(FIRE,))
    scene = Scene(two(), link)
    scene.hear(Heard(0, 0), Heard(1, 0, CLEAR))
    backlog = scene.hear(Heard(2, 1, age_s=3600), Heard(3, 1, CLEAR, age_s=3599))
    assert {v.rule for v in backlog} == {"two"}


@pytest.mark.parametrize(
    "weaker",
    [
        {"devices": 1, "different_quantities": 2},
        {"classes": (FIRE, PREALARM)},
        {"classes": (PREALARM,)},
        {"cls": PREALARM},
        {"level": Level.VERIFY},
    ],
)
def test_a_weaker_rule_may_not_propose_linkage(weaker: dict[str, object]) -> None:
    """It is refused when it is loaded, with the clause."""
    strong: dict[str, object] = {"linkage": True, "classes": (FIRE,)}
    assert two(**strong).linkage
    with pytest.raises(RuleError, match=r"rule two: GB 50116-2013 4\.1\.6 .* two independent devices"):
        two(**(strong | weaker))


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"devices": 1}, "one signal is no coincidence"),
        ({"devices": 0, "different_quantities": 2}, "at least 1"),
        ({"classes": ()}, "classes"),
        ({"including": AlarmClass.FAULT}, "including"),
        ({"different_quantities": 2, "quantities": ("smoke",)}, "quantities"),
        ({"window_s": 0.0}, "window_s"),
        ({"hold_s": float("nan")}, "hold_s"),
        ({"severity": 5}, "severity"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(changes: dict[str, object], word: str) -> None:
    """With its name and what to change."""
    with pytest.raises(RuleError, match=f"rule two: .*{word}"):
        two(**changes)


def test_a_rule_that_counts_an_unknown_rule_is_refused() -> None:
    """It would never count anything."""
    with pytest.raises(RuleError, match="rule two: counts rule smoke, which there is not"):
        rules(two(rules=("smoke",)))


def test_the_shipped_rules_confirm_verify_and_propose() -> None:
    """A pre-alarm beside a fire confirms it; two pre-alarms ask for a look; two fires allow linkage."""
    scene = Scene(*default_rules().coincidence)
    pre = [Heard(i, i, cls=PREALARM, rule="pre") for i in range(2)]
    verdicts = [v for heard in pre for v in scene.hear(heard)]
    assert [(v.rule, v.level, v.cls) for v in verdicts] == [("zone-prealarms", Level.VERIFY, PREALARM)]
    assert [(v.rule, v.level, v.cls) for v in scene.hear(Heard(2, 0))] == [
        ("zone-fire", Level.CONFIRMED, FIRE)
    ]
    assert [(v.rule, v.linkage) for v in scene.hear(Heard(3, 1))] == [("zone-linkage", True)]


def test_late_signals_count_at_their_own_time() -> None:
    """A backlog that shows a coincidence of an hour ago says so, with that stamp, and that it is over."""
    scene = Scene()
    scene.hear(Heard(0, 0), Heard(10, 0, CLEAR))
    scene.wait(3000)
    backlog = scene.hear(Heard(30, 1, age_s=3600), Heard(40, 1, CLEAR, age_s=3591))
    assert said(backlog) == [Said(RAISE, 30), Said(CLEAR, 100)]
    assert backlog[0].age_us == 3600 * S


def test_a_late_signal_that_may_be_over_does_not_confirm_what_began_long_after() -> None:
    """It counts as standing only once its source had a second to say that it ended."""
    puff, fire = Scene(), Scene()
    for scene in (puff, fire):
        scene.hear(Heard(300, 0))
        assert scene.hear(Heard(0, 1, age_s=900)) == []
    assert puff.hear(Heard(10, 1, CLEAR, age_s=890.5)) == []
    assert puff.wait(2000) == []
    assert fire.wait(900.9) == []
    assert fire.wait(901) == [Said(RAISE, 300)]


def test_late_news_that_a_coincidence_went_on_raises_it_again() -> None:
    """What was cleared for want of a second device comes back when a backlog shows there was one."""
    scene = Scene()
    scene.hear(Heard(0, 0), Heard(5, 1), Heard(20, 1, CLEAR))
    assert scene.wait(200) == [Said(CLEAR, 110)]
    assert scene.hear(Heard(100, 2, age_s=800))[0].at_us > T0_US + 110 * S


def test_a_past_excursion_counts_for_its_moment() -> None:
    """A late reading beyond the limit is a signal that began and ended at its stamp."""
    scene = Scene()
    scene.hear(Heard(0, 0), Heard(10, 0, CLEAR))
    assert said(scene.hear(Heard(20, 1, PAST, age_s=5))) == [Said(RAISE, 20)]
    assert scene.wait(500) == [Said(CLEAR, 100)]


def test_a_past_excursion_does_not_stretch_what_stands_now() -> None:
    """Between the two the point was normal, so it confirms nothing of that time."""
    scene = Scene()
    scene.hear(Heard(100, 1), Heard(100, 1, CLEAR), Heard(1000, 0))
    assert scene.hear(Heard(0, 0, PAST, age_s=1001)) == []
    assert said(scene.hear(Heard(1002, 1))) == [Said(RAISE, 1002)]


def test_a_clock_from_the_future_keeps_nothing_up() -> None:
    """No signal is younger than its receipt, so its alarm can clear."""
    scene = Scene()
    ahead = Heard(0, 0).verdict
    scene.zones.update([msgspec.structs.replace(ahead, at_us=T0_US + 10**15)], (), T0_US)
    assert said(scene.hear(Heard(5, 1), Heard(6, 1, CLEAR))) == [Said(RAISE, 5)]
    assert scene.wait(1000) == [Said(CLEAR, 96)]
    event = Event(point="n", at=T0_US + 10**15, what=What.FIRE)
    found = scene.zones.update((), [DeviceEvent(2, event, T0_US + 2000 * S, 0)], T0_US + 2000 * S)
    assert said(found) == [Said(RAISE, 2000)]


def test_memory_is_bounded() -> None:
    """A point that flaps for a year is remembered as one signal, and of many ended ones the newest."""
    scene = Scene(points=[at(i, device="same") for i in range(500)])
    for n in range(1000):
        scene.hear(Heard(n, 0), Heard(n + 0.5, 0, CLEAR))
    assert scene.zones.state()["watches"].nbytes < 400
    for n in range(500):
        scene.hear(Heard(2000 + n, n), Heard(2000.5 + n, n, CLEAR))
    assert scene.zones.state()["watches"].nbytes < 250 * ENDED_KEPT


@pytest.mark.parametrize("order", [*permutations(range(3))])
def test_the_order_of_delivery_changes_nothing(order: tuple[int, ...]) -> None:
    """Three gateways that deliver in any order give the same zone, raised once."""
    heard = [Heard(0, 0, age_s=9), Heard(3, 1, age_s=6), Heard(5, 2, age_s=4)]
    scene, in_order = Scene(two(devices=3)), Scene(two(devices=3))
    found = [v for n in order for v in scene.hear(heard[n])]
    assert said(found) == [Said(RAISE, 5)]
    assert said([v for one in heard for v in in_order.hear(one)]) == [Said(RAISE, 5)]
    assert found[0].points == (0, 1, 2)


stories = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 150), st.integers(0, 60), st.booleans()), max_size=12
)
"""Point, begin, length, simulated: in half seconds."""


def story(draws: list[tuple[int, int, int, bool]]) -> list[Heard]:
    """Raises and clears of each point in its own order, points in order of time."""
    free: dict[tuple[int, bool], float] = {}
    heard: list[Heard] = []
    for index, begin, length, test in sorted(draws, key=lambda one: one[1]):
        begin_s = max(begin / 2, free.get((index, test), 0.0))
        free[index, test] = begin_s + length / 2 + 0.5
        heard += [Heard(begin_s, index, test=test), Heard(begin_s + length / 2, index, CLEAR, test=test)]
    return sorted(heard, key=lambda one: one.at_s)


def plain_model(heard: Sequence[Heard], window_s: float, hold_s: float, *, test: bool) -> list[Said]:
    """What two of several devices say, in steps of half a second."""
    spans: dict[int, list[list[float]]] = {}
    for one in heard:
        if one.test == test:
            mine = spans.setdefault(one.point, [])
            if one.kind is RAISE:
                mine.append([one.at_s, np.inf])
            else:
                mine[-1][1] = one.at_s
    found: list[Said] = []
    last_true: float | None = None
    active = False
    time_s = np.arange(500) / 2
    count = np.zeros(len(time_s))
    for mine in spans.values():
        count += np.any([(a <= time_s) & (time_s <= b + window_s) for a, b in mine], axis=0)
    for now_s, agree in zip(time_s.tolist(), (count >= 2).tolist(), strict=True):
        if agree:
            if not active:
                found.append(Said(RAISE, now_s))
            active, last_true = True, now_s
        elif active and last_true is not None and now_s >= last_true + hold_s:
            found.append(Said(CLEAR, last_true + hold_s))
            active = False
    return found


@settings(max_examples=200, deadline=None)
@given(draws=stories, data=st.data())
def test_any_split_says_what_the_plain_model_says(
    draws: list[tuple[int, int, int, bool]], data: st.DataObject
) -> None:
    """Batches of any size, ticks anywhere and a restart in the middle change no verdict."""
    heard = story(draws)
    rule = two(window_s=10.0, hold_s=20.0)
    scene = Scene(rule)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(heard)), max_size=4)))
    restart = data.draw(st.integers(0, 4))
    found: list[Verdict] = []
    for n, (start, end) in enumerate(zip([0, *cuts], [*cuts, len(heard)], strict=True)):
        if n == restart:
            state = scene.zones.state()
            scene = Scene(rule)
            scene.zones.restore(state)
        if heard[start:end]:
            found += scene.hear(*heard[start:end])
        if end < len(heard) and data.draw(st.booleans()):
            found += scene.zones.advance(T0_US + round(heard[end].at_s * S) - 1)
    found += scene.zones.advance(T0_US + 10_000 * S)
    for test in (False, True):
        expected = plain_model(heard, 10.0, 20.0, test=test)
        assert said([v for v in found if v.test == test]) == expected


@settings(max_examples=200, deadline=None)
@given(
    begins=st.lists(st.integers(0, 18), min_size=2, max_size=4),
    order=st.permutations(range(4)),
    needed=st.integers(2, 4),
)
def test_any_order_inside_the_window_gives_one_zone(begins: list[int], order: list[int], needed: int) -> None:
    """Who delivers first changes neither whether it is raised, nor how often, nor when it clears."""
    heard = [Heard(s / 2, i, age_s=9.5 - s / 2) for i, s in enumerate(begins)]  # all received at 9.5 s
    scene = Scene(two(devices=needed))
    found = [v for n in order if n < len(heard) for v in scene.hear(heard[n])]
    assert [v.kind for v in found] == [RAISE] * (len(begins) >= needed)
    if len(begins) == needed:
        assert said(found) == [Said(RAISE, max(begins) / 2)]
    over = [Heard(20, i, CLEAR) for i in order if i < len(heard)]
    scene.hear(*over)
    assert scene.wait(1000) == [Said(CLEAR, 110)] * (len(begins) >= needed)


def test_a_changed_rule_starts_afresh_and_a_point_that_moved_counts_no_more() -> None:
    """State belongs to a rule in a version and to points in their zone."""
    scene = Scene()
    scene.hear(Heard(0, 0))
    state = scene.zones.state()
    for changed in (Scene(two(version=2)), Scene(points=[at(0, zone="z2"), at(1)]), Scene(points=[])):
        changed.zones.restore(state)
        if changed.points:
            assert changed.hear(Heard(1, 1)) == []
    same = Scene()
    same.zones.restore(state)
    assert said(same.hear(Heard(1, 1))) == [Said(RAISE, 1)]
    with pytest.raises(ValueError, match="zones"):
        same.zones.restore({"watches": np.zeros(3, np.uint8) + 0xC1})


def test_a_zone_whose_point_was_moved_out_clears() -> None:
    """Not for ever active because nobody can say that it ended."""
    scene = Scene()
    scene.hear(Heard(0, 0), Heard(1, 1))
    moved = Scene(points=[at(0), at(1, zone="z2")])
    moved.zones.restore(scene.zones.state())
    assert moved.wait(100) == []
    assert moved.wait(189) == []
    assert moved.wait(191) == [Said(CLEAR, 190)]


def test_restart_without_a_snapshot_takes_the_books_word() -> None:
    """What stands is counted, what is active is cleared in its time, and nothing is said twice."""
    points = [at(i) for i in range(3)]
    engine = Engine(rules(), points, now_s=0.0)
    engine.assume(
        [
            ActiveRule("heat", 0, "gw-1", False, None, FIRE, T0_US),
            ActiveRule("event:fire", 1, "gw-1", False, None, FIRE, T0_US + S),
            ActiveRule("two", -1, "", False, HOME, FIRE, T0_US + S),
        ]
    )
    hot = Sample(2, T0_US + 10 * S, 60.0, received_at_us=T0_US + 10 * S)
    assert [v.zone for v in feed(engine, [hot])] == [None]
    cool = [Sample(i, T0_US + 20 * S, 20.0, received_at_us=T0_US + 20 * S) for i in (0, 2)]
    assert {v.zone for v in feed(engine, cool)} == {None}
    (cleared,) = engine.advance(now_s=180.0, now_us=T0_US + 200 * S)
    assert (cleared.kind, cleared.zone, cleared.at_us) == (CLEAR, HOME, T0_US + 110 * S)


def test_a_zone_that_only_the_book_knows_is_kept_for_its_window_and_then_cleared() -> None:
    """After a restart without a snapshot nobody knows who made it active."""
    engine = Engine(rules(), [at(0), at(1)], now_s=0.0)
    engine.assume([ActiveRule("two", -1, "", False, HOME, FIRE, T0_US)])
    assert engine.advance(now_s=1.0, now_us=T0_US + 1000 * S) == []
    (cleared,) = engine.advance(now_s=2.0, now_us=T0_US + 1091 * S)
    assert (cleared.kind, cleared.at_us) == (CLEAR, T0_US + 1090 * S)


def test_readings_and_events_reach_the_zone_through_the_engine() -> None:
    """A hot reading and a pressed call point of one batch confirm each other, after the reading's own."""
    engine = Engine(rules(), [at(0), at(1)], now_s=0.0)
    event = DeviceEvent(1, Event(point="n1", at=T0_US, what=What.FIRE), T0_US, 0)
    sample = Sample(0, T0_US, 60.0)
    columns = [np.array([x]) for x in (sample.point, sample.at_us, sample.value, sample.quality, T0_US, 0)]
    own, zone = engine.update(*columns, now_s=0.0, events=[event])
    assert (own.point, own.zone, zone.zone, zone.points) == (0, None, HOME, (0, 1))
    none = [column[:0] for column in columns]
    other = Engine(rules(), [at(0), at(1)], now_s=0.0)
    assert other.update(*none, now_s=0.0, events=[event]) == []
    assert [v.zone for v in other.update(*none, now_s=0.0, events=[event._replace(point=0)])] == [HOME]


def test_simulated_readings_make_a_test_of_the_zone() -> None:
    """Quality 4 in, TEST out."""
    engine = Engine(rules(), [at(0), at(1)], now_s=0.0)
    verdicts = feed(engine, [Sample(i, T0_US, 60.0, Quality.SIMULATED) for i in range(2)])
    assert [(v.zone, v.test) for v in verdicts] == [(None, True), (None, True), (HOME, True)]


def test_a_replay_goes_by_the_journals_time() -> None:
    """While the journal is read again, a tick of today's clock clears no zone of yesterday."""
    engine = Engine(rules(), [at(0), at(1)], now_s=0.0)
    feed(engine, [Sample(i, T0_US, 60.0) for i in range(2)], now_s=None)
    feed(engine, [Sample(0, T0_US + S, 20.0, received_at_us=T0_US + S)], now_s=None)
    assert engine.advance(now_s=1.0, now_us=T0_US + 9000 * S, replaying=True) == []
    assert [v.kind for v in engine.advance(now_s=1.0, now_us=T0_US + 9000 * S)] == [CLEAR]


def test_a_detection_that_lags_ends_no_zone_before_it_has_read_who_keeps_it_up() -> None:
    """What counts is the time since what was read last was received, not today's clock."""
    engine = Engine(rules(), [at(0), at(1)], now_s=0.0)
    feed(engine, [Sample(i, T0_US, 60.0) for i in range(2)], now_s=0.0)
    feed(engine, [Sample(0, T0_US + S, 20.0, received_at_us=T0_US + S)], now_s=600.0)
    assert [v for v in engine.advance(now_s=600.25, now_us=T0_US + 600 * S) if v.zone] == []
    assert [v.kind for v in engine.advance(now_s=691.0, now_us=T0_US + 691 * S) if v.zone] == [CLEAR]


def test_a_changed_registry_keeps_what_stands() -> None:
    """A point more does not forget the others."""
    engine = Engine(rules(), [at(0), at(1)], now_s=0.0)
    feed(engine, [Sample(0, T0_US, 60.0)])
    engine.follow([at(0), at(1), at(2)], now_s=1.0)
    assert [v.zone for v in feed(engine, [Sample(2, T0_US + S, 60.0, received_at_us=T0_US + S)])] == [
        None,
        HOME,
    ]


def test_a_signal_that_only_the_book_knows_is_told_without_a_value() -> None:
    """After a restart without a snapshot: who and which class, no more."""
    engine = Engine(rules(), [at(0), at(1)], now_s=0.0)
    engine.assume([ActiveRule("event:fire", 1, "gw-1", False, None, FIRE, T0_US)])
    zone = feed(engine, [Sample(0, T0_US + S, 60.0, received_at_us=T0_US + S)])[-1]
    assert zone.reasons[1].text_en == "p1, fire"

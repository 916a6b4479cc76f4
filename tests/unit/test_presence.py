"""Silence: points without readings, gateways that say nothing, and how one dead link is one fault."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from alerting.detect.engine import ActiveRule, Engine
from alerting.detect.presence import Presence
from alerting.detect.rules import Offline, RuleError, RuleSet, Silence
from alerting.detect.scope import Scope
from alerting.detect.verdict import Verdict, VerdictKind
from fengsui.model import AlarmClass, Quality
from tests.unit.detection import T0_US, Sample, feed, point

RAISE, CLEAR = VerdictKind.RAISE, VerdictKind.CLEAR
About = tuple[str, str, object]


def engine_at(start_s: float = 0.0) -> Engine:
    """Two points behind gw-1, one behind gw-2."""
    return Engine(RuleSet(), [point(0), point(1), point(2, gateway="gw-2")], now_s=start_s)


def tick(engine: Engine, now_s: float) -> list[About]:
    """What the time says, as (kind, rule, point or gateway)."""
    return [about(v) for v in engine.advance(now_s=now_s, now_us=T0_US + int(now_s * 1e6))]


def about(verdict: Verdict) -> About:
    """A verdict without its numbers."""
    return (verdict.kind, verdict.rule, verdict.gateway or verdict.point)


def beats(engine: Engine, gateway: str, until_s: float, *, start_s: float = 0.0) -> list[About]:
    """Heartbeats each 20 s (a new connection at 0), with a tick after each; what the time said."""
    out: list[About] = []
    now_s = start_s
    while now_s <= until_s:
        engine.gateway_seen(gateway, now_s=now_s, fresh=now_s == 0.0)
        out += tick(engine, now_s)
        now_s += 20.0
    return out


def test_a_point_that_never_speaks_is_a_fault() -> None:
    """Timers start with the process: a registered point that stays silent is missing, not normal."""
    engine = engine_at()
    said = beats(engine, "gw-1", 80.0)
    assert (RAISE, "no-data", 0) in said
    assert (RAISE, "no-data", 1) in said
    assert (RAISE, "gateway-offline", "gw-2") in said
    assert (RAISE, "no-data", 2) not in said


def test_a_reading_ends_the_silence_and_a_missing_value_does_not() -> None:
    """Only a usable reading is a sign of life of its point."""
    engine = engine_at()
    beats(engine, "gw-1", 80.0)
    assert [v for v in feed(engine, [Sample(0, T0_US, float("nan"))], now_s=81.0) if v.missing] == []
    assert feed(engine, [Sample(0, T0_US, 20.0, Quality.BAD)], now_s=81.0) == []
    (verdict,) = feed(engine, [Sample(0, T0_US, 20.0), Sample(0, T0_US + 1, 20.0)], now_s=82.0)
    assert about(verdict) == (CLEAR, "no-data", 0)
    assert verdict.cls is AlarmClass.FAULT


def test_a_silence_is_said_once() -> None:
    """A fault stands until it ends; it is not said again each minute."""
    engine = engine_at()
    beats(engine, "gw-1", 80.0)
    assert beats(engine, "gw-1", 300.0, start_s=100.0) == []


def test_a_dead_link_is_one_fault_with_its_points_folded() -> None:
    """A gateway silent for more than 65 s is offline; its points are not faults of their own."""
    engine = engine_at()
    feed(engine, [Sample(0, T0_US, 20.0), Sample(1, T0_US, 20.0)], now_s=0.0)
    engine.gateway_seen("gw-1", now_s=1.0, fresh=True)
    engine.gateway_seen("gw-2", now_s=60.0, fresh=True)
    assert tick(engine, 64.0) == []
    (verdict,) = engine.advance(now_s=67.0, now_us=T0_US)
    assert (about(verdict), verdict.folded) == ((RAISE, "gateway-offline", "gw-1"), 2)
    assert tick(engine, 120.0) == []


def test_a_link_back_after_62_s_gives_its_points_time_to_deliver() -> None:
    """Timers start anew with a connection, so a short cut is no storm of silence."""
    engine = engine_at()
    feed(engine, [Sample(0, T0_US, 20.0), Sample(1, T0_US, 20.0)], now_s=0.0)
    engine.gateway_seen("gw-1", now_s=1.0, fresh=True)
    engine.gateway_seen("gw-1", now_s=63.0, fresh=True)
    assert tick(engine, 63.0) == []
    assert {a for a in beats(engine, "gw-1", 140.0, start_s=83.0) if a[2] in (0, 1)} == set()


def test_an_offline_gateway_comes_back() -> None:
    """Anything heard from it ends the fault, and its points' timers start again."""
    engine = engine_at()
    engine.gateway_seen("gw-1", now_s=0.0, fresh=True)
    tick(engine, 70.0)
    engine.gateway_heard("gw-1", now_s=71.0)
    assert tick(engine, 71.0) == [(CLEAR, "gateway-offline", "gw-1")]
    assert beats(engine, "gw-1", 120.0, start_s=80.0) == []


def test_a_plain_device_is_never_offline_but_its_points_fall_silent() -> None:
    """A device that says no hello has a longer patience and no gateway fault."""
    engine = engine_at()
    feed(engine, [Sample(2, T0_US, 20.0)], now_s=1.0)
    engine.gateway_seen("gw-1", now_s=890.0, fresh=True)
    said = tick(engine, 300.0) + tick(engine, 800.0)
    assert [a for a in said if a[2] in (2, "gw-2")] == []
    assert (RAISE, "no-data", 2) in tick(engine, 902.0)


def test_patience_per_quantity() -> None:
    """A rule of its own for a quantity replaces the general one."""
    rules = RuleSet(silence=(Silence(), Silence(name="slow", quantity="level", after_s=600.0)))
    engine = Engine(rules, [point(0), point(1, "level", "m")], now_s=0.0)
    assert beats(engine, "gw-1", 100.0) == [(RAISE, "no-data", 0)]
    assert beats(engine, "gw-1", 700.0, start_s=120.0) == [(RAISE, "slow", 1)]


def test_one_of_several_rules_counts_at_each_point() -> None:
    """One with a scope before one without, of the quantity before any, the first before the next."""
    cellar = Scope(zone="cellar")
    rules = (
        Silence(name="slow", quantity="level", after_s=600.0),
        Silence(),
        Silence(name="cellar", scope=cellar, after_s=300.0),
        Silence(name="cellar", quantity="level", scope=cellar, after_s=900.0),
        Silence(name="again", scope=cellar),
    )
    below = [replace(point(0), zone="cellar"), replace(point(1, "level", "m"), zone="cellar")]
    above = [point(2), point(3, "level", "m")]
    presence = Presence(RuleSet(silence=rules), [*below, *above], 0.0)
    assert [presence.rule_of(index) for index in range(4)] == [rules[2], rules[3], rules[1], rules[0]]


def test_silence_leaves_nobody_out_and_names_no_two_alike() -> None:
    """A rule for every quantity and point there must be, and a record must tell two apart."""
    with pytest.raises(RuleError, match="exactly one rule must be for every quantity and point"):
        RuleSet(silence=(Silence(scope=Scope(zone="z")),))
    with pytest.raises(RuleError, match="silence no-data: two are for every quantity"):
        RuleSet(silence=(Silence(), Silence(scope=Scope(zone="z"))))


def test_a_wall_clock_step_makes_nobody_silent() -> None:
    """Only the monotonic clock counts."""
    engine = engine_at()
    engine.gateway_seen("gw-1", now_s=1.0, fresh=True)
    engine.gateway_seen("gw-2", now_s=1.0, fresh=True)
    assert engine.advance(now_s=2.0, now_us=T0_US + 3_600_000_000) == []


def test_what_the_book_holds_silent_is_taken_over() -> None:
    """After a restart a recorded silence is not raised again and ends with the first reading."""
    engine = engine_at()
    engine.assume([ActiveRule("no-data", 0, "gw-1", False), ActiveRule("gateway-offline", -1, "gw-2", False)])
    assert beats(engine, "gw-1", 80.0) == [(RAISE, "no-data", 1)]
    assert [about(v) for v in feed(engine, [Sample(0, T0_US, 20.0)], now_s=90.0)] == [(CLEAR, "no-data", 0)]
    engine.gateway_seen("gw-2", now_s=91.0, fresh=True)
    assert tick(engine, 91.0) == [(CLEAR, "gateway-offline", "gw-2")]


def test_replayed_readings_say_nothing_about_now() -> None:
    """What an earlier process heard is no sign of life."""
    engine = engine_at()
    engine.assume([ActiveRule("no-data", 0, "gw-1", False)])
    assert feed(engine, [Sample(0, T0_US, 20.0)], now_s=None) == []


def test_who_speaks_the_contract_survives_a_restart() -> None:
    """A plain device is not taken for a dead gateway by the next process."""
    engine = engine_at()
    feed(engine, [Sample(2, T0_US, 20.0)], now_s=1.0)
    again = engine_at(100.0)
    again.restore(engine.state())
    assert (RAISE, "gateway-offline", "gw-2") not in tick(again, 170.0)


def test_silence_by_a_rule_of_another_name_is_told_anew() -> None:
    """With new rules a silent point and an offline gateway are raised by the names that can clear them."""
    engine = Engine(RuleSet(), [point(0), point(1)], now_s=0.0)
    engine.gateway_seen("gw-1", now_s=0.0, fresh=True)
    engine.gateway_seen("gw-1", now_s=61.0, fresh=False)
    assert {v.rule for v in engine.advance(now_s=61.0, now_us=0)} == {"no-data"}
    engine.adopt(RuleSet(silence=(Silence(name="quiet"),), offline=Offline(name="away")), now_s=62.0)
    assert engine.orphans([ActiveRule("no-data", 0, "gw-1", test=False)]) != []
    assert {(v.rule, v.point) for v in engine.advance(now_s=62.0, now_us=0)} == {("quiet", 0), ("quiet", 1)}
    assert [v.rule for v in engine.advance(now_s=200.0, now_us=0)] == ["away"]
    engine.adopt(RuleSet(), now_s=201.0)
    assert [v.rule for v in engine.advance(now_s=201.0, now_us=0)] == ["gateway-offline"]


def test_what_is_silent_stays_so_under_rules_of_the_same_name() -> None:
    """A changed patience says nothing about what is silent already."""
    engine = Engine(RuleSet(), [point(0)], now_s=0.0)
    engine.gateway_seen("gw-1", now_s=61.0, fresh=False)
    assert len(engine.advance(now_s=61.0, now_us=0)) == 1
    engine.adopt(RuleSet(silence=(Silence(version=2, after_s=50.0),)), now_s=62.0)
    assert engine.advance(now_s=62.0, now_us=0) == []
    assert engine.orphans([ActiveRule("no-data", 0, "gw-1", test=False)]) == []

"""Statistics of the desk: load against EEMUA 191, bad actors, nuisances by make, time to acknowledge."""

from __future__ import annotations

import msgspec
import pytest

from alerting.alarms.lifecycle import Alarm, State
from alerting.finding import Finding
from alerting.statistics import DAY_US, PERIOD_US, Make, Rating, Rung, Statistics, compute, rating
from console.tables import to_csv
from fengsui.model import AlarmClass
from tests.unit.detection import T0_US, S

MAKES = {"p1": Make("SD-1", "2025-03"), "p2": Make("SD-1", "2026-01")}
PLAIN = Alarm(
    id="a", point="p1", name="n1", gateway="g", quantity="smoke", uom="%/m", cls=AlarmClass.FIRE, severity=4,
    state=State.UNACKNOWLEDGED, active=True, measured_at_us=T0_US, raised_at_us=T0_US, age_us_at_receipt=0,
    received_at_us=T0_US, detected_at_us=T0_US, rule="smoke", rule_version=1, unit="u1", building="b1",
)  # fmt: skip


def alarm(id_: str, **changes: object) -> Alarm:
    """An alarm that differs from a plain fire alarm in this."""
    return msgspec.structs.replace(PLAIN, id=id_, **changes)


def figures(*alarms: Alarm, rung: list[Rung] | None = None, span_us: int = DAY_US) -> Statistics:
    """Over a day, each alarm having rung once at its beginning unless said otherwise."""
    rings = [Rung(one.id, one.received_at_us) for one in alarms] if rung is None else rung
    make_of = lambda point: MAKES.get(point, Make("", ""))  # noqa: E731
    return compute(rings, alarms, make_of, from_us=T0_US, to_us=T0_US + span_us)


def test_a_quiet_span_has_no_figures_that_are_not_known() -> None:
    """Nothing rang: no busiest period, no percentiles, and nothing is divided by nothing."""
    quiet = figures()
    assert (quiet.alarms, quiet.load.rung, quiet.load.busiest_at_us) == (0, 0, None)
    assert (quiet.load.rating, quiet.load.periods) == (Rating.ACCEPTABLE, 144)
    assert (quiet.bad_actors, quiet.nuisances, quiet.answered) == ([], [], [])


@pytest.mark.parametrize(
    ("per_10_min", "word"),
    [(1, "acceptable"), (1.01, "manageable"), (2, "manageable"), (5, "demanding"), (5.01, "unacceptable")],
)
def test_the_load_has_the_word_of_eemua(per_10_min: float, word: str) -> None:
    """One alarm in 10, 5 and 2 minutes are the bounds."""
    assert rating(per_10_min) == word


def test_load_counts_every_ring_by_periods_and_per_operator() -> None:
    """An alarm that rang again counts again; a flood is more than ten in ten minutes for each operator."""
    both = alarm("a", acknowledged_by="1"), alarm("b", acknowledged_by="2")
    flood = [Rung("a", T0_US + PERIOD_US + n) for n in range(21)]
    load = figures(*both, rung=[Rung("b", T0_US), *flood], span_us=10 * PERIOD_US).load
    assert (load.rung, load.operators) == (22, 2)
    assert load.per_10_min == pytest.approx(1.1)
    assert (load.floods, load.busiest, load.busiest_at_us) == (1, 21, T0_US + PERIOD_US)
    alone = compute(
        flood[:11], both, MAKES.__getitem__, from_us=T0_US, to_us=T0_US + 10 * PERIOD_US, operators=2
    )
    assert alone.load.floods == 0


def test_tests_are_left_out_and_counted() -> None:
    """A building under test makes nobody's load."""
    both = figures(alarm("a"), alarm("t", point="p2", test=True))
    assert (both.alarms, both.tests, both.load.rung) == (1, 1, 1)
    assert [source.point for source in both.bad_actors] == ["p1"]


def test_who_rings_most_is_named_with_its_share() -> None:
    """At most ten, the worst first."""
    many = [alarm(f"{n}-{k}", point=f"p{n}") for n in range(12) for k in range(n + 1)]
    worst = figures(*many).bad_actors
    assert [source.point for source in worst] == [f"p{n}" for n in range(11, 1, -1)]
    assert worst[0].share == pytest.approx(12 / 78)


def test_nuisances_are_told_by_unit_model_and_batch() -> None:
    """Only what was judged counts as one; trouble of a device is no nuisance alarm."""
    rows = figures(
        alarm("a", finding=Finding.COOKING),
        alarm("b", finding=Finding.REAL),
        alarm("c"),
        alarm("d", point="p2", finding=Finding.DUST, cls=AlarmClass.PREALARM),
        alarm("e", point="p2", finding=Finding.FAULT, cls=AlarmClass.FAULT),
        alarm("f", point="strange", unit="u2", finding=Finding.UNKNOWN),
    ).nuisances
    assert [(r.unit, r.model, r.batch, r.alarms, r.judged, r.nuisances) for r in rows] == [
        ("u1", "SD-1", "2025-03", 3, 2, 1),
        ("u1", "SD-1", "2026-01", 1, 1, 1),
        ("u2", "", "", 1, 1, 0),
    ]


def test_time_to_acknowledge_is_from_receipt() -> None:
    """By class; what nobody has acknowledged has no time."""
    fires = [alarm(f"f{n}", acknowledged_at_us=T0_US + n * S) for n in range(1, 101)]
    rows = figures(*fires, alarm("g", cls=AlarmClass.FAULT)).answered
    assert [(row.cls, row.alarms, row.acknowledged, row.p50_s) for row in rows] == [
        ("fault", 1, 0, None), ("fire", 100, 100, pytest.approx(50.5)),
    ]  # fmt: skip
    assert rows[1].p95_s == pytest.approx(95.05)


def test_what_stands_for_a_day_is_counted() -> None:
    """Active since more than a day before the end."""
    old, new, over = alarm("a"), alarm("b", detected_at_us=T0_US + S), alarm("c", active=False)
    assert figures(old, new, over, span_us=DAY_US + S).standing == 1


def test_csv_runs_nothing_in_a_spreadsheet() -> None:
    """A name that begins like a formula is led by an apostrophe."""
    day = figures(alarm("a", name="=1+1", finding=Finding.DUST))
    assert to_csv(day, "bad_actors").splitlines() == [
        "point,name,unit,building,rung,share", "p1,'=1+1,u1,b1,1,1",
    ]  # fmt: skip
    assert "dust=1" in to_csv(day, "nuisances")
    assert to_csv(day, "answered").splitlines()[1] == "fire,1,0,,"

"""Heat detector classes of EN 54-5: the rules of a class respond within the limits of its table 4."""

from __future__ import annotations

import pytest

from alerting.detect.en54 import A1R, A2, B, HeatClass
from alerting.detect.engine import Engine
from alerting.detect.rules import RuleSet
from tests.unit.detection import T0_US, S, Sample, feed, point

RATES_K_PER_MIN = (1, 3, 5, 10, 20, 30)
LIMITS_S = {
    "A1": ((1740, 2420), (433, 820), (249, 500), (60, 260), (30, 140), (20, 100)),
    "A2": ((1740, 2760), (433, 960), (249, 600), (120, 330), (60, 193), (40, 145)),
}
"""EN 54-5 table 4: earliest and latest response at each of the rates, s."""


def response_s(heat: HeatClass, k_per_min: float, *, from_c: float, period_s: float, until_s: float) -> float:
    """When the first of the class's rules raises, after a minute at rest."""
    static, rise = heat.rules("heat")
    engine = Engine(RuleSet(threshold=(static,), rate=(rise,)), [point(0)], now_s=0.0)
    rest = [Sample(0, T0_US + round(i * period_s * S), from_c) for i in range(round(60 / period_s))]
    begin_us = T0_US + 60 * S
    ramp = [
        Sample(0, begin_us + round(i * period_s * S), from_c + k_per_min * i * period_s / 60)
        for i in range(round(until_s / period_s) + 1)
    ]
    assert feed(engine, rest) == []
    verdicts = feed(engine, ramp)
    assert verdicts, "no response within the limits"
    return (verdicts[0].at_us - begin_us) / S


@pytest.mark.parametrize("period_s", [1.0, 5.0])
@pytest.mark.parametrize(
    ("heat", "table"), [(A1R, "A1"), (A2, "A2"), (B, "A2")], ids=["A1R", "A2", "B"]
)  # B to G share the limits of A2
@pytest.mark.parametrize("at", range(6), ids=[f"{rate}K" for rate in RATES_K_PER_MIN])
def test_response_time(heat: HeatClass, table: str, at: int, period_s: float) -> None:
    """From its typical temperature a class responds neither earlier nor later than the table allows."""
    earliest_s, latest_s = LIMITS_S[table][at]
    rate, from_c = RATES_K_PER_MIN[at], heat.typical_c
    assert response_s(heat, rate, from_c=from_c, period_s=period_s, until_s=latest_s) >= earliest_s


@pytest.mark.parametrize("k_per_min", [10, 20, 30])
def test_r_responds_from_low_temperatures_too(k_per_min: int) -> None:
    """Class A1R meets the upper limits of the fast rates from 5 degC as well."""
    latest_s = LIMITS_S["A1"][RATES_K_PER_MIN.index(k_per_min)][1]
    assert response_s(A1R, k_per_min, from_c=5.0, period_s=1.0, until_s=latest_s) > 0


def test_limits_are_those_of_the_class() -> None:
    """The static limits stand inside the ranges that EN 54-5 names."""
    assert 54 <= A1R.static_c <= 65
    assert 54 <= A2.static_c <= 70
    assert 69 <= B.static_c <= 85

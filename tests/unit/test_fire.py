from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.drivers.fire import (
    MAX_RISE_K,
    Growth,
    ceiling_jet,
    chamber_lag,
    co_ppm,
    heat_lag,
    heat_release,
    obscuration,
)

AMBIENT_C = 20.0
STEP_S = 0.05

positive = st.floats(0.1, 5_000)
radius = st.floats(0.05, 20)
height = st.floats(1, 20)


@pytest.mark.parametrize(("heat_kw", "rise_k", "speed_m_s"), [(100, 18.6, 0.63), (500, 54.3, 1.07)])
def test_ceiling_jet_gives_the_worked_values(heat_kw: float, rise_k: float, speed_m_s: float) -> None:
    """At 3 m off the axis under a 3 m ceiling, Alpert 1972 gives the published rise and speed."""
    jet = ceiling_jet(heat_kw, 3.0, 3.0)
    assert jet.rise_k == pytest.approx(rise_k, abs=0.05)
    assert jet.speed_m_s == pytest.approx(speed_m_s, abs=0.005)


@pytest.mark.parametrize(
    ("growth", "alpha"),
    [
        (Growth.SLOW, 0.00293),
        (Growth.MEDIUM, 0.01171),
        (Growth.FAST, 0.0468),
        (Growth.ULTRA_FAST, 0.1874),
    ],
)
def test_growth_presets_have_the_published_factor(growth: Growth, alpha: float) -> None:
    """Each preset reaches 1054 kW at its growth time, which fixes alpha."""
    assert growth.alpha == pytest.approx(alpha, rel=0.002)
    assert heat_release(growth, growth.value, 1e6) == pytest.approx(1054)


@pytest.mark.parametrize(
    ("limit_c", "rti", "seconds"),
    [
        (57, 50, {Growth.SLOW: 361, Growth.MEDIUM: 203, Growth.FAST: 120, Growth.ULTRA_FAST: 73}),
        (33, 5, {Growth.SLOW: 148, Growth.MEDIUM: 77, Growth.FAST: 42, Growth.ULTRA_FAST: 24}),
        (25, 5, {Growth.SLOW: 78, Growth.MEDIUM: 43, Growth.FAST: 25, Growth.ULTRA_FAST: 15}),
    ],
)
def test_detector_alarms_at_the_worked_times(limit_c: float, rti: float, seconds: dict[Growth, int]) -> None:
    """A lagging element 3 m off the axis passes its limit when the quasi-steady worked values say so."""
    for growth, expected in seconds.items():
        element_c, t_s = AMBIENT_C, 0.0
        while element_c < limit_c:
            t_s += STEP_S
            jet = ceiling_jet(heat_release(growth, t_s, 1e6), 3.0, 3.0)
            element_c = heat_lag(element_c, AMBIENT_C + jet.rise_k, jet.speed_m_s, rti, STEP_S)
        assert t_s == pytest.approx(expected, abs=0.8), growth


@given(q=positive, more=positive, r=radius, h=height)
def test_a_stronger_fire_makes_a_hotter_and_faster_jet(q: float, more: float, r: float, h: float) -> None:
    """Rise and speed never fall when the heat release grows, and the rise stays bounded."""
    weak, strong = ceiling_jet(q, r, h), ceiling_jet(q + more, r, h)
    assert 0 < weak.rise_k <= strong.rise_k <= MAX_RISE_K
    assert 0 < weak.speed_m_s < strong.speed_m_s


def test_no_fire_moves_no_air() -> None:
    """Without heat release there is no jet, and before ignition no heat."""
    assert ceiling_jet(0.0, 1.0, 3.0) == (0.0, 0.0)
    assert heat_release(Growth.FAST, -1.0, 1e6) == 0.0


@given(start=st.floats(-40, 900), gas=st.floats(-40, 900), speed=st.floats(0, 10), dt=st.floats(0, 1e4))
def test_lag_never_overshoots(start: float, gas: float, speed: float, dt: float) -> None:
    """However long the step, element and chamber end between where they were and what surrounds them."""
    low, high = min(start, gas) - 1e-9, max(start, gas) + 1e-9
    assert low <= heat_lag(start, gas, speed, 50.0, dt) <= high
    assert low <= chamber_lag(start, gas, speed, dt) <= high


@given(soot=st.floats(0, 100), more=st.floats(0, 100))
def test_more_soot_takes_more_light(soot: float, more: float) -> None:
    """Obscuration grows with soot and stays within 0 and 100 %/m."""
    assert 0 <= obscuration(soot) <= obscuration(soot + more) <= 100


def test_smoke_and_gas_have_the_published_scale() -> None:
    """23.93 %/m, the usual alarm point, is 0.0314 g/m3 of soot; 100 ppm of CO is about 0.117 g/m3."""
    assert obscuration(0.03144) == pytest.approx(23.93, abs=0.05)
    assert co_ppm(0.1165) == pytest.approx(100, rel=0.01)

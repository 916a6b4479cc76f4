"""The physics of the simulators against closed forms and published values; fires are in test_fire.py."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.drivers.building import Fire, Fires
from gateway.drivers.district import Room
from gateway.drivers.fire import SMOULDERING, WOOD, co_ppm, obscuration, smouldering
from simulators import electricity, nuisance, trace
from simulators.nuisance import Nuisance
from simulators.trace import Trace
from simulators.water import LEAK_AT_KPA, SHUT_OFF_KPA, Main, Network

T_S = np.arange(0.0, 3600.0, 1.0)
ROOM = Room("r", "b", "z", "", 3.0, (), has_co=True)
NUISANCES: list[tuple[Nuisance, str, float]] = [
    (nuisance.cooking, "smoke", 8.0),
    (nuisance.steam, "smoke", 8.0),
    (nuisance.dust, "smoke", 8.0),
    (nuisance.cigarette, "smoke", 2.0),
    (nuisance.welding, "smoke", 6.0),
    (nuisance.exhaust, "co", 45.0),
]


def chance() -> np.random.Generator:
    """The same chance every time."""
    return np.random.default_rng(1)


def counted(n: int = 100) -> Trace:
    """A trace of one reading a second with the values 0, 1, 2, ..."""
    t_s = np.arange(float(n))
    return Trace(t_s, t_s.copy(), t_s.copy())


# fire


def test_smouldering_loses_what_quintiere_measured() -> None:
    """After 10 minutes 2.85 g/min, after an hour 72.6 g/min, and no more later."""
    assert smouldering(600.0) * 60 == pytest.approx(2.85)
    assert smouldering(3600.0) * 60 == pytest.approx(72.6)
    assert smouldering(7200.0) == smouldering(3600.0)
    assert smouldering(-1.0) == 0.0


def test_smouldering_smoke_and_co_come_together() -> None:
    """Where smouldering smoke takes 2 dB/m (37 %/m), there are about 100 ppm of CO."""
    soot_g_m3 = 0.0529
    assert obscuration(soot_g_m3) == pytest.approx(36.9, abs=0.1)
    assert co_ppm(soot_g_m3 * SMOULDERING.co / SMOULDERING.soot) == pytest.approx(101, abs=1)


def test_a_smouldering_fire_is_cool_and_poisonous_until_it_flames() -> None:
    """For 20 minutes less than 5 K and tens of ppm; two minutes after it bursts into flame it is hot."""
    fires = Fires({"r": ROOM})
    fires.ignite("r", Fire(fuel=WOOD, smoulder_s=1200.0))
    for _ in range(1200):
        fires.step(1.0)
    assert fires.air("r").element_k < 5
    assert fires.air("r").co_ppm > 30
    for _ in range(120):
        fires.step(1.0)
    assert fires.air("r").element_k > 35


def test_a_fire_put_out_while_it_smoulders_never_flames() -> None:
    """Water on a smouldering fire ends it; the flaming that would have come does not."""
    fires = Fires({"r": ROOM})
    fires.ignite("r", Fire(smoulder_s=600.0))
    for _ in range(300):
        fires.step(1.0)
    fires.put_out()
    for _ in range(1800):
        fires.step(1.0)
        assert fires.air("r").element_k < 5


def test_a_detector_far_away_feels_less() -> None:
    """The farther its axis from the detector and the larger the hall, the smaller the rise."""
    rises = []
    for radius_m, area_m2 in ((1.0, 20.0), (6.0, 20.0), (6.0, 400.0)):
        fires = Fires({"r": ROOM._replace(area_m2=area_m2)})
        fires.ignite("r", Fire(radius_m=radius_m))
        for _ in range(60):
            fires.step(1.0)
        rises.append(fires.air("r").element_k)
    assert rises == sorted(rises, reverse=True)
    assert rises[2] < rises[0] / 2


# nuisances


@pytest.mark.parametrize(("source", "leads", "level"), NUISANCES)
def test_a_nuisance_keeps_its_level_and_clears_by_itself(source: Nuisance, leads: str, level: float) -> None:
    """Nothing before it, at most its level and at least a third of it meanwhile, next to nothing after."""
    effects = source(T_S - 600.0, 900.0, level, chance())
    assert 0.3 * level <= effects[leads].max() <= level
    for added in effects.values():
        assert not added[T_S < 600].any()
        assert (added >= 0).all()
        assert added[T_S > 3500].max() <= 0.02 * added.max()


def test_steam_is_humid_before_it_is_smoky() -> None:
    """Humidity is past half its peak before any smoke shows, and comes without CO."""
    effects = nuisance.steam(T_S, 600.0, 8.0, chance())
    first_smoke = int(np.argmax(effects["smoke"] > 0))
    assert effects["humidity"][first_smoke] > effects["humidity"].max() / 2
    assert "co" not in effects


def test_cooking_brings_far_less_co_per_smoke_than_smouldering() -> None:
    """The tell-tale of cooking: its CO/smoke ratio is below that of a smouldering fire's early smoke."""
    effects = nuisance.cooking(T_S, 900.0, 8.0, chance())
    ratio = effects["co"].max() / effects["smoke"].max()
    soot_g_m3 = -np.log1p(-0.08) / 8.7
    assert ratio < co_ppm(float(soot_g_m3) * SMOULDERING.co / SMOULDERING.soot) / 8.0


def test_dust_is_single_readings() -> None:
    """About one reading in fifty spikes."""
    smoke = nuisance.dust(T_S, 3600.0, 8.0, chance())["smoke"]
    assert np.count_nonzero(smoke) == pytest.approx(72, abs=25)


# water


@given(leak_l_s=st.floats(0.001, 2.0), t_s=st.floats(0.0, 600.0))
def test_without_a_pump_the_root_of_the_pressure_sinks_evenly(leak_l_s: float, t_s: float) -> None:
    """An orifice empties a vessel by sqrt(p) = sqrt(p0) - k t / 2C, whatever the steps."""
    main = Main(leak_l_s=leak_l_s, is_supplied=False)
    k = leak_l_s / LEAK_AT_KPA**0.5
    expected = max(0.0, 450.0**0.5 - k * t_s / (2 * main.network.vessel_l_per_kpa)) ** 2
    main.step(t_s)
    assert main.pressure_kpa == pytest.approx(expected, abs=1e-6)


def test_a_fire_pump_carries_open_hydrants() -> None:
    """A hydrant starts the pump, which then holds it above the 350 kPa that GB 50974 asks for."""
    main = Main(Network(fire_pump_kpa=300.0, tank_area_m2=12.0))
    main.step(60.0)
    assert main.pumped_for_s is None
    main.hydrants = 2
    lowest_kpa = 450.0
    for _ in range(120):
        main.step(1.0)
        lowest_kpa = min(lowest_kpa, main.pressure_kpa)
    assert lowest_kpa < 140
    assert 350 < main.pressure_kpa < SHUT_OFF_KPA


def test_an_empty_tank_ends_the_pressure() -> None:
    """When the tank has nothing left, the pump holds nothing."""
    main = Main(Network(fire_pump_kpa=300.0, tank_area_m2=1.0, fill_l_s=0.0), tank_m=1.0, hydrants=2)
    main.step(300.0)
    assert main.tank_m == 0.0
    assert main.pressure_kpa < 10


# electricity


def test_natural_leakage_has_the_shape_of_a_day() -> None:
    """Highest in the early afternoon, lowest at night, its mean over the day the mean."""
    hour = np.arange(0.0, 24.0, 0.25)
    leakage_ma = electricity.natural_leakage(hour, 150.0, 40.0)
    assert hour[leakage_ma.argmax()] == electricity.BUSIEST_HOUR
    assert leakage_ma.mean() == pytest.approx(150.0)
    assert (leakage_ma.min(), leakage_ma.max()) == (110.0, 190.0)


def test_a_cable_heats_by_the_square_of_its_load() -> None:
    """From half to 1.3 times the rated load it passes 70 degC when the closed form says so."""
    load = np.where(T_S < 600, 0.5, 1.3)
    heated_c = electricity.cable_temperature(T_S, load)
    assert heated_c[599] == pytest.approx(25 + 45 * 0.25)
    steady_c, before_c = 25 + 45 * 1.69, 25 + 45 * 0.25
    expected_s = 600 + electricity.CABLE_S * np.log((steady_c - before_c) / (steady_c - 70))
    assert T_S[np.argmax(heated_c >= 70)] == pytest.approx(expected_s, abs=1.5)


def test_an_insulation_fault_grows_from_its_beginning() -> None:
    """Nothing before; then its step, and so much more in every hour."""
    added_ma = electricity.insulation_fault(np.array([-1.0, 0.0, 1800.0, 3600.0]), 20.0, 100.0)
    assert added_ma.tolist() == [0.0, 20.0, 70.0, 120.0]


# sensor faults

FAULTS: list[Callable[[Trace], Trace]] = [
    lambda t: trace.drift(t, 20, 60, 10.0),
    lambda t: trace.stuck(t, 20, 60),
    lambda t: trace.noisy(t, 20, 60, 1.0, chance()),
    lambda t: trace.dropout(t, 20, 60, 0.5, chance()),
    lambda t: trace.battery(t, 20, 60, chance()),
    lambda t: trace.clock_jump(t, 20, 60, -100.0),
    lambda t: trace.reboot_loop(t, 20, 60, 5.0, 5.0),
    lambda t: trace.chatty(t, 20, 60, 3),
]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_sensor_fault_changes_nothing_before_it_and_not_its_input(fault: Callable[[Trace], Trace]) -> None:
    """Readings before the fault are the same, time still ascends, and the given arrays are as they were."""
    healthy = counted()
    spoilt = fault(healthy)
    for old, new in zip(healthy, spoilt, strict=True):
        np.testing.assert_array_equal(new[:20], old[:20])
    assert (np.diff(spoilt.sent_s) >= 0).all()
    for old, new in zip(counted(), healthy, strict=True):
        np.testing.assert_array_equal(new, old)


def test_each_sensor_fault_does_what_it_is_called() -> None:
    """Drift, stuck, silence, clock, reboots and chatter show in what is sent, and end."""
    healthy = counted()
    assert trace.drift(healthy, 20, 60, 3600.0).value[[30, 60, 90]].tolist() == [40.0, 100.0, 130.0]
    assert set(trace.stuck(healthy, 20, 60).value[20:60]) == {20.0}
    assert trace.stuck(healthy, 20, 60).value[60] == 60
    assert len(trace.dropout(healthy, 20, 60, 1.0, chance()).value) == 60
    assert trace.battery(healthy, 20, 60, chance()).sent_s.max() < 60
    assert trace.clock_jump(healthy, 20, 60, -100.0).stamp_s[[19, 20, 60]].tolist() == [19.0, -80.0, 60.0]
    looped = trace.reboot_loop(healthy, 20, 60, 5.0, 5.0)
    assert looped.sent_s[20:32].tolist() == [20, 21, 22, 23, 24, 30, 31, 32, 33, 34, 40, 41]
    assert np.flatnonzero(np.isnan(looped.value)).tolist() == [25, 30, 35, 40]
    chatter = trace.chatty(healthy, 20, 21, 4)
    assert chatter.sent_s[19:25].tolist() == [19.0, 20.0, 20.25, 20.5, 20.75, 21.0]
    assert set(chatter.value[20:24]) == {20.0}


def test_a_fault_after_the_last_reading_changes_nothing() -> None:
    """A sensor that would stick later sends what it measures."""
    np.testing.assert_array_equal(trace.stuck(counted(), 200, 300).value, counted().value)

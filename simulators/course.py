"""A scenario unfolded: every point's trace and every device's event, from the beginning to the end.

Everything is computed before anything is played, as arrays over the scenario's own time axis, so that
virtual time and live play the same and one seed gives the same stream. Each point and each happening has
chances of its own: what is added to a scenario changes nothing of what was there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import NamedTuple, TypeVar
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from fengsui.model import SIMULATED_EVENT, Event, Point
from gateway.drivers import building as air
from gateway.drivers import district, fire
from simulators import electricity, nuisance, timeline, trace
from simulators.nuisance import Nuisance
from simulators.scenario import QUANTITIES, Building, Script
from simulators.trace import Floats, Trace
from simulators.water import Main, Network

_GROWTH = {growth.name.lower(): growth for growth in fire.Growth}
_FUELS = {
    "wood": fire.WOOD,
    "pu_foam": fire.PU_FOAM,
    "polystyrene": fire.POLYSTYRENE,
    "heptane": fire.HEPTANE,
}
_NUISANCES: dict[type[timeline.Nuisance], Nuisance] = {
    timeline.Cooking: nuisance.cooking,
    timeline.Steam: nuisance.steam,
    timeline.Dust: nuisance.dust,
    timeline.Cigarette: nuisance.cigarette,
    timeline.Welding: nuisance.welding,
    timeline.Exhaust: nuisance.exhaust,
}
_WET = ("water_pressure", "level")
_TEST_VALVE_L_S, _TEST_VALVE_S = 6.0, 10.0
_LEAKAGE_SWING_MA = 40.0
_USUAL_LOAD = 0.5

H = TypeVar("H", bound=timeline.Happening)


class Course(NamedTuple):
    """Readings and events in the order in which devices send them; arrays have shape (n,)."""

    point: NDArray[np.int32]
    sent_s: Floats
    """True time from the beginning."""
    stamp_s: Floats
    """What the device's clock says."""
    value: Floats
    events: list[tuple[float, Event]]
    """Each with the time at which it is sent; the ``at`` in it counts from the beginning, in us."""


def unfold(script: Script, seed: int) -> Course:
    """The course of a scenario; the same for the same seed."""
    scenario, site = script.scenario, script.site
    t_s = np.arange(0.0, scenario.length, scenario.sample)
    signals = _Signals(script, t_s, seed)
    traces = [signals.trace(point) for point in site.points]
    numbers = [np.full(len(each.value), index, np.int32) for index, each in enumerate(traces)]
    point = np.concatenate(numbers)
    sent_s = np.concatenate([each.sent_s for each in traces])
    order = np.lexsort((point, sent_s))
    return Course(
        point[order],
        sent_s[order],
        np.concatenate([each.stamp_s for each in traces])[order],
        np.concatenate([each.value for each in traces])[order],
        sorted(_events(scenario.timeline), key=lambda item: item[0]),
    )


class _Signals:
    """What each point measures, and what its device tells of it."""

    def __init__(self, script: Script, t_s: Floats, seed: int) -> None:
        self._t_s = t_s
        self._seed = seed
        self._script = script
        self._timeline = script.scenario.timeline
        self._hour = (script.scenario.hour + t_s / 3600) % 24
        self._air = self._burn()
        wet = {point.building for point in script.site.points if point.quantity in _WET}
        self._mains = {each.id: self._flow(each) for each in script.scenario.buildings if each.id in wet}
        self._leakage_ma = {each.id: each.leakage_ma for each in script.scenario.buildings}

    def trace(self, point: Point) -> Trace:
        """What the device sends of ``point``, its faults included."""
        measured = QUANTITIES[point.quantity]
        chance = np.random.default_rng([self._seed, crc32(point.name.encode())])
        value = self._truth(point) + measured.noise * chance.standard_normal(len(self._t_s))
        shown = value.clip(measured.low, measured.high).round(3)
        told = Trace(self._t_s, self._t_s, shown)
        for number, happening in enumerate(self._timeline):
            if isinstance(happening, timeline.SensorFault) and self._concerns(happening.where, point):
                told = _spoil(told, happening, np.random.default_rng([self._seed, number, point.index]))
        return told._replace(value=np.clip(told.value, measured.low, measured.high))

    def _truth(self, point: Point) -> Floats:
        """The value without noise and faults."""
        t_s, hour = self._t_s, self._hour
        match point.quantity:
            case "temperature":
                value = 22.0 + 1.5 * np.cos((hour - 15.0) * (2 * np.pi / 24))
            case "smoke":
                value = np.full(len(t_s), 0.15)
            case "co":
                value = np.full(len(t_s), 2.0)
            case "humidity":
                value = np.full(len(t_s), 45.0)
            case "water_pressure":
                return self._mains[point.building][0]
            case "level":
                return self._mains[point.building][1]
            case "residual_current":
                mean_ma = self._leakage_ma[point.building]
                value = electricity.natural_leakage(hour, mean_ma, _LEAKAGE_SWING_MA)
                for each in self._of(timeline.InsulationFault, point):
                    since_s = np.where(t_s < each.until, t_s - each.at, -1.0)
                    value = value + electricity.insulation_fault(since_s, each.step_ma, each.ma_per_h)
                return value
            case "cable_temperature":
                load = np.full(len(t_s), _USUAL_LOAD)
                for carried in self._of(timeline.Load, point):
                    load[(t_s >= carried.at) & (t_s < carried.until)] = carried.load
                return electricity.cable_temperature(t_s, load)
            case _:
                return np.zeros(len(t_s))
        burning = self._air.get(point.place)
        if burning is not None and point.quantity in burning:
            value = value + burning[point.quantity]
        for number, happening in enumerate(self._timeline):
            if isinstance(happening, timeline.Nuisance) and self._concerns(happening.where, point):
                value = value + self._nuisance(number, happening).get(point.quantity, 0.0)
        return value

    def _nuisance(self, number: int, happening: timeline.Nuisance) -> nuisance.Effects:
        """The same for every sensor in the room."""
        level: float = getattr(happening, "level")  # noqa: B009 - every kind of nuisance has one
        chance = np.random.default_rng([self._seed, number])
        lasts_s = min(happening.for_s, self._t_s[-1])
        return _NUISANCES[type(happening)](self._t_s - happening.at, lasts_s, level, chance)

    def _burn(self) -> dict[str, dict[str, Floats]]:
        """What fires add in every room they reach, by room and quantity."""
        fires = [each for each in self._timeline if isinstance(each, timeline.Fire)]
        if not fires:
            return {}
        ends = [each.at for each in self._timeline if isinstance(each, timeline.PutOut)]
        rooms = _rooms(self._script)
        added = {
            room: {quantity: np.zeros(len(self._t_s)) for quantity in ("temperature", "smoke", "co")}
            for room in rooms
        }
        world = air.Fires(rooms)
        step_s = self._script.scenario.sample
        for row, now_s in enumerate(self._t_s.tolist()):
            for each in fires:
                if now_s - step_s < each.at <= now_s:
                    world.ignite(each.where, _ignited(each))
            if any(now_s - step_s < at_s <= now_s for at_s in ends):
                world.put_out()
            for room, quantities in added.items():
                here = world.air(room)
                quantities["temperature"][row] = here.element_k
                quantities["smoke"][row] = here.chamber_pct_m
                quantities["co"][row] = here.co_ppm
            world.step(step_s)
        return added

    def _flow(self, building: Building) -> tuple[Floats, Floats]:
        """Pressure and tank level of the building's main over time."""
        here = [each for each in self._timeline if getattr(each, "where", "") == building.id]
        kinds = (timeline.Leak, timeline.Hydrant, timeline.PumpTest, timeline.SupplyOff)
        water = building.water
        main = Main(
            Network(
                fire_pump_kpa=300.0 if water.fire_pump else None,
                tank_area_m2=water.tank_area_m2,
                fill_l_s=water.fill_l_s,
            ),
            tank_m=water.tank_m,
        )
        pressure_kpa, level_m = np.empty(len(self._t_s)), np.empty(len(self._t_s))
        tested = False
        for row, now_s in enumerate(self._t_s.tolist()):
            under_way = [each for each in here if isinstance(each, kinds) and each.at <= now_s < each.until]
            tests = [each for each in under_way if isinstance(each, timeline.PumpTest)]
            main.leak_l_s = water.seep_l_s + sum(
                each.flow_l_s for each in under_way if isinstance(each, timeline.Leak)
            )
            if any(now_s < each.at + _TEST_VALVE_S for each in tests):
                main.leak_l_s += _TEST_VALVE_L_S
            main.hydrants = sum(each.open for each in under_way if isinstance(each, timeline.Hydrant))
            main.is_supplied = not any(isinstance(each, timeline.SupplyOff) for each in under_way)
            if tested and not tests:
                main.pumped_for_s = None
            tested = bool(tests)
            pressure_kpa[row], level_m[row] = main.pressure_kpa, main.tank_m
            main.step(self._script.scenario.sample)
        return pressure_kpa, level_m

    def _of(self, kind: type[H], point: Point) -> Iterable[H]:
        return (
            each
            for each in self._timeline
            if isinstance(each, kind) and self._concerns(getattr(each, "where", ""), point)
        )

    def _concerns(self, where: str, point: Point) -> bool:
        return point.index in self._script.site.within[where]


def _ignited(each: timeline.Fire) -> air.Fire:
    return air.Fire(
        growth=_GROWTH[each.growth],
        fuel=_FUELS[each.fuel],
        peak_kw=each.peak_kw,
        smoulder_s=each.smoulder,
        radius_m=each.distance_m,
    )


def _rooms(script: Script) -> dict[str, district.Room]:
    """Every room with its doors, which lead both ways."""
    doors: dict[str, set[str]] = {}
    floors = [(building, floor) for building in script.scenario.buildings for floor in building.floors]
    for room in chain.from_iterable(floor.rooms for _, floor in floors):
        for other in room.beside:
            doors.setdefault(room.id, set()).add(other)
            doors.setdefault(other, set()).add(room.id)
    return {
        room.id: district.Room(
            id=room.id, building=building.id, zone=floor.id, place=room.id, height_m=room.height_m,
            neighbours=tuple(sorted(doors.get(room.id, ()))), has_co=True, area_m2=room.area_m2,
        )
        for building, floor in floors
        for room in floor.rooms
    }  # fmt: skip


def _spoil(told: Trace, fault: timeline.SensorFault, chance: np.random.Generator) -> Trace:
    at_s, until_s = fault.at, fault.until
    match fault:
        case timeline.Drift():
            return trace.drift(told, at_s, until_s, fault.per_h)
        case timeline.Stuck():
            return trace.stuck(told, at_s, until_s)
        case timeline.Noisy():
            return trace.noisy(told, at_s, until_s, fault.sigma, chance)
        case timeline.Dropout():
            return trace.dropout(told, at_s, until_s, fault.share, chance)
        case timeline.Battery():
            return trace.battery(told, at_s, until_s, chance)
        case timeline.ClockJump():
            return trace.clock_jump(told, at_s, until_s, fault.by)
        case timeline.RebootLoop():
            return trace.reboot_loop(told, at_s, until_s, fault.up, fault.down)
        case timeline.Chatty():
            return trace.chatty(told, at_s, until_s, fault.times)
        case _:
            raise AssertionError(f"no way to simulate {fault.word}")


def _events(happenings: Sequence[timeline.Happening]) -> Iterable[tuple[float, Event]]:
    for each in happenings:
        if isinstance(each, timeline.Panel):
            text = each.text or None
            event = Event(each.where, round(each.at * 1e6), each.event, text=text, code=SIMULATED_EVENT)
            yield each.at, event

"""The air in the rooms of a building: what a fire in one does to all of them. Pure; time is an argument.

One well-mixed layer per room (heat, soot, carbon monoxide), fed by its fire, exchanged with its neighbours
through open doors, lost to walls and to ventilation; above a fire the detector sees the hotter of the layer
and the ceiling jet (``fire.py``). The rates below are chosen for a believable course, not measured: in the
room of the demo fire (ultra-fast, 1 m off the axis) smoke shows after about 10 s, 57 degC are passed within
30 s; smoke shows in the next rooms after a minute, and their detectors of heat follow after some four.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp

from gateway.drivers.district import Room
from gateway.drivers.fire import (
    MAX_RISE_K,
    PU_FOAM,
    SMOULDERING,
    Fuel,
    Growth,
    ceiling_jet,
    chamber_lag,
    co_ppm,
    heat_lag,
    heat_release,
    obscuration,
    smouldering,
)

SENSOR_RTI = 8.0
"""Of a thermistor in free air, (m s)^0.5; a sprinkler link has 50 and more."""
DETECTOR_RADIUS_M = 1.0
DRAUGHT_M_S = 0.15
"""Speed of the air past a detector without a ceiling jet."""
CONVECTIVE = 0.65
"""Fraction of the heat that is not radiated away (radiative fraction 0.35, CFAST)."""
AIR_KJ_PER_M3_K = 1.2
EXCHANGE_PER_S = 0.004
"""Fraction of a room's layer that goes to each neighbour in a second."""
WALLS_S = 60.0
VENTILATION_S = 150.0
BURN_OUT_S = 30.0
"""Time constants: heat lost to the walls, smoke to ventilation, heat release once a fire is out."""
MAX_STEP_S = 1.0
MAX_CATCH_UP_S = 300.0
"""A longer pause (a suspended machine) passes as if it had been this long."""


@dataclass(slots=True)
class Fire:
    """A fire: how it grows, what it burns, and when it went out (by water or for want of fuel)."""

    growth: Growth = Growth.ULTRA_FAST
    fuel: Fuel = PU_FOAM
    peak_kw: float = 1000.0
    load_kj: float = 600_000.0
    """Heat in what there is to burn; 10 minutes at the peak."""
    smoulder_s: float = 0.0
    """How long it smoulders before it bursts into flame and grows."""
    radius_m: float = DETECTOR_RADIUS_M
    """From its axis to the room's detectors."""
    age_s: float = 0.0
    """How long it burned, until it went out."""
    burnt_kj: float = 0.0
    out_for_s: float | None = None

    @property
    def burns(self) -> Fuel:
        """What burns, with the yields of the way in which it burns now."""
        return SMOULDERING if self.age_s < self.smoulder_s else self.fuel

    @property
    def heat_kw(self) -> float:
        """Heat release now."""
        if self.age_s < self.smoulder_s:
            heat_kw = smouldering(self.age_s) * SMOULDERING.heat_kj_per_g
        else:
            heat_kw = heat_release(self.growth, self.age_s - self.smoulder_s, self.peak_kw)
        return heat_kw if self.out_for_s is None else heat_kw * exp(-self.out_for_s / BURN_OUT_S)

    def put_out(self) -> None:
        """From now on it only dies down."""
        if self.out_for_s is None:
            self.out_for_s = 0.0

    def step(self, dt_s: float) -> None:
        """Burn for ``dt_s``."""
        self.burnt_kj += self.heat_kw * dt_s
        if self.out_for_s is not None:
            self.out_for_s += dt_s
            return
        self.age_s += dt_s
        if self.burnt_kj >= self.load_kj:
            self.put_out()


@dataclass(slots=True)
class Air:
    """A room's layer and what its detectors make of it, as differences from a room without a fire."""

    rise_k: float = 0.0
    soot_g_m3: float = 0.0
    co_g_m3: float = 0.0
    element_k: float = 0.0
    """Rise of the sensing element of the heat detector."""
    chamber_pct_m: float = 0.0
    """Obscuration in the chamber of the smoke detector."""

    @property
    def co_ppm(self) -> float:
        """Carbon monoxide."""
        return co_ppm(self.co_g_m3)


class Fires:
    """All rooms of a district and the fires in them."""

    def __init__(self, rooms: Mapping[str, Room]) -> None:
        self._rooms = rooms
        self._fires: dict[str, Fire] = {}
        self._air: dict[str, Air] = {}
        """Rooms with anything in the air; the others are clean."""

    @property
    def burning(self) -> list[str]:
        """Rooms with a fire that has not gone out."""
        return [room for room, fire in self._fires.items() if fire.out_for_s is None]

    def ignite(self, room: str, fire: Fire) -> None:
        """Begin a fire in ``room``; where one burns already, nothing changes."""
        if room not in self.burning:
            self._fires[room] = fire

    def put_out(self) -> None:
        """Put every fire out."""
        for fire in self._fires.values():
            fire.put_out()

    def air(self, room: str) -> Air:
        """What is in the air of ``room`` now."""
        return self._air.get(room, _CLEAN)

    def step(self, dt_s: float) -> None:
        """Let ``dt_s`` pass; nothing is computed for rooms that no smoke has reached."""
        left_s = min(dt_s, MAX_CATCH_UP_S)
        while left_s > 0 and (self._fires or self._air):
            self._step(min(left_s, MAX_STEP_S))
            left_s -= MAX_STEP_S

    def _step(self, dt_s: float) -> None:
        before = {room: (air.rise_k, air.soot_g_m3, air.co_g_m3) for room, air in self._air.items()}
        reached = set(self._fires) | set(before)
        reached.update(near for room in before for near in self._rooms[room].neighbours)
        for room in reached:
            self._step_room(room, before, dt_s)
        for room, fire in list(self._fires.items()):
            fire.step(dt_s)
            if fire.out_for_s is not None and fire.heat_kw < 0.1:
                del self._fires[room]
        self._air = {room: air for room, air in self._air.items() if room in self._fires or _is_felt(air)}

    def _step_room(self, name: str, before: Mapping[str, tuple[float, float, float]], dt_s: float) -> None:
        room, fire = self._rooms[name], self._fires.get(name)
        heat_kw = fire.heat_kw if fire else 0.0
        fuel = fire.burns if fire else PU_FOAM
        burnt_g_s_m3 = heat_kw / fuel.heat_kj_per_g / room.volume_m3
        sources = (
            CONVECTIVE * heat_kw / (AIR_KJ_PER_M3_K * room.volume_m3),
            burnt_g_s_m3 * fuel.soot,
            burnt_g_s_m3 * fuel.co,
        )
        own = before.get(name, _NOTHING)
        near = [before.get(other, _NOTHING) for other in room.neighbours]
        mixed = []
        for i, (source, loss_s) in enumerate(zip(sources, _LOSS_S, strict=True)):
            gain = EXCHANGE_PER_S * sum(other[i] - own[i] for other in near)
            mixed.append(own[i] + dt_s * (source + gain - own[i] / loss_s))
        air = self._air.setdefault(name, Air())
        air.rise_k, air.soot_g_m3, air.co_g_m3 = min(mixed[0], MAX_RISE_K), mixed[1], mixed[2]
        jet = ceiling_jet(heat_kw, fire.radius_m if fire else DETECTOR_RADIUS_M, room.height_m)
        speed = max(DRAUGHT_M_S, jet.speed_m_s)
        air.element_k = heat_lag(air.element_k, max(air.rise_k, jet.rise_k), speed, SENSOR_RTI, dt_s)
        air.chamber_pct_m = chamber_lag(air.chamber_pct_m, obscuration(air.soot_g_m3), speed, dt_s)


_CLEAN = Air()
_NOTHING = (0.0, 0.0, 0.0)
_LOSS_S = (WALLS_S, VENTILATION_S, VENTILATION_S)


def _is_felt(air: Air) -> bool:
    return (
        max(air.rise_k, air.element_k) > 1e-3
        or max(air.chamber_pct_m, air.co_ppm) > 1e-3
        or air.soot_g_m3 > 1e-6
    )

"""A fire main and its tank: jockey pump, fire pump, leaks, hydrants. Time steps in, pressure and level out.

The pipes with their pressure vessel take ``vessel_l_per_kpa`` of water for a rise of 1 kPa; an opening lets
out k sqrt(p) (orifice). The jockey pump holds the pressure between a start and a stop. A running fire pump
is so strong that the pressure follows its curve p = shut-off - a q2 within seconds, and it surges when it
starts (Joukowsky: rho a dv, some 80 kPa for 0.07 m/s). Without a pump the root of the pressure sinks
evenly: sqrt(p) = sqrt(p0) - k t / 2C, which is what the tests check. Pressures are gauge.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import cos, exp, pi, sqrt
from typing import NamedTuple

MAX_STEP_S = 1.0
LEAK_AT_KPA = 450.0
"""Pressure at which a leak has the flow that is given for it."""
HYDRANT_L_S, HYDRANT_AT_KPA = 5.0, 350.0
"""An indoor hydrant (GB 50974-2014 7.4.12)."""
SHUT_OFF_KPA, PUMP_CURVE = 660.0, 0.25
"""Of the fire pump: pressure without flow; kPa lost per (L/s)2."""
PUMP_DELAY_S, PUMP_RISE_S = 5.0, 2.0
SURGE_KPA, SURGE_PERIOD_S, SURGE_FADES_S = 80.0, 4.0, 5.0


class Network(NamedTuple):
    """What is built: pumps, vessel and tank."""

    start_kpa: float = 400.0
    stop_kpa: float = 480.0
    """Of the jockey pump."""
    vessel_l_per_kpa: float = 0.125
    jockey_l_s: float = 1.0
    fire_pump_kpa: float | None = None
    """Pressure at which the fire pump starts; it runs until a person stops it. None: there is none."""
    tank_area_m2: float = 0.5
    full_m: float = 3.2
    fill_l_s: float = 0.075
    """Into the tank, while it is not full."""


@dataclass(slots=True)
class Main:
    """The state of one main; set what is open, then let time pass with :meth:`step`."""

    network: Network = field(default_factory=Network)
    level_kpa: float = 450.0
    """Pressure without the surge."""
    tank_m: float = 3.0
    leak_l_s: float = 0.0
    """At ``LEAK_AT_KPA``."""
    hydrants: int = 0
    """Open ones."""
    is_supplied: bool = True
    """False: no pump runs, and whatever leaks is gone."""
    is_pumping: bool = False
    """Whether the jockey pump runs."""
    pumped_for_s: float | None = None
    """Since the fire pump was told to start; None: it stands."""

    @property
    def pressure_kpa(self) -> float:
        """As a gauge shows it, the surge of a starting pump included."""
        if self.pumped_for_s is None or self.pumped_for_s < PUMP_DELAY_S:
            return self.level_kpa
        since_s = self.pumped_for_s - PUMP_DELAY_S
        surge_kpa = SURGE_KPA * exp(-since_s / SURGE_FADES_S) * cos(2 * pi * since_s / SURGE_PERIOD_S)
        return max(0.0, self.level_kpa + surge_kpa)

    def step(self, elapsed_s: float) -> None:
        """Let time pass."""
        left_s = elapsed_s
        while left_s > 0:
            self._step(min(left_s, MAX_STEP_S))
            left_s -= MAX_STEP_S

    def _step(self, dt_s: float) -> None:
        net = self.network
        k = self.leak_l_s / sqrt(LEAK_AT_KPA) + self.hydrants * HYDRANT_L_S / sqrt(HYDRANT_AT_KPA)
        drawn_l = 0.0
        has_water = self.is_supplied and self.tank_m > 0
        if self.pumped_for_s is not None:
            self.pumped_for_s += dt_s
        if has_water and self.pumped_for_s is not None and self.pumped_for_s > PUMP_DELAY_S:
            steady_kpa = SHUT_OFF_KPA / (1 + PUMP_CURVE * k * k)
            self.level_kpa += (steady_kpa - self.level_kpa) * (1 - exp(-dt_s / PUMP_RISE_S))
            drawn_l = k * sqrt(self.level_kpa) * dt_s
        else:
            root = max(0.0, sqrt(self.level_kpa) - k * dt_s / (2 * net.vessel_l_per_kpa))
            self.level_kpa = root * root
            if has_water and self.is_pumping:
                drawn_l = net.jockey_l_s * dt_s
                self.level_kpa = min(net.stop_kpa, self.level_kpa + drawn_l / net.vessel_l_per_kpa)
        self._switch()
        filled_m = net.fill_l_s * dt_s / 1000 / net.tank_area_m2
        drawn_m = drawn_l / 1000 / net.tank_area_m2
        self.tank_m = min(net.full_m, max(0.0, self.tank_m + filled_m - drawn_m))

    def _switch(self) -> None:
        net = self.network
        if self.is_pumping:
            self.is_pumping = self.level_kpa < net.stop_kpa
        else:
            self.is_pumping = self.level_kpa <= net.start_kpa
        starts = net.fire_pump_kpa is not None and self.level_kpa <= net.fire_pump_kpa
        if starts and self.pumped_for_s is None:
            self.pumped_for_s = 0.0

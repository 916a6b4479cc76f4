"""Fire physics: how a fire grows, what its ceiling jet does to a detector, what its smoke does to light.

Engineering correlations, good to a factor of about 1.5; they make a simulated fire believable and are no
fire model. SI units with kW; temperatures in degC. Sources: Alpert, Fire Technology 8 (1972), also NUREG-1805
ch. 11; CFAST Technical Reference (detector lag, smoke optics, t-squared presets); Tewarson, SFPE Handbook
(yields). Checked against worked values in ``tests/unit/test_fire.py``.
"""

from __future__ import annotations

from enum import Enum
from math import exp, sqrt
from typing import NamedTuple

RATED_KW = 1054.0
"""1000 BTU/s: heat release that the t-squared presets reach at their growth time."""

MAX_RISE_K = 900.0
"""Rise at which a plume stops getting hotter; the correlations know no such bound."""

MASS_EXTINCTION_M2_PER_G = 8.7
"""Km of flaming smoke (Mulholland)."""

CHAMBER_LENGTH_M = 1.8
"""L of Heskestad's entry lag of a smoke detector's chamber."""

_CO_MG_PER_M3_PER_PPM = 1.165
"""At 20 degC and 101.3 kPa."""


class Growth(Enum):
    """Growth time of the t-squared presets: seconds until ``RATED_KW``."""

    SLOW = 600.0
    MEDIUM = 300.0
    FAST = 150.0
    ULTRA_FAST = 75.0

    @property
    def alpha(self) -> float:
        """Growth factor, kW/s2."""
        return RATED_KW / self.value**2


class Fuel(NamedTuple):
    """What burns: heat of combustion in kJ/g, yields in grams per gram of fuel, well ventilated."""

    heat_kj_per_g: float
    soot: float
    co: float


WOOD = Fuel(heat_kj_per_g=17.1, soot=0.015, co=0.004)
PU_FOAM = Fuel(heat_kj_per_g=26.2, soot=0.131, co=0.010)
POLYSTYRENE = Fuel(heat_kj_per_g=39.2, soot=0.164, co=0.060)
HEPTANE = Fuel(heat_kj_per_g=44.6, soot=0.037, co=0.010)

SMOULDERING = Fuel(heat_kj_per_g=6.0, soot=0.09, co=0.2)
"""Any cellulosic fuel without a flame. CO: Tewarson's 0.1 to 0.3. Its smoke takes less light than soot; the
yield is chosen (not measured) as the soot that takes as much, so that 100 ppm of CO come with 2 dB/m."""


def smouldering(t_s: float) -> float:
    """Fuel lost in g/s, ``t_s`` after it began to smoulder: 0.1 t + 0.0185 t2 g/min with t in minutes.

    Source: Quintiere, Birky, Macdonald and Smith, Fire and Materials 6 (1982): upholstery, up to one hour;
    after that the rate of the hour stays.
    """
    t_min = min(60.0, max(0.0, t_s) / 60)
    return (0.1 * t_min + 0.0185 * t_min * t_min) / 60


class Jet(NamedTuple):
    """The ceiling jet where it passes a detector: rise above ambient in K, speed in m/s."""

    rise_k: float
    speed_m_s: float


def heat_release(growth: Growth, t_s: float, peak_kw: float) -> float:
    """Heat release in kW, ``t_s`` after ignition: t-squared up to ``peak_kw``, 0 before ignition."""
    return min(peak_kw, growth.alpha * t_s * t_s) if t_s > 0 else 0.0


def ceiling_jet(heat_kw: float, radius_m: float, height_m: float) -> Jet:
    """Steady ceiling jet of ``heat_kw``, ``radius_m`` off the fire's axis, the ceiling ``height_m`` above it.

    Source: Alpert 1972; the rise is bounded by ``MAX_RISE_K``.
    """
    if heat_kw <= 0:
        return Jet(0.0, 0.0)
    ratio = radius_m / height_m
    if ratio <= 0.18:
        rise = 16.9 * heat_kw ** (2 / 3) / height_m ** (5 / 3)
    else:
        rise = 5.38 * (heat_kw / radius_m) ** (2 / 3) / height_m
    if ratio <= 0.15:
        speed = 0.96 * (heat_kw / height_m) ** (1 / 3)
    else:
        speed = 0.195 * heat_kw ** (1 / 3) * sqrt(height_m) / radius_m ** (5 / 6)
    return Jet(min(MAX_RISE_K, rise), speed)


def heat_lag(element_c: float, gas_c: float, speed_m_s: float, rti: float, dt_s: float) -> float:
    """Temperature of a sensing element after ``dt_s`` in gas of ``gas_c`` moving at ``speed_m_s``.

    ``rti`` is its response time index, (m s)^0.5. The step is exact for steady gas, so it never overshoots.
    Source: DETACT, CFAST Technical Reference.
    """
    return gas_c + (element_c - gas_c) * exp(-dt_s * sqrt(speed_m_s) / rti)


def chamber_lag(inside: float, outside: float, speed_m_s: float, dt_s: float) -> float:
    """Smoke inside a detector's chamber after ``dt_s``, in the unit given.

    Source: Heskestad, FDS User Guide.
    """
    return outside + (inside - outside) * exp(-dt_s * speed_m_s / CHAMBER_LENGTH_M)


def obscuration(soot_g_per_m3: float) -> float:
    """Light lost over one metre, %/m, at a mass concentration of soot.

    The optical density is D = Km m / ln 10 per metre, and the light lost 1 - 10^-D = 1 - exp(-Km m).
    Source: CFAST Technical Reference.
    """
    return 100 * (1 - exp(-MASS_EXTINCTION_M2_PER_G * soot_g_per_m3))


def co_ppm(co_g_per_m3: float) -> float:
    """Volume fraction of carbon monoxide, ppm, at 20 degC."""
    return co_g_per_m3 * 1000 / _CO_MG_PER_M3_PER_PPM

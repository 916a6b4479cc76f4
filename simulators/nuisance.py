"""What is not a fire and looks like one: cooking, steam, dust, a cigarette, welding, exhaust. All SYNTHETIC.

Each gives what it adds to a room's quantities over a time axis, after the tell-tales of the field: smoke
from a pan is ragged, brings hardly any CO and clears by itself; steam is humidity first; dust is spikes of
a single sensor; exhaust is CO without heat. The shapes are chosen, not measured, and prove nothing about a
real kitchen; recordings do (Cleary, AUBE 2004, is where the quantities that matter are named).

Pure: seconds since the source appeared in, arrays of the same shape (n,) out, all 0 before it; ``rng`` is
the only chance. Smoke in %/m, temperature in K, humidity in % (of relative humidity), CO in ppm, each
*added*.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Effects = dict[str, Floats]
Nuisance = Callable[[Floats, float, float, np.random.Generator], Effects]
"""``(since_s, for_s, level, rng)``: ``level`` is the peak of its leading quantity."""


def cooking(since_s: Floats, for_s: float, level: float, rng: np.random.Generator) -> Effects:
    """Frying or toasting: ragged smoke up to about ``level`` %/m within minutes, a few K, a few ppm."""
    course = swell(since_s, for_s, 60.0, 120.0)
    ragged = np.clip(1 + 0.25 * rng.standard_normal(len(since_s)), 0.4, 1.3)
    return {
        "smoke": level * course * ragged / 1.3,
        "temperature": 4.0 * swell(since_s, for_s, 180.0, 300.0),
        "humidity": 8.0 * course,
        "co": 4.0 * course,
    }


def steam(since_s: Floats, for_s: float, level: float, rng: np.random.Generator) -> Effects:
    """A shower: humidity to saturation, 20 s later *smoke* of up to ``level`` %/m, which goes quickly."""
    fog = swell(since_s - 20.0, max(0.0, for_s - 20.0), 10.0, 25.0)
    return {
        "smoke": level * fog * np.clip(0.9 + 0.05 * rng.standard_normal(len(since_s)), 0.0, 1.0),
        "temperature": 3.0 * swell(since_s, for_s, 120.0, 240.0),
        "humidity": 52.0 * swell(since_s, for_s, 15.0, 240.0),
    }


def dust(since_s: Floats, for_s: float, level: float, rng: np.random.Generator) -> Effects:
    """Building works: spikes of one reading, at most ``level`` %/m, one reading in fifty."""
    hit = (rng.random(len(since_s)) < 0.02) & (since_s >= 0) & (since_s < for_s)
    return {"smoke": np.where(hit, level * rng.uniform(0.3, 1.0, len(since_s)), 0.0)}


def cigarette(since_s: Floats, for_s: float, level: float, rng: np.random.Generator) -> Effects:
    """One smoker: low smoke about ``level`` %/m, wafting, and a few ppm."""
    course = swell(since_s, for_s, 40.0, 90.0)
    waft = np.clip(0.7 + 0.3 * rng.standard_normal(len(since_s)), 0.0, 1.0)
    return {"smoke": level * course * waft, "co": 3.0 * course}


def welding(since_s: Floats, for_s: float, level: float, rng: np.random.Generator) -> Effects:
    """Bursts of 20 s in every minute: fume up to ``level`` %/m, some K, some ppm."""
    burst = np.zeros(len(since_s))
    for begin_s in np.arange(0.0, for_s, 60.0):
        burst = np.maximum(burst, swell(since_s - begin_s, 20.0, 8.0, 20.0))
    return {
        "smoke": level * burst * rng.uniform(0.8, 1.0, len(since_s)),
        "temperature": 5.0 * burst,
        "co": 8.0 * swell(since_s, for_s, 300.0, 300.0),
    }


def exhaust(since_s: Floats, for_s: float, level: float, rng: np.random.Generator) -> Effects:
    """An engine that idles indoors: CO slowly up to ``level`` ppm, hardly any smoke or heat."""
    course = swell(since_s, for_s, 240.0, 300.0)
    return {
        "co": level * course,
        "smoke": 1.0 * course * rng.uniform(0.7, 1.0, len(since_s)),
        "temperature": 1.0 * course,
    }


def swell(since_s: Floats, for_s: float, rise_s: float, fall_s: float) -> Floats:
    """From 0 towards 1 for ``for_s`` with time constant ``rise_s``, then back to 0 with ``fall_s``."""
    lasted_s = np.clip(since_s, 0.0, for_s)
    return -np.expm1(-lasted_s / rise_s) * np.exp(-np.maximum(0.0, since_s - for_s) / fall_s)

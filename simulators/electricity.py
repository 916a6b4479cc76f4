"""Residual current and the heating of a cable. Pure: arrays over time in and out.

Natural leakage of a healthy building is 100 to 200 mA (GB 50116-2013 9.2.3, commentary) and follows its
load over the day. A cable's rise goes with the square of its load and lags by its thermal time constant
(Joule; IEC 60287).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BUSIEST_HOUR = 14.0
AMBIENT_C = 25.0
RATED_RISE_K = 45.0
"""At rated load: 70 degC, what PVC bears all the time."""
CABLE_S = 1200.0
"""Thermal time constant of a cable of some 50 mm2 in a tray."""


def natural_leakage(hour: Floats, mean_ma: float, swing_ma: float) -> Floats:
    """Leakage of a healthy installation at ``hour`` of the local day, mA: highest in the early afternoon."""
    return mean_ma + swing_ma * np.cos((hour - BUSIEST_HOUR) * (2 * np.pi / 24))


def insulation_fault(since_s: Floats, step_ma: float, ma_per_h: float) -> Floats:
    """What a fault adds, mA, ``since_s`` after it began: a step, and even growth; 0 before it."""
    return np.where(since_s >= 0, step_ma + ma_per_h * np.maximum(since_s, 0.0) / 3600, 0.0)


def cable_temperature(t_s: Floats, load: Floats) -> Floats:
    """Temperature of a cable in degC under ``load`` (1 = rated), which it has borne for long at ``t_s[0]``.

    Args:
        t_s: Ascending, shape (n,).
        load: From each time to the next, shape (n,).
    """
    steady_k = RATED_RISE_K * load * load
    kept = np.exp(-np.diff(t_s, prepend=t_s[0]) / CABLE_S)
    rise_k = np.empty_like(steady_k)
    rise = steady_k[0]
    for i, share in enumerate(kept.tolist()):
        rise = rise_k[i] = steady_k[max(0, i - 1)] + (rise - steady_k[max(0, i - 1)]) * share
    return AMBIENT_C + rise_k

"""What detectors of the trade would have done with the same ceiling temperatures: the yardsticks.

* **Fixed 57 C**: the first reading at or above 57 degC, without any lag: the best that a fixed heat detector
  in the same place could do.
* **EN 54-5 class A1R**: a point heat detector with thermal lag, a static element and a rate-of-rise element,
  as built with two thermistors, one exposed (time constant 20 s) and one behind a thermal mass (180 s). It
  alarms when the exposed element reaches 57 degC (class A1: static response 54 to 65 degC) or is 15 K warmer
  than the slow one. Both elements start in balance. From 25 degC it responds inside the limits of class A1 at
  all six rates of rise of the standard, which a test states:

  =========== ============= ============= =============
  rate, K/min from, min:s   to            this model
  =========== ============= ============= =============
  1           29:00         40:20         32:21
  3           7:13          13:40         11:01
  5           4:09          8:20          6:44
  10          1:00          4:20          2:50
  20          0:30          2:20          1:21
  30          0:20          1:40          0:57
  =========== ============= ============= =============

* **Real alarms**: the median time at which the photoelectric smoke alarms in the same fire sounded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import exp
from statistics import median

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FIXED_C = 57.0
A1R_STATIC_C = 57.0
A1R_RISE_K = 15.0
A1R_FAST_S = 20.0
A1R_SLOW_S = 180.0


def fixed57_s(t_s: Floats, near_c: Floats, from_s: float) -> float | None:
    """When a near-ceiling channel is first at or above 57 degC.

    Args:
        t_s: Shape (n,), s.
        near_c: Shape (n, m), degC; NaN = missing, which reaches nothing.
        from_s: Ignition; what was before it does not count.

    Returns:
        None when it never is.
    """
    reached = (near_c >= FIXED_C).any(axis=1) & (t_s >= from_s)
    return float(t_s[reached.argmax()]) if reached.any() else None


def en54_a1r_s(t_s: Floats, near_c: Floats, from_s: float) -> float | None:
    """When the first of A1R detectors at these places alarms; arguments and result as in :func:`fixed57_s`.

    Between two readings of a channel the gas temperature is a straight line; a missing one is bridged so.

    Source: EN 54-5 table 4 and class table, see the module's text.
    """
    first: float | None = None
    for channel in near_c.T:
        usable = np.isfinite(channel)
        alarm_s = _a1r(t_s[usable], channel[usable], from_s)
        if alarm_s is not None and (first is None or alarm_s < first):
            first = alarm_s
    return first


def _a1r(t_s: Floats, gas_c: Floats, from_s: float) -> float | None:
    if not len(t_s):
        return None
    before_s, before_c = float(t_s[0]), float(gas_c[0])
    fast = slow = before_c
    now_s: float
    for now_s, now_c in zip(t_s.tolist(), gas_c.tolist(), strict=True):
        step_s = now_s - before_s
        if step_s > 0:
            per_s = (now_c - before_c) / step_s
            fast = _lagged(fast, before_c, now_c, per_s, step_s, A1R_FAST_S)
            slow = _lagged(slow, before_c, now_c, per_s, step_s, A1R_SLOW_S)
            before_s, before_c = now_s, now_c
        if now_s >= from_s and (fast >= A1R_STATIC_C or fast - slow >= A1R_RISE_K):
            return now_s
    return None


def _lagged(element: float, before: float, now: float, per_s: float, step_s: float, lag_s: float) -> float:
    """A first-order element after ``step_s`` in gas that went straight from ``before`` to ``now`` (exact)."""
    behind = element - before + per_s * lag_s
    return now - per_s * lag_s + behind * exp(-step_s / lag_s)


def reference_alarm_s(rows: Iterable[Mapping[str, str]], file: str) -> float | None:
    """Median activation of the photoelectric alarms in ``file`` (rows of ``reference_alarms.csv``), s."""
    times = [
        float(row["t_activation_s"])
        for row in rows
        if row["file"] == file and row["alarm_type"].startswith("photo") and row["t_activation_s"]
    ]
    return median(times) if times else None

"""What a device tells of one point over a whole scenario, and the ways in which devices fail.

A trace is three arrays; a fault is a function from trace to trace, so any fault goes round any signal and
round another fault. All are pure: times in seconds from the beginning of the scenario, ``rng`` the only
chance. A fault acts on what is sent at or after ``at_s`` and before ``until_s``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class Trace(NamedTuple):
    """Readings of one point in the order in which they are sent; all of shape (n,)."""

    sent_s: Floats
    """True time; ascending."""
    stamp_s: Floats
    """What the device's clock says of it."""
    value: Floats
    """NaN: measured and invalid."""

    def during(self, at_s: float, until_s: float) -> Bools:
        """Which readings are sent within the interval."""
        return (self.sent_s >= at_s) & (self.sent_s < until_s)

    def kept(self, rows: Bools) -> Trace:
        """Only these readings."""
        return Trace(self.sent_s[rows], self.stamp_s[rows], self.value[rows])


def drift(trace: Trace, at_s: float, until_s: float, per_h: float) -> Trace:
    """The value moves away by ``per_h`` in an hour, and stays away after ``until_s``."""
    gone_h = np.clip(trace.sent_s - at_s, 0.0, until_s - at_s) / 3600
    return trace._replace(value=trace.value + per_h * gone_h)


def stuck(trace: Trace, at_s: float, until_s: float) -> Trace:
    """The value stays, to the last digit, what it was when the fault began."""
    held = trace.during(at_s, until_s)
    if not held.any():
        return trace
    return trace._replace(value=np.where(held, trace.value[int(np.argmax(held))], trace.value))


def noisy(trace: Trace, at_s: float, until_s: float, sigma: float, rng: np.random.Generator) -> Trace:
    """Gaussian noise of ``sigma`` on top."""
    noise = sigma * rng.standard_normal(len(trace.value))
    return trace._replace(value=np.where(trace.during(at_s, until_s), trace.value + noise, trace.value))


def dropout(trace: Trace, at_s: float, until_s: float, share: float, rng: np.random.Generator) -> Trace:
    """This share of the readings is never sent; 1 is silence."""
    return trace.kept(~(trace.during(at_s, until_s) & (rng.random(len(trace.value)) < share)))


def battery(trace: Trace, at_s: float, empty_s: float, rng: np.random.Generator) -> Trace:
    """A battery that fades from ``at_s`` on: ever more readings are lost, and from ``empty_s`` on all are."""
    faded = np.clip((trace.sent_s - at_s) / (empty_s - at_s), 0.0, 1.0)
    return trace.kept(rng.random(len(trace.value)) >= faded**3)


def clock_jump(trace: Trace, at_s: float, until_s: float, by_s: float) -> Trace:
    """The device's clock is wrong by ``by_s``."""
    return trace._replace(stamp_s=np.where(trace.during(at_s, until_s), trace.stamp_s + by_s, trace.stamp_s))


def reboot_loop(trace: Trace, at_s: float, until_s: float, up_s: float, down_s: float) -> Trace:
    """Up for ``up_s``, down for ``down_s``, over and over; the first reading after each start is invalid."""
    during = trace.during(at_s, until_s)
    phase_s = np.where(during, (trace.sent_s - at_s) % (up_s + down_s), 0.0)
    up = ~during | (phase_s < up_s)
    first = up & ~np.concatenate([[True], up[:-1]])
    return trace._replace(value=np.where(first, np.nan, trace.value)).kept(up)


def chatty(trace: Trace, at_s: float, until_s: float, times: int) -> Trace:
    """Each reading is sent ``times`` times in the time to the next one, with the value of the first."""
    count = np.where(trace.during(at_s, until_s), times, 1)
    first = np.repeat(np.cumsum(count) - count, count)
    gap_s = np.diff(trace.sent_s, append=trace.sent_s[-1:])
    later_s = (np.arange(len(first)) - first) * np.repeat(gap_s / count, count)
    return Trace(
        np.repeat(trace.sent_s, count) + later_s,
        np.repeat(trace.stamp_s, count) + later_s,
        np.repeat(trace.value, count),
    )

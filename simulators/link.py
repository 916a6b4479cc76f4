"""The way from a gateway to detection in virtual time, and what can be wrong with it.

What detection gets here it gets unsorted and twice, as it stands; in the house the intake has put the
records of a lane in order and left out duplicates before. So these faults ask more of detection than the
house does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fengsui.model import Event
from simulators.course import Course
from simulators.timeline import Duplicate, Entry, LinkCut, LinkFault, Reorder, Skew
from simulators.trace import Bools, Floats

AGAIN_S = 5.0
"""After so long a duplicate comes, as from a gateway that sends again."""


class Delivery(NamedTuple):
    """A course as it arrives, in that order; arrays have shape (n,)."""

    point: NDArray[np.int32]
    stamp_s: Floats
    value: Floats
    sent_s: Floats
    arrives_s: Floats
    events: list[tuple[float, float, Event]]
    """Sent, arrives, event."""


def deliver(course: Course, happenings: Sequence[Entry], seed: int) -> Delivery:
    """What arrives of a course when; at once, but for the faults among ``happenings``."""
    row = np.arange(len(course.point))
    sent_s, arrives_s, stamp_s = course.sent_s, course.sent_s.copy(), course.stamp_s.copy()
    events = [(at_s, _through(happenings, at_s), event) for at_s, event in course.events]
    for number, fault in enumerate(happenings):
        if not isinstance(fault, LinkFault):
            continue
        chance = np.random.default_rng([seed, number])
        hit: Bools = (sent_s[row] >= fault.at) & (sent_s[row] < fault.until)
        match fault:
            case LinkCut():
                arrives_s = np.where(hit, np.maximum(arrives_s, fault.until), arrives_s)
            case Skew():
                stamp_s = np.where(hit, stamp_s + fault.by, stamp_s)
            case Reorder():
                late = hit & (chance.random(len(row)) < fault.share)
                arrives_s = arrives_s + np.where(late, chance.uniform(0, fault.within, len(row)), 0.0)
            case Duplicate():
                again = np.flatnonzero(hit & (chance.random(len(row)) < fault.share))
                row = np.concatenate([row, row[again]])
                arrives_s = np.concatenate([arrives_s, arrives_s[again] + AGAIN_S])
                stamp_s = np.concatenate([stamp_s, stamp_s[again]])
            case _:
                raise AssertionError(f"no way to simulate {fault.word}")
    order = np.argsort(arrives_s, kind="stable")
    row = row[order]
    return Delivery(
        course.point[row], stamp_s[order], course.value[row], sent_s[row], arrives_s[order],
        sorted(events, key=lambda item: item[1]),
    )  # fmt: skip


def is_cut(happenings: Sequence[Entry], at_s: float) -> bool:
    """Whether the gateway can say nothing at this time."""
    return any(isinstance(each, LinkCut) and each.at <= at_s < each.until for each in happenings)


def _through(happenings: Sequence[Entry], sent_s: float) -> float:
    """When an event arrives; events take a lane of their own and wait for a cut link only."""
    cuts = [each for each in happenings if isinstance(each, LinkCut) and each.at <= sent_s < each.until]
    return max((each.until for each in cuts), default=sent_s)

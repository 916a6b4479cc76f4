"""One stream of readings through every detector: what is real, or what is simulated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from alerting.detect.change import Changes
from alerting.detect.flat import Flats
from alerting.detect.gate import Gate
from alerting.detect.order import Bools, Ints, Order, Readings
from alerting.detect.range import Ranges
from alerting.detect.rate import Rates
from alerting.detect.rules import RuleSet
from alerting.detect.slots import Crossing, Detector, Inside, joined, part_of
from alerting.detect.slow import Slow
from alerting.detect.threshold import Thresholds
from fengsui.model import Point

State = dict[str, NDArray[np.generic]]


class Stream:
    """All detectors over all points.

    Args:
        rules: What to judge by.
        points: The registry's points by index, dense and stable.
    """

    def __init__(self, rules: RuleSet, points: Sequence[Point]) -> None:
        self._order = Order(len(points))
        self._thresholds = Thresholds(rules.threshold, points)
        self._detectors: dict[str, Detector] = {
            "threshold": self._thresholds,
            "rate": Rates(rules.rate, points),
            "change": Changes(rules.change, points),
            "range": Ranges(rules.range, points),
            "flat": Flats(rules.flat, points),
            "slow": Slow(rules, points),
        }
        self._gate = Gate(rules.about_readings(), points)

    @property
    def nbytes(self) -> int:
        """Bytes of state for all points."""
        return sum(part.nbytes for part in self._parts().values())

    def update(self, readings: Readings, held_at_us: Ints, valid: Bools) -> list[Crossing]:
        """Judge readings; see ``Order.enter`` for the arguments. The crossings, unordered."""
        series, late = self._order.enter(readings, held_at_us, valid)
        past = [] if late is None else self._gate.late(late, self._thresholds.late(late))
        if not len(series.readings.row):
            return past
        crossings = [
            crossing for detector in self._detectors.values() for crossing in detector.update(series)
        ]
        return past + self._gate.update(series, crossings)

    def assume_active(self, rule: str, point: int) -> None:
        """Take over from the alarm book that ``rule`` is active at ``point``, if it still applies there."""
        for detector in self._detectors.values():
            detector.assume_active(rule, point)
        self._gate.assume_active(rule, point)

    def inside(self, point: int) -> Inside:
        """What every rule that judges ``point`` knows of it after its newest reading."""
        at_us = self._order.newest_us(point)
        return {
            name: known
            for detector in self._detectors.values()
            for name, known in detector.inside(point, at_us).items()
        }

    def state(self) -> State:
        """A copy of all that must outlive the process."""
        return joined(self._parts())

    def restore(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Take over ``state``; rules and points may have changed meanwhile.

        A kind of rule that is younger than the state begins anew.

        Raises:
            KeyError, ValueError, TypeError, IndexError: not a state of this class.
        """
        for part, owner in self._parts().items():
            own = part_of(state, part)
            if own or owner is self._order:
                owner.restore(own)

    def join(self, other: Self) -> None:
        """Take over what another one of the same rules holds: its points come after one's own."""
        self._order.join(other._order)
        for name, detector in self._detectors.items():
            detector.join(other._detectors[name])
        self._gate.join(other._gate)

    def _parts(self) -> dict[str, Order | Detector | Gate]:
        return {"order": self._order, **self._detectors, "gate": self._gate}

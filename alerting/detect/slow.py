"""The slow set: every detector that judges closed minutes, behind one aggregator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from alerting.detect.drift import Drifts
from alerting.detect.minutes import Minutes
from alerting.detect.noise import Noises
from alerting.detect.order import Series
from alerting.detect.rules import RuleSet
from alerting.detect.season import Seasons
from alerting.detect.slots import Crossing, Inside, joined, part_of
from alerting.detect.tracks import Tracks
from alerting.detect.trend import Trends
from fengsui.model import Point


class Slow:
    """All slow detectors over all points, for one stream of readings (real, or simulated).

    Args:
        rules: What to judge by.
        points: By index, dense.

    Delay: a verdict comes with the reading that closes the minute which decided.
    """

    def __init__(self, rules: RuleSet, points: Sequence[Point]) -> None:
        self._tracks: dict[str, Tracks] = {
            "trend": Trends(rules.trend, points),
            "drift": Drifts(rules.drift, points),
            "season": Seasons(rules.season, points),
            "noise": Noises(rules.noise, points),
        }
        wanted = np.zeros(len(points), np.bool_)
        for tracks in self._tracks.values():
            wanted[tracks.points()] = True
        self._minutes = Minutes(wanted)

    @property
    def nbytes(self) -> int:
        """Bytes of state for all points."""
        return self._minutes.nbytes + sum(tracks.nbytes for tracks in self._tracks.values())

    def update(self, series: Series) -> list[Crossing]:
        """Judge readings; the crossings, unordered. Nothing in ``series`` is changed."""
        return [
            crossing
            for closed in self._minutes.update(series)
            for tracks in self._tracks.values()
            for crossing in tracks.update(closed)
        ]

    def assume_active(self, rule: str, point: int) -> None:
        """Take over from the alarm book that ``rule`` is active at ``point``, if it still applies there."""
        for tracks in self._tracks.values():
            tracks.assume_active(rule, point)

    def inside(self, point: int, at_us: int) -> Inside:
        """What the rules that judge ``point`` know of it after the newest closed minute."""
        return {
            name: known for tracks in self._tracks.values() for name, known in tracks.inside(point).items()
        }

    def state(self) -> dict[str, NDArray[np.generic]]:
        """A copy of all that must outlive the process."""
        return joined({"minutes": self._minutes, **self._tracks})

    def restore(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Take over ``state``; rules and points may have changed meanwhile.

        A kind of rule that is younger than the state begins anew.

        Raises:
            KeyError, ValueError, TypeError, IndexError: not a state of this class.
        """
        self._minutes.restore(part_of(state, "minutes"))
        for part, tracks in self._tracks.items():
            if own := part_of(state, part):
                tracks.restore(own)

    def join(self, other: Self) -> None:
        """Take over what another one of the same rules holds: its points come after one's own."""
        self._minutes.join(other._minutes)
        for name, tracks in self._tracks.items():
            tracks.join(other._tracks[name])

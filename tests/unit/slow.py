"""Stories for the slow detectors: a value over minutes, hours or weeks, and what is said of it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from alerting.detect.engine import Engine
from alerting.detect.rules import RuleSet
from alerting.detect.verdict import Verdict
from fengsui.model import Point, Quality
from tests.unit.detection import T0_US, S, point

BEGIN_US = T0_US // (60 * S) * 60 * S
"""The begin of a minute; minute 0 of every story."""

Values = NDArray[np.float64]


class Told(NamedTuple):
    """A verdict of a story."""

    kind: str
    minute: float
    """Since the begin of the story, when it was said: by the reading that closed the minute before."""
    rule: str
    text: str
    observed: float | None
    window_s: float


def tell(verdicts: Sequence[Verdict]) -> list[Told]:
    """The verdicts as a story has them."""
    return [
        Told(
            v.kind.value,
            (v.at_us - BEGIN_US) / 60 / S,
            v.rule,
            v.reasons[0].text_en if v.reasons else "",
            v.reasons[0].value if v.reasons else None,
            v.window_s,
        )
        for v in verdicts
    ]


def story(rules: RuleSet, values: Values, *, step_s: float = 1.0, quantity: str, uom: str) -> list[Told]:
    """What ``rules`` say of the values of one point, ``step_s`` apart from ``BEGIN_US`` on; NaN = missing."""
    engine = Engine(rules, [point(0, quantity, uom)], now_s=0.0)
    return tell(play(engine, values, step_s=step_s))


def play(engine: Engine, values: Values, *, step_s: float = 1.0, begin_us: int = BEGIN_US) -> list[Verdict]:
    """A series of point 0 through an engine, in batches of 5,000."""
    verdicts: list[Verdict] = []
    at_us = begin_us + np.round(np.arange(len(values)) * step_s * S).astype(np.int64)
    for begin in range(0, len(values), 5000):
        value, at = values[begin : begin + 5000], at_us[begin : begin + 5000]
        zeros = np.zeros(len(value), np.int64)
        verdicts += engine.update(
            zeros.astype(np.int32), at, value, zeros.astype(np.uint8), at, zeros, now_s=0.0
        )
    return verdicts


class Stream(NamedTuple):
    """Readings of several points, as the engine takes them; arrays of shape (n,)."""

    point: NDArray[np.int32]
    at_us: NDArray[np.int64]
    value: Values
    quality: NDArray[np.uint8]
    received_at_us: NDArray[np.int64]
    age_us: NDArray[np.int64]

    def part(self, begin: int, end: int) -> Stream:
        """The rows from ``begin`` up to ``end``."""
        rows = slice(begin, end)
        return Stream(
            self.point[rows], self.at_us[rows], self.value[rows], self.quality[rows],
            self.received_at_us[rows], self.age_us[rows],
        )  # fmt: skip


def rough(draw: np.random.Generator, values: Values, *, step_s: float) -> Stream:
    """Series with everything that can go wrong, points taking turns: ``values`` of shape (points, n).

    Missing, out of range, simulated, late and doubled readings, gaps, and a clock that falls back.
    """
    points, n = values.shape
    where = np.tile(np.arange(points, dtype=np.int32), n)
    at_s = np.repeat(np.arange(n) * step_s, points) + where
    at_s += np.cumsum(np.where(draw.random(len(at_s)) < 0.002, draw.choice([90.0, 900.0], len(at_s)), 0.0))
    received_s = at_s.copy()
    at_s -= np.where(draw.random(len(at_s)) < 0.02, 45.0, 0.0)
    at_s[int(draw.integers(len(at_s))) :] -= draw.choice([0.0, 0.0, 200.0])
    value = values.T.reshape(-1).copy()
    value[draw.random(len(value)) < 0.02] = np.nan
    quality = draw.choice(
        np.array([Quality.GOOD, Quality.BAD, Quality.OUT_OF_RANGE, Quality.SIMULATED], np.uint8),
        len(value),
        p=[0.94, 0.02, 0.02, 0.02],
    )
    at_us = BEGIN_US + np.round(at_s * S).astype(np.int64)
    received_at_us = BEGIN_US + np.round(received_s * S).astype(np.int64)
    return Stream(where, at_us, value, quality, received_at_us, np.zeros(len(value), np.int64))


def batches(engine: Engine, stream: Stream, cuts: Sequence[int]) -> list[Verdict]:
    """The stream through the engine, cut before the given rows."""
    verdicts: list[Verdict] = []
    edges = [0, *sorted(cuts), len(stream.point)]
    for begin, end in pairwise(edges):
        part = stream.part(begin, end)
        verdicts += engine.update(
            part.point, part.at_us, part.value, part.quality, part.received_at_us, part.age_us, now_s=None
        )
    return verdicts


def assert_a_cut_changes_nothing(rules: RuleSet, points: Sequence[Point], stream: Stream, seed: int) -> int:
    """Whole = cut anywhere = restarted in the middle, verdicts and state; how many verdicts there were."""
    draw = np.random.default_rng(seed)
    whole, cut = Engine(rules, points, now_s=0.0), Engine(rules, points, now_s=0.0)
    expected = batches(whole, stream, ())
    cuts = draw.integers(0, len(stream.point), 40).tolist()
    assert _by_time(batches(cut, stream, cuts)) == _by_time(expected)
    middle = int(draw.integers(len(stream.point)))
    before, restarted = Engine(rules, points, now_s=0.0), Engine(rules, points, now_s=9.0)
    found = batches(before, stream.part(0, middle), ())
    restarted.restore(before.state())
    found += batches(restarted, stream.part(middle, len(stream.point)), ())
    assert _by_time(found) == _by_time(expected)
    for name, array in whole.state().items():
        for other in (cut, restarted):
            np.testing.assert_array_equal(other.state()[name], array, err_msg=name)
    return len(expected)


def _by_time(verdicts: Sequence[Verdict]) -> list[tuple[int, int, str, str, bool, str]]:
    return sorted(
        (v.at_us, v.point, v.rule, v.kind.value, v.test, v.reasons[0].text_en if v.reasons else "")
        for v in verdicts
    )

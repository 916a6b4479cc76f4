"""Readings for detection's tests, and a plain reading-by-reading model of what the core must say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import NamedTuple

import numpy as np

from alerting.detect.engine import Engine
from alerting.detect.order import CLOCK_STEP_US
from alerting.detect.rules import Threshold
from alerting.detect.verdict import Verdict, VerdictKind
from fengsui.model import AlarmClass, Point, Quality

T0_US = 1_700_000_000_000_000
S = 1_000_000


class Sample(NamedTuple):
    """One reading as a row of a batch; times in us."""

    point: int
    at_us: int
    value: float
    quality: int = Quality.GOOD
    received_at_us: int = T0_US
    age_us: int = 0


class Said(NamedTuple):
    """What of a verdict the model predicts."""

    kind: VerdictKind
    rule: str
    point: int
    at_us: int
    test: bool


def point(
    index: int, quantity: str = "temperature", uom: str = "degC", *, gateway: str = "gw-1", unit: str = "u1"
) -> Point:
    """A registered point."""
    return Point(
        index=index, id=f"p{index}", gateway=gateway, name=f"n{index}", quantity=quantity, uom=uom, unit=unit
    )


def heat(**changes: object) -> Threshold:
    """A fire rule for temperatures: 57 and 50 degC, no delays."""
    fields: dict[str, object] = {
        "name": "heat", "version": 1, "cls": AlarmClass.FIRE, "quantity": "temperature", "uom": "degC",
        "above": 57.0, "reset": 50.0, "severity": 4,
    }  # fmt: skip
    return Threshold(**(fields | changes))  # type: ignore[arg-type]  # the tests say what they change


def feed(engine: Engine, samples: Sequence[Sample], *, now_s: float | None = 0.0) -> list[Verdict]:
    """One batch through the engine."""
    return engine.update(
        np.array([s.point for s in samples], np.int32),
        np.array([s.at_us for s in samples], np.int64),
        np.array([s.value for s in samples], np.float64),
        np.array([s.quality for s in samples], np.uint8),
        np.array([s.received_at_us for s in samples], np.int64),
        np.array([s.age_us for s in samples], np.int64),
        now_s=now_s,
    )


def said(verdicts: Sequence[Verdict]) -> list[Said]:
    """What the verdicts say of thresholds, in one order for every way of batching."""
    return [Said(v.kind, v.rule, v.point, v.at_us, v.test) for v in verdicts if not v.missing]


@dataclass
class _Channel:
    """One rule at one point, one reading after the other."""

    active: bool = False
    phase: str = ""
    since_us: int = 0


@dataclass
class Model:
    """The same rules, written for the reader and not for speed."""

    rules: Sequence[Threshold]
    points: Sequence[Point]
    channels: dict[tuple[int, str, bool], _Channel] = field(default_factory=dict)
    newest_us: dict[tuple[int, bool], int] = field(default_factory=dict)
    offset_us: dict[tuple[int, bool], int] = field(default_factory=dict)

    def feed(self, sample: Sample) -> list[Said]:
        """What one reading makes the rules say."""
        if not isfinite(sample.value) or sample.quality == Quality.BAD:
            return []
        test = sample.quality == Quality.SIMULATED
        source = (sample.point, test)
        offset = sample.at_us - (sample.received_at_us - max(sample.age_us, 0))
        stepped = source in self.offset_us and offset < self.offset_us[source] - CLOCK_STEP_US
        self.offset_us[source] = offset
        before = None if stepped else self.newest_us.get(source)
        late = before is not None and sample.at_us <= before
        if not late:
            self.newest_us[source] = sample.at_us
        out: list[Said] = []
        for rule in self.rules:
            where = self.points[sample.point]
            if (rule.quantity, rule.uom) != (where.quantity, where.uom):
                continue
            kind = self._judge(rule, sample, test, before, late)
            if kind is not None:
                out.append(Said(kind, rule.name, sample.point, sample.at_us, test))
        return out

    def _judge(
        self, rule: Threshold, sample: Sample, test: bool, before: int | None, late: bool
    ) -> VerdictKind | None:
        x = sample.value
        over = x >= rule.above if rule.above is not None else x <= rule.limit
        under = x < rule.reset if rule.above is not None else x > rule.reset
        if late:
            return VerdictKind.PAST if over else None
        if sample.quality == Quality.OUT_OF_RANGE:
            under = False
        channel = self.channels.setdefault((sample.point, rule.name, test), _Channel())
        phase = "over" if over else "under" if under else ""
        gap = before is None or sample.at_us - before > rule.max_gap_s * S
        if phase != channel.phase or gap:
            channel.since_us = sample.at_us
        channel.phase = phase
        lasted_s = (sample.at_us - channel.since_us) / S
        if over and not channel.active and lasted_s >= rule.on_delay_s:
            channel.active = True
            return VerdictKind.RAISE
        if under and channel.active and lasted_s >= rule.off_delay_s:
            channel.active = False
            return VerdictKind.CLEAR
        return None

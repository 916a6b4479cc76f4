"""A rule's own test: points with their series, and what the rules must say of them, run by the real engine.

Time begins at 0 s with the first sample. Of every rule that an expectation names, all that it says must be
expected; of rules that none names, nothing is asked. ``expect: nothing`` names them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from alerting.detect.engine import Engine
from alerting.detect.rules import RuleSet
from alerting.detect.verdict import Verdict, VerdictKind
from alerting.rulebook.series import parse, samples
from fengsui.model import Point, Quality

MAX_STEPS = 200_000
MAX_STEPS_OF_A_FILE = 500_000
"""Samples of all tests together, times points: a running core tries a file in some ten seconds."""
MAX_POINTS = 200
Window = float | tuple[float, float]


class Signal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A point of a test and its samples; the other fields are those of a registered point."""

    series: str | float
    quantity: str
    uom: str
    id: str = ""
    """Empty: ``p1``, ``p2``, ... in the order of the list."""
    gateway: str = "gateway"
    unit: str = ""
    building: str = ""
    zone: str = ""
    device: str = ""
    device_type: str = ""
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        """Refuse samples that cannot be read."""
        parse(self.series)


class Expected(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a rule must say: raise or clear, at a time or in a window of seconds, or nothing at all."""

    rule: str
    raise_s: Window | None = None
    clear_s: Window | None = None
    nothing: bool = False
    point: str = ""
    """Which point it speaks of; empty: any."""

    def __post_init__(self) -> None:
        """Refuse what expects two things, or none."""
        if (self.raise_s is not None) + (self.clear_s is not None) + self.nothing != 1:
            raise ValueError(f"{self.rule}: expect one of raise_s, clear_s and nothing: true")
        window = self.window()
        if window[0] > window[1]:
            raise ValueError(f"{self.rule}: the window ends before it begins")

    @property
    def kind(self) -> VerdictKind:
        """What it must say, unless ``nothing``."""
        return VerdictKind.RAISE if self.raise_s is not None else VerdictKind.CLEAR

    def window(self) -> tuple[float, float]:
        """First and last second at which it may say it."""
        at = self.raise_s if self.raise_s is not None else self.clear_s
        if at is None:
            return 0.0, 0.0
        return at if isinstance(at, tuple) else (at, at)


class RuleTest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One test of a rule file."""

    name: str
    points: tuple[Signal, ...]
    expect: Literal["nothing"] | tuple[Expected, ...]
    interval_s: float = 1.0
    start: str = "2024-01-01T00:00:00+00:00"
    """When the first sample was measured, with its offset from UTC; a Monday unless given."""
    heartbeats: str | float = ""
    """Series of the gateways' signs of life: a number is one. Empty: one with every sample."""

    def __post_init__(self) -> None:
        """Refuse a test that shows nothing."""
        if not (1 <= len(self.points) <= MAX_POINTS):
            raise ValueError(f"a test has 1 to {MAX_POINTS} points")
        if not self.expect:
            raise ValueError("expect is empty; say what the rules must say, or expect: nothing")
        if not 0 < self.interval_s <= 86_400:
            raise ValueError("interval_s is the time between two samples, up to a day")
        if self.heartbeats != "":
            parse(self.heartbeats)
        self.start_us()
        ids = [signal.id for signal in self.points if signal.id]
        if len(ids) != len(set(ids)):
            raise ValueError("two points have the same id")

    def start_us(self) -> int:
        """``start`` in us since 1970 UTC.

        Raises:
            ValueError: No date and time with an offset.
        """
        at = datetime.fromisoformat(self.start)
        if at.tzinfo is None:
            raise ValueError(f"start {self.start!r} has no offset from UTC; write 2024-01-01T08:00+08:00")
        return round((at - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * 1_000_000

    def steps(self) -> int:
        """Samples, times points."""
        lengths = [sum(run.times for run in parse(signal.series)) for signal in self.points]
        return max(lengths) * len(lengths)


class Said(NamedTuple):
    """What a rule said in a test."""

    at_s: float
    rule: str
    kind: VerdictKind
    point: str
    """Id of the point, name of the gateway, or unit/building/zone."""

    def __str__(self) -> str:
        return f"{self.rule} {self.kind}s at {self.at_s:g} s ({self.point})"


class Complaint(NamedTuple):
    """Why a test fails."""

    expectation: int | None
    """Number in ``expect``; None: said and not expected, or nothing was to be said."""
    text: str


def play(test: RuleTest, rules: RuleSet) -> list[Said]:
    """What the rules say of a test's series, in order.

    Raises:
        ValueError: The test is longer than ``MAX_STEPS``.
    """
    points = [_point(index, signal) for index, signal in enumerate(test.points)]
    values, present, outside, alive = _columns(test)
    start_us, gateways = test.start_us(), sorted({point.gateway for point in points})
    engine = Engine(rules, points, now_s=0.0)
    usual = np.isfinite(values).all(axis=1) & alive
    said: list[Said] = []
    step = 0
    while step < len(values):
        # Where a usable sample of every point follows another, nothing can fall silent: all go in at once.
        end = step + 1
        if step and usual[step - 1] and usual[step]:
            unusual = np.flatnonzero(~usual[step:])
            end = step + int(unusual[0]) if len(unusual) else len(values)
        row, point = np.nonzero(present[step:end])
        row += step
        at_us = start_us + np.round(row * test.interval_s * 1e6).astype(np.int64)
        now_s = (end - 1) * test.interval_s
        if alive[end - 1]:
            for gateway in gateways:
                engine.gateway_seen(gateway, now_s=now_s, fresh=step == 0)
        quality = np.where(outside[row, point], np.uint8(Quality.OUT_OF_RANGE), np.uint8(Quality.GOOD))
        verdicts = engine.update(
            point.astype(np.int32), at_us, values[row, point], quality,
            at_us, np.zeros(len(row), np.int64), now_s=now_s,
        )  # fmt: skip
        verdicts += engine.advance(now_s=now_s, now_us=start_us + round(now_s * 1e6))
        said += [
            Said(
                (verdict.at_us - start_us) / 1e6, verdict.rule, verdict.kind, _subject(verdict, points),
            )
            for verdict in verdicts
        ]  # fmt: skip
        step = end
    return said


def judge(test: RuleTest, rules: RuleSet) -> list[Complaint]:
    """Why the test fails under ``rules``; empty = it passes."""
    try:
        said = play(test, rules)
    except ValueError as error:
        return [Complaint(None, str(error))]
    if isinstance(test.expect, str):
        return [Complaint(None, f"{one}, although nothing is expected") for one in said]
    complaints = []
    known = {rule.name for rule in rules.all()}
    asked = {expected.rule for expected in test.expect}
    left = [one for one in said if one.rule in asked]
    for number, expected in enumerate(test.expect):
        if expected.rule not in known:
            complaints.append(Complaint(number, f"there is no rule {expected.rule}"))
        elif not expected.nothing:
            fitting = next((one for one in left if _fits(expected, one)), None)
            if fitting is None:
                complaints.append(Complaint(number, _missed(expected, said)))
            else:
                left.remove(fitting)
    return complaints + [Complaint(None, f"{one}, which is not expected") for one in left]


def _subject(verdict: Verdict, points: Sequence[Point]) -> str:
    if verdict.zone is not None:
        return "/".join(verdict.zone)
    return points[verdict.point].id if verdict.point >= 0 else verdict.gateway


def _fits(expected: Expected, said: Said) -> bool:
    first, last = expected.window()
    return (
        (said.rule, said.kind) == (expected.rule, expected.kind)
        and expected.point in ("", said.point)
        and first - 1e-6 <= said.at_s <= last + 1e-6
    )


def _missed(expected: Expected, said: Sequence[Said]) -> str:
    first, last = expected.window()
    when = f"at {first:g} s" if first == last else f"between {first:g} and {last:g} s"
    others = [str(one) for one in said if one.rule == expected.rule]
    instead = "; ".join(others[:5]) or "it says nothing"
    return f"{expected.rule} does not {expected.kind} {when}: {instead}"


def _point(index: int, signal: Signal) -> Point:
    id_ = signal.id or f"p{index + 1}"
    return Point(
        index=index, id=id_, gateway=signal.gateway, name=id_, quantity=signal.quantity, uom=signal.uom,
        unit=signal.unit, building=signal.building, zone=signal.zone, device=signal.device,
        device_type=signal.device_type, low=signal.low, high=signal.high,
    )  # fmt: skip


class _Columns(NamedTuple):
    """A test unfolded: three arrays of shape (steps, points), and the gateways' signs of life, (steps,)."""

    value: NDArray[np.float64]
    present: NDArray[np.bool_]
    outside: NDArray[np.bool_]
    alive: NDArray[np.bool_]


def _columns(test: RuleTest) -> _Columns:
    signals = [samples(parse(signal.series)) for signal in test.points]
    beats = None if test.heartbeats == "" else samples(parse(test.heartbeats)).present
    steps = max(len(each.value) for each in signals)
    steps = steps if beats is None else max(steps, len(beats))
    shape = steps, len(signals)
    if steps * len(signals) > MAX_STEPS:
        raise ValueError(f"{steps} samples of {len(signals)} points; a test has at most {MAX_STEPS}")
    alive = np.ones(steps, np.bool_)
    if beats is not None:
        alive[:] = False
        alive[: len(beats)] = beats
    columns = _Columns(np.full(shape, np.nan), np.zeros(shape, np.bool_), np.zeros(shape, np.bool_), alive)
    for number, each in enumerate(signals):
        for column, values in zip(columns, each, strict=False):
            column[: len(values), number] = values
    return columns

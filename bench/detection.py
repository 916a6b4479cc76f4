"""What detection costs by itself, in CPU time of its thread: the fast set, the slow set, zones; no I/O.

The fast set is the engine with the shipped rules and all its kinds: temperatures that wander by a few degrees
with the noise and resolution of a real sensor, one in a thousand beyond a limit; random points in batches of
5,000, one batch per second of event time. The slow set: ``bench.detection_slow``.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import numpy as np

from alerting.detect.engine import Engine
from alerting.detect.rules import Change, RuleSet
from alerting.detect.verdict import Verdict, VerdictKind
from alerting.detect.zones import Zones
from alerting.rulebook.file import default_rules
from bench.backlog import Progress
from bench.detection_slow import slow_cost
from bench.figures import Figure, Result, Row, rounded
from fengsui.model import AlarmClass, Point

POINTS = 100_000
SMALL, LARGE = 10_000, 1_000_000
BATCH = 5_000
BATCHES = 400
RUNS = 5
SLOW_RUNS = {"small": 3, "middle": 3, "large": 1}
"""The large one takes a minute, and is a mean over sixty readings of a million points already."""
SPARSE_S = 20.0
ZONES, PER_ZONE = 1_000, 8
_BEGIN_US = 1_790_000_000_000_000
_SEED = 20261122
_CHANGE = Change(
    name="temperature-change",
    version=1,
    cls=AlarmClass.FAULT,
    quantity="temperature",
    uom="degC",
    severity=2,
    least_scale=0.5,
)
"""No rule of this kind is shipped for temperatures, which wander; measured it must be."""


async def measure(folder: Path, *, scale: float, tell: Progress) -> Result:
    """All sizes by turns."""
    del folder
    batches = max(10, int(BATCHES * scale))
    sizes = {"small": SMALL, "middle": POINTS, "large": LARGE}
    if scale < 1:
        sizes = {name: max(1_000, int(size * scale)) for name, size in sizes.items()}
    engines = {name: _engine(size) for name, size in sizes.items()}
    cost: dict[str, list[float]] = {name: [] for name in sizes}
    for run in range(RUNS):
        seconds = range(run * batches, (run + 1) * batches)
        for name, engine in engines.items():
            cost[name].append(await asyncio.to_thread(_us_per_reading, engine, sizes[name], seconds))
        tell(", ".join(f"{sizes[name]:,} points {cost[name][-1]:.3f} us" for name in sizes))
    slow: dict[str, list[tuple[float, float]]] = {}
    for name, size in sizes.items():
        slow[name] = [await asyncio.to_thread(slow_cost, size) for _ in range(SLOW_RUNS[name])]
        tell(f"slow set, {size:,} points {slow[name][-1][0]:.3f} us")
    sparse = [
        (await asyncio.to_thread(slow_cost, sizes["middle"], every_s=SPARSE_S))[0]
        for _ in range(SLOW_RUNS["middle"])
    ]
    engine = engines["middle"]
    signals = await asyncio.to_thread(lambda: [_us_per_signal() for _ in range(RUNS)])
    return Result(
        [
            Row(
                key="zone_us_per_signal",
                what=f"zone rules, per alarm of a point, {ZONES:,} zones of {PER_ZONE} points in alarm",
                unit="us",
                figure=Figure(signals),
            ),
            Row(
                key="detect_us_per_reading",
                what=f"detection (fast set), {sizes['middle']:,} points, batches of {BATCH:,}",
                unit="us",
                figure=Figure(cost["middle"]),
                most=0.35,
            ),
            Row(
                key="detect_slow_us_per_reading",
                what=f"detection (slow set), {sizes['middle']:,} points, a reading a second each",
                unit="us",
                figure=_us(slow["middle"]),
                most=0.1,
            ),
            Row(
                key="detect_slow_sparse_us_per_reading",
                what=f"detection (slow set), {sizes['middle']:,} points, a reading in {SPARSE_S:g} s each",
                unit="us",
                figure=Figure(sparse),
                most=0.1,
                bound_by="every third reading closes a minute, with which each rule has to be judged",
            ),
            Row(
                key="detect_slow_bytes_per_point",
                what="state of the slow set per point, a rule of every kind at each",
                unit="bytes",
                figure=Figure([nbytes for _, nbytes in slow["middle"]]),
                most=3_000,
            ),
            Row(
                key="detect_bytes_per_point",
                what="state of detection per point",
                unit="bytes",
                figure=Figure([engine.nbytes / sizes["middle"]]),
                most=700,
            ),
            Row(
                key="detect_scale_ratio",
                what=f"cost per reading at {sizes['large']:,} points over {sizes['small']:,} points",
                figure=Figure(
                    [large / small for large, small in zip(cost["large"], cost["small"], strict=True)]
                ),
                most=3.5,
            ),
        ],
        {"us_per_reading": {str(sizes[name]): Figure(cost[name]).as_json() for name in sizes}},
        {
            "detect": [
                {
                    "points": size,
                    "batch": BATCH,
                    "fast_us": rounded(Figure(cost[name]).median),
                    "slow_us": rounded(_us(slow[name]).median),
                    "bytes_per_point": rounded(engines[name].nbytes / size),
                    "slow_bytes_per_point": rounded(slow[name][-1][1]),
                }
                for name, size in sizes.items()
            ]
        },
    )


def _us(costs: list[tuple[float, float]]) -> Figure:
    return Figure([us for us, _ in costs])


def _engine(points: int) -> Engine:
    registered = [
        Point(index=i, id=f"p{i}", gateway=f"g{i // 200}", name=f"p{i}", quantity="temperature", uom="degC")
        for i in range(points)
    ]
    shipped = default_rules()
    fast = RuleSet(
        threshold=shipped.threshold,
        rate=shipped.rate,
        change=(*shipped.change, _CHANGE),
        range=shipped.range,
        flat=shipped.flat,
    )
    return Engine(fast, registered, now_s=0.0)


def _us_per_reading(engine: Engine, points: int, seconds: range) -> float:
    draw = np.random.default_rng(_SEED)
    quality, age_us = np.zeros(BATCH, np.uint8), np.zeros(BATCH, np.int64)
    spent_s = 0.0
    for n in seconds:
        point = draw.integers(0, points, BATCH).astype(np.int32)
        at_us = np.full(BATCH, _BEGIN_US + n * 1_000_000) + np.arange(BATCH)
        calm = 22 + 2 * np.sin(n / 3600 + point) + 0.2 * draw.standard_normal(BATCH)
        value = np.where(draw.random(BATCH) < 0.001, 70.0, np.round(calm, 1))
        begun_s = time.thread_time()
        engine.update(point, at_us, value, quality, at_us, age_us, now_s=float(n))
        spent_s += time.thread_time() - begun_s
    return spent_s * 1e6 / (len(seconds) * BATCH)


def _us_per_signal() -> float:
    """Every point of every zone in fire, one after the other: what the zone rules add to each of them."""
    points = [
        Point(
            index=i, id=f"p{i}", gateway="g", name=f"p{i}", quantity="smoke", uom="%/m", device=f"d{i}",
            zone=f"z{i // PER_ZONE}", building="b",
        )
        for i in range(ZONES * PER_ZONE)
    ]  # fmt: skip
    zones = Zones(default_rules(), points)
    signals = [
        Verdict(
            point=i, gateway="", cls=AlarmClass.FIRE, kind=VerdictKind.RAISE, rule="smoke-fire", version=1,
            severity=4, at_us=_BEGIN_US + i, value=12.0, limit=10.0, reset=5.0, window_s=0.0,
            received_at_us=_BEGIN_US + i, age_us=0, test=False,
        )
        for i in range(len(points))
    ]  # fmt: skip
    begun_s = time.thread_time()
    for signal in signals:
        zones.update([signal], (), signal.received_at_us)
    return (time.thread_time() - begun_s) * 1e6 / len(signals)

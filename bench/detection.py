"""What detection costs by itself: the engine with the shipped rules and all kinds of the fast set, no I/O.

Temperatures that wander by a few degrees with the noise and resolution of a real sensor, one in a thousand
beyond a limit; random points in batches of 5,000, one batch per second of event time.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import numpy as np

from alerting.detect.engine import Engine
from alerting.detect.rules import Change, RuleSet, default_rules
from bench.backlog import Progress
from bench.figures import Figure, Result, Row, rounded
from fengsui.model import AlarmClass, Point

POINTS = 100_000
SMALL, LARGE = 10_000, 1_000_000
BATCH = 5_000
BATCHES = 400
RUNS = 5
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
    engine = engines["middle"]
    return Result(
        [
            Row(
                key="detect_us_per_reading",
                what=f"detection (fast set), {sizes['middle']:,} points, batches of {BATCH:,}",
                unit="us",
                figure=Figure(cost["middle"]),
                most=0.35,
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
                    "slow_us": None,
                    "bytes_per_point": rounded(engines[name].nbytes / size),
                }
                for name, size in sizes.items()
            ]
        },
    )


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
        begun_s = time.perf_counter()
        engine.update(point, at_us, value, quality, at_us, age_us, now_s=float(n))
        spent_s += time.perf_counter() - begun_s
    return spent_s * 1e6 / (len(seconds) * BATCH)

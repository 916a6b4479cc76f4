"""Backtests asked for at the core."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence

from server.backtest import DAY_S, Bounds, Kept, Question
from server.backtest_worker import Job
from server.errands import Errands

BOUNDS = Bounds(span_s=100 * DAY_S, points=20_000, alarms=1_000)
"""Of one question: a quarter and a warm-up; some 3 MB of report."""
WORKER = (sys.executable, "-m", "server.backtest_worker")


def backtests(
    kept: Callable[[], Kept],
    *,
    monotonic_s: Callable[[], float] = time.monotonic,
    worker: Sequence[str] = WORKER,
) -> Errands[Question]:
    """The core's backtests; ``kept`` says where its past is, and which rules are in force."""
    return Errands(
        "backtest",
        worker,
        lambda viewer, question: Job(kept(), viewer, question, BOUNDS).encode(),
        monotonic_s=monotonic_s,
    )

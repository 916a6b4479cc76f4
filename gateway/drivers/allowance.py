"""What one link may bring: a steady rate, and so many seconds of it at once. Pure; time is an argument."""

from __future__ import annotations

BURST_S = 10.0
"""What may come at once, in seconds of the steady rate. What is urgent may overdraw by as much again."""


class Allowance:
    """A bucket that fills at ``per_s`` and holds ``BURST_S`` of that; full at ``now_s``."""

    def __init__(self, per_s: float, now_s: float) -> None:
        self._per_s = per_s
        self._left = per_s * BURST_S
        self._at_s = now_s

    def pay(self, cost: int, now_s: float, *, is_urgent: bool = False) -> float:
        """Take ``cost`` from it; how many seconds whoever brought it must be held up."""
        refilled = self._left + (now_s - self._at_s) * self._per_s
        self._left = min(self._per_s * BURST_S, refilled) - cost
        self._at_s = now_s
        return max(0.0, -self._left / self._per_s - (BURST_S if is_urgent else 0.0))

"""``python -m server.backtest_worker``: one backtest in a process of its own, for the core.

A job on stdin, one JSON line; then lines on stdout: ``{"progress": ...}`` as it goes, and at last
``{"report": ...}`` or ``{"refused": {"code", "text"}}``. It ends when nobody reads it any more.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from fengsui.settings import Secret
from fengsui.viewer import Viewer
from server.backtest import BacktestRefused, BacktestUnavailable, Bounds, Kept, Progress, Question, backtest

NICE = 15
"""Everything else on the machine goes first."""
TELL_S = 0.3


class Job(msgspec.Struct, frozen=True):
    """What to judge, for whom."""

    kept: Kept
    viewer: Viewer
    question: Question
    bounds: Bounds

    def encode(self) -> bytes:
        """One line; it holds the store's secret, and goes nowhere but into a pipe."""
        return msgspec.json.encode(self, enc_hook=_plain) + b"\n"

    @classmethod
    def decode(cls, line: bytes) -> Job:
        """The job of a line."""
        return msgspec.json.decode(line, type=cls, dec_hook=lambda kind, text: kind(text))


def _plain(value: object) -> str:
    return value.reveal() if isinstance(value, Secret) else str(Path(str(value)))


class Teller:
    """Writes progress, not more often than anybody looks."""

    def __init__(self) -> None:
        self._told_s = -TELL_S

    def progress(self, progress: Progress) -> None:
        """Tell it, if the last time is long enough ago."""
        if time.monotonic() - self._told_s >= TELL_S:
            self._told_s = time.monotonic()
            self.tell({"progress": progress})

    def tell(self, line: dict[str, Any]) -> None:
        """Write a line."""
        sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
        sys.stdout.buffer.flush()


def main() -> int:
    """Do the job; 1 when nobody wants to know any more."""
    os.nice(NICE)
    job = Job.decode(sys.stdin.buffer.readline())
    teller = Teller()
    try:
        try:
            report = asyncio.run(backtest(job.kept, job.viewer, job.question, teller.progress, job.bounds))
        except BacktestRefused as error:
            teller.tell({"refused": {"code": "invalid", "text": str(error)}})
        except BacktestUnavailable as error:
            teller.tell({"refused": {"code": "unavailable", "text": str(error)}})
        else:
            teller.tell({"report": report})
    except BrokenPipeError:
        os._exit(1)  # stdout cannot be flushed any more
    return 0


if __name__ == "__main__":
    sys.exit(main())

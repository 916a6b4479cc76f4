"""``python -m server.backtest_worker``: one backtest in a process of its own, for the core."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from alerting.backtest.report import Report
from fengsui.settings import Secret
from fengsui.viewer import Viewer
from server.backtest import Bounds, Kept, Question, backtest
from server.errand import Progress, serve


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


def work(line: bytes, progress: Callable[[Progress], None]) -> Report:
    """Do the job of a line."""
    job = Job.decode(line)
    return asyncio.run(backtest(job.kept, job.viewer, job.question, progress, job.bounds))


if __name__ == "__main__":
    sys.exit(serve(work))

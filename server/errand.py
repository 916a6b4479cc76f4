"""The process of an errand: a job on stdin, one line; then on stdout what comes of it, JSON line by line.

``{"progress": ...}`` as it goes, at last ``{"report": ...}`` or ``{"refused": {"code", "text"}}``. It ends
when nobody reads it any more.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec

from fengsui.errors import FengsuiError, Unavailable

NICE = 15
"""Everything else on the machine goes first."""
TELL_S = 0.3


class Progress(msgspec.Struct, frozen=True):
    """How far it is."""

    at_us: int
    """Everything before this is judged."""
    readings: int


class _Teller:
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


def serve(work: Callable[[bytes, Callable[[Progress], None]], object]) -> int:
    """Do the job by ``work``, which is given its line and whom to tell progress, and returns the report.

    Returns:
        The exit code: 1 when nobody wants to know any more.
    """
    os.nice(NICE)
    teller = _Teller()
    try:
        try:
            report = work(sys.stdin.buffer.readline(), teller.progress)
        except Unavailable as error:
            teller.tell({"refused": {"code": "unavailable", "text": str(error)}})
        except FengsuiError as error:
            teller.tell({"refused": {"code": "invalid", "text": str(error)}})
        else:
            teller.tell({"report": report})
    except BrokenPipeError:
        os._exit(1)  # stdout cannot be flushed any more
    return 0

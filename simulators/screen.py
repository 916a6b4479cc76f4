"""What a long command tells its person meanwhile: lines on stderr, the last of which is written over."""

from __future__ import annotations

import sys
import time

_LINE_EVERY_S = 5.0


class Screen:
    """Lines on stderr; progress stands in place on a terminal and is a line every few seconds elsewhere."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._said_s = time.monotonic()

    def tell(self, text: str) -> None:
        """A line that stays."""
        clear = "\r\033[K" if self._is_terminal else ""
        sys.stderr.write(f"{clear}{text}\n")
        sys.stderr.flush()

    def progress(self, text: str) -> None:
        """How far it is."""
        if self._is_terminal:
            sys.stderr.write(f"\r\033[K{text}")
            sys.stderr.flush()
        elif time.monotonic() - self._said_s >= _LINE_EVERY_S:
            self._said_s = time.monotonic()
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()

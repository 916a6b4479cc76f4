"""A web server inside a process of ours: uvicorn, whose signals and end belong to us."""

from __future__ import annotations

import contextlib
from collections.abc import Generator

import uvicorn


class Server(uvicorn.Server):
    """uvicorn, but signals belong to ``fengsui.runtime``: ``should_exit`` ends it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave the signals alone."""
        yield

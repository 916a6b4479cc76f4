"""What stands before InfluxDB: passes requests on, or answers in its place, and writes down what came."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from tests.rawhttp import Request, pass_on, raw_server

Say = Callable[[Request], Awaitable[bytes | None]]
"""The answer to a write, None to say nothing for ever."""


class Write(NamedTuple):
    """A write as it came in."""

    at_s: float
    body: bytes


class Front:
    """A stand-in for the database's own front door.

    Attributes:
        say: What a write is answered; None: passed on, like everything else.
        writes: The writes that came since it was last emptied.
    """

    def __init__(self) -> None:
        self.say: Say | None = None
        self.writes: list[Write] = []
        self._port = 0

    async def ask_database(self, request: Request) -> bytes:
        """The database's own answer."""
        return await pass_on(self._port, request)

    async def _answer(self, request: Request) -> bytes | None:
        if request.path != "/write":
            return await self.ask_database(request)
        self.writes.append(Write(time.monotonic(), request.body))
        return await (self.say or self.ask_database)(request)

    @asynccontextmanager
    async def before(self, port: int) -> AsyncIterator[int]:
        """Stand before a database; the port of this front."""
        self._port = port
        async with raw_server(self._answer) as server:
            yield server.port

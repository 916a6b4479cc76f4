"""The core under test: its process, and a client of its local socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.servers import Process

EVERYBODY = {"person": "ledger", "roles": ["admin"], "units": None}
_LINE = 1 << 20


class CoreError(Exception):
    """The core answered a request with an error; ``code`` is its word for it."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code


class Line:
    """One connection to the core's socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._id = 0

    async def ask(self, what: str, *, timeout_s: float = 10, **arguments: Any) -> Any:
        """One request; pushes that come before its answer are dropped."""
        self._id += 1
        request = {"id": self._id, "do": what, "viewer": EVERYBODY, **arguments}
        self._writer.write(json.dumps(request).encode() + b"\n")
        async with asyncio.timeout(timeout_s):
            while (answer := await self._next()).get("id") != self._id:
                pass
        if "error" in answer:
            raise CoreError(answer["error"]["code"], answer["error"]["text"])
        return answer["ok"]

    async def pushes(self) -> AsyncIterator[dict[str, Any]]:
        """Everything that is pushed, until the connection ends."""
        while True:
            try:
                message = await self._next()
            except ConnectionError:
                return
            if "push" in message:
                yield message

    async def _next(self) -> dict[str, Any]:
        line = await self._reader.readline()
        if not line:
            raise ConnectionResetError("the core has closed its socket")
        message: dict[str, Any] = json.loads(line)
        return message


class Core:
    """The core process and its socket."""

    def __init__(self, process: Process, socket: Path) -> None:
        self.process = process
        self.socket = socket

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Line]:
        """A connection for the length of the block."""
        reader, writer = await asyncio.open_unix_connection(str(self.socket), limit=_LINE)
        try:
            yield Line(reader, writer)
        finally:
            writer.transport.abort()

    async def ask(self, what: str, **arguments: Any) -> Any:
        """One request on a connection of its own."""
        async with self.connect() as line:
            return await line.ask(what, **arguments)

    async def answers(self) -> bool:
        """Whether it serves its socket."""
        try:
            await self.ask("status", timeout_s=2)
        except (OSError, TimeoutError):
            return False
        return True

    async def journalled(self) -> int:
        """How many entries its journal has."""
        ends: dict[str, int] = (await self.ask("status"))["server"]["journal"]["end"]
        return sum(ends.values())

    async def waiting(self) -> int | None:
        """Readings in the journal that the store does not have yet; None while nobody answers."""
        try:
            status = await self.ask("status")
        except (OSError, TimeoutError):
            return None
        waiting: list[int] = [balance["waiting"] for balance in status["store_balance"]]
        return sum(waiting)

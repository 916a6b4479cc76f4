"""The console's line to the core: one Unix socket, newline-delimited JSON, reconnecting, bounded.

Request ``{"id", "do", "viewer", ...}``, answer ``{"id", "ok"}`` or ``{"id", "error"}``, and pushes
``{"push": "alarm" | "readings" | "status", ...}`` in between. What the core says of an alarm or a
status is kept as raw JSON and handed on as it came.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import msgspec
import structlog

from console.errors import Code, CoreError, CoreLost
from fengsui.viewer import Viewer

log = structlog.get_logger("console.core")

MAX_LINE = 16 * 1024 * 1024
"""Longest answer read, bytes: a snapshot of some 20,000 open alarms."""

MAX_REQUEST = 1024 * 1024
MAX_PENDING = 256
ANSWER_S = 5.0
SLOW = {"start_fire": 12.0, "accept": 15.0, "check_rules": 60.0, "replace_rules": 60.0}
"""Requests that take longer: a gateway answers, dead letters are replayed, rules are tested."""
BACKOFF_S = (0.1, 2.0)
SILENT_S = 5.0
"""The core pushes its status every second; a line silent for so long is dead and opened again."""


class Refusal(msgspec.Struct):
    """Why the core refused a request."""

    code: Code
    text: str
    changed: msgspec.Raw = msgspec.Raw(b"null")


class Line(msgspec.Struct):
    """One line from the core: an answer (``id``) or a push (``push``)."""

    id: int | None = None
    ok: msgspec.Raw = msgspec.Raw(b"null")
    error: Refusal | None = None
    push: str | None = None
    number: int | None = None
    recorded: bool = True
    alarm: msgspec.Raw = msgspec.Raw(b"null")
    rows: list[tuple[str, int, float | None, int, int]] = []
    status: msgspec.Raw = msgspec.Raw(b"null")


class Listener(Protocol):
    """Who is told what the core says; neither call may block."""

    def opened(self) -> None:
        """The line is open (again): what was missed must be asked for."""

    def pushed(self, line: Line) -> None:
        """The core pushed something."""


class Core:
    """The line itself.

    Attributes:
        heard_s: When the core last said anything, monotonic seconds; None before the first word.
        closed_s: Since when the line is closed, monotonic seconds; None while it is open.
        opened: How often it was opened.
    """

    def __init__(self, path: Path, monotonic_s: Callable[[], float]) -> None:
        self._path = path
        self._monotonic_s = monotonic_s
        self._writer: asyncio.StreamWriter | None = None
        self._waiting: dict[int, asyncio.Future[msgspec.Raw]] = {}
        self._next = 0
        self.heard_s: float | None = None
        self.closed_s: float | None = monotonic_s()
        self.opened = 0

    async def run(self, listener: Listener) -> None:
        """Keep the line open until cancelled; errors of the line are logged when they change."""
        said = ""
        wait_s = BACKOFF_S[0]
        while True:
            try:
                async with asyncio.timeout(5.0):
                    reader, writer = await asyncio.open_unix_connection(self._path, limit=MAX_LINE)
                said, wait_s = "", BACKOFF_S[0]
                await self._talk(reader, writer, listener)
                why = "closed by the core"
            except (OSError, TimeoutError, ValueError, msgspec.DecodeError) as error:
                why = f"{type(error).__name__}: {error}"
            if why != said:
                log.warning("core_unreachable", socket=str(self._path), why=why)
                said = why
            await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))
            wait_s = min(wait_s * 2, BACKOFF_S[1])

    async def request(self, do: str, viewer: Viewer, **arguments: Any) -> msgspec.Raw:
        """Ask the core, as ``viewer``; the answer as raw JSON.

        Raises:
            CoreError: it refused.
            CoreLost: there is no line, no room for one more question, or no answer in time. Whether
                the core did what was asked is then not known.
        """
        writer = self._writer
        if writer is None:
            raise CoreLost("The core is not reachable.")
        if len(self._waiting) >= MAX_PENDING:
            raise CoreLost("Too many questions are waiting for the core.")
        self._next += 1
        number = self._next
        line = msgspec.json.encode({"id": number, "do": do, "viewer": viewer, **arguments})
        if len(line) > MAX_REQUEST:
            raise CoreError("invalid", "The request is too long.")
        answer: asyncio.Future[msgspec.Raw] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            writer.write(line + b"\n")
            async with asyncio.timeout(SLOW.get(do, ANSWER_S)):
                await writer.drain()
                return await answer
        except TimeoutError:
            raise CoreLost("The core did not answer in time.") from None
        except OSError as error:
            raise CoreLost("The core is not reachable.") from error
        finally:
            self._waiting.pop(number, None)

    async def _talk(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, listener: Listener
    ) -> None:
        self._writer, self.closed_s = writer, None
        self.opened += 1
        try:
            listener.opened()
            while True:
                async with asyncio.timeout(SILENT_S):
                    text = await reader.readline()
                if not text:
                    return
                self.heard_s = self._monotonic_s()
                line = msgspec.json.decode(text, type=Line)
                if line.push is not None:
                    listener.pushed(line)
                elif line.id in self._waiting:
                    self._answer(self._waiting.pop(line.id), line)
        finally:
            self._writer, self.closed_s = None, self._monotonic_s()
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(CoreLost("The core went away before it answered."))
            self._waiting.clear()
            writer.close()

    @staticmethod
    def _answer(waiting: asyncio.Future[msgspec.Raw], line: Line) -> None:
        if waiting.done():
            return
        if line.error is not None:
            changed = msgspec.json.decode(line.error.changed)
            waiting.set_exception(CoreError(line.error.code, line.error.text, changed))
        else:
            # Raw points into the line that was read; a copy lets that line go.
            waiting.set_result(line.ok.copy())

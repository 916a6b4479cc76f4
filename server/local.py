"""The core's local socket: questions in, answers and news out; one JSON object per line.

A Unix socket of mode 600: who can open it is the core's own user, and every question names the person it is
asked for. News are alarm changes (never left out: who cannot keep up is cut off, and asks for a snapshot when
it returns), live readings and the status (newest wins).
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import structlog

from fengsui.viewer import Viewer
from fengsui.wire import UNREADABLE, Count

MAX_LINE = 1 << 20
_QUEUE = 20_000
_WRITE_S = 10.0
_BUFFER = 1 << 20

log = structlog.get_logger()


class Refused(Exception):
    """A question not answered as asked; ``code`` is stale, unknown, forbidden, invalid or unavailable.

    ``changed`` says of a stale one what it is now, and what has changed, by whom and when.
    """

    def __init__(self, code: str, text: str, changed: dict[str, Any] | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.changed = changed


class Question(msgspec.Struct):
    """A line that came in; what else it carries is in ``args``."""

    id: int
    do: str
    viewer: Viewer
    args: dict[str, Any] = {}


class _Numbered(msgspec.Struct):
    id: Count


Answerer = Callable[[Question], Awaitable[Any]]


class _Client:
    """One open line; bounded: what does not fit ends it."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._queue: asyncio.Queue[bytes] = asyncio.Queue(maxsize=_QUEUE)
        self._status: bytes | None = None
        self.points: frozenset[str] = frozenset()
        self.is_subscribed = False
        self.is_slow = False

    def put(self, line: bytes) -> None:
        try:
            self._queue.put_nowait(line)
        except asyncio.QueueFull:
            self.is_slow = True
            self._writer.transport.abort()

    def put_readings(self, line: bytes) -> None:
        """Live readings may be left out: the next ones are newer."""
        if self._queue.qsize() < _QUEUE // 2:
            self.put(line)

    async def write(self) -> None:
        """Write until the line ends or does not take anything for too long."""
        while True:
            lines = [await self._queue.get()]
            while not self._queue.empty() and len(lines) < 500:
                lines.append(self._queue.get_nowait())
            self._writer.write(b"".join(lines))
            async with asyncio.timeout(_WRITE_S):
                await self._writer.drain()


class Local:
    """Serves the local socket.

    Args:
        path: Where it is; made with mode 600.
        answer: Answers a question; raises ``Refused``.
    """

    def __init__(self, path: Path, answer: Answerer) -> None:
        self._path = path
        self._answer = answer
        self._clients: set[_Client] = set()
        self.cut_off = 0

    async def run(self) -> None:
        """Serve until cancelled."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            server = await asyncio.start_unix_server(self._serve, self._path, limit=MAX_LINE)
        finally:
            os.umask(before)
        try:
            await asyncio.Event().wait()
        finally:
            server.close()
            for client in list(self._clients):
                client._writer.transport.abort()
            self._path.unlink(missing_ok=True)

    @property
    def watched(self) -> frozenset[str]:
        """Ids of the points whose readings somebody wants live."""
        return frozenset().union(*(client.points for client in self._clients))

    def tell_alarm(self, number: int | None, recorded: bool, alarm: msgspec.Struct) -> None:
        """An alarm has changed: every line hears of it."""
        self._tell({"push": "alarm", "number": number, "recorded": recorded, "alarm": alarm})

    def tell_status(self, status: dict[str, Any]) -> None:
        """The status of this second."""
        self._tell({"push": "status", "status": status})

    def tell_readings(self, rows: Iterable[tuple[str, int, float | None, int, int]]) -> None:
        """Readings of watched points: id, at_us, value, quality, received_at_us."""
        rows = list(rows)
        for client in self._clients:
            wanted = [row for row in rows if row[0] in client.points]
            if wanted:
                client.put_readings(_encode({"push": "readings", "rows": wanted}))

    def _tell(self, news: dict[str, Any]) -> None:
        line = _encode(news)
        for client in list(self._clients):
            if client.is_subscribed:
                client.put(line)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.set_write_buffer_limits(high=_BUFFER)
        client = _Client(writer)
        self._clients.add(client)
        try:
            async with asyncio.TaskGroup() as tasks:
                writing = tasks.create_task(client.write(), name="local.write")
                while line := await reader.readline():
                    await self._take(client, line, tasks)
                writing.cancel()
        except* (OSError, TimeoutError, ValueError) as group:  # the line broke, hung, or was too long
            log.info("local.line_ended", reason=str(group.exceptions[0]))
        finally:
            self.cut_off += client.is_slow
            self._clients.discard(client)
            with suppress(OSError):
                writer.close()

    async def _take(self, client: _Client, line: bytes, tasks: asyncio.TaskGroup) -> None:
        try:
            args = msgspec.json.decode(line, type=dict[str, Any])
            known: dict[str, Any] = {key: args.pop(key) for key in ("id", "do", "viewer") if key in args}
            question = msgspec.convert(known | {"args": args}, Question)
        except UNREADABLE as error:
            client.put(_refusal(_number_in(line), Refused("invalid", str(error))))
            return
        if question.do == "subscribe":
            points = question.args.get("points", [])
            if not isinstance(points, list) or not all(isinstance(p, str) for p in points):
                client.put(_refusal(question.id, Refused("invalid", "points is a list of point ids")))
                return
            client.points = frozenset(points)
            client.is_subscribed = True
            client.put(_encode({"id": question.id, "ok": True}))
            return
        tasks.create_task(self._reply(client, question), name=f"local.{question.do}"[:40])

    async def _reply(self, client: _Client, question: Question) -> None:
        try:
            client.put(_encode({"id": question.id, "ok": await self._answer(question)}))
        except Refused as refused:
            client.put(_refusal(question.id, refused))


def _number_in(line: bytes) -> int | None:
    """The number of a question that is none: who asked waits for an answer to it. None when it has none.

    JSON has texts that no UTF-8 can hold (half of a surrogate pair), and they make a whole line unreadable.
    """
    try:
        return msgspec.convert(json.loads(line), _Numbered).id
    except (ValueError, RecursionError, msgspec.ValidationError):
        return None


def _refusal(number: int | None, refused: Refused) -> bytes:
    error: dict[str, Any] = {"code": refused.code, "text": str(refused)}
    if refused.changed is not None:
        error["changed"] = refused.changed
    return _encode({"id": number, "error": error})


def _encode(value: dict[str, Any]) -> bytes:
    return _json.encode(value) + b"\n"


_json = msgspec.json.Encoder()

"""An HTTP server for tests that can answer anything at all: codes, garbage, silence, a cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from tests.servers import HOST, http


@dataclass(frozen=True)
class Request:
    """One request as it came in."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    @property
    def lines(self) -> list[bytes]:
        """The body's lines."""
        return self.body.splitlines()


Answer = Callable[[Request], Awaitable[bytes | None]]
"""The bytes to send before the connection is closed, or None to say nothing for ever."""


@dataclass
class RawServer:
    """Where it listens and what it was asked."""

    port: int
    answer: Answer
    requests: list[Request] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://{HOST}:{self.port}"

    def writes(self) -> list[Request]:
        """The requests that wrote."""
        return [request for request in self.requests if request.path.endswith("/write")]


def reply(status: int, body: bytes = b"", **headers: str) -> bytes:
    """An HTTP answer; ``Retry_After`` names the header ``Retry-After``."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if status != 204:
        named["Content-Length"] = str(len(body))
    head = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"HTTP/1.1 {status} Because\r\nConnection: close\r\n{head}\r\n".encode() + body


async def pass_on(port: int, request: Request) -> bytes:
    """Give a request to a local server; its answer, as bytes."""
    kind = request.headers.get("content-type")
    head = [f"Content-Type: {kind}"] if kind else []
    status, body = await http(port, request.method, request.target, request.body, head=head)
    return reply(status, body)


async def read_request(reader: asyncio.StreamReader) -> Request:
    """The next request of a connection; needs ``Content-Length``, as our clients send it."""
    top, *rest = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    method, target, _ = top.split(" ")
    headers = dict(line.split(": ", 1) for line in rest if line)
    lower = {name.lower(): value for name, value in headers.items()}
    return Request(method, target, lower, await reader.readexactly(int(lower.get("content-length", "0"))))


@asynccontextmanager
async def raw_server(answer: Answer) -> AsyncIterator[RawServer]:
    """A server on a free port that answers each request by ``answer``, one for each connection."""
    holder: list[RawServer] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            request = await read_request(reader)
            holder[0].requests.append(request)
            said = await holder[0].answer(request)
            if said is None:
                await reader.read()
            else:
                writer.write(said)
                await writer.drain()
        writer.close()
        with suppress(OSError, asyncio.CancelledError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, HOST, 0, limit=16 << 20)
    holder.append(RawServer(server.sockets[0].getsockname()[1], answer))
    async with server:
        yield holder[0]

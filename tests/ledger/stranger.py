"""A gateway made of bytes: publishes whatever it is told under a broker user, right or wrong."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiomqtt
import msgspec

from fengsui import topics, wire
from fengsui.model import Kind, Lane
from tests.ledger.stack import Stack
from tests.servers import HOST

SPOOL = 0x5EED


class Stranger:
    """Speaks for a user of the broker, with numbers of its own."""

    def __init__(self, client: aiomqtt.Client, user: str) -> None:
        self.user = user
        self._client = client
        self._next = dict.fromkeys(Lane, 1)

    async def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> None:
        """Any bytes on any topic."""
        await self._client.publish(topic, payload, qos=qos, retain=retain)

    async def shout(self, topic: str, payload: bytes, *, qos: int, retain: bool = False) -> None:
        """Bytes where they may be forbidden: the broker has judged them when this returns."""
        self._client._client.publish(topic, payload, qos, retain)
        own = topics.of_gateway(self.user, "reply")
        behind = asyncio.create_task(self._client.publish(own, b"{}", qos=1, timeout=5))
        gone = self._client._disconnected  # a broker may hang up on who breaks its rules
        await asyncio.wait({behind, gone}, return_when=asyncio.FIRST_COMPLETED)
        behind.cancel()
        await asyncio.gather(behind, return_exceptions=True)

    async def drop(self) -> None:
        """Break the connection without a good-bye: the broker publishes the Will."""
        connection = self._client._client.socket()
        assert isinstance(connection, socket.socket)
        connection.shutdown(socket.SHUT_RDWR)
        await asyncio.wait({self._client._disconnected})

    async def send(self, lane: Lane, kind: Kind, body: bytes, *, gateway: str | None = None) -> int:
        """A well-numbered record with any body, under its own name or a foreign one; its seq."""
        seq = self._next[lane]
        self._next[lane] += 1
        record = wire.encode_record(kind, SPOOL, seq, 0, body)
        await self.publish(topics.of_gateway(gateway or self.user, lane), record)
        return seq

    async def committed(self, upto: Mapping[Lane, int]) -> None:
        """Wait until the server has committed these lanes up to these numbers."""
        open_ = dict(upto)
        async for message in self._client.messages:
            assert isinstance(message.payload, bytes)
            said = _committed.decode(message.payload)
            if said.spool == wire.spool_text(SPOOL) and said.upto >= open_.get(said.lane, said.upto + 1):
                del open_[said.lane]
            if not open_:
                return


@asynccontextmanager
async def stranger(
    stack: Stack, user: str, *, will: tuple[str, bytes] | None = None
) -> AsyncIterator[Stranger]:
    """A connection as ``user``, one of the stack's strangers; ``will`` is a topic and what is said on it."""
    password = (stack.folder / "secrets" / user).read_text().strip()
    async with aiomqtt.Client(
        HOST,
        stack.broker.port,
        username=user,
        password=password,
        identifier=f"{user}-{secrets.token_hex(8)}",  # one that returns at once is put off as one that flaps
        max_inflight_messages=1_000,
        will=aiomqtt.Will(will[0], will[1], qos=1) if will else None,
    ) as client:
        await client.subscribe(topics.of_gateway(user, "committed"), qos=1)
        yield Stranger(client, user)
        if client._disconnected.done():
            client._disconnected.exception()  # heard of


_committed = msgspec.json.Decoder(wire.Committed)

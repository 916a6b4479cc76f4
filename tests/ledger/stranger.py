"""A gateway made of bytes: publishes whatever it is told under a broker user, right or wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator
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

    async def publish(self, topic: str, payload: bytes, *, qos: int = 1) -> None:
        """Any bytes on any topic."""
        await self._client.publish(topic, payload, qos=qos)

    async def send(self, lane: Lane, kind: Kind, body: bytes, *, gateway: str | None = None) -> int:
        """A well-numbered record with any body, under its own name or a foreign one; its seq."""
        seq = self._next[lane]
        self._next[lane] += 1
        record = wire.encode_record(kind, SPOOL, seq, 0, body)
        await self.publish(topics.of_gateway(gateway or self.user, lane), record)
        return seq

    async def committed(self, lane: Lane, seq: int) -> None:
        """Wait until the server has committed this lane up to ``seq``."""
        async for message in self._client.messages:
            assert isinstance(message.payload, bytes)
            said = _committed.decode(message.payload)
            if said.lane == lane and said.spool == wire.spool_text(SPOOL) and said.upto >= seq:
                return


@asynccontextmanager
async def stranger(stack: Stack, user: str) -> AsyncIterator[Stranger]:
    """A connection as ``user`` (one of the stack's), which its real gateway must not use meanwhile."""
    password = (stack.folder / "secrets" / user).read_text().strip()
    async with aiomqtt.Client(
        HOST,
        stack.broker.port,
        username=user,
        password=password,
        identifier=f"{user}-stranger",
        max_inflight_messages=1_000,
    ) as client:
        await client.subscribe(topics.of_gateway(user, "committed"), qos=1)
        yield Stranger(client, user)


_committed = msgspec.json.Decoder(wire.Committed)

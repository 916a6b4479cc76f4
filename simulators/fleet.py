"""A fleet for load: many gateways that speak the real wire, with records made from a number instead of kept.

A record is a function of its seq (one sweep of all points, ``period_us`` after the one before), so a member
can send anything again without having stored it, and a run of any length needs no disk. The body is encoded
once; each record gets its own time and checksum. What is sent when is decided by the gateway's own
``LaneSender``: window, resend and slow start are the real ones.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from fengsui import topics
from fengsui.model import Clock, Kind, Lane, Reading
from fengsui.mqtt import Backoff, Connection, Disconnected, connect
from fengsui.settings import Broker
from fengsui.wire import Committed, Hello, LaneState, encode_readings, encode_record, spool_text
from gateway.lane import LaneSender

_LANE = Lane.TELEMETRY
_TIME = struct.Struct(">Q")
_TIME_KEY = b"\xa2t0\xcf"
"""MessagePack of the key ``t0`` and of the byte that says *uint64*: the eight bytes of the time follow."""
_MIN_US = 2**32
"""Below this, ``t0`` would take fewer bytes."""


class Template:
    """Records of one gateway: ``points`` readings each, ``period_us`` apart, from ``begin_us`` on."""

    def __init__(self, *, points: int, begin_us: int, period_us: int, value: float = 21.5) -> None:
        if begin_us < _MIN_US:
            raise ValueError(f"begin_us {begin_us} is too early; give microseconds since 1970")
        self.names = [f"p{i:03d}" for i in range(points)]
        self._begin_us = begin_us
        self._period_us = period_us
        body = encode_readings([Reading(name, begin_us, value) for name in self.names], Clock.SYNCED)
        at = body.index(_TIME_KEY) + len(_TIME_KEY)
        self._head, self._tail = body[:at], body[at + _TIME.size :]

    def record(self, spool: int, seq: int) -> bytes:
        """The record of this number; the same at every sending."""
        stamp = _TIME.pack(self._begin_us + (seq - 1) * self._period_us)
        return encode_record(Kind.READINGS, spool, seq, 0, self._head + stamp + self._tail)


@dataclass(slots=True)
class Tally:
    """What a member has done: records made, sendings (more than made after a resend), records committed."""

    made: int = 0
    sent: int = 0
    committed: int = 0


class Member:
    """One gateway of the fleet.

    Args:
        gateway: Its name, equal to its broker user.
        broker: Where to connect.
        template: Its records.
        spool: Its spool identity; another one for every run.
        records: How many to send.
        rate_per_s: Records made per second; None makes all of them at once.
    """

    def __init__(
        self,
        gateway: str,
        broker: Broker,
        template: Template,
        *,
        spool: int,
        records: int,
        rate_per_s: float | None = None,
    ) -> None:
        self.gateway = gateway
        self.tally = Tally()
        self._broker = broker
        self._template = template
        self._spool = spool
        self._records = records
        self._rate_per_s = rate_per_s
        self._sender = LaneSender(_LANE)
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Send until every record is committed, through any number of lost connections."""
        backoff = Backoff(first_s=0.2, most_s=5.0)
        begin_s = time.monotonic()
        while self.tally.committed < self._records:
            try:
                async with connect(self._broker, self.gateway) as connection:
                    await self._converse(connection, begin_s)
                    backoff.reset()
            except* Disconnected:
                await asyncio.sleep(backoff.pause_s())

    async def _converse(self, connection: Connection, begin_s: float) -> None:
        await connection.subscribe(topics.of_gateway(self.gateway, "committed"))
        self._sender.connected(time.monotonic())
        connection.send(topics.of_gateway(self.gateway, "status"), msgspec.json.encode(self._hello()))
        async with asyncio.TaskGroup() as tasks:
            listening = tasks.create_task(self._listen(connection), name=f"{self.gateway}.listen")
            await self._send(connection, begin_s)
            listening.cancel()

    async def _send(self, connection: Connection, begin_s: float) -> None:
        topic = topics.of_gateway(self.gateway, _LANE)
        while self.tally.committed < self._records:
            self._wake.clear()
            now_s = time.monotonic()
            self.tally.made = self._made(now_s - begin_s)
            self._sender.check(now_s)
            due = self._sender.due(now_s, self.tally.made + 1)
            for seq in due:
                connection.send(topic, self._template.record(self._spool, seq))
                self._sender.sent(seq, now_s)
            self.tally.sent += len(due)
            try:
                async with asyncio.timeout(min(self._sender.wait_s(now_s), self._next_in_s(now_s - begin_s))):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _listen(self, connection: Connection) -> None:
        while True:
            for message in await connection.receive():
                committed = msgspec.json.decode(message.payload, type=Committed)
                if committed.lane is _LANE and committed.spool == spool_text(self._spool):
                    self._sender.confirmed(committed, time.monotonic())
                    self.tally.committed = self._sender.upto
                    self._wake.set()

    def _made(self, elapsed_s: float) -> int:
        if self._rate_per_s is None:
            return self._records
        return min(self._records, int(elapsed_s * self._rate_per_s))

    def _next_in_s(self, elapsed_s: float) -> float:
        """Until the next record is made; at least 1 ms, so that high rates go out in small bursts."""
        if self._rate_per_s is None or self.tally.made >= self._records:
            return 1.0
        return max(0.001, (self.tally.made + 1) / self._rate_per_s - elapsed_s)

    def _hello(self) -> Hello:
        committed, made = self.tally.committed, self.tally.made
        lanes = {
            Lane.ALARM: LaneState(first=1, next=1, bytes=0, oldest_age_ms=0),
            _LANE: LaneState(first=committed + 1, next=made + 1, bytes=0, oldest_age_ms=0),
        }
        return Hello(spool=spool_text(self._spool), lanes=lanes, fresh=True, points=len(self._template.names))


async def run_fleet(members: Sequence[Member], on_second: Callable[[Tally], None] | None = None) -> Tally:
    """Run every member until all is committed; ``on_second`` is told the sum so far, once a second."""
    async with asyncio.TaskGroup() as tasks:
        work = [tasks.create_task(member.run(), name=f"fleet.{member.gateway}") for member in members]
        while on_second is not None and not all(task.done() for task in work):
            await asyncio.wait(work, timeout=1.0)
            on_second(_sum(members))
    return _sum(members)


def _sum(members: Sequence[Member]) -> Tally:
    tallies = [member.tally for member in members]
    return Tally(
        made=sum(tally.made for tally in tallies),
        sent=sum(tally.sent for tally in tallies),
        committed=sum(tally.committed for tally in tallies),
    )

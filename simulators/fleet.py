"""A fleet for load: many gateways that speak the real wire, with records made from a number instead of kept.

A record is a function of its seq (so many points of a sweep over all of them), so a member can send anything
again without having stored it, and a run of any length needs no disk. The bodies are encoded once and shared
by the fleet; each record gets its own time and checksum. What is sent when is decided by the gateway's own
``LaneSender``: window, resend and slow start are the real ones.
"""

from __future__ import annotations

import asyncio
import math
import struct
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields

import msgspec

from fengsui import topics
from fengsui.model import Clock, Kind, Lane, Quality, Reading
from fengsui.mqtt import Backoff, Connection, Disconnected, connect
from fengsui.runtime import Stop
from fengsui.settings import Broker
from fengsui.wire import Committed, Hello, LaneState, encode_readings, encode_record, spool_text
from gateway.lane import LaneSender
from gateway.uplink import HEARTBEAT_S
from ingest.inventory import Row, Sort

UNIT = "load"
MOST_PER_RECORD = 200
"""Readings in a record; a gateway groups no more either."""
DRAIN_S = 60.0
_LANE = Lane.TELEMETRY
_TIME = struct.Struct(">Q")
_TIME_KEY = b"\xa2t0\xcf"
"""MessagePack of the key ``t0`` and of the byte that says *uint64*: the eight bytes of the time follow."""
_MIN_US = 2**32
"""Below this, ``t0`` would take fewer bytes."""
CALM = tuple(round(21.5 + 0.5 * math.sin(2 * math.pi * n / 64), 3) for n in range(64))
"""Room temperatures, degC, sweep by sweep: no alarm in them, and nothing that is stuck."""


class Template:
    """Records of one gateway, the same for all gateways of a fleet.

    Args:
        points: How many; named ``p000`` and so on.
        begin_us: Stamp of the first sweep, us since 1970 UTC.
        period_us: From one sweep over all points to the next.
        values: What all points measure, sweep by sweep, and then again.
        quality: Of every reading.
        per_record: Readings in a record, at most.

    Attributes:
        records: In a sweep.
    """

    def __init__(
        self,
        *,
        points: int,
        begin_us: int,
        period_us: int,
        values: Sequence[float] = CALM,
        quality: Quality = Quality.SIMULATED,
        per_record: int = MOST_PER_RECORD,
    ) -> None:
        if begin_us < _MIN_US:
            raise ValueError(f"begin_us {begin_us} is too early; give microseconds since 1970")
        self.names = names(points)
        self._begin_us = begin_us
        self._period_us = period_us
        parts = [self.names[at : at + per_record] for at in range(0, points, per_record)]
        self.records = len(parts)
        self._parts = [len(part) for part in parts]
        self._bodies = [
            [self._body([Reading(name, begin_us, value, quality) for name in part]) for part in parts]
            for value in values
        ]

    def record(self, spool: int, seq: int, age_ms: int = 0) -> bytes:
        """The record of this number; but for its age the same at every sending."""
        sweep, part = divmod(seq - 1, self.records)
        head, tail = self._bodies[sweep % len(self._bodies)][part]
        stamp = _TIME.pack(self._begin_us + sweep * self._period_us)
        return encode_record(Kind.READINGS, spool, seq, age_ms, head + stamp + tail)

    def readings(self, records: int) -> int:
        """Readings in the first so many records."""
        sweeps, rest = divmod(records, self.records)
        return sweeps * len(self.names) + sum(self._parts[:rest])

    def taken(self, elapsed_s: float) -> int:
        """Records that can have been taken in so many seconds, if the first stamp is now."""
        return (int(elapsed_s * 1e6) // self._period_us + 1) * self.records

    @staticmethod
    def _body(readings: Sequence[Reading]) -> tuple[bytes, bytes]:
        body = encode_readings(readings, Clock.SYNCED)
        at = body.index(_TIME_KEY) + len(_TIME_KEY)
        return body[:at], body[at + _TIME.size :]


@dataclass(slots=True)
class Tally:
    """What a member, or a fleet, has done; records, readings where it says so."""

    made: int = 0
    """As fast as it can: those that were sent, each counted once."""
    sent: int = 0
    """Sendings: more than there are records after a resend."""
    committed: int = 0
    readings: int = 0
    """Readings committed."""
    connected: int = 0
    """Members that have a connection to the broker."""

    @property
    def waiting(self) -> int:
        """Made, and not committed."""
        return self.made - self.committed


class Member:
    """One gateway of the fleet.

    Args:
        gateway: Its name, equal to its broker user.
        broker: Where to connect.
        template: Its records.
        spool: Its spool identity; another one for every run.
        records: How many to send; None: until ``finish``.
        rate_per_s: Records made per second. None makes all ``records`` at once, or without a number of
            them one whenever the server's window has room for it.
        phase: Share of a record by which it is ahead, so that a fleet is not one burst; below 1.

    Attributes:
        trouble: Why it has no connection; empty while it has one.
    """

    def __init__(
        self,
        gateway: str,
        broker: Broker,
        template: Template,
        *,
        spool: int,
        records: int | None = None,
        rate_per_s: float | None = None,
        phase: float = 0.0,
    ) -> None:
        self.gateway = gateway
        self.tally = Tally()
        self.trouble = ""
        self._broker = broker
        self._template = template
        self._spool = spool
        self._last = records
        self._rate_per_s = rate_per_s
        self._phase = phase
        self._sender = LaneSender(_LANE)
        self._wake = asyncio.Event()
        self._begin_s = 0.0

    def finish(self) -> None:
        """Make no more records; ``run`` returns when those there are have been committed."""
        self._make()
        self._last = self.tally.made
        self._wake.set()

    @property
    def is_done(self) -> bool:
        """Is everything committed, and nothing more to come?"""
        return self._last is not None and self.tally.committed >= self._last

    async def run(self) -> None:
        """Send until every record is committed, through any number of lost connections."""
        backoff = Backoff(first_s=0.2, most_s=5.0)
        self._begin_s = time.monotonic()
        while not self.is_done:
            try:
                async with connect(self._broker, self.gateway) as connection:
                    self.tally.connected, self.trouble = 1, ""
                    await self._converse(connection)
                    backoff.reset()
            except* Disconnected as errors:
                self.trouble = str(errors.exceptions[0])
                self.tally.connected = 0
                await asyncio.sleep(backoff.pause_s())

    async def _converse(self, connection: Connection) -> None:
        await connection.subscribe(topics.of_gateway(self.gateway, "committed"))
        self._sender.connected(time.monotonic())
        self._greet(connection, fresh=True)
        async with asyncio.TaskGroup() as tasks:
            others = [
                tasks.create_task(self._listen(connection), name=f"{self.gateway}.listen"),
                tasks.create_task(self._heartbeat(connection), name=f"{self.gateway}.heartbeat"),
            ]
            await self._send(connection)
            for task in others:
                task.cancel()
        self._greet(connection)  # so that the server's balance ends where ours does

    async def _send(self, connection: Connection) -> None:
        topic = topics.of_gateway(self.gateway, _LANE)
        while not self.is_done:
            self._wake.clear()
            now_s = time.monotonic()
            end = self._make() + 1
            self._sender.check(now_s)
            due = self._sender.due(now_s, end)
            for seq in due:
                connection.send(topic, self._template.record(self._spool, seq, self._age_ms(seq, now_s)))
                self._sender.sent(seq, now_s)
            self.tally.sent += len(due)
            self.tally.made = max(self.tally.made, *due, 0)
            with suppress(TimeoutError):
                async with asyncio.timeout(min(self._sender.wait_s(now_s), self._next_in_s(now_s, end))):
                    await self._wake.wait()

    async def _listen(self, connection: Connection) -> None:
        while True:
            for message in await connection.receive():
                committed = msgspec.json.decode(message.payload, type=Committed)
                if committed.lane is _LANE and committed.spool == spool_text(self._spool):
                    self._sender.confirmed(committed, time.monotonic())
                    self.tally.committed = self._sender.upto
                    self.tally.readings = self._template.readings(self._sender.upto)
                    self._wake.set()

    async def _heartbeat(self, connection: Connection) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            self._greet(connection)

    def _make(self) -> int:
        """Make what is due; the newest number there may be."""
        elapsed_s = time.monotonic() - self._begin_s
        if self._rate_per_s is None:
            if self._last is None:
                return self._template.taken(elapsed_s)  # not counted as made before there is room for it
            made = self._last
        else:
            made = int(elapsed_s * self._rate_per_s + self._phase)
            made = made if self._last is None else min(made, self._last)
        self.tally.made = max(self.tally.made, made)
        return self.tally.made

    def _age_ms(self, seq: int, now_s: float) -> int:
        """How long a record has waited; one that was made to be a backlog is as old as its sending."""
        if self._rate_per_s is None:
            return 0
        return max(0, round((now_s - self._due_s(seq, self._rate_per_s)) * 1000))

    def _next_in_s(self, now_s: float, end: int) -> float:
        """Until the next record is made; at least 1 ms, so that high rates go out in small bursts."""
        if self._last is not None and end > self._last:
            return 1.0
        if self._rate_per_s is None:
            return 0.05
        return max(0.001, self._due_s(end, self._rate_per_s) - now_s)

    def _due_s(self, seq: int, rate_per_s: float) -> float:
        return self._begin_s + (seq - self._phase) / rate_per_s

    def _greet(self, connection: Connection, *, fresh: bool = False) -> None:
        committed, made = self.tally.committed, self.tally.made
        lanes = {
            Lane.ALARM: LaneState(first=1, next=1, bytes=0, oldest_age_ms=0),
            _LANE: LaneState(first=committed + 1, next=made + 1, bytes=0, oldest_age_ms=0),
        }
        hello = Hello(
            spool=spool_text(self._spool), lanes=lanes, fresh=fresh, points=len(self._template.names)
        )
        connection.send(topics.of_gateway(self.gateway, "status"), msgspec.json.encode(hello))


async def run_fleet(members: Sequence[Member], on_second: Callable[[Tally], None] | None = None) -> Tally:
    """Run every member until all is committed; ``on_second`` is told the sum so far, once a second."""
    async with asyncio.TaskGroup() as tasks:
        work = [tasks.create_task(member.run(), name=f"fleet.{member.gateway}") for member in members]
        while on_second is not None and not all(task.done() for task in work):
            await asyncio.wait(work, timeout=1.0)
            on_second(total(members))
    return total(members)


async def load(
    members: Sequence[Member],
    for_s: float,
    stop: Stop,
    on_second: Callable[[Tally], None],
    *,
    drain_s: float = DRAIN_S,
) -> Tally:
    """Run members without an end of their own for a time; what they were left with is ``waiting``.

    Args:
        members: The fleet.
        for_s: Seconds in which records are made.
        stop: Ends that earlier.
        on_second: Told the sum so far, once a second.
        drain_s: So long the server may take for what is not committed yet.
    """
    running = asyncio.create_task(run_fleet(members, on_second), name="fleet")
    ending = asyncio.create_task(stop.wait(), name="fleet.stop")
    try:
        await asyncio.wait([running, ending], timeout=for_s, return_when=asyncio.FIRST_COMPLETED)
        for member in members:
            member.finish()
        await asyncio.wait([running], timeout=drain_s)
    finally:
        left = total(members)
        for task in (running, ending):
            task.cancel()
        await asyncio.wait([running, ending])
    if not running.cancelled() and (error := running.exception()):
        raise error
    return left


def total(members: Iterable[Member]) -> Tally:
    """The sum over a fleet."""
    tallies = [member.tally for member in members]
    return Tally(**{each.name: sum(getattr(tally, each.name) for tally in tallies) for each in fields(Tally)})


def names(points: int) -> list[str]:
    """Names of a member's points."""
    return [f"p{i:03d}" for i in range(points)]


def registered(gateways: Sequence[str], points: int) -> list[Row]:
    """Rows that register a fleet with so many points a gateway; a point's id is ``<gateway>.<name>``."""
    of_unit = [(Sort.UNIT, {"id": UNIT, "name": "负载 Load"})]
    of_buildings = [(Sort.BUILDING, {"id": g, "name": g, "unit": UNIT}) for g in gateways]
    of_points = [
        (
            Sort.POINT,
            {
                "id": f"{gateway}.{name}",
                "gateway": gateway,
                "name": name,
                "quantity": "temperature",
                "uom": "degC",
                "building": gateway,
            },
        )
        for gateway in gateways
        for name in names(points)
    ]
    return [Row(line, *row) for line, row in enumerate([*of_unit, *of_buildings, *of_points], 1)]

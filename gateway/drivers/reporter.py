"""A transmitter's line to a centre, TCP or UDP: for a forwarder to another centre, and for simulated panels.

Reports wait in a bounded queue, fires first, until the centre has confirmed them; a lost link or a centre
that does not answer is tried again for ever. When there is no room the oldest report is dropped and counted,
a fire only when there is nothing else.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

import structlog

from fengsui.mqtt import Backoff
from gateway.codecs.gbt26875.device import Answer, Device
from gateway.codecs.gbt26875.exchange import Exchange, Retry, Sent
from gateway.codecs.gbt26875.frame import Frame
from gateway.codecs.gbt26875.stream import Stream
from gateway.codecs.gbt26875.unit import Unit
from gateway.drivers.base import Pace
from gateway.drivers.config import Forward, known_profile

QUEUED = 1000
IN_FLIGHT = 4
URGENT_IN_FLIGHT = 12
"""Reports sent and not confirmed; the next one waits, a fire not behind others."""
TURN_S = 0.2
CONNECT_S = 10.0

log = structlog.get_logger()


class Report(NamedTuple):
    """What is to be told."""

    unit: bytes
    source: int | None = None
    """Whose address it carries; None = our own."""
    is_urgent: bool = False

    @staticmethod
    def of(data: bytes, unit: Unit, source: int | None = None) -> Report:
        """A unit, unchanged, and what it says. One that nobody can read may be a fire."""
        is_urgent = not unit.is_known or any("fire" in unit.flags(item) for item in unit.objects)
        return Report(data, source, is_urgent)


class Reporter(asyncio.Protocol, asyncio.DatagramProtocol):
    """Keeps a line to a centre and reports on it.

    Args:
        config: Where the centre is and how it speaks.
        pace: Time.
        answer: What we say when we are asked; by default nothing.
        control: Told of a control command of the centre.
        retry: When to send again.
    """

    def __init__(
        self,
        config: Forward,
        pace: Pace,
        answer: Answer = lambda type_, item: None,
        control: Callable[[Unit], None] = lambda unit: None,
        retry: Retry | None = None,
    ) -> None:
        profile = known_profile(config.profile)
        exchange = Exchange(config.address or 0, config.centre, profile, retry)
        self.device = Device(exchange, answer)
        self.confirmed = 0
        self.dropped = 0
        self.is_linked = False
        self._config = config
        self._pace = pace
        self._control = control
        self._end = bytes.fromhex(profile.end)
        self._stream = Stream(self._end)
        self._urgent: deque[Report] = deque()
        self._others: deque[Report] = deque()
        self._flying: dict[int, Report] = {}
        self._transport: Any = None
        self._wake = asyncio.Event()

    @property
    def waiting(self) -> int:
        """Reports that are not confirmed yet."""
        return len(self._urgent) + len(self._others) + len(self._flying)

    def put(self, report: Report) -> None:
        """Leave a report; returns at once."""
        if len(self._urgent) + len(self._others) >= QUEUED:
            (self._others or self._urgent).popleft()
            self.dropped += 1
        (self._urgent if report.is_urgent else self._others).append(report)
        self._wake.set()

    async def run(self) -> None:
        """Keep the line and report until cancelled."""
        backoff = Backoff()
        is_told = False
        while True:
            try:
                async with asyncio.timeout(CONNECT_S):
                    await self._connect()
                backoff.reset()
                is_told = False
                await self._serve()
            except (OSError, TimeoutError) as error:
                if not is_told:
                    log.warning("gbt26875.no_centre", host=self._config.host, error=str(error) or "no answer")
                    is_told = True
            finally:
                self._hang_up()
            await self._pace.sleep(backoff.pause_s())

    # the transport's calls

    def data_received(self, data: bytes) -> None:
        """Bytes of the centre came by TCP."""
        for found in self._stream.feed(data):
            if found.frame is not None:
                self._take(found.frame)

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        """Frames of the centre came by UDP."""
        stream = Stream(self._end)
        for found in (*stream.feed(data), *stream.close()):
            if found.frame is not None:
                self._take(found.frame)

    def connection_lost(self, exc: Exception | None) -> None:
        """The line is gone."""
        self.is_linked = False
        self._wake.set()

    def error_received(self, exc: Exception) -> None:
        """Nobody listens there; what is not confirmed is sent again."""

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        host, port = self._config.host, self._config.port
        self._stream = Stream(self._end)
        made: tuple[Any, Any]
        if self._config.transport == "tcp":
            made = await loop.create_connection(partial(_same, self), host, port)
        else:
            made = await loop.create_datagram_endpoint(partial(_same, self), remote_addr=(host, port))
        self._transport = made[0]
        self.is_linked = True

    async def _serve(self) -> None:
        """Report until the line is gone."""
        while self.is_linked:
            self._wake.clear()
            self._turn()
            try:
                async with asyncio.timeout(TURN_S):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _turn(self) -> None:
        now_s, at = self._now()
        due = self.device.turn(now_s, at)
        self._failed(due.failed)
        for data in due.again:
            self._send(data)
        while (report := self._next()) is not None:
            data = self.device.report(report.unit, now_s, at, source=report.source)
            self._flying[int.from_bytes(data[2:4], "little")] = report
            self._send(data)

    def _next(self) -> Report | None:
        """The report whose turn it is; None = none, or too many are in flight."""
        flying = len(self._flying)
        if self._urgent:
            return self._urgent.popleft() if flying < URGENT_IN_FLIGHT else None
        return self._others.popleft() if self._others and flying < IN_FLIGHT else None

    def _take(self, frame: Frame) -> None:
        now_s, at = self._now()
        told = self.device.receive(frame, now_s, at)
        self._failed(told.failed)
        if told.confirmed is not None and self._flying.pop(told.confirmed.serial, None) is not None:
            self.confirmed += 1
            self._wake.set()
        for data in told.replies:
            self._send(data)
        if told.control is not None:
            self._control(told.control)

    def _failed(self, failed: Sequence[Sent]) -> None:
        """Reports that the centre did not take go to the front again."""
        for sent in failed:
            report = self._flying.pop(sent.serial, None)
            if report is not None:
                (self._urgent if report.is_urgent else self._others).appendleft(report)
            if self._config.transport == "tcp":  # perhaps only this connection is dead
                self.connection_lost(None)

    def _send(self, data: bytes) -> None:
        if not self.is_linked or self._transport.is_closing():
            return
        if self._config.transport == "tcp":
            self._transport.write(data)
        else:
            self._transport.sendto(data)

    def _hang_up(self) -> None:
        self.is_linked = False
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def _now(self) -> tuple[float, datetime]:
        now_s = asyncio.get_running_loop().time()
        return now_s, datetime.fromtimestamp(self._pace.now_us() / 1e6, UTC)


def forwarder(config: Forward, pace: Pace) -> Reporter:
    """The line to another centre that hears what devices report here."""
    return Reporter(config, pace, retry=Retry(config.retry_s))


def _same(reporter: Reporter) -> Reporter:
    return reporter

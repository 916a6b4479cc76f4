"""The gateway process, put together: drivers, collector, spool, uplink, and a local socket for status."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Annotated, Any

import msgspec
import structlog

from fengsui.hold import HoldClock
from fengsui.model import Event, Kind, Lane, Reading, What
from fengsui.mqtt import Backoff
from fengsui.runtime import Stop, wall_us
from fengsui.spool import Item, Spool
from fengsui.wire import UNREADABLE, Describe, encode_body
from gateway.collect import Collector
from gateway.config import Settings
from gateway.drivers.base import Commandable, CommandRefused, Driver, Pace
from gateway.drivers.config import DriverConfig, Gbt26875, Modbus, Replay, Simulated, Siren
from gateway.drivers.recording import RecordingError
from gateway.heartbeat import Heartbeat, encode_status
from gateway.uplink import Uplink

SILENT_S = 60.0
MOST_VALID_MS = 30_000
SKEW_MS = 5_000
"""How far the server's clock may be ahead of ours; beyond, a command could act long after it was meant."""
_NONCES_KEPT = 1_000
_DESCRIBED_PER_RECORD = 200

log = structlog.get_logger()


class Command(msgspec.Struct, frozen=True):
    """One action asked of a gateway (wire contract, *Configuration and commands*); times in ms since 1970."""

    nonce: Annotated[str, msgspec.Meta(min_length=8, max_length=64)]
    issued: int
    expires: int
    what: Annotated[str, msgspec.Meta(max_length=64)]
    args: dict[str, str] = {}


def make_driver(config: DriverConfig, pace: Pace) -> Driver:
    """The driver of a configuration block; what a driver alone needs is imported only when it is used."""
    match config:
        case Simulated():
            from gateway.drivers.simulated import SimulatedDriver

            return SimulatedDriver(config, pace)
        case Replay():
            from gateway.drivers.replay import ReplayDriver

            return ReplayDriver(config, pace)
        case Modbus():
            from gateway.drivers.modbus import ModbusDriver

            return ModbusDriver(config, pace)
        case Gbt26875():
            from gateway.drivers.gbt26875 import Gbt26875Driver

            return Gbt26875Driver(config, pace)
        case Siren():
            from gateway.drivers.siren import SirenDriver

            return SirenDriver(config)


class Gateway:
    """All of a gateway but its sockets' addresses, which the settings give.

    Args:
        settings: As read from the settings file.
        drivers: In place of the configured ones (a test's, or the demo's).
        now_us: Wall clock in microseconds; for the local judgement of commands only.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        drivers: Sequence[Driver] | None = None,
        now_us: Callable[[], int] = wall_us,
    ) -> None:
        self.settings = settings
        self._now_us = now_us
        self._clock = HoldClock(settings.clock)
        self.spool = Spool(
            settings.spool.folder, quota_bytes=settings.spool.quota_mb << 20, now=self._clock.now
        )
        pace = Pace(wall_us, asyncio.sleep)
        self.drivers = (
            list(drivers) if drivers is not None else [make_driver(d, pace) for d in settings.drivers]
        )
        self._driver_states = {driver.name: "starting" for driver in self.drivers}
        self._heard: dict[str, float] = {}
        self.collector = Collector(
            self.spool,
            urgent=settings.points,
            now=self._clock.now,
            stored=lambda lane: self.uplink.stored(lane),
            group_s=settings.group_s,
        )
        self.heartbeat = Heartbeat(
            settings, self.spool, self._clock, points=self._count_points, faults=self._faults
        )
        self.uplink = Uplink(
            settings.name,
            settings.broker,
            self.spool,
            hello=self.heartbeat.hello,
            on_command=self._on_message,
            now_s=time.monotonic,
        )
        self._nonces: OrderedDict[str, None] = OrderedDict()

    async def accept(self, items: Sequence[Reading | Event]) -> None:
        """The drivers' ``Sink``: the collector, with an ear for silent points."""
        await self.collector.accept(items)
        now_s = time.monotonic()
        for item in items:
            self._heard[item.point] = now_s

    async def run(self, stop: Stop) -> None:
        """Serve until ``stop`` is set; what was accepted stays in the spool for the next start."""
        self.settings.socket.parent.mkdir(parents=True, exist_ok=True)
        self.settings.socket.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(self._tell, self.settings.socket)
        try:
            async with asyncio.TaskGroup() as tasks:
                work = [
                    tasks.create_task(self.collector.run(), name="gateway.collector"),
                    tasks.create_task(self.uplink.run(), name="gateway.uplink"),
                    tasks.create_task(self._describe(), name="gateway.describe"),
                    *(tasks.create_task(self._drive(d), name=f"driver.{d.name}") for d in self.drivers),
                ]
                await stop.wait()
                for task in work:
                    task.cancel()
        finally:
            server.close()
            self.settings.socket.unlink(missing_ok=True)
            await asyncio.to_thread(self.spool.close)

    def is_drained(self) -> bool:
        """Has the server confirmed everything that was accepted?"""
        return all(
            sender.is_answered and sender.upto == self.spool.held(lane).stop - 1
            for lane, sender in self.uplink.senders.items()
        )

    async def _drive(self, driver: Driver) -> None:
        """Run one driver for good; an error ends it alone, is told, and it begins again after a pause."""
        backoff = Backoff()
        while True:
            self._driver_states[driver.name] = "running"
            try:
                await driver.run(self)
            except RecordingError as error:  # it has an end, and this is it
                await self._report(driver, f"ended: {error}")
                return
            except Exception as error:  # the rim of a driver: whatever its device did to it stays in here
                self._driver_states[driver.name] = f"failed: {error}"
                log.exception("driver.failed", driver=driver.name)
                text = f"driver {driver.name} failed: {error}"[:200]
                await self.collector.accept(
                    [Event(f"{driver.name[:57]}:driver", wall_us(), What.FAULT, text=text)]
                )
            else:
                self._driver_states[driver.name] = "ended"
                return
            await asyncio.sleep(backoff.pause_s())

    async def _report(self, driver: Driver, state: str) -> None:
        self._driver_states[driver.name] = state
        text = f"driver {driver.name} {state}"[:200]
        await self.collector.accept(
            [Event(f"{driver.name[:57]}:driver", self._now_us(), What.FAULT, text=text)]
        )

    async def _describe(self) -> None:
        """Tell the server once per start what the points are, so that a discovered one has a unit."""
        described = [d for driver in self.drivers for d in driver.describe()]
        for at in range(0, len(described), _DESCRIBED_PER_RECORD):
            body = encode_body(Describe(described[at : at + _DESCRIBED_PER_RECORD]))
            await self.collector.store(Lane.TELEMETRY, [Item(Kind.DESCRIBE, body, 1)])

    async def _on_message(self, leaf: str, payload: bytes) -> bytes | None:
        if leaf == "desired":
            answer: dict[str, Any] = {"refused": ["this version takes its configuration from its own file"]}
        else:
            answer = self._obey(payload)
        return msgspec.json.encode(answer)

    def _obey(self, payload: bytes) -> dict[str, Any]:
        try:
            command = _command.decode(payload)
        except UNREADABLE as error:
            return {"refused": f"not a command: {error}"}
        now_ms = self._now_us() // 1000
        if not now_ms < command.expires <= min(command.issued, now_ms + SKEW_MS) + MOST_VALID_MS:
            return {"nonce": command.nonce, "refused": "expired, or meant to last longer than 30 s"}
        if command.nonce in self._nonces:
            return {"nonce": command.nonce, "refused": "this nonce was used before"}
        self._nonces[command.nonce] = None
        while len(self._nonces) > _NONCES_KEPT:
            self._nonces.popitem(last=False)
        refusals = []
        for driver in self.drivers:
            if isinstance(driver, Commandable):
                try:
                    return {"nonce": command.nonce, "done": driver.command(command.what, command.args)}
                except CommandRefused as refusal:
                    refusals.append(str(refusal))
                except Exception as error:  # the rim of a driver: a command never takes the gateway down
                    log.exception("driver.command_failed", driver=driver.name)
                    refusals.append(f"driver {driver.name} failed: {error}"[:200])
        return {"nonce": command.nonce, "refused": "; ".join(refusals) or "no driver here takes commands"}

    def _count_points(self) -> tuple[int, int]:
        now_s = time.monotonic()
        return len(self._heard), sum(now_s - at > SILENT_S for at in self._heard.values())

    def _faults(self) -> list[str]:
        faults = list(self.uplink.faults.values())
        if self.collector.full:
            faults.append("the spool is full: drivers wait")
        faults += [
            f"driver {name} {state}" for name, state in self._driver_states.items() if "failed" in state
        ]
        return faults[:20]

    async def _tell(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hello = await self.heartbeat.hello(False)
        upto = {lane: sender.upto for lane, sender in self.uplink.senders.items()}
        with suppress(ConnectionError):
            writer.write(encode_status(hello, upto, self._driver_states))
            await writer.drain()
        writer.close()


_command = msgspec.json.Decoder(Command)

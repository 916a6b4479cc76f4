from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from time import time_ns
from typing import Any

import pytest

from fengsui.model import Event, Kind, Lane, Quality, Reading, What
from gateway.codecs.gbt26875.exchange import Retry
from gateway.codecs.gbt26875.frame import Command, Frame, decode, encode
from gateway.codecs.gbt26875.stream import Stream
from gateway.drivers.base import CommandRefused, Pace
from gateway.drivers.config import Forward, Gbt26875, Transmitter, TransmitterPart
from gateway.drivers.gbt26875 import Gbt26875Driver
from gateway.drivers.reporter import QUEUED
from ingest.inventory import Row, Sort
from simulators.panel import ADDRESS, FAULT, FIRE, NORMAL, Panel
from tests.driving import Kept
from tests.frames import frame_bytes
from tests.intaking import core
from tests.integration.test_core import OFFICER, ask, chain
from tests.integration.test_gateway_app import bodies, config, running
from tests.servers import HOST, free_port, mosquitto
from tests.waiting import until

PACE = Pace(now_us=lambda: time_ns() // 1000, sleep=lambda seconds: asyncio.sleep(min(seconds, 0.05)))
"""Real stamps, short waits."""
TRANSPORTS = ["tcp", "udp"]
TOWER = Transmitter(
    name="tower",
    address=ADDRESS,
    profile="zone-number",
    parts={"1.1:10-2": TransmitterPart(name="smoke-3f"), "1.1:1-1:5": TransmitterPart(name="hydrant")},
)


@contextlib.asynccontextmanager
async def serving(sink: Any = None, **changes: Any) -> AsyncIterator[tuple[Gbt26875Driver, Kept, int]]:
    """A centre on a free port: driver, sink, port."""
    kept = Kept() if sink is None else sink
    port = changes.get("port") or free_port()
    fields: dict[str, Any] = {"name": "centre", "port": port, "address": 88_888, "devices": [TOWER]}
    driver = Gbt26875Driver(Gbt26875(**(fields | changes)), PACE)
    task = asyncio.create_task(driver.run(kept))
    await until(lambda: owner_listens(port), what="the centre listens")
    try:
        yield driver, kept, port
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def owner_listens(port: int) -> bool:
    """Whether a TCP connection is taken."""
    with contextlib.suppress(OSError):
        _, writer = await asyncio.open_connection(HOST, port)
        writer.close()
        await writer.wait_closed()
        return True
    return False


@contextlib.asynccontextmanager
async def panel(port: int, transport: Any = "tcp", **changes: Any) -> AsyncIterator[Panel]:
    """A simulated panel that reports to a port."""
    fields: dict[str, Any] = {"host": HOST, "port": port, "transport": transport, "address": ADDRESS}
    made = Panel(Forward(**(fields | {"centre": 88_888} | changes)), PACE, Retry(0.5, 3))
    task = asyncio.create_task(made.run())
    try:
        yield made
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


class Line:
    """A TCP connection of a device that the test plays itself."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._stream = Stream()
        self._frames: list[Frame] = []

    async def frame(self, *commands: int) -> Frame:
        """The next frame of the centre with one of these commands."""
        async with asyncio.timeout(10):
            while True:
                while self._frames:
                    frame = self._frames.pop(0)
                    if frame.command in commands:
                        return frame
                data = await self.reader.read(4096)
                assert data, "the centre hung up"
                self._frames += [one.frame for one in self._stream.feed(data) if one.frame is not None]


@contextlib.asynccontextmanager
async def line(port: int) -> AsyncIterator[Line]:
    """A connection to the centre."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        yield Line(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def whats(kept: Kept, point: str) -> list[What]:
    """What was said of a point."""
    return [event.what for event in kept.events if event.point == point]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_panel_reports_values_and_fire(transport: str) -> None:
    """A value is a reading of its point, a fire an event with its frame as evidence; both are confirmed."""
    async with serving() as (_, kept, port), panel(port, transport) as it:
        await until(lambda: kept.readings)
        it.set_state("smoke", FIRE)
        await until(lambda: What.FIRE in whats(kept, "smoke-3f"))
        await until(lambda: it.line.waiting == 0)
    reading = kept.readings[0]
    assert (reading.point, reading.value, reading.quality) == ("hydrant", 350.0, Quality.GOOD)
    fire = next(event for event in kept.events if event.what is What.FIRE)
    assert fire.text is not None
    assert "三层走廊感烟" in fire.text
    assert fire.raw is not None
    assert decode(fire.raw) is not None


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_the_centre_sets_the_clock_and_asks_for_the_state(transport: str) -> None:
    """When a link begins; the answer is a state like one that was reported."""
    async with serving() as (_, kept, port), panel(port, transport) as it:
        await until(lambda: 90 in it.controls)
        await until(lambda: What.RESTORED in whats(kept, "tower:transmitter"))


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_post_check_is_confirmed_and_answered(transport: str) -> None:
    """Commanded by the server, by the device's name; the answer of the person there is an event."""
    async with serving() as (driver, kept, port), panel(port, transport) as it:
        await until(lambda: kept.readings)
        assert (
            driver.command("post_check", {"device": "tower", "timeout_min": "5"}) == "tower: post check sent"
        )
        await until(lambda: 91 in it.controls)
        await until(lambda: any("post_check_answer" in (event.text or "") for event in kept.events))


async def test_every_question_is_answered_or_told_unanswered() -> None:
    """All commands there are; the answers come as events and readings."""
    where = {"device": "tower", "system_type": "1", "system_address": "1"}
    async with serving(retry_s=0.2, retries=1) as (driver, kept, port), panel(port):
        await until(lambda: kept.readings)
        for what in ("read_state", "read_version", "read_configuration", "read_clock", "initialise"):
            driver.command(what, {"device": "tower"})
        for what in ("read_system_state", "read_system_version", "read_system_clock"):
            driver.command(what, where)
        for what in ("read_component_state", "read_component_value", "read_component_configuration"):
            driver.command(what, {**where, "component_address": str(1 | 1 << 16)})
        driver.command("read_operations", {"device": "tower", "count": "3"})
        texts = [
            "transmitter version: 1.0",
            "transmitter configuration: 模拟用户信息传输装置",
            "component configuration: 消防水泵",
            "no answer to: read transmitter operations",
        ]
        await until(lambda: set(texts) <= {event.text for event in kept.events})
        await until(lambda: whats(kept, "tower:1.1"))


async def test_commands_that_make_no_sense_are_refused() -> None:
    """Unknown command, unknown device, no link, a number that is none."""
    async with serving() as (driver, kept, port):
        for what, args, text in (
            ("open_doors", {}, "no command 'open_doors'"),
            ("read_state", {"device": "nobody"}, "no device 'nobody'"),
            ("read_state", {"device": "tower"}, "tower has no link"),
        ):
            with pytest.raises(CommandRefused, match=text):
                driver.command(what, args)
        async with panel(port):
            await until(lambda: kept.readings)
            with pytest.raises(CommandRefused, match="invalid literal"):
                driver.command("post_check", {"device": "tower", "timeout_min": "ten"})


async def test_nothing_is_confirmed_before_it_is_accepted() -> None:
    """While the spool takes nothing the device waits and repeats; then one event and every confirmation."""

    class Shut(Kept):
        gate = asyncio.Event()

        async def accept(self, items: Sequence[Reading | Event]) -> None:
            await self.gate.wait()
            await super().accept(items)

    shut = Shut()
    async with serving(shut, devices=[]) as (_, _, port), line(port) as it:
        it.writer.write(frame_bytes("A1"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await it.frame(Command.CONFIRM)
        it.writer.write(frame_bytes("A1"))
        shut.gate.set()
        for _ in range(2):
            assert (await it.frame(Command.CONFIRM)).serial == 1
    assert whats(shut, "u889:1.1:131082") == [What.FIRE]


async def test_a_damaged_frame_is_denied_and_shown_and_the_next_ones_are_heard() -> None:
    """One fault of the link until it is calm again, the bytes kept; the right frame behind it counts."""
    damaged = bytearray(frame_bytes("A1"))
    damaged[31] ^= 1
    async with serving() as (_, kept, port), line(port) as it:
        it.writer.write(frame_bytes("B1").replace(b"\x67\x2b", b"\x79\x03")[:-3] + b"\xe5##")
        it.writer.write(frame_bytes("A4") + b"\x00rubbish" + bytes(damaged) + frame_bytes("A1"))
        assert (await it.frame(Command.DENY)).serial == 1
        await it.frame(Command.CONFIRM)
        await until(lambda: What.FIRE in whats(kept, "smoke-3f"))
    faults = [event for event in kept.events if event.point == "tower:link" and event.what is What.FAULT]
    assert bytes(damaged) in [event.raw for event in faults]


async def test_an_unknown_device_is_heard_under_its_address() -> None:
    """Its fire sounds at once; and devices without an address are known by where they come from."""
    async with serving(devices=[]) as (_, kept, port), line(port) as it:
        it.writer.write(frame_bytes("A1") + frame_bytes("S1"))
        await it.frame(Command.CONFIRM)
        await it.frame(Command.CONFIRM)
    fires = {event.point for event in kept.events if event.what is What.FIRE}
    assert fires == {"u889:1.1:131082", "ip-127-0-0-1:1.3:393433"}


async def test_unknown_devices_can_be_refused() -> None:
    """Then their frames are neither confirmed nor accepted; the count tells of them."""
    async with serving(accept_unknown=False) as (driver, kept, port), line(port) as it:
        it.writer.write(frame_bytes("B1"))
        await until(lambda: driver.refused == 1)
        it.writer.write(frame_bytes("A1"))
        assert (await it.frame(Command.CONFIRM)).source == 88_888
    assert {event.point.partition(":")[0] for event in kept.events} <= {"tower", "smoke-3f"}


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_lost_device_is_one_fault_and_its_return_one_restored(transport: str) -> None:
    """A panel that dies is a fault of its link after the silence; then well again."""
    settings = {"silent_s": 0.3, "retry_s": 0.1, "retries": 1, "set_clock": False}
    async with serving(**settings) as (_, kept, port):
        async with panel(port, transport):
            await until(lambda: kept.readings)
        await until(lambda: What.FAULT in whats(kept, "tower:link"))
        seen = len(kept.readings)
        async with panel(port, transport):
            await until(lambda: len(kept.readings) > seen)
        link = [what for what in whats(kept, "tower:link") if what is not What.INFO]
        assert link[:2] == [What.FAULT, What.RESTORED]


async def test_a_device_never_heard_of_is_a_fault() -> None:
    """One that is listed and stays away from the start."""
    async with serving(silent_s=0.2) as (_, kept, _):
        await until(lambda: whats(kept, "tower:link") == [What.FAULT])


async def test_devices_that_flood_lie_or_say_rubbish_stop_nobody() -> None:
    """Garbage, half frames, floods by TCP and UDP, a peer that never reads: a fire is heard all the same."""
    flood = frame_bytes("C1") * 200
    async with (
        serving(max_devices=20, objects_per_s=50.0) as (_, kept, port),
        contextlib.AsyncExitStack() as on,
    ):
        stop = asyncio.Event()

        async def pour(data: bytes) -> None:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(HOST, port)
                while not stop.is_set() and not writer.is_closing():
                    writer.write(data)
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(0.05):
                            await writer.drain()
                    await asyncio.sleep(0.005)
                writer.transport.abort()

        loop = asyncio.get_running_loop()
        udp, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=(HOST, port))
        on.callback(udp.close)

        async def shoot() -> None:
            number = 0
            while not stop.is_set():
                for _ in range(50):
                    number += 1
                    unit = bytes.fromhex("03010101280a000200037dff") + bytes(6)
                    udp.sendto(encode(Frame(number & 0xFFFF, (1, 0), bytes(6), 7, 1, 2, unit)))
                await asyncio.sleep(0.01)

        pouring = [
            asyncio.create_task(job)
            for job in (pour(b"@@" * 500), pour(frame_bytes("A1")[:40]), pour(flood), pour(b"\0"), shoot())
        ]
        await until(lambda: any("dropped" in (event.text or "") for event in kept.events), timeout_s=40)
        it = await on.enter_async_context(panel(port))
        await until(lambda: it.line.confirmed, timeout_s=40)
        it.set_state("smoke", FIRE)
        await until(lambda: What.FIRE in whats(kept, "smoke-3f"), timeout_s=40)
        stop.set()
        await asyncio.wait(pouring)


async def test_links_that_say_nothing_make_room_for_those_that_do() -> None:
    """With every place taken by mute connections, a device still gets one."""
    async with serving(max_devices=5) as (_, kept, port), contextlib.AsyncExitStack() as on:
        for _ in range(8):
            await on.enter_async_context(line(port))
        it = await on.enter_async_context(line(port))
        it.writer.write(frame_bytes("A1"))
        await it.frame(Command.CONFIRM)
    assert whats(kept, "smoke-3f") == [What.FIRE]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_reports_are_forwarded_to_another_centre(transport: Any) -> None:
    """Unchanged, under the device's address, also what came while the other centre was away."""
    there = free_port()
    forward = Forward(host=HOST, port=there, transport=transport, centre=5, retry_s=0.5)
    async with serving(forward=forward) as (_, kept, port), panel(port) as it:
        it.set_state("heat", FAULT)
        it.set_state("smoke", FIRE)
        await until(lambda: What.FIRE in whats(kept, "smoke-3f"))
        async with serving(port=there, address=5) as (_, other, _):
            await until(lambda: What.FIRE in whats(other, "smoke-3f"), timeout_s=20)
            await until(lambda: What.FAULT in whats(other, "tower:1.1:10-3"), timeout_s=20)
            it.set_state("smoke", NORMAL)
            await until(lambda: What.RESTORED in whats(other, "smoke-3f"))


async def test_a_fire_is_told_first_and_is_not_dropped() -> None:
    """A thousand values wait for a line; of one more the oldest goes, and the fire overtakes the others."""
    heard: list[Frame] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stream = Stream()
        while data := await reader.read(4096):
            heard.extend(one.frame for one in stream.feed(data) if one.frame is not None)
        writer.close()

    there = free_port()
    it = Panel(Forward(host=HOST, port=there), PACE, Retry(30.0, 1))
    it.set_state("smoke", FIRE)
    for _ in range(QUEUED):
        it.report_values()
    assert (it.line.waiting, it.line.dropped) == (QUEUED, 1)
    async with await asyncio.start_server(listen, HOST, there):
        task = asyncio.create_task(it.line.run())
        await until(lambda: [frame for frame in heard if frame.unit])
        it.set_state("heat", FIRE)  # four values are in flight by now and nobody confirms them
        await until(lambda: [frame.unit[0] for frame in heard if frame.unit].count(2) == 2)
        task.cancel()
        await asyncio.wait([task])
    assert next(frame.unit[0] for frame in heard if frame.unit) == 2


async def test_from_the_panel_to_the_journal(tmp_path: Path) -> None:
    """Through gateway, broker and intake: the value in the telemetry lane, the fire in the alarm lane."""
    port = free_port()
    centre = Gbt26875(name="centre", port=port, devices=[TOWER])
    async with mosquitto() as server, core(server, tmp_path) as it:
        driver = Gbt26875Driver(centre, PACE)
        async with running(config(tmp_path, server.port), driver), panel(port) as device:
            device.set_state("smoke", FIRE)

            async def fires() -> list[Event]:
                events = bodies(it, await it.entries(), Kind.EVENT)
                return [event for event in events if event.what is What.FIRE and event.point == "smoke-3f"]

            async def values() -> list[str]:
                records = bodies(it, await it.entries(), Kind.READINGS)
                return [name for body in records for name in body.names()]

            await until(fires)
            assert set(await until(values)) == {"hydrant"}
            entries = await it.entries()
    assert {entry.lane for entry in entries if entry.header.kind == Kind.EVENT} == {Lane.ALARM}


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_from_the_panel_to_the_officer(transport: str, tmp_path: Path) -> None:
    """The value is in the point's series, the fire on the officers' list, named by its point."""
    port = free_port()
    driver = Gbt26875Driver(Gbt26875(name="centre", port=port, devices=[TOWER]), PACE)
    about = {"gateway": "gw-1", "building": "b1"}
    async with chain(tmp_path, driver) as (core, _), panel(port, transport) as device:
        named = {"hydrant": ("water_pressure", "kPa"), "smoke-3f": ("contact", "1")}
        await core.registry.add(
            [
                Row(0, Sort.POINT, {"id": name, "name": name, "quantity": quantity, "uom": uom, **about})
                for name, (quantity, uom) in named.items()
            ]
        )
        device.set_state("smoke", FIRE)

        async def series() -> list[float]:
            span: dict[str, Any] = {"from_us": 0, "to_us": time_ns() // 1000 + 1, "max_points": 10}
            values: list[float] = (await ask(core, OFFICER, "history", point="hydrant", **span))["value"]
            return values

        async def fires() -> list[str]:
            alarms = (await ask(core, OFFICER, "alarms"))["alarms"]
            return [alarm["point"] for alarm in alarms if alarm["cls"] == "fire"]

        assert set(await until(series, timeout_s=20)) == {350.0}
        assert "smoke-3f" in await until(fires, timeout_s=20)


@pytest.mark.parametrize("options", [[], ["--udp"]])
async def test_the_panel_of_the_command_line(options: list[str]) -> None:
    """`fengsui simulate panel` reports to a running centre, and its fire after the time given."""
    async with serving() as (_, kept, port):
        command = [sys.executable, "-m", "fengsui", "simulate", "panel", "--port", str(port)]
        it = await asyncio.create_subprocess_exec(*command, "--fire-after", "0.5", *options)
        try:
            await until(lambda: What.FIRE in whats(kept, "smoke-3f"), timeout_s=30)
        finally:
            it.terminate()
            assert await it.wait() == 0

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from math import isnan
from time import time_ns

import pytest
from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from fengsui.model import Event, Quality, Reading, What
from gateway.drivers.base import Pace
from gateway.drivers.config import Modbus, ModbusPoint
from gateway.drivers.modbus import ModbusDriver
from tests.driving import Kept
from tests.waiting import until

DEVICE_ID = 7


class _Naps:
    count = 0


_naps = _Naps()


async def _hasten(seconds: float) -> None:
    _naps.count += 1
    await asyncio.sleep(min(seconds, 0.02))


HASTY = Pace(now_us=lambda: time_ns() // 1000, sleep=_hasten)
"""Real stamps, short waits: periods and back-offs take at most 20 ms."""


def device(*, busy: Callable[[], bool] = lambda: False) -> SimDevice:
    """Holding registers 0 to 5 and 8; coil 0 is on, discrete input 0 off; input register 0 is 21.5 as f32."""

    async def refuse(
        function: int,
        start: int,
        address: int,
        count: int,
        now: list[int],
        new: list[int] | list[bool] | None,
    ) -> ExcCodes | None:
        return ExcCodes.DEVICE_BUSY if busy() else None

    holding = [
        SimData(0, values=[450, 65_535, 1, 2, 3, 4], datatype=DataType.REGISTERS),
        SimData(8, values=7, datatype=DataType.REGISTERS),
    ]
    bits = [SimData(0, values=[True, False], datatype=DataType.BITS)]
    discrete = [SimData(0, values=[False, True], datatype=DataType.BITS)]
    inputs = [SimData(0, values=21.5, datatype=DataType.FLOAT32)]
    return SimDevice(DEVICE_ID, simdata=(bits, discrete, holding, inputs), action=refuse)


@contextlib.asynccontextmanager
async def serving(at: SimDevice, port: int = 0) -> AsyncIterator[int]:
    """A real Modbus server on loopback; gives its port."""
    server = ModbusTcpServer(at, address=("127.0.0.1", port))
    await server.serve_forever(background=True)
    assert isinstance(server.transport, asyncio.Server)
    try:
        yield server.transport.sockets[0].getsockname()[1]
    finally:
        await server.shutdown()  # type: ignore[no-untyped-call]  # pymodbus leaves it bare


@contextlib.asynccontextmanager
async def driving(port: int, *points: ModbusPoint, timeout_s: float = 1.0) -> AsyncIterator[Kept]:
    """A driver that reads ``points`` from ``port`` into the sink it gives."""
    config = Modbus(
        name="pump",
        host="127.0.0.1",
        port=port,
        device_id=DEVICE_ID,
        timeout_s=timeout_s,
        points=list(points),
    )
    sink = Kept()
    task = asyncio.create_task(ModbusDriver(config, HASTY).run(sink))
    try:
        yield sink
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


def point(name: str, table: str, address: int, **more: object) -> ModbusPoint:
    """A point without scale or bounds."""
    fields = {"name": name, "table": table, "address": address, "quantity": "q", "uom": "1"}
    return ModbusPoint(**{**fields, **more})  # type: ignore[arg-type]


def last(sink: Kept) -> dict[str, Reading]:
    """The last reading of each point."""
    return {reading.point: reading for reading in sink.readings}


async def test_every_table_is_read() -> None:
    """Coils, discrete inputs, holding and input registers arrive as values, scaled and in the right order."""
    points = [
        point("pressure", "holding", 0, scale=0.1, high=40.0),
        point("signed", "holding", 1, type="i16"),
        point("long", "holding", 2, type="u32", word_order="little"),
        point("on", "coil", 0),
        point("off", "discrete", 0),
        point("heat", "input", 0, type="f32"),
    ]
    async with serving(device()) as port, driving(port, *points) as sink:
        await until(lambda: len(sink.readings) >= 12)
    got = {name: (reading.value, reading.quality) for name, reading in last(sink).items()}
    assert got == {
        "pressure": (45.0, Quality.OUT_OF_RANGE),
        "signed": (-1.0, Quality.GOOD),
        "long": (2 * 65_536 + 1.0, Quality.GOOD),
        "on": (1.0, Quality.GOOD),
        "off": (0.0, Quality.GOOD),
        "heat": (21.5, Quality.GOOD),
    }
    assert sink.events == []


async def test_refused_address_spoils_no_other_point() -> None:
    """A point that the device does not have reads as bad; those read in the same block stay good."""
    points = [point(f"r{address}", "holding", address) for address in (0, 1, 2, 6, 8)]
    async with serving(device()) as port, driving(port, *points) as sink:
        await until(lambda: len(sink.readings) >= 10)
    got = last(sink)
    assert isnan(got["r6"].value)
    assert {name for name, reading in got.items() if reading.quality == Quality.BAD} == {"r6"}
    assert (got["r0"].value, got["r8"].value) == (450.0, 7.0)


async def test_busy_device_reads_as_bad_until_it_is_not() -> None:
    """An exception reply that is no fault of an address marks its points bad for as long as it lasts."""
    busy = True
    points = [point("a", "holding", 0), point("b", "holding", 1)]
    async with serving(device(busy=lambda: busy)) as port, driving(port, *points) as sink:
        await until(lambda: len(sink.readings) >= 4)
        assert {reading.quality for reading in sink.readings} == {Quality.BAD}
        busy = False
        await until(lambda: sink.readings[-1].quality == Quality.GOOD)
    assert sink.events == []


async def test_lost_device_is_one_fault_and_one_restored() -> None:
    """A server that dies and returns gives one fault, nothing in between, one restored, then readings."""
    first = contextlib.AsyncExitStack()
    port = await first.enter_async_context(serving(device()))
    async with driving(port, point("a", "holding", 0), timeout_s=0.2) as sink:
        await until(lambda: sink.readings)
        await first.aclose()
        await until(lambda: sink.events)
        calls, attempts = len(sink.calls), _naps.count
        await until(lambda: _naps.count > attempts + 3, what="attempts to reconnect")
        assert len(sink.calls) == calls
        async with serving(device(), port):
            await until(lambda: len(sink.calls) > calls + 2)
        assert [type(call[0]) for call in sink.calls[calls : calls + 3]] == [Event, Reading, Reading]
    assert [(event.point, event.what) for event in sink.events[:2]] == [
        ("pump:link", What.FAULT),
        ("pump:link", What.RESTORED),
    ]


async def test_device_absent_from_the_start_is_a_fault() -> None:
    """Nothing listening gives the fault, which names the address, and no reading."""
    async with serving(device()) as port:
        pass
    async with driving(port, point("a", "holding", 0)) as sink:
        await until(lambda: sink.events)
    assert sink.readings == []
    assert f"127.0.0.1:{port} device 7 does not answer" in (sink.events[0].text or "")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x00" * 64,
        b"\xff" * 300,
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x00\x01\x00\x00\x00\x03\x07\x03\x00",
        b"\x00\x01\x00\x00\x00\x05\x07\x03\x02\x00",
        b"\x00\x01\x00\x00\x00\x07\x09\x03\x04\x00\x01\x00\x02",
    ],
)
async def test_silence_and_nonsense_are_faults(answer: bytes) -> None:
    """A device that never answers, or answers too short or not in Modbus, is a fault, never a value."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1024):
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        points = [point("a", "holding", 0), point("b", "holding", 1)]
        async with driving(server.sockets[0].getsockname()[1], *points, timeout_s=0.2) as sink:
            await until(lambda: sink.events)
    assert sink.readings == []
    assert sink.events[0].what == What.FAULT


def test_description_names_the_link() -> None:
    """The points are described with unit and range, and the link that speaks for the connection."""
    config = Modbus(
        name="pump", host="10.0.0.9", points=[point("a", "input", 0, low=0.0, high=16.0, uom="bar")]
    )
    described = ModbusDriver(config, HASTY).describe()
    assert [(d.name, d.unit, d.range) for d in described] == [
        ("a", "bar", (0.0, 16.0)),
        ("pump:link", "", None),
    ]

"""A simulated fire pump room on Modbus TCP: hydrant main, tank, jockey pump, residual current of its supply.

One table, ``POINTS``, says where each value is; the device, the gateway's driver block and the registry file
are made of it. A leak lets the main's pressure sink; the jockey pump (``water.py``) brings it back, drawing
from the tank, which fills up again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from gateway.drivers.config import ModbusPoint
from ingest.inventory import Row, Sort
from simulators.water import Main

DEVICE_ID = 1
NAME = "pump-room"
"""Of the driver block, the device and the building in the registry."""

_LEAK_L_S = 0.0625
_REST_MA, _RUNNING_MA = 22.0, 55.0

_PRESSURE, _TANK, _PUMP, _CURRENT = (f"{NAME}:{leaf}" for leaf in ("hydrant", "tank", "pump", "leakage"))

POINTS = (
    ModbusPoint(
        name=_PRESSURE, table="input", address=0, scale=0.1, quantity="water_pressure", uom="kPa",
        low=0.0, high=1600.0, text="消火栓管网 hydrant main",
    ),
    ModbusPoint(
        name=_TANK, table="input", address=1, scale=0.001, quantity="level", uom="m",
        low=0.0, high=4.0, text="消防水池 fire water tank",
    ),
    ModbusPoint(
        name=_CURRENT, table="input", address=2, scale=0.1, quantity="residual_current", uom="mA",
        low=0.0, high=1000.0, text="泵房配电 supply of the pump room",
    ),
    ModbusPoint(
        name=_PUMP, table="discrete", address=0, quantity="contact", uom="1",
        low=0.0, high=1.0, text="稳压泵运行 jockey pump runs",
    ),
)  # fmt: skip


class PumpRoom:
    """What is measured in the room; time passes by its ``main``."""

    def __init__(self, seed: int = 1) -> None:
        self._random = Random(seed)
        self.main = Main(leak_l_s=_LEAK_L_S)

    def read(self) -> dict[str, float]:
        """Every point as its instrument shows it now, in its own unit of measure."""
        main = self.main
        current_ma = (_RUNNING_MA if main.is_pumping else _REST_MA) + self._random.gauss(0, 0.5)
        return {
            _PRESSURE: main.pressure_kpa + self._random.gauss(0, 0.4),
            _TANK: main.tank_m + self._random.gauss(0, 0.002),
            _CURRENT: max(0.0, current_ma),
            _PUMP: float(main.is_pumping),
        }


def device(room: PumpRoom, now_s: Callable[[], float]) -> SimDevice:
    """The room as a Modbus device: time passes, and its instruments are read, at every request."""
    before_s = now_s()

    async def measure(
        function: int,
        start: int,
        address: int,
        count: int,
        registers: list[int],
        new: list[int] | list[bool] | None,
    ) -> ExcCodes | None:
        nonlocal before_s
        at_s = now_s()
        room.main.step(at_s - before_s)
        before_s = at_s
        shown = room.read()
        table = "discrete" if function == 2 else "input"
        for point in POINTS:
            if point.table == table:
                registers[point.address - start] = round((shown[point.name] - point.offset) / point.scale)
        return None

    empty = [SimData(0, values=0, datatype=DataType.REGISTERS)]
    bits = [SimData(0, values=[False], datatype=DataType.BITS)]
    words = sum(point.width for point in POINTS if point.table == "input")
    inputs = [SimData(0, values=[0] * words, datatype=DataType.REGISTERS, readonly=True)]
    return SimDevice(DEVICE_ID, simdata=(bits, bits, empty, inputs), action=measure)


@asynccontextmanager
async def serving(at: SimDevice, host: str, port: int) -> AsyncIterator[int]:
    """The device on Modbus TCP; gives its port (0 asks the system for a free one)."""
    server = ModbusTcpServer(at, address=(host, port))
    await server.serve_forever(background=True)
    assert isinstance(server.transport, asyncio.Server)
    try:
        yield server.transport.sockets[0].getsockname()[1]
    finally:
        await server.shutdown()  # type: ignore[no-untyped-call]  # pymodbus leaves it bare


async def answers(host: str, port: int) -> bool:
    """Whether the device that listens there gives a pressure."""
    client = AsyncModbusTcpClient(host, port=port, timeout=2, retries=0, reconnect_delay=0)
    try:
        if not await client.connect():
            return False
        reply = await client.read_input_registers(POINTS[0].address, count=1, device_id=DEVICE_ID)
        return not reply.isError()
    finally:
        client.close()


def driver_block(host: str, port: int) -> str:
    """The block of a gateway's settings that reads this device."""
    lines = ["[[drivers]]", 'kind = "modbus"', f'name = "{NAME}"', f'host = "{host}"', f"port = {port}"]
    lines += [f"device_id = {DEVICE_ID}"]
    for point in POINTS:
        lines += ["", "[[drivers.points]]"]
        for key in ("name", "table", "address", "scale", "quantity", "uom", "low", "high", "text"):
            value = getattr(point, key)
            lines.append(f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {value}")
    return "\n".join(lines) + "\n"


def registered(gateway: str) -> list[Row]:
    """Rows that register the room as read by ``gateway``; a point's id is ``<gateway>.<name>``."""
    fields = [
        (Sort.UNIT, {"id": NAME, "name": "水务 Water supply"}),
        (Sort.BUILDING, {"id": NAME, "name": "消防泵房 Fire pump room", "unit": NAME}),
        (Sort.DEVICE, {"id": NAME, "name": "泵房采集器 Pump room", "model": "simulated", "building": NAME}),
    ]
    fields += [
        (
            Sort.POINT,
            {
                "id": f"{gateway}.{point.name}",
                "gateway": gateway,
                "name": point.name,
                "quantity": point.quantity,
                "uom": point.uom,
                "device": NAME,
                "place": point.text or "",
                "low": str(point.low),
                "high": str(point.high),
            },
        )
        for point in POINTS
    ]
    return [Row(line, sort, row) for line, (sort, row) in enumerate(fields, 1)]

"""Modbus TCP: one device, read in blocks every period.

A refused read (an exception reply) is a *bad* reading of each point it covers, so that the server hears about
it; a lost or silent device is one ``fault`` event of ``<driver>:link``, then a reconnect with jittered
back-off, then one ``restored``. Nothing is invented for the time between.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import nan

from pymodbus import ModbusException
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.constants import ExcCodes
from pymodbus.exceptions import ConnectionException, ModbusIOException
from pymodbus.pdu import ModbusPDU

from fengsui.model import Description, Event, Quality, Reading, What
from fengsui.mqtt import Backoff
from gateway.drivers.base import MAX_BATCH, Pace, Sink
from gateway.drivers.config import LINK, Modbus
from gateway.drivers.registers import Block, blocks, value

_SPLIT = (ExcCodes.ILLEGAL_ADDRESS, ExcCodes.ILLEGAL_VALUE)
"""Refusals that one address of a block can cause for all of it."""


class ModbusDriver:
    """Reads one Modbus device; see the module's text for what happens when it does not answer."""

    def __init__(self, config: Modbus, pace: Pace) -> None:
        self.name = config.name
        self._config = config
        self._pace = pace
        self._blocks = blocks(config.points)
        self._backoff = Backoff()
        self._is_lost = False

    def describe(self) -> Sequence[Description]:
        """The configured points and the link."""
        described = [
            Description(
                name=point.name,
                quantity=point.quantity,
                unit=point.uom,
                range=None if point.low is None or point.high is None else (point.low, point.high),
                text=point.text,
            )
            for point in self._config.points
        ]
        link = Description(name=self._link, quantity="link", unit="", text=self._address)
        return [*described, link]

    async def run(self, sink: Sink) -> None:
        """Read until cancelled, through any number of lost connections."""
        while True:
            try:
                await self._session(sink)
            except (ModbusException, OSError) as error:
                if not self._is_lost:
                    self._is_lost = True
                    await sink.accept([self._event(What.FAULT, f"{self._address} does not answer: {error}")])
            await self._pace.sleep(self._backoff.pause_s())

    async def _session(self, sink: Sink) -> None:
        """One connection, until it fails."""
        config = self._config
        client = AsyncModbusTcpClient(
            config.host, port=config.port, timeout=config.timeout_s, retries=0, reconnect_delay=0
        )
        try:
            if not await client.connect():
                raise ConnectionException("no connection")
            due_us = self._pace.now_us()
            while True:
                readings = await self._sweep(client)
                self._backoff.reset()
                if self._is_lost:
                    self._is_lost = False
                    await sink.accept([self._event(What.RESTORED, f"{self._address} answers again")])
                for first in range(0, len(readings), MAX_BATCH):
                    await sink.accept(readings[first : first + MAX_BATCH])
                due_us = max(due_us + round(config.period_s * 1e6), self._pace.now_us())
                await self._pace.wait_until(due_us)
        finally:
            client.close()

    async def _sweep(self, client: AsyncModbusTcpClient) -> list[Reading]:
        """Every point once; a block that is refused for one bad address is split for good."""
        readings: list[Reading] = []
        waiting, answered = self._blocks[::-1], list[Block]()
        while waiting:
            block = waiting.pop()
            response = await self._read(client, block)
            if response.isError() and response.exception_code in _SPLIT and len(block.points) > 1:
                waiting.extend(reversed(block.split()))
                continue
            answered.append(block)
            readings.extend(self._decode(block, response))
        self._blocks = answered
        return readings

    async def _read(self, client: AsyncModbusTcpClient, block: Block) -> ModbusPDU:
        read = {
            "coil": client.read_coils,
            "discrete": client.read_discrete_inputs,
            "holding": client.read_holding_registers,
            "input": client.read_input_registers,
        }[block.table]
        return await read(block.address, count=block.width, device_id=self._config.device_id)

    def _decode(self, block: Block, response: ModbusPDU) -> list[Reading]:
        at_us = self._pace.now_us()
        if response.isError():
            return [Reading(point.name, at_us, nan, Quality.BAD) for point in block.points]
        words: Sequence[int] | Sequence[bool]
        words = response.bits if block.points[0].is_bit else response.registers
        if len(words) < block.width:
            raise ModbusIOException(f"asked for {block.width} of {block.table}, got {len(words)}")
        return [Reading(point.name, at_us, *value(point, block, words)) for point in block.points]

    @property
    def _link(self) -> str:
        return f"{self.name}:{LINK}"

    @property
    def _address(self) -> str:
        return f"Modbus {self._config.host}:{self._config.port} device {self._config.device_id}"

    def _event(self, what: What, text: str) -> Event:
        return Event(point=self._link, at=self._pace.now_us(), what=what, text=text)

"""How many readings a second come in from devices without a gateway: one reading per JSON message, QoS 1.

The messages wait at the broker in the core's session (the core is stopped for as long as they are published)
and are counted in the database at the end. The yardstick is the core's own MQTT client that only receives
and acknowledges the same messages from a session of the same kind.
"""

from __future__ import annotations

import asyncio
import os
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench.backlog import Progress
from bench.figures import Figure, Result, Row
from bench.house import House, PointRow, house
from bench.processes import CpuMeter, Share, limiting
from fengsui import topics
from fengsui.packets import encode_publish
from fengsui.settings import Broker
from tests.ledger.station import REPOSITORY
from tests.servers import HOST, Process
from tests.waiting import until

MESSAGES = 90_000
"""Below ``server.broker.MAX_QUEUED``: what waits in the broker beyond that is dropped."""
DEVICES = 10
POINTS = 100
RUNS = 3
_TIMEOUT_S = 300.0
_PUBACK_BYTES = 4
_IN_FLIGHT = 5_000


def devices() -> list[str]:
    """Names of the devices."""
    return [f"d{i:02d}" for i in range(DEVICES)]


async def measure(folder: Path, *, scale: float, tell: Progress) -> Result:
    """The core and the bare client by turns on the same broker."""
    count = max(200, int(MESSAGES * scale)) // DEVICES * DEVICES
    points = [PointRow(device, f"p{i:03d}") for device in devices() for i in range(POINTS)]
    stored: list[float] = []
    received: list[float] = []
    shares: dict[str, Share] = {}
    async with house(folder, points=points, devices=devices()) as running:
        for run in range(RUNS):
            took_s = await _receive_only(running, folder / f"receiver-{run}", count, run)
            received.append(count / took_s)
            tell(f"only receiving {received[-1]:,.0f} messages/s")
            took_s, shares = await _store(running, count, RUNS + run)
            stored.append(count / took_s)
            tell(f"stored {stored[-1]:,.0f} readings/s")
        await running.check_nothing_lost(2 * RUNS * count)  # the core stores what the receiver gets, too
    row = Row(
        key="plain_stored_per_s",
        what="plain devices, one reading per message, JSON, QoS 1, rules on: stored/s",
        unit="1/s",
        figure=Figure(stored),
        least=10_000,
        bound_by=limiting(shares, os.cpu_count() or 1),
    )
    ratio = Row(
        key="plain_ratio_receive",
        what="the same over the same client only receiving",
        figure=Figure([one / other for one, other in zip(stored, received, strict=True)]),
        stretch=0.8,
    )
    details = {
        "messages": count,
        "receive_per_s": Figure(received).as_json(),
        "cpu_us_per_message": {name: round(share.us_per_unit, 2) for name, share in shares.items()},
        "cores": {name: round(share.cores, 2) for name, share in shares.items()},
    }
    return Result([row, ratio], details)


async def _store(running: House, count: int, run: int) -> tuple[float, dict[str, Share]]:
    """Seconds for the core to store what waits in its session."""
    before = await running.stored()
    core = running.core.process
    core.pause()
    try:
        await publish(running, count, run)
    finally:
        begun_s = time.perf_counter()
        core.resume()
    meter = CpuMeter({"core": core.pid, "influxd": running.database.pid, "mosquitto": running.broker.pid})
    meter.begin()
    await running.wait_stored(before + count, _TIMEOUT_S)
    took_s = time.perf_counter() - begun_s
    return took_s, meter.shares(count, took_s)


async def _receive_only(running: House, folder: Path, count: int, run: int) -> float:
    """Seconds for the bare client to receive what waits in its session; the core takes it too meanwhile."""
    login = running.login("core")
    arguments = [str(login.port), str(running.folder / "secrets" / "core"), str(count)]
    receiver = Process(
        "receiver", [sys.executable, "-m", "bench.receiver", *arguments], folder, cwd=REPOSITORY
    )
    stored = await running.stored()
    try:
        await receiver.start()
        await until(lambda: "listening" in receiver.output(), 20, "the receiver listens")
        receiver.pause()
        await publish(running, count, run)
        # the core takes its copy first, so that it does not compete with what is measured
        await running.wait_stored(stored + count, _TIMEOUT_S)
        begun_s = time.perf_counter()
        receiver.resume()
        await until(lambda: not receiver.running, _TIMEOUT_S, "the receiver has everything", every_s=0.01)
        took_s = time.perf_counter() - begun_s
        assert receiver.exit_code == 0, receiver.output()
        return took_s
    finally:
        await receiver.stop()


async def publish(running: House, count: int, run: int) -> None:
    """Publish ``count`` readings, all devices at once; returns when the broker has them."""
    begin_ms = time.time_ns() // 1_000_000 - (RUNS * 2 - run) * 10 * count
    async with asyncio.TaskGroup() as tasks:
        for device in devices():
            messages = _messages(device, count // DEVICES, begin_ms)
            tasks.create_task(_publish_from(device, running.login(device), messages))


def _messages(device: str, count: int, begin_ms: int) -> Iterator[bytes]:
    topic = topics.of_plain(device)
    for n in range(count):
        value = 20 + n % 64 / 10
        payload = f'{{"p":"p{n % POINTS:03d}","x":{value:.1f},"t":{begin_ms + n}}}'
        yield encode_publish(topic, payload.encode(), n % 65_535 + 1)


async def _publish_from(device: str, login: Broker, messages: Iterator[bytes]) -> None:
    """A device that writes its packets as fast as the broker acknowledges them."""
    reader, writer = await asyncio.open_connection(HOST, login.port)
    assert login.password is not None
    writer.write(_connect(device, login.password.reveal()))
    answer = await reader.readexactly(4)
    assert answer[3] == 0, f"the broker refuses {device}: {answer!r}"
    sent = acknowledged = 0
    for packet in messages:
        writer.write(packet)
        sent += 1
        while sent - acknowledged >= _IN_FLIGHT:
            acknowledged += len(await reader.readexactly(_PUBACK_BYTES * 1_000)) // _PUBACK_BYTES
    await reader.readexactly(_PUBACK_BYTES * (sent - acknowledged))
    writer.write(b"\xe0\x00")
    writer.close()
    await writer.wait_closed()


def _connect(name: str, password: str) -> bytes:
    """A CONNECT of MQTT 3.1.1: clean session, user and password, keep-alive 60 s."""
    fields = [name.encode(), name.encode(), password.encode()]
    body = b"\x00\x04MQTT\x04\xc2\x00\x3c" + b"".join(struct.pack(">H", len(f)) + f for f in fields)
    assert len(body) < 128
    return bytes([0x10, len(body)]) + body

"""Every fault of the proxy must happen and be counted; an innocent proxy must change nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiomqtt
import pytest

from simulators.faultproxy import FaultProxy, MqttFaults
from tests.servers import HOST, free_port, http, mosquitto
from tests.waiting import until


class Echo:
    """A server that sends everything back and remembers it."""

    def __init__(self) -> None:
        self.port = free_port()
        self.received = b""
        self.ended = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection; says bye when the client ends its side."""
        try:
            while data := await reader.read(65_536):
                self.received += data
                writer.write(data)
            self.ended += 1
            writer.write(b"bye")
        except ConnectionResetError:
            self.ended += 1
        finally:
            writer.close()


@asynccontextmanager
async def through(seed: int = 1) -> AsyncIterator[tuple[Echo, FaultProxy]]:
    """An echo server and the proxy before it."""
    echo = Echo()
    async with (
        await asyncio.start_server(echo.serve, HOST, echo.port),
        FaultProxy(echo.port, seed=seed) as proxy,
    ):
        yield echo, proxy


@asynccontextmanager
async def dial(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A plain connection, dropped at the end."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def test_without_faults_every_byte_passes() -> None:
    """A megabyte comes back unchanged, and so does the end of the stream."""
    payload = bytes(range(256)) * 4096
    async with through() as (_, proxy), dial(proxy.port) as (reader, writer):
        writer.write(payload)
        writer.write_eof()
        async with asyncio.timeout(10):
            assert await reader.read(-1) == payload + b"bye"
        assert +proxy.counts == {"connections": 1}


async def test_latency_and_jitter_delay() -> None:
    """An answer takes at least the latency of both directions."""
    async with through() as (_, proxy), dial(proxy.port) as (reader, writer):
        proxy.up.latency_s = proxy.down.latency_s = 0.05
        proxy.down.jitter_s = 0.01
        began = time.monotonic()
        writer.write(b"x")
        await reader.readexactly(1)
        assert time.monotonic() - began >= 0.1
        assert proxy.counts["delayed"] == 2


async def test_bandwidth_is_a_limit() -> None:
    """5 kB at 50 kB/s take a tenth of a second."""
    async with through() as (_, proxy), dial(proxy.port) as (reader, writer):
        proxy.up.bytes_per_s = 50_000
        proxy.up.slice_bytes = 1_000
        began = time.monotonic()
        writer.write(bytes(5_000))
        await reader.readexactly(5_000)
        assert time.monotonic() - began >= 0.08
        assert proxy.counts["throttled"] == 5


async def test_slices_arrive_in_pieces_and_in_order() -> None:
    """Sliced bytes are the same bytes."""
    async with through() as (echo, proxy), dial(proxy.port) as (reader, writer):
        proxy.up.slice_bytes = 3
        writer.write(b"0123456789")
        assert await reader.readexactly(10) == b"0123456789"
        assert echo.received == b"0123456789"
        assert proxy.counts["sliced"] == 4


async def test_a_stalled_link_loses_nothing() -> None:
    """Bytes sent into a stalled link arrive after it is released."""
    async with through() as (echo, proxy), dial(proxy.port) as (reader, writer):
        proxy.up.stalled = True
        writer.write(b"late")
        await until(lambda: proxy.counts["stalled"], what="stalled")
        assert echo.received == b""
        proxy.up.stalled = False
        assert await reader.readexactly(4) == b"late"


async def test_a_cut_link_refuses_until_healed() -> None:
    """Connections die, new ones die at once, and after healing they live."""
    async with through() as (echo, proxy), dial(proxy.port) as (reader, writer):
        writer.write(b"x")
        await reader.readexactly(1)
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)
        async with dial(proxy.port) as (again, _):
            with pytest.raises(ConnectionResetError):
                await again.readexactly(1)
        await until(lambda: echo.ended == 1, what="the server saw the end")
        proxy.heal()
        async with dial(proxy.port) as (healed, to):
            to.write(b"y")
            assert await healed.readexactly(1) == b"y"
        assert (proxy.counts["cut"], proxy.counts["refused"]) == (1, 1)


async def test_a_reset_ends_what_is_open_and_no_more() -> None:
    """The next connection after a reset is welcome."""
    async with through() as (_, proxy):
        async with dial(proxy.port) as (reader, writer):
            writer.write(b"x")
            await reader.readexactly(1)
            proxy.reset()
            with pytest.raises(ConnectionResetError):
                await reader.readexactly(1)
        async with dial(proxy.port) as (reader, writer):
            writer.write(b"y")
            assert await reader.readexactly(1) == b"y"
        assert proxy.counts["reset"] == 1


async def test_half_close_ends_one_direction() -> None:
    """The server sees the end of the stream and can still answer."""
    async with through() as (_, proxy), dial(proxy.port) as (reader, writer):
        writer.write(b"x")
        await reader.readexactly(1)
        proxy.half_close(towards_server=True)
        async with asyncio.timeout(5):
            assert await reader.readexactly(3) == b"bye"
        assert proxy.counts["half_close"] == 1


async def test_an_ambiguous_write_is_done_and_never_answered() -> None:
    """The server has the whole request, the client has a reset; the next exchange works."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        bodies.append(await reader.readuntil(b"end"))
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()

    bodies: list[bytes] = []
    port = free_port()
    async with await asyncio.start_server(serve, HOST, port), FaultProxy(port) as proxy:
        proxy.cut_replies = 1
        with pytest.raises(ConnectionResetError):
            await http(proxy.port, "POST", "/write", b"one end")
        assert (await http(proxy.port, "POST", "/write", b"two end"))[0] == 204
        assert len(bodies) == 2
        assert proxy.counts["reply_cut"] == 1


async def test_publishes_are_copied_and_reordered() -> None:
    """Five copies of each message arrive, in another order, and none is missing."""
    async with mosquitto() as broker, FaultProxy(broker.port, seed=3) as proxy:
        proxy.up.mqtt = MqttFaults(copies=5, reorder=20)
        sent = [b"%d" % n for n in range(10)]
        async with aiomqtt.Client(HOST, broker.port) as reader, aiomqtt.Client(HOST, proxy.port) as writer:
            await reader.subscribe("t", qos=1)
            await asyncio.gather(*(writer.publish("t", payload, qos=1) for payload in sent))
            async with asyncio.timeout(5):
                got = [(await anext(reader.messages)).payload for _ in range(50)]
        assert sorted(got) == sorted(sent * 5)
        assert got != [payload for payload in sent for _ in range(5)]
        assert proxy.counts["publish_copied"] == 40
        assert proxy.counts["publish_reordered"] > 20


async def test_the_nth_puback_is_dropped_or_delayed() -> None:
    """The first PUBACK never comes, the second comes late, the third passes both."""
    async with mosquitto() as broker, FaultProxy(broker.port) as proxy:
        proxy.down.mqtt = MqttFaults(drop_pubacks=[1], delay_pubacks={2: 0.3})
        async with aiomqtt.Client(HOST, proxy.port) as client:
            with pytest.raises(aiomqtt.MqttError):
                await client.publish("t", b"1", qos=1, timeout=0.2)
            began = time.monotonic()
            second = asyncio.create_task(client.publish("t", b"2", qos=1))
            await until(lambda: proxy.counts["puback_delayed"], what="the second PUBACK is held")
            await client.publish("t", b"3", qos=1)
            assert not second.done()
            await second
            assert time.monotonic() - began >= 0.3
        assert (proxy.counts["puback_dropped"], proxy.counts["puback_delayed"]) == (1, 1)

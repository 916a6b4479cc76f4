"""The connection against a real Mosquitto, and against a broker that cuts and garbles the stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from fengsui.mqtt import Connection, Disconnected, connect
from fengsui.packets import Message, encode_publish
from fengsui.settings import Broker
from tests.servers import HOST, Process, mosquitto

COUNT = 5_000
CONNACK = b"\x20\x02\x00\x00"
PINGRESP = b"\xd0\x00"


@pytest.fixture
async def server() -> AsyncIterator[Process]:
    """A Mosquitto without users, whose queue holds all that a test sends in one turn."""
    async with mosquitto(settings=["max_queued_messages 100000"]) as broker:
        yield broker


@asynccontextmanager
async def scripted(answers: Sequence[bytes], *, pause_s: float = 0.0) -> AsyncIterator[Broker]:
    """A broker that answers CONNECT with these bytes, a write each, and then says nothing."""
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        for answer in answers:
            writer.write(answer)
            await writer.drain()
            await asyncio.sleep(pause_s)
        await reader.read()
        writer.close()
        await writer.wait_closed()
        ended.set()

    async with await asyncio.start_server(serve, HOST, 0) as listening:
        yield Broker(port=listening.sockets[0].getsockname()[1])
        async with asyncio.timeout(10):
            await ended.wait()


async def take(connection: Connection, count: int) -> list[Message]:
    """The next ``count`` messages."""
    messages: list[Message] = []
    async with asyncio.timeout(20):
        while len(messages) < count:
            messages += await connection.receive()
    return messages


async def test_a_flood_comes_whole_and_in_order(server: Process) -> None:
    """More than the inbox holds, sent in one turn; sizes across every length of length."""
    payloads = [n.to_bytes(4, "big") * (1 + n % 3 * 40 + (n % 1000 == 0) * 10_000) for n in range(COUNT)]
    broker = Broker(port=server.port)
    async with connect(broker, "core") as core, connect(broker, "gateway") as gateway:
        await core.subscribe("up/+")
        for payload in payloads:
            gateway.send("up/1", payload)
        messages = await take(core, COUNT)
    assert [message.payload for message in messages] == payloads
    assert {(message.topic, message.qos) for message in messages} == {("up/1", 1)}


async def test_what_is_not_acknowledged_comes_again(server: Process) -> None:
    """By hand: the broker keeps a message until it hears that its effect is durable."""
    broker = Broker(port=server.port)
    for round_ in range(2):
        async with connect(broker, "core", clean_session=False, manual_ack=True) as core:
            await core.subscribe("up/+")
            if round_ == 0:
                async with connect(broker, "device") as device:
                    for n in range(10):
                        device.send("up/1", bytes([n]))
            messages = await take(core, 10 - 4 * round_)
            assert [message.payload[0] for message in messages] == list(range(4 * round_, 10))
            core.acknowledge(messages[:4])


async def test_what_is_sent_last_still_goes_out(server: Process) -> None:
    """A connection closed in the same breath has what it was given read first, however often it is tried."""
    broker = Broker(port=server.port)
    words = [bytes([n]) for n in range(10)]
    async with connect(broker, "core") as core:
        await core.subscribe("up/+")
        for _ in range(50):
            async with connect(broker, "gateway") as gateway:
                for word in words:
                    gateway.send("up/1", word)
            assert [message.payload for message in await take(core, len(words))] == words


async def test_a_broker_that_answers_nothing_is_not_waited_for_long() -> None:
    """What was sent last is waited for a moment only."""
    async with scripted([CONNACK]) as broker, asyncio.timeout(10), connect(broker, "gateway") as gateway:
        gateway.send("up/1", b"last words")


async def test_a_dead_broker_is_noticed_by_sender_and_receiver(server: Process) -> None:
    """Both raise; nothing hangs."""
    async with connect(Broker(port=server.port), "core") as core:
        await core.subscribe("up/+")
        waiting = asyncio.create_task(core.receive())
        await server.kill9()
        async with asyncio.timeout(10):
            with pytest.raises(Disconnected):
                await waiting
            await core.wait_closed()
        with pytest.raises(Disconnected):
            core.send("up/1", b"")
        with pytest.raises(Disconnected):
            await core.receive()


@pytest.mark.parametrize(
    "cut",
    [
        lambda stream: [stream],
        lambda stream: [stream[n : n + 1] for n in range(len(stream))],
        lambda stream: [stream[:7], stream[7:]],
    ],
    ids=["at once", "byte by byte", "inside the first message"],
)
async def test_a_stream_may_be_cut_anywhere(cut: Callable[[bytes], list[bytes]]) -> None:
    """Messages right behind the CONNACK (a persistent session) and others between the library's packets."""
    first, second = encode_publish("a/1", b"one", 1), encode_publish("a/2", b"x" * 200, 2)
    stream = CONNACK + first + PINGRESP + second + PINGRESP
    async with scripted(cut(stream)) as broker, connect(broker, "core", manual_ack=True) as core:
        messages = await take(core, 2)
    assert [(m.topic, m.payload, m.mid) for m in messages] == [("a/1", b"one", 1), ("a/2", b"x" * 200, 2)]


@pytest.mark.parametrize(
    "garbage", [b"\x30\xff\xff\xff\xff\x01", b"\x30\x01\x00", b"\xf0\x00", b"\x20\x01\x00"]
)
async def test_a_broken_stream_ends_the_connection(garbage: bytes) -> None:
    """What is no MQTT, or not what a client may hear, disconnects and does nothing else."""
    async with scripted([CONNACK, garbage], pause_s=0.05) as broker, connect(broker, "core") as core:
        async with asyncio.timeout(10):
            with pytest.raises(Disconnected):
                await core.receive()


def test_paho_still_has_what_we_take_from_it() -> None:
    """The names of the pinned paho client that ``fengsui.mqtt`` goes past its public face for."""
    client = Client(CallbackAPIVersion.VERSION2)
    assert set(client._in_packet) >= {"command"}
    assert isinstance(client._last_bytes_received, float | int)
    assert callable(client._sock_recv)
    assert not client._out_packet

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator
from contextlib import suppress

import aiomqtt
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import MQTTErrorCode

from fengsui.mqtt import _INBOX, Backoff, Connection, Disconnected, connect
from fengsui.packets import Message
from fengsui.settings import Broker
from tests.servers import Process, free_port, mosquitto
from tests.waiting import until


@pytest.fixture
async def server() -> AsyncIterator[Process]:
    """A broker that forgets everything."""
    async with mosquitto(settings=["max_queued_messages 0", "max_inflight_messages 0"]) as process:
        yield process


def broker(server: Process) -> Broker:
    """Where it is."""
    return Broker(port=server.port)


async def collect(connection: Connection, count: int) -> list[Message]:
    """So many messages."""
    found: list[Message] = []
    async with asyncio.timeout(20):
        while len(found) < count:
            found += await connection.receive()
    return found


async def test_the_private_parts_we_use_are_there(server: Process) -> None:
    """The contract with aiomqtt 2.5 and paho 2: the attributes that ``fengsui.mqtt`` takes from inside."""
    async with aiomqtt.Client("127.0.0.1", server.port) as client:
        assert isinstance(client._client, paho.Client)
        assert isinstance(client._disconnected, asyncio.Future)
        assert not client._disconnected.done()
        client._client.manual_ack_set(True)
        assert client._client._manual_ack
        assert client._client.socket() is not None
        for name in ("loop_read", "loop_write", "_sock_recv", "on_disconnect"):
            assert callable(getattr(client._client, name)), name
        assert isinstance(client._connected, asyncio.Future)
        assert client._client._in_packet["command"] == 0
        assert len(client._client._out_packet) == 0
        assert client._client._last_bytes_received > 0
    assert client._disconnected.done()


async def test_a_packet_of_paho_and_one_of_ours_in_one_turn_leave_nothing_watched(server: Process) -> None:
    """A ping that leaves together with a publish must not keep the loop turning on a writable socket."""
    async with connect(broker(server), "a") as connection:
        turns = 0
        write = connection._paho.loop_write

        def counted() -> MQTTErrorCode:
            nonlocal turns
            turns += 1
            return write()

        connection._paho.loop_write = counted  # type: ignore[method-assign]
        connection._paho._send_pingreq()
        connection.send("t", b"x")
        connection.flush()
        await asyncio.sleep(0.1)
        assert 1 <= turns < 10
        sock = connection._socket()
        assert sock is not None
        assert not asyncio.get_running_loop().remove_writer(sock)


async def test_messages_come_in_order_and_in_one_go(server: Process) -> None:
    """Many packets of one wake-up are one turn; nothing is lost, bytes and topics are as sent."""
    async with connect(broker(server), "a") as receiver, connect(broker(server), "b") as sender:
        await receiver.subscribe("t/+")
        for n in range(5_000):
            sender.send(f"t/{n % 3}", b"%d" % n)
        messages = await collect(receiver, 5_000)
        assert [int(m.payload) for m in messages] == list(range(5_000))
        assert {m.topic for m in messages} == {"t/0", "t/1", "t/2"}
        assert all(m.qos == 1 and not m.retained for m in messages)


async def test_a_flood_waits_in_the_network_and_not_in_memory(server: Process) -> None:
    """While nobody takes the inbox, reading pauses; then everything comes."""
    async with connect(broker(server), "a") as receiver, connect(broker(server), "b") as sender:
        await receiver.subscribe("t")
        before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for n in range(20_000):
            sender.send("t", b"%06d" % n + bytes(1_000))
            if n % 200 == 0:
                await asyncio.sleep(0)
        await until(lambda: len(receiver._inbox) >= _INBOX)
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(receiver._inbox) <= _INBOX + 1_000
        messages = await collect(receiver, 20_000)
        assert [int(m.payload[:6]) for m in messages] == list(range(20_000))
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 150_000


async def test_a_retained_message_says_so(server: Process) -> None:
    """Whoever must not believe the past can tell it."""
    async with aiomqtt.Client("127.0.0.1", server.port) as client:
        await client.publish("t", b"old", qos=1, retain=True)
    async with connect(broker(server), "a") as receiver:
        await receiver.subscribe("t")
        (message,) = await collect(receiver, 1)
        assert message.retained


async def test_a_topic_that_is_no_text_is_nobody_s(server: Process) -> None:
    """Bytes that are not UTF-8 in a topic neither stop the reader nor look like a name."""
    async with connect(broker(server), "a") as receiver:
        message = paho.MQTTMessage(1, b"fs/\xff")
        message.payload = b"x"
        receiver._take(receiver._paho, None, message)
        (got,) = await receiver.receive()
        assert got.topic == ""


async def test_a_broker_that_goes_is_noticed_by_everybody(server: Process) -> None:
    """Receiving, sending and waiting all end with ``Disconnected``."""
    with suppress(Disconnected):  # of leaving the block
        async with connect(broker(server), "a") as connection:
            await connection.subscribe("t")
            receiving = asyncio.create_task(connection.receive())
            closed = asyncio.create_task(connection.wait_closed())
            await asyncio.sleep(0)
            await server.kill9()
            async with asyncio.timeout(10):
                await closed
                await asyncio.wait([receiving])
            assert isinstance(receiving.exception(), Disconnected)
            for work in (connection.receive(), _send(connection)):
                with pytest.raises(Disconnected):
                    await work


async def _send(connection: Connection) -> None:
    connection.send("t", b"x")


async def test_no_broker_no_right_and_no_grant_are_disconnected(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Nobody there, and a subscription that is refused, end in the same error as a lost connection."""
    with pytest.raises(Disconnected):
        async with connect(Broker(port=free_port()), "a"):
            pass
    async with (
        mosquitto(settings=["max_topic_alias 0"]) as server,
        connect(broker(server), "a") as connection,
    ):
        connection._client.subscribe = _refused  # type: ignore[method-assign]  # a broker that says 0x80
        with pytest.raises(Disconnected, match="does not grant QoS 1 for b"):
            await connection.subscribe("a", "b")


async def _refused(*args: object, **kwargs: object) -> tuple[int, ...]:
    return (1, 0x80)


async def test_what_follows_a_packet_that_ended_the_connection_is_left(server: Process) -> None:
    """Garbage that makes the library hang up, with more behind it, does not keep the event loop."""
    with suppress(Disconnected):
        async with connect(broker(server), "a") as receiver:
            receiver._data, receiver._at = b"\xf0\x00\xd0\x00\xd0\x00", 0
            receiver._take_packets()
            async with asyncio.timeout(5):
                with pytest.raises(Disconnected):
                    await receiver.receive()


async def test_a_cancelled_task_ends_at_whatever_moment_it_is_cancelled(server: Process) -> None:
    """No cancellation is lost in connecting, subscribing, receiving or hanging up."""

    async def serve() -> None:
        while True:
            with suppress(Disconnected):
                async with connect(broker(server), "a") as connection:
                    await connection.subscribe("t")
                    await connection.receive()

    for step in range(60):
        task = asyncio.create_task(serve())
        asyncio.get_running_loop().call_later(step * 0.0005, task.cancel)
        done, _ = await asyncio.wait([task], timeout=5)
        assert done, f"cancelled after {step / 2} ms, and did not end"


async def test_a_failed_conversation_is_no_cancellation(server: Process) -> None:
    """After a task group has failed inside a connection the same task can connect again."""

    async def fail() -> None:
        raise Disconnected("greeting again")

    async def converse() -> None:
        async with connect(broker(server), "a") as connection:
            await connection.subscribe("t")
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(connection.receive())
                tasks.create_task(fail())

    for _ in range(3):
        with pytest.raises(ExceptionGroup):
            await converse()


def test_pauses_double_with_full_jitter_and_begin_small_again() -> None:
    """Between attempts: from 1 to 30 s, never the same for everybody, never giving up."""
    backoff = Backoff(1.0, 30.0, seed=1)
    pauses = [backoff.pause_s() for _ in range(500)]
    assert all(pause <= bound for pause, bound in zip(pauses, (1, 2, 4, 8, 16), strict=False))
    assert 25 < max(pauses) <= 30
    assert min(pauses[10:]) < 2
    backoff.reset()
    assert backoff.pause_s() <= 1.0

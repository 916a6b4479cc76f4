"""The servers that other tests stand on: ours, ready, killable, and the same again after a restart."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import aiomqtt
import pytest

from tests.servers import (
    HOST,
    Process,
    answers_mqtt,
    free_port,
    http,
    influxd,
    mosquitto,
    nats_server,
    owner_of,
    running,
    victoria_metrics,
)

Opener = Callable[[], AbstractAsyncContextManager[Process]]
BROKERS = pytest.mark.parametrize("opener", [mosquitto, nats_server], ids=["mosquitto", "nats"])


@BROKERS
async def test_a_broker_passes_messages_and_survives_kill9(opener: Opener) -> None:
    """A broker answers on its own port, before and after kill -9."""
    async with opener() as broker:
        for _ in range(2):
            assert owner_of(broker.port) == broker.pid
            async with aiomqtt.Client(HOST, broker.port) as client:
                await client.subscribe("t", qos=1)
                await client.publish("t", b"hello", qos=1)
                async with asyncio.timeout(5):
                    message = await anext(client.messages)
            assert message.payload == b"hello"
            assert await broker.kill9() == -9
            assert not await answers_mqtt(broker.port)
            await broker.restart()
        assert broker.starts == 3
    assert not broker.running
    assert owner_of(broker.port) is None


async def test_a_stranger_on_the_port_is_found_out(tmp_path: Path) -> None:
    """A child whose port answers but belongs to somebody else is an error, not a ready server."""
    async with mosquitto() as other:
        impostor = Process(
            "impostor", ["sleep", "60"], tmp_path, ports=[other.port], ready=lambda: answers_mqtt(other.port)
        )
        with pytest.raises(RuntimeError, match=f"belongs to pid {other.pid}"):
            async with running(impostor):
                pass


async def test_a_child_that_ends_says_why(tmp_path: Path) -> None:
    """A server that does not start shows its own words."""
    with pytest.raises(RuntimeError, match="no-such-setting"):
        async with mosquitto(tmp_path, settings=["no-such-setting 1"]):
            pass


async def test_debian_mosquitto_forgets_what_it_acknowledged(tmp_path: Path) -> None:
    """With Debian's persistence a kill loses queued, acknowledged messages: the reason for our own spool."""
    async with mosquitto(tmp_path, persistence=True) as broker:
        async with aiomqtt.Client(HOST, broker.port, identifier="reader", clean_session=False) as reader:
            await reader.subscribe("t", qos=1)
        async with aiomqtt.Client(HOST, broker.port) as writer:
            await writer.publish("t", b"acknowledged", qos=1)
        await broker.kill9()
        await broker.start()
        async with aiomqtt.Client(HOST, broker.port, identifier="reader", clean_session=False) as reader:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await anext(reader.messages)


async def test_a_message_limit_reaches_the_broker() -> None:
    """Further settings are the broker's own: a message over the size limit never arrives."""
    async with (
        mosquitto(settings=["message_size_limit 100"]) as broker,
        aiomqtt.Client(HOST, broker.port) as client,
    ):
        await client.subscribe("t", qos=1)
        await client.publish("t", b"x" * 500, qos=1)
        await client.publish("t", b"x" * 50, qos=1)
        async with asyncio.timeout(5):
            assert (await anext(client.messages)).payload == b"x" * 50


async def test_influxd_keeps_what_it_answered_204_for() -> None:
    """A point written before kill -9 is there after it."""
    async with influxd() as database:
        status, _ = await http(database.port, "POST", "/write?db=fengsui", b"r,point=a v=1 1000")
        assert status == 204
        await database.kill9()
        await database.restart()
        status, body = await http(database.port, "GET", "/query?db=fengsui&q=SELECT+v+FROM+r")
        assert status == 200
        assert b'"values":[["1970-01-01T00:00:00.000001Z",1]]' in body


async def test_victoria_metrics_takes_the_v2_write_route() -> None:
    """The peer answers the route that InfluxDB 1.6.7 does not have."""
    async with victoria_metrics() as database:
        status, _ = await http(database.port, "POST", "/api/v2/write?org=o&bucket=b", b"r,point=a v=1")
        assert status == 204


def test_free_ports_stay_clear_of_outgoing_connections() -> None:
    """A killed server's port cannot be taken by an outgoing connection before its restart."""
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports = {free_port() for _ in range(20)}
    assert len(ports) == 20
    assert max(ports) < first
    with socket.socket() as probe:
        probe.bind((HOST, ports.pop()))

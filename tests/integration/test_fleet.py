from __future__ import annotations

import asyncio
from collections import defaultdict

import msgspec
import pytest

from fengsui import topics
from fengsui.model import Lane
from fengsui.mqtt import Disconnected, connect
from fengsui.settings import Broker
from fengsui.wire import Committed, decode_header, spool_text
from simulators.fleet import Member, Template, run_fleet
from tests.servers import mosquitto
from tests.waiting import until

BEGIN_US = 1_700_000_000_000_000


def template() -> Template:
    """Ten points, ten times a second."""
    return Template(points=10, begin_us=BEGIN_US, period_us=100_000)


class Server:
    """The other end: takes every record, answers hellos and commits what it has."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self.seen: dict[str, set[int]] = defaultdict(set)
        self._spools: dict[str, int] = {}
        self.is_ready = asyncio.Event()

    async def run(self) -> None:
        """Serve until cancelled."""
        async with connect(self._broker, "core") as connection:
            await connection.subscribe(topics.UP_TELEMETRY, topics.UP_STATUS)
            self.is_ready.set()
            while True:
                answered = set()
                for message in await connection.receive():
                    told = topics.parse_gateway(message.topic)
                    assert told is not None
                    answered.add(told.gateway)
                    if told.leaf == "telemetry":
                        header = decode_header(message.payload)
                        self._spools[told.gateway] = header.spool
                        self.seen[told.gateway].add(header.seq)
                    else:
                        self._spools[told.gateway] = int(msgspec.json.decode(message.payload)["spool"], 16)
                for gateway in answered:
                    seen, upto = self.seen[gateway], 0
                    while upto + 1 in seen:
                        upto += 1
                    spool = spool_text(self._spools[gateway])
                    answer = Committed(spool=spool, lane=Lane.TELEMETRY, upto=upto, missing=[], window=64)
                    connection.send(topics.of_gateway(gateway, "committed"), msgspec.json.encode(answer))


async def test_a_fleet_sends_everything_until_it_is_committed() -> None:
    """Three members at two rates end when each record of theirs is committed, none more, none less."""
    async with mosquitto() as process:
        broker = Broker(port=process.port)
        server = Server(broker)
        serving = asyncio.create_task(server.run())
        await server.is_ready.wait()
        members = [
            Member(
                f"gw-{i}", broker, template(), spool=i + 1, records=300, rate_per_s=[None, 1000.0, 2000.0][i]
            )
            for i in range(3)
        ]
        seconds: list[int] = []
        async with asyncio.timeout(30):
            total = await run_fleet(members, lambda tally: seconds.append(tally.committed))
        serving.cancel()
    assert (total.made, total.committed) == (900, 900)
    assert total.sent >= 900
    assert seconds[-1] == 900
    assert {gateway: seqs == set(range(1, 301)) for gateway, seqs in server.seen.items()} == {
        f"gw-{i}": True for i in range(3)
    }


async def test_a_member_outlives_its_broker() -> None:
    """When the broker dies and returns, the member sends the rest again and ends."""
    async with mosquitto() as first:
        port = first.port
        broker = Broker(port=port)
        server = Server(broker)
        serving = asyncio.create_task(server.run())
        await server.is_ready.wait()
        member = Member("gw", broker, template(), spool=9, records=400, rate_per_s=400.0)
        running = asyncio.create_task(member.run())
        await until(lambda: member.tally.committed >= 50)
    with pytest.raises(Disconnected):
        await serving
    async with mosquitto(port=port):
        again = Server(broker)
        again.seen = server.seen
        serving = asyncio.create_task(again.run())
        async with asyncio.timeout(30):
            await running
        serving.cancel()
    assert member.tally.committed == 400

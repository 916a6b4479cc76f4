from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import msgspec
import pytest

from fengsui import topics
from fengsui.log import LogFailed, LogFull, LogNoSpace
from fengsui.marks import MAX_AHEAD
from fengsui.model import Clock, Kind, Lane, Reading
from fengsui.mqtt import Connection, connect
from fengsui.settings import Broker
from fengsui.wire import (
    MAX_BODY,
    Committed,
    Hello,
    LaneState,
    Shed,
    encode_body,
    encode_readings,
    encode_record,
    spool_text,
)
from ingest.intake import HOLE_S
from tests.intaking import Core, core
from tests.servers import Process, mosquitto
from tests.waiting import until

ALARM, TELEMETRY = Lane.ALARM, Lane.TELEMETRY
SPOOL = 7


@pytest.fixture
async def server() -> AsyncIterator[Process]:
    """A broker that lives as long as the test."""
    async with mosquitto() as process:
        yield process


class Gateway:
    """A gateway's end of the wire, by hand."""

    def __init__(self, connection: Connection, name: str) -> None:
        self.name = name
        self.connection = connection
        self.heard: list[Committed] = []

    async def listen(self) -> None:
        """Take every ``committed``."""
        while True:
            for message in await self.connection.receive():
                self.heard.append(msgspec.json.decode(message.payload, type=Committed))

    def send(self, lane: Lane, *records: bytes) -> None:
        """Records of a lane."""
        for record in records:
            self.connection.send(topics.of_gateway(self.name, lane), record)

    def hello(self, *, fresh: bool = True, spool: int = SPOOL, **lanes: tuple[int, int]) -> None:
        """A hello with first and next of each lane."""
        states = {
            Lane(lane): LaneState(first=first, next=next_, bytes=0, oldest_age_ms=0)
            for lane, (first, next_) in lanes.items()
        }
        hello = Hello(spool=spool_text(spool), lanes=states, fresh=fresh)
        self.connection.send(topics.of_gateway(self.name, "status"), msgspec.json.encode(hello))

    async def committed(
        self, lane: Lane, wanted: Callable[[Committed], bool], timeout_s: float = 10.0
    ) -> Committed:
        """The first ``committed`` of a lane that is as wanted; what else the lane heard is forgotten."""

        def found() -> list[Committed]:
            return [c for c in self.heard if c.lane is lane and wanted(c)]

        answers = await until(found, timeout_s, "committed")
        self.heard = [c for c in self.heard if c.lane is not lane]
        return answers[0]


@asynccontextmanager
async def gateway(server: Process, name: str = "g1") -> AsyncIterator[Gateway]:
    """A gateway that listens for its ``committed``."""
    async with connect(Broker(port=server.port), name) as connection:
        await connection.subscribe(topics.of_gateway(name, "committed"))
        made = Gateway(connection, name)
        listening = asyncio.create_task(made.listen())
        try:
            yield made
        finally:
            listening.cancel()
            await asyncio.wait([listening])


def record(seq: int, *, spool: int = SPOOL, body: bytes | None = None, kind: Kind = Kind.READINGS) -> bytes:
    """A record whose body tells its number."""
    if body is None:
        body = encode_readings([Reading("a", 1_000 + seq, float(seq))], Clock.SYNCED)
    return encode_record(kind, spool, seq, 0, body)


def upto(seq: int) -> Callable[[Committed], bool]:
    """A ``committed`` that has come so far."""
    return lambda committed: committed.upto >= seq


async def test_committed_means_journalled_and_survives_a_restart(server: Process, tmp_path: Path) -> None:
    """Both lanes are answered with what is in the journal; sent again after a restart it is a duplicate."""
    async with gateway(server) as one:
        async with core(server, tmp_path) as first:
            one.hello(alarm=(1, 2), telemetry=(1, 4))
            assert (await one.committed(ALARM, upto(0))).missing == []
            one.send(ALARM, record(1))
            one.send(TELEMETRY, *map(record, (1, 2, 3)))
            answer = await one.committed(TELEMETRY, upto(3))
            assert (answer.spool, answer.window, answer.missing) == (spool_text(SPOOL), 64, [])
            entries = await first.entries()
            assert [(e.lane, e.gateway, e.readings) for e in entries] == [
                (ALARM, "g1", 1), (TELEMETRY, "g1", 1), (TELEMETRY, "g1", 1), (TELEMETRY, "g1", 1),
            ]  # fmt: skip
            assert [e.record for e in entries] == [record(1), record(1), record(2), record(3)]
            assert [gateway for gateway, _ in first.hellos] == ["g1"]
            assert first.gateways.balances()[0].residue == 0
        async with core(server, tmp_path) as second:
            one.send(TELEMETRY, *map(record, (2, 3, 4)))
            await one.committed(TELEMETRY, upto(4))
            assert len(await second.entries()) == 5
            assert [state.duplicates for state in second.gateways] == [2]


async def test_an_alarm_is_answered_at_once_and_telemetry_by_half_windows(
    server: Process, tmp_path: Path
) -> None:
    """The alarm lane gets an answer per turn; telemetry when half the window waits, else within a second."""
    async with core(server, tmp_path, window=8), gateway(server) as one:
        one.send(ALARM, record(1))
        await one.committed(ALARM, upto(1), timeout_s=0.9)
        one.send(TELEMETRY, *map(record, range(1, 9)))
        await one.committed(TELEMETRY, upto(4), timeout_s=0.9)
        one.send(TELEMETRY, record(9))
        await one.committed(TELEMETRY, upto(9), timeout_s=3.0)


async def test_holes_are_named_when_they_are_two_seconds_old_and_the_young_before_them(
    server: Process, tmp_path: Path
) -> None:
    """What a ``committed`` does not name below its last hole has arrived: a gateway may count on that."""
    async with core(server, tmp_path) as it, gateway(server) as one:
        began = asyncio.get_running_loop().time()
        one.send(TELEMETRY, record(1), record(9), record(12))
        answer = await one.committed(TELEMETRY, lambda c: bool(c.missing))
        assert asyncio.get_running_loop().time() - began >= HOLE_S - 0.3
        assert answer.missing == [(2, 8), (10, 11)]
        one.send(TELEMETRY, record(5))
        answer = await one.committed(TELEMETRY, lambda c: bool(c.missing) and c.missing != [(2, 8), (10, 11)])
        assert answer.missing == [(2, 4), (6, 8), (10, 11)]
        one.send(TELEMETRY, *map(record, (2, 3, 4, 6, 7, 8, 10, 11)))
        assert (await one.committed(TELEMETRY, upto(12))).missing == []
        assert [e.header.seq for e in await it.entries()] == [1, 9, 12, 5, 2, 3, 4, 6, 7, 8, 10, 11]


async def test_poison_is_committed_under_its_number_and_stops_nothing(
    server: Process, tmp_path: Path
) -> None:
    """Bodies that cannot be read, of any kind and size, are journalled by their header; the lane moves on."""
    async with core(server, tmp_path) as it, gateway(server) as one:
        poison = [
            record(1, body=b""),
            record(2, body=b"\xff" * 100),
            record(3, body=bytes(MAX_BODY + 5_000_000)),
            record(4)[:-3],
            record(5, kind=Kind.SHED, body=b"no tombstone"),
            b"FS\x01\xee" + record(6)[4:],
        ]
        one.send(TELEMETRY, *poison, record(7))
        await one.committed(TELEMETRY, upto(7))
        entries = await it.entries()
        assert [e.header.seq for e in entries] == [1, 2, 3, 4, 5, 6, 7]
        assert [e.readings for e in entries] == [1] * 7
        assert max(len(e.record) for e in entries) < MAX_BODY + 100
        assert it.aside == []


async def test_what_has_no_number_is_set_aside_with_its_reason(server: Process, tmp_path: Path) -> None:
    """Foreign topics, bad headers, hostile hellos: a dead letter each, and the next record gets through."""
    async with core(server, tmp_path) as it, gateway(server) as one:
        shard = topics.shard("g1")
        foreign = [
            f"fs/1/{(int(shard) + 1) % 64:02d}/g1/telemetry",
            f"fs/1/{shard}/g 1/telemetry",
            "fs/1/plain/g1/telemetry",
        ]
        for topic in foreign:
            one.connection.send(topic, record(1))
        one.send(TELEMETRY, b"", b"XX", b"FS\x02" + record(1)[3:], record(0), record(1, spool=0))
        status = topics.of_gateway("g1", "status")
        for payload in (b"{", b"\xff\xfe", b'{"a":' + b"[" * 20_000 + b"]" * 20_000 + b"}", bytes(70_000)):
            one.connection.send(status, payload)
        one.connection.send(topics.of_gateway("g1", "reply"), b"done")
        one.send(TELEMETRY, record(1))
        await one.committed(TELEMETRY, upto(1))
        await until(lambda: len(it.aside) == 12, what="12 dead letters")
        reasons = sorted(m.reason for m in it.aside)
        expected = ["topic"] * 3 + ["short"] * 2 + ["version", "seq", "spool"] + ["status"] * 4
        assert reasons == sorted(expected)
        assert it.gateways.status(0.0)[0]["gateway"] == "g1"
        assert [state.unreadable for state in it.gateways] == [5]
        assert len(await it.entries()) == 1
        await until(lambda: it.replies == [("g1", b"done")])


async def test_a_retained_record_is_of_the_past(server: Process, tmp_path: Path) -> None:
    """What the broker kept for whoever comes is counted, not believed, in every lane."""
    async with aiomqtt.Client("127.0.0.1", server.port) as old:
        for topic in (topics.of_gateway("g1", "alarm"), topics.of_plain("d1")):
            await old.publish(topic, record(1), qos=1, retain=True)
    async with core(server, tmp_path) as it:
        await until(lambda: it.intake.retained == 2, what="two retained messages")
        assert await it.entries() == []
        assert it.aside == []


async def test_another_record_under_a_known_number_is_a_conflict(server: Process, tmp_path: Path) -> None:
    """It is answered, so that the lane moves on, set aside, counted, and a fault."""
    async with core(server, tmp_path) as it, gateway(server) as one:
        one.send(ALARM, record(1), record(1), record(1, body=b"another"))
        await one.committed(ALARM, upto(1))
        await until(lambda: len(it.aside) == 1)
        assert it.aside[0].reason == "conflict"
        (state,) = it.gateways
        assert (state.conflicts, state.duplicates) == (1, 1)
        assert "other records already have" in it.gateways.status(0.0)[0]["faults"][0]
        assert len(await it.entries()) == 1


async def test_a_number_too_far_ahead_stays_unanswered(server: Process, tmp_path: Path) -> None:
    """A number beyond belief is not taken; a tombstone over a long gap is, and the lane goes on behind it."""
    async with core(server, tmp_path) as it, gateway(server) as one:
        one.send(ALARM, record(MAX_AHEAD + 10))
        one.hello(alarm=(1, 1))
        assert (await one.committed(ALARM, upto(0))).upto == 0
        assert [state.ahead for state in it.gateways] == [1]
        last = 10 * MAX_AHEAD
        body = encode_body(Shed(1, last, 5, "quota"))
        one.send(ALARM, record(last + 1, kind=Kind.SHED, body=body), record(last + 2))
        await one.committed(ALARM, upto(last + 2))
        assert it.journal.account(ALARM, "g1", SPOOL).shed == last


async def test_what_nobody_holds_any_more_is_closed_once_as_lost(server: Process, tmp_path: Path) -> None:
    """A journal that lost its end, and a spool that was given up: holes are closed, counted, and a fault."""
    async with core(server, tmp_path) as it, gateway(server) as one:
        one.send(TELEMETRY, record(3), record(6))
        one.hello(telemetry=(10, 12), alarm=(4, 4))
        assert (await one.committed(ALARM, upto(3))).upto == 3
        await one.committed(TELEMETRY, upto(9))
        one.hello(telemetry=(10, 12), alarm=(4, 4))
        await one.committed(ALARM, upto(3))
        (state,) = it.gateways
        assert state.lost == 2 + 2 + 3 + 3
        account = it.journal.account(TELEMETRY, "g1", SPOOL)
        assert (account.received, account.lost) == (2, 7)
        assert [b.residue for b in it.gateways.balances()] == [0, 0]
        one.send(TELEMETRY, record(15))
        one.hello(telemetry=(1, 1), alarm=(1, 1), spool=8)
        await one.committed(TELEMETRY, lambda c: c.spool == spool_text(8))
        assert account.marks.missing() == []
        assert state.lost == 10 + 5


async def test_a_will_and_a_hello_without_a_lane_are_heard(server: Process, tmp_path: Path) -> None:
    """The broker's word that a gateway is gone is passed on, and settles nothing."""
    async with core(server, tmp_path) as it, gateway(server) as one:
        gone = Hello(
            spool=spool_text(SPOOL),
            lanes={TELEMETRY: LaneState(first=5, next=9, bytes=0, oldest_age_ms=0)},
            gone=True,
        )
        one.connection.send(topics.of_gateway("g1", "status"), msgspec.json.encode(gone))
        await until(lambda: len(it.hellos) == 1)
        assert it.hellos[0][1].gone
        one.hello()
        await until(lambda: len(it.hellos) == 2)
        assert [state.lost for state in it.gateways] == [0]


async def test_a_full_journal_answers_nobody_until_there_is_room(
    server: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No room in telemetry: unanswered, a fault; alarms and hellos go on; then everything is taken, once."""
    monkeypatch.setattr("ingest.intake._NO_ROOM_PAUSE_S", 0.05)
    async with core(server, tmp_path) as it, gateway(server) as one:
        log = it.journal._lanes[TELEMETRY].log
        it.has_room = False
        log.quota_bytes = log.size + 10
        one.send(TELEMETRY, record(1), record(2))
        await until(lambda: "journal_telemetry" in it.intake.faults)
        one.send(ALARM, record(1))
        await one.committed(ALARM, upto(1))
        one.hello(alarm=(2, 2), telemetry=(1, 3))
        await one.committed(ALARM, upto(1))
        log.quota_bytes = 1 << 26
        await one.committed(TELEMETRY, upto(2))
        assert it.intake.faults == {}
        assert len(await it.entries()) == 3


@pytest.mark.parametrize("error", [LogNoSpace("no space"), LogFull("full")])
async def test_a_full_medium_is_waited_for(
    server: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """ENOSPC at a commit, the quota at an offer: room is made, and the same records are committed once."""
    monkeypatch.setattr("ingest.intake._NO_ROOM_PAUSE_S", 0.01)
    async with core(server, tmp_path) as it, gateway(server) as one:
        failures = 3
        log = it.journal._lanes[ALARM].log
        name = "sync" if isinstance(error, LogNoSpace) else "append"
        real = getattr(log, name)

        def failing(*args: Any, **kwargs: Any) -> Any:
            nonlocal failures
            if failures:
                failures -= 1
                it.has_room = failures == 1
                raise error
            return real(*args, **kwargs)

        monkeypatch.setattr(log, name, failing)
        one.send(ALARM, record(1))
        await one.committed(ALARM, upto(1))
        assert [e.header.seq for e in await it.entries()] == [1]


async def test_a_failed_medium_ends_the_intake(
    server: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EIO: the process must stop; nothing was answered."""
    it = Core(server.port, tmp_path / "journal")
    running = asyncio.create_task(it.intake.run())
    await it.intake.is_listening.wait()

    def broken() -> int:
        raise LogFailed("EIO")

    monkeypatch.setattr(it.journal._lanes[ALARM].log, "sync", broken)
    async with gateway(server) as one:
        one.send(ALARM, record(1))
        await asyncio.wait([running], timeout=10)
        assert one.heard == []
    error = running.exception()
    assert isinstance(error, ExceptionGroup)
    assert error.split(LogFailed)[1] is None
    it.journal.close()


async def test_a_broker_that_comes_back_finds_the_intake_again(tmp_path: Path) -> None:
    """A killed broker is a fault until it is back; what was sent then is committed."""
    async with mosquitto() as server, core(server, tmp_path) as it:
        await server.kill9()
        await until(lambda: set(it.intake.faults) == {"core-alarm", "core-telemetry", "core-plain"})
        assert not it.intake.send("g1", "command", b"x")
        await server.start()
        await until(lambda: it.intake.faults == {}, 20)
        async with gateway(server) as one:

            async def is_answered() -> bool:
                one.hello(alarm=(1, 1))
                return bool(one.heard)

            await until(is_answered, every_s=0.2)
            one.send(ALARM, record(1))
            await one.committed(ALARM, upto(1))


async def test_a_command_reaches_its_gateway(server: Process, tmp_path: Path) -> None:
    """``send`` publishes under the gateway's own topic."""
    async with core(server, tmp_path) as it, connect(Broker(port=server.port), "g1") as connection:
        await connection.subscribe(topics.of_gateway("g1", "command"))
        assert it.intake.send("g1", "command", b"what")
        (message,) = await connection.receive()
        assert message.payload == b"what"


async def test_plain_devices_are_journalled_or_told_why_not(server: Process, tmp_path: Path) -> None:
    """JSON becomes readings under the device's name; a refusal goes to the device and the dead letter."""
    async with core(server, tmp_path) as it, connect(Broker(port=server.port), "d1") as device:
        await device.subscribe(topics.of_plain_error("d1"))
        device.send(topics.of_plain("d1"), b'{"p":"smoke","x":0.5}')
        device.send(topics.of_plain("d1"), b'[{"p":"a","x":1},{"p":"b","x":2}]')
        device.send(topics.of_plain("d1"), b"{")
        device.send(topics.of_plain("d1"), b"[]")
        device.send("fs/1/plain/d 1", b'{"p":"smoke","x":0.5}')
        async with asyncio.timeout(5):
            messages = await device.receive()
        refusal = msgspec.json.decode(messages[0].payload)
        assert refusal["reason"] == "json"
        await until(lambda: [m.reason for m in it.aside] == ["json", "count", "topic"])
        await until(lambda: it.journal.journalled() == {"d1": 3})
        entries = await it.entries()
        assert {(e.gateway, e.header.spool, e.header.seq) for e in entries} == {("d1", 0, 0)}
        assert it.gateways.get("d1") is None


async def test_a_plain_message_is_acknowledged_after_the_commit_only(
    server: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A core killed before the commit gets the message again; after it, no more."""
    async with core(server, tmp_path):
        pass  # its persistent session is now known to the broker
    it = Core(server.port, tmp_path / "journal")
    reached = asyncio.Event()

    async def never(lane: Lane) -> None:
        reached.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(it.journal, "commit", never)
    running = asyncio.create_task(it.intake.run())
    async with connect(Broker(port=server.port), "d1") as device:
        device.send(topics.of_plain("d1"), b'{"p":"smoke","x":0.5,"t":1795000000000}')
        async with asyncio.timeout(10):
            await reached.wait()
    running.cancel()
    await asyncio.wait([running])
    it.journal.close()
    for expected in (1, 1):
        async with core(server, tmp_path) as again:
            await until(lambda: again.journal.is_behind({ALARM: 0, TELEMETRY: 0}))
            assert len(await again.entries()) == expected
            await until(lambda: not again.intake.faults)


async def test_nothing_long_begins_while_an_alarm_is_being_committed(
    server: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Telemetry that comes meanwhile is journalled after it, but never kept waiting for long."""
    async with core(server, tmp_path) as it, gateway(server) as g1:
        commit, held, go_on = it.journal.commit, asyncio.Event(), asyncio.Event()

        async def slow(lane: Lane) -> None:
            if lane is ALARM:
                held.set()
                await go_on.wait()
            await commit(lane)

        def journalled(lane: Lane) -> int:
            return it.journal.end()[lane]

        monkeypatch.setattr(it.journal, "commit", slow)
        monkeypatch.setattr("ingest.intake._ALARM_S", 60.0)
        async with asyncio.timeout(10):
            g1.send(ALARM, record(1))
            await held.wait()
            passing = asyncio.create_task(it.intake.let_alarms_pass())
            g1.send(TELEMETRY, record(1))
            await until(lambda: g1.connection._unread == 0, 5, "the broker has both")
            await asyncio.sleep(0.05)
            assert journalled(TELEMETRY) == 0
            assert not passing.done()
            go_on.set()
            await passing
            await until(lambda: journalled(TELEMETRY) == 1, 5, "telemetry after the alarm")
            assert journalled(ALARM) == 1
            go_on.clear()
            held.clear()
            monkeypatch.setattr("ingest.intake._ALARM_S", 0.01)
            g1.send(ALARM, record(2))
            await held.wait()
            g1.send(TELEMETRY, record(2))
            await until(lambda: journalled(TELEMETRY) == 2, 5, "telemetry beside a lane that has no room")
            assert journalled(ALARM) == 1
            go_on.set()

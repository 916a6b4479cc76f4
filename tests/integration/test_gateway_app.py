from __future__ import annotations

import asyncio
import math
import shutil
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fengsui import topics
from fengsui.errors import UsageError
from fengsui.model import Description, Event, Kind, Lane, Reading, What
from fengsui.mqtt import connect
from fengsui.settings import Broker
from fengsui.spool import SpoolError, SpoolFull
from fengsui.wire import HEADER, Committed, Describe, Hello, Readings, spool_text
from gateway.app import Gateway, make_driver
from gateway.collect import Urgent
from gateway.config import Settings, SpoolSettings
from gateway.drivers.base import CommandRefused, Driver, Pace, Sink
from gateway.drivers.config import Simulated
from gateway.verb import ask, describe
from tests.intaking import Core, core
from tests.servers import Process, free_port, mosquitto
from tests.waiting import until

ALARM, TELEMETRY = Lane.ALARM, Lane.TELEMETRY


@pytest.fixture
async def server() -> AsyncIterator[Process]:
    """A broker that lives as long as the test."""
    async with mosquitto() as process:
        yield process


class Manual:
    """A driver whose device is the test."""

    def __init__(self, name: str = "manual") -> None:
        self.name = name
        self.runs = 0
        self.commands: list[tuple[str, dict[str, str]]] = []
        self.sink: Sink | None = None
        self.trouble: list[Exception] = []

    def describe(self) -> Sequence[Description]:
        """One point."""
        return [Description("t", "temperature", "degC")]

    async def run(self, sink: Sink) -> None:
        """Do nothing, or fail as told."""
        self.runs += 1
        self.sink = sink
        if self.trouble:
            raise self.trouble.pop()
        await asyncio.Event().wait()

    def command(self, what: str, args: Mapping[str, str]) -> str:
        """Keep it; refuse and fail on demand."""
        if what == "refuse":
            raise CommandRefused("not here")
        if what == "break":
            raise KeyError("no such valve")
        self.commands.append((what, dict(args)))
        return "done it"


def config(tmp_path: Path, port: int, **changes: Any) -> Settings:
    """Settings of ``g1``."""
    fields: dict[str, Any] = {
        "process": "gateway",
        "name": "g1",
        "broker": Broker(port=port),
        "spool": SpoolSettings(folder=tmp_path / "spool", quota_mb=1),
        "socket": tmp_path / "gateway.sock",
        "group_s": 0.05,
        "points": {"t": Urgent(urgent_above=57.0)},
    }
    return Settings(**(fields | changes))


@asynccontextmanager
async def running(settings: Settings, *drivers: Driver, **changes: Any) -> AsyncIterator[Gateway]:
    """A gateway that runs; stopped in an orderly way."""
    gateway = Gateway(settings, drivers=drivers, **changes)
    stop = asyncio.Event()
    task = asyncio.create_task(gateway.run(stop))
    try:
        yield gateway
    finally:
        stop.set()
        async with asyncio.timeout(10):
            await task


def bodies(it: Core, entries: list[Any], kind: Kind) -> list[Any]:
    """Decoded bodies of one kind."""
    types: dict[Kind, Any] = {Kind.READINGS: Readings, Kind.EVENT: Event, Kind.DESCRIBE: Describe}
    return [
        msgspec.msgpack.decode(e.record[HEADER.size :], type=types[kind])
        for e in entries
        if e.header.kind == kind
    ]


async def test_what_a_driver_offers_reaches_the_journal_and_leaves_the_spool(
    server: Process, tmp_path: Path
) -> None:
    """Readings, an urgent one, a fire, the description: each arrives once, in its lane, and is forgotten."""
    async with core(server, tmp_path) as it, running(config(tmp_path, server.port), Manual()) as gateway:
        await gateway.accept([Reading("t", n, float(n)) for n in range(50)])
        await gateway.accept([Reading("t", 100, 60.0), Event("panel", 5, What.FIRE)])
        await until(lambda: gateway.uplink.senders[ALARM].upto == 2)
        await until(lambda: gateway.uplink.senders[TELEMETRY].upto == 2)
        entries = await it.entries()
        assert [b.what for b in bodies(it, entries, Kind.EVENT)] == [What.FIRE]
        assert sorted(b.count for b in bodies(it, entries, Kind.READINGS)) == [1, 50]
        assert [d.name for d in bodies(it, entries, Kind.DESCRIBE)[0].points] == ["t"]
        assert gateway.spool.read(ALARM, 1) == gateway.spool.read(TELEMETRY, 1) == []
        await until(lambda: it.gateways.get("g1") is not None and it.hellos != [])
        assert [b.residue for b in it.gateways.balances()] == [0, 0]
        assert all(state.duplicates == 0 for state in it.gateways)


async def test_nothing_is_lost_or_sent_twice_over_restarts_of_both_ends(
    server: Process, tmp_path: Path
) -> None:
    """Stored while the server is away and over a restart of the gateway: all of it arrives, once."""
    settings = config(tmp_path, server.port)
    async with core(server, tmp_path), running(settings, Manual()) as gateway:
        await gateway.accept([Event("panel", 1, What.FIRE)])
        await until(lambda: gateway.uplink.senders[ALARM].upto == 1)
    async with running(settings, Manual()) as gateway:
        await gateway.accept([Event("panel", 2, What.RESTORED), Reading("t", 1, 20.0)])
    async with running(settings, Manual()) as gateway:
        await gateway.accept([Event("panel", 3, What.FIRE)])
        async with core(server, tmp_path) as it:
            await until(lambda: gateway.uplink.senders[ALARM].upto == 3)
            await until(lambda: gateway.uplink.senders[TELEMETRY].upto == 4)
            entries = await it.entries()
            assert [e.at for e in bodies(it, entries, Kind.EVENT)] == [1, 2, 3]
            assert [state.duplicates for state in it.gateways] == [0]
            assert it.journal.journalled() == {"g1": 3 + 1 + 3}


async def test_a_spool_restored_from_an_old_copy_loses_nothing_new(server: Process, tmp_path: Path) -> None:
    """Yesterday's copy: new records under used numbers are renumbered, and all of them arrive."""
    settings = config(tmp_path, server.port)
    async with core(server, tmp_path) as it:
        async with running(settings, Manual()) as gateway:
            await gateway.accept([Event("panel", 1, What.FIRE)])
            await until(lambda: gateway.uplink.senders[ALARM].upto == 1)
        shutil.copytree(settings.spool.folder, tmp_path / "yesterday")
        async with running(settings, Manual()) as gateway:
            await gateway.accept([Event("panel", at, What.FIRE) for at in (2, 3)])
            await gateway.accept([Reading("t", n, 1.0) for n in range(3)])
            await until(lambda: gateway.uplink.senders[ALARM].upto == 3)
            await until(lambda: gateway.uplink.senders[TELEMETRY].upto == 3)
            identity = gateway.spool.identity
        shutil.rmtree(settings.spool.folder)
        shutil.move(tmp_path / "yesterday", settings.spool.folder)
        gateway = Gateway(settings, drivers=[Manual()])
        collecting = asyncio.create_task(gateway.collector.run())
        await gateway.accept([Event("panel", at, What.FIRE) for at in (10, 11, 12, 13)])
        await gateway.accept([Reading("t", 100 + n, 1.0) for n in range(500)])
        uplink = asyncio.create_task(gateway.uplink.run())
        await until(lambda: "old_spool" in gateway.uplink.faults)
        await until(lambda: gateway.spool.identity != identity)
        await until(lambda: not gateway.spool.read(ALARM, 1) and not gateway.spool.read(TELEMETRY, 1), 20)
        for task in (uplink, collecting):
            task.cancel()
        await asyncio.wait([uplink, collecting])
        gateway.spool.close()
        entries = await it.entries()
        events = [e.at for e in bodies(it, entries, Kind.EVENT)]
        assert set(events) == {1, 2, 3, 10, 11, 12, 13}
        assert events.count(13) == events.count(10) == 1
        assert sum(b.count for b in bodies(it, entries, Kind.READINGS)) == 503
        assert [state.conflicts for state in it.gateways] == [0]


async def test_commands_are_obeyed_once_and_in_time_only(server: Process, tmp_path: Path) -> None:
    """A nonce is good once, for 30 s at most by either clock; what a driver refuses is answered."""
    now_ms = 1_795_000_000_000
    driver = Manual()
    settings = config(tmp_path, server.port)
    async with core(server, tmp_path) as it, running(settings, driver, now_us=lambda: now_ms * 1000):
        await until(lambda: it.hellos != [])

        async def ask_for(what: str, nonce: str, issued: int = 0, expires: int = 10_000) -> dict[str, Any]:
            command = {
                "nonce": nonce, "issued": now_ms + issued, "expires": now_ms + expires, "what": what,
                "args": {"a": "b"}, "sig": "later",
            }  # fmt: skip
            return await ask_raw(msgspec.json.encode(command))

        async def ask_raw(payload: bytes) -> dict[str, Any]:
            it.replies.clear()
            assert it.intake.send("g1", "command", payload)
            replies = await until(lambda: it.replies)
            answer: dict[str, Any] = msgspec.json.decode(replies[0][1])
            return answer

        assert await ask_for("start", "nonce-01") == {"nonce": "nonce-01", "done": "done it"}
        assert "used before" in (await ask_for("start", "nonce-01"))["refused"]
        assert "expired" in (await ask_for("start", "nonce-02", issued=-20_000, expires=0))["refused"]
        assert "expired" in (await ask_for("start", "nonce-03", expires=30_001))["refused"]
        assert (
            "expired"
            in (await ask_for("start", "nonce-04", issued=86_400_000, expires=86_410_000))["refused"]
        )
        assert "done" in await ask_for("start", "nonce-05", issued=3_000, expires=33_000)
        assert (await ask_for("refuse", "nonce-06"))["refused"] == "not here"
        assert "no such valve" in (await ask_for("break", "nonce-07"))["refused"]
        for hostile in (
            b"",
            b"[]",
            b'{"nonce":"short"}',
            b"\xff",
            b'{"x":' + b"[" * 9_000 + b"]" * 9_000 + b"}",
        ):
            assert "not a command" in (await ask_raw(hostile))["refused"]
        assert driver.commands == [("start", {"a": "b"})] * 2
        it.intake.send("g1", "desired", b"{}")
        await until(lambda: any(b"its own file" in payload for _, payload in it.replies))


async def test_nonces_are_kept_within_bounds(
    server: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flood of commands costs a bounded memory; without a driver for them all are refused."""
    monkeypatch.setattr("gateway.app._NONCES_KEPT", 3)
    gateway = Gateway(config(tmp_path, server.port), drivers=[], now_us=lambda: 1_000_000)
    for n in range(10):
        command = {"nonce": f"nonce-{n:02d}", "issued": 1_000, "expires": 2_000, "what": "x"}
        answer = await gateway._on_message("command", msgspec.json.encode(command))
        assert answer is not None
        assert b"no driver here takes commands" in answer
    assert list(gateway._nonces) == ["nonce-07", "nonce-08", "nonce-09"]
    gateway.spool.close()


async def test_a_failing_driver_disturbs_nobody_and_is_begun_again(
    server: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its error is a fault event and in the status; another driver goes on; the broken one comes back."""
    monkeypatch.setattr("fengsui.mqtt.Backoff.pause_s", lambda self: 0.05)
    broken, good = Manual("b" * 60), Manual("good")
    broken.trouble = [ValueError("cable gone"), OSError("bus error")]
    async with core(server, tmp_path) as it, running(config(tmp_path, server.port), broken, good) as gateway:
        await until(lambda: broken.runs == 3)
        assert good.runs == 1
        await until(lambda: gateway.uplink.senders[ALARM].upto == 2)
        events = bodies(it, await it.entries(), Kind.EVENT)
        assert [e.what for e in events] == [What.FAULT, What.FAULT]
        assert "bus error" in events[0].text
        assert {e.point for e in events} == {"b" * 57 + ":driver"}
        assert gateway._driver_states[broken.name] == "running"


async def test_the_status_socket_tells_what_the_gateway_is(server: Process, tmp_path: Path) -> None:
    """One line of JSON, and lines for a person; without a gateway a clear error."""
    settings = config(tmp_path, server.port)
    with pytest.raises(UsageError, match="no gateway answers"):
        ask(settings.socket)
    async with core(server, tmp_path), running(settings, Manual()) as gateway:
        await gateway.accept([Reading("t", 1, math.nan)])
        await until(lambda: gateway.uplink.senders[TELEMETRY].upto == 2)
        status = await asyncio.to_thread(ask, settings.socket)
        assert status["hello"]["spool"] == spool_text(gateway.spool.identity)
        assert status["hello"]["points"] == 1
        assert status["upto"] == {"alarm": 0, "telemetry": 2}
        assert status["drivers"] == {"manual": "running"}
        lines = "\n".join(describe("g1", status))
        assert "committed          2" in lines
        assert "FAULT" not in lines
    assert not settings.socket.exists()


async def test_without_a_broker_the_link_is_a_fault_and_nothing_is_lost(tmp_path: Path) -> None:
    """The gateway stores on, says what is wrong, and keeps it for the next start."""
    settings = config(tmp_path, free_port())
    async with running(settings, Manual()) as gateway:
        await gateway.accept([Event("panel", 1, What.FIRE)])
        await until(lambda: len(gateway.uplink.faults) == 2)
        hello = await gateway.heartbeat.hello(True)
        assert len(hello.faults) == 2
        assert hello.lanes[ALARM].next == 2
        assert hello.fresh
    async with running(settings, Manual()) as gateway:
        assert [h.kind for h in gateway.spool.read(ALARM, 1)] == [Kind.EVENT]
        with pytest.raises(SpoolError, match="in use"):
            Gateway(settings, drivers=[])


async def test_a_server_that_does_not_confirm_is_a_fault(
    server: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hello is answered, the alarm is not: resent, a local fault, over with the first answer."""
    monkeypatch.setattr("gateway.lane.CONFIRM_S", {ALARM: 0.3, TELEMETRY: 0.3})
    async with connect(Broker(port=server.port), "core") as end:
        await end.subscribe(topics.UP_STATUS, topics.UP_ALARM)
        seen: list[tuple[str, bytes]] = []

        async def listen() -> None:
            while True:
                seen.extend((m.topic, m.payload) for m in await end.receive())

        listening = asyncio.create_task(listen())
        async with running(config(tmp_path, server.port), Manual()) as gateway:
            spool = spool_text(gateway.spool.identity)

            def answer(upto: int) -> None:
                committed = Committed(spool, ALARM, upto, [], 64)
                end.send(topics.of_gateway("g1", "committed"), msgspec.json.encode(committed))

            def alarms() -> int:
                return sum(topic.endswith("/alarm") for topic, _ in seen)

            await gateway.accept([Event("panel", 1, What.FIRE)])
            await until(lambda: sum(topic.endswith("/status") for topic, _ in seen) >= 2)
            assert alarms() == 0, "an identity that may be an old copy's sends nothing"
            end.send(topics.of_gateway("g1", "committed"), b"{" * 5)
            end.send(topics.of_gateway("g1", "committed"), b'{"deep":' + b"[" * 5_000 + b"]" * 5_000 + b"}")
            answer(0)
            await until(lambda: alarms() >= 2)
            assert "does not confirm" in gateway.uplink.faults["unconfirmed_alarm"]
            answer(1)
            await until(lambda: "unconfirmed_alarm" not in gateway.uplink.faults)
            assert gateway.spool.read(ALARM, 1) == []
        listening.cancel()
        await asyncio.wait([listening])


async def test_a_refused_record_is_set_aside_and_the_lane_goes_on(
    server: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that never takes number 2: five sendings into the hole, then a tombstone closes it."""
    async with core(server, tmp_path) as it:
        real = it.intake._take

        async def deaf(lane: Lane, message: Any, *rest: Any) -> None:
            if lane is ALARM and message.topic.endswith("/alarm") and message.payload[12] == 2:
                return
            await real(lane, message, *rest)

        monkeypatch.setattr(it.intake, "_take", deaf)
        async with running(config(tmp_path, server.port), Manual()) as gateway:
            await gateway.accept([Event("panel", at, What.FAULT) for at in (1, 2, 3)])
            await until(lambda: gateway.uplink.senders[ALARM].upto == 4, 30)
            account = it.journal.account(ALARM, "g1", gateway.spool.identity)
            assert (account.received, account.shed) == (3, 1)


async def test_a_full_spool_at_the_start_does_not_keep_alarms_from_leaving(
    server: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The description waits for room; it never takes the gateway down."""
    settings = config(tmp_path, server.port)
    gateway = Gateway(settings, drivers=[Manual()])

    def full(*_: Any) -> range:
        raise SpoolFull("full")

    stop = asyncio.Event()
    with monkeypatch.context() as alarms_everywhere:
        alarms_everywhere.setattr(gateway.spool, "store", full)
        task = asyncio.create_task(gateway.run(stop))
        await until(lambda: bool(gateway.collector.full))
        assert "the spool is full: drivers wait" in gateway._faults()
        assert not task.done()
    await until(lambda: not gateway.collector.full)
    stop.set()
    await task


async def test_the_heartbeat_tells_of_the_machine(
    server: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory, disk, autonomy are figures or absent, and the Will is a hello that says *gone*."""
    gateway = Gateway(config(tmp_path, server.port), drivers=[])
    hello = await gateway.heartbeat.hello(False)
    assert hello.rss_mb is not None
    assert hello.rss_mb > 1
    assert hello.disk_free is not None
    assert hello.autonomy_h is None
    monkeypatch.setattr(gateway.heartbeat, "_began_s", time.monotonic() - 3_600)
    gateway.spool.taken_bytes = 1 << 18
    hello = await gateway.heartbeat.hello(False)
    assert hello.autonomy_h == pytest.approx(4.0, abs=0.1)
    topic, payload = await gateway.uplink._will()
    assert topic == topics.of_gateway("g1", "status")
    assert msgspec.json.decode(payload, type=Hello).gone
    gateway.spool.close()


def test_a_driver_is_made_from_its_block() -> None:
    """The configured kind decides which driver is made."""
    driver = make_driver(Simulated(name="sim"), Pace(lambda: 0, asyncio.sleep))
    assert driver.name == "sim"

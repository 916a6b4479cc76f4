"""The rows of the acceptance list that the ledger proves: what is hurt, and what must hold beside it."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from fengsui import topics, wire
from fengsui.model import Clock, Event, Kind, Lane, Reading, What
from tests.faultproxy import MqttFaults
from tests.ledger import evidence
from tests.ledger.ledger import Plan
from tests.ledger.nemesis import Fault
from tests.ledger.run import Bell, Run, background, killing, p99
from tests.ledger.station import Station
from tests.ledger.stranger import SPOOL, stranger
from tests.powercut import FileSystem, Volume, power, small_volume
from tests.waiting import until

BASE_RATE = 1_000.0
OUTAGE_S = 12.0
"""Beyond the 10 s after which an alarm counts as learned late."""
FULL_OUTAGE_S = 900.0


@dataclass(frozen=True)
class Row:
    """A row: what it proves, its cycles in a quick and in a full run, and how it is run."""

    text: str
    quick: int
    full: int
    run: Callable[[Run], Awaitable[None]]
    both_brokers: bool = False


async def r2_core_killed(run: Run) -> None:
    """Kill -9 of the core at random moments under base load."""
    async with run.stack() as stack:
        stack.station.order(rate=BASE_RATE, fires=run.cycles)
        began = time.monotonic()
        await run.torment([killing(stack.core.process)])
        run.expect(stack.core.process.starts == run.cycles + 1, "every kill was followed by one start")
        print(f"{run.cycles} kills in {time.monotonic() - began:.1f} s")
        run.judge(await stack.verdict())


async def r3_broker_killed(run: Run) -> None:
    """Kill -9 of the broker after its PUBACKs, with the core up and with the core down."""
    async with run.stack() as stack:
        stack.station.order(rate=BASE_RATE, fires=run.cycles)

        async def both() -> None:
            await stack.core.process.kill9()
            await asyncio.sleep(0.3)  # the broker queues or drops meanwhile: that is the fault, not a wait
            await stack.broker.kill9()

        async def both_back() -> None:
            await stack.broker.start()
            await stack.core.process.start()

        await run.torment([killing(stack.broker), Fault("kill -9 core, then broker", both, both_back)])
        run.judge(await stack.verdict())


async def r4_power_cut(run: Run) -> None:
    """Power cuts of the gateway's volume, ext4 and xfs."""
    kinds: tuple[FileSystem, ...] = ("ext4", "xfs")
    for kind in kinds:
        async with (
            power(run.folder / kind / "disk", kind) as volume,
            run.stack(kind, spool=volume.mount) as stack,
        ):
            stack.station.order(rate=BASE_RATE, fires=run.cycles)
            await run.torment([_power_cut(run, volume, stack.station)])
            run.judge(await stack.verdict())


def _power_cut(run: Run, volume: Volume, station: Station) -> Fault:
    async def cut() -> None:
        await volume.cut()
        await station.process.kill9()

    async def back() -> None:
        await volume.remount()
        began = time.monotonic()
        await station.process.start()
        took = time.monotonic() - began
        run.expect(took <= 3, f"up in {took:.1f} s <= 3 s")

    return Fault("power cut", cut, back)


async def r5_database_down(run: Run) -> None:
    """The series store is down for 20,000 readings per cycle; alarms do not notice."""
    async with run.stack(store="influx") as stack:
        assert stack.database is not None
        bell = Bell()
        async with background(bell.listen(stack.core)):
            stack.station.order(rate=BASE_RATE, block=200)
            await stack.station.accepted(1_000)
            await stack.database.kill9()
            run.faults += 1
            for cycle in range(1, run.cycles + 1):
                stack.station.order(rate=5 * BASE_RATE, fires=5 * cycle)
                await stack.station.accepted(20_000 * cycle, fires=5 * cycle, timeout_s=120)
            await until(lambda: len(bell.shown_s) >= 5 * run.cycles, 10, "all alarms shown")
            await stack.database.start()
            run.judge(await stack.verdict(600))
        worst = p99(bell.delays_s(stack.station.ledger().fires))
        run.expect(worst <= 2, f"alarms with the store down: p99 {worst:.3f} s <= 2 s")


async def r8_core_absent(run: Run) -> None:
    """No core while twice the broker's queue is offered."""
    async with run.stack(broker_settings=["max_queued_messages 100"]) as stack:
        stack.station.order(rate=BASE_RATE, block=200)
        await stack.station.accepted(200)
        for cycle in range(1, run.cycles + 1):
            await stack.core.process.kill9()
            run.faults += 1
            stack.station.order(rate=10 * BASE_RATE, fires=cycle)
            offered = int(stack.station.ledger().accepted.sum())
            await stack.station.accepted(offered + 40_000, fires=cycle)
            await stack.core.process.start()
        run.judge(await stack.verdict())


async def r12_gateway_disk_full(run: Run) -> None:
    """A spool on 8 MB while nobody listens: alarms get in, telemetry is shed and every reading is counted."""
    async with (
        small_volume(run.folder / "small", 8 * 1024) as volume,
        run.stack(spool=volume.mount) as stack,
    ):
        station = stack.station
        for cycle in range(1, run.cycles + 1):
            await stack.broker.kill9()
            run.faults += 1
            station.order(rate=50 * BASE_RATE, block=200)
            before = await _shed(station)
            await until(partial(_has_shed, station, before), 300, "telemetry is shed", every_s=0.5)
            station.order(fires=20 * cycle)
            await station.accepted(0, fires=20 * cycle)
            station.order(rate=0.0)
            await stack.broker.start()
            await station.drain(120)
        verdict = await stack.verdict()
        run.judge(verdict)
        run.expect(verdict.shed > 0, "something was shed")


async def r16_poison_flood(run: Run) -> None:
    """2,000 undecodable records before an alarm, in both lanes: the alarm does not notice."""
    async with run.stack(plans=[Plan("g1"), Plan("g2")]) as stack:
        await stack.stations[1].process.stop()
        bell = Bell()
        async with background(bell.listen(stack.core)), stranger(stack, "g2") as other:
            stack.station.order(rate=BASE_RATE)
            await stack.station.accepted(500)
            last = dict.fromkeys(Lane, 0)
            for n in range(1_000):
                for lane in Lane:
                    last[lane] = await other.send(lane, Kind.READINGS, b"poison %d" % n)
            run.faults += 2_000
            stack.station.order(fires=run.cycles)
            await stack.station.accepted(0, fires=run.cycles)
            await until(lambda: len(bell.shown_s) == run.cycles, 10, "the alarms are shown")
            for lane in Lane:
                async with asyncio.timeout(20):
                    await other.committed(lane, last[lane])
        worst = p99(bell.delays_s(stack.station.ledger().fires))
        run.expect(worst <= 2, f"alarm behind the poison: {worst:.3f} s <= 2 s")
        run.judge(await stack.verdict())
        dead = evidence.dead_reasons(stack.folder / "core" / "deadletter.db", "g2")
        run.expect(sum(dead.values()) == 2_000, f"2,000 dead letters with their reason: {dead}")


async def r18_ambiguous_write(run: Run) -> None:
    """The store's answer is cut off after it has stored, again and again."""
    async with run.stack(store="influx", proxied=["store"]) as stack:
        proxy = stack.proxies["store"]
        stack.station.order(rate=BASE_RATE, fires=1)
        for _ in range(run.cycles):
            proxy.cut_replies = 10
            await until(lambda: proxy.cut_replies == 0, 120, "ten replies are cut", every_s=0.1)
        run.faults += proxy.counts["reply_cut"]
        run.judge(await stack.verdict())


async def r30_same_stamp(run: Run) -> None:
    """Pairs of readings of one point in one stamp: both are kept."""
    plan = Plan("g1", points=1, per_stamp=2, slack_us=1)
    async with run.stack(store="influx", plans=[plan]) as stack:
        pairs = 500 * run.cycles
        stack.station.order(rate=4 * BASE_RATE, block=200, readings=2 * pairs)
        await stack.station.accepted(2 * pairs, timeout_s=120)
        run.faults += pairs
        verdict = await stack.verdict()
        run.judge(verdict)
        run.expect(verdict.stored == 2 * pairs, f"{verdict.stored} of {2 * pairs} are retrievable")


async def r31_five_times_reordered(run: Run) -> None:
    """Every message five times and in another order, on both sides of the broker."""
    async with run.stack(proxied=["gateway", "core"]) as stack:
        for proxy in stack.proxies.values():
            proxy.up.mqtt = MqttFaults(copies=5, reorder=12)
            proxy.down.mqtt = MqttFaults(copies=5, reorder=12)
        stack.station.order(rate=BASE_RATE / 5, fires=run.cycles)
        await stack.station.accepted(300 * run.cycles, fires=run.cycles, timeout_s=120)
        run.judge(await stack.verdict())
        counts = [proxy.counts for proxy in stack.proxies.values()]
        run.faults += sum(c["publish_copied"] for c in counts)
        run.expect(all(c["publish_reordered"] for c in counts), "both links reordered")


async def r37_foreign_name(run: Run) -> None:
    """A gateway that speaks under another's name is not heard: the broker's ACL is the proof, by delivery."""
    async with run.stack(plans=[Plan("g1"), Plan("g2")]) as stack:
        await stack.stations[1].process.stop()
        stack.station.order(rate=BASE_RATE, fires=1)
        await stack.station.accepted(500, fires=1)
        async with stranger(stack, "g2") as other:
            at_us = time.time_ns() // 1000
            reading = wire.encode_readings([Reading("p000", at_us, 99.0)], Clock.SYNCED)
            fire = wire.encode_body(Event("a-9999", at_us, What.FIRE))
            for _ in range(run.cycles):
                for qos in (0, 1, 2):
                    for lane, kind, body in (
                        (Lane.TELEMETRY, Kind.READINGS, reading),
                        (Lane.ALARM, Kind.EVENT, fire),
                    ):
                        record = wire.encode_record(kind, SPOOL, 1, 0, body)
                        await other.publish(topics.of_gateway("g1", lane), record, qos=qos)
                        run.faults += 1
            own = await other.send(Lane.ALARM, Kind.EVENT, wire.encode_body(Event("x", at_us, What.INFO)))
            async with asyncio.timeout(10):
                await other.committed(Lane.ALARM, own)
        run.judge(await stack.verdict())


async def r73_state_database(run: Run) -> None:
    """The state database is locked for a while: alarms are shown in time and recorded once."""
    async with run.stack() as stack:
        bell = Bell()
        async with background(bell.listen(stack.core)):
            stack.station.order(rate=BASE_RATE)
            await stack.station.accepted(500)
            with closing(sqlite3.connect(stack.folder / "core" / "state.db", isolation_level=None)) as lock:
                lock.execute("BEGIN IMMEDIATE")
                run.faults += 1
                stack.station.order(fires=50)
                await stack.station.accepted(0, fires=50)
                await until(lambda: len(bell.shown_s) == 50, 15, "50 alarms are shown")
                run.expect(not bell.recorded, "nothing was recorded while the database was locked")
                await asyncio.sleep(run.cycles)  # the length of the lock is the fault
                lock.execute("ROLLBACK")
            await until(lambda: len(bell.recorded) == 50, 30, "50 alarms are recorded")
        worst = max(bell.delays_s(stack.station.ledger().fires))
        run.expect(worst <= 2, f"each alarm shown in {worst:.3f} s <= 2 s")
        run.judge(await stack.verdict())


async def r74_undecodable_in_each_lane(run: Run) -> None:
    """One undecodable record in each lane: the lane moves on, with one dead letter each."""
    async with run.stack(plans=[Plan("g1"), Plan("g2")]) as stack:
        await stack.stations[1].process.stop()
        stack.station.order(rate=BASE_RATE, fires=run.cycles)
        async with stranger(stack, "g2") as other:
            for _ in range(run.cycles):
                for lane in Lane:
                    await other.send(lane, Kind.EVENT, b"\xc1 no MessagePack at all")
                    run.faults += 1
                    good = wire.encode_body(Event("x", time.time_ns() // 1000, What.INFO))
                    seq = await other.send(lane, Kind.EVENT, good)
                    began = time.monotonic()
                    async with asyncio.timeout(10):
                        await other.committed(lane, seq)
                    took = time.monotonic() - began
                    run.expect(took <= 2, f"{lane} moved on in {took:.3f} s")
        await stack.station.accepted(500, fires=run.cycles)
        run.judge(await stack.verdict())
        dead = evidence.dead_reasons(stack.folder / "core" / "deadletter.db", "g2")
        run.expect(dead == {"decode": 2 * run.cycles}, f"one dead letter each: {dead}")


async def r75_spool_from_yesterday(run: Run) -> None:
    """The spool is restored from an old copy: what is read after that is not lost."""
    async with run.stack() as stack:
        station, copy = stack.station, run.folder / "yesterday"
        for cycle in range(1, run.cycles + 1):
            station.order(rate=BASE_RATE, fires=2 * cycle - 1)
            accepted = int(station.ledger().accepted.sum())
            await station.accepted(accepted + 500, fires=2 * cycle - 1)
            await station.process.stop()
            shutil.copytree(station.spool, copy)
            await station.process.start()
            await station.accepted(accepted + 1_500)
            station.order(rate=0.0)
            run.expect(
                await station.drain(60), "everything of today is committed before the old copy returns"
            )
            await station.process.stop()
            shutil.rmtree(station.spool)
            copy.rename(station.spool)
            run.faults += 1
            await station.process.start()
            station.order(rate=BASE_RATE, fires=2 * cycle)
            await station.accepted(accepted + 2_500, fires=2 * cycle)
        run.judge(await stack.verdict())


async def r76_fire_behind_a_cut_link(run: Run) -> None:
    """A fire while the link is cut: it sounds within 2 s of the link's return, however old it is."""
    async with run.stack(proxied=["gateway"]) as stack:
        proxy, bell = stack.proxies["gateway"], Bell()
        outage_s = FULL_OUTAGE_S if run.full else OUTAGE_S
        async with background(bell.listen(stack.core)):
            stack.station.order(rate=BASE_RATE / 10)
            await stack.station.accepted(100)
            for cycle in range(1, run.cycles + 1):
                proxy.cut()
                stack.station.order(fires=cycle)
                await stack.station.accepted(0, fires=cycle)
                await asyncio.sleep(outage_s)  # the length of the outage is the fault
                proxy.heal()
                healed_s = time.time()
                await until(partial(bell.has_rung, cycle), 60, "the fire sounds")
                took = max(bell.shown_s.values()) - healed_s
                run.expect(took <= 2, f"sounded {took:.3f} s after the link was back")
            run.faults += proxy.counts["cut"]
        run.judge(await stack.verdict())


async def _shed(station: Station) -> int:
    status = await station.status()
    lanes = status["hello"]["lanes"].values() if status else ()
    return sum(lane.get("shed", 0) for lane in lanes)


async def _has_shed(station: Station, before: int) -> bool:
    return await _shed(station) > before


ROWS: dict[str, Row] = {
    "R2": Row("core killed", 3, 30, r2_core_killed, both_brokers=True),
    "R3": Row("broker killed after PUBACK", 3, 20, r3_broker_killed, both_brokers=True),
    "R4": Row("gateway power cut", 3, 30, r4_power_cut),
    "R5": Row("series store down", 1, 60, r5_database_down),
    "R8": Row("core absent, broker queue full", 1, 5, r8_core_absent),
    "R12": Row("gateway disk full", 1, 3, r12_gateway_disk_full),
    "R16": Row("poison flood before an alarm", 1, 5, r16_poison_flood),
    "R18": Row("ambiguous write", 2, 100, r18_ambiguous_write),
    "R30": Row("two readings in one stamp", 2, 20, r30_same_stamp),
    "R31": Row("every message five times, reordered", 2, 10, r31_five_times_reordered, both_brokers=True),
    "R37": Row("gateway speaks as another", 2, 10, r37_foreign_name, both_brokers=True),
    "R73": Row("state database locked", 3, 30, r73_state_database),
    "R74": Row("undecodable record in each lane", 1, 10, r74_undecodable_in_each_lane),
    "R75": Row("spool restored from an old copy", 1, 10, r75_spool_from_yesterday),
    "R76": Row("fire behind a cut link", 1, 1, r76_fire_behind_a_cut_link),
}

"""Rows about the way of a reading: processes, brokers, links, power and volumes that fail."""

from __future__ import annotations

import asyncio
import shutil
import time
from functools import partial

import numpy as np

from simulators.faultproxy import MqttFaults
from tests.ledger import evidence
from tests.ledger.core import Core
from tests.ledger.identity import SHIFT
from tests.ledger.nemesis import Fault
from tests.ledger.run import Bell, Run, killing
from tests.ledger.stack import Stack
from tests.ledger.station import Station
from tests.powercut import FileSystem, Volume, power, small_volume
from tests.waiting import background, until

BASE_RATE = 1_000.0
OUTAGE_S = 12.0
"""Beyond the 10 s after which an alarm counts as learned late."""
FULL_OUTAGE_S = 900.0
CONSUMES_S = 5.0
RESENDS_S = 10.0
TOLD_S = 60.0
BROKER_QUEUE = 16
UNSENT = 500


async def r2_core_killed(run: Run) -> None:
    """Kill -9 of the core at random moments under base load."""
    async with run.stack() as stack:
        stack.station.order(rate=BASE_RATE, fires=run.cycles)
        fault = killing(stack.core.process)

        async def back() -> None:
            began = time.monotonic()
            await fault.heal()
            before = await stack.core.journalled()
            await until(partial(_grows, stack.core, before), 30, "the core consumes again")
            took = time.monotonic() - began
            run.expect(took <= CONSUMES_S, f"consuming again {took:.1f} s after its start")

        await run.torment([Fault(fault.name, fault.inject, back)])
        run.expect(stack.core.process.starts == run.cycles + 1, "every kill was followed by one start")
        run.judge(await stack.verdict())


async def r3_broker_killed(run: Run) -> None:
    """Kill -9 of the broker after its PUBACKs, with the core up and with the core down."""
    async with run.stack() as stack:
        stack.station.order(rate=BASE_RATE, fires=run.cycles)
        held = 0

        async def broker_dies() -> None:
            nonlocal held
            await stack.broker.kill9()
            held = await stack.station.newest()

        async def broker_is_back() -> None:
            await stack.broker.start()
            began = time.monotonic()
            await until(lambda: _has_sent(stack.station, held), 60, "what was in flight is committed")
            took = time.monotonic() - began
            run.expect(took <= RESENDS_S, f"sent again {took:.1f} s after the broker was back")

        async def both_die() -> None:
            await stack.core.process.kill9()
            await asyncio.sleep(0.3)  # the broker queues or drops meanwhile: that is the fault, not a wait
            await broker_dies()

        async def both_are_back() -> None:
            stack.core.process.spawn()
            await broker_is_back()
            await stack.core.process.wait_ready()

        await run.torment(
            [
                Fault("kill -9 broker", broker_dies, broker_is_back),
                Fault("kill -9 core, then broker", both_die, both_are_back),
            ]
        )
        run.judge(await stack.verdict())


async def r4_power_cut(run: Run) -> None:
    """Power cuts of the gateway's volume, ext4 and xfs."""
    kinds: tuple[FileSystem, ...] = ("ext4", "xfs")
    for kind in kinds:
        async with (
            power(run.folder / kind / "disk", kind) as volume,
            run.stack(kind, spool=volume.mount, proxied=["gateway"]) as stack,
        ):
            stack.station.order(rate=BASE_RATE, fires=run.cycles)
            await run.torment([_power_cut(run, volume, stack)])
            run.judge(await stack.verdict())


def _power_cut(run: Run, volume: Volume, stack: Stack) -> Fault:
    """With the link cut before the power is: what was accepted since is in the spool and nowhere else."""
    station, link = stack.station, stack.proxies["gateway"]

    async def cut() -> None:
        link.cut()
        accepted = int(station.ledger().accepted.sum())
        await station.accepted(accepted + UNSENT)
        station.process.pause()  # see tests.powercut: who runs on during the cut is told lies
        await volume.cut()
        await station.process.kill9()

    async def back() -> None:
        link.heal()
        await volume.remount()
        began = time.monotonic()
        await station.process.start()
        took = time.monotonic() - began
        run.expect(took <= 3, f"up in {took:.1f} s <= 3 s")

    return Fault("power cut", cut, back)


async def r8_core_absent(run: Run) -> None:
    """The core hangs, then is gone, while more than twice the broker's queue is offered to it."""
    queue = [f"max_queued_messages {BROKER_QUEUE}", f"max_inflight_messages {BROKER_QUEUE}"]
    async with run.stack(broker_settings=queue) as stack:
        station = stack.station
        station.order(rate=5 * BASE_RATE, block=200)
        await station.accepted(20_000, timeout_s=120)  # the window is wide open
        for cycle in range(1, run.cycles + 1):
            hangs = cycle % 2 == 1
            if hangs:
                stack.core.process.pause()
            else:
                await stack.core.process.kill9()
            began = time.monotonic()
            run.faults += 1
            station.order(rate=10 * BASE_RATE, fires=cycle)
            offered = int(station.ledger().accepted.sum())
            await station.accepted(offered + 40_000, fires=cycle)
            await until(partial(_is_told, station), TOLD_S + 10, "the gateway tells", every_s=0.2)
            took = time.monotonic() - began
            run.expect(took <= TOLD_S, f"'the server does not confirm' told after {took:.1f} s")
            station.order(rate=BASE_RATE)
            if hangs:
                stack.core.process.resume()
            else:
                await stack.core.process.start()
            run.expect(await station.drain(120), "everything is committed after it is back")
        run.judge(await stack.verdict())
        await stack.broker.stop()  # it writes its log at its end
        run.expect("are being dropped" in stack.broker.output(), "the broker's queue overflowed")


async def r12_gateway_disk_full(run: Run) -> None:
    """A spool on 8 MB while nobody listens: alarms get in, telemetry is shed and every reading is counted."""
    async with (
        small_volume(run.folder / "small", 8 * 1024) as volume,
        run.stack(spool=volume.mount) as stack,
    ):
        station = stack.station
        outages: list[int] = []
        for cycle in range(1, run.cycles + 1):
            outages.append(station.ledger().next)
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
        run.expect(verdict.shed > 0, f"{verdict.shed} readings were shed, each counted")
        out_of_turn = _shed_out_of_turn(stack, outages)
        run.expect(out_of_turn == 0, f"oldest first: {out_of_turn} readings were shed before an older one")


def _shed_out_of_turn(stack: Stack, outages: list[int]) -> int:
    """How many readings are missing although an older one of the same outage was kept."""
    ledger = stack.station.ledger()
    rows = evidence.in_embedded_store(
        stack.folder / "core" / "series", stack.state, stack.station.name, ledger.plan.names()
    )
    kept = np.zeros(len(ledger.accepted), np.bool_)
    kept[rows.value.astype(np.int64) >> SHIFT] = True
    wrong = 0
    for begin, end in zip(outages, [*outages[1:], len(kept)], strict=True):
        missing = np.flatnonzero(ledger.accepted[begin:end] & ~kept[begin:end])
        if len(missing):
            wrong += int(np.count_nonzero(kept[begin + missing[0] : begin + missing[-1]]))
    return wrong


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


async def r75_spool_from_yesterday(run: Run) -> None:
    """The spool is restored from an old copy: what is read after that is not lost."""
    async with run.stack() as stack:
        station, copy, copied = stack.station, run.folder / "yesterday", 0
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
            copied += len(evidence.in_spool(copy).readings)
            copy.rename(station.spool)
            run.faults += 1
            await station.process.start()
            station.order(rate=BASE_RATE, fires=2 * cycle)
            await station.accepted(accepted + 2_500, fires=2 * cycle)
        run.judge(await stack.verdict(copied=copied))


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
                run.faults += 1
                stack.station.order(fires=cycle)
                await stack.station.accepted(0, fires=cycle)
                await asyncio.sleep(outage_s)  # the length of the outage is the fault
                proxy.heal()
                healed_s = time.time()
                await until(partial(bell.has_rung, cycle), 15, "the fire sounds")
                took = max(bell.shown_s.values()) - healed_s
                run.expect(took <= 2, f"sounded {took:.3f} s after the link was back")
        run.judge(await stack.verdict())


async def _grows(core: Core, before: int) -> bool:
    return await core.journalled() > before


async def _has_sent(station: Station, seq: int) -> bool:
    status = await station.status()
    return status is not None and status["upto"]["telemetry"] >= seq


async def _is_told(station: Station) -> bool:
    status = await station.status()
    return status is not None and "the server does not confirm" in status["hello"]["faults"]


async def _shed(station: Station) -> int:
    status = await station.status()
    lanes = status["hello"]["lanes"].values() if status else ()
    return sum(lane.get("shed", 0) for lane in lanes)


async def _has_shed(station: Station, before: int) -> bool:
    return await _shed(station) > before

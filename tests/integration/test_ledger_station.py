"""The gateway half of the ledger: what the real gateway accepts is in its spool, whatever kills it."""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path

import pytest

from fengsui.spool import SpoolError
from tests.ledger import evidence
from tests.ledger.ledger import Ledger, Plan, Rows, Verdict, classify, classify_fires
from tests.ledger.station import Station
from tests.powercut import FileSystem, power
from tests.servers import free_port

EMPTY = Rows(*(Ledger(Plan("g1")).numbers(),) * 2, Ledger(Plan("g1")).numbers().astype("f8"))


def judge(station: Station) -> Verdict:
    """Verdict on a gateway that never reached a server: everything it accepted must wait in its spool."""
    ledger, held = station.ledger(), evidence.in_spool(station.spool)
    assert len(set(held.readings)) == len(held.readings)
    return classify(ledger, EMPTY, waiting=held.readings) + classify_fires(ledger, {}, waiting=held.fires)


async def test_accepted_is_in_the_spool_after_kill9(tmp_path: Path) -> None:
    """Three kills of a gateway without a server lose nothing it has accepted."""
    station = Station(
        tmp_path / "g1", Plan("g1"), ledger=tmp_path / "l", spool=tmp_path / "s", broker_port=free_port()
    )
    station.order(rate=2_000)
    try:
        for cycle in range(1, 4):
            await station.process.start()
            station.order(fires=2 * cycle)
            await station.accepted(200 * cycle, fires=2 * cycle)
            await station.process.kill9()
    finally:
        await station.process.stop()
    verdict = judge(station)
    assert verdict.holds, verdict
    assert verdict.accepted >= 606
    assert verdict.waiting >= verdict.accepted


@pytest.mark.root
@pytest.mark.parametrize("kind", ["ext4", "xfs"])
async def test_accepted_is_in_the_spool_after_a_power_cut(tmp_path: Path, kind: FileSystem) -> None:
    """Power cuts of the gateway's volume at random moments lose nothing it has accepted."""
    rng = random.Random(7)
    async with power(tmp_path / "volume", kind) as volume:
        station = Station(
            tmp_path / "g1",
            Plan("g1"),
            ledger=tmp_path / "l",
            spool=volume.mount / "spool",
            broker_port=free_port(),
        )
        station.order(rate=2_000, block=5)
        try:
            for cycle in range(1, 4):
                await station.process.start()
                await station.accepted(cycle * rng.randrange(50, 400))
                station.process.pause()
                await volume.cut()
                await station.process.kill9()
                await volume.remount()
        finally:
            await station.process.stop()
        verdict = judge(station)
    assert verdict.holds, verdict
    assert verdict.accepted > 100


@pytest.mark.root
@pytest.mark.parametrize("mutant", ["ack_before_fsync", "skip_fsync"])
async def test_a_power_cut_finds_out_who_did_not_sync(tmp_path: Path, mutant: str) -> None:
    """A gateway that answers before it has synced, or never syncs, is caught by one cut."""
    async with power(tmp_path / "volume") as volume:
        station = Station(
            tmp_path / "g1",
            Plan("g1"),
            ledger=tmp_path / "l",
            spool=volume.mount / "spool",
            broker_port=free_port(),
            mutant=mutant,
        )
        station.order(rate=2_000)
        try:
            await station.process.start()
            await station.accepted(500)
            station.process.pause()
            await volume.cut()
            await station.process.kill9()
            await volume.remount()
        finally:
            await station.process.stop()
        with suppress(SpoolError):  # not even the spool's name survived: as red as it gets
            assert judge(station).lost > 0

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fengsui.hold import HoldClock
from fengsui.model import Kind, Lane
from fengsui.spool import Item, Spool, SpoolFull
from tests.powercut import FileSystem, power, small_volume
from tests.waiting import until

CUTS = 3
_QUOTA = 16 << 20
_STORER = """
import sys
from pathlib import Path
from fengsui.hold import HoldClock
from fengsui.model import Kind, Lane
from fengsui.spool import Item, Spool
spool = Spool(Path(sys.argv[1]), quota_bytes=%d, now=HoldClock().now, segment_bytes=20_000)
n = int(sys.argv[2])
while True:
    for lane, size in ((Lane.ALARM, 40), (Lane.TELEMETRY, 3_000)):
        seqs = spool.store(lane, [Item(Kind.EVENT, b"%%d.%%d." %% (n, k) + bytes(size), 1) for k in range(3)])
        print(lane, seqs[0], n, flush=True)
    n += 1
"""


def bodies(spool: Spool, lane: Lane) -> dict[int, tuple[int, int]]:
    """What each record of a lane says it is: the number of the call, and its place in it."""
    found: dict[int, tuple[int, int]] = {}
    seq = 1
    while batch := spool.read(lane, seq):
        for held in batch:
            assert held.kind == Kind.EVENT, f"{lane} {held.seq}: something was given up"
            call, place, _ = held.body.split(b".", 2)
            found[held.seq] = (int(call), int(place))
        seq = batch[-1].seq + 1
    return found


@pytest.mark.root
@pytest.mark.parametrize("kind", ["ext4", "xfs"])
async def test_no_accepted_record_is_lost_to_a_power_cut(tmp_path: Path, kind: FileSystem) -> None:
    """Cut at a random moment while storing, again and again: all that was accepted is there."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    moments = random.Random(seed)
    accepted: dict[tuple[Lane, int], tuple[int, int]] = {}
    async with power(tmp_path / kind, kind) as volume:
        folder = volume.mount / "spool"
        call = 1
        for _ in range(CUTS):
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-c", _STORER % _QUOTA, str(folder), str(call),
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            assert child.stdout is not None
            first = await asyncio.wait_for(child.stdout.readline(), 20)
            await asyncio.sleep(moments.uniform(0.0, 0.7))
            child.send_signal(signal.SIGSTOP)
            await volume.cut()
            if child.returncode is None:
                child.kill()
            lines = (
                (first + await child.stdout.read()).decode().split("\n")[:-1]
            )  # the last may be half a line
            await child.wait()
            for line in lines:
                lane, seq, n = line.split()
                call = max(call, int(n) + 1)
                for place in range(3):
                    key = (Lane(lane), int(seq) + place)
                    assert key not in accepted, f"{key} was used twice"
                    accepted[key] = (int(n), place)
            await volume.remount()
            begun = time.monotonic()
            spool = Spool(folder, quota_bytes=_QUOTA, now=HoldClock().now, segment_bytes=20_000)
            assert time.monotonic() - begun < 3.0
            there = {lane: bodies(spool, lane) for lane in Lane}
            for (lane_, seq_), what in accepted.items():
                assert there[lane_].get(seq_) == what, f"{lane_} {seq_} was accepted"
            spool.close()
        assert volume.cuts == CUTS
        assert len(accepted) > 100


@pytest.mark.root
async def test_a_small_volume_takes_alarms_to_the_last_block(tmp_path: Path) -> None:
    """A real medium without room: telemetry is shed and counted, alarms get in, nothing is stored twice."""
    async with small_volume(tmp_path / "small", 2_048) as volume:
        spool = Spool(volume.mount, quota_bytes=64 << 20, now=HoldClock().now, segment_bytes=64 << 10)
        for n in range(2_000):
            spool.store(Lane.TELEMETRY, [Item(Kind.READINGS, b"%d." % n + bytes(2_000), 5)])
        stored = 0
        full = False
        while not full:
            try:
                spool.store(Lane.ALARM, [Item(Kind.EVENT, b"%d." % stored + bytes(1_000), 1)])
                stored += 1
            except SpoolFull:
                full = True
        assert stored > 1_000
        shed = spool.state(Lane.TELEMETRY).shed
        assert shed >= 2_000
        with pytest.raises(SpoolFull):
            spool.store(Lane.ALARM, [Item(Kind.EVENT, bytes(1_000), 1)])
        await volume.resize(8_192)
        spool.store(Lane.ALARM, [Item(Kind.EVENT, b"%d." % stored, 1)])
        spool.close()
        spool = Spool(volume.mount, quota_bytes=64 << 20, now=HoldClock().now, segment_bytes=64 << 10)
        seq, numbers = 1, []
        while batch := spool.read(Lane.ALARM, seq):
            numbers += [int(held.body.split(b".")[0]) for held in batch]
            seq = batch[-1].seq + 1
        assert numbers == list(range(stored + 1))
        assert spool.state(Lane.TELEMETRY).shed == shed
        tombstones = await until(lambda: spool.tombstones(Lane.TELEMETRY))
        assert {spool.read(Lane.TELEMETRY, t)[0].kind for t in tombstones} == {Kind.SHED}
        spool.close()

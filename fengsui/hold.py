"""How long a gateway has held a record, by a clock that nobody can set.

The wall clock of a gateway may be wrong; a record's age in the gateway's own hands is not. A stamp remembers
the boot and the time since boot, so the age survives a restart of the process and, with a synced clock, of
the machine.
"""

from __future__ import annotations

import time
import zlib
from pathlib import Path
from typing import NamedTuple

from fengsui.model import AGE_UNKNOWN, Clock

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Stamp(NamedTuple):
    """When a record was taken over: ``boot`` names the boot, ``since_boot_ms`` counts in it."""

    boot: int
    since_boot_ms: int
    wall_ms: int
    clock: Clock


def age_ms(taken: Stamp, now: Stamp) -> int:
    """Milliseconds from ``taken`` to ``now``, or ``AGE_UNKNOWN`` when no clock can tell."""
    if taken.boot == now.boot:
        age = now.since_boot_ms - taken.since_boot_ms
    elif Clock.UNSYNCED in (taken.clock, now.clock):
        return AGE_UNKNOWN
    else:
        age = now.wall_ms - taken.wall_ms
    return min(max(age, 0), AGE_UNKNOWN - 1)


class HoldClock:
    """Reads the machine's clocks; ``clock`` is the state of the wall clock as the gateway knows it."""

    def __init__(self, clock: Clock = Clock.SYNCED) -> None:
        self.clock = clock
        self._boot = zlib.crc32(_BOOT_ID.read_bytes()) if _BOOT_ID.exists() else 0

    def now(self) -> Stamp:
        """The present moment; time asleep counts (``CLOCK_BOOTTIME``)."""
        since_boot_ms = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
        return Stamp(self._boot, since_boot_ms, time.time_ns() // 1_000_000, self.clock)

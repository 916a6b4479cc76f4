"""What a gateway says of itself: the hello of the wire contract, from the machine's own figures."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

import fengsui
from fengsui.hold import HoldClock
from fengsui.model import Lane
from fengsui.spool import Spool
from fengsui.wire import Hello, spool_text
from gateway.config import Settings

_THERMAL = Path("/sys/class/thermal/thermal_zone0/temp")
_IO = Path("/proc/self/io")
_STATUS = Path("/proc/self/status")


class Heartbeat:
    """Makes hellos.

    Args:
        settings: Their hash says which configuration is in force.
        spool: Whose lanes are reported.
        clock: The holding clock, with the state of the wall clock.
        points: How many points the drivers describe, and how many of them are silent.
        faults: What is wrong here and now, in words.
    """

    def __init__(
        self,
        settings: Settings,
        spool: Spool,
        clock: HoldClock,
        *,
        points: Callable[[], tuple[int, int]],
        faults: Callable[[], list[str]],
    ) -> None:
        self._spool = spool
        self._clock = clock
        self._points = points
        self._faults = faults
        self._config = hashlib.sha256(repr(settings).encode()).hexdigest()[:16]
        self._day = -1
        self._written_before = 0
        self._began_s = time.monotonic()

    async def hello(self, fresh: bool) -> Hello:
        """The hello of this moment; ``fresh`` asks the server for an answer."""
        return await asyncio.to_thread(self._hello, fresh)

    def _hello(self, fresh: bool) -> Hello:
        points, silent = self._points()
        disk = os.statvfs(self._spool.folder)
        return Hello(
            spool=spool_text(self._spool.identity),
            lanes={lane: self._spool.state(lane) for lane in Lane},
            fresh=fresh,
            software=fengsui.__version__,
            config=self._config,
            clock=self._clock.clock,
            points=points,
            silent=silent,
            temperature_c=_temperature_c(),
            rss_mb=_status_mb("VmRSS"),
            disk_free=disk.f_bavail * disk.f_frsize,
            written_today=self._written_today(),
            autonomy_h=self._autonomy_h(),
            faults=self._faults(),
        )

    def _written_today(self) -> int | None:
        """Bytes this process has had written to the medium since midnight UTC (or since its start)."""
        try:
            fields = dict(line.split(": ") for line in _IO.read_text().splitlines())
        except OSError:
            return None
        written = int(fields["write_bytes"])
        today = int(time.time() // 86_400)
        if today != self._day:
            self._written_before = written if self._day >= 0 else 0
            self._day = today
        return written - self._written_before

    def _autonomy_h(self) -> float | None:
        """Hours until the quota is full at the rate at which records came so far; None while unknown."""
        elapsed_s = time.monotonic() - self._began_s
        taken = self._spool.taken_bytes
        if elapsed_s < 60 or taken == 0:
            return None
        left = max(0, self._spool.quota_bytes - self._spool.size)
        return round(left / (taken / elapsed_s) / 3600, 1)


def encode_status(hello: Hello, upto: dict[Lane, int], drivers: dict[str, str]) -> bytes:
    """One line of JSON for ``fengsui gateway status``."""
    status = {"hello": hello, "upto": upto, "drivers": drivers}
    return msgspec.json.encode(status) + b"\n"


def _temperature_c() -> float | None:
    try:
        return int(_THERMAL.read_text()) / 1000
    except (OSError, ValueError):
        return None


def _status_mb(key: str) -> float | None:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(key + ":"):
            return round(int(line.split()[1]) / 1024, 1)
    return None

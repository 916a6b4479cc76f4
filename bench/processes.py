"""What a process has used, from ``/proc``."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """CPU seconds of all its threads since it began, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def peak_rss_mb(pid: int) -> float:
    """The most memory it ever held (``VmHWM``), MB."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1000


def written_bytes(pid: int) -> int:
    """Bytes it has caused to be written to a medium (``write_bytes``: whole pages)."""
    found = re.search(r"^write_bytes: (\d+)", Path(f"/proc/{pid}/io").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


class Share(NamedTuple):
    """CPU of one process during a measurement: us per unit of work, and cores kept busy."""

    us_per_unit: float
    cores: float


class CpuMeter:
    """CPU of several processes from ``begin`` to ``shares``.

    Args:
        pids: By the name they are told under.
    """

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = dict(pids)
        self._before: dict[str, float] = {}

    def begin(self) -> None:
        """Count from now."""
        self._before = {name: cpu_s(pid) for name, pid in self._pids.items()}

    def shares(self, units: int, took_s: float) -> dict[str, Share]:
        """What each has used since ``begin`` for so many units in so many seconds."""
        used = {name: cpu_s(pid) - self._before[name] for name, pid in self._pids.items()}
        return {name: Share(used_s * 1e6 / units, used_s / took_s) for name, used_s in used.items()}


def told(shares: Mapping[str, Share]) -> str:
    """The shares in a line, the greatest first."""
    ranked = sorted(shares.items(), key=lambda item: -item[1].us_per_unit)
    return ", ".join(f"{name} {share.us_per_unit:.2f} us ({share.cores:.2f} cores)" for name, share in ranked)


def limiting(shares: Mapping[str, Share], cores: int) -> str:
    """Which stage is the limit: the process that fills a core, or all cores together."""
    total = sum(share.cores for share in shares.values())
    name, most = max(shares.items(), key=lambda item: item[1].cores)
    if total >= 0.9 * cores:
        return f"the machine: {total:.2f} of {cores} cores busy; {told(shares)} per unit"
    if most.cores >= 0.9:
        return f"{name} fills a core; {told(shares)} per unit"
    return f"waiting, not work: {total:.2f} of {cores} cores busy; {told(shares)} per unit"

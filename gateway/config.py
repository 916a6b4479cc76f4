"""Settings of a gateway; the commented sample is ``fengsui/samples/gateway.toml``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from fengsui.errors import SettingsError
from fengsui.model import Clock
from fengsui.settings import Broker, Name, fit, read_toml
from gateway.collect import Urgent
from gateway.drivers.config import DriverConfig, Gbt26875


class SpoolSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Where records wait until the server has committed them."""

    folder: Path
    quota_mb: Annotated[int, Meta(ge=1, le=1_000_000)] = 512


class Settings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A gateway's whole configuration."""

    process: Literal["gateway"]
    name: Name
    broker: Broker = msgspec.field(default_factory=Broker)
    spool: SpoolSettings
    socket: Path
    """Local socket that answers ``fengsui gateway status``."""
    group_s: Annotated[float, Meta(gt=0, le=1)] = 0.2
    """Telemetry is synced at most this often, seconds."""
    clock: Clock = Clock.SYNCED
    """What to say of this machine's wall clock: 0 synced, 1 unsynced."""
    points: dict[str, Urgent] = {}
    """By name; those of ``urgent_file`` are in it, too, once it is loaded."""
    urgent_file: Path | None = None
    """More of ``points``, as ``fengsui rules urgent`` prints them; a point's own block comes first."""
    drivers: list[DriverConfig] = []

    def __post_init__(self) -> None:
        if self.urgent_file is not None:
            msgspec.structs.force_setattr(self, "points", read_urgent(self.urgent_file) | self.points)
        names = [driver.name for driver in self.drivers]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"drivers {', '.join(sorted(twice))}: a name may be used once")
        centres = [d.name for d in self.drivers if isinstance(d, Gbt26875) and d.set_clock]
        if self.clock is Clock.UNSYNCED and centres:
            raise ValueError(f"driver {centres[0]}: set_clock = false is needed while clock is unsynced (1)")


class _UrgentFile(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    points: dict[str, Urgent] = {}


def read_urgent(path: Path) -> dict[str, Urgent]:
    """The limits in a file that ``fengsui rules urgent`` printed.

    Raises:
        SettingsError: It is missing, or has something else in it.
    """
    if not path.is_file():
        raise SettingsError(path, "no such file; `fengsui rules urgent` prints it, named for this gateway")
    return fit(path, read_toml(path), _UrgentFile).points

"""The ``[[drivers]]`` blocks of a gateway's configuration: a frozen struct per kind, unknown keys refused."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from fengsui.model import POINT_NAME
from fengsui.settings import Name, Port

Period = Annotated[float, msgspec.Meta(gt=0, le=3600)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
Order = Literal["big", "little"]
Number = Literal["u16", "i16", "u32", "i32", "f32"]

LINK = "link"
"""Last part of the point that speaks for a driver's connection: ``<driver>:link``."""


class Simulated(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="simulated"
):
    """A district of simulated buildings; every reading of it is marked as simulated."""

    name: Name
    period_s: Period = 1.0
    seed: int = 1
    """The same seed at the same times gives the same readings."""


class Replay(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="replay"
):
    """A recording, played once."""

    name: Name
    file: Path
    """A CSV file, gzip or plain, with ``manifest.csv`` and ``columns.csv`` beside it or one folder up."""
    columns: list[str] = []
    """Columns to play; empty plays the first near-ceiling temperature."""
    speed: Positive = 1.0
    epoch_us: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """Event time of 0 on the recording's own time axis, us since 1970; absent: it ends now when it ends."""


class ModbusPoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One value in a device's tables: raw x ``scale`` + ``offset`` is in ``uom``."""

    name: str
    table: Literal["coil", "discrete", "holding", "input"]
    address: Annotated[int, msgspec.Meta(ge=0, le=65_535)]
    """From 0, as on the wire; a manual's 40001 is ``holding`` address 0."""
    type: Number | None = None
    """Of a register table, u16 when absent; a coil or discrete input is one bit and has none."""
    word_order: Order = "big"
    byte_order: Order = "big"
    scale: float = 1.0
    offset: float = 0.0
    quantity: str
    uom: str
    low: float | None = None
    high: float | None = None
    """Bounds of the instrument: a value outside is passed on, marked out of range."""
    text: str | None = None

    def __post_init__(self) -> None:
        if not POINT_NAME.fullmatch(self.name):
            raise ValueError(f"point {self.name[:80]!r}: a name is 1 to 64 letters, digits and _ . : -")
        if self.is_bit and self.type is not None:
            raise ValueError(f"point {self.name}: a {self.table} is one bit; leave out type")
        if self.address + self.width > 65_536:
            raise ValueError(f"point {self.name}: {self.type} at {self.address} runs past address 65535")

    @property
    def is_bit(self) -> bool:
        """Whether this is a coil or a discrete input."""
        return self.table in ("coil", "discrete")

    @property
    def width(self) -> int:
        """Addresses that the value takes: one bit, or one or two registers."""
        return 2 if self.type in ("u32", "i32", "f32") else 1


class Modbus(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="modbus"
):
    """One device on Modbus TCP, read every ``period_s``."""

    name: Name
    host: str
    port: Port = 502
    device_id: Annotated[int, msgspec.Meta(ge=0, le=255)] = 1
    period_s: Period = 1.0
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=60)] = 2.0
    points: Annotated[list[ModbusPoint], msgspec.Meta(min_length=1, max_length=2000)]

    def __post_init__(self) -> None:
        seen: set[str] = {f"{self.name}:{LINK}"}
        for point in self.points:
            if point.name in seen:
                raise ValueError(f"driver {self.name}: point {point.name} is named twice")
            seen.add(point.name)


DriverConfig = Simulated | Replay | Modbus

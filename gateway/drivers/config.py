"""The ``[[drivers]]`` blocks of a gateway's configuration: a frozen struct per kind, unknown keys refused."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from fengsui.model import POINT_NAME
from fengsui.settings import Name, Port
from gateway.codecs.gbt26875.frame import MAX_ADDRESS
from gateway.codecs.gbt26875.profile import PROFILES, Profile

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


Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]


class TransmitterPart(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a part of a fire facility is here: its point, and of an analog value what it measures."""

    name: str | None = None
    """Its point; absent: ``<device>:<part>``."""
    quantity: str | None = None
    uom: str | None = None
    """Absent: as the standard's table of analog values says."""
    scale: float = 1.0
    offset: float = 0.0
    """Value = what the standard's table makes of it x ``scale`` + ``offset``, in ``uom``."""
    low: float | None = None
    high: float | None = None
    text: str | None = None

    def __post_init__(self) -> None:
        if self.name is not None and not POINT_NAME.fullmatch(self.name):
            raise ValueError(f"point {self.name[:80]!r}: a name is 1 to 64 letters, digits and _ . : -")


class Transmitter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One user information transmission device, known by the address it sends, or by where it sends from."""

    name: Annotated[Name, msgspec.Meta(max_length=24)]
    address: int | str | None = None
    """Its address: a number, or the six bytes in hex as some makers print them."""
    host: str | None = None
    """Of devices that all send the address 0: the IP address they send from."""
    profile: str | Profile | None = None
    """Absent: the driver's."""
    parts: dict[str, TransmitterPart] = {}
    """By name of the part as it is discovered: ``transmitter``, ``1.1``, ``1.1:10-2``, ``1.1:10-2:3``."""

    def __post_init__(self) -> None:
        if (self.address is None) == (self.host is None):
            raise ValueError(f"device {self.name}: give address or host, so that it can be recognised")
        known_profile(self.profile or "standard")
        if self.number is not None and not 0 < self.number <= MAX_ADDRESS:
            raise ValueError(f"device {self.name}: an address is 1 to 281474976710655, or 12 hex digits")

    @property
    def number(self) -> int | None:
        """The address as a number; None = it is known by its host."""
        if isinstance(self.address, str):
            try:
                data = bytes.fromhex(self.address)
            except ValueError:
                return -1
            return int.from_bytes(data, "little") if len(data) == 6 else -1
        return self.address


class Forward(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Another centre that hears what devices report here."""

    host: str
    port: Port
    transport: Literal["tcp", "udp"] = "tcp"
    address: Annotated[int, msgspec.Meta(ge=0, le=MAX_ADDRESS)] | None = None
    """Whose address reports carry; absent: that of the device itself."""
    centre: Annotated[int, msgspec.Meta(ge=0, le=MAX_ADDRESS)] = 0
    """The other centre's address."""
    profile: str | Profile = "standard"
    retry_s: Seconds = 10.0
    """A report that is not confirmed in this time is sent again, until it is."""

    def __post_init__(self) -> None:
        known_profile(self.profile)


class Gbt26875(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="gbt26875"
):
    """A monitoring centre's end of GB/T 26875.3-2011: transmitters connect to it by TCP or send UDP."""

    name: Name
    host: str = "127.0.0.1"
    port: Port
    """Of both TCP and UDP."""
    address: Annotated[int, msgspec.Meta(ge=0, le=MAX_ADDRESS)] = 0
    """Our own, as the centre."""
    profile: str | Profile = "standard"
    devices: list[Transmitter] = []
    accept_unknown: bool = True
    """Whether devices that are not listed are heard; their points are discovered."""
    max_devices: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 200
    """Devices, and links, at the same time."""
    objects_per_s: Annotated[float, msgspec.Meta(gt=0, le=100_000)] = 200.0
    """What one link may bring for long; ten times as much at once. More waits, by UDP it is dropped."""
    retry_s: Seconds = 10.0
    retries: Annotated[int, msgspec.Meta(ge=0, le=10)] = 3
    silent_s: Seconds = 90.0
    """A device that was silent so long is asked; when it does not answer either, its link is a fault."""
    inspect_s: Annotated[float, msgspec.Meta(gt=0, le=7200)] = 3600.0
    """Its state is asked for this often anyway, at most 2 h (GB 50440)."""
    repeat_s: Seconds = 600.0
    """A state other than fire that stays the same is told again after this."""
    forward: Forward | None = None
    set_clock: bool = True
    """Whether devices get our time; leave it off while this machine's clock is not synced."""

    def __post_init__(self) -> None:
        known_profile(self.profile)
        for key in ("name", "number", "host"):
            given = [getattr(device, key) for device in self.devices if getattr(device, key) is not None]
            if twice := {value for value in given if given.count(value) > 1}:
                raise ValueError(f"driver {self.name}: two devices have {key} {twice.pop()}")
        end = known_profile(self.profile).end
        if odd := [d.name for d in self.devices if d.profile and known_profile(d.profile).end != end]:
            raise ValueError(
                f"device {odd[0]}: its end mark is not the driver's; give it a driver of its own"
            )
        points = [p.name for device in self.devices for p in device.parts.values() if p.name is not None]
        if again := {name for name in points if points.count(name) > 1}:
            raise ValueError(f"driver {self.name}: point {again.pop()} is named twice")
        if len(self.devices) > self.max_devices:
            raise ValueError(
                f"driver {self.name}: {len(self.devices)} devices, max_devices {self.max_devices}"
            )


def known_profile(profile: str | Profile) -> Profile:
    """The profile meant by a name, or by keys of its own.

    Raises:
        ValueError: There is none of this name.
    """
    if isinstance(profile, Profile):
        return profile
    if profile not in PROFILES:
        raise ValueError(f"no profile {profile!r}; there are {', '.join(sorted(PROFILES))}, or give its keys")
    return PROFILES[profile]


class Siren(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="siren"
):
    """A siren that a command of this machine lets sound."""

    name: Name
    command: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    at_most_s: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 120.0
    """A command that has not ended by then is killed, and is a fault."""


DriverConfig = Simulated | Replay | Modbus | Gbt26875 | Siren

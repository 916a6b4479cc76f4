"""The scenario language: who is where, what happens when, and what must come of it (the *oracle*).

YAML into frozen structs, unknown keys refused; every refusal names file, line and reason. The meaning of
each key stands in docs/simulation.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec

from fengsui.model import NAME, POINT_NAME, AlarmClass, Point
from simulators.source import Source, SourceError
from simulators.timeline import FOREVER, WORDS, ZERO, Entry, Happening, Positive, Seconds

MAX_READINGS = 5_000_000
"""Of one scenario; they are held in memory as a whole."""
GATEWAY = "gateway"
"""In ``where``: the gateway itself, not a point behind it."""


class Measured(NamedTuple):
    """How a quantity is measured: unit, range of the instrument, its noise (one standard deviation)."""

    uom: str
    low: float
    high: float
    noise: float


QUANTITIES = {
    "temperature": Measured("degC", -40.0, 150.0, 0.05),
    "smoke": Measured("%/m", 0.0, 100.0, 0.02),
    "co": Measured("ppm", 0.0, 1000.0, 0.2),
    "humidity": Measured("%", 0.0, 100.0, 0.3),
    "water_pressure": Measured("kPa", 0.0, 1600.0, 0.5),
    "level": Measured("m", 0.0, 10.0, 0.002),
    "residual_current": Measured("mA", 0.0, 1000.0, 1.0),
    "cable_temperature": Measured("degC", -40.0, 150.0, 0.1),
    "contact": Measured("1", 0.0, 1.0, 0.0),
}


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the file."""


class PointLine(_Part, frozen=True, kw_only=True):
    """A point of a device."""

    name: str
    quantity: str
    uom: str = ""
    """Only a reminder: the simulators give each quantity in one unit."""
    zone: str = ""
    """Empty: the floor."""


class Device(_Part, frozen=True, kw_only=True):
    """A device and its points."""

    id: str
    points: list[PointLine]


class Room(_Part, frozen=True, kw_only=True):
    """A room; smoke goes to those ``beside`` it, through doors in both directions."""

    id: str
    area_m2: Positive = 20.0
    height_m: Positive = 3.0
    beside: list[str] = []
    devices: list[Device] = []


class Floor(_Part, frozen=True, kw_only=True):
    """A floor, which is a zone."""

    id: str
    rooms: list[Room]


class Water(_Part, frozen=True, kw_only=True):
    """The fire main of a building, see ``water.py``."""

    tank_m: Annotated[float, msgspec.Meta(ge=0, le=3.2)] = 3.0
    """Level in the beginning."""
    tank_area_m2: Positive = 12.0
    fill_l_s: Annotated[float, msgspec.Meta(ge=0)] = 0.5
    fire_pump: bool = True
    seep_l_s: Annotated[float, msgspec.Meta(ge=0)] = 0.0125
    """What every main loses, at 450 kPa."""


class Building(_Part, frozen=True, kw_only=True):
    """A building."""

    id: str
    floors: list[Floor]
    water: Water = Water()
    leakage_ma: Annotated[float, msgspec.Meta(ge=0)] = 130.0
    """Natural residual current over the day, its mean; it swings by 40 mA with the load."""


class Expect(_Part, frozen=True, kw_only=True):
    """An alarm that must come."""

    where: str
    cls: AlarmClass = msgspec.field(name="class")
    by: Seconds
    """Latest time on the server's clock."""
    after: Seconds = ZERO
    """One that comes before this does not count."""
    rule: str = ""
    """Empty: any; else this rule must be among its sources (``event:fire`` for a device's own event)."""
    gone_by: Seconds | None = None
    """It must have returned to normal by then."""
    times: int | None = None
    """Raised exactly so often until the end, by the rule if one is named."""

    def __str__(self) -> str:
        rule = f" by {self.rule}" if self.rule else ""
        gone = f", gone by {self.gone_by:g} s" if self.gone_by is not None else ""
        times = f", {self.times} times" if self.times is not None else ""
        return f"{self.cls} at {self.where}{rule}: {self.after:g} to {self.by:g} s{gone}{times}"


class Never(_Part, frozen=True, kw_only=True):
    """Alarms that must not be raised."""

    classes: list[AlarmClass]
    where: str = ""
    """Empty: anywhere."""
    rule: str = ""
    """Raised by this rule; empty: by any."""
    from_s: Seconds = msgspec.field(default=ZERO, name="from")
    until: Seconds = FOREVER

    def __str__(self) -> str:
        until = "the end" if self.until == FOREVER else f"{self.until:g} s"
        where = f" at {self.where}" if self.where else ""
        rule = f" by {self.rule}" if self.rule else ""
        return f"never {' or '.join(self.classes)}{where}{rule}: {self.from_s:g} s to {until}"


class Scenario(_Part, frozen=True, kw_only=True):
    """A whole file."""

    title: str
    length: Seconds
    sample: Seconds = Seconds(1.0)
    """Time between two readings of a point."""
    hour: Annotated[float, msgspec.Meta(ge=0, lt=24)] = 9.0
    """Of the local day, at the beginning."""
    seed: Annotated[int, msgspec.Meta(ge=0)] = 1
    buildings: list[Building]
    timeline: list[Entry] = []
    expect: list[Expect] = []
    never: list[Never] = []


class Site(NamedTuple):
    """Who is where in a scenario."""

    points: list[Point]
    """By index; the gateway is ``GATEWAY``, the id is the name."""
    sorts: dict[str, str]
    """Sort of place by id: building, zone, room, device, point, gateway."""
    within: dict[str, frozenset[int]]
    """Indices of the points of each place; all of them under the empty id."""


class Script(NamedTuple):
    """A scenario with its places and the file it came from."""

    source: Source
    scenario: Scenario
    site: Site


def library() -> dict[str, Path]:
    """The scenarios that come with Fengsui, by name."""
    folder = Path(str(resources.files("simulators").joinpath("scenarios")))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load(what: str, faults: Iterable[str] = ()) -> Script:
    """A scenario by its name in the library, or from a file; ``faults`` as in ``parse``.

    Raises:
        SourceError: There is none, or it cannot be used.
    """
    known = library()
    path = known.get(what, Path(what))
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "is not UTF-8"
        raise SourceError(f"{what}: {why}; `fengsui simulate` lists the scenarios there are") from error
    return parse(text, path.name if what in known else what, faults)


def parse(text: str, name: str, faults: Iterable[str] = ()) -> Script:
    """A scenario from text.

    Args:
        text: YAML.
        name: Of the file, for messages.
        faults: More for its timeline, each a line as in a file (``{what: skew, by: 60}``) or one word of it.

    Raises:
        SourceError: It cannot be used; says file, line and why.
    """
    source = Source(text, name)
    for fault in faults:
        line = fault if fault.lstrip().startswith("{") else f"{{what: {fault}}}"
        source.graft("timeline", line, f"--fault {fault}")
    scenario = source.read(Scenario, _read, _CHOICES)
    script = Script(source, scenario, _Census(source).site(scenario.buildings))
    _check_lengths(script)
    for number, happening in enumerate(scenario.timeline):
        _check_happening(script, f"timeline[{number}]", happening)
    for number, expect in enumerate(scenario.expect):
        _check_expect(script, f"expect[{number}]", expect)
    for number, never in enumerate(scenario.never):
        _check_never(script, f"never[{number}]", never)
    return script


_CHOICES = {"what": WORDS, "class": tuple(AlarmClass), "classes": tuple(AlarmClass)}


def _read(kind: type, value: object) -> object:
    if kind is Seconds:
        return Seconds.read(value)
    raise TypeError(f"no way to read {kind}")


# what the structs alone cannot say


class _Census:
    """Walks through the buildings and notes every place; refuses ids that are none or used twice."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._points: list[Point] = []
        self._sorts = {GATEWAY: "gateway"}
        self._within: dict[str, set[int]] = {"": set(), GATEWAY: set()}
        self._homes: dict[str, str] = {}

    def site(self, buildings: Sequence[Building]) -> Site:
        rooms: list[tuple[str, Room]] = []
        for b, building in enumerate(buildings):
            at = f"buildings[{b}]"
            self._enter(building.id, "building", f"{at}.id")
            for f, floor in enumerate(building.floors):
                self._enter(floor.id, "zone", f"{at}.floors[{f}].id")
                self._homes[floor.id] = building.id
                for r, room in enumerate(floor.rooms):
                    rooms.append((f"{at}.floors[{f}].rooms[{r}]", room))
                    self._room(building, floor, room, rooms[-1][0])
        for at, room in rooms:
            for n, other in enumerate(room.beside):
                if self._sorts.get(other) != "room":
                    raise self._source.refuse(f"{at}.beside[{n}]", f"there is no room `{other}`")
        if not self._points:
            raise self._source.refuse("buildings", "no device has a point")
        within = {place: frozenset(points) for place, points in self._within.items()}
        return Site(self._points, self._sorts, within)

    def _room(self, building: Building, floor: Floor, room: Room, at: str) -> None:
        self._enter(room.id, "room", f"{at}.id")
        for d, device in enumerate(room.devices):
            self._enter(device.id, "device", f"{at}.devices[{d}].id")
            for p, line in enumerate(device.points):
                here = f"{at}.devices[{d}].points[{p}]"
                self._enter(line.name, "point", f"{here}.name")
                if line.zone and self._homes.setdefault(line.zone, building.id) != building.id:
                    why = f"zone `{line.zone}` is in {self._homes[line.zone]} already"
                    raise self._source.refuse(f"{here}.zone", why)
                if line.zone and self._sorts.get(line.zone) != "zone":
                    self._enter(line.zone, "zone", f"{here}.zone")
                point = self._point(line, here, device.id, line.zone or floor.id, building.id, room.id)
                self._points.append(point)
                for place in {"", building.id, floor.id, point.zone, room.id, device.id, line.name}:
                    self._within[place].add(point.index)

    def _enter(self, id_: str, sort: str, path: str) -> None:
        if not (POINT_NAME if sort == "point" else NAME).fullmatch(id_):
            raise self._source.refuse(path, f"{id_[:80]!r} is no id: 1 to 64 letters, digits, `_` or `-`")
        if id_ in self._sorts:
            raise self._source.refuse(path, f"`{id_}` is a {self._sorts[id_]} already; ids are used once")
        self._sorts[id_] = sort
        self._within[id_] = set()

    def _point(self, line: PointLine, at: str, device: str, zone: str, building: str, room: str) -> Point:
        measured = QUANTITIES.get(line.quantity)
        if measured is None:
            known = ", ".join(QUANTITIES)
            raise self._source.refuse(f"{at}.quantity", f"no quantity `{line.quantity}`; there are {known}")
        if line.uom not in ("", measured.uom):
            raise self._source.refuse(f"{at}.uom", f"{line.quantity} is simulated in {measured.uom}")
        return Point(
            index=len(self._points), id=line.name, gateway=GATEWAY, name=line.name, quantity=line.quantity,
            uom=measured.uom, device=device, zone=zone, building=building, place=room,
            low=measured.low, high=measured.high,
        )  # fmt: skip


def _check_lengths(script: Script) -> None:
    scenario = script.scenario
    for name, value in (("length", scenario.length), ("sample", scenario.sample)):
        if not 0 < value < FOREVER:
            raise script.source.refuse(name, "must be above 0")
    readings = scenario.length / scenario.sample * len(script.site.points)
    if readings > MAX_READINGS:
        why = (
            f"{readings:,.0f} readings are too many; at most {MAX_READINGS:,}: make it shorter or sample less"
        )
        raise script.source.refuse("length", why)


def _check_happening(script: Script, path: str, happening: Happening) -> None:
    if not 0 <= happening.at <= script.scenario.length:
        raise script.source.refuse(f"{path}.at", f"{happening.at:g} s is not within the scenario")
    if not happening.places:
        return
    where: str = getattr(happening, "where")  # noqa: B009 - every kind with places has one
    sort = script.site.sorts.get(where)
    if sort not in happening.places:
        what = f"`{where}` is a {sort}" if sort else f"there is no `{where}`"
        raise script.source.refuse(
            f"{path}.where", f"{what}; {happening.word} needs a {' or '.join(happening.places)}"
        )
    there = {script.site.points[index].quantity for index in script.site.within[where]}
    if happening.quantities and there.isdisjoint(happening.quantities):
        wanted = " or ".join(happening.quantities)
        raise script.source.refuse(f"{path}.where", f"nothing in `{where}` measures {wanted}")


def _check_expect(script: Script, path: str, expect: Expect) -> None:
    _check_where(script, path, expect.where)
    if not 0 <= expect.after < expect.by <= script.scenario.length:
        raise script.source.refuse(f"{path}.by", "`after` comes before `by`, and `by` within the scenario")
    if expect.gone_by is not None and not expect.after < expect.gone_by <= script.scenario.length:
        raise script.source.refuse(f"{path}.gone_by", "comes after `after` and within the scenario")


def _check_never(script: Script, path: str, never: Never) -> None:
    if never.where:
        _check_where(script, path, never.where)
    if not never.classes:
        raise script.source.refuse(f"{path}.classes", "name at least one class")
    if not 0 <= never.from_s < min(never.until, script.scenario.length):
        raise script.source.refuse(path, "`from` comes before `until` and within the scenario")


def _check_where(script: Script, path: str, where: str) -> None:
    if where not in script.site.sorts:
        raise script.source.refuse(
            f"{path}.where", f"there is no `{where}`; ids of this file, or `{GATEWAY}`"
        )

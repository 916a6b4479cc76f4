"""What is registered: units (单位), buildings, zones, devices and points, and the rules they keep.

Pure. Rows of text come from a file or a form (:mod:`ingest.sheet`); :func:`changes` says what they add to an
inventory and change in it, or for every wrong row what to correct. Whatever is in an inventory has passed
these rules. A row costs the same in a large inventory as in a small one; only for what moves with a building,
zone or device all points are looked at.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, TypeVar

import msgspec

from fengsui.errors import FengsuiError
from fengsui.model import NAME, POINT_NAME, Point

MAX_DISPLAY = 80
MAX_UOM = 32


class Sort(StrEnum):
    """What a row is about, in the order in which rows may refer to each other."""

    UNIT = "unit"
    BUILDING = "building"
    ZONE = "zone"
    DEVICE = "device"
    POINT = "point"


class Unit(msgspec.Struct, frozen=True, kw_only=True):
    """An organisation (单位) that is answerable for its buildings; every row of state belongs to one."""

    id: str
    name: str


class Building(msgspec.Struct, frozen=True, kw_only=True):
    """A building and the unit it belongs to."""

    id: str
    name: str
    unit: str = ""


class Zone(msgspec.Struct, frozen=True, kw_only=True):
    """A fire zone of a building."""

    id: str
    name: str
    building: str


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """A detector, panel or meter that has points."""

    id: str
    name: str
    model: str = ""
    batch: str = ""
    """Of its production: what fails together was often made together."""
    type: str = ""
    """What kind of device it is, such as ``hydrant``; its points carry it, rules choose by it."""
    zone: str = ""
    building: str = ""


Item = Unit | Building | Zone | Device | Point

FIELDS: Mapping[Sort, tuple[str, ...]] = {
    Sort.UNIT: ("id", "name"),
    Sort.BUILDING: ("id", "name", "unit"),
    Sort.ZONE: ("id", "name", "building"),
    Sort.DEVICE: ("id", "name", "model", "batch", "type", "zone", "building"),
    Sort.POINT: (
        "id", "gateway", "name", "quantity", "uom",
        "device", "zone", "building", "unit", "place", "low", "high",
    ),
}  # fmt: skip
"""The columns of each sort of row."""


class Row(NamedTuple):
    """One row of text from outside; a blank field is left out. ``line`` is where a person finds it."""

    line: int
    sort: Sort
    fields: dict[str, str]


class Mistake(NamedTuple):
    """What is wrong with a row, and what to do; line 0 stands for the whole."""

    line: int
    text: str


class RowsRefused(FengsuiError):
    """Rows that cannot be registered as they are; nothing was changed. ``mistakes`` holds every one."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        shown = [f"line {line}: {text}" if line else text for line, text in mistakes[:20]]
        if len(mistakes) > 20:
            shown.append(f"and {len(mistakes) - 20} more")
        super().__init__("nothing was registered; correct this and try again:\n" + "\n".join(shown))
        self.mistakes = list(mistakes)


class Changed(NamedTuple):
    """An item that rows add to an inventory or change in it."""

    sort: Sort
    item: Item
    before: Item | None
    """None = it is new."""
    unit: str
    """The unit it belongs to from now on, empty when to none."""


@dataclass(slots=True)
class Inventory:
    """Everything registered, found by id and by binding."""

    units: dict[str, Unit] = field(default_factory=dict)
    buildings: dict[str, Building] = field(default_factory=dict)
    zones: dict[str, Zone] = field(default_factory=dict)
    devices: dict[str, Device] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    """By index."""
    by_id: dict[str, Point] = field(default_factory=dict)
    by_binding: dict[tuple[str, str], Point] = field(default_factory=dict)

    def items(self) -> Iterable[tuple[Sort, Item]]:
        """Everything, in the order in which it may refer to each other."""
        yield from ((Sort.UNIT, unit) for unit in self.units.values())
        yield from ((Sort.BUILDING, building) for building in self.buildings.values())
        yield from ((Sort.ZONE, zone) for zone in self.zones.values())
        yield from ((Sort.DEVICE, device) for device in self.devices.values())
        yield from ((Sort.POINT, point) for point in self.points)

    def unit_of(self, item: Item) -> str:
        """The unit something belongs to, empty when to none."""
        return _unit_of(item, self.buildings)

    def put(self, items: Iterable[Item]) -> None:
        """Put in items that have passed the rules, new points in the order of their index."""
        points = []
        for item in items:
            match item:
                case Unit():
                    self.units[item.id] = item
                case Building():
                    self.buildings[item.id] = item
                case Zone():
                    self.zones[item.id] = item
                case Device():
                    self.devices[item.id] = item
                case Point():
                    points.append(item)
                    if (before := self.by_id.get(item.id)) is not None:
                        del self.by_binding[before.gateway, before.name]
        for point in points:  # after all have left their bindings: two may have swapped them
            self.points[point.index : point.index + 1] = [point]
            self.by_id[point.id] = point
            self.by_binding[point.gateway, point.name] = point


def build(items: Iterable[Item]) -> Inventory:
    """An inventory of items that have passed the rules before, points in the order of their index."""
    inventory = Inventory()
    inventory.put(items)
    return inventory


def changes(inventory: Inventory, rows: Iterable[Row]) -> list[Changed]:
    """What rows add, or put in the place of what had their id; nothing is ever removed.

    In the order in which items may refer to each other, new points in the order of their index. ``inventory``
    stays as it is.

    Raises:
        RowsRefused: Lists every mistake in all rows.
    """
    return _Merge(inventory).run(rows)


def merge(inventory: Inventory, rows: Iterable[Row]) -> Inventory:
    """Another inventory, with ``changes`` in it.

    Raises:
        RowsRefused: Lists every mistake in all rows.
    """
    merged = build(item for _, item in inventory.items())
    merged.put(changed.item for changed in changes(inventory, rows))
    return merged


def _unit_of(item: Item, buildings: Mapping[str, Building]) -> str:
    match item:
        case Unit():
            return item.id
        case Building() | Point():
            return item.unit
        case Zone():
            return buildings[item.building].unit
        case Device():
            return buildings[item.building].unit if item.building else ""


def display(text: str, what: str, *, longest: int = MAX_DISPLAY) -> str:
    """A text for people's eyes in NFC, without blanks at its ends; refuses what could deceive or vanish.

    Raises:
        ValueError: Too long, or with control, bidirectional, zero-width or unassigned characters.
    """
    text = unicodedata.normalize("NFC", text.strip())
    if len(text) > longest:
        raise ValueError(f"{what} has {len(text)} characters; at most {longest}")
    if not (text.isascii() and text.isprintable()):
        for character in text:
            if unicodedata.category(character) in _DECEPTIVE or _INVISIBLE.match(character):
                raise ValueError(f"{what} holds the invisible character U+{ord(character):04X}; remove it")
    return text


_DECEPTIVE = frozenset({"Cc", "Cf", "Cs", "Cn", "Zl", "Zp"})
_INVISIBLE = re.compile(
    r"[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_Item = TypeVar("_Item", Unit, Building, Zone, Device, Point)


class _Merge:
    """One merge under way: what rows put above an inventory, sort by sort, and the mistakes met."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._units = ChainMap({}, inventory.units)
        self._buildings = ChainMap({}, inventory.buildings)
        self._zones = ChainMap({}, inventory.zones)
        self._devices = ChainMap({}, inventory.devices)
        self._points = ChainMap({}, inventory.by_id)
        self._added = 0
        self._mistakes: list[Mistake] = []

    def run(self, rows: Iterable[Row]) -> list[Changed]:
        by_sort: dict[Sort, list[Row]] = {sort: [] for sort in Sort}
        for row in rows:
            by_sort[row.sort].append(row)
        self._put(by_sort[Sort.UNIT], self._units, self._unit)
        self._put(by_sort[Sort.BUILDING], self._buildings, self._building)
        self._put(by_sort[Sort.ZONE], self._zones, self._zone)
        self._put(by_sort[Sort.DEVICE], self._devices, self._device)
        self._move_devices()
        lines = self._put(by_sort[Sort.POINT], self._points, self._point)
        self._move_points()
        self._bind(lines)
        if self._mistakes:
            raise RowsRefused(sorted(self._mistakes))
        return [
            *self._changed(Sort.UNIT, self._units),
            *self._changed(Sort.BUILDING, self._buildings),
            *self._changed(Sort.ZONE, self._zones),
            *self._changed(Sort.DEVICE, self._devices),
            *self._changed(Sort.POINT, self._points),
        ]

    def _changed(self, sort: Sort, items: ChainMap[str, _Item]) -> Iterable[Changed]:
        above, below = items.maps
        for id_, item in above.items():
            if item != (before := below.get(id_)):
                yield Changed(sort, item, before, _unit_of(item, self._buildings))

    def _put(
        self, rows: list[Row], known: ChainMap[str, _Item], make: Callable[[dict[str, str]], _Item]
    ) -> dict[str, int]:
        """Make an item of every row; the line of each id."""
        lines: dict[str, int] = {}
        for row in rows:
            try:
                _check_row(row, lines)
                lines[row.fields["id"]] = row.line
                known[row.fields["id"]] = make(row.fields)
            except ValueError as error:
                self._mistakes.append(Mistake(row.line, str(error)))
        return lines

    def _unit(self, fields: dict[str, str]) -> Unit:
        return Unit(id=fields["id"], name=_name(fields))

    def _building(self, fields: dict[str, str]) -> Building:
        unit = fields.get("unit", "")
        _known(self._units, unit, Sort.UNIT)
        return Building(id=fields["id"], name=_name(fields), unit=unit)

    def _zone(self, fields: dict[str, str]) -> Zone:
        building = fields.get("building", "")
        if not building:
            raise ValueError(f"zone {fields['id']} has no building; name the one it is in")
        _known(self._buildings, building, Sort.BUILDING)
        return Zone(id=fields["id"], name=_name(fields), building=building)

    def _device(self, fields: dict[str, str]) -> Device:
        zone, building = self._place(fields.get("zone", ""), fields.get("building", ""))
        return Device(
            id=fields["id"],
            name=_name(fields),
            model=display(fields.get("model", ""), "model"),
            batch=display(fields.get("batch", ""), "batch"),
            type=display(fields.get("type", ""), "type"),
            zone=zone,
            building=building,
        )

    def _point(self, fields: dict[str, str]) -> Point:
        get = fields.get
        gateway, name, quantity, device = (
            get("gateway", ""),
            get("name", ""),
            get("quantity", ""),
            get("device", ""),
        )
        if not NAME.fullmatch(gateway):
            raise ValueError(f"gateway {gateway[:80]!r}; use 1 to 64 of A-Z a-z 0-9 _ -")
        if not POINT_NAME.fullmatch(name):
            raise ValueError(f"name {name[:80]!r}; use the gateway's own, 1 to 64 of A-Z a-z 0-9 _ . : -")
        if not NAME.fullmatch(quantity):
            raise ValueError(f"quantity {quantity[:80]!r}; say what is measured, such as temperature")
        zone, building = get("zone", ""), get("building", "")
        if device:
            _known(self._devices, device, Sort.DEVICE)
            known = self._devices[device]
            if known.zone:
                zone = _same(zone, known.zone, f"device {device}", "zone")
            elif known.building:
                building = _same(building, known.building, f"device {device}", "building")
        zone, building = self._place(zone, building)
        unit = get("unit", "")
        if building:
            unit = _same(unit, self._buildings[building].unit, f"building {building}", "unit")
        _known(self._units, unit, Sort.UNIT)
        low, high = _number(fields, "low"), _number(fields, "high")
        if low is not None and high is not None and low >= high:
            raise ValueError(f"low {low} is not below high {high}")
        before = self._points.get(fields["id"])
        point = Point(
            index=len(self._inventory.points) + self._added if before is None else before.index,
            id=fields["id"],
            gateway=gateway,
            name=name,
            quantity=quantity,
            uom=display(get("uom", ""), "uom", longest=MAX_UOM),
            device=device,
            device_type=self._devices[device].type if device else "",
            zone=zone,
            building=building,
            unit=unit,
            place=display(get("place", ""), "place"),
            low=low,
            high=high,
        )
        self._added += before is None
        return point

    def _place(self, zone: str, building: str) -> tuple[str, str]:
        """Zone and building, the building taken from the zone when there is one."""
        if zone:
            _known(self._zones, zone, Sort.ZONE)
            building = _same(building, self._zones[zone].building, f"zone {zone}", "building")
        _known(self._buildings, building, Sort.BUILDING)
        return zone, building

    def _move_devices(self) -> None:
        """Take devices along whose zone is in another building now."""
        if not self._zones.maps[0]:
            return
        for device in list(self._devices.values()):
            building = self._zones[device.zone].building if device.zone else device.building
            if building != device.building:
                self._devices[device.id] = msgspec.structs.replace(device, building=building)

    def _move_points(self) -> None:
        """Take points along whose device, zone or building changed: the place decides who may see them."""
        if not (self._devices.maps[0] or self._zones.maps[0] or self._buildings.maps[0]):
            return
        for point in self._inventory.points:
            point = self._points[point.id]
            device = self._devices.get(point.device)
            zone = device.zone if device and device.zone else point.zone
            building = device.building if device and device.building else point.building
            if zone and (not building or not device):
                building = self._zones[zone].building
            unit = self._buildings[building].unit if building else point.unit
            if zone and self._zones[zone].building != building:
                text = f"point {point.id} is in zone {zone}, its device {point.device} in building {building}"
                self._mistakes.append(Mistake(0, f"{text}; give the point its zone there"))
                continue
            type_ = device.type if device else ""
            if (type_, zone, building, unit) != (point.device_type, point.zone, point.building, point.unit):
                self._points[point.id] = msgspec.structs.replace(
                    point, device_type=type_, zone=zone, building=building, unit=unit
                )

    def _bind(self, lines: dict[str, int]) -> None:
        bound: dict[tuple[str, str], Point] = {}
        for point in sorted(self._points.maps[0].values(), key=lambda point: point.index):
            binding = point.gateway, point.name
            before = self._inventory.by_binding.get(binding)
            if before is not None and before.id not in self._points.maps[0]:
                bound[binding] = before
            other = bound.setdefault(binding, point)
            if other is not point:
                line = lines.get(point.id) or lines.get(other.id, 0)
                text = f"{point.name} of {point.gateway} is bound to both {other.id} and {point.id}; keep one"
                self._mistakes.append(Mistake(line, text))


def _check_row(row: Row, lines: Mapping[str, int]) -> None:
    id_ = row.fields.get("id", "")
    unknown = row.fields.keys() - FIELDS[row.sort]
    if unknown:
        fields = ", ".join(FIELDS[row.sort])
        raise ValueError(f"a {row.sort} has no {min(unknown)[:80]!r}; it has {fields}")
    if not POINT_NAME.fullmatch(id_):
        raise ValueError(f"id {id_[:80]!r}; use 1 to 64 of A-Z a-z 0-9 _ . : -")
    if id_ in lines:
        raise ValueError(f"{row.sort} {id_} is in line {lines[id_]} already; keep one of them")


def _name(fields: dict[str, str]) -> str:
    name = display(fields.get("name", ""), "name")
    if not name:
        raise ValueError(f"{fields['id']} has no name; give the one people use")
    return name


def _known(items: Mapping[str, Item], id_: str, sort: Sort) -> None:
    if id_ and id_ not in items:
        raise ValueError(f"there is no {sort} {id_[:80]!r}; add it or leave it blank")


def _same(given: str, derived: str, whose: str, what: str) -> str:
    if given and given != derived:
        raise ValueError(f"{what} is {given[:80]!r}, but {whose} is in {derived or 'none'}; leave it blank")
    return derived


def _number(fields: dict[str, str], name: str) -> float | None:
    text = fields.get(name, "")
    if not text:
        return None
    if len(text) > 40 or not _NUMBER.fullmatch(text) or not math.isfinite(float(text)):
        raise ValueError(f"{name} {text[:80]!r} is not a number; write it like -40 or 57.5")
    return float(text)

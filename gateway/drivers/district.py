"""The simulated district: three buildings, 72 rooms, 200 points. Where everything is, and what it is called.

Data only: the air in the rooms is ``building.py``'s, the signals ``simulated.py``'s, and the registry
document made of it ``simulators/building.py``'s.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple


class Unit(NamedTuple):
    """An organisation (单位)."""

    id: str
    name: str


class Building(NamedTuple):
    """A building, its floors, and the kinds of room along each corridor (place in words, height in m)."""

    id: str
    name: str
    unit: str
    floors: int
    corridor: tuple[tuple[str, float], ...]
    has_co: frozenset[str]
    """Places in words that have a CO sensor."""


class Room(NamedTuple):
    """A room: one detector of heat and one of smoke on its ceiling; smoke reaches ``neighbours`` by doors."""

    id: str
    building: str
    zone: str
    place: str
    height_m: float
    neighbours: tuple[str, ...]
    has_co: bool
    area_m2: float = 20.0
    """Of the floor."""

    @property
    def volume_m3(self) -> float:
        """Of its air."""
        return self.area_m2 * self.height_m


class Signal(NamedTuple):
    """A point of the district; ``room`` is empty for a point of a floor or a building."""

    name: str
    quantity: str
    uom: str
    low: float
    high: float
    building: str
    zone: str
    device: str
    place: str
    room: str = ""


UNITS = (
    Unit("haitang", "海棠商业管理公司 Haitang Retail"),
    Unit("linyuan", "林苑后勤服务中心 Linyuan Campus"),
)

_SHOP, _KITCHEN, _STORE = ("商铺 shop", 3.2), ("厨房 kitchen", 3.0), ("库房 store", 3.0)
_BEDROOM, _COMMON = ("宿舍 dorm", 2.6), ("活动室 lounge", 3.0)
_BAY, _SWITCH, _PUMP = ("车位 bay", 2.8), ("配电室 switches", 3.0), ("水泵房 pumps", 3.0)

BUILDINGS = (
    Building(
        "b1",
        "海棠商场 Haitang",
        "haitang",
        4,
        (*[_SHOP] * 6, _KITCHEN, _STORE),
        frozenset({_KITCHEN[0]}),
    ),
    Building("b2", "林苑公寓 Linyuan", "linyuan", 5, (*[_BEDROOM] * 5, _COMMON), frozenset()),
    Building(
        "b3",
        "地下车库 Garage",
        "linyuan",
        2,
        (*[_BAY] * 3, _SWITCH, _PUMP),
        frozenset({_BAY[0], _SWITCH[0], _PUMP[0]}),
    ),
)

CONTROL_ROOM = "消控室 control room"


@cache
def rooms() -> dict[str, Room]:
    """Every room by id, ``<building>-<floor>-<number>``."""
    return {room.id: room for building in BUILDINGS for room in _rooms(building)}


@cache
def signals() -> tuple[Signal, ...]:
    """Every point, in a fixed order."""
    found: list[Signal] = []
    for room in rooms().values():
        measured = _ROOM if room.has_co else _ROOM[:2]
        for quantity, uom, low, high in measured:
            name = f"{room.id}:{quantity}"
            found.append(
                Signal(name, quantity, uom, low, high, room.building, room.zone, room.id, room.place, room.id)
            )
    for building in BUILDINGS:
        for floor in range(1, building.floors + 1):
            found.extend(_fixed(building, f"{building.id}-{floor}", f"{floor}F", _FLOOR))
        found.extend(_fixed(building, f"{building.id}-0", CONTROL_ROOM, _BUILDING))
    return tuple(found)


_ROOM = (("temperature", "degC", -40.0, 150.0), ("smoke", "%/m", 0.0, 100.0), ("co", "ppm", 0.0, 1000.0))
_FLOOR = (
    ("sprinkler", "water_pressure", "kPa", 0.0, 1600.0),
    ("leakage", "residual_current", "mA", 0.0, 1000.0),
    ("call-point", "contact", "1", 0.0, 1.0),
)
_BUILDING = (
    ("hydrant", "water_pressure", "kPa", 0.0, 1600.0),
    ("mains", "contact", "1", 0.0, 1.0),
    ("pump", "contact", "1", 0.0, 1.0),
)


def call_point(room: Room) -> str:
    """The point of the manual call point on the room's floor."""
    return f"{room.zone}:call-point"


def _rooms(building: Building) -> list[Room]:
    found = []
    for floor in range(1, building.floors + 1):
        for number, (place, height_m) in enumerate(building.corridor, 1):
            beside = [(floor, n) for n in (number - 1, number + 1) if 1 <= n <= len(building.corridor)]
            above = [(f, number) for f in (floor - 1, floor + 1) if 1 <= f <= building.floors]
            found.append(
                Room(
                    id=f"{building.id}-{floor}-{number:02d}",
                    building=building.id,
                    zone=f"{building.id}-{floor}",
                    place=f"{floor}F {number:02d} {place}",
                    height_m=height_m,
                    neighbours=tuple(f"{building.id}-{f}-{n:02d}" for f, n in beside + above),
                    has_co=place in building.has_co,
                )
            )
    return found


def _fixed(
    building: Building, zone: str, place: str, kinds: tuple[tuple[str, str, str, float, float], ...]
) -> list[Signal]:
    return [
        Signal(f"{zone}:{leaf}", quantity, uom, low, high, building.id, zone, f"{zone}-{leaf}", place)
        for leaf, quantity, uom, low, high in kinds
    ]

"""The registry: which (gateway, name) is which point, and where it is. In memory, kept in the state database.

Reads are dictionary look-ups and safe on the event loop; a change is checked as a whole
(:mod:`ingest.inventory`), written in one transaction, and only then seen. Another process, such as
``fengsui registry import``, may change the database too: :meth:`Registry.refresh` notices by its generation.

::

    RegistryError
    +-- RegistryUnavailable    the state database did not take it; try again
    +-- RegistryForbidden      this person may not do that
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import NamedTuple, TypeVar

import msgspec
from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Float,
    Integer,
    String,
    Table,
    UniqueConstraint,
    bindparam,
    delete,
    insert,
    select,
    update,
)
from sqlalchemy.exc import DatabaseError, IntegrityError

from fengsui.database import metadata, writing
from fengsui.errors import FengsuiError, Unavailable
from fengsui.model import Point
from fengsui.viewer import Action, Viewer
from ingest.discovered import Discovered, DiscoveredNames
from ingest.inventory import (
    FIELDS,
    Building,
    Changed,
    Device,
    Inventory,
    Item,
    Mistake,
    Row,
    RowsRefused,
    Sort,
    Unit,
    Zone,
    build,
    changes,
)
from ingest.sheet import Format, read, write

_TRIES = 3
_T = TypeVar("_T")


class RegistryError(FengsuiError):
    """Root of this tree."""


class RegistryUnavailable(RegistryError, Unavailable):
    """The state database did not answer or did not take the change; nothing was changed."""


class RegistryForbidden(RegistryError):
    """The viewer may not change the registry, or not in that unit."""


class Change(NamedTuple):
    """What an import did."""

    added: int
    replaced: int
    unchanged: int


def _text(name: str, *, key: bool = False) -> Column[str]:
    return Column(name, String(80), primary_key=key, nullable=False)


_TABLES: dict[Sort, Table] = {
    Sort.UNIT: Table("unit", metadata, _text("id", key=True), _text("name")),
    Sort.BUILDING: Table("building", metadata, _text("id", key=True), _text("name"), _text("unit")),
    Sort.ZONE: Table("zone", metadata, _text("id", key=True), _text("name"), _text("building")),
    Sort.DEVICE: Table("device", metadata, *(_text(name, key=name == "id") for name in FIELDS[Sort.DEVICE])),
    Sort.POINT: Table(
        "point",
        metadata,
        *(_text(name, key=name == "id") for name in FIELDS[Sort.POINT] if name not in ("low", "high")),
        _text("device_type"),
        Column("low", Float),
        Column("high", Float),
        Column("index", Integer, nullable=False, unique=True),
        UniqueConstraint("gateway", "name"),
    ),
}
# No foreign keys: one class writes these tables, and it checks all references before it writes anything.
_TYPES: dict[Sort, type[Item]] = {
    Sort.UNIT: Unit,
    Sort.BUILDING: Building,
    Sort.ZONE: Zone,
    Sort.DEVICE: Device,
    Sort.POINT: Point,
}
_generation = Table(
    "registry_generation",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("generation", Integer, nullable=False),
)


class _ChangedMeanwhile(Exception):
    """Another process wrote a newer generation."""


class Registry:
    """Everything registered. Methods that take a ``Viewer`` serve a person; the others serve this process."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._inventory = Inventory()
        self._changing = asyncio.Lock()
        self.generation = 0
        """One more after each change; who keeps something derived from the registry compares it."""
        self.names = DiscoveredNames(lambda gateway, name: self.point(gateway, name) is not None)
        """Names nobody has registered; whoever decodes tells it."""

    @classmethod
    async def open(cls, engine: Engine) -> Registry:
        """The registry as the database has it.

        Raises:
            RegistryUnavailable: The database cannot be read.
        """
        registry = cls(engine)
        await registry.refresh()
        return registry

    # for this process

    @property
    def points(self) -> Sequence[Point]:
        """All points, as they are at any moment; ``points[i].index == i``, and no point ever leaves."""
        return self._inventory.points

    def point(self, gateway: str, name: str) -> Point | None:
        """The point that a gateway's name is bound to."""
        return self._inventory.by_binding.get((gateway, name))

    def by_id(self, id_: str) -> Point | None:
        """The point of this id."""
        return self._inventory.by_id.get(id_)

    def device_of(self, point: str) -> Device | None:
        """The device that a registered point belongs to."""
        known = self.by_id(point)
        return self._inventory.devices.get(known.device) if known is not None else None

    def building_name(self, id_: str) -> str:
        """What people call a building; its id when nobody has named it."""
        building = self._inventory.buildings.get(id_)
        return building.name if building is not None else id_

    def zone_name(self, id_: str) -> str:
        """What people call a zone; its id when nobody has named it."""
        zone = self._inventory.zones.get(id_)
        return zone.name if zone is not None else id_

    async def refresh(self) -> bool:
        """Take over what another process changed; whether there was anything. Cheap enough for every second.

        Raises:
            RegistryUnavailable: The database cannot be read; what is in memory stays.
        """
        async with self._changing:
            return await self._refresh()

    async def add(self, rows: Iterable[Row]) -> Change:
        """Add rows, or replace what has their id, all or nothing.

        Raises:
            RowsRefused: Lists every mistake.
            RegistryUnavailable: The database did not take it.
        """
        return await self._change(list(rows), None)

    # for a person

    async def accept(self, viewer: Viewer, gateway: str, name: str, fields: dict[str, str]) -> Point:
        """Register a point for a discovered name; ``fields`` are its other columns as text (``id``, ...).

        Raises:
            RowsRefused: A field is wrong, or the name is bound already.
            RegistryForbidden, RegistryUnavailable: As for ``load``.
        """
        known = {name: text for name, text in fields.items() if text}
        if (id_ := known.get("id", "")) in self._inventory.by_id:
            raise RowsRefused([Mistake(0, f"point {id_} is registered already; give another id")])
        row = Row(0, Sort.POINT, known | {"gateway": gateway, "name": name})
        await self._change([row], viewer)
        return self._inventory.by_id[id_]

    async def load(self, viewer: Viewer, data: bytes, format_: Format) -> Change:
        """Add everything in a file, or replace what has its ids, all or nothing.

        Raises:
            RowsRefused: Lists every mistake with its line.
            RegistryForbidden: The viewer may not register, or not in a unit that this would touch.
            RegistryUnavailable: The database did not take it.
        """
        if not viewer.may(Action.REGISTER):
            raise RegistryForbidden(f"{viewer.person} may not change the registry; ask an engineer")
        return await self._change(await asyncio.to_thread(read, data, format_), viewer)

    async def dump(self, viewer: Viewer, format_: Format) -> bytes:
        """Everything the viewer sees, as a file."""
        seen = [item for _, item in self._inventory.items() if self._sees(viewer, item)]
        return await asyncio.to_thread(lambda: write(build(seen), format_))

    def units(self, viewer: Viewer) -> list[Unit]:
        """The units the viewer sees."""
        return [unit for unit in self._inventory.units.values() if self._sees(viewer, unit)]

    def buildings(self, viewer: Viewer) -> list[Building]:
        """The buildings the viewer sees."""
        return [building for building in self._inventory.buildings.values() if self._sees(viewer, building)]

    def zones(self, viewer: Viewer) -> list[Zone]:
        """The zones the viewer sees."""
        return [zone for zone in self._inventory.zones.values() if self._sees(viewer, zone)]

    def devices(self, viewer: Viewer) -> list[Device]:
        """The devices the viewer sees."""
        return [device for device in self._inventory.devices.values() if self._sees(viewer, device)]

    async def find(self, viewer: Viewer, text: str, limit: int) -> list[Point]:
        """The first ``limit`` points the viewer sees whose id, name, gateway or place holds ``text``."""
        return await asyncio.to_thread(_found, self._inventory.points, viewer, text.casefold(), limit)

    def seen_point(self, viewer: Viewer, id_: str) -> Point | None:
        """The point of this id, or None when there is none or the viewer does not see it."""
        point = self.by_id(id_)
        return point if point is not None and viewer.sees(point.unit) else None

    def discovered(self, viewer: Viewer) -> list[Discovered]:
        """Names nobody has registered; they belong to no unit yet, so only who sees every unit sees them."""
        return self.names.all() if viewer.sees("") else []

    # inside

    def _sees(self, viewer: Viewer, item: Item) -> bool:
        return viewer.sees(self._inventory.unit_of(item))

    async def _change(self, rows: list[Row], viewer: Viewer | None) -> Change:
        if viewer is not None and not viewer.may(Action.REGISTER):
            raise RegistryForbidden(f"{viewer.person} may not change the registry; ask an engineer")
        async with self._changing:
            for _ in range(_TRIES):
                changed = await asyncio.to_thread(_changes, self._inventory, rows, viewer)
                if changed:
                    try:
                        await self._database(_save, self._engine, self.generation, changed)
                    except _ChangedMeanwhile:
                        await self._refresh()
                        continue
                    self._put([one.item for one in changed])
                added = sum(one.before is None for one in changed)
                return Change(added, len(changed) - added, len(rows) - len(changed))
            raise RegistryUnavailable("somebody else is changing the registry at this moment; try again")

    async def _refresh(self) -> bool:
        loaded = await self._database(_load, self._engine, self.generation)
        if loaded is None:
            return False
        self._inventory, self.generation = loaded
        self.names.forget_bound()
        return True

    def _put(self, items: list[Item]) -> None:
        self._inventory.put(items)
        self.generation += 1
        self.names.forget((item.gateway, item.name) for item in items if isinstance(item, Point))

    async def _database(self, do: Callable[..., _T], *args: object) -> _T:
        try:
            return await asyncio.to_thread(do, *args)
        except DatabaseError as error:
            raise RegistryUnavailable(f"the state database did not answer: {error.orig}") from error


# What follows may look at every point there is, and therefore runs in a thread.


def _found(points: Sequence[Point], viewer: Viewer, wanted: str, limit: int) -> list[Point]:
    matches = (
        point
        for point in points
        if wanted in f"{point.id}\n{point.name}\n{point.gateway}\n{point.place}".casefold()
        and viewer.sees(point.unit)
    )
    return list(islice(matches, limit))


def _changes(inventory: Inventory, rows: list[Row], viewer: Viewer | None) -> list[Changed]:
    changed = changes(inventory, rows)
    if viewer is not None:
        _check_units(viewer, inventory, changed)
    return changed


def _check_units(viewer: Viewer, inventory: Inventory, changed: Iterable[Changed]) -> None:
    """Refuse a change of anything that belongs, or belonged, to a unit the viewer does not see."""
    for sort, item, before, unit in changed:
        touched = {unit} | ({inventory.unit_of(before)} if before is not None else set())
        for one in touched:
            if not viewer.sees(one):
                where = f"unit {one}" if one and before is None else "that unit, or without one"
                raise RegistryForbidden(f"{viewer.person} may not register {sort} {item.id} in {where}")


def _save(engine: Engine, generation: int, changed: list[Changed]) -> None:
    """Write a change on top of ``generation``, in one transaction."""
    with writing(engine) as connection:
        _count_up(connection, generation)
        for sort, table in _TABLES.items():
            of_sort = [one for one in changed if one.sort is sort]
            gone = [{"gone": one.item.id} for one in of_sort if one.before is not None]
            # Out first, then in: two points may have swapped their bindings.
            if gone:
                connection.execute(delete(table).where(table.c.id == bindparam("gone")), gone)
            if of_sort:
                connection.execute(insert(table), [msgspec.structs.asdict(one.item) for one in of_sort])


def _count_up(connection: Connection, generation: int) -> None:
    if generation == 0:
        try:
            connection.execute(insert(_generation).values(id=1, generation=1))
        except IntegrityError as error:
            raise _ChangedMeanwhile from error
        return
    here = _generation.c.generation == generation
    if connection.execute(update(_generation).where(here).values(generation=generation + 1)).rowcount != 1:
        raise _ChangedMeanwhile


def _load(engine: Engine, known: int) -> tuple[Inventory, int] | None:
    """What the database holds and its generation, or None when that is ``known``."""
    with engine.connect() as connection:
        while (generation := _read_generation(connection)) != known:
            items: list[Item] = []
            for sort, table in _TABLES.items():
                order = table.c["index" if sort is Sort.POINT else "id"]
                make = _TYPES[sort]
                items += [make(**row) for row in connection.execute(select(table).order_by(order)).mappings()]
            if _read_generation(connection) == generation:
                return build(items), generation
    return None


def _read_generation(connection: Connection) -> int:
    return connection.execute(select(_generation.c.generation)).scalar() or 0

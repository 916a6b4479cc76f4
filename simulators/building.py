"""The simulated district as registry rows: units, buildings, zones, devices, and points of one gateway."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.drivers.district import BUILDINGS, CONTROL_ROOM, UNITS, Signal, rooms, signals
from ingest.inventory import Inventory, Row, Sort, merge
from ingest.sheet import Format, write


def district(gateway: str) -> list[Row]:
    """Rows that register the ``simulated`` driver of ``gateway``; a point's id is ``<gateway>.<name>``."""
    fields = [(Sort.UNIT, {"id": unit.id, "name": unit.name}) for unit in UNITS]
    for building in BUILDINGS:
        fields.append((Sort.BUILDING, {"id": building.id, "name": building.name, "unit": building.unit}))
        fields.append((Sort.ZONE, {"id": f"{building.id}-0", "name": CONTROL_ROOM, "building": building.id}))
        for floor in range(1, building.floors + 1):
            zone = {"id": f"{building.id}-{floor}", "name": f"{floor}F", "building": building.id}
            fields.append((Sort.ZONE, zone))
    devices = {signal.device: signal for signal in signals()}
    fields += [(Sort.DEVICE, _device(id_, signal)) for id_, signal in devices.items()]
    fields += [(Sort.POINT, _point(gateway, signal)) for signal in signals()]
    return [Row(line, sort, row) for line, (sort, row) in enumerate(fields, 1)]


def registry_file(rows: Iterable[Row]) -> bytes:
    """Rows as a YAML file for ``fengsui registry import``."""
    return write(merge(Inventory(), rows), Format.YAML)


def _device(id_: str, signal: Signal) -> dict[str, str]:
    name = signal.place if id_ in rooms() else f"{signal.place} {id_.rpartition('-')[2]}"
    return {"id": id_, "name": name, "model": "simulated", "zone": signal.zone}


def _point(gateway: str, signal: Signal) -> dict[str, str]:
    return {
        "id": f"{gateway}.{signal.name}",
        "gateway": gateway,
        "name": signal.name,
        "quantity": signal.quantity,
        "uom": signal.uom,
        "device": signal.device,
        "place": signal.place,
        "low": str(signal.low),
        "high": str(signal.high),
    }

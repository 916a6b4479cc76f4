"""A recording as registry rows: its chosen columns become points of one gateway, in one unit and building."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.drivers.recording import Column, Recording
from ingest.inventory import MAX_DISPLAY, MAX_UOM, Row, Sort

UNIT = "recordings"
BUILDING = "recording"


def registered(recording: Recording, columns: Sequence[Column], gateway: str) -> list[Row]:
    """Rows that register the ``replay`` driver of ``gateway``; a point's id is the column's point name."""
    name = recording.file.name[:MAX_DISPLAY]
    rows = [
        Row(1, Sort.UNIT, {"id": UNIT, "name": "录制数据 recordings"}),
        Row(2, Sort.BUILDING, {"id": BUILDING, "name": name, "unit": UNIT}),
    ]
    for line, column in enumerate(columns, 3):
        fields = {
            "id": column.point,
            "gateway": gateway,
            "name": column.point,
            "quantity": column.quantity,
            "uom": column.uom[:MAX_UOM],
            "building": BUILDING,
            "place": column.name[:MAX_DISPLAY],
        }
        rows.append(Row(line, Sort.POINT, fields))
    return rows

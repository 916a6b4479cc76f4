"""A core's past for tests of backtests: points in two buildings, weeks of readings, in either store."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from fengsui.database import connect
from ingest.inventory import Row, Sort
from ingest.registry import Registry
from ingest.store.base import Rows, SeriesStore
from server.migrations import upgrade
from tests.readings import rows

DAY_US = 86_400_000_000
FROM_US = round(datetime(2026, 5, 1, tzinfo=UTC).timestamp()) * 1_000_000
DRAFT = """\
threshold:
  - name: heat-fire
    version: 2
    cls: fire
    quantity: temperature
    uom: degC
    above: 50.0
    reset: 45.0
    severity: 4
    label_en: Temperature
    label_zh: 温度

silence:
  - after_s: 60.0
    plain_after_s: 900.0
"""
"""Fire at 50 degC, which the rules in force call at 57."""
IN_FORCE = """\
threshold:
  - name: heat-fire
    version: 1
    cls: fire
    quantity: temperature
    uom: degC
    above: 57.0
    reset: 50.0
    severity: 4
    label_en: Temperature
    label_zh: 温度
  - name: heat-prealarm
    version: 1
    cls: prealarm
    quantity: temperature
    uom: degC
    above: 46.0
    reset: 42.0
    off_delay_s: 30.0
    severity: 3
    label_en: Temperature
    label_zh: 温度

silence:
  - after_s: 60.0
"""

BUILDINGS = {"tower": "u1", "mill": "u2"}


async def register(database_url: str, points: int = 6) -> Registry:
    """A registry of thermometers, half of them in each building, and one point that no rule is about."""
    upgrade(database_url)
    registry = await Registry.open(connect(database_url))
    table = [Row(0, Sort.UNIT, {"id": unit, "name": unit.upper()}) for unit in BUILDINGS.values()]
    table += [
        Row(0, Sort.BUILDING, {"id": id_, "name": f"The {id_}", "unit": unit})
        for id_, unit in BUILDINGS.items()
    ]
    for number in range(points):
        building = list(BUILDINGS)[number % 2]
        fields = {"id": f"t{number}", "gateway": "gw", "name": f"n{number}", "quantity": "temperature"}
        table.append(Row(0, Sort.POINT, fields | {"uom": "degC", "building": building}))
    table.append(
        Row(0, Sort.POINT, {"id": "wind", "gateway": "gw", "name": "w", "quantity": "wind", "uom": "m/s"})
    )
    await registry.add(table)
    return registry


def weeks(days: int, points: int = 6, *, every_s: int = 60) -> Rows:
    """Room temperatures with a peak at one point a day: to 53 degC on odd days, to 65 degC on even ones."""
    steps = days * 86_400 // every_s
    at = FROM_US + np.arange(steps, dtype=np.int64) * every_s * 1_000_000
    rng = np.random.default_rng(11)
    value = 21 + rng.normal(0, 0.3, (steps, points))
    for day in range(days):
        begin = day * 86_400 // every_s + 300
        rise = np.linspace(22, 65 if day % 2 == 0 else 53, 12)
        value[begin : begin + 12, day % points] = rise
    point = np.tile(np.arange(points, dtype=np.int32), steps)
    return rows(point, np.repeat(at, points), value.reshape(-1).round(2))


async def fill(store: SeriesStore, history: Rows) -> None:
    """Write the history in requests of a usual size."""
    for part in np.array_split(np.arange(history.count), -(-history.count // 20_000)):
        await store.write(history.take(part))


def settings_file(folder: Path, store: str) -> Path:
    """The settings of a core whose data is in ``folder``; ``store`` is the body of its store table."""
    file = folder / "core.toml"
    (folder / "in_force.yaml").write_text(IN_FORCE, encoding="utf-8")
    file.write_text(
        'process = "core"\nfolder = "."\nsocket = "core.sock"\nrules = "in_force.yaml"\n'
        '[journal]\nfolder = "journal"\n'
        f"[store]\n{store}\n"
    )
    return file

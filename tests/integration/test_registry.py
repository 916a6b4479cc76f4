"""The registry on a real SQLite file: changes are whole, seen by other processes, and allowed by unit."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from fengsui.database import connect, metadata
from fengsui.errors import UsageError
from fengsui.viewer import Role, Viewer
from ingest import verb_registry
from ingest.decode import Seen
from ingest.inventory import Row, RowsRefused, Sort
from ingest.registry import Change, Registry, RegistryForbidden, RegistryUnavailable
from ingest.sheet import Format
from tests.databases import Database

ADMIN = Viewer("root", frozenset({Role.ADMIN}), None)
ENGINEER = Viewer("eve", frozenset({Role.ENGINEER}), frozenset({"u1"}))
OFFICER = Viewer("olaf", frozenset({Role.OFFICER}), frozenset({"u1"}))
SHEET = b"""
units:
- {id: u1, name: One}
- {id: u2, name: Two}
buildings:
- {id: b1, name: A, unit: u1}
- {id: b2, name: B, unit: u2}
points:
- {id: p1, gateway: gw, name: t1, quantity: temperature, uom: degC, building: b1, place: Hall}
- {id: p2, gateway: gw, name: t2, quantity: temperature, uom: degC, building: b2, low: -40, high: 125}
"""


@pytest.fixture
def engine(state: Database) -> Iterator[Engine]:
    """A state database of each kind with this package's tables."""
    engine = connect(state.url)
    metadata.create_all(engine)
    yield engine
    engine.dispose()


async def test_what_was_loaded_is_there_after_a_restart(engine: Engine) -> None:
    """A second registry on the same database has the same points at the same indices."""
    registry = await Registry.open(engine)
    assert await registry.load(ADMIN, SHEET, Format.YAML) == Change(6, 0, 0)
    again = await Registry.open(engine)
    assert list(again.points) == list(registry.points)
    assert again.generation == registry.generation == 1
    assert again.point("gw", "t2") is again.points[1] is again.by_id("p2")
    assert await again.dump(ADMIN, Format.CSV) == await registry.dump(ADMIN, Format.CSV)


async def test_loading_the_same_again_changes_nothing(engine: Engine) -> None:
    """Neither the generation nor the database moves."""
    registry = await Registry.open(engine)
    await registry.load(ADMIN, SHEET, Format.YAML)
    assert await registry.load(ADMIN, SHEET, Format.YAML) == Change(0, 0, 6)
    assert registry.generation == 1


async def test_a_refused_file_changes_nothing(engine: Engine) -> None:
    """One wrong line keeps the whole file out."""
    registry = await Registry.open(engine)
    with pytest.raises(RowsRefused, match="line 10: there is no building 'b9'"):
        await registry.load(ADMIN, SHEET.replace(b"building: b2", b"building: b9"), Format.YAML)
    assert not registry.points
    assert registry.generation == 0


async def test_another_process_is_noticed_and_not_overwritten(engine: Engine) -> None:
    """A change made elsewhere is taken over by refresh, and by a change of our own that met it."""
    ours, theirs = await Registry.open(engine), await Registry.open(engine)
    await theirs.load(ADMIN, SHEET, Format.YAML)
    point = await ours.accept(ADMIN, "gw", "t3", {"id": "p3", "quantity": "smoke", "uom": ""})
    assert point.index == 2
    assert await theirs.refresh()
    assert not await theirs.refresh()
    assert list(theirs.points) == list(ours.points)


async def test_swapped_bindings_are_one_change(engine: Engine) -> None:
    """Two points may trade their sources in one file."""
    registry = await Registry.open(engine)
    await registry.load(ADMIN, SHEET, Format.YAML)
    swapped = SHEET.replace(b"name: t1", b"name: t9").replace(b"name: t2", b"name: t1").replace(b"t9", b"t2")
    assert (await registry.load(ADMIN, swapped, Format.YAML)).replaced == 2
    again = await Registry.open(engine)
    assert again.points[0].name == "t2"
    assert again.points == registry.points


async def test_accepting_takes_a_name_off_the_list(engine: Engine) -> None:
    """A discovered name leaves the list when it is bound; the same binding cannot be given twice."""
    registry = await Registry.open(engine)
    registry.names.see([Seen("gw", "new", 1.0, 0, 1)])
    assert [found.name for found in registry.discovered(ADMIN)] == ["new"]
    await registry.accept(ADMIN, "gw", "new", {"id": "p", "quantity": "smoke", "place": ""})
    assert registry.discovered(ADMIN) == []
    with pytest.raises(RowsRefused, match="bound to both"):
        await registry.accept(ADMIN, "gw", "new", {"id": "q", "quantity": "smoke"})
    with pytest.raises(RowsRefused, match="registered already"):
        await registry.accept(ADMIN, "gw", "other", {"id": "p", "quantity": "smoke"})


async def test_reads_show_only_the_viewers_units(engine: Engine) -> None:
    """Lists, searches, single points, files and discovered names stay inside the viewer's units."""
    registry = await Registry.open(engine)
    await registry.load(ADMIN, SHEET, Format.YAML)
    registry.names.see([Seen("gw", "new", 1.0, 0, 1)])
    assert [unit.id for unit in registry.units(OFFICER)] == ["u1"]
    assert [building.id for building in registry.buildings(OFFICER)] == ["b1"]
    assert registry.zones(OFFICER) == []
    assert registry.devices(OFFICER) == []
    assert [point.id for point in await registry.find(OFFICER, "", 10)] == ["p1"]
    assert [point.id for point in await registry.find(ADMIN, "HALL", 10)] == ["p1"]
    assert len(await registry.find(ADMIN, "", 1)) == 1
    assert registry.seen_point(OFFICER, "p2") is None
    assert registry.seen_point(OFFICER, "p1") is registry.points[0]
    assert registry.discovered(OFFICER) == []
    assert b"p2" not in await registry.dump(OFFICER, Format.YAML)


async def test_changes_stay_inside_the_viewers_units(engine: Engine) -> None:
    """Nobody without the role changes anything, and an engineer nothing of another unit or of none."""
    registry = await Registry.open(engine)
    await registry.load(ADMIN, SHEET, Format.YAML)
    with pytest.raises(RegistryForbidden):
        await registry.load(OFFICER, b"{}", Format.YAML)
    fields = {"id": "p3", "quantity": "smoke"}
    for place in ({}, {"unit": "u2"}, {"building": "b2"}):
        with pytest.raises(RegistryForbidden):
            await registry.accept(ENGINEER, "gw", "t3", fields | place)
    with pytest.raises(RegistryForbidden):  # taking another unit's point over
        await registry.load(ENGINEER, SHEET.replace(b"building: b2", b"building: b1"), Format.YAML)
    assert registry.generation == 1
    assert (await registry.accept(ENGINEER, "gw", "t3", fields | {"building": "b1"})).unit == "u1"


async def test_a_broken_database_leaves_memory_as_it_was(state: Database) -> None:
    """Without its tables nothing can be loaded, and the error says so."""
    engine = connect(state.url)
    with pytest.raises(RegistryUnavailable, match=r"no such table|does not exist"):
        await Registry.open(engine)
    engine.dispose()


async def test_a_hundred_thousand_points_are_loaded_in_seconds(engine: Engine) -> None:
    """A city's worth of points takes at most 10 s from bytes to durable, and is found by dictionary."""
    lines = (
        f"- {{id: p{n}, gateway: gw-{n // 200}, name: floor.temp-{n % 200}, quantity: temperature, uom: degC,"
        f" building: b1, place: 三层机房, low: -40, high: 125.5}}\n"
        for n in range(100_000)
    )
    sheet = SHEET.split(b"points:")[0] + b"points:\n" + "".join(lines).encode()
    registry = await Registry.open(engine)
    assert (await registry.load(ADMIN, sheet, Format.YAML)).added == 100_004
    assert registry.point("gw-499", "floor.temp-199") is registry.points[99_999]


async def test_rows_of_the_process_itself_need_no_viewer(engine: Engine) -> None:
    """The demo registers its building without a person."""
    registry = await Registry.open(engine)
    assert (await registry.add([Row(0, Sort.UNIT, {"id": "u", "name": "x"})])).added == 1


def _verb(*words: str) -> int:
    parser = argparse.ArgumentParser()
    verb_registry.add_arguments(parser)
    return verb_registry.run(parser.parse_args(words))


@pytest.mark.usefixtures("engine")
def test_the_verb_imports_and_exports(
    state: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A YAML file goes in, a CSV file comes out, and goes in again without a change."""
    (tmp_path / "in.yaml").write_bytes(SHEET)
    assert _verb("--database", state.url, "import", str(tmp_path / "in.yaml")) == 0
    assert _verb("--database", state.url, "export", str(tmp_path / "out.csv")) == 0
    assert _verb("--database", state.url, "import", str(tmp_path / "out.csv")) == 0
    assert "6 added, 0 replaced, 0 as before" in (said := capsys.readouterr().out)
    assert "0 added, 0 replaced, 6 as before" in said


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("import", "nothing.yaml"), "cannot be read"),
        (("import", "sheet.xls"), "ends in .yaml or .csv"),
        (("discovered",), "the core does not answer"),
    ],
)
@pytest.mark.usefixtures("engine")
def test_the_verb_says_what_to_do(state: Database, tmp_path: Path, words: tuple[str, ...], text: str) -> None:
    """A wrong file or a stopped core is named."""
    with pytest.raises(UsageError, match=text):
        _verb("--data", str(tmp_path), "--database", state.url, *words)


def test_the_verb_needs_a_state_database(tmp_path: Path) -> None:
    """It never makes an empty database somewhere by mistake."""
    with pytest.raises(UsageError, match="start the core once"):
        _verb("--data", str(tmp_path), "export", "out.csv")
    assert not (tmp_path / "state.db").exists()

"""R51: the audit finds every way of changing the record, and never accuses an honest one."""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from alerting.alarms.audit import Flaw, Head, Heads, verify
from alerting.alarms.lifecycle import Step
from alerting.alarms.record import GENESIS, _write, chained
from alerting.errors import HeadsDamaged
from fengsui.command import main
from fengsui.database import connect, writing
from fengsui.model import What
from server.migrations import upgrade
from server.verb_audit import NOT_WHOLE
from tests.databases import Database, in_folder
from tests.integration.test_record import OFFICER, Scene, recording
from tests.ordering import order
from tests.unit.detection import T0_US

POINTS = 20
VARIANTS = 100
HEAD_EVERY = 7
INSERT = (
    "INSERT INTO alarm_record "
    "(number, alarm, version, at_us, what, actor, origin, unit, body, reason, chain) "
    "VALUES (:number, :alarm, :version, :at_us, :what, :actor, :origin, :unit, :body, :reason, :chain)"
)
COLUMNS = ("alarm", "version", "at_us", "what", "actor", "origin", "unit", "body", "reason", "chain")
Row = dict[str, object]


async def _honest(database: Database, heads: Heads, *, points: int = POINTS, seed: int = 0) -> None:
    """A record as a core writes it: devices and persons, and a head now and then, one at the very end."""
    dice = random.Random(seed)
    async with recording(database) as scene:
        for number in range(points):
            point = dice.randrange(points)
            scene.recorder.submit(scene.event(point, dice.choice([What.FIRE, What.FAULT])), None)
            scene.recorder.submit(scene.event(point, What.RESTORED), None)
            target = dice.choice(scene.book.alarms(OFFICER) or [None])
            if target is not None and target.acknowledged_by is None:
                said = order(Step.COMMENT, target, text=f"words {number}")
                scene.recorder.submit(scene.desk.act(OFFICER, said, now_us=T0_US + number), None)
            assert await scene.recorder.flush(5.0)
            if number % HEAD_EVERY == 0:
                assert heads.export(scene.engine, T0_US + number) == ""
        assert heads.export(scene.engine, T0_US + points) == ""


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Heads]:
    """An honest record, closed, and its heads."""
    folder = tmp_path_factory.mktemp("honest")
    heads = Heads(folder / "record.heads")
    asyncio.run(_honest(in_folder(folder), heads))
    return folder / "state.db", heads


def flaws_of(path: Path, heads: list[Head]) -> list[Flaw]:
    """What the audit says of a database."""
    engine = connect(f"sqlite:///{path}")
    try:
        return verify(engine, heads)
    finally:
        engine.dispose()


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """The database in the hands of somebody who may write to it."""
    with closing(sqlite3.connect(path)) as database:
        database.row_factory = sqlite3.Row
        yield database
        database.commit()


def rows_of(database: sqlite3.Connection) -> list[Row]:
    """The record as it stands."""
    return [dict(row) for row in database.execute("SELECT * FROM alarm_record ORDER BY number")]


def rewrite(database: sqlite3.Connection, rows: list[Row]) -> None:
    """Put these rows in the place of the record: numbered, chained and with current alarms to match."""
    database.execute("DELETE FROM alarm_record")
    chain = GENESIS
    for number, row in enumerate(rows, start=1):
        row["number"] = number
        chain = row["chain"] = chained(chain, row)
        database.execute(INSERT, row)
    match_current(database)


def match_current(database: sqlite3.Connection) -> None:
    """Make the current alarms what the rows say, so that they give nothing away."""
    newest = {row["alarm"]: row for row in rows_of(database)}
    for known in database.execute("SELECT id FROM alarm").fetchall():
        row = newest.get(known["id"])
        if row is None:
            database.execute("DELETE FROM alarm WHERE id = ?", (known["id"],))
        else:
            database.execute(
                "UPDATE alarm SET number = ?, body = ? WHERE id = ?",
                (row["number"], row["body"], known["id"]),
            )


def edit(database: sqlite3.Connection, dice: random.Random) -> None:
    """Another value in one column of one row."""
    row, column = dice.choice(rows_of(database)), dice.choice(COLUMNS)
    value: object = f"{row[column]}x" if isinstance(row[column], str) else int(str(row[column])) + 1_000
    query = f"UPDATE alarm_record SET {column} = ? WHERE number = ?"  # noqa: S608 - a column of ours
    database.execute(query, (value, row["number"]))
    match_current(database)


def delete(database: sqlite3.Connection, dice: random.Random) -> None:
    """A row in the middle is gone; maybe the others close ranks."""
    number = dice.randrange(1, len(rows_of(database)))
    database.execute("DELETE FROM alarm_record WHERE number = ?", (number,))
    if dice.random() < 0.5:
        database.execute("UPDATE alarm_record SET number = -(number - 1) WHERE number > ?", (number,))
        database.execute("UPDATE alarm_record SET number = -number WHERE number < 0")
    match_current(database)


def reorder(database: sqlite3.Connection, dice: random.Random) -> None:
    """Two rows change places."""
    one, other = dice.sample([int(str(row["number"])) for row in rows_of(database)], 2)
    for number, place in ((one, -1), (other, one), (-1, other)):
        database.execute("UPDATE alarm_record SET number = ? WHERE number = ?", (place, number))
    match_current(database)


def cut_tail(database: sqlite3.Connection, dice: random.Random) -> None:
    """The newest rows are gone, as if they had never been; the chain that is left is whole."""
    count = len(rows_of(database))
    first = dice.choice([count, dice.randrange(2, count + 1), 1])
    database.execute("DELETE FROM alarm_record WHERE number >= ?", (first,))
    match_current(database)


def fork(database: sqlite3.Connection, dice: random.Random) -> None:
    """From some row on history went another way, as long as before, chained as it should be."""
    rows = rows_of(database)
    at = dice.randrange(len(rows))
    for row in rows[at:]:
        row["at_us"] = int(str(row["at_us"])) + 1
    rewrite(database, rows)


def rewrite_all(database: sqlite3.Connection, dice: random.Random) -> None:
    """One row is changed, left out or added, and everything after it is chained anew."""
    rows = rows_of(database)
    at = dice.randrange(len(rows))
    match dice.choice(["edit", "leave out", "add"]):
        case "edit":
            rows[at]["actor"] = "somebody else"
        case "leave out":
            del rows[at]
        case _:
            rows.insert(at, rows[at] | {"version": 900, "reason": "never said"})
    rewrite(database, rows)


def change_current(database: sqlite3.Connection, dice: random.Random) -> None:
    """The record is left alone; what the book is loaded from is not."""
    known = dice.choice(database.execute("SELECT id FROM alarm").fetchall())["id"]
    way = dice.choice(
        [
            "DELETE FROM alarm WHERE id = ?",
            "UPDATE alarm SET body = replace(body, 'u1', 'u2') WHERE id = ?",
            "UPDATE alarm SET unit = 'u2' WHERE id = ?",
            "UPDATE alarm SET open = NOT open WHERE id = ?",
        ]
    )
    database.execute(way, (known,))


WAYS: list[Callable[[sqlite3.Connection, random.Random], None]] = [
    edit, delete, reorder, cut_tail, fork, rewrite_all, change_current,
]  # fmt: skip


def test_an_honest_record_is_whole(honest: tuple[Path, Heads]) -> None:
    """Nothing is found where nothing was changed, and the heads are some."""
    path, heads = honest
    assert len(heads.read()) >= 3
    assert flaws_of(path, heads.read()) == []


def test_every_tampered_variant_is_found(honest: tuple[Path, Heads], tmp_path: Path) -> None:
    """100 variants of seven ways, by seed: each is found."""
    path, heads = honest
    missed = []
    for seed in range(VARIANTS):
        way = WAYS[seed % len(WAYS)]
        copy = tmp_path / f"{seed}.db"
        shutil.copy(path, copy)
        with opened(copy) as database:
            before = [tuple(row) for row in database.iterdump()]
            way(database, random.Random(seed))
            assert [tuple(row) for row in database.iterdump()] != before
        if not flaws_of(copy, heads.read()):
            missed.append((seed, way.__name__))
        copy.unlink()
    assert missed == []


def test_a_consistent_rewrite_is_found_by_heads_alone(honest: tuple[Path, Heads], tmp_path: Path) -> None:
    """Which is why they are kept: without them the same records are whole."""
    path, heads = honest
    for way in (cut_tail, fork, rewrite_all):
        copy = tmp_path / f"{way.__name__}.db"
        shutil.copy(path, copy)
        with opened(copy) as database:
            way(database, random.Random(1))
        assert flaws_of(copy, []) == []
        assert flaws_of(copy, heads.read()) != []


def test_the_core_finds_a_cut_record_when_it_exports_the_next_head(
    honest: tuple[Path, Heads], tmp_path: Path
) -> None:
    """It says so, and appends nothing."""
    path, heads = honest
    shutil.copy(path, tmp_path / "state.db")
    copied = Heads(tmp_path / "record.heads")
    shutil.copy(heads.path, copied.path)
    with opened(tmp_path / "state.db") as database:
        cut_tail(database, random.Random(2))
    engine = connect(f"sqlite:///{tmp_path / 'state.db'}")
    assert "was exported as a head" in copied.export(engine, T0_US)
    assert copied.read() == heads.read()
    engine.dispose()


def test_a_head_is_appended_only_when_something_is_new(tmp_path: Path) -> None:
    """An empty record has none, and a quiet night makes no lines."""
    heads = Heads(tmp_path / "record.heads")
    upgrade(f"sqlite:///{tmp_path / 'state.db'}")
    engine = connect(f"sqlite:///{tmp_path / 'state.db'}")
    assert heads.export(engine, T0_US) == ""
    assert heads.read() == []
    engine.dispose()
    asyncio.run(_honest(in_folder(tmp_path), heads, points=2))
    known = heads.read()
    engine = connect(f"sqlite:///{tmp_path / 'state.db'}")
    assert heads.export(engine, T0_US + 99) == ""
    assert heads.read() == known
    engine.dispose()
    with heads.path.open("a") as file:
        file.write("{}\n")
    with pytest.raises(HeadsDamaged, match=r"record\.heads:\d+"):
        heads.read()


def test_writers_side_by_side_make_no_fork(state: Database) -> None:
    """Each writes in a transaction of its own, on either database; every row follows the one before it."""
    upgrade(state.url)
    scene = Scene(state)
    changes = [change for number in range(200) for change in scene.event(number % 50)]
    scene.engine.dispose()
    engine = connect(state.url, busy_timeout_ms=30_000)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda change: _write(engine, [change], None, T0_US, None), changes))
    assert verify(engine, []) == []
    engine.dispose()
    assert state.query("SELECT count(*) FROM alarm_record") == [(len(changes),)]


async def test_the_audit_reads_either_database(state: Database, tmp_path: Path) -> None:
    """Whole as it was written, and not after a word was changed in the record or in what is current."""
    heads = Heads(tmp_path / "record.heads")
    await _honest(state, heads)
    engine = connect(state.url)
    assert verify(engine, heads.read()) == []
    for change, back in (
        ("UPDATE alarm_record SET actor = actor || 'x'", "UPDATE alarm_record SET actor = rtrim(actor, 'x')"),
        ("UPDATE alarm SET body = body || ' '", "UPDATE alarm SET body = rtrim(body)"),
        ("UPDATE alarm SET open = NOT open", "UPDATE alarm SET open = NOT open"),
    ):
        for statement, is_whole in ((change, False), (back, True)):
            with writing(engine) as connection:
                connection.execute(text(statement))
            assert (verify(engine, heads.read()) == []) is is_whole, statement
    engine.dispose()


def test_the_command_says_whole_or_what_is_not(
    honest: tuple[Path, Heads], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And a missing witness is not taken for a good one."""
    path, heads = honest
    shutil.copy(path, tmp_path / "state.db")
    assert main(["audit", "verify", "--data", str(tmp_path)]) == NOT_WHOLE
    assert "no heads" in capsys.readouterr().out
    shutil.copy(heads.path, tmp_path / "record.heads")
    assert main(["audit", "verify", "--data", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("whole: the chain and ")
    with opened(tmp_path / "state.db") as database:
        edit(database, random.Random(3))
    assert main(["audit", "verify", "--data", str(tmp_path)]) == NOT_WHOLE
    assert "not whole: row" in capsys.readouterr().out

"""``fengsui backtest`` over a core's past, in both stores."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from alerting.backtest.report import Report
from fengsui import command, settings
from fengsui.errors import Unavailable
from fengsui.model import AlarmClass
from fengsui.viewer import Role, Viewer
from ingest.store.embedded import EmbeddedStore
from ingest.store.influx import InfluxStore
from server.backtest import (
    SHELL,
    BacktestRefused,
    Bounds,
    Kept,
    Question,
    backtest,
    text_in_force,
)
from server.config import Settings
from server.errand import Progress
from tests.past import DAY_US, DRAFT, FROM_US, fill, register, settings_file, weeks
from tests.servers import influxd

ENGINEER = Viewer("e1", frozenset({Role.ENGINEER}), None)
NOW_US = FROM_US + 30 * DAY_US
EMBEDDED = 'kind = "embedded"\nfolder = "series"'


def question(**changes: object) -> Question:
    """Six days after a warm-up of one."""
    fields: dict[str, object] = {
        "rules": DRAFT, "from_us": FROM_US + DAY_US, "to_us": FROM_US + 7 * DAY_US, "warm_s": 86_400.0,
    }  # fmt: skip
    return Question(**(fields | changes))  # type: ignore[arg-type]  # the tests say what they change


def kept(file: Path) -> Kept:
    """Where a core's past is."""
    core = settings.load(file, Settings)
    return Kept(core.store, core.database_url, text_in_force(core.rules, core.folder))


async def ask(file: Path, viewer: Viewer = ENGINEER, bounds: Bounds = SHELL, **changes: object) -> Report:
    """The report of a backtest."""
    return await judge(file, question(**changes), viewer, bounds)


async def judge(file: Path, asked: Question, viewer: Viewer = ENGINEER, bounds: Bounds = SHELL) -> Report:
    """The report of a question."""
    return await backtest(kept(file), viewer, asked, lambda _: None, bounds)


async def embedded_past(folder: Path, days: int = 7) -> Path:
    """A core's data with an embedded store; its settings file."""
    file = settings_file(folder, EMBEDDED)
    await register(kept(file).database_url)
    store = EmbeddedStore(folder / "series", now_us=lambda: NOW_US)
    await fill(store, weeks(days))
    await store.aclose()
    return file


async def test_both_stores_give_the_same_report(tmp_path: Path) -> None:
    """The same history out of InfluxDB and out of the embedded store has the same report."""
    file = await embedded_past(tmp_path)
    told: list[Progress] = []
    report = await backtest(kept(file), ENGINEER, question(), told.append)
    assert report.readings == 7 * 1440 * 6
    assert (report.points, report.draft.begun(AlarmClass.FIRE), report.in_force.begun(AlarmClass.FIRE)) == (
        6,
        6,
        3,
    )
    assert [(alarm.subject, alarm.building) for alarm in report.difference.added] == [
        ("t1", "mill"), ("t3", "mill"), ("t5", "mill"),
    ]  # fmt: skip
    assert {pair.earlier_s for pair in report.difference.moved} == {60.0}
    assert report.buildings == {"mill": "The mill", "tower": "The tower"}
    assert report.recorded_fires == 0
    assert told[-1].readings == report.readings
    assert [one.at_us for one in told] == sorted(one.at_us for one in told)
    async with influxd() as server:
        influx = settings_file(
            tmp_path, f'kind = "influx"\nversion = 1\nurl = "{server.url}"\ndatabase = "fengsui"'
        )
        registry = await register(kept(influx).database_url)
        store = InfluxStore(registry, url=server.url, version=1, database="fengsui")
        await fill(store, weeks(7))
        await store.aclose()
        assert await ask(influx) == report


async def test_only_what_the_viewer_sees_and_the_scope_names(tmp_path: Path) -> None:
    """Another unit's points are not read, whatever the scope says; a scope of theirs is an empty one."""
    file = await embedded_past(tmp_path)
    theirs = Viewer("e2", frozenset({Role.ENGINEER}), frozenset({"u2"}))
    report = await ask(file, theirs)
    assert (report.points, list(report.buildings)) == (3, ["mill"])
    assert report.readings == 7 * 1440 * 3
    for scope in ("building=tower", "unit=u1", "point=t0"):
        with pytest.raises(BacktestRefused, match="no point in"):
            await ask(file, theirs, scope=scope)
    assert (await ask(file, scope="unit=u*,point=t1, point=t2,point=!*2")).points == 1
    nobody = Viewer("x", frozenset(), None)
    with pytest.raises(BacktestRefused, match="no point"):
        await ask(file, nobody)


async def test_it_reads_beside_the_writer(tmp_path: Path) -> None:
    """A running core's store is read while it is open and written to."""
    file = await embedded_past(tmp_path, days=6)
    store = EmbeddedStore(tmp_path / "series", now_us=lambda: NOW_US)
    history = weeks(7)
    await store.write(history.take((history.at_us >= FROM_US + 6 * DAY_US).nonzero()[0]))
    assert (await ask(file)).readings == history.count
    await store.aclose()


async def test_what_is_damaged_is_told(tmp_path: Path) -> None:
    """A day that cannot be read is a note of the report, never a quiet day."""
    file = await embedded_past(tmp_path)
    (tmp_path / "series/2026-05-03.db").write_bytes(b"nothing" * 1000)
    report = await ask(file)
    assert report.readings == 6 * 1440 * 6
    assert ["2026-05-03.db cannot be read" in note for note in report.notes] == [True]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rules": "[["}, "the draft:2: is not YAML"),
        ({"rules": DRAFT.replace("reset: 45", "reset: 55")}, "the draft:2: threshold heat-fire: reset 55"),
        ({"to_us": FROM_US}, "the span ends before it begins"),
        ({"warm_s": -1.0}, "not negative"),
        ({"warm_s": 1e9}, "days; 4000 are allowed"),
        ({"scope": "floor=3"}, "a part is one of unit=..."),
        ({"scope": "unit"}, "a part is one of unit=..."),
        ({"scope": "unit=!"}, "a part is one of unit=..."),
        ({"labels": "point\n"}, "labels, line 1: no column"),
        ({"offset_s": 90_000}, "less than a day"),
    ],
)
async def test_what_cannot_be_judged_is_refused(
    tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    """Before anything is read, with what to change."""
    file = settings_file(tmp_path, EMBEDDED)
    await register(kept(file).database_url)
    with pytest.raises(BacktestRefused) as error:
        await judge(file, question(**changes))
    assert said in str(error.value)


async def test_bounds(tmp_path: Path) -> None:
    """Too many points are refused, and single alarms beyond the bound are counted."""
    file = await embedded_past(tmp_path)
    with pytest.raises(BacktestRefused, match="6 points; 5 are allowed"):
        await ask(file, bounds=Bounds(points=5))
    report = await ask(file, bounds=Bounds(alarms=2))
    assert (len(report.draft.alarms), report.draft.left_out) == (2, 4)


async def test_labels_of_strangers_are_noted(tmp_path: Path) -> None:
    """Labels judge fires, in the zone of the question; of unknown places they are named."""
    file = await embedded_past(tmp_path)
    labels = (
        "point,building,from,to,label\n,tower,2026-05-03T13:00,2026-05-03T14:00,real\n"
        "x,,2026-05-03,2026-05-04,dust\n"
    )
    report = await ask(file, labels=labels, offset_s=8 * 3600)
    assert report.labelled is not None
    assert [fire.draft_delay_s for fire in report.labelled.fires] == [60 * 8.0]
    assert report.notes == ("labels of places that are not judged here: x",)


async def test_a_store_that_is_down(tmp_path: Path) -> None:
    """No answer is no empty history."""
    file = settings_file(
        tmp_path, 'kind = "influx"\nversion = 1\nurl = "http://127.0.0.1:9"\ndatabase = "fengsui"'
    )
    await register(kept(file).database_url)
    with pytest.raises(Unavailable, match="does not answer"):
        await ask(file)
    assert await asyncio.to_thread(command.main, command_line(tmp_path)) == 1


def command_line(folder: Path, *more: str) -> list[str]:
    """The command over the six days."""
    (folder / "draft.yaml").write_text(DRAFT, encoding="utf-8")
    span = ["--from", "2026-05-02T00:00Z", "--to", "2026-05-08T00:00Z", "--warm-up", "1"]
    return ["backtest", str(folder / "draft.yaml"), "--data", str(folder), *span, *more]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It tells what changes, and writes the report and a page that stands alone."""
    asyncio.run(embedded_past(tmp_path))
    out, page = tmp_path / "out.json", tmp_path / "out.html"
    (tmp_path / "labels.csv").write_text(
        "point,building,from,to,label\n,tower,2026-05-03T05:00Z,2026-05-03T06:00Z,real\n"
        ",mill,2026-05-02,2026-05-03,cooking\n"
    )
    more = ["--report", str(out), "--html", str(page), "--labels", str(tmp_path / "labels.csv")]
    assert command.main(command_line(tmp_path, *more)) == 0
    said = capsys.readouterr().err
    for words in (
        "6 days, 6 points, 60,480 readings",
        "fire alarms: draft 6, in force 3; the alarm record has 0",
        "The mill: draft 3, in force 0",
        "3 added, 6 removed, 3 earlier (median 60 s), 0 later, 0 the same",
        "added: 2026-05-02 05:10:00 t1 fire: Temperature 50.18",
        "labelled fires: draft 1 of 1 (median 480 s), in force 1 of 1 (median 540 s)",
        "fire alarms in 1 labelled cooking: draft 1, in force 0",
        "nobody labelled: draft 4, in force 2",
    ):
        assert words in said
    report = msgspec.json.decode(out.read_bytes(), type=Report)
    assert report.draft.begun(AlarmClass.FIRE) == 6
    html = page.read_text(encoding="utf-8")
    assert "The mill, 2026-05-02: 1" in html
    assert "3 added, 6 removed, 3 earlier" in html
    assert "://" not in html


def test_the_command_against_another_draft(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With ``--against`` the rules in force play no part: a draft against itself changes nothing."""
    asyncio.run(embedded_past(tmp_path))
    (tmp_path / "draft.yaml").write_text(DRAFT, encoding="utf-8")
    assert command.main(command_line(tmp_path, "--against", str(tmp_path / "draft.yaml"))) == 0
    assert "0 added, 0 removed, 0 earlier, 0 later, 6 the same" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (["--from", "soon"], 2, "'soon' is no time"),
        (["--to", "2026-05-02T00:00Z"], 64, "give --from before --to"),
        (["--scope", "point=zz"], 64, "no point in 'point=zz'"),
        (["--labels", "/nowhere.csv"], 64, "/nowhere.csv: cannot be read"),
        (["--report", "/no/where.json"], 64, "there is no folder /no"),
        (["--data", "/nowhere"], 64, "/nowhere/core.toml is not there"),
        (["--against", "/nowhere.yaml"], 64, "/nowhere.yaml: cannot be read as rules"),
        (["--folder", "/nowhere"], 2, "not allowed with argument --data"),
    ],
)
def test_the_command_says_what_to_change(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], code: int, said: str
) -> None:
    """What cannot be done as asked has an exit code and a sentence."""
    asyncio.run(register(kept(settings_file(tmp_path, EMBEDDED)).database_url))
    if code == 2:
        with pytest.raises(SystemExit):
            command.main(command_line(tmp_path, *more))
    else:
        assert command.main(command_line(tmp_path, *more)) == code
    assert said in capsys.readouterr().err

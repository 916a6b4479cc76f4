"""The lab: scenarios and recordings under two rule sets, looked into, and kept as rule tests."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from alerting.detect.engine import Engine
from alerting.detect.slots import Inside
from alerting.errors import RulesRefused
from alerting.rulebook.file import default_rules, failures, parse, shipped
from fengsui.model import AlarmClass
from simulators.lab import LOOKS, Report, keep, play
from simulators.rehearsal import perform
from simulators.takes import LabRefused, sources, take
from tests.recordings import recordings

FIRE = "scenario/fire-fast"
LATER = shipped().text.replace("name: heat-fire, version: 1", "name: heat-fire, version: 2")


def quiet(_share: float) -> None:
    """Nobody wants to know."""


def folder(root: Path, rows: str, manifest: str = "") -> Path:
    """A folder with one recording of a room in which something burns from 100 s on."""
    root.mkdir()
    (root / "room.csv").write_text("time_s,ceiling_temperature_c\n" + rows)
    (root / "columns.csv").write_text(
        "family,column,quantity,unit\nmade,time_s,time,s\n"
        "made,ceiling_temperature_c,ceiling temperature,degC\n"
    )
    (root / "manifest.csv").write_text(
        manifest or "file,family,kind,scenario,t_ignition_s\nroom.csv,made,fire,a made fire,100\n"
    )
    (root / "events.csv").write_text("file,t,event\nroom.csv,100,Ignition\nroom.csv,180,Window breaks\n")
    return root


def burns(from_s: int = 100) -> str:
    """A reading a second, from 20 degC up by 1 K/s."""
    return "".join(f"{t},{20 + max(0, t - from_s)}\n" for t in range(-20, 240))


def played(source: str = FIRE, draft: str = "", point: str = "", root: Path | None = None) -> Report:
    """A run against the shipped rules."""
    rules = parse(draft, "draft").rules if draft else default_rules()
    return play(take(source, root), rules, default_rules(), point, quiet)


def test_a_scenario_shows_what_came_and_what_was_known() -> None:
    """Signal, truth, alarms, oracle and detector internals are on one time line."""
    report = played(point="heat-302")
    assert (report.length_s, report.point, report.is_dated) == (240.0, "heat-302", False)
    assert [(mark.what, mark.from_s, mark.to_s) for mark in report.marks] == [("fire", 60.0, None)]
    fire = next(one for one in report.draft.alarms if one.cls is AlarmClass.FIRE)
    assert fire.subject.endswith("-302")
    assert all(line.draft.holds and line.in_force.holds for line in report.expected)
    assert len(report.at_s) == len(report.value) <= LOOKS
    (rate,) = (one for one in report.draft.inside if one.rule == "heat-rise-fire")
    assert (rate.kind, len(rate.measures["ahead"])) == ("rate", len(report.draft.at_s))
    crossed = next(
        at
        for at, ahead, rise in zip(
            report.draft.at_s, rate.measures["ahead"], rate.measures["rise"], strict=True
        )
        if ahead is not None and rise is not None and ahead >= rise
    )
    raised = next(one for one in report.draft.verdicts if one.rule == "heat-rise-fire")
    assert report.draft.verdicts == report.in_force.verdicts
    assert 0 <= (raised.begin_us - report.begin_us) / 1e6 - crossed <= 5
    assert msgspec.json.decode(msgspec.json.encode(report), type=Report) == report


def test_looking_changes_nothing() -> None:
    """What is told with the probe is what is told without."""
    chosen = take(FIRE, None)
    plain = perform(chosen.piece, default_rules(), quiet).told
    seen: list[Inside] = []

    def look(_now_s: float, engine: Engine) -> None:
        seen.append(engine.inside(0, test=True))

    assert perform(chosen.piece, default_rules(), quiet, look).told == plain
    assert plain
    assert "heat-fire" in seen[-1]


def test_a_changed_rule_shows_what_would_have_happened() -> None:
    """A higher limit is a later fire; the difference says so, and the oracle's line may not hold any more."""
    draft = (
        "threshold:\n  - {name: heat-fire, version: 9, cls: fire, severity: 4, quantity: temperature,"
        " uom: degC, above: 90, reset: 50}\n"
    )
    report = played(draft=draft, point="heat-302")
    (ours,) = (one for one in report.draft.alarms if one.subject == "heat-302")
    assert report.difference.removed
    moved = [pair for pair in report.difference.moved if pair.subject == "heat-302"]
    assert [pair.draft_us > pair.in_force_us for pair in moved] == [True]
    assert ours.begin_us == moved[0].draft_us
    assert [one.draft.holds for one in report.expected].count(False) >= 3
    assert all(one.in_force.holds for one in report.expected)
    assert {one.rule for one in report.draft.inside} == {"heat-fire"}


def test_silence_and_devices_are_judged() -> None:
    """Other than a backtest, the lab knows when something came."""
    silent = played("scenario/sensor-silent")
    assert "no-data" in {one.rule for one in silent.draft.alarms}
    panel = played("scenario/panel-event")
    assert any(one.rule.startswith("event:") for one in panel.draft.alarms)


def test_a_recording_is_performed_in_its_own_time(tmp_path: Path) -> None:
    """Seconds count from the first row; ignition and events are marks, an ignition noted twice is one."""
    root = folder(tmp_path / "made", burns())
    report = played("recording/room.csv", root=root)
    assert (report.origin_s, report.length_s, report.is_dated) == (-20.0, 259.0, False)
    assert [(one.what, one.from_s) for one in report.marks] == [("ignition", 120.0), ("Window breaks", 200.0)]
    fire = next(one for one in report.draft.alarms if one.cls is AlarmClass.FIRE)
    assert 120 < (fire.begin_us - report.begin_us) / 1e6 < 157
    assert not fire.test
    assert report.value[0] == 20.0


def test_a_dated_recording_keeps_its_day(tmp_path: Path) -> None:
    """What has a calendar begins on its own day, in the run and in the test that is kept."""
    rows = "".join(f"{1_700_000_000 + 10 * t},{20 + max(0, t - 30)}\n" for t in range(80))
    root = folder(tmp_path / "made", rows, "file,family,kind,scenario\nroom.csv,made,normal,a warm day\n")
    report = played("recording/room.csv", root=root)
    assert (report.is_dated, report.begin_us, report.origin_s) == (True, 1_700_000_000_000_000, 0.0)
    assert [one.what for one in report.marks] == ["Window breaks"] or report.marks[0].from_s < 0
    written = keep(take("recording/room.csv", root), shipped(), report.point, 100, 600, "warm", "heat-fire")
    assert 'start: "2023-11-14T22:15:00+00:00"' in written.test


def test_what_was_not_measured_is_a_gap(tmp_path: Path) -> None:
    """A gap is told from the readings themselves, however few of them are drawn."""
    seconds = [t for t in range(3000) if not 1000 <= t < 1100]
    root = folder(tmp_path / "made", "".join(f"{t},20.{t % 3}\n" for t in seconds))
    report = played("recording/room.csv", root=root)
    assert len(report.at_s) < len(seconds) / 2
    assert report.gaps == ((999.0, 1100.0),)
    assert played().gaps == ()


def test_sources_are_scenarios_and_recordings(tmp_path: Path) -> None:
    """Without a folder there are the scenarios alone; what is not on the list is not read."""
    alone = sources(None)
    assert {one.group for one in alone} == {"scenario"}
    assert FIRE in {one.id for one in alone}
    root = folder(tmp_path / "made", burns())
    (tmp_path / "secret.csv").write_text("time_s,ceiling_temperature_c\n0,1\n")
    assert [one.id for one in sources(root)[len(alone) :]] == ["recording/room.csv"]
    for source in ("recording/../secret.csv", "recording/none.csv", "scenario/../x", str(root), ""):
        with pytest.raises(LabRefused, match="choose one of the list"):
            take(source, root)
    with pytest.raises(LabRefused, match="choose one of the list"):
        take("recording/room.csv", None)


def test_a_span_is_kept_as_a_test_that_passes() -> None:
    """The span of the signal becomes an entry which expects what the draft says, and the file passes it."""
    written = keep(take(FIRE, None), shipped(), "heat-302", 30, 200, "a fast fire", "heat-rise-fire")
    file = parse(written.text, "draft")
    assert failures(file) == []
    kept = file.tests[-1].test
    assert (kept.name, kept.points[0].quantity, kept.points[0].id) == (
        "a fast fire",
        "temperature",
        "heat-302",
    )
    assert [one.rule for one in kept.expect if not isinstance(one, str)] == ["heat-rise-fire"]
    harder = parse(written.text.replace("rise: 6", "rise: 60"), "draft")
    assert any("a fast fire" in text for _, text in failures(harder))


def test_a_scoped_rule_finds_its_point_in_the_test() -> None:
    """Where rules have scopes, the test's point has its place."""
    draft = parse(
        "threshold:\n  - {name: heat, version: 1, cls: fire, severity: 4, quantity: temperature, uom: degC,"
        " above: 57, reset: 50, scope: {building: dorm}}\n",
        "draft",
    )
    written = keep(take(FIRE, None), draft, "heat-302", 0, 240, "scoped", "heat")
    assert "building: dorm" in written.test
    assert [one.rule for one in written.said] == ["heat"]
    silences = "silence:\n  - {after_s: 60}\n  - {name: here, scope: {building: dorm}, after_s: 30}\n"
    assert "building: dorm" in keep(take(FIRE, None), parse(silences, "d"), "heat-302", 0, 9, "n", "").test
    assert "building" not in keep(take(FIRE, None), shipped(), "heat-302", 0, 9, "n", "heat-fire").test


def test_what_cannot_be_kept_is_refused() -> None:
    """No such point, no reading there, no such rule: in words."""
    chosen = take(FIRE, None)
    with pytest.raises(LabRefused, match="no point 'x'"):
        keep(chosen, shipped(), "x", 0, 10, "n", "")
    with pytest.raises(LabRefused, match="no reading from 500"):
        keep(chosen, shipped(), "heat-302", 500, 600, "n", "")
    with pytest.raises(RulesRefused, match="no rule x"):
        keep(chosen, shipped(), "heat-302", 0, 10, "n", "x")
    with pytest.raises(LabRefused, match="no point"):
        play(chosen, default_rules(), default_rules(), "x", quiet)


def test_real_recordings_are_performed() -> None:
    """A fire that nobody here made is alarmed after its ignition, in the lab as in an evaluation."""
    root = recordings()
    file = "fsri_compartment_2018/fsri_comp_500kw_open_corner_1.csv.gz"
    report = played(f"recording/{file}", root=root)
    ignition = next(one.from_s for one in report.marks if one.what == "ignition")
    fire = next(one for one in report.draft.alarms if one.cls is AlarmClass.FIRE)
    assert 0 < (fire.begin_us - report.begin_us) / 1e6 - ignition < 60

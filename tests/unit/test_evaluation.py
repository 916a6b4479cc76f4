"""The definitions of an evaluation, each on a folder of recordings made up for it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from alerting.detect.rules import RuleSet
from alerting.detect.verdict import Verdict, VerdictKind, Zone
from alerting.rulebook.file import default_rules
from fengsui.command import main
from fengsui.model import AlarmClass
from simulators.evaluation import FileReport, Report, Status, alarms, summarise
from simulators.evaluation_page import render
from simulators.trial import EPOCH_S, Folder
from tests.recordings import recordings
from tests.unit.detection import heat

MANIFEST = "file,family,kind,t_ignition_s,sampling_s,t_fault_first,t_fault_last,missing_code"
COLUMNS = """family,column,original_name,quantity,unit
f,time_s,,time,s
f,ceiling_c,,temperature,degC
f,co_ppm,,CO,ppm
f,pump_bar,,pressure after the pump,bar
f,temp_cable_1_c,,temperature of cable 1,degC
"""
RULES = RuleSet(
    threshold=(
        heat(),
        heat(name="co", quantity="co", uom="ppm", above=100.0, reset=50.0),
        heat(
            name="dry",
            cls=AlarmClass.FAULT,
            quantity="pressure",
            uom="kPa",
            above=None,
            below=30.0,
            reset=40.0,
        ),
        heat(name="warm", cls=AlarmClass.PREALARM, quantity="pressure", uom="kPa", above=90.0, reset=80.0),
        heat(name="cable", cls=AlarmClass.PREALARM, quantity="cable_temperature", above=70.0, reset=60.0),
    )
)


class Made:
    """A folder in the form of the collection, one file after another."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._rows = [MANIFEST]
        (root / "columns.csv").write_text(COLUMNS)

    def add(
        self, name: str, kind: str, header: str, rows: Sequence[Sequence[object]], *,
        ignition: object = "", sampling: object = 1, fault: tuple[object, object] = ("", ""),
    ) -> None:  # fmt: skip
        """Write a recording and its row of the manifest."""
        lines = [header, *(",".join(map(str, row)) for row in rows)]
        (self.root / f"{name}.csv").write_text("\n".join(lines) + "\n")
        self._rows.append(f"{name}.csv,f,{kind},{ignition},{sampling},{fault[0]},{fault[1]},")
        (self.root / "manifest.csv").write_text("\n".join(self._rows) + "\n")

    def fire(self, name: str, at_57_s: int, co_at_s: int | None, *, sampling: int = 1) -> None:
        """Ignition at 0, 57 degC at ``at_57_s``, CO at its limit at ``co_at_s``; 60 s before, 200 s after."""
        rows = [
            (t, 57 if t >= at_57_s else 20, 150 if co_at_s is not None and t >= co_at_s else 0)
            for t in range(-60, 200, sampling)
        ]
        self.add(name, "fire", "time_s,ceiling_c,co_ppm", rows, ignition=0, sampling=sampling)

    def pump(self, name: str, kind: str, bar: Sequence[float], **manifest: object) -> None:
        """One value of pressure a second."""
        self.add(name, kind, "time_s,pump_bar", list(enumerate(bar)), **manifest)  # type: ignore[arg-type]  # as add

    def evaluated(self) -> Report:
        """The report by the rules of this test."""
        return Folder(self.root).evaluate(RULES, "test", lambda file, done: None)

    def only(self) -> FileReport:
        """The report on the one file."""
        (file,) = self.evaluated().files
        return file


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """An empty folder."""
    return Made(tmp_path)


def test_alarm_is_the_first_fire_after_ignition_and_lead_the_share_of_time_gained(made: Made) -> None:
    """CO at 40 s where 57 degC comes at 100 s is 60 % earlier; the heat's own alarm is no second one."""
    made.fire("a", 100, 40)
    file = made.only()
    assert (file.alarm_s, file.fixed57_s) == (40.0, 100.0)
    assert file.lead == pytest.approx(0.6)
    assert (file.false_fire_alarms, file.fault_found, file.status) == (0, None, Status.JUDGED)
    assert file.device_days == pytest.approx(60 / 86400, abs=1e-6)


def test_lead_is_judged_only_where_57_comes_more_than_30_s_after_ignition(made: Made) -> None:
    """At 30 s sharp there is no lead; at 31 s there is."""
    made.fire("at_30", 30, 10)
    made.fire("at_31", 31, 10)
    first, second = made.evaluated().files
    assert first.lead is None
    assert second.lead == pytest.approx(21 / 31)


@pytest.mark.parametrize(
    ("sampling", "behind_s", "is_later"), [(1, 5, False), (1, 6, True), (10, 20, False), (10, 30, True)]
)
def test_later_means_by_more_than_two_samples_and_5_s(
    made: Made, sampling: int, behind_s: int, is_later: bool
) -> None:
    """The room's CO alone alarms here: as late as two samples, at least 5 s, is not later."""
    rows = [
        (t, 57.0 if t == 100 else 20.0, 150 if t >= 100 + behind_s else 0) for t in range(-50, 200, sampling)
    ]
    made.add("a", "fire", "time_s,ceiling_c,co_ppm", rows, ignition=0, sampling=sampling)
    rules = RuleSet(threshold=RULES.threshold[1:])
    report = Folder(made.root).evaluate(rules, "without heat", lambda file, done: None)
    assert report.files[0].alarm_s == 100 + behind_s
    assert report.summary.later_than_fixed57 == is_later


def test_a_fire_without_an_alarm_is_later_and_has_the_least_lead(made: Made) -> None:
    """Two of three fires with an alarm leave the median to the middle one; with one of two there is none."""
    for name, co_at_s in (("a", 50), ("b", 20)):
        made.fire(name, 100, co_at_s)
    detected = list(made.evaluated().files)
    missed = FileReport(file="c", family="f", kind="fire", fixed57_s=100.0, t_ignition_s=0.0, sampling_s=1.0)
    three, two = summarise([*detected, missed]), summarise([detected[0], missed])
    assert (three.fires, three.detected, three.later_than_fixed57) == (3, 2, 1)
    assert three.median_earlier_than_fixed57 == 0.5
    assert two.median_earlier_than_fixed57 is None


def test_a_fire_alarm_before_ignition_is_false_and_the_next_one_is_the_alarm(made: Made) -> None:
    """What had cleared before ignition is counted as false; the alarm of the fire is the first after it."""
    rows = [(t, 70 if t in range(-30, -20) or t >= 50 else 20) for t in range(-60, 100)]
    made.add("a", "fire", "time_s,ceiling_c", rows, ignition=0)
    file = made.only()
    assert (file.false_fire_alarms, file.alarm_s, file.false_alarms_s) == (1, 50.0, (-30.0,))


@pytest.mark.parametrize("kind", ["normal", "nuisance", "fault"])
def test_every_fire_alarm_without_a_fire_is_false(made: Made, kind: str) -> None:
    """Normal operation, a nuisance and a fault have no fire, also inside of a labelled interval."""
    rows = [(t, 70 if 20 <= t < 30 or t >= 50 else 20) for t in range(100)]
    made.add("a", kind, "time_s,ceiling_c", rows, fault=(10, 90))
    file = made.only()
    assert (file.false_fire_alarms, file.alarm_s) == (2, 20.0)
    assert summarise([file]).fires == 0


def test_a_fault_is_found_by_the_first_fault_in_its_interval(made: Made) -> None:
    """The delay counts from the begin of the interval; a pre-alarm in the lead-in is no fault."""
    made.pump("a", "fault", [1.0] * 30 + [0.5] * 20 + [0.2] * 30 + [0.5] * 20, fault=(45, 85))
    file = made.only()
    assert (file.fault_found, file.fault_delay_s, file.false_faults) == (True, 5.0, 0)
    assert file.device_days == pytest.approx((45 + 14) / 86400, abs=1e-6)
    summary = summarise([file])
    assert (summary.fault_files, summary.fault_files_found, summary.false_faults_per_device_day) == (
        1,
        1,
        0.0,
    )


@pytest.mark.parametrize(("low_at", "false_faults"), [((20, 60), 1), ((20, 25), 1), ((90,), 1), ((), 0)])
def test_a_fault_is_missed_when_the_lead_in_had_one_or_none_came(
    made: Made, low_at: tuple[int, ...], false_faults: int
) -> None:
    """A fault in the normal lead-in spoils a find; one after the interval finds nothing; both are false."""
    bar = [0.2 if any(at <= t < at + 15 for at in low_at) else 0.5 for t in range(120)]
    made.pump("a", "fault", bar, fault=(45, 85))
    file = made.only()
    assert (file.fault_found, file.fault_delay_s, file.false_faults) == (False, None, false_faults)


def test_false_faults_are_counted_per_day_of_quiet_time(made: Made) -> None:
    """Two faults in a normal file of 1000 s are 172.8 a day."""
    bar = [0.2 if t in range(100, 110) or t in range(500, 510) else 0.5 for t in range(1001)]
    made.pump("a", "normal", bar)
    summary = made.evaluated().summary
    assert (summary.false_faults, summary.fault_files) == (2, 0)
    assert summary.false_faults_per_device_day == pytest.approx(172.8, rel=1e-3)


def test_windows_of_the_event_log_are_labelled_intervals(made: Made) -> None:
    """Without a fault interval in the manifest, starts and ends in the events make it; any window counts."""
    made.pump("a", "fault", [0.5] * 70 + [0.2] * 50)
    events = ((20, "anomaly window start"), (30, "anomaly window end"), (25, "labelled anomaly"))
    more = ((60, "anomaly window start"), (80, "anomaly window end"))
    lines = [f"a.csv,{t},{words}" for t, words in (*events, *more)]
    (made.root / "events.csv").write_text("file,t,event\n" + "\n".join(lines) + "\n")
    file = made.only()
    assert file.intervals == ((20.0, 30.0), (60.0, 80.0))
    assert (file.fault_found, file.fault_delay_s) == (True, 10.0)


def test_a_fault_without_a_label_is_nothing_to_find(made: Made) -> None:
    """It counts in no share of found faults, and the note says so."""
    made.pump("a", "fault", [0.5] * 20)
    file = made.only()
    assert file.fault_found is None
    assert "no labelled interval" in file.note
    assert summarise([file]).fault_files == 0


def test_an_overheat_is_found_by_any_warning_after_its_heating_began(made: Made) -> None:
    """Heating begins at time 0 unless told; a pre-alarm of the cable finds it and nothing of it is false."""
    rows = [(t, 25 + max(0, t)) for t in range(-30, 100)]
    made.add("a", "overheat", "time_s,temp_cable_1_c", rows)
    file = made.only()
    assert (file.alarm_s, file.fault_found, file.fault_delay_s) == (45.0, True, 45.0)
    assert (file.false_fire_alarms, file.false_faults) == (0, 0)
    assert file.device_days == pytest.approx(30 / 86400, abs=1e-6)
    assert summarise([file]).fault_files == 0


def test_real_alarms_beside_the_file_are_a_yardstick(made: Made) -> None:
    """An alarm later than their median by more than 5 s is later than the reference."""
    made.fire("a", 100, 60)
    head = "file,alarm_type,alarm_number,station,t_activation_s\n"
    for median_s, later in ((55, 0), (54, 1)):
        (made.root / "reference_alarms.csv").write_text(f"{head}a.csv,photoelectric,1,A,{median_s}\n")
        report = made.evaluated()
        assert report.files[0].reference_alarm_s == median_s
        assert report.summary.later_than_reference == later


def test_waveforms_are_out_of_scope_and_named(made: Made) -> None:
    """A file of 1 kHz is skipped unread, with a note, and counts nowhere."""
    made.pump("a", "fault", [0.1], sampling=0.001, fault=(0, 1))
    (made.root / "a.csv").unlink()
    report = made.evaluated()
    assert report.files[0].status is Status.OUT_OF_SCOPE
    assert "1000 samples a second" in report.files[0].note
    assert (report.summary.fault_files, report.summary.out_of_scope, report.summary.unreadable) == (0, 1, 0)


def test_a_timestamp_axis_keeps_its_dates_and_seconds_begin_at_the_epoch(made: Made) -> None:
    """Times in the report are on the file's own axis, whatever the engine's clock was."""
    rows = [(f"2020-03-01 10:00:{s:02d}", 70 if s >= 30 else 20) for s in range(60)]
    made.add("a", "normal", "time_s,ceiling_c", rows)
    assert made.only().alarm_s == 1_583_056_830.0
    assert made.only().alarm_s != EPOCH_S


def test_an_alarm_ends_when_the_last_rule_at_its_point_has_cleared() -> None:
    """Two rules of a class at one point or zone are one alarm, another point another, no-data none."""

    def verdict(
        kind: VerdictKind, rule: str, point: int, *, missing: bool = False, zone: str = ""
    ) -> Verdict:
        return Verdict(
            point=point, gateway="", cls=AlarmClass.FIRE, kind=kind, rule=rule, version=1, severity=4,
            at_us=7,
            value=None, limit=None, reset=None, window_s=0, received_at_us=7, age_us=0, test=False,
            missing=missing, zone=Zone("u", "b", zone) if zone else None,
        )  # fmt: skip

    up, down, past = VerdictKind.RAISE, VerdictKind.CLEAR, VerdictKind.PAST
    assert len(alarms([verdict(up, "a", 0), verdict(up, "b", 0), verdict(up, "a", 1)])) == 2
    again = [verdict(up, "a", 0), verdict(up, "b", 0), verdict(down, "a", 0), verdict(up, "a", 0)]
    assert len(alarms(again)) == 1
    assert len(alarms([verdict(up, "a", 0), verdict(down, "a", 0), verdict(up, "a", 0)])) == 2
    gateways = [msgspec.structs.replace(verdict(up, "k", -1), gateway=name) for name in ("g1", "g2")]
    assert len(alarms(gateways)) == 2
    together = [verdict(up, "k", -1, zone="z1"), verdict(up, "l", -1, zone="z1"), verdict(up, "a", 0)]
    assert len(alarms([*together, verdict(up, "k", -1, zone="z2")])) == 3
    assert len(alarms([verdict(past, "a", 0), verdict(past, "a", 0)])) == 2
    assert alarms([verdict(up, "silent", 0, missing=True)]) == []


def test_the_command_writes_report_and_page(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    """JSON and page hold the files; progress and summary go to stderr; every file judged is exit code 0."""
    made.fire("a", 100, 60)
    out, page = made.root / "out.json", made.root / "out.html"
    assert main(["evaluate", str(made.root), "--report", str(out), "--html", str(page)]) == 0
    report = json.loads(out.read_text())
    assert {
        "file",
        "family",
        "kind",
        "alarm_s",
        "fixed57_s",
        "en54_a1r_s",
        "reference_alarm_s",
        "note",
    } <= set(report["files"][0])
    assert report["summary"]["fires"] == 1
    assert "fires 1 of 1 detected" in capsys.readouterr().err
    text = page.read_text()
    assert "<svg" in text
    assert "://" not in text


def test_an_unreadable_file_is_named_counted_and_exit_code_1(
    made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    """The rest is judged all the same and the report is written."""
    made.fire("good", 100, 60)
    made.fire("broken", 100, 60)
    made.fire("gone", 100, 60)
    (made.root / "broken.csv").write_text("time_s,ceiling_c\n0,20,30\n")
    (made.root / "gone.csv").unlink()
    out = made.root / "out.json"
    assert main(["evaluate", str(made.root), "--report", str(out)]) == 1
    summary = json.loads(out.read_text())["summary"]
    assert (summary["fires"], summary["unreadable"]) == (1, 2)
    told = capsys.readouterr().err
    assert "broken.csv, line 2" in told
    assert "gone.csv" in told


@pytest.mark.parametrize(
    ("prepare", "arguments", "text"),
    [
        ("empty", [], "has no manifest.csv"),
        ("made", ["--rules", "none.yaml"], "none.yaml: cannot be read"),
        ("made", ["--rules", "bad.yaml"], "bad.yaml:1: threshold is a list"),
        ("made", ["--html", "no/where.html"], "there is no folder"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_judged(
    made: Made,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    prepare: str,
    arguments: list[str],
    text: str,
) -> None:
    """A folder without tables, rules that are none, an output without a folder: exit 64 and a remedy."""
    monkeypatch.chdir(made.root)
    if prepare == "made":
        made.fire("a", 100, 60)
    (made.root / "bad.yaml").write_text("threshold: 3\n")
    assert main(["evaluate", ".", "--report", "out.json", *arguments]) == 64
    assert text in capsys.readouterr().err
    assert not (made.root / "out.json").exists()


def test_the_page_marks_what_was_missed(made: Made) -> None:
    """A fire without an alarm and a fault that nobody found stand there in red, with their names escaped."""
    made.pump("a<b", "fault", [0.5] * 20, fault=(5, 10))
    rows = [(t, 20) for t in range(50)]
    made.add("cold", "fire", "time_s,ceiling_c", rows, ignition=0)
    page = render(made.evaluated())
    assert "no alarm" in page
    assert "missed" in page
    assert "a&lt;b" in page
    assert "a<b" not in page


def test_every_recorded_fire_that_reaches_57_is_alarmed_by_the_shipped_rules() -> None:
    """All recordings but the waveform are judged, and channels that are traps are left out."""
    root = recordings()
    report = Folder(root).evaluate(default_rules(), "shipped", lambda file, done: None)
    files = {file.file.partition("/")[2].removesuffix(".csv.gz"): file for file in report.files}
    assert report.summary.unreadable == 0
    assert [f.family for f in report.files if f.status is Status.OUT_OF_SCOPE] == ["motor_winding_shorts"]
    hot = [file for file in report.files if file.fixed57_s is not None]
    assert len(hot) >= 34
    assert all(file.alarm_s is not None for file in hot)
    assert all(file.en54_a1r_s is not None for file in hot)
    assert report.summary.later_than_fixed57 == 0
    assert not any("gas_f" in channel for channel in files["nist_smoke_alarm_sdc02"].channels)
    assert any("gas_c_co" in channel for channel in files["nist_smoke_alarm_sdc02"].channels)
    assert not any("raw_" in channel for channel in files["nist_smoke_alarm_sdc02"].channels)
    assert files["faa_cargo_testcase_1"].fixed57_s is None
    assert not any("flow" in channel for channel in files["fsri_li_ion_cell_level"].channels)
    assert not any("oxygen" in channel for channel in files["fsri_hvac_exp01"].channels)
    assert any("bedroom_1_oxygen" in channel for channel in files["fsri_hvac_exp08"].channels)

from __future__ import annotations

from pathlib import Path

import pytest

from alerting.rulebook.file import default_rules, parse_rules
from fengsui.command import main
from fengsui.hold import HoldClock
from fengsui.model import Clock as ClockState
from fengsui.model import Kind, Lane, Reading
from fengsui.spool import Item, Spool
from fengsui.wire import encode_readings
from simulators.demo import FILL, Report, SeenAlarm, fitting_speed
from simulators.house import held_readings, rules_for
from simulators.verb_demo import summary

TEXT = "time_s,a_c,b_c\n0,20,30\n1,21,\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two rows without manifest."""
    path = tmp_path / "fire.csv"
    path.write_text(TEXT)
    return path


@pytest.mark.parametrize(
    ("span_s", "for_s", "speed"), [(5, 10, 1), (750, 10, 100), (751, 10, 101), (0, 1, 1)]
)
def test_a_speed_fits_the_file_into_the_time(span_s: float, for_s: float, speed: float) -> None:
    """Whole, with a reserve, and never slower than it happened."""
    assert fitting_speed(span_s, for_s) == speed
    assert span_s / fitting_speed(span_s, for_s) <= max(FILL * for_s, span_s)


def test_the_demo_judges_by_the_shipped_rules() -> None:
    """All rules are the shipped ones; only the silence of a gateway is stretched to stay real."""
    rules, shipped = parse_rules(rules_for(100.0)), default_rules()
    assert (rules.threshold, rules.silence) == (shipped.threshold, shipped.silence)
    assert rules.offline.after_s == 100 * shipped.offline.after_s


def test_what_a_spool_holds_is_counted_in_readings(tmp_path: Path) -> None:
    """Readings of records that are not committed; other records count nothing."""
    spool = Spool(tmp_path / "spool", quota_bytes=1 << 20, now=HoldClock().now)
    body = encode_readings([Reading("a", 1, 20.0), Reading("b", 1, 20.0)], ClockState.SYNCED)
    for _ in range(3):
        spool.store(Lane.TELEMETRY, [Item(Kind.READINGS, body, 2)])
    spool.store(Lane.TELEMETRY, [Item(Kind.DESCRIBE, b"", 1)])
    assert held_readings(spool) == 6
    spool.commit(Lane.TELEMETRY, 1)
    assert held_readings(spool) == 4
    spool.commit(Lane.TELEMETRY, 4)
    assert held_readings(spool) == 0
    spool.close()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--column", "c_c"], "no column c_c; it has time_s, a_c, b_c"),
        (["--recording", "gone.csv"], "gone.csv: cannot be read"),
        (["--report", "/gone/o.json"], "/gone/o.json: there is no folder /gone"),
    ],
)
def test_a_wrong_wish_is_told_before_anything_starts(
    file: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message names what is wrong and what there is."""
    assert main(["demo", "--recording", str(file), "--for", "1", *arguments]) == 64
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "soon"])
def test_a_time_must_be_above_nothing(file: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """``--for`` and ``--speed`` take numbers above 0."""
    for option in ("--for", "--speed"):
        with pytest.raises(SystemExit) as exit_:
            main(["demo", "--recording", str(file), f"{option}={text}"])
        assert exit_.value.code == 2
        assert f"'{text}' is not a number above 0" in capsys.readouterr().err


def test_a_file_without_time_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a time column a manifest is needed, and the message says so."""
    file = tmp_path / "bare.csv"
    file.write_text("a_c\n20\n")
    assert main(["demo", "--recording", str(file), "--for", "1"]) == 64
    assert "no time column, and no sampling_s in a manifest.csv" in capsys.readouterr().err


def test_the_summary_says_what_a_person_asks_first() -> None:
    """Account, first fire and latency, in two lines."""
    alarm = SeenAlarm("a", "fire", "heat-fire", "unacknowledged", 12.0)
    report = Report(
        produced=1_000, journalled=1_000, stored=999, duplicate=1, dead=0, shed=0, waiting=0, residue=0,
        alarms=[alarm], first_alarm_s=12.0, ws_p99_ms=30.5,
    )  # fmt: skip
    account, news = summary(report).splitlines()
    assert account.endswith("1 duplicate, 0 dead, 0 shed, 0 waiting: residue 0")
    assert news == "first fire alarm at 12 s of 1 alarms; to the WebSocket: p99 30.5 ms"

"""``fengsui backtest --folder``: recordings as one history."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fengsui import command
from simulators.archive import load_archive
from tests.past import DRAFT, IN_FORCE
from tests.recordings import recordings

MANIFEST = """\
file,family,kind,sampling_s
one/a.csv,one,normal,
one/b.csv,one,normal,
one/fast.csv,one,normal,0.001
one/gone.csv,one,normal,
"""
COLUMNS = "family,column,quantity,unit\none,time_s,time,s\none,room_c,air temperature,C\n"


def folder(root: Path) -> Path:
    """Two files of a thermometer, one of them dated, one that is a waveform, and one that is not there."""
    (root / "one").mkdir()
    (root / "manifest.csv").write_text(MANIFEST)
    (root / "columns.csv").write_text(COLUMNS)
    (root / "one/a.csv").write_text("time_s,room_c\n0,20\n10,\n20,55\n30,20\n")
    (root / "one/b.csv").write_text("time_s,room_c\n1777593600,20\n1777593610,x\n1777593620,60\n")
    (root / "one/fast.csv").write_text("time_s,room_c\n0,20\n")
    return root


def test_every_file_is_a_building(tmp_path: Path) -> None:
    """Files are buildings of one history, a blank cell is no reading, and what is left out is named."""
    read: list[str] = []
    archive = load_archive(folder(tmp_path), read.append)
    assert [(point.index, point.id, point.building) for point in archive.points] == [
        (0, "a:room_c", "a"), (1, "b:room_c", "b"),
    ]  # fmt: skip
    assert archive.rows.point.tolist() == [0, 0, 0, 1, 1, 1]
    assert archive.rows.quality.tolist() == [0, 0, 0, 0, 2, 0]
    assert archive.rows.at_us[0] == 1_577_836_800_000_000
    assert archive.rows.at_us[3] == 1_777_593_600_000_000
    assert len(archive.notes) == 2
    assert "waveform" in archive.notes[0]
    assert "gone.csv" in archive.notes[1]
    assert read == ["one/a.csv", "one/b.csv", "one/fast.csv", "one/gone.csv"]


def test_the_command_over_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It needs no span; a scope and a span cut it as they do for a core's past."""
    root = folder(tmp_path)
    (root / "draft.yaml").write_text(DRAFT, encoding="utf-8")
    (root / "higher.yaml").write_text(IN_FORCE, encoding="utf-8")
    line = [
        "backtest",
        str(root / "draft.yaml"),
        "--folder",
        str(root),
        "--against",
        str(root / "higher.yaml"),
    ]
    assert command.main(line) == 0
    said = capsys.readouterr().err
    assert "2 points, 6 readings" in said
    assert "fire alarms: draft 2, in force 1" in said
    assert "added: 2020-01-01 00:00:20 a:room_c fire" in said
    more = ["--from", "2026-05-01T00:00Z", "--to", "2026-05-02T00:00Z"]
    assert command.main([*line, *more]) == 0
    assert "1 days, 2 points, 3 readings" in capsys.readouterr().err
    assert command.main([*line, "--scope", "building=c*"]) == 64
    assert command.main([*line[:3], str(root / "one")]) == 64
    assert "has no manifest.csv" in capsys.readouterr().err


def test_lower_limits_over_the_recordings(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Over real recordings, a lower heat limit finds every fire the higher one finds, and none later."""
    (tmp_path / "draft.yaml").write_text(DRAFT, encoding="utf-8")
    (tmp_path / "higher.yaml").write_text(IN_FORCE, encoding="utf-8")
    line = ["backtest", str(tmp_path / "draft.yaml"), "--against", str(tmp_path / "higher.yaml")]
    assert command.main([*line, "--folder", str(recordings()), "--scope", "building=nist_smoke*"]) == 0
    said = capsys.readouterr().err
    fires = re.search(r"fire alarms: draft (\d+), in force (\d+)", said)
    assert fires is not None
    assert int(fires[1]) >= int(fires[2]) > 0
    assert re.search(r"[1-9]\d* earlier .*, 0 later", said)

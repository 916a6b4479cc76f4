"""The demo: whole recordings through the whole stack, every reading accounted for."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Any

import pytest

from alerting.detect.engine import Engine
from alerting.detect.verdict import VerdictKind
from alerting.rulebook.file import default_rules
from fengsui.model import AlarmClass
from gateway.drivers.recording import Column, Recording
from tests.e2e.test_run import children_of, is_alive
from tests.recordings import recordings
from tests.servers import Process, running
from tests.unit.detection import T0_US, S, Sample, feed, point
from tests.waiting import until


async def play(folder: Path, file: Path, *arguments: str, exit_code: int = 0) -> tuple[dict[str, Any], str]:
    """Run the demo to its end: the report, and what it said."""
    out = folder / "report.json"
    command = [sys.executable, "-m", "fengsui", "demo", "--recording", str(file), "--report", str(out)]
    process = await asyncio.create_subprocess_exec(
        *command, "--headless", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(100):
        said, _ = await process.communicate()
    assert process.returncode == exit_code, said.decode()
    report: dict[str, Any] = json.loads(out.read_text())
    return report, said.decode()


@pytest.mark.parametrize(
    "name",
    [
        "faa_cargo_bay/faa_cargo_testcase_4.csv.gz",
        "nist_smoke_alarms_tn1455/nist_smoke_alarm_sdc02.csv.gz",
        "nist_nrc_compartment_2003/nist_nrc_test_03.csv.gz",
        "fsri_compartment_2018/fsri_comp_redaccent_open_center_1.csv.gz",
    ],
)
async def test_a_real_fire_is_accounted_for_and_found(tmp_path: Path, name: str) -> None:
    """Every reading is stored; the fire alarm is detection's own first word, never later than 57 degC."""
    file = recordings() / name
    recording = Recording(file)
    (column,) = recording.choose()
    rows = [(row.t_s, row.values[0]) for row in recording.rows([column])]
    there = [(t_s, value) for t_s, value in rows if value is not None]
    hot = [t_s for t_s, value in there if isfinite(value) and value >= 57 and column.uom == "degC"]
    report, said = await play(tmp_path, file, "--for", "4")
    assert report["produced"] == report["journalled"] == report["stored"] == len(there), said
    assert [report[part] for part in ("duplicate", "dead", "shed", "waiting", "residue")] == [0] * 5
    first = _first_fire(column, there)
    assert report["first_alarm_s"] == (first and first[0]), said
    if hot:
        assert report["first_alarm_s"] <= hot[0]
    fires = [alarm for alarm in report["alarms"] if alarm["class"] == "fire"]
    assert [(a["point"], a["rule"]) for a in fires] == ([(column.point, first[1])] if first else [])
    assert report["ws_p99_ms"] > 0


def _first_fire(column: Column, rows: Sequence[tuple[float, float]]) -> tuple[float, str] | None:
    """When detection by itself says fire of these rows, s on the file's axis, and by which rule."""
    engine = Engine(default_rules(), [point(0, column.quantity, column.uom)], now_s=0.0)
    stamps = [T0_US + round(t_s * S) for t_s, _ in rows]
    verdicts = feed(engine, [Sample(0, at_us, value) for at_us, (_, value) in zip(stamps, rows, strict=True)])
    for verdict in verdicts:
        if verdict.cls is AlarmClass.FIRE and verdict.kind is VerdictKind.RAISE:
            return rows[stamps.index(verdict.at_us)][0], verdict.rule
    return None


async def test_blank_cells_invalid_cells_and_several_columns(tmp_path: Path) -> None:
    """A blank is no reading, a text is an invalid one that is stored and judged by nobody."""
    file = tmp_path / "fire.csv"
    rows = ["0,20,1", "1,,2", "2,x,3", "3,58.5,", "4,20,5"]
    file.write_text("time_s,a_c,b_ppm\n" + "\n".join(rows) + "\n")
    report, _ = await play(
        tmp_path, file, "--for", "20", "--column", "b_ppm", "--column", "a_c", "--speed", "5"
    )
    assert (report["produced"], report["stored"], report["residue"]) == (8, 8, 0)
    assert (report["first_alarm_s"], [a["point"] for a in report["alarms"]]) == (3.0, ["a_c", "a_c"])


async def test_the_time_given_is_an_upper_bound(tmp_path: Path) -> None:
    """A file that is longer than the time is cut, and what was played is accounted for all the same."""
    file = tmp_path / "long.csv"
    file.write_text("time_s,a_c\n" + "".join(f"{n / 10},20\n" for n in range(100_000)))
    report, said = await play(tmp_path, file, "--for", "2", "--speed", "10")
    assert 100 <= report["produced"] <= 220
    assert (report["stored"], report["residue"]) == (report["produced"], 0)
    assert "ended before the end of the file" in said


async def test_a_speed_beyond_the_machine_drops_nothing(tmp_path: Path) -> None:
    """Twenty thousand rows due in no time are all played."""
    file = tmp_path / "fast.csv"
    file.write_text("time_s,a_c\n" + "".join(f"{n},{20 + n % 10}\n" for n in range(20_000)))
    report, _ = await play(tmp_path, file, "--for", "60", "--speed", "1e9")
    assert (report["produced"], report["stored"], report["residue"]) == (20_000, 20_000, 0)
    assert report["first_alarm_s"] is None


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
async def test_nothing_is_left_behind(tmp_path: Path, how: signal.Signals) -> None:
    """Ctrl-C ends the playing and still gives the account; even a killed demo leaves no broker behind."""
    file, out = tmp_path / "long.csv", tmp_path / "report.json"
    file.write_text("time_s,a_c\n" + "".join(f"{n},20\n" for n in range(1_000)))
    command = [sys.executable, "-m", "fengsui", "demo", "--recording", str(file), "--report", str(out)]
    command += ["--for", "500", "--speed", "5"]
    with tempfile.TemporaryDirectory() as ours:  # who is killed cannot tidy up
        await end(Process("demo", command, tmp_path, env={**os.environ, "TMPDIR": ours}), how)
    if how is signal.SIGINT:
        report = json.loads(out.read_text())
        assert report["produced"] == report["stored"] > 0


async def end(demo: Process, how: signal.Signals) -> None:
    """Start a demo, send it a signal while it plays, and see that it and its broker are gone."""
    async with running(demo):
        await until(lambda: "% of the file" in demo.output() or not demo.running, 60, "it plays", every_s=0.2)
        assert "open http://127.0.0.1:" in demo.output()
        children = children_of(demo.pid)
        assert set(children) == {"broker"}
        os.kill(demo.pid, how)
        await until(lambda: not demo.running, 30, "the demo ends")
        await until(lambda: not is_alive(children["broker"]), 10, "the broker is gone")
    assert demo.exit_code == (0 if how is signal.SIGINT else -how)

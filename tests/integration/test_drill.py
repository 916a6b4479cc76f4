"""A drill: real machines that really fail, and an account of every reading."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fengsui.command import main
from fengsui.journal import Journal
from fengsui.log import LogFull, LogNoSpace
from fengsui.model import AGE_UNKNOWN, Clock, Kind, Lane, Reading
from fengsui.runtime import WRONG_USAGE
from fengsui.wire import encode_readings, encode_record, unpack_header
from simulators import faults
from simulators.verb_simulate import NOT_HELD

SPEED = "10"
POINTS = 20
SCENARIO = f"""\
title: Heat in many places, and machines that fail one after the other
length: 60
sample: 0.5
buildings:
  - id: dorm
    floors:
      - id: dorm-1
        rooms:
          - id: r1
            devices:
              - id: d1
                points: [{", ".join(f"{{name: heat-{n}, quantity: temperature}}" for n in range(POINTS))}]
timeline:
  - {{what: disk_full, at: 5, for: 15}}
  - {{what: slow_database, at: 25, for: 20}}
  - {{what: duplicate, at: 10, for: 30}}
  - {{what: reorder, at: 10, for: 30}}
  - {{what: link_cut, at: 40, for: 3}}
  - {{what: broker_kill, at: 48}}
  - {{what: skew, at: 1}}
never:
  - {{classes: [fire]}}
"""


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def drill(text: str) -> int:
    """Run the verb on a scenario."""
    Path("drill.yaml").write_text(text)
    return main(["simulate", "drill.yaml", "--drill", "--speed", SPEED])


@pytest.mark.parametrize("way", ["as it is here", "without mounts"])
def test_every_reading_is_accounted_for_through_all_faults(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], way: str
) -> None:
    """Each fault takes effect and is told; nothing is lost; what a drill cannot do is named."""
    if way == "without mounts":
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
    code = drill(SCENARIO)
    printed, told = capsys.readouterr()
    assert code == 0, told
    assert "ok    drill.yaml:22: never fire" in printed
    assert "left out, not possible in this way of playing: skew" in told
    assert "broker_kill from 48." in told
    assert "killed once" in told
    assert "writes took 5 s longer" in told
    assert "messages came twice" in told
    assert "messages came in another order" in told
    assert "connections were reset" in told
    assert "was full, the core noticed at" in told
    assert ("the journal's quota was full" in told) == (way == "without mounts" or os.geteuid() != 0)
    assert f"produced {120 * POINTS:,}, stored {120 * POINTS:,}, 0 waiting, 0 dead, 0 shed: residue 0" in told


def test_an_oracle_that_does_not_hold_fails_the_drill(capsys: pytest.CaptureFixture[str]) -> None:
    """The exit code says so, and the line shows what was expected and what came."""
    text = SCENARIO.partition("timeline:")[0].replace("length: 60", "length: 5")
    text += "expect:\n  - {where: heat-1, class: fire, by: 4}\n"
    assert drill(text) == NOT_HELD
    assert "FAILS drill.yaml:" in capsys.readouterr().out


@pytest.mark.parametrize("more", [["--config", "x.toml"], ["--plain"]])
def test_a_drill_has_machines_of_its_own(capsys: pytest.CaptureFixture[str], more: list[str]) -> None:
    """Somebody's gateway or broker cannot be part of it."""
    assert main(["simulate", "fire-fast", "--drill", *more]) == WRONG_USAGE
    assert f"{more[0]} does not go with --drill" in capsys.readouterr().err


@pytest.mark.parametrize("is_mounted", [True, False])
async def test_a_full_disk_takes_nothing_and_is_whole_when_freed(tmp_path: Path, is_mounted: bool) -> None:
    """While it is full no record gets in, by quota or medium; what was there before is there after."""
    if is_mounted and os.geteuid() != 0:
        pytest.skip("mounting a filesystem needs root")
    with faults.small_disk(tmp_path / "journal") as disk:
        if is_mounted and "filesystem" not in disk.how:
            pytest.skip("this machine mounts no tmpfs")
        small = faults.SmallDisk(tmp_path / "journal", is_mounted=is_mounted)
        journal = Journal(tmp_path / "journal", quota_bytes=32 << 20)
        record = encode_record(
            Kind.READINGS, 7, 1, AGE_UNKNOWN, encode_readings([Reading("p", 10**15, 1.0)] * 200, Clock.SYNCED)
        )
        journal.offer(Lane.TELEMETRY, "gw", record, unpack_header(record), 200, 10**15)
        await journal.commit(Lane.TELEMETRY)
        small.fill(journal)
        other = encode_record(Kind.READINGS, 7, 2, 0, record[28:] * 20)

        async def commit_more() -> None:
            journal.offer(Lane.TELEMETRY, "gw", other, unpack_header(other), 200, 10**15)
            await journal.commit(Lane.TELEMETRY)

        with pytest.raises((LogFull, LogNoSpace)):
            await commit_more()
        small.free(journal)
        await journal.commit(Lane.TELEMETRY)
        entries = await journal.read(dict.fromkeys(Lane, 0), max_readings=10_000)
        journal.close()
    assert entries[0].record == record

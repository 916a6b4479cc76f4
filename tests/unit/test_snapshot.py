"""Snapshots: newest good one of three, atomic, bound to a journal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from alerting.detect.snapshot import KEEP, Cursor, Snapshots
from fengsui.model import Lane

STATE = {"a": np.arange(5.0), "names": np.array(["x", "y"])}


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    """Arrays and cursor come back; a snapshot of another journal is nobody's."""
    snapshots = Snapshots(tmp_path / "snapshot")
    assert snapshots.load("j1") is None
    snapshots.save(Cursor("j1", 3, 40), STATE)
    loaded = Snapshots(tmp_path / "snapshot").load("j1")
    assert loaded is not None
    assert loaded.cursor == Cursor("j1", 3, 40)
    assert np.array_equal(loaded.state["a"], STATE["a"])
    assert loaded.state["names"].tolist() == ["x", "y"]
    assert snapshots.load("j2") is None


def test_three_are_kept(tmp_path: Path) -> None:
    """The oldest go."""
    snapshots = Snapshots(tmp_path)
    for n in range(10):
        snapshots.save(Cursor("j", n, 0), STATE)
    assert len(list(tmp_path.iterdir())) == KEEP
    loaded = snapshots.load("j")
    assert loaded is not None
    assert loaded.cursor.alarm == 9


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "text"])
def test_a_damaged_one_is_named_and_the_one_before_is_loaded(tmp_path: Path, damage: str) -> None:
    """Never the state, only a longer replay."""
    snapshots = Snapshots(tmp_path)
    snapshots.save(Cursor("j", 1, 0), STATE)
    snapshots.save(Cursor("j", 2, 0), STATE)
    newest = max(tmp_path.iterdir())
    whole = newest.read_bytes()
    middle = whole.index(STATE["a"].tobytes()) + 9
    newest.write_bytes(
        {
            "cut": whole[: len(whole) // 2], "empty": b"", "text": b"not a snapshot",
            "flip": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        }[damage]
    )  # fmt: skip
    loaded = snapshots.load("j")
    assert loaded is not None
    assert loaded.cursor.alarm == 1
    assert snapshots.damaged == [newest]


def test_a_cursor_never_moves_back() -> None:
    """Each lane on its own."""
    cursor = Cursor("j").moved(Lane.ALARM, 5).moved(Lane.TELEMETRY, 9).moved(Lane.ALARM, 3)
    assert (cursor.at(Lane.ALARM), cursor.at(Lane.TELEMETRY)) == (5, 9)

"""The store of SQLite files, on real files."""

from __future__ import annotations

import asyncio
import functools
import math
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fengsui.viewer import Role, Viewer
from ingest.store import base
from ingest.store.base import PointHidden, Rows, StoreMisconfigured, StoreUnavailable
from ingest.store.embedded import DAY_US, EmbeddedHistory, EmbeddedStore
from tests.reading import read_back, read_crowded, whole
from tests.readings import EVERYBODY, NOW_US, point, rows, steady

A = point(0, "a")
B = point(1, "b")


class Clock:
    """A wall clock that stands until it is moved."""

    def __init__(self) -> None:
        self.us = NOW_US

    def __call__(self) -> int:
        """Now, us."""
        return self.us


@pytest.fixture
def clock() -> Clock:
    """A clock that stands."""
    return Clock()


@pytest.fixture
async def store(tmp_path: Path, clock: Clock) -> AsyncIterator[EmbeddedStore]:
    """A store in a new folder."""
    store = EmbeddedStore(tmp_path, now_us=clock)
    yield store
    await store.aclose()


def names(folder: Path) -> list[str]:
    """Database files in a folder."""
    return sorted(path.name for path in folder.glob("*.db"))


async def test_round_trip(store: EmbeddedStore) -> None:
    """What was written comes back exactly, of the asked point and range only."""
    at = [NOW_US, NOW_US + 1, NOW_US + 2, NOW_US + 3]
    outcome = await store.write(rows([0, 0, 1, 0], at, [0.1 + 0.2, math.nan, 7.0, -0.0], [0, 2, 0, 4]))
    assert outcome == (4, [], [])
    series = await store.history(EVERYBODY, A, NOW_US, NOW_US + 3, 100)
    assert series.at_us.tolist() == [NOW_US, NOW_US + 1]
    assert series.value[0] == 0.1 + 0.2
    assert math.isnan(series.value[1])
    assert series.quality.tolist() == [0, 2]
    assert (await store.count(None), await store.count(A), await store.count(B)) == (4, 3, 1)


async def test_the_same_again_is_a_duplicate(store: EmbeddedStore) -> None:
    """A known (point, stamp) is named as a duplicate and takes the last value; nothing is stored twice."""
    await store.write(rows([0, 1], [NOW_US, NOW_US], [1.0, 2.0]))
    outcome = await store.write(rows([1, 0, 0, 0], [NOW_US, NOW_US + 1, NOW_US, NOW_US + 1], [5.0, 6, 7, 8]))
    assert outcome.stored == 1
    assert sorted(outcome.duplicates) == [0, 2, 3]
    assert await store.count(None) == 3
    assert (await store.history(EVERYBODY, A, NOW_US, NOW_US + 9, 9)).value.tolist() == [7.0, 8.0]
    assert (await store.history(EVERYBODY, B, NOW_US, NOW_US + 9, 9)).value.tolist() == [5.0]


async def test_ten_thousand_pairs_in_one_millisecond(store: EmbeddedStore) -> None:
    """R30: two readings of one point in one millisecond, 1 us apart, are two readings."""
    at = [NOW_US + 1000 * (i // 2) + i % 2 for i in range(20_000)]
    outcome = await store.write(rows([0] * 20_000, at, [float(i) for i in range(20_000)]))
    assert outcome.stored == 20_000
    series = await store.history(EVERYBODY, A, at[0], at[-1] + 1, 20_000)
    assert series.value.tolist() == [float(i) for i in range(20_000)]


async def test_a_file_for_each_day(store: EmbeddedStore, tmp_path: Path) -> None:
    """The stamp's UTC day names the file, and a history crosses midnight."""
    midnight = NOW_US // DAY_US * DAY_US
    await store.write(rows([0, 0, 0], [midnight - 1, midnight, midnight + DAY_US], [1.0, 2.0, 3.0]))
    assert names(tmp_path) == ["2026-09-20.db", "2026-09-21.db", "2026-09-22.db"]
    assert (await store.history(EVERYBODY, A, midnight - 1, midnight + 1, 9)).value.tolist() == [1.0, 2.0]


async def test_old_days_are_unlinked(tmp_path: Path, clock: Clock) -> None:
    """A day older than the retention goes as a whole file, when the next day begins."""
    store = EmbeddedStore(tmp_path, retention_days=2, now_us=clock)
    for _ in range(5):
        await store.write(rows([0], [clock.us], [1.0]))
        clock.us += DAY_US
    assert names(tmp_path) == ["2026-09-23.db", "2026-09-24.db", "2026-09-25.db"]
    assert await store.count(None) == 3
    await store.aclose()


async def test_any_stamp_makes_at_most_one_file_more(store: EmbeddedStore, tmp_path: Path) -> None:
    """Stamps of 1970, 2200 and two years ago go to odd.db, and are found there."""
    at = [i * DAY_US for i in range(50)] + [NOW_US - 401 * DAY_US, NOW_US + 2 * DAY_US, 7_258_118_400_000_000]
    outcome = await store.write(rows([0] * len(at), at, [1.0] * len(at)))
    assert outcome.stored == len(at)
    assert names(tmp_path) == ["odd.db"]
    assert (await store.history(EVERYBODY, A, 0, DAY_US, 9)).count == 1
    assert await store.count(A) == len(at)


async def test_an_odd_reading_stays_known_when_its_day_comes(tmp_path: Path, clock: Clock) -> None:
    """A stamp ahead of its time that is sent again on its day is a duplicate, also after a restart."""
    early = rows([0, 0], [NOW_US + 3 * DAY_US, NOW_US + 3 * DAY_US + 1], [1.0, 2.0])
    store = EmbeddedStore(tmp_path, now_us=clock)
    await store.write(early)
    await store.aclose()
    clock.us += 3 * DAY_US
    store = EmbeddedStore(tmp_path, now_us=clock)
    outcome = await store.write(rows([1, 0, 0], [clock.us, clock.us, clock.us + 2], [3.0, 9.0, 4.0]))
    assert (outcome.stored, outcome.duplicates) == (2, [1])
    assert await store.count(None) == 4
    assert (await store.history(EVERYBODY, A, clock.us, clock.us + 9, 9)).value.tolist() == [9.0, 2.0, 4.0]
    await store.aclose()


async def test_odd_readings_are_bounded(tmp_path: Path, clock: Clock) -> None:
    """When odd.db is full its readings are refused with the reason, and others are stored as ever."""
    store = EmbeddedStore(tmp_path, odd_limit_bytes=1, now_us=clock)
    await store.write(rows([0], [5], [1.0]))
    outcome = await store.write(rows([0, 0], [6, NOW_US], [1.0, 2.0]))
    assert (outcome.stored, [row for row, _ in outcome.refused]) == (1, [0])
    assert "is full" in outcome.refused[0].text
    await store.aclose()


async def test_many_days_need_few_open_files(store: EmbeddedStore) -> None:
    """A backlog over 40 days is stored with a bounded number of open files."""
    at = [NOW_US - i * DAY_US for i in range(40)]
    assert (await store.write(rows([0] * 40, at, [1.0] * 40))).stored == 40
    assert len(store._open) <= 8
    assert await store.count(None) == 40


@pytest.mark.parametrize("content", [b"", b"not a database, but as long as a header would have to be" * 90])
async def test_a_damaged_file_is_moved_aside(tmp_path: Path, clock: Clock, content: bytes) -> None:
    """A day that cannot be read is kept for a person, a fault also after a restart, and begun anew."""
    day = tmp_path / "2026-09-21.db"
    day.write_bytes(content)
    store = EmbeddedStore(tmp_path, now_us=clock)
    assert (await store.write(steady(10))).stored == 10
    (aside,) = tmp_path.glob("*.damaged")
    assert aside.read_bytes() == content
    assert str(aside) in store.faults[0]
    await store.aclose()
    again = EmbeddedStore(tmp_path, now_us=clock)
    assert again.faults == store.faults
    assert await again.count(None) == 10
    await again.aclose()


async def test_pages_that_rot(tmp_path: Path, clock: Clock) -> None:
    """Pages that rot are noticed, moved aside and told; the batch is stored anyway."""
    store = EmbeddedStore(tmp_path, now_us=clock)
    await store.write(steady(5_000))
    await store.aclose()
    day = tmp_path / "2026-09-21.db"
    content = bytearray(day.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    day.write_bytes(content)
    again = EmbeddedStore(tmp_path, now_us=clock)
    assert await again.count(None) == 0
    assert "cannot be read" in again.faults[0]
    assert (await again.write(steady(3))).stored == 3
    assert len(list(tmp_path.glob("*.damaged"))) == 1
    await again.aclose()


async def test_another_process_reads_while_we_write(store: EmbeddedStore, tmp_path: Path) -> None:
    """A reader in another process, with a read-only connection, sees every committed row."""
    await store.write(steady(100))
    code = (
        "import sqlite3, sys; db = sqlite3.connect(sys.argv[1], uri=True);"
        "print(db.execute('SELECT count(*) FROM reading').fetchone()[0])"
    )
    uri = f"{(tmp_path / '2026-09-21.db').as_uri()}?mode=ro"
    run = functools.partial(subprocess.run, capture_output=True, text=True, check=True)
    seen = await asyncio.to_thread(run, [sys.executable, "-c", code, uri])
    assert seen.stdout.strip() == "100"


async def test_a_locked_file_is_unavailable(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that another process holds locked is tried again later, and nothing of the batch is in it."""
    store = EmbeddedStore(tmp_path, now_us=clock)
    await store.write(steady(1))
    holder = sqlite3.connect(tmp_path / "2026-09-21.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    monkeypatch.setattr("ingest.store.embedded.BUSY_S", 0.05)
    store._let_go("2026-09-21")
    with pytest.raises(StoreUnavailable, match="locked"):
        await store.write(steady(10))
    holder.execute("ROLLBACK")
    holder.close()
    assert (await store.write(steady(10))).stored == 9
    await store.aclose()


async def test_a_folder_in_the_way_is_for_a_person(tmp_path: Path, clock: Clock) -> None:
    """A file that cannot be opened at all is a mistake only a person can correct."""
    store = EmbeddedStore(tmp_path, now_us=clock)
    (tmp_path / "2026-09-21.db").mkdir()
    with pytest.raises(StoreMisconfigured, match="owner and rights"):
        await store.write(steady(1))
    await store.aclose()


async def test_thinned_history_and_hidden_point(store: EmbeddedStore) -> None:
    """A long history comes back within the bound; another unit's point does not come back at all."""
    await store.write(steady(20_000))
    few = await store.history(EVERYBODY, A, NOW_US, NOW_US + 20_000_000_000, 200)
    assert 50 <= few.count <= 200
    stranger = Viewer("x", frozenset({Role.OFFICER}), frozenset({"unit-b"}))
    with pytest.raises(PointHidden):
        await store.history(stranger, A, NOW_US, NOW_US + 9, 9)


async def test_empty_batch(store: EmbeddedStore) -> None:
    """No rows, nothing done."""
    nothing: Rows = rows([], [], [])
    assert await store.write(nothing) == (0, [], [])


async def test_reading_many_points(store: EmbeddedStore) -> None:
    """Readings of many points come back in order of time, whole, over the borders of days."""
    await read_back(store, [point(i, f"p{i}") for i in range(3)])


@pytest.mark.parametrize("most", [2, 100])
async def test_a_piece_is_bounded(store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """However dense the readings are, a piece holds no more than it may."""
    monkeypatch.setattr(base, "ROWS_PER_PIECE", most)
    await read_crowded(store, [point(i, f"p{i}") for i in range(3)], most)


async def test_reading_beside_the_writer(tmp_path: Path, clock: Clock) -> None:
    """A second process reads odd stamps and damaged days without making, moving or locking anything."""
    store = EmbeddedStore(tmp_path, now_us=clock)
    await store.write(rows([0, 1, 0], [NOW_US, NOW_US + 1, 5], [1.0, 2.0, 3.0]))
    await store.write(rows([0], [NOW_US - DAY_US], [4.0]))
    day = store.folder / "2026-09-20.db"
    await store.aclose()
    day.write_bytes(b"no database at all" * 100)
    before = sorted((path.name, path.stat().st_size) for path in store.folder.glob("*.db"))
    history = EmbeddedHistory(store.folder)
    found = await whole(history, [A, B], 0, NOW_US + DAY_US)
    assert found.value.tolist() == [3.0, 1.0, 2.0]
    assert [str(day) in fault for fault in history.faults] == [True]
    assert sorted((path.name, path.stat().st_size) for path in store.folder.glob("*.db")) == before

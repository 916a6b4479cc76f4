from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fengsui import journal as of_journal
from fengsui.journal import Cursor, Entry, Journal, JournalError, Offer
from fengsui.log import Chunk, Damage, Log, LogFailed, LogFull, LogNoSpace
from fengsui.marks import MAX_AHEAD, MAX_ISLANDS, Marks
from fengsui.model import Kind, Lane
from fengsui.wire import HEADER, Shed, encode_body, encode_record, unpack_header

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
ALARM, TELEMETRY = Lane.ALARM, Lane.TELEMETRY
START: Cursor = {ALARM: 0, TELEMETRY: 0}


def make(folder: Path, *, quota: int = 1 << 26, segment: int = 32 << 20) -> Journal:
    """A journal with segments as small as a test wants."""
    return Journal(folder, quota_bytes=quota, segment_bytes=segment)


def record(seq: int, body: bytes = b"body", *, spool: int = 7, kind: Kind = Kind.READINGS) -> bytes:
    """A record off the wire."""
    return encode_record(kind, spool, seq, 0, body)


def tombstone(seq: int, first: int, last: int, *, spool: int = 7) -> bytes:
    """A ``shed`` record."""
    return record(seq, encode_body(Shed(first, last, 1, "quota")), spool=spool, kind=Kind.SHED)


def offer(
    journal: Journal, one: bytes, *, lane: Lane = TELEMETRY, gateway: str = "g1", readings: int = 1
) -> Offer:
    """Offer a record."""
    return journal.offer(lane, gateway, one, unpack_header(one), readings, 1_000)


async def read_all(journal: Journal, cursor: Cursor = START, *, max_readings: int = 3) -> list[Entry]:
    """Everything beyond a cursor, in the order in which a reader gets it."""
    at = dict(cursor)
    found: list[Entry] = []
    while journal.is_behind(at):
        async with asyncio.timeout(5):
            entries = await journal.read(at, max_readings=max_readings)
        assert len({entry.lane for entry in entries}) == 1
        assert [e.n for e in entries] == sorted(e.n for e in entries)
        assert entries[0].n > at[entries[0].lane]
        at[entries[-1].lane] = entries[-1].n
        found += entries
    return found


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where a journal goes; in memory, because these tests sync thousands of times."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        yield Path(name) / "journal"


@pytest.fixture
async def journal(folder: Path) -> AsyncIterator[Journal]:
    """An empty journal."""
    made = make(folder)
    yield made
    made.close()


async def test_what_is_committed_is_read_the_alarm_lane_first(journal: Journal, folder: Path) -> None:
    """Entries carry what the server knew; alarms are read before telemetry, and so after a restart."""
    for seq in (1, 2):
        assert offer(journal, record(seq), readings=5) is Offer.NEW
    assert offer(journal, record(1, b"fire"), lane=ALARM) is Offer.NEW
    assert not journal.is_behind(START), "offered is not committed"
    await journal.commit(TELEMETRY)
    await journal.commit(ALARM)
    await journal.commit(ALARM)
    entries = await read_all(journal)
    assert [(e.lane, e.n, e.gateway, e.received_at_us, e.readings) for e in entries] == [
        (ALARM, 1, "g1", 1_000, 1),
        (TELEMETRY, 1, "g1", 1_000, 5),
        (TELEMETRY, 2, "g1", 1_000, 5),
    ]
    assert entries[0].record == record(1, b"fire")
    assert entries[1].header == unpack_header(record(1))
    assert journal.end() == {ALARM: 1, TELEMETRY: 2}
    assert journal.journalled() == {"g1": 11}
    identity = journal.identity
    journal.close()
    again = make(folder)
    assert again.identity == identity
    assert await read_all(again) == entries
    assert again.journalled() == {"g1": 11}
    again.close()


async def test_a_reader_waits_and_is_woken(journal: Journal) -> None:
    """A reader at the end sleeps until the next commit."""
    reading = asyncio.create_task(journal.read(START, max_readings=10))
    await asyncio.sleep(0)
    offer(journal, record(1))
    await asyncio.sleep(0)
    assert not reading.done()
    await journal.commit(TELEMETRY)
    async with asyncio.timeout(5):
        assert [e.n for e in await reading] == [1]


async def test_the_same_record_is_a_duplicate_and_another_one_a_conflict(journal: Journal) -> None:
    """Identity is (gateway, spool, lane, seq); the crc tells a duplicate from a conflict."""
    assert offer(journal, record(1)) is Offer.NEW
    assert offer(journal, record(1)) is Offer.DUPLICATE
    assert offer(journal, record(1, b"other")) is Offer.CONFLICT
    assert offer(journal, record(1), gateway="g2") is Offer.NEW
    assert offer(journal, record(1, spool=8)) is Offer.NEW
    assert offer(journal, record(1), lane=ALARM) is Offer.NEW
    await journal.commit(TELEMETRY)
    assert journal.account(TELEMETRY, "g1", 7).received == 1


async def test_a_number_too_far_ahead_is_not_taken_but_a_tombstone_is(journal: Journal) -> None:
    """A hostile number makes us hold nothing; a tombstone after weeks of outage closes what it stands for."""
    assert offer(journal, record(MAX_AHEAD + 1)) is Offer.AHEAD
    assert offer(journal, tombstone(3_000_000, 500_001, 2_999_999)) is Offer.NEW
    assert offer(journal, tombstone(3_000_001, 1, 500_000)) is Offer.NEW
    await journal.commit(TELEMETRY)
    account = journal.account(TELEMETRY, "g1", 7)
    assert account.marks == Marks(3_000_001)
    assert (account.received, account.shed, account.lost) == (2, 2_999_999, 0)


async def test_holes_without_end_are_refused_but_for_the_next_number(journal: Journal) -> None:
    """Every second number makes an island; there is a bound, and the lane still gets on from below."""
    for n in range(MAX_ISLANDS):
        assert offer(journal, record(2 * n + 2)) is Offer.NEW
    assert offer(journal, record(2 * MAX_ISLANDS + 2)) is Offer.AHEAD
    assert offer(journal, record(1)) is Offer.NEW
    assert offer(journal, record(2 * MAX_ISLANDS + 2)) is Offer.NEW
    await journal.commit(TELEMETRY)


@pytest.mark.parametrize("body", [b"", b"\xff", b"\x91" * 3000, encode_body(Shed(1, 2, 0, "x"))[:-1]])
async def test_a_tombstone_that_cannot_be_read_closes_nothing(journal: Journal, body: bytes) -> None:
    """It is journalled under its number, for the dead letter; the hole stays open."""
    assert offer(journal, record(3, body, kind=Kind.SHED)) is Offer.NEW
    await journal.commit(TELEMETRY)
    assert journal.account(TELEMETRY, "g1", 7).marks.missing() == [(1, 2)]


async def test_a_tombstone_damaged_on_the_way_closes_its_hole_when_it_comes_again(
    journal: Journal, folder: Path
) -> None:
    """A flipped bit must not close other numbers, nor keep the hole open for ever."""
    good = tombstone(3, 1, 2)
    bad = bytearray(good)
    bad[HEADER.size + 1] ^= 0x04
    assert offer(journal, bytes(bad)) is Offer.NEW
    await journal.commit(TELEMETRY)
    assert journal.account(TELEMETRY, "g1", 7).marks.missing() == [(1, 2)]
    assert offer(journal, good) is Offer.NEW
    await journal.commit(TELEMETRY)
    assert journal.account(TELEMETRY, "g1", 7).marks == Marks(3)
    assert journal.account(TELEMETRY, "g1", 7).received == 1
    assert offer(journal, good) is Offer.DUPLICATE
    journal.close()
    again = make(folder)
    assert again.account(TELEMETRY, "g1", 7).marks == Marks(3)
    again.close()


async def test_a_hole_that_nobody_can_fill_is_closed_in_the_record(journal: Journal, folder: Path) -> None:
    """``lost_by_server`` is an entry of the server's own hand: it survives a restart and is counted."""
    offer(journal, record(5))
    journal.close_hole(TELEMETRY, "g1", 7, 1, 4, 1_000)
    await journal.commit(TELEMETRY)
    entry = (await read_all(journal))[-1]
    assert (entry.header.seq, entry.header.spool, entry.header.kind) == (0, 7, Kind.SHED)
    assert entry.header.crc == zlib.crc32(entry.record[HEADER.size :])
    journal.close()
    again = make(folder)
    account = again.account(TELEMETRY, "g1", 7)
    assert (account.marks, account.received, account.lost) == (Marks(5), 1, 4)
    assert again.journalled() == {"g1": 2}
    again.close()


async def test_an_entry_of_the_server_s_own_hand_has_no_identity(journal: Journal) -> None:
    """A plain device's readings are never duplicates of each other here."""
    plain = record(0, spool=0)
    assert [offer(journal, plain, gateway="device") for _ in range(3)] == [Offer.NEW] * 3
    assert journal.accounts(TELEMETRY) == {}
    await journal.commit(TELEMETRY)


async def test_accounts_of_old_spools_are_forgotten_oldest_first(journal: Journal) -> None:
    """A gateway that draws identities without end costs four accounts."""
    for spool in range(1, 9):
        offer(journal, record(1, spool=spool))
    await journal.commit(TELEMETRY)
    assert list(journal.accounts(TELEMETRY)["g1"]) == [5, 6, 7, 8]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("record"), st.integers(1, 30), st.integers(0, 2)),
        st.tuples(st.just("shed"), st.integers(1, 30), st.integers(0, 6)),
        st.tuples(st.just("commit"), st.just(0), st.just(0)),
        st.tuples(st.just("crash"), st.just(0), st.just(0)),
    ),
    max_size=60,
)


@settings(max_examples=50, deadline=None)
@given(steps=STEPS)
async def test_marks_after_any_crash_are_those_of_what_was_committed(
    steps: list[tuple[str, int, int]],
) -> None:
    """Duplicates, tombstones, crashes in any order: nothing committed is taken twice or forgotten."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        folder = Path(name) / "journal"
        journal = make(folder)
        journal._lanes[TELEMETRY].log._segment_bytes = 300
        committed, pending = set[int](), set[int]()
        taken: list[int] = []
        waiting: list[int] = []
        for what, seq, more in steps:
            if what == "record":
                answer = offer(journal, record(seq, b"body of %d" % seq))
                assert (answer is Offer.NEW) == (seq not in committed | pending)
                if answer is Offer.NEW:
                    pending.add(seq)
                    waiting.append(seq)
            elif what == "shed":
                first = max(1, seq - more)
                if offer(journal, tombstone(100 + len(taken) + len(waiting), first, seq)) is Offer.NEW:
                    pending |= {*range(first, seq + 1), 100 + len(taken) + len(waiting)}
                    waiting.append(100 + len(taken) + len(waiting))
            elif what == "commit":
                await journal.commit(TELEMETRY)
                committed |= pending
                taken += waiting
                pending, waiting = set(), []
            else:
                journal.close()
                journal = make(folder)
                journal._lanes[TELEMETRY].log._segment_bytes = 300
                pending, waiting = set(), []
        await journal.commit(TELEMETRY)
        committed |= pending
        taken += waiting
        marks = journal.account(TELEMETRY, "g1", 7).marks
        assert {n for n in range(1, 300) if marks.has(n)} == committed
        assert [entry.header.seq for entry in await read_all(journal)] == taken
        assert journal.journalled().get("g1", 0) == len(taken)
        journal.close()


async def test_readers_far_behind_read_files_and_near_ones_memory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is no longer in memory is read from the segments, in the same order."""
    monkeypatch.setattr("fengsui.journal._RECENT_BYTES", 2_000)
    journal = make(folder)
    for seq in range(1, 101):
        offer(journal, record(seq, bytes(100)))
        await journal.commit(TELEMETRY)
    assert [entry.n for entry in await read_all(journal)] == list(range(1, 101))
    assert [entry.n for entry in await read_all(journal, {ALARM: 0, TELEMETRY: 98})] == [99, 100]
    journal.close()


async def test_space_is_given_back_behind_the_slowest_reader(folder: Path) -> None:
    """A segment stays until every cursor has passed it; what giving it up would cost can be asked."""
    journal = make(folder, quota=1 << 26)
    for lane in Lane:
        journal._lanes[lane].log._segment_bytes = 500
    for seq in range(1, 41):
        offer(journal, record(seq, bytes(100)), gateway=f"g{seq % 2}", readings=10)
        await journal.commit(TELEMETRY)
    tally = await journal.tally_oldest(TELEMETRY, 0)
    assert tally is not None
    assert tally.readings == {"g1": 10 * ((tally.last + 1) // 2), "g0": 10 * (tally.last // 2)}
    part = await journal.tally_oldest(TELEMETRY, 1)
    assert part is not None
    assert sum(part.readings.values()) == sum(tally.readings.values()) - 10
    assert await journal.tally_oldest(ALARM, 0) is None
    before = journal.fill(TELEMETRY)
    journal.release([{ALARM: 0, TELEMETRY: 40}, {ALARM: 0, TELEMETRY: 20}])
    assert 1 < journal.first(TELEMETRY) <= 21
    assert journal.fill(TELEMETRY) < before
    assert [e.n for e in await read_all(journal, {ALARM: 0, TELEMETRY: 20})] == list(range(21, 41))
    journal.close()


async def test_a_full_lane_takes_nothing_but_the_closing_of_a_hole(folder: Path) -> None:
    """At the quota a record is refused; it was not counted, and is taken when there is room."""
    journal = make(folder, quota=4_000)
    journal._lanes[TELEMETRY].log._segment_bytes = 500
    seq = 2
    while journal.fill(TELEMETRY) < 0.95:
        offer(journal, record(seq, bytes(100)))
        seq += 1
    with pytest.raises(LogFull):
        offer(journal, record(seq, bytes(100)))
    journal.close_hole(TELEMETRY, "g1", 7, 1, 1, 0)
    await journal.commit(TELEMETRY)
    assert journal.account(TELEMETRY, "g1", 7).marks.upto == seq - 1
    offer(journal, record(1, b"fire"), lane=ALARM)
    await journal.commit(ALARM)
    journal.release([journal.end()])
    for _ in range(10):
        offer(journal, record(seq, bytes(100)))
        await journal.commit(TELEMETRY)
        journal.release([journal.end()])
        seq += 1
    journal.close()


async def test_no_space_keeps_what_was_offered_for_the_next_commit(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ENOSPC commits nothing, and loses nothing that was offered."""
    offer(journal, record(1))
    real = os.write

    def full(file: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(LogNoSpace):
        await journal.commit(TELEMETRY)
    assert not journal.is_behind(START)
    monkeypatch.setattr(os, "write", real)
    await journal.commit(TELEMETRY)
    assert [e.n for e in await read_all(journal)] == [1]


async def test_a_failed_sync_stops_the_journal(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """EIO: the commit fails for good; after a restart the record is new again: the gateway still has it."""
    journal = make(folder)
    offer(journal, record(1))
    await journal.commit(TELEMETRY)
    real = os.fdatasync

    def broken(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", broken)
    offer(journal, record(2))
    with pytest.raises(LogFailed):
        await journal.commit(TELEMETRY)
    monkeypatch.setattr(os, "fdatasync", real)
    with pytest.raises(LogFailed):
        await journal.commit(TELEMETRY)
    journal.close()
    journal = make(folder)
    assert offer(journal, record(1)) is Offer.DUPLICATE
    assert offer(journal, record(2)) is Offer.NEW
    await journal.commit(TELEMETRY)
    journal.close()


async def test_a_damaged_entry_costs_itself_and_is_told(folder: Path) -> None:
    """Damage is reported at the start and while reading, once; a record lost so is asked for again."""
    journal = make(folder)
    for seq in (1, 2, 3):
        offer(journal, record(seq, b"number %d" % seq))
    await journal.commit(TELEMETRY)
    journal.close()
    path = max((folder / "telemetry").iterdir())
    data = bytearray(path.read_bytes())
    data[data.index(b"number 2")] ^= 1
    path.write_bytes(data)
    journal = make(folder)
    assert journal.damage == [(TELEMETRY, Damage(2, 2))]
    assert [e.n for e in await read_all(journal)] == [1, 3]
    assert journal.damage == [(TELEMETRY, Damage(2, 2))]
    assert journal.account(TELEMETRY, "g1", 7).marks.missing() == [(2, 2)]
    assert offer(journal, record(2, b"number 2")) is Offer.NEW
    await journal.commit(TELEMETRY)
    assert [e.n for e in await read_all(journal)] == [1, 3, 4]
    journal.close()


async def test_a_reader_passes_a_segment_that_is_damaged_altogether(folder: Path) -> None:
    """Nothing readable in a file: the reader goes on in the next one."""
    journal = make(folder)
    journal._lanes[TELEMETRY].log._segment_bytes = 1
    for seq in (1, 2, 3):
        offer(journal, record(seq))
        await journal.commit(TELEMETRY)
    journal.close()
    for path in sorted((folder / "telemetry").iterdir())[:2]:
        path.write_bytes(bytes(path.stat().st_size))
    journal = make(folder)
    assert [e.n for e in await read_all(journal)] == [3]
    assert journal.damage == [(TELEMETRY, Damage(1, 1)), (TELEMETRY, Damage(2, 2))]
    journal.close()


async def test_damage_at_the_end_makes_a_reader_wait_not_spin(folder: Path) -> None:
    """The last entry cannot be read: the reader sleeps until the next one is committed."""
    journal = make(folder)
    offer(journal, record(1))
    await journal.commit(TELEMETRY)
    journal.close()
    path = max((folder / "telemetry").iterdir())
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    journal = make(folder)
    reading = asyncio.create_task(journal.read(START, max_readings=10))
    done, _ = await asyncio.wait([reading], timeout=0.1)
    assert not done
    offer(journal, record(1))
    await journal.commit(TELEMETRY)
    async with asyncio.timeout(5):
        assert [e.n for e in await reading] == [2]
    journal.close()


async def test_a_journal_never_begins_anew_over_entries(folder: Path) -> None:
    """Without its identity or a lane it refuses; an interrupted creation is begun again."""
    journal = make(folder)
    with pytest.raises(JournalError, match="in use by another process"):
        make(folder)
    offer(journal, record(1))
    await journal.commit(TELEMETRY)
    journal.close()
    journal.close()
    text = (folder / "identity").read_text()
    (folder / "identity").unlink()
    with pytest.raises(JournalError, match="no file 'identity'"):
        make(folder)
    (folder / "identity").write_text(text)
    shutil.move(folder / "alarm", folder / "away")
    with pytest.raises(JournalError, match="Restore it from a backup"):
        make(folder)
    shutil.rmtree(folder)
    make(folder).close()
    (folder / "identity").unlink()
    shutil.rmtree(folder / "alarm")
    make(folder).close()


async def test_a_head_that_is_not_understood_is_refused(folder: Path) -> None:
    """Marks are never guessed at."""
    make(folder).close()
    shutil.rmtree(folder / "alarm")
    Log.create(folder / "alarm", head=lambda: b"\xc1", quota_bytes=1 << 20, segment_bytes=1 << 20).close()
    with pytest.raises(JournalError, match="head cannot be read"):
        make(folder)


async def test_a_read_is_bounded_in_entries_too(journal: Journal) -> None:
    """Small records are not given out by the thousand: an alarm waits while what was read is decoded."""
    for seq in range(1, 301):
        offer(journal, record(seq))
    await journal.commit(TELEMETRY)
    entries = await journal.read(START, max_readings=100_000)
    assert [entry.n for entry in entries] == list(range(1, 101))


async def test_a_reader_far_behind_uses_all_it_took_from_the_files(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one look into the files found is given out in many reads, once each, before the next look."""
    monkeypatch.setattr(of_journal, "_RECENT_BYTES", 0)
    looks: list[int] = []
    look = Log.read

    def counted(log: Log, number: int, *, max_bytes: int) -> Chunk:
        looks.append(number)
        return look(log, number, max_bytes=max_bytes)

    monkeypatch.setattr(Log, "read", counted)
    for seq in range(1, 1_001):
        offer(journal, record(seq, bytes(2_000)))
    await journal.commit(TELEMETRY)
    entries = await read_all(journal, max_readings=10)
    assert [entry.n for entry in entries] == list(range(1, 1_001))
    assert 2 <= len(looks) <= 4, "2 MB, 1 MB at a look"
    assert looks == sorted(looks)

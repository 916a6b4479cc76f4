"""The store writer between a journal in memory and stores that fail as they are told to."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from fengsui.journal import Entry
from fengsui.model import Clock, Event, Kind, Lane, Point, Reading, What
from fengsui.wire import encode_body, encode_readings, encode_record
from ingest.deadletter import DeadLetterUnavailable, Letter
from ingest.decode import Decoded, Decoder
from ingest.store.base import Outcome, Refused, Rows, StoreMisconfigured, StoreUnavailable
from ingest.writer import MAX_READINGS, Balance, StoreState, Writer
from tests.readings import NOW_US, Points, point
from tests.waiting import until

JOURNAL = "0123456789abcdef"


class MemoryJournal:
    """Entries of both lanes, decoded on reading in chunks of ``chunk`` readings."""

    def __init__(self, chunk: int = 5_000) -> None:
        self.identity = JOURNAL
        self.registry = Bindings()
        self.entries: dict[Lane, list[Entry]] = {lane: [] for lane in Lane}
        self.reads = 0
        self._chunk = chunk
        self._decoder = Decoder(self.registry)
        self._grown = asyncio.Event()

    def add(self, record: bytes, readings: int, *, lane: Lane = Lane.TELEMETRY, gateway: str = "gw") -> None:
        """Append one entry."""
        n = len(self.entries[lane]) + 1
        self.entries[lane].append(Entry(n, lane, gateway, NOW_US, readings, record))
        self._grown.set()

    def add_readings(
        self, count: int, *, at: int = 0, lane: Lane = Lane.TELEMETRY, gateway: str = "gw"
    ) -> None:
        """Append a record of ``count`` good readings of point ``n0``, 1 us apart from ``at`` on."""
        readings = [Reading("n0", NOW_US + at + i, float(i)) for i in range(count)]
        body = encode_readings(readings, Clock.SYNCED)
        self.add(encode_record(Kind.READINGS, 1, 1, 0, body), count, lane=lane, gateway=gateway)

    def end(self) -> dict[Lane, int]:
        """The last entry of each lane."""
        return {lane: len(entries) for lane, entries in self.entries.items()}

    def is_behind(self, cursor: Mapping[Lane, int]) -> bool:
        """Whether a reader has not read everything."""
        return any(cursor[lane] < end for lane, end in self.end().items())

    async def read(self, cursor: Mapping[Lane, int]) -> Decoded:
        """As ``Feed.read``."""
        while not self.is_behind(cursor):
            self._grown.clear()
            await self._grown.wait()
        self.reads += 1
        lane = Lane.ALARM if cursor[Lane.ALARM] < len(self.entries[Lane.ALARM]) else Lane.TELEMETRY
        taken: list[Entry] = []
        for entry in self.entries[lane][cursor[lane] :]:
            taken.append(entry)
            if sum(entry.readings for entry in taken) >= self._chunk:
                break
        return self._decoder.decode(taken)


class Bindings:
    """``n0`` of ``gw`` and of ``gw2`` are points 0 and 1."""

    generation = 1

    def point(self, gateway: str, name: str) -> Point | None:
        """The point of a gateway's name."""
        place = {"gw": 0, "gw2": 1}.get(gateway)
        return point(place, f"{gateway}-n0", gateway=gateway) if name == "n0" and place is not None else None


class FakeStore:
    """Keeps rows in a dict, and first raises what stands in ``troubles``, one for each call."""

    def __init__(self, troubles: Sequence[Exception] = ()) -> None:
        self.faults: list[str] = []
        self.rows: dict[tuple[int, int], float] = {}
        self.troubles = list(troubles)
        self.calls = 0
        self.at_once = 0
        self.most_at_once = 0
        self.largest = 0
        self.refuses: Callable[[int, int], bool] = lambda point, at_us: False
        self.is_down = False
        self.turns = 1
        """Of the event loop, that a write lasts."""

    async def write(self, rows: Rows) -> Outcome:
        """Store, refuse or fail."""
        self.calls += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.largest = max(self.largest, rows.count)
        try:
            for _ in range(self.turns):
                await asyncio.sleep(0)
            if self.troubles:
                raise self.troubles.pop(0)
            if self.is_down:
                raise StoreUnavailable(None, "down")
            return self._keep(rows)
        finally:
            self.at_once -= 1

    def _keep(self, rows: Rows) -> Outcome:
        duplicates, refused = [], []
        for row, key in enumerate(zip(rows.point.tolist(), rows.at_us.tolist(), strict=True)):
            if self.refuses(*key):
                refused.append(Refused(row, "no such luck"))
                continue
            if key in self.rows:
                duplicates.append(row)
            self.rows[key] = float(rows.value[row])
        return Outcome(rows.count - len(duplicates) - len(refused), duplicates, refused)


class Bench:
    """A writer with everything around it; ``slept`` lists what it waited for."""

    def __init__(self, folder: Path, store: FakeStore | None = None) -> None:
        self.journal = MemoryJournal()
        self.store = store or FakeStore()
        self.letters: list[Letter] = []
        self.slept: list[float] = []
        self.file = folder / "store.cursor"
        self.bury_troubles: list[Exception] = []

    def writer(self) -> Writer:
        """A writer as after a start of the process."""
        return Writer(
            self.journal, self.journal.read, self.store, self.bury, self.file, sleep=self.sleep, uniform=max
        )

    async def bury(self, letters: Sequence[Letter]) -> None:
        """The dead letter."""
        if self.bury_troubles:
            raise self.bury_troubles.pop(0)
        self.letters += letters

    async def sleep(self, seconds: float) -> None:
        """No waiting in tests, but the loop turns."""
        self.slept.append(seconds)
        await asyncio.sleep(0.001)

    def retries(self) -> list[float]:
        """What it waited before asking again; gathering and saving left out."""
        return [seconds for seconds in self.slept if seconds > 1.0]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A bench with a store that works."""
    return Bench(tmp_path)


@asynccontextmanager
async def running(writer: Writer) -> AsyncIterator[Writer]:
    """A writer at work for the length of the block."""
    task = asyncio.create_task(writer.run(), name="store")
    try:
        yield writer
    finally:
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled() or task.exception() is None


async def drained(bench: Bench, writer: Writer) -> None:
    """Everything in the journal is settled and written down."""
    await until(lambda: writer.cursor == bench.journal.end(), 5, "cursor at the end")


def residue(balance: Balance) -> int:
    """What a balance cannot account for."""
    gone = sum(balance.dead.values()) + sum(balance.shed.values())
    return balance.read - balance.stored - balance.duplicate - balance.passed - gone


async def test_everything_arrives_once(bench: Bench) -> None:
    """Both lanes of two gateways end in the store, events pass by, and the balances say so."""
    for i in range(20):
        bench.journal.add_readings(10, at=i * 100)
        bench.journal.add_readings(10, at=i * 100, gateway="gw2")
    bench.journal.add_readings(1, at=10_000, lane=Lane.ALARM)
    event = encode_record(Kind.EVENT, 1, 1, 0, encode_body(Event("n0", NOW_US, What.FIRE)))
    bench.journal.add(event, 1, lane=Lane.ALARM)
    async with running(bench.writer()) as writer:
        await drained(bench, writer)
    assert len(bench.store.rows) == 401
    assert writer.balances["gw"] == Balance(read=202, stored=201, passed=1)
    assert writer.balances["gw2"] == Balance(read=200, stored=200)
    assert writer.statistics().state is StoreState.OK
    assert writer.faults == []


async def test_backlog_goes_in_large_batches_three_at_a_time(bench: Bench) -> None:
    """A backlog is written 20,000 readings at a time, with three requests in flight, never more."""
    bench.store.turns = 20
    for i in range(300):
        bench.journal.add_readings(500, at=i * 1000)
    async with running(bench.writer()) as writer:
        await drained(bench, writer)
    assert len(bench.store.rows) == 150_000
    assert bench.store.calls <= 150_000 / MAX_READINGS + 1
    assert bench.store.largest <= MAX_READINGS + 5_000
    assert bench.store.most_at_once == 3


async def test_others_get_their_turn_between_two_chunks(bench: Bench) -> None:
    """However much there is to read, the event loop turns after every chunk: an alarm may be waiting."""
    for i in range(100):
        bench.journal.add_readings(500, at=i * 1000)
    turns = 0
    read_at: list[int] = []

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def read(cursor: Mapping[Lane, int]) -> Decoded:
        read_at.append(turns)
        return await bench.journal.read(cursor)

    turning = asyncio.create_task(turn(), name="others")
    writer = Writer(bench.journal, read, bench.store, bench.bury, bench.file, sleep=bench.sleep)
    async with running(writer):
        await drained(bench, writer)
    turning.cancel()
    assert len(read_at) >= 10
    assert len(set(read_at)) == len(read_at)


async def test_a_dead_store_bounds_what_is_read(bench: Bench) -> None:
    """While the store is down, no more than three batches leave the journal, however long it lasts."""
    bench.store.is_down = True
    for i in range(500):
        bench.journal.add_readings(500, at=i * 1000)
    async with running(bench.writer()) as writer:
        await until(lambda: bench.store.calls > 30, 5, "many attempts")
        assert bench.journal.reads <= 12
        assert writer.statistics().in_flight == 3
        assert writer.cursor[Lane.TELEMETRY] == 0
        assert writer.statistics().state is StoreState.UNAVAILABLE
        assert writer.faults == ["down"]
        bench.store.is_down = False
        await drained(bench, writer)
        assert writer.statistics().state is StoreState.OK
    assert len(bench.store.rows) == 250_000
    assert residue(writer.balances["gw"]) == 0


async def test_back_off_grows_to_half_a_minute(bench: Bench) -> None:
    """Attempts are 2, 4, 8, 16, 30, 30 s apart at most, and the reason is logged once."""
    bench.store.troubles = [StoreUnavailable(None, "down")] * 6
    bench.journal.add_readings(1)
    with capture_logs() as logs:
        async with running(bench.writer()) as writer:
            await drained(bench, writer)
    assert bench.retries() == [2, 4, 8, 16, 30, 30]
    assert [log["event"] for log in logs] == ["store_does_not_take", "store_ok"]
    assert writer.statistics().retries == 6


@pytest.mark.parametrize("asked_s", [2.0, 45.0, 600.0])
async def test_retry_after_is_honoured(bench: Bench, asked_s: float) -> None:
    """A store that asks for time gets it, and at most a tenth more."""
    bench.store.troubles = [StoreUnavailable(asked_s, "busy")] * 3
    bench.journal.add_readings(1)
    async with running(bench.writer()) as writer:
        await drained(bench, writer)
    assert bench.retries() == pytest.approx([asked_s * 1.1] * 3)


async def test_misconfigured_is_told_and_data_is_held(bench: Bench) -> None:
    """A refused login is a fault at once; the readings wait, and go when somebody has corrected it."""
    bench.store.troubles = [StoreMisconfigured("401 unauthorized")] * 100
    bench.journal.add_readings(7)
    writer = bench.writer()
    async with running(writer):
        await until(lambda: writer.statistics().state is StoreState.MISCONFIGURED, 5)
        assert writer.faults == ["401 unauthorized"]
        await drained(bench, writer)
    assert bench.retries() == pytest.approx([33.0] * 100)
    assert len(bench.store.rows) == 7


async def test_a_younger_batch_that_got_in_does_not_end_the_fault_of_the_older(tmp_path: Path) -> None:
    """As long as one batch is refused, the store is in trouble, whatever becomes of the next one."""

    class Stubborn(FakeStore):
        """Refuses the oldest readings ten times, and notes what the writer said of it each time."""

        def __init__(self) -> None:
            super().__init__()
            self.said: list[StoreState] = []

        async def write(self, rows: Rows) -> Outcome:
            if int(rows.at_us.min()) == NOW_US and len(self.said) < 10:
                self.said.append(writer.statistics().state)
                raise StoreMisconfigured("401 unauthorized")
            return await super().write(rows)

    store = Stubborn()
    bench = Bench(tmp_path, store)
    for i in range(80):
        bench.journal.add_readings(500, at=i * 1000)
    writer = bench.writer()
    async with running(writer):
        await drained(bench, writer)
    assert store.calls >= 2
    assert store.said == [StoreState.OK] + [StoreState.MISCONFIGURED] * 9
    assert writer.statistics().state is StoreState.OK


async def test_refused_readings_are_dead_lettered_by_entry(bench: Bench) -> None:
    """Readings the store will never take are one letter for each entry, in the store's words."""
    for i in range(5):
        bench.journal.add_readings(10, at=i * 100)
    bench.store.refuses = lambda point, at_us: at_us - NOW_US in (203, 205, 400)
    async with running(bench.writer()) as writer:
        await drained(bench, writer)
    assert [(letter.n, letter.reason, letter.text, letter.readings) for letter in bench.letters] == [
        (3, "store_refused", "no such luck", 2),
        (5, "store_refused", "no such luck", 1),
    ]
    assert writer.balances["gw"] == Balance(read=50, stored=47, dead={"store_refused": 3})


async def test_poison_never_stalls(bench: Bench) -> None:
    """2,000 undecodable records before a good one are 2,000 letters, and the good one is stored."""
    for i in range(2_000):
        bench.journal.add(encode_record(Kind.READINGS, 1, i + 1, 0, b"\xc1"), 1)
    bench.journal.add_readings(1)
    async with running(bench.writer()) as writer:
        await drained(bench, writer)
    assert len(bench.letters) == 2_000
    assert len(bench.store.rows) == 1
    assert writer.balances["gw"] == Balance(read=2001, stored=1, dead={"decode": 2000})


async def test_a_dead_letter_that_takes_nothing_holds_the_cursor(bench: Bench) -> None:
    """Nothing is given up for a reason that could not be kept: the batch waits and says why."""
    bench.journal.add(b"FS", 1)
    bench.bury_troubles = [DeadLetterUnavailable("disk full")] * 3
    with capture_logs() as logs:
        async with running(bench.writer()) as writer:
            await drained(bench, writer)
    assert logs[0]["reason"] == "disk full"
    assert len(bench.letters) == 1
    assert writer.statistics().state is StoreState.OK


async def test_duplicates_are_counted_for_their_gateway(bench: Bench) -> None:
    """A reading that is in the store already counts as duplicate, not as stored."""
    bench.journal.add_readings(10)
    bench.journal.add_readings(10, at=5)
    bench.journal.add_readings(10, gateway="gw2")
    async with running(bench.writer()) as writer:
        await drained(bench, writer)
    assert writer.balances["gw"] == Balance(read=20, stored=15, duplicate=5)
    assert writer.balances["gw2"] == Balance(read=10, stored=10)


async def test_it_goes_on_where_it_was(bench: Bench) -> None:
    """After a clean restart nothing is read again and the balances go on counting."""
    bench.journal.add_readings(10)
    async with running(bench.writer()) as writer:
        await drained(bench, writer)
    reads = bench.journal.reads
    again = bench.writer()
    assert again.cursor == writer.cursor
    async with running(again):
        bench.journal.add_readings(5, at=100)
        await drained(bench, again)
    assert bench.journal.reads == reads + 1
    assert again.balances["gw"] == Balance(read=15, stored=15)


async def test_a_crash_repeats_and_counts_once(bench: Bench, tmp_path: Path) -> None:
    """A cursor older than the store's content costs duplicates, never a loss, and the residue stays 0."""
    bench.journal.add_readings(10)
    async with running(bench.writer()) as writer:
        await drained(bench, writer)
        old = bench.file.read_bytes()
        bench.journal.add_readings(10, at=100)
        await drained(bench, writer)
    bench.file.write_bytes(old)
    async with running(bench.writer()) as again:
        await drained(bench, again)
    assert len(bench.store.rows) == 20
    assert again.balances["gw"] == Balance(read=20, stored=10, duplicate=10)


async def test_a_damaged_cursor_is_a_fault_and_everything_is_read_again(bench: Bench) -> None:
    """It is moved aside for a person; the store takes what it has once more."""
    bench.journal.add_readings(10)
    bench.file.write_bytes(b"{")
    async with running(bench.writer()) as writer:
        assert "damaged" in writer.faults[0]
        await drained(bench, writer)
    assert len(list(bench.file.parent.glob("*.damaged"))) == 1
    assert len(bench.store.rows) == 10


@pytest.mark.parametrize("what", ["another journal", "an older copy"])
async def test_a_cursor_that_does_not_fit_the_journal(bench: Bench, what: str) -> None:
    """A cursor of another journal, or beyond this one's end, is a fault and skips nothing that will come."""
    for _ in range(5):
        bench.journal.add_readings(1)
    async with running(bench.writer()) as writer:
        await drained(bench, writer)
    if what == "another journal":
        bench.journal.identity = "another"
    else:
        del bench.journal.entries[Lane.TELEMETRY][2:]
    again = bench.writer()
    assert len(again.faults) == 1
    async with running(again):
        bench.journal.add_readings(3, at=1000)
        await drained(bench, again)
    assert (0, NOW_US + 1002) in bench.store.rows


async def test_giving_up_for_the_store_is_counted(bench: Bench) -> None:
    """Entries the journal must forget count as shed, the cursor stands behind them, the rest is stored."""
    bench.store.is_down = True
    for i in range(10):
        bench.journal.add_readings(10, at=i * 100)
    async with running(bench.writer()) as writer:
        await until(lambda: bench.store.calls > 3, 5, "attempts")
        since = writer.cursor[Lane.TELEMETRY]
        assert await writer.skip_to(Lane.TELEMETRY, 4, {"gw": 40}, since=since)
        assert writer.cursor[Lane.TELEMETRY] == 4
        assert not await writer.skip_to(Lane.TELEMETRY, 6, {"gw": 60}, since=since)
        bench.store.is_down = False
        await drained(bench, writer)
    assert len(bench.store.rows) == 60
    assert bench.writer().balances["gw"] == Balance(read=100, stored=60, shed={"store_down": 40})


async def test_a_cursor_that_cannot_be_written(bench: Bench) -> None:
    """Storing goes on, the durable cursor stays where it was, and a person is told until it works again."""
    bench.file = bench.file.parent / "missing" / "store.cursor"
    bench.journal.add_readings(10)
    async with running(bench.writer()) as writer:
        await until(lambda: writer.faults, 5, "a fault")
        assert "cannot be written" in writer.faults[0]
        assert writer.cursor[Lane.TELEMETRY] == 0
        bench.file.parent.mkdir()
        await drained(bench, writer)
        assert writer.faults == []


async def test_invalid_readings_are_stored_by_their_quality(bench: Bench) -> None:
    """NaN travels through as what it is."""
    body = encode_readings([Reading("n0", NOW_US, math.nan)], Clock.SYNCED)
    bench.journal.add(encode_record(Kind.READINGS, 1, 1, 0, body), 1)
    async with running(bench.writer()) as writer:
        await drained(bench, writer)
    assert np.isnan(bench.store.rows[0, NOW_US])
    assert Points.named("gw-n0").points[0].id == "gw-n0"

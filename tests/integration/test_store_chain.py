"""Journal, feed, writer, dead letter and a real InfluxDB together, through an outage of the database."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import numpy as np

from fengsui.journal import Journal
from fengsui.model import Clock, Kind, Lane, Point, Reading
from fengsui.wire import decode_header, encode_readings, encode_record
from ingest.deadletter import DeadLetter
from ingest.decode import Decoder
from ingest.feed import Feed
from ingest.store.influx import InfluxStore
from ingest.writer import IN_FLIGHT, StoreState, Writer
from tests.readings import EVERYBODY, NOW_US, Points
from tests.servers import influxd
from tests.waiting import until

POINTS = 20
ROUNDS = 12_000


class Bindings:
    """Names ``n0`` to ``n19`` of one gateway are bound, any other is not."""

    generation = 1

    def __init__(self, points: Points) -> None:
        self._by_name = {point.name: point for point in points.points}

    def point(self, gateway: str, name: str) -> Point | None:
        """The point of a name."""
        return self._by_name.get(name)


def offer(journal: Journal, lane: Lane, seq: int, readings: list[Reading]) -> None:
    """Journal one record, as the intake does."""
    record = encode_record(Kind.READINGS, 77, seq, 0, encode_readings(readings, Clock.SYNCED))
    journal.offer(lane, "gw", record, decode_header(record), len(readings), NOW_US)


def of_round(number: int, names: int = POINTS) -> list[Reading]:
    """One reading of every point."""
    return [Reading(f"n{i}", NOW_US + number * 1_000_000 + i, number + i / 100) for i in range(names)]


async def test_an_outage_is_caught_up(tmp_path: Path) -> None:
    """R5: four minutes of 1,000 readings/s wait for a dead database and are all there soon after."""
    points = Points.named(*(f"p{i}" for i in range(POINTS)))
    journal = Journal(tmp_path / "journal", quota_bytes=256 << 20)
    feed = Feed(journal, Decoder(Bindings(points)), lambda decoded: None)
    letters = DeadLetter(tmp_path / "deadletter.db")
    async with influxd() as server:
        store = InfluxStore(points, url=server.url, version=1, database="fengsui")
        writer = Writer(journal, feed.read, store, letters.put, tmp_path / "store.cursor")
        task = asyncio.create_task(writer.run())
        offer(journal, Lane.TELEMETRY, 1, of_round(0))
        await journal.commit(Lane.TELEMETRY)
        await until(lambda: writer.cursor == journal.end(), 10, "the first record stored")
        await server.kill9()
        for number in range(1, ROUNDS):
            strangers = 1 if number % 4_000 == 0 else 0
            offer(journal, Lane.TELEMETRY, number + 1, of_round(number, POINTS + strangers))
            if number % 500 == 0:
                await journal.commit(Lane.TELEMETRY)
        await journal.commit(Lane.TELEMETRY)
        await until(lambda: writer.statistics().state is StoreState.UNAVAILABLE, 10, "the fault")
        assert writer.statistics().in_flight <= IN_FLIGHT
        await server.restart()
        begin = time.monotonic()
        await until(lambda: writer.cursor == journal.end(), 100, "caught up")
        # Of this at most 30 s are the writer's back-off; the rest is far more than five times live.
        assert time.monotonic() - begin < ROUNDS * POINTS / 1_000 / 5
        balance = writer.balances["gw"]
        assert balance.read == journal.journalled()["gw"] == ROUNDS * POINTS + 2
        assert (balance.stored, balance.dead) == (ROUNDS * POINTS, {"unknown_point": 2})
        assert await store.count(None) == ROUNDS * POINTS
        series = await store.history(EVERYBODY, points.points[7], 0, NOW_US + 10**12, ROUNDS)
        np.testing.assert_array_equal(series.value, np.arange(ROUNDS) + 0.07)
        assert len(await letters.newest(EVERYBODY, 10)) == 2
        task.cancel()
        await asyncio.wait([task])
        await store.aclose()
        await letters.aclose()
    journal.close()

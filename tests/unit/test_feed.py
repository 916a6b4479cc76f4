"""The journal decoded once for two readers, as long as they are near each other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fengsui.journal import Journal
from fengsui.model import Clock, Kind, Lane, Reading
from fengsui.wire import encode_readings, encode_record, unpack_header
from ingest import feed as of_feed
from ingest.decode import Decoded, Decoder
from ingest.feed import Feed
from tests.readings import NOW_US
from tests.unit.test_decode import Registered

TELEMETRY = Lane.TELEMETRY


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    """A journal with 500 records of two readings each."""
    made = Journal(tmp_path / "journal", quota_bytes=1 << 26)
    for seq in range(1, 501):
        readings = [Reading("a", NOW_US + seq, 1.0), Reading("b", NOW_US + seq, 2.0)]
        record = encode_record(Kind.READINGS, 7, seq, 0, encode_readings(readings, Clock.SYNCED))
        made.offer(TELEMETRY, "gw", record, unpack_header(record), 2, NOW_US)
    await made.commit(TELEMETRY)
    yield made
    made.close()


async def follow(feed: Feed, end: int) -> list[Decoded]:
    """What a reader gets from the beginning up to an entry."""
    cursor = {Lane.ALARM: 0, TELEMETRY: 0}
    found = []
    while cursor[TELEMETRY] < end:
        found.append(await feed.read(cursor))
        cursor[TELEMETRY] = found[-1].batch.position.n
    return found


async def test_the_second_reader_gets_what_the_first_had_decoded(journal: Journal) -> None:
    """Both readers see the same chunks, decoded and told of once."""
    told: list[Decoded] = []
    feed = Feed(journal, Decoder(Registered("a", "b")), told.append)
    first, second = await follow(feed, 500), await follow(feed, 500)
    assert sum(chunk.batch.count for chunk in first) == 1_000
    assert all(one is other for one, other in zip(first, second, strict=True))
    assert len(told) == len(first)


async def test_what_is_kept_is_bounded_in_readings(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest chunks are forgotten and decoded again for who is far behind; nothing else changes."""
    monkeypatch.setattr(of_feed, "_KEPT_READINGS", 400)
    told: list[Decoded] = []
    feed = Feed(journal, Decoder(Registered("a", "b")), told.append)
    first, second = await follow(feed, 500), await follow(feed, 500)
    assert [chunk.batch.position for chunk in second] == [chunk.batch.position for chunk in first]
    assert len(told) == 2 * len(first)


async def test_what_was_decoded_before_a_change_of_the_registry_is_forgotten(journal: Journal) -> None:
    """After ``forget`` the same entries are bound anew."""
    registered = Registered("a")
    feed = Feed(journal, Decoder(registered), lambda _: None)
    (before, *_) = await follow(feed, 100)
    registered.bind("b")
    feed.forget()
    (after, *_) = await follow(feed, 100)
    assert after.batch.count == 2 * before.batch.count

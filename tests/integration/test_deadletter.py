"""The dead letter on a real file: idempotent, bounded, readable by another process, and replayed."""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from fengsui.errors import UsageError
from fengsui.journal import Entry
from fengsui.model import Clock, Kind, Lane, Point, Reading
from fengsui.viewer import Role, Viewer
from fengsui.wire import encode_readings, encode_record
from ingest import verb_deadletter
from ingest.deadletter import (
    KEPT_BYTES,
    DeadLetter,
    DeadLetterForbidden,
    DeadLetterUnavailable,
    Letter,
    Put,
    Replayed,
)
from ingest.decode import Decoder, count_readings
from ingest.store.base import Outcome, Refused, Rows

ADMIN = Viewer("root", frozenset({Role.ADMIN}), None)
NOW = 1_700_000_000_000_000


class Registered:
    """Names of gateway ``gw`` that are bound to points."""

    def __init__(self) -> None:
        self.generation = 0
        self.names: list[str] = []

    def bind(self, name: str) -> None:
        """Register one more name."""
        self.names.append(name)
        self.generation += 1

    def point(self, gateway: str, name: str) -> Point | None:
        """What the decoder asks."""
        if gateway != "gw" or name not in self.names:
            return None
        index = self.names.index(name)
        return Point(index=index, id=name, gateway=gateway, name=name, quantity="smoke", uom="%")


class Stored:
    """A store in memory that can be told to refuse."""

    def __init__(self) -> None:
        self.values: dict[tuple[int, int], float] = {}
        self.refuses = False

    async def write(self, rows: Rows) -> Outcome:
        """Keep the rows by point and stamp."""
        if self.refuses:
            return Outcome(0, [], [Refused(0, "no")])
        for point, at_us, value in zip(
            rows.point.tolist(), rows.at_us.tolist(), rows.value.tolist(), strict=True
        ):
            self.values[point, at_us] = value
        return Outcome(rows.count, [], [])


@pytest.fixture
async def letters(tmp_path: Path) -> AsyncIterator[DeadLetter]:
    """An empty dead letter."""
    letters = DeadLetter(tmp_path / "deadletter.db")
    yield letters
    await letters.aclose()


def numbered(n: int, *, gateway: str = "gw", reason: str = "crc", raw: bytes = b"raw") -> Letter:
    """A letter of the n-th entry of the telemetry lane."""
    return Letter(gateway, reason, "why", raw, NOW + n, journal="j", lane=Lane.TELEMETRY, n=n)


def unknown(n: int, *names: str) -> Entry:
    """The n-th entry, a record with one reading of each name."""
    body = encode_readings([Reading(name, NOW + n, float(n)) for name in names], Clock.SYNCED)
    record = encode_record(Kind.READINGS, 7, n, 0, body)
    return Entry(n, Lane.TELEMETRY, "gw", NOW, count_readings(record), record)


async def put_unknown(letters: DeadLetter, decoder: Decoder, *entries: Entry) -> None:
    """Put what the decoder rejects of these entries."""
    rejects = decoder.decode(entries).rejects
    await letters.put([Letter.of(reject, "j") for reject in rejects])


async def test_putting_again_changes_nothing(letters: DeadLetter) -> None:
    """The same number and reason are kept once, also by a process that came up after a crash."""
    assert await letters.put([numbered(1), numbered(2)]) == Put(2, 0, 0, ["gw"])
    again = DeadLetter(letters.path)
    assert await again.put([numbered(1), numbered(2, reason="index"), numbered(3)]) == Put(2, 1, 0, [])
    await again.aclose()
    assert [letter.n for letter in await letters.newest(ADMIN, 10)] == [3, 2, 2, 1]


async def test_the_first_letter_of_each_gateway_is_flagged(letters: DeadLetter) -> None:
    """Somebody is told when a gateway begins to send what cannot be used."""
    put = await letters.put([numbered(1), numbered(2), numbered(3, gateway="other")])
    assert put.first == ["gw", "other"]
    assert [letter.first for letter in await letters.newest(ADMIN, 10)] == [True, False, True]


async def test_messages_without_a_number_are_each_kept(letters: DeadLetter) -> None:
    """Bad headers and plain refusals have no number, so two alike are two; they cannot be replayed."""
    plain = Letter("dev", "json", "x" * 9_000, bytes(KEPT_BYTES + 9), NOW)
    assert (await letters.put([plain, plain])).kept == 2
    assert await letters.request_replay(ADMIN, gateway="dev") == 0
    found = await letters.show(ADMIN, 1)
    assert found is not None
    summary, raw = found
    assert (summary.size, len(raw), len(summary.text)) == (KEPT_BYTES + 9, KEPT_BYTES, 500)
    assert await letters.show(ADMIN, 99) is None


async def test_listing_goes_on_where_it_stopped(letters: DeadLetter) -> None:
    """Pages follow each other without gap or overlap."""
    await letters.put([numbered(n) for n in range(1, 8)])
    first = await letters.newest(ADMIN, 3)
    second = await letters.newest(ADMIN, 3, first[-1].id)
    assert [letter.n for letter in (*first, *second)] == [7, 6, 5, 4, 3, 2]


async def test_the_file_stays_within_its_quota(tmp_path: Path) -> None:
    """At 80 % there is a fault; beyond the quota letters are counted once each, the file does not grow."""
    quota_bytes = 1 << 20
    letters = DeadLetter(tmp_path / "deadletter.db", quota_bytes=quota_bytes)
    n = 0
    faults = [letters.fault]
    while faults[-1] is None:
        n += 1
        await letters.put([numbered(n, raw=bytes(30_000))])
        faults.append(letters.fault)
    assert 0.8 <= letters.fill < 1
    assert "full" in faults[-1][0]
    more = [numbered(n + k, raw=bytes(30_000)) for k in range(1, 101)]
    put = await letters.put(more)
    assert put.kept + put.overflow == 100
    assert put.overflow > 80
    assert await letters.put(more) == Put(0, put.kept, 0, [])
    fault = letters.fault
    assert fault is not None
    assert f"{put.overflow} messages" in fault[0]
    assert (tmp_path / "deadletter.db").stat().st_size <= quota_bytes
    await letters.aclose()
    again = DeadLetter(tmp_path / "deadletter.db", quota_bytes=quota_bytes)
    assert again.overflow == put.overflow
    await again.aclose()


async def test_a_flood_is_put_quickly(letters: DeadLetter) -> None:
    """Two thousand undecodable records in one put hold nothing up."""
    async with asyncio.timeout(2):
        assert (await letters.put([numbered(n) for n in range(1, 2_001)])).kept == 2_000


async def test_a_locked_file_is_reported_and_taken_later(letters: DeadLetter) -> None:
    """While somebody holds the file nothing is half written; the same put works afterwards."""
    other = sqlite3.connect(letters.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DeadLetterUnavailable, match="locked"):
        await letters.put([numbered(1)])
    other.execute("ROLLBACK")
    other.close()
    assert (await letters.put([numbered(1)])).kept == 1


async def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    """It says which file."""
    (tmp_path / "deadletter.db").write_bytes(b"not a database" * 1_000)
    with pytest.raises(DeadLetterUnavailable, match=r"deadletter\.db"):
        DeadLetter(tmp_path / "deadletter.db")


async def test_accepting_a_name_delivers_what_waited_for_it(letters: DeadLetter) -> None:
    """A record goes when all its names are known; until then it stays with the names still unknown."""
    registry, store = Registered(), Stored()
    decoder = Decoder(registry)
    await put_unknown(letters, decoder, unknown(1, "a"), unknown(2, "a", "b"), unknown(3, "b"))
    registry.bind("a")
    assert await letters.replay(decoder, store.write, "gw", "a") == Replayed(1, 2, 1)
    assert store.values == {(0, NOW + 1): 1.0, (0, NOW + 2): 2.0}
    assert [(letter.n, letter.readings) for letter in await letters.newest(ADMIN, 9)] == [(3, 1), (2, 1)]
    assert await letters.replay(decoder, store.write, "gw", "a") == Replayed(0, 0, 0)
    registry.bind("b")
    assert (await letters.replay(decoder, store.write, "gw", "b")).letters == 2
    assert await letters.newest(ADMIN, 9) == []
    assert store.values[1, NOW + 3] == 3.0


async def test_many_letters_are_replayed_page_by_page(letters: DeadLetter) -> None:
    """More letters than fit a page are all delivered, once."""
    registry, store = Registered(), Stored()
    decoder = Decoder(registry)
    await put_unknown(letters, decoder, *(unknown(n, "a") for n in range(1, 451)))
    registry.bind("a")
    assert await letters.replay(decoder, store.write, "gw", "a") == Replayed(450, 450, 0)
    np.testing.assert_array_equal(sorted(store.values.values()), np.arange(1.0, 451.0))


async def test_what_the_store_refuses_stays(letters: DeadLetter) -> None:
    """A letter leaves only when the store has all of it."""
    registry, store = Registered(), Stored()
    decoder = Decoder(registry)
    await put_unknown(letters, decoder, unknown(1, "a"))
    registry.bind("a")
    store.refuses = True
    assert (await letters.replay(decoder, store.write, "gw", "a")).left == 1
    assert len(await letters.newest(ADMIN, 9)) == 1


async def test_a_replay_asked_for_elsewhere_is_picked_up_once(letters: DeadLetter) -> None:
    """Marks of another process are seen, acted on, and taken off also when a letter has to stay."""
    registry, store = Registered(), Stored()
    decoder = Decoder(registry)
    await put_unknown(letters, decoder, unknown(1, "a"))
    await letters.put([numbered(2)])
    registry.bind("a")
    assert await letters.replay_requested(decoder, store.write) == Replayed(0, 0, 0)
    other = DeadLetter(letters.path)
    assert await other.request_replay(ADMIN, reason="unknown_point") == 1
    assert await other.request_replay(ADMIN, ids=[2]) == 1
    assert await other.request_replay(ADMIN) == 0
    assert await letters.replay_requested(decoder, store.write) == Replayed(1, 1, 1)
    assert await letters.replay_requested(decoder, store.write) == Replayed(0, 0, 0)
    await other.aclose()


@pytest.mark.parametrize(
    "viewer",
    [
        Viewer("olaf", frozenset({Role.OFFICER, Role.VIEWER}), None),
        Viewer("eve", frozenset({Role.ENGINEER}), frozenset({"u1"})),
        Viewer("nobody", frozenset(), None),
    ],
)
async def test_only_engineers_who_see_everything_look_inside(letters: DeadLetter, viewer: Viewer) -> None:
    """Letters belong to no unit, so role and reach are both needed, to read and to replay."""
    with pytest.raises(DeadLetterForbidden):
        await letters.newest(viewer, 1)
    with pytest.raises(DeadLetterForbidden):
        await letters.show(viewer, 1)
    with pytest.raises(DeadLetterForbidden):
        await letters.request_replay(viewer)


def _verb(*words: str) -> int:
    parser = argparse.ArgumentParser()
    verb_deadletter.add_arguments(parser)
    return verb_deadletter.run(parser.parse_args(words))


def test_the_verb_works_while_the_file_is_open(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It lists, shows (without letting a terminal be steered) and asks for replays beside the core."""
    letters = DeadLetter(tmp_path / "deadletter.db")
    asyncio.run(letters.put([numbered(1, raw=b"\x1b[2J" + bytes(2_000))._replace(text="bad \x1b[31mtext")]))
    at = ("--data", str(tmp_path))
    assert _verb(*at, "list") == _verb(*at, "show", "1") == _verb(*at, "replay", "1") == 0
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert "bad ?[31mtext" in said
    assert "1b 5b 32 4a" in said
    assert "1 letters are marked" in said
    with pytest.raises(UsageError, match="no letter 7"):
        _verb(*at, "show", "7")
    with pytest.raises(UsageError, match="say which"):
        _verb(*at, "replay")
    asyncio.run(letters.aclose())


def test_the_verb_needs_the_file(tmp_path: Path) -> None:
    """It never makes an empty dead letter somewhere by mistake."""
    with pytest.raises(UsageError, match="--data"):
        _verb("--data", str(tmp_path), "list")

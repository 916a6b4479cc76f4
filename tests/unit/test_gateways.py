from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fengsui.journal import Journal
from fengsui.model import Kind, Lane
from fengsui.wire import Hello, LaneState, Shed, encode_body, encode_record, spool_text, unpack_header
from ingest.gateways import OFFLINE_S, Gateways

SPOOL = 7


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """An empty journal."""
    made = Journal(tmp_path / "journal", quota_bytes=1 << 24)
    yield made
    made.close()


def take(journal: Journal, *seqs: int, shed: tuple[int, int] | None = None, spool: int = SPOOL) -> None:
    """Journal records; the last one may be a tombstone."""
    for seq in seqs:
        is_tombstone = shed is not None and seq == seqs[-1]
        body = encode_body(Shed(*(shed or (1, 1)), 1, "quota")) if is_tombstone else b"x"
        kind = Kind.SHED if is_tombstone else Kind.READINGS
        record = encode_record(kind, spool, seq, 0, body)
        journal.offer(Lane.TELEMETRY, "g1", record, unpack_header(record), 1, 0)


def hello(first: int, next_: int, **fields: Any) -> Hello:
    """What the gateway says of its telemetry lane."""
    state = LaneState(first=first, next=next_, bytes=0, oldest_age_ms=1_500)
    return Hello(spool=spool_text(SPOOL), lanes={Lane.TELEMETRY: state}, **fields)


def test_presence_is_silence_by_the_receive_clock(journal: Journal) -> None:
    """Heard of: online. Silent for 65 s: offline. The wall clock says nothing."""
    gateways = Gateways(journal)
    assert gateways.get("g1") is None
    state = gateways.heard("g1", 100.0, 5_000)
    assert state is gateways.get("g1")
    assert [gateway.name for gateway in gateways] == ["g1"]
    assert state.is_online(100.0 + OFFLINE_S - 0.1)
    assert not state.is_online(100.0 + OFFLINE_S)
    gateways.heard("g1", 200.0, 1)
    assert state.is_online(200.0)
    assert state.seen_us == 1


@pytest.mark.parametrize(
    ("seqs", "shed", "first", "next_", "expected"),
    [
        ([], None, 1, 1, (0, 0, 0, 1)),
        ([], None, 1, 11, (0, 10, 0, 11)),
        ([1, 2, 3], None, 1, 11, (3, 7, 0, 11)),
        ([1, 2, 3], None, 4, 11, (3, 7, 0, 11)),
        ([1, 2, 5], None, 3, 11, (3, 7, 0, 11)),
        ([1, 9], (2, 5), 6, 11, (2, 4, 4, 11)),
        ([1, 2, 3, 4], None, 1, 3, (4, 0, 0, 5)),
    ],
    ids=["empty", "nothing yet", "on the way", "hello before", "a hole", "a tombstone", "an old hello"],
)
def test_the_wire_balance_has_no_residue(
    journal: Journal,
    seqs: list[int],
    shed: tuple[int, int] | None,
    first: int,
    next_: int,
    expected: tuple[int, int, int, int],
) -> None:
    """Every number given is committed, waiting, shed or lost, however old the hello is."""
    gateways = Gateways(journal)
    take(journal, *seqs, shed=shed)
    journal.account(Lane.TELEMETRY, "g1", SPOOL)
    gateways.heard("g1", 0.0, 0).hello = hello(first, next_)
    (balance,) = gateways.balances()
    assert (balance.committed, balance.waiting, balance.shed, balance.next) == expected
    assert balance.residue == 0


def test_a_hole_that_nobody_answers_for_is_a_residue_until_it_is_closed(journal: Journal) -> None:
    """What the gateway no longer holds and the server never had is missing, and a fault says so."""
    gateways = Gateways(journal)
    take(journal, 1, 5)
    gateways.heard("g1", 0.0, 0).hello = hello(5, 6)
    assert gateways.balances()[0].residue == 3
    assert gateways.status(0.0)[0]["faults"] == ["3 records are not accounted for"]
    journal.close_hole(Lane.TELEMETRY, "g1", SPOOL, 2, 4, 0)
    (balance,) = gateways.balances()
    assert (balance.lost, balance.residue) == (3, 0)


def test_the_status_tells_what_is_known_and_can_be_written_as_json(journal: Journal) -> None:
    """Before its hello a gateway has a name only; then its lanes, its faults and ours, whatever it claims."""
    gateways = Gateways(journal)
    state = gateways.heard("g1", 0.0, 77)
    before = gateways.status(1.04)[0]
    assert (before["gateway"], before["online"], before["age_s"], before["lanes"]) == ("g1", True, 1.0, {})
    assert gateways.balances() == []
    take(journal, 1, 2, 4)
    biggest = 2**63 - 1
    state.hello = hello(1, biggest, points=biggest, faults=["the server does not confirm"], autonomy_h=3.5)
    state.conflicts, state.lost, state.duplicates = 2, 1, 9
    status = gateways.status(100.0)[0]
    lane = status["lanes"][Lane.TELEMETRY]
    assert (lane["upto"], lane["missing"], lane["next"]) == (2, [(3, 3)], biggest)
    assert lane["waiting"] == biggest - 1 - 3
    assert not status["online"]
    assert status["faults"] == [
        "the server does not confirm",
        "2 records came under numbers that other records already have",
        "1 records were lost after the server had committed later ones",
    ]
    assert (status["duplicates"], status["residue"], status["points"]) == (9, 0, biggest)
    assert msgspec.json.encode(status)

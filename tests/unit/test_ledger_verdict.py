"""The classifier must see each kind of harm, and only that; a checker that cannot fail proves nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ledger.ledger import Book, Ledger, Plan, Rows, Verdict, classify, classify_fires

START = 1_795_000_000_000_000
PLAN = Plan("g1", points=3)


def ledger_of(count: int, plan: Plan = PLAN) -> Ledger:
    """A ledger of readings offered and accepted in one block."""
    ledger = Ledger(plan)
    ledger.offer(1, count, START)
    ledger.accept(1, count)
    return ledger


def perfect(ledger: Ledger) -> Rows:
    """The rows of a store that got everything."""
    numbers = ledger.numbers()
    at_us = ledger.at_us[numbers]
    return Rows(ledger.plan.point(numbers), at_us, ledger.plan.values(numbers, at_us))


def pick(rows: Rows, *which: int) -> Rows:
    """Only these rows, in this order."""
    chosen = np.array(which, np.int64)
    return Rows(rows.point[chosen], rows.at_us[chosen], rows.value[chosen])


def changed(rows: Rows, row: int, *, point: int = 0, at_us: int = 0, value: float = 0) -> Rows:
    """A copy with something added to one row."""
    copy = Rows(rows.point.copy(), rows.at_us.copy(), rows.value.copy())
    copy.point[row] += point
    copy.at_us[row] += at_us
    copy.value[row] += value
    return copy


def test_everything_in_its_place_holds() -> None:
    """A store with exactly what was offered gets a clean verdict."""
    ledger = ledger_of(100)
    assert classify(ledger, perfect(ledger)) == Verdict(offered=100, accepted=100, stored=100)


def test_an_accepted_reading_nowhere_is_lost() -> None:
    """What was accepted and is in no place counts as lost, and the verdict names it."""
    ledger = ledger_of(4)
    verdict = classify(ledger, pick(perfect(ledger), 0, 1, 3))
    assert (verdict.lost, verdict.stored, verdict.holds) == (1, 3, False)
    assert "missing 3" in verdict.examples[0]


def test_an_offered_reading_without_an_answer_may_be_anywhere() -> None:
    """A crash between offer and answer leaves a reading that may be stored or not."""
    ledger = ledger_of(4)
    ledger.offer(5, 2, START + 1_000_000)
    assert classify(ledger, pick(perfect(ledger), 0, 1, 2, 3, 4)).holds


@pytest.mark.parametrize("place", ["dead", "waiting"])
def test_a_reading_held_elsewhere_is_not_lost(place: str) -> None:
    """A reading in the dead letters or still in a spool is where it may be."""
    ledger = ledger_of(4)
    rows = pick(perfect(ledger), 0, 1, 3)
    verdict = classify(ledger, rows, dead=[3]) if place == "dead" else classify(ledger, rows, waiting=[3])
    assert verdict.holds
    assert (verdict.dead, verdict.waiting) == ((1, 0) if place == "dead" else (0, 1))


def test_shed_readings_are_missing_by_declaration() -> None:
    """Readings that the gateway counted as shed are not lost, but not one more may be missing."""
    ledger = ledger_of(10)
    rows = pick(perfect(ledger), 0, 1, 2, 3, 4, 5)
    assert classify(ledger, rows, shed=4).holds
    assert classify(ledger, rows, shed=3).lost == 1


def test_shed_more_than_missing_is_a_residue() -> None:
    """Books that give up more readings than are missing do not close."""
    ledger = ledger_of(10)
    assert classify(ledger, perfect(ledger), shed=2).residue == 2


def test_the_same_row_twice_is_a_duplicate() -> None:
    """A store that returns a reading twice has duplicated it."""
    ledger = ledger_of(4)
    assert classify(ledger, pick(perfect(ledger), 0, 1, 2, 2, 3)).duplicated == 1


def test_a_reading_at_a_second_stamp_is_a_duplicate() -> None:
    """A copy under another stamp beside the right row is a duplicate."""
    ledger = ledger_of(4)
    extra = changed(pick(perfect(ledger), 0, 1, 2, 3, 3), 4, at_us=7)
    verdict = classify(ledger, extra)
    assert (verdict.duplicated, verdict.corrupted, verdict.lost) == (1, 0, 0)


def test_a_journal_that_took_more_than_was_offered_has_duplicates() -> None:
    """A store that overwrites hides what came twice; the journal's own count does not."""
    ledger = ledger_of(4)
    assert classify(ledger, perfect(ledger), journalled=6).duplicated == 2


@pytest.mark.parametrize(
    "harm", [{"value": 1.0}, {"at_us": 1}, {"point": 1}, {"value": float("nan")}, {"value": 0.5}]
)
def test_a_changed_reading_is_corrupted(harm: dict[str, float]) -> None:
    """Another value, stamp or point of an offered reading is corruption, not loss and not forgery."""
    ledger = ledger_of(6)
    verdict = classify(ledger, changed(perfect(ledger), 2, **harm))  # type: ignore[arg-type]
    assert (verdict.corrupted, verdict.lost, verdict.unexpected, verdict.duplicated) == (1, 0, 0, 0)


@given(row=st.integers(0, 49), bit=st.integers(0, 63))
def test_every_single_bit_of_a_value_counts(row: int, bit: int) -> None:
    """Any one flipped bit in any value turns the verdict red."""
    ledger = ledger_of(50)
    rows = perfect(ledger)
    rows.value.view(np.uint64)[row] ^= np.uint64(1 << bit)
    assert not classify(ledger, rows).holds


def test_a_reading_nobody_offered_is_unexpected() -> None:
    """A row that is no offered reading, under a known or an unknown point, is forged."""
    ledger = ledger_of(4)
    rows = perfect(ledger)
    forged = Rows(
        np.append(rows.point, [0, -1]),
        np.append(rows.at_us, [START - 5, START]),
        np.append(rows.value, [21.5, 21.5]),
    )
    verdict = classify(ledger, forged)
    assert (verdict.unexpected, verdict.corrupted, verdict.holds) == (2, 0, False)


def test_a_gateway_may_move_a_stamp_to_make_it_unique() -> None:
    """Two readings of one point in one microsecond are both there, the second 1 us later."""
    ledger = ledger_of(4, Plan("g1", points=1, per_stamp=2, slack_us=1))
    rows = perfect(ledger)
    rows.at_us[1::2] += 1
    assert classify(ledger, rows) == Verdict(offered=4, accepted=4, stored=4)


@pytest.mark.parametrize(
    ("raised", "lost", "duplicated", "unexpected"),
    [
        ({"a": 1, "b": 1}, 0, 0, 0),
        ({"a": 1}, 1, 0, 0),
        ({"a": 1, "b": 2}, 0, 1, 0),
        ({"a": 1, "b": 1, "c": 1}, 0, 0, 1),
    ],
)
def test_each_fire_is_raised_once(
    raised: dict[str, int], lost: int, duplicated: int, unexpected: int
) -> None:
    """A fire event that was accepted must be in the alarm record exactly once."""
    ledger = Ledger(PLAN)
    ledger.fires = {"a": START, "b": START}
    ledger.sounded = {"a", "b"}
    verdict = classify_fires(ledger, raised)
    assert (verdict.lost, verdict.duplicated, verdict.unexpected) == (lost, duplicated, unexpected)
    assert classify_fires(ledger, {"a": 1}, waiting={"b"}).holds


def test_verdicts_add_up() -> None:
    """The verdict of a row is the sum over its gateways."""
    total = Verdict(lost=1, stored=2, examples=("x",)) + Verdict(lost=2, stored=3, examples=("y",))
    assert total == Verdict(lost=3, stored=5)
    assert total.examples == ("x", "y")


def test_the_book_survives_a_torn_line(tmp_path: Path) -> None:
    """A ledger cut in the middle of a line goes on with the number after the last whole one."""
    path = tmp_path / "g1.ledger"
    with Book(path, PLAN) as book:
        numbers, _ = book.offer(20, START)
        book.accept(numbers)
        book.fire("a-1", START)
        book.sounded("a-1")
    with path.open("ab") as file:
        file.write(b"offer 21 20 17950")
    with Book(path, PLAN) as book:
        numbers, _ = book.offer(5, START + 1_000_000)
        assert numbers.tolist() == [21, 22, 23, 24, 25]
    ledger = Ledger.load(path)
    assert (ledger.next, int(ledger.offered.sum()), int(ledger.accepted.sum())) == (26, 25, 20)
    assert (ledger.fires, ledger.sounded) == ({"a-1": START}, {"a-1"})
    assert ledger.newest_us == START + 1_004_000


def test_a_foreign_line_is_refused(tmp_path: Path) -> None:
    """A ledger that was tampered with is not judged by."""
    path = tmp_path / "g1.ledger"
    with Book(path, PLAN):
        pass
    with path.open("a") as file:
        file.write("gossip 1\n")
    with pytest.raises(ValueError, match="not a ledger line"):
        Ledger.load(path)

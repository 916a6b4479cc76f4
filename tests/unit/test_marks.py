from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from fengsui.marks import Marks

RANGES = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 8)), max_size=40)


def model_of(ranges: list[tuple[int, int]]) -> tuple[Marks, set[int]]:
    """The marks and a set, after the same additions."""
    marks, seen = Marks(), set[int]()
    for first, more in ranges:
        added = set(range(first, first + more + 1)) - seen
        assert marks.add(first, first + more) == len(added)
        seen |= added
    return marks, seen


@given(RANGES, st.integers(1, 80), st.integers(1, 80))
def test_marks_are_a_set_of_numbers(ranges: list[tuple[int, int]], first: int, last: int) -> None:
    """Whatever the order: membership, counts, holes and the mark are those of the set."""
    marks, seen = model_of(ranges)
    assert [n for n in range(1, 90) if marks.has(n)] == sorted(seen)
    upto = next(n for n in range(1, 100) if n not in seen) - 1
    assert marks.upto == upto
    assert marks.highest == max(seen, default=0)
    holes = [n for begin, end in marks.missing() for n in range(begin, end + 1)]
    assert holes == [n for n in range(1, marks.highest + 1) if n not in seen]
    assert marks.count(first, last) == sum(first <= n <= last for n in seen)


@given(RANGES)
def test_islands_are_ascending_apart_and_beyond_the_mark(ranges: list[tuple[int, int]]) -> None:
    """The form is canonical, so it is small, and it survives storing."""
    marks, _ = model_of(ranges)
    end = marks.upto
    for first, last in marks.islands:
        assert end + 1 < first <= last
        end = last
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(marks), type=Marks) == marks


def test_an_empty_range_adds_nothing() -> None:
    """A tombstone whose last is before its first closes nothing."""
    marks = Marks()
    assert marks.add(5, 4) == 0
    assert marks == Marks()


def test_numbers_of_64_bits() -> None:
    """The whole of a u64 fits, and one tombstone closes it."""
    marks = Marks()
    assert marks.add(2**64 - 1, 2**64 - 1) == 1
    assert marks.missing() == [(1, 2**64 - 2)]
    assert marks.add(1, 2**64 - 2) == 2**64 - 2
    assert marks.upto == 2**64 - 1
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(marks), type=Marks) == marks

"""Which numbers of a lane have been seen: a high-water mark and the islands beyond it."""

from __future__ import annotations

from bisect import bisect_left

import msgspec

MAX_AHEAD = 1 << 16
"""A number further beyond the mark is not taken, but for a tombstone, which may stand for all before it."""

MAX_ISLANDS = 1 << 12
"""With so many holes only the next number is taken: it bounds what a hostile sender can make us hold."""


class Marks(msgspec.Struct):
    """Everything up to ``upto`` is there, and so are the ``islands``: disjoint ascending (first, last)."""

    upto: int = 0
    islands: list[tuple[int, int]] = []

    def has(self, seq: int) -> bool:
        """Has this number been seen?"""
        if seq <= self.upto:
            return True
        index = bisect_left(self.islands, (seq + 1,)) - 1
        return index >= 0 and self.islands[index][1] >= seq

    def add(self, first: int, last: int) -> int:
        """Mark ``first`` to ``last`` as seen; return how many of them were new."""
        first = max(first, self.upto + 1)
        if last < first:
            return 0
        new = last - first + 1
        low = bisect_left(self.islands, (first,))
        if low and self.islands[low - 1][1] >= first - 1:
            low -= 1
        high = low
        while high < len(self.islands) and self.islands[high][0] <= last + 1:
            island = self.islands[high]
            new -= max(0, min(island[1], last) - max(island[0], first) + 1)
            high += 1
        if high > low:
            first = min(first, self.islands[low][0])
            last = max(last, self.islands[high - 1][1])
        self.islands[low:high] = [(first, last)]
        if self.islands[0][0] == self.upto + 1:
            self.upto = self.islands.pop(0)[1]
        return new

    @property
    def highest(self) -> int:
        """The highest number seen."""
        return self.islands[-1][1] if self.islands else self.upto

    def count(self, first: int, last: int) -> int:
        """How many of ``first`` to ``last`` have been seen."""
        seen = max(0, min(last, self.upto) - first + 1)
        return seen + sum(max(0, min(last, end) - max(first, begin) + 1) for begin, end in self.islands)

    def missing(self) -> list[tuple[int, int]]:
        """The holes between the mark and the last island, first and last number of each."""
        holes, begin = [], self.upto + 1
        for first, last in self.islands:
            holes.append((begin, first - 1))
            begin = last + 1
        return holes

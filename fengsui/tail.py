"""A log read from outside of the process that writes it: files only, no lock, nothing of it is changed.

What is read may not be synced yet. A segment that the owner gives up while it is read is read to its end, for
it is held open; one that is begun and given up between two looks is missed, and that is told as damage.
"""

from __future__ import annotations

import os
from pathlib import Path

from fengsui.log import Chunk, Damage, Segment, read_head, scan, segments_in


class Tail:
    """A reader of the log in ``folder``, from the oldest record that is there.

    Attributes:
        next: Number of the record to be read next; 0 before the first.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._segment: Segment | None = None
        self._file = -1
        self._place = 0
        self.next = 0

    def read(self, max_bytes: int = 1 << 20) -> Chunk:
        """About ``max_bytes`` of what follows; an empty chunk means that there is nothing yet."""
        damage: list[Damage] = []
        while True:
            if self._segment is None and not self._open(damage):
                return Chunk([], damage, self.next)
            assert self._segment is not None
            follower = self._after(self._segment.first)  # asked first: a closed segment grows no more
            size = os.fstat(self._file).st_size
            chunk, self._place = scan(self._file, self._segment, self._place, self.next, size, max_bytes)
            self.next = chunk.next
            damage += chunk.damage
            if chunk.records or follower is None:
                return Chunk(chunk.records, damage, self.next)
            if self.next < follower:
                damage.append(Damage(self.next, follower - 1))
                self.next = follower
            self.close()

    def skip(self) -> None:
        """Go to the end of what is there."""
        while self.read().records:
            pass

    def close(self) -> None:
        """Close the open segment; the next ``read`` goes on with the one after it."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self._segment = None

    def _open(self, damage: list[Damage]) -> bool:
        for path in segments_in(self._folder):
            first = int(path.stem)
            if first < self.next and (after := self._after(first)) is not None and after <= self.next:
                continue  # read already
            try:
                found = read_head(path)
                self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:  # given up since
                continue
            self._segment, self._place = Segment(first, path), found[1] if found else 0
            if 0 < self.next < first:
                damage.append(Damage(self.next, first - 1))
            self.next = max(self.next, first)
            return True
        return False

    def _after(self, first: int) -> int | None:
        return min((n for path in segments_in(self._folder) if (n := int(path.stem)) > first), default=None)

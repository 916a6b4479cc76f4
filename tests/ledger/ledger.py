"""What was offered, what was accepted, and the verdict on what became of it.

A reading's value is its identity: ``number * 2**20 + check``, an integer below 2**52 that a float64 holds
exactly. ``check`` ties number, gateway, point and stamp together, so a bit flipped, a stamp moved or a
reading under a foreign point is seen. Numbers are dense from 1; point and stamp follow from number and block,
so the file holds a line per block and is fsynced before the block is offered and after it was accepted::

    ledger {"gateway": "g1", "points": 10, "per_stamp": 1, "spacing_us": 1000, "slack_us": 0}
    offer 1 20 1795000000000000        numbers 1..20, the first at this time, us
    accept 1 20
    fire a-0001 1795000000000000       a fire event is about to be offered
    sounded a-0001                     ... and was accepted
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tests.ledger.identity import LIMIT, SHIFT, values_of

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Plan:
    """How a gateway's readings follow from their number."""

    gateway: str
    points: int = 10
    per_stamp: int = 1
    """So many readings in a row carry the same stamp."""
    spacing_us: int = 1000
    slack_us: int = 0
    """How far the gateway may move a stamp to make it unique."""

    def point(self, numbers: Numbers) -> Numbers:
        """Index of each reading's point."""
        return numbers % self.points

    def names(self) -> list[str]:
        """The points' names by index."""
        return [f"p{index:03d}" for index in range(self.points)]

    def stamps(self, at_us: int, count: int) -> Numbers:
        """Stamps of a block that begins at ``at_us``."""
        return at_us + np.arange(count, dtype=np.int64) // self.per_stamp * self.spacing_us

    def values(self, numbers: Numbers, at_us: Numbers) -> NDArray[np.float64]:
        """The values that carry these readings' identity."""
        return values_of(self.gateway, numbers, self.point(numbers), at_us)


class Ledger:
    """Everything read back from one gateway's file.

    Attributes:
        offered: bool by number (index 0 is unused).
        accepted: bool by number.
        at_us: int64 by number, as offered.
        fires: Points whose fire event was offered.
        sounded: Those of them that were accepted.
        newest_us: The newest stamp offered, 0 if none.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.offered = np.zeros(1, np.bool_)
        self.accepted = np.zeros(1, np.bool_)
        self.at_us = np.zeros(1, np.int64)
        self.fires: dict[str, int] = {}
        self.sounded: set[str] = set()
        self.newest_us = 0
        self._used = 1

    @classmethod
    def load(cls, path: Path) -> Ledger:
        """Read a file back; a last line without its end was never synced and says nothing."""
        lines = path.read_text().split("\n")[:-1]
        head, *lines = lines
        ledger = cls(Plan(**json.loads(head.removeprefix("ledger "))))
        for line in lines:
            verb, *words = line.split(" ")
            match verb:
                case "offer":
                    ledger.offer(*map(int, words))
                case "accept":
                    ledger.accept(*map(int, words))
                case "fire":
                    ledger.fires[words[0]] = int(words[1])
                case "sounded":
                    ledger.sounded.add(words[0])
                case _:
                    raise ValueError(f"{path}: not a ledger line: {line!r}")
        return ledger

    def offer(self, first: int, count: int, at_us: int) -> None:
        """Numbers ``first`` .. are about to be offered."""
        end = first + count
        if end > len(self.offered):
            for name in ("offered", "accepted", "at_us"):
                old: NDArray[np.int64] = getattr(self, name)
                setattr(self, name, np.concatenate([old, np.zeros(max(end, len(old)), old.dtype)]))
        self.offered[first:end] = True
        self.at_us[first:end] = self.plan.stamps(at_us, count)
        self._used = max(self._used, end)
        self.newest_us = max(self.newest_us, int(self.at_us[end - 1]))

    def accept(self, first: int, count: int) -> None:
        """They were accepted."""
        self.accepted[first : first + count] = True

    @property
    def next(self) -> int:
        """The first number never offered."""
        return self._used

    def numbers(self) -> Numbers:
        """All numbers offered."""
        return np.flatnonzero(self.offered).astype(np.int64)


class Book:
    """A ledger being written: every line is fsynced before the call returns."""

    def __init__(self, path: Path, plan: Plan) -> None:
        new = not path.exists() or path.stat().st_size == 0
        if not new:
            _cut_torn_line(path)
        self.ledger = Ledger(plan) if new else Ledger.load(path)
        self._file = path.open("ab")
        if new:
            self._write(f"ledger {json.dumps(asdict(plan))}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def offer(self, count: int, at_us: int) -> tuple[Numbers, Numbers]:
        """Write down that the next ``count`` readings are offered: their numbers and stamps."""
        first = self.ledger.next
        self._write(f"offer {first} {count} {at_us}")
        self.ledger.offer(first, count, at_us)
        return np.arange(first, first + count, dtype=np.int64), self.ledger.plan.stamps(at_us, count)

    def accept(self, numbers: Numbers) -> None:
        """Write down that they were accepted."""
        self._write(f"accept {numbers[0]} {len(numbers)}")
        self.ledger.accept(int(numbers[0]), len(numbers))

    def fire(self, point: str, at_us: int) -> None:
        """Write down that a fire event of ``point`` is offered."""
        self._write(f"fire {point} {at_us}")
        self.ledger.fires[point] = at_us

    def sounded(self, point: str) -> None:
        """Write down that it was accepted."""
        self._write(f"sounded {point}")
        self.ledger.sounded.add(point)

    def _write(self, line: str) -> None:
        self._file.write(line.encode() + b"\n")
        self._file.flush()
        os.fdatasync(self._file.fileno())


def _cut_torn_line(path: Path) -> None:
    whole = path.read_bytes()
    with path.open("r+b") as file:
        file.truncate(whole.rfind(b"\n") + 1)


@dataclass(frozen=True)
class Rows:
    """What a store returned for one gateway; all shape (n,). ``point`` -1: a name the ledger never used."""

    point: Numbers
    at_us: Numbers
    value: NDArray[np.float64]


@dataclass(frozen=True)
class Verdict:
    """Counts of readings (or alarms) by what became of them; adds up over gateways."""

    offered: int = 0
    accepted: int = 0
    stored: int = 0
    """Distinct ones in the store."""
    lost: int = 0
    """Accepted, and nowhere."""
    duplicated: int = 0
    """There, and there again; or taken into the journal more often than they were offered."""
    corrupted: int = 0
    """An offered one under another value, stamp or point."""
    unexpected: int = 0
    """Never offered by anybody: forged."""
    dead: int = 0
    waiting: int = 0
    shed: int = 0
    residue: int = 0
    """The system's own books do not close, or more was counted as given up than is missing."""
    examples: tuple[str, ...] = field(default=(), compare=False)

    def __add__(self, other: Verdict) -> Verdict:
        sums = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(Verdict)}
        return Verdict(**sums)

    @property
    def holds(self) -> bool:
        """Nothing lost, duplicated, corrupted, forged or unaccounted for."""
        return not (self.lost or self.duplicated or self.corrupted or self.unexpected or self.residue)


def classify(
    ledger: Ledger,
    stored: Rows,
    *,
    dead: Collection[int] = (),
    waiting: Collection[int] = (),
    shed: int = 0,
    journalled: int | None = None,
) -> Verdict:
    """What became of one gateway's readings.

    Args:
        ledger: What was offered and accepted.
        stored: Everything the store has of this gateway.
        dead: Numbers found in the dead letters.
        waiting: Numbers still in the gateway's spool or the server's journal.
        shed: How many readings the gateway says it gave up.
        journalled: How many readings of this gateway the server says its journal ever took.
    """
    plan = ledger.plan
    size = len(ledger.offered)
    expected = plan.values(np.arange(size, dtype=np.int64), ledger.at_us)

    number = np.zeros(len(stored.value), np.int64)
    whole = np.isfinite(stored.value) & (stored.value >= 0) & (stored.value < LIMIT)
    number[whole] = stored.value[whole].astype(np.int64) >> SHIFT
    number[number >= size] = 0
    number[~ledger.offered[number] | (stored.value != expected[number])] = 0
    late_us = stored.at_us - ledger.at_us[number]
    in_place = (
        (number > 0) & (stored.point == plan.point(number)) & (late_us >= 0) & (late_us <= plan.slack_us)
    )

    times = np.bincount(number[in_place], minlength=size)
    moved = number[(number > 0) & ~in_place]
    again = times[moved] > 0
    by_place = _offered_at(ledger, stored, number == 0)

    present = times > 0
    present[moved] = True
    present[by_place[by_place > 0]] = True
    distinct = int(np.count_nonzero(present))
    elsewhere = np.zeros(size, np.bool_)
    elsewhere[np.fromiter((*dead, *waiting), np.int64)] = True
    missing = np.flatnonzero(ledger.accepted & ~present & ~elsewhere)

    surplus = max(0, journalled - int(np.count_nonzero(ledger.offered))) if journalled is not None else 0
    forged = np.flatnonzero(by_place == -1)
    return Verdict(
        offered=int(np.count_nonzero(ledger.offered)),
        accepted=int(np.count_nonzero(ledger.accepted)),
        stored=distinct,
        lost=max(0, len(missing) - shed),
        duplicated=int((times[present] - 1).clip(0).sum()) + int(np.count_nonzero(again)) + surplus,
        corrupted=int(np.count_nonzero(~again)) + int(np.count_nonzero(by_place > 0)),
        unexpected=len(forged),
        dead=len(set(dead)),
        waiting=len(set(waiting)),
        shed=shed,
        residue=max(0, shed - len(missing)),
        examples=(
            *(f"{plan.gateway}: missing {n} at {ledger.at_us[n]}" for n in missing[:5]),
            *(f"{plan.gateway}: never offered {stored.value[n]!r} at {stored.at_us[n]}" for n in forged[:5]),
        ),
    )


def _offered_at(ledger: Ledger, stored: Rows, unknown: NDArray[np.bool_]) -> Numbers:
    """For rows whose value names no offered reading: the number offered at that point and stamp, -1 if none.

    0 for rows that are not ``unknown``.
    """
    plan = ledger.plan
    found = np.zeros(len(stored.value), np.int64)
    offered = ledger.numbers()
    places = {
        (int(point), int(at)): int(n)
        for n, point, at in zip(offered, plan.point(offered), ledger.at_us[offered], strict=True)
    } if unknown.any() else {}  # fmt: skip
    for row in np.flatnonzero(unknown):
        point, at = int(stored.point[row]), int(stored.at_us[row])
        hits = (places.get((point, at - late)) for late in range(plan.slack_us + 1))
        found[row] = next((n for n in hits if n is not None), -1)
    return found


def classify_fires(ledger: Ledger, raised: Mapping[str, int], *, waiting: Collection[str] = ()) -> Verdict:
    """What became of one gateway's fire events.

    Args:
        ledger: What was offered and accepted.
        raised: How often the alarm record raised a fire, by the gateway's name of the point.
        waiting: Points whose event is still in the gateway's spool.
    """
    counts = Counter(dict(raised))
    missing = sorted(ledger.sounded - counts.keys() - set(waiting))
    forged = sorted(counts.keys() - ledger.fires.keys())
    return Verdict(
        offered=len(ledger.fires),
        accepted=len(ledger.sounded),
        stored=len(counts.keys() & ledger.fires.keys()),
        lost=len(missing),
        duplicated=sum(n - 1 for n in counts.values()),
        unexpected=len(forged),
        waiting=len(set(waiting)),
        examples=(
            *(f"{ledger.plan.gateway}: no alarm for {point}" for point in missing[:5]),
            *(f"{ledger.plan.gateway}: an alarm nobody offered for {point}" for point in forged[:5]),
        ),
    )

"""Which rule sits where: the slots of one kind of rule at every point, and what each keeps per slot.

A point has one slot for every rule of a kind that applies to it, so state is a structure of arrays of shape
(slots, points). A detector declares its arrays here; saving and restoring after a change of rules or registry
are then the same for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from alerting.detect.order import Floats, Rows, Series
from alerting.detect.rules import Rule
from alerting.detect.scope import EVERYWHERE, Places
from alerting.detect.verdict import VerdictKind
from fengsui.model import Point

RuleT = TypeVar("RuleT", bound=Rule)

Inside = dict[str, dict[str, float]]
"""What rules know of a point: by rule, numbers by their names in docs/lab.md; NaN = not known yet."""


class Crossing(NamedTuple):
    """A reading that changed what a rule says of its point."""

    row: int
    rule: Rule
    kind: VerdictKind
    observed: float
    """What was held against the limit, in the rule's own measure: a value, a rate per minute, a span, ..."""
    limit: float
    window_s: float
    """Over how long it was observed, or for how long it had to last."""


class Stateful(Protocol):
    """Something of which a snapshot holds the state."""

    def state(self) -> dict[str, NDArray[np.generic]]:
        """A copy of all that must outlive the process."""

    def restore(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Take over ``state``; rules and points may have changed meanwhile.

        Raises:
            KeyError, ValueError, TypeError, IndexError: not a state of this class.
        """


class Detector(Stateful, Protocol):
    """One kind of rule at all points; every one of them passes ``tests/unit/test_detectors.py``.

    An instance sees the readings of one stream (real, or simulated) in the order of time of each point. It
    must say the same however the stream is cut into batches.
    """

    @property
    def nbytes(self) -> int:
        """Bytes of state for all points."""

    def update(self, series: Series) -> list[Crossing]:
        """Judge readings; the crossings, unordered. Nothing in ``series`` is changed."""

    def assume_active(self, rule: str, point: int) -> None:
        """Take over from the alarm book that ``rule`` is active at ``point``, if it still applies there."""

    def inside(self, point: int, at_us: int) -> Inside:
        """What the rules that judge ``point`` know of it after its newest reading, which is of ``at_us``.

        Changes nothing.
        """

    def join(self, other: Self) -> None:
        """Take over what another one of the same rules holds: its points come after one's own."""


class Slots:
    """Base of the detectors with rules in slots: assignment, saving, restoring.

    Args:
        rules: Of one kind, in the order of their numbers in the state.
        points: By index, dense.

    ``SLOT_ARRAYS`` names the attributes of shape (slots, points, ...) and ``POINT_ARRAYS`` those of shape
    (points, ...) that are state. ``FIXED`` names those of shape (slots, points) that follow from rules and
    points, each with what it holds where there is no rule.
    """

    SLOT_ARRAYS: ClassVar[tuple[str, ...]] = ()
    POINT_ARRAYS: ClassVar[tuple[str, ...]] = ()
    FIXED: ClassVar[Mapping[str, float]] = {}

    def __init__(self, rules: Sequence[Rule], points: Sequence[Point]) -> None:
        self._numbered = tuple(rules)
        self._rule = assign(rules, points)

    @property
    def nbytes(self) -> int:
        """Bytes of state for all points."""
        names = ("_rule", *self.SLOT_ARRAYS, *self.POINT_ARRAYS)
        return sum(self._array(name).nbytes for name in names)

    def _ruled(self, slot: int, series: Series) -> tuple[Series, NDArray[np.int16]]:
        """The readings of the points that have a rule in ``slot``, and its number at each of their points.

        The numbers are in the order of ``series.turns.points``; a single one stands for all of them where all
        have the same rule, so that a parameter of it is one number, too.
        """
        rule = self._rule[slot]
        number = rule.take(series.turns.points)
        if len(number) and number.min() < 0:
            series = series.take(rule[series.readings.point] >= 0)
            number = rule.take(series.turns.points)
        return series, shared(number)

    def slot_of(self, rule: str, point: int) -> int | None:
        """The slot in which ``rule`` judges ``point``; None = it does not."""
        for slot, number in enumerate(self._rule[:, point].tolist()):
            if number >= 0 and self._numbered[number].name == rule:
                return slot
        return None

    def state(self) -> dict[str, NDArray[np.generic]]:
        """A copy of the state; ``rules`` names the rule versions that the numbers in ``rule`` mean."""
        arrays = {
            name.lstrip("_"): self._array(name).copy() for name in (*self.SLOT_ARRAYS, *self.POINT_ARRAYS)
        }
        identities = np.array([identity(rule) for rule in self._numbered], dtype=np.str_)
        return {"rules": identities, "rule": self._rule.copy(), **arrays}

    def restore(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Take over ``state`` for every point and slot that still has the same rule in the same version.

        Raises:
            KeyError, ValueError, TypeError, IndexError: not a state of this class.
        """
        known = {identity(rule): number for number, rule in enumerate(self._numbered)}
        renumber = np.array([known.get(str(name), -2) for name in state["rules"]] + [-1], np.int16)
        count = min(self._rule.shape[1], state["rule"].shape[1])
        old_rule = renumber[state["rule"].astype(np.int16)[:, :count]]
        for slot in range(len(self._rule)):
            for old in range(len(old_rule)):
                same = (self._rule[slot, :count] == old_rule[old]) & (old_rule[old] >= 0)
                for name in self.SLOT_ARRAYS:
                    self._array(name)[slot, :count][same] = state[name.lstrip("_")][old, :count][same]
        for name in self.POINT_ARRAYS:
            self._array(name)[:count] = state[name.lstrip("_")][:count]

    def join(self, other: Self) -> None:
        """Take over what another one of the same rules holds: its points come after one's own."""
        slots = max(len(self._rule), len(other._rule))
        fills = {"_rule": -1.0} | dict.fromkeys(self.SLOT_ARRAYS, 0.0) | dict(self.FIXED)
        for name, fill in fills.items():
            parts = [with_slots(each._array(name), slots, fill) for each in (self, other)]
            setattr(self, name, np.concatenate(parts, axis=1))
        for name in self.POINT_ARRAYS:
            setattr(self, name, np.concatenate([self._array(name), other._array(name)]))

    def _array(self, name: str) -> NDArray[Any]:
        array: NDArray[Any] = getattr(self, name)
        return array


def with_slots(array: NDArray[Any], slots: int, fill: float) -> NDArray[Any]:
    """The array with so many slots; nobody reads the state where there is no rule."""
    if len(array) == slots:
        return array
    more: NDArray[Any] = np.full((slots - len(array), *array.shape[1:]), fill, array.dtype)
    return np.concatenate([array, more])


def shared(number: NDArray[np.int16]) -> NDArray[np.int16]:
    """A single number where all are the same, so that a parameter of the rule is one number, too."""
    return number[:1] if len(number) and (number == number[0]).all() else number


def fetch(table: Floats, points: Rows) -> Floats:
    """The rows of ``points`` of a table of shape (points, columns), as columns: shape (columns, k)."""
    columns: Floats = table.take(points, axis=0).T.copy()
    return columns


def store(table: Floats, points: Rows, columns: Floats) -> None:
    """Put back what ``fetch`` gave; the table has an even number of columns.

    Numpy writes 16 bytes a row several times faster than it writes a row of any other length.
    """
    pairs, rows = table.view(np.complex128), columns.T.copy().view(np.complex128)
    for pair in range(pairs.shape[1]):
        pairs[:, pair][points] = rows[:, pair]


def assign(rules: Sequence[Rule], points: Sequence[Point]) -> NDArray[np.int16]:
    """Number of the rule in each slot of each of ``points``, shape (slots, points); -1 = no rule there.

    A rule applies to the points of its quantity and unit of measure inside its scope. Slots are filled from
    the first one on, so there are as many as the most rules of this kind at any one point.
    """
    alike: dict[tuple[str, str], list[int]] = {}
    for place, point in enumerate(points):
        alike.setdefault((point.quantity, point.uom), []).append(place)
    of_quantity = {quantity: np.array(indices, np.intp) for quantity, indices in alike.items()}
    places = Places(points)
    taken = np.zeros(len(points), np.intp)
    rows: list[NDArray[np.int16]] = []
    for number, rule in enumerate(rules):
        chosen = of_quantity.get((rule.quantity, rule.uom), np.empty(0, np.intp))
        if rule.scope != EVERYWHERE:
            chosen = chosen[places.covered(rule.scope)[chosen]]
        if not len(chosen):
            continue
        slots = taken[chosen]
        while len(rows) <= slots.max():
            rows.append(np.full(len(points), -1, np.int16))
        for slot in np.unique(slots).tolist():
            rows[slot][chosen[slots == slot]] = number
        taken[chosen] += 1
    return np.array(rows, np.int16).reshape(len(rows), len(points))


def applies(rule: Rule, point: Point) -> bool:
    """Whether a rule judges a point: its quantity, its unit of measure, inside its scope."""
    return (rule.quantity, rule.uom) == (point.quantity, point.uom) and rule.scope.covers(point)


def identity(rule: Rule) -> str:
    """A rule in its version, as state and record name it."""
    return f"{rule.name}@{rule.version}"


def joined(parts: Mapping[str, Stateful]) -> dict[str, NDArray[np.generic]]:
    """The state of several owners as one: each array under its owner's name and its own."""
    return {f"{part}.{name}": array for part, owner in parts.items() for name, array in owner.state().items()}


def part_of(state: Mapping[str, NDArray[np.generic]], part: str) -> dict[str, NDArray[np.generic]]:
    """What ``joined`` put under ``part``; empty = nothing."""
    prefix = f"{part}."
    return {name[len(prefix) :]: array for name, array in state.items() if name.startswith(prefix)}

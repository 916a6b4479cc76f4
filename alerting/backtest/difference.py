"""Two outcomes side by side: which alarms only one has, and which come earlier or later. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from math import inf

from alerting.backtest.report import Alarm, Difference, Moved
from fengsui.model import AlarmClass

SAME_WITHIN_S = 300.0
"""Alarms of one subject and class are the same happening when not further apart than this, end to begin.

A rate of rise is over before the temperature reaches its limit: an officer sees one fire, found earlier.
"""

_Key = tuple[str, AlarmClass, bool]


def compare(draft: Sequence[Alarm], in_force: Sequence[Alarm], from_us: int) -> Difference:
    """The draft against the rules in force.

    Each alarm is paired at most once, in order of time: of three short alarms beside one long one, two are
    added. What began before ``from_us`` under both says nothing; what did under one alone, and ends
    unpaired, is not counted as its own either.
    """
    added: list[Alarm] = []
    removed: list[Alarm] = []
    moved: list[Moved] = []
    same = 0
    ours, theirs = _by_key(draft), _by_key(in_force)
    for key in ours.keys() | theirs.keys():
        for one, other in _pairs(ours.get(key, []), theirs.get(key, [])):
            if other is None:
                added += [one] if one is not None and one.begin_us >= from_us else []
            elif one is None:
                removed += [other] if other.begin_us >= from_us else []
            elif max(one.begin_us, other.begin_us) < from_us:
                continue
            elif one.begin_us == other.begin_us:
                same += 1
            else:
                moved.append(
                    Moved(
                        subject=one.subject, building=one.building, cls=one.cls, draft_us=one.begin_us,
                        in_force_us=other.begin_us, test=one.test,
                    )
                )  # fmt: skip
    return Difference(
        added=tuple(sorted(added, key=_when)),
        removed=tuple(sorted(removed, key=_when)),
        moved=tuple(sorted(moved, key=lambda pair: (pair.draft_us, pair.subject, pair.cls))),
        same=same,
    )


def _pairs(ours: list[Alarm], theirs: list[Alarm]) -> Iterable[tuple[Alarm | None, Alarm | None]]:
    i = j = 0
    while i < len(ours) and j < len(theirs):
        one, other = ours[i], theirs[j]
        if one.begin_us <= _reach(other) and other.begin_us <= _reach(one):
            yield one, other
            i, j = i + 1, j + 1
        elif one.begin_us < other.begin_us:
            yield one, None
            i += 1
        else:
            yield None, other
            j += 1
    yield from ((one, None) for one in ours[i:])
    yield from ((None, other) for other in theirs[j:])


def _reach(alarm: Alarm) -> float:
    return inf if alarm.end_us is None else alarm.end_us + SAME_WITHIN_S * 1e6


def _by_key(alarms: Iterable[Alarm]) -> dict[_Key, list[Alarm]]:
    found: defaultdict[_Key, list[Alarm]] = defaultdict(list)
    for alarm in sorted(alarms, key=_when):
        found[alarm.subject, alarm.cls, alarm.test].append(alarm)
    return found


def _when(alarm: Alarm) -> tuple[int, str, str]:
    return alarm.begin_us, alarm.subject, alarm.cls

"""Verdicts to alarms, as the alarm book would open them, without persons and without latching. Pure.

An alarm is keyed by its subject (a point, a zone or a gateway) and class. It begins when the
first rule raises and ends when the last has let go; a late *past* verdict is an alarm that is over at once.
Real and simulated readings have alarms of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from alerting.detect.verdict import Verdict, VerdictKind, Zone
from fengsui.model import AlarmClass


@dataclass(slots=True)
class Occurrence:
    """One alarm as far as it is known."""

    first: Verdict
    """What began it."""
    severity: int
    """The highest of those that raised."""
    rules: set[str] = field(default_factory=set)
    """Those that hold it."""
    end_us: int | None = None
    """None: it stands."""


class Occurrences:
    """The alarms that stand."""

    def __init__(self) -> None:
        self._standing: dict[tuple[int | Zone | str, AlarmClass, bool], Occurrence] = {}

    @property
    def standing(self) -> Iterable[Occurrence]:
        """Those that have not ended."""
        return self._standing.values()

    def take(self, verdicts: Iterable[Verdict]) -> Iterator[Occurrence]:
        """Verdicts in their order; an alarm comes out when it begins and again when it has ended."""
        for verdict in verdicts:
            subject = verdict.point if verdict.point >= 0 else verdict.zone or verdict.gateway
            key = (subject, verdict.cls, verdict.test)
            known = self._standing.get(key)
            if verdict.kind is VerdictKind.CLEAR:
                if known is None:
                    continue
                known.rules.discard(verdict.rule)
                if not known.rules:
                    del self._standing[key]
                    known.end_us = verdict.at_us
                    yield known
                continue
            if known is None:
                known = Occurrence(verdict, verdict.severity)
                yield known
                if verdict.kind is VerdictKind.PAST:
                    known.end_us = verdict.at_us
                    yield known
                    continue
                self._standing[key] = known
            if verdict.kind is VerdictKind.RAISE:
                known.rules.add(verdict.rule)
                known.severity = max(known.severity, verdict.severity)

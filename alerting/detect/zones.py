"""Several devices of one zone together: coincidence k of n, corroboration across quantities, linkage.

It reads what the rules and the devices say of points and says verdicts about zones, on top of theirs: no
alarm of a point waits for it or is replaced by it. All work is per signal, which are rare.

A signal counts from its event time until ``window_s`` after its end; while it stands it counts without end.
A rule holds at a moment when the signals that count then are of enough different devices and quantities, so
what is said does not depend on the order in which gateways deliver. A stamp from the future is cut to the
time of receipt. Simulated signals are counted apart from real ones.

**Late signals.** One that its gateway held longer than ``LATE_US`` may be over already: until its source had
``HOLD_S`` to say so, it counts for its window only.

**Time.** ``clock_us`` is the server's wall clock as the journal has it (``received_at_us``), or as it is now.
It decides *when* something is said; *what* is said, and with which stamp, is a matter of event time. So a
replay says what was said.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from alerting.detect.device import ENDING, OWN, DeviceEvent, report
from alerting.detect.rules import Coincidence, RuleSet
from alerting.detect.verdict import HOLD_S, LATE_US, Reason, Verdict, VerdictKind, Zone
from alerting.detect.words import Joining, together
from fengsui.model import AlarmClass, Point

ENDED_KEPT = 64
"""Ended signals a rule remembers per zone, for what others deliver late; the oldest end goes first."""

POINTS_NAMED = 32
"""Points that a verdict names; ``value`` counts all."""

_HOLD_US = round(HOLD_S * 1e6)


class Signal(msgspec.Struct, array_like=True):
    """One source that says something of one point, as long as it stands; times in us, event time."""

    point: int
    source: str
    cls: AlarmClass
    begin_us: int
    end_us: int | None = None
    """None = it stands."""
    reason: Reason | None = None
    settles_us: int | None = None
    """It came late: when it counts as standing, server time."""

    def reach_us(self, window_us: int) -> float:
        """Until when it counts; ``inf`` = it stands."""
        if self.end_us is None and self.settles_us is None:
            return np.inf
        return (self.begin_us if self.end_us is None else self.end_us) + window_us


class _Told(NamedTuple):
    """A signal that begins or ends, and when that was learned; ``source`` empty = all of the device's own."""

    signal: Signal
    kind: VerdictKind
    classes: frozenset[AlarmClass]
    received_at_us: int
    age_us: int
    test: bool


class _Key(NamedTuple):
    """One rule in one zone, for what is real or for what is simulated."""

    rule: str
    zone: Zone
    test: bool


class _Watch(msgspec.Struct, array_like=True):
    """What one rule knows of one zone."""

    standing: list[Signal] = []
    ended: list[Signal] = []
    active: bool = False
    raised_us: int = 0
    """Of what was said last, until ``cleared_us`` if that is over."""
    cleared_us: int = -1
    lost_us: int | None = None
    """Active, but what made it so is not known: since when, server time."""
    due_us: int | None = None
    """When to look again, server time."""

    @property
    def signals(self) -> list[Signal]:
        """All that is known."""
        return [*self.standing, *self.ended]


class Zones:
    """The coincidence rules in all zones.

    Args:
        rules: What to judge by.
        points: The registry's points by index. A point without a zone takes part in nothing.

    Memory: per rule and zone that ever had any, the signals that stand and ``ENDED_KEPT`` ended ones.
    """

    def __init__(self, rules: RuleSet, points: Sequence[Point]) -> None:
        self._rules = {rule.name: rule for rule in rules.coincidence}
        self._about_readings = {rule.name: rule for rule in rules.about_readings()}
        self._points = list(points)
        self._watches: dict[_Key, _Watch] = {}
        self._next_us: float = np.inf

    def grow(self, added: Sequence[Point]) -> None:
        """Take over further points."""
        self._points += added

    def update(
        self, verdicts: Iterable[Verdict], events: Iterable[DeviceEvent], clock_us: int
    ) -> list[Verdict]:
        """Count what a batch said of points; what that and the time until ``clock_us`` say of zones."""
        if not self._rules:
            return []
        told = [*map(self._of_verdict, verdicts), *map(self._of_event, events)]
        said: list[Verdict] = []
        for one in sorted((one for one in told if one is not None), key=lambda one: one.received_at_us):
            said += self.advance(one.received_at_us)
            for rule in self._rules.values():
                said += self._enter(rule, one)
        return said + self.advance(clock_us)

    def advance(self, clock_us: int) -> list[Verdict]:
        """What the passing of time says: late signals that stand after all, coincidences that are over."""
        if clock_us < self._next_us:
            return []
        due = [(w.due_us, key) for key, w in self._watches.items() if w.due_us is not None]
        said: list[Verdict] = []
        for _, key in sorted(item for item in due if item[0] <= clock_us):
            said += self._look(key, clock_us)
        self._plan()
        return said

    def assume_signal(self, source: str, cls: AlarmClass, point: int, begin_us: int, *, test: bool) -> None:
        """Take over from the alarm book that ``source`` stands at ``point``."""
        signal = Signal(point, source, cls, begin_us)
        for rule in self._rules.values():
            if (key := self._key(rule, signal, test)) is not None:
                watch = self._watches.setdefault(key, _Watch())
                if not any(_same(signal, known) for known in watch.standing):
                    watch.standing.append(signal)

    def assume_active(self, rule: str, zone: Zone, raised_us: int, *, test: bool) -> None:
        """Take over from the alarm book that ``rule`` is active in ``zone``, if there is such a rule."""
        if rule in self._rules:
            watch = self._watches.setdefault(_Key(rule, zone, test), _Watch())
            if not watch.active:
                watch.active, watch.raised_us = True, raised_us
            watch.due_us = 0
            self._plan()

    def state(self) -> dict[str, NDArray[np.generic]]:
        """A copy of all that must outlive the process."""
        watches = [(key, self._rules[key.rule].version, watch) for key, watch in self._watches.items()]
        return {"watches": np.frombuffer(msgspec.msgpack.encode(watches), np.uint8).copy()}

    def restore(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Take over ``state`` of the rules that are the same, without points that left their zone.

        Raises:
            KeyError, ValueError: not a state of this class.
        """
        try:
            watches = msgspec.msgpack.decode(state["watches"].tobytes(), type=list[tuple[_Key, int, _Watch]])
        except msgspec.DecodeError as error:
            raise ValueError(f"zones: {error}") from error
        for key, version, watch in watches:
            rule = self._rules.get(key.rule)
            if rule is None or rule.version != version:
                continue
            for signals in (watch.standing, watch.ended):
                signals[:] = [signal for signal in signals if self._key(rule, signal, key.test) == key]
            if watch.active:
                watch.due_us = 0
            self._watches[key] = watch
        self._plan()

    def _of_verdict(self, verdict: Verdict) -> _Told | None:
        if verdict.point < 0:
            return None
        at_us = min(verdict.at_us, verdict.received_at_us)
        end_us = at_us if verdict.kind is VerdictKind.PAST else None
        reason = next(iter(verdict.reasons), None)
        return _Told(
            Signal(verdict.point, verdict.rule, verdict.cls, at_us, end_us, reason),
            verdict.kind, frozenset({verdict.cls}), verdict.received_at_us, verdict.age_us, verdict.test,
        )  # fmt: skip

    def _of_event(self, told: DeviceEvent) -> _Told | None:
        event = told.event
        at_us = min(event.at, told.received_at_us)
        if event.what in ENDING:
            signal = Signal(told.point, "", AlarmClass.FAULT, at_us)
            kind, classes = VerdictKind.CLEAR, ENDING[event.what]
        elif (raised := report(event, self._about_readings)) is not None:
            signal = Signal(told.point, raised.source, raised.cls, at_us, reason=raised.reason)
            kind, classes = VerdictKind.RAISE, frozenset({raised.cls})
        else:
            return None
        return _Told(signal, kind, classes, told.received_at_us, told.age_us, told.test)

    def _key(self, rule: Coincidence, signal: Signal, test: bool) -> _Key | None:
        """Where ``signal`` counts by ``rule``; None = nowhere."""
        if not 0 <= signal.point < len(self._points):
            return None
        point = self._points[signal.point]
        counts = (
            point.zone
            and (signal.source == "" or signal.cls in rule.classes)
            and (not rule.rules or signal.source in rule.rules)
            and (not rule.quantities or point.quantity in rule.quantities)
            and point.quantity not in rule.ignoring
            and (point.device or not rule.linkage)
            and rule.scope.covers(point)
        )
        return _Key(rule.name, Zone(point.unit, point.building, point.zone), test) if counts else None

    def _enter(self, rule: Coincidence, told: _Told) -> list[Verdict]:
        """One signal into one rule, and what that changes."""
        key = self._key(rule, told.signal, told.test)
        if key is None:
            return []
        watch = self._watches.get(key)
        if told.kind is VerdictKind.CLEAR:
            if watch is None or not _end(watch, told):
                return []
            return self._follow(key, told.received_at_us)
        if watch is None:
            watch = self._watches[key] = _Watch()
        signal = _begin(watch, told, _us(rule.window_s))
        if signal is None:
            return []
        said = self._complete(key, signal, told.signal.begin_us, told.received_at_us, told.age_us)
        return said + self._follow(key, told.received_at_us)

    def _complete(
        self, key: _Key, signal: Signal, from_us: int, received_at_us: int, age_us: int
    ) -> list[Verdict]:
        """The coincidence that ``signal`` is part of since ``from_us``, at its first moment, if there is one.

        Not one that was said and is over. Linkage is proposed only for what holds when it is learned.
        """
        watch, rule = self._watches[key], self._rules[key.rule]
        window_us = _us(rule.window_s)
        if watch.active or not self._holds(rule, watch.signals):
            return []
        if rule.linkage and not self._holds(rule, _at(watch, received_at_us, window_us)):
            return []
        moments = {from_us, watch.cleared_us + 1, *(one.begin_us for one in watch.signals)}
        for at_us in sorted(moments):
            if not from_us <= at_us <= signal.reach_us(window_us):
                continue
            if watch.raised_us <= at_us <= watch.cleared_us:
                continue
            counting = _at(watch, at_us, window_us)
            if self._holds(rule, counting):
                return [self._raise(key, at_us, counting, received_at_us, age_us)]
        return []

    def _holds(self, rule: Coincidence, signals: Iterable[Signal]) -> bool:
        devices: set[tuple[bool, str]] = set()
        quantities: set[str] = set()
        included = rule.including is None
        for signal in signals:
            point = self._points[signal.point]
            devices.add(_device(point))
            quantities.add(point.quantity)
            included = included or signal.cls is rule.including
            if included and len(devices) >= rule.devices and len(quantities) >= rule.different_quantities:
                return True
        return False

    def _ends_us(self, rule: Coincidence, watch: _Watch, clock_us: int) -> int | None:
        """When the coincidence ends by what is known now; None = it stands."""
        window_us = _us(rule.window_s)
        if self._holds(rule, watch.standing):
            watch.lost_us = None
            return None
        for ends_us in sorted({_end_us(one) + window_us for one in watch.ended}, reverse=True):
            ended = (one for one in watch.ended if one.begin_us <= ends_us <= _end_us(one) + window_us)
            standing = (one for one in watch.standing if one.begin_us <= ends_us)
            if self._holds(rule, chain(standing, ended)):
                watch.lost_us = None
                return ends_us
        # After a restart without a snapshot, or when a point left the zone: as if it had ended just now.
        watch.lost_us = clock_us if watch.lost_us is None else watch.lost_us
        return watch.lost_us + window_us

    def _follow(self, key: _Key, clock_us: int) -> list[Verdict]:
        """Clear what is over, else plan when to look again."""
        watch, rule = self._watches[key], self._rules[key.rule]
        said: list[Verdict] = []
        due = [one.settles_us for one in watch.standing if one.settles_us is not None]
        ends_us = self._ends_us(rule, watch, clock_us) if watch.active else None
        if ends_us is not None:
            clears_us = max(ends_us + _us(rule.hold_s), watch.raised_us)
            if clears_us < clock_us:  # what comes at this very moment still keeps it
                watch.active, watch.cleared_us, watch.lost_us = False, clears_us, None
                said.append(_verdict(rule, key, VerdictKind.CLEAR, clears_us, clears_us, 0))
            else:
                due.append(clears_us + 1)
        watch.due_us = min(due, default=None)
        if watch.due_us is not None:
            self._next_us = min(self._next_us, watch.due_us)
        return said

    def _look(self, key: _Key, clock_us: int) -> list[Verdict]:
        """The time has come: let what was late and still stands count as standing, clear what is over."""
        watch = self._watches[key]
        said: list[Verdict] = []
        for signal in watch.standing:
            settled_us = signal.settles_us
            if settled_us is not None and settled_us <= clock_us:
                signal.settles_us = None
                said += self._complete(key, signal, signal.begin_us, settled_us, 0)
        return said + self._follow(key, clock_us)

    def _raise(
        self, key: _Key, at_us: int, counting: list[Signal], received_at_us: int, age_us: int
    ) -> Verdict:
        watch, rule = self._watches[key], self._rules[key.rule]
        watch.active, watch.raised_us, watch.cleared_us = True, at_us, -1
        counting.sort(key=lambda one: (one.begin_us, one.point, one.source))
        points = {signal.point: self._points[signal.point] for signal in counting}
        devices = {_device(point) for point in points.values()}
        quantities = {point.quantity for point in points.values()}
        joining = [Joining(points[signal.point], signal.cls, signal.reason) for signal in counting]
        count = len(devices if rule.devices > 1 else quantities)
        return msgspec.structs.replace(
            _verdict(rule, key, VerdictKind.RAISE, at_us, received_at_us, age_us),
            value=float(count),
            linkage=rule.linkage and not key.test,
            points=tuple(points)[:POINTS_NAMED],
            reasons=together(rule, count, joining),
        )

    def _plan(self) -> None:
        due = [watch.due_us for watch in self._watches.values() if watch.due_us is not None]
        self._next_us = min(due, default=np.inf)


def _same(one: Signal, other: Signal) -> bool:
    return one.point == other.point and one.source == other.source


def _begin(watch: _Watch, told: _Told, window_us: int) -> Signal | None:
    """Enter a signal; None = it stands already, as long at least.

    One that begins again within the window is one with what was before.
    """
    signal = msgspec.structs.replace(told.signal)  # each rule has its own
    if signal.end_us is None and told.age_us > LATE_US:
        signal.settles_us = told.received_at_us + _HOLD_US
    for known in watch.standing:
        if _same(known, signal) and known.begin_us <= signal.begin_us:
            return None
        if _same(known, signal) and (signal.end_us is None or known.begin_us <= signal.end_us + window_us):
            known.begin_us = signal.begin_us
            return known
    for known in watch.ended if signal.settles_us is None else ():
        if _same(known, signal) and known.begin_us <= signal.begin_us <= known.reach_us(window_us):
            watch.ended.remove(known)
            signal.begin_us = known.begin_us
            signal.end_us = None if signal.end_us is None else max(signal.end_us, _end_us(known))
            break
    (watch.standing if signal.end_us is None else watch.ended).append(signal)
    _forget(watch)
    return signal


def _end(watch: _Watch, told: _Told) -> bool:
    """End what stands of this source; whether there was any."""
    over = [
        known
        for known in watch.standing
        if known.point == told.signal.point
        and known.cls in told.classes
        and (known.source == told.signal.source or (not told.signal.source and known.source.startswith(OWN)))
    ]
    for known in over:
        watch.standing.remove(known)
        known.end_us = max(told.signal.begin_us, known.begin_us)
        watch.ended.append(known)
    _forget(watch)
    return bool(over)


def _forget(watch: _Watch) -> None:
    if len(watch.ended) > ENDED_KEPT:
        watch.ended.remove(min(watch.ended, key=_end_us))


def _at(watch: _Watch, at_us: int, window_us: int) -> list[Signal]:
    """The signals that count at a moment."""
    return [one for one in watch.signals if one.begin_us <= at_us <= one.reach_us(window_us)]


def _end_us(signal: Signal) -> int:
    return signal.begin_us if signal.end_us is None else signal.end_us


def _device(point: Point) -> tuple[bool, str]:
    return (True, point.device) if point.device else (False, point.id)


def _us(seconds: float) -> int:
    return round(seconds * 1e6)


def _verdict(
    rule: Coincidence, key: _Key, kind: VerdictKind, at_us: int, received_at_us: int, age_us: int
) -> Verdict:
    return Verdict(
        point=-1, gateway="", zone=key.zone, cls=rule.cls, kind=kind, rule=rule.name, version=rule.version,
        severity=rule.severity, level=rule.level, at_us=at_us, value=None, limit=float(rule.needed),
        reset=None, window_s=rule.window_s, received_at_us=received_at_us, age_us=age_us, test=key.test,
    )  # fmt: skip

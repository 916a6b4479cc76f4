"""The desk: what persons do to alarms. Pure: a viewer, an order and the time in, changes out.

An order names the version of the alarm it was decided on. It is refused as stale when something has moved
since, with what, by whom and when; chatter of machines (``UNMOVED``) moves nothing. What a step does to the
state is ``TABLE``'s word alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from alerting.alarms.book import Book, Change
from alerting.alarms.claim import Claim, subject_of
from alerting.alarms.lifecycle import NEVER_INHIBITED, TABLE, Alarm, Disablement, Inhibition, Mark, Step
from alerting.detect.verdict import Reason
from alerting.errors import Impossible, NotAllowed, StaleAlarm, UnknownAlarm
from alerting.finding import Finding
from fengsui.model import AlarmClass
from fengsui.viewer import Action, Viewer

SHELVED_AT_MOST_S = 8 * 3600
"""One shift; the next one decides anew."""

OUT_OF_SERVICE_AT_MOST_S = 30 * 86_400

TEXT_MAX = 500
"""Characters of a person's own words."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a person wants done to an alarm, as it was at ``version``."""

    step: Step
    alarm: str
    version: int
    text: str = ""
    """In the person's own words; a reason where one is needed."""
    to: str = ""
    """Of assign: who shall handle it."""
    for_s: int = 0
    """Of shelve and disable."""
    finding: Finding | None = None
    """Of close."""


Fields = Mapping[str, object]


class Deed(NamedTuple):
    """A step of a person: what it asks for, and what it writes."""

    action: Action
    what: str
    needs: tuple[str, ...] = ()
    """Fields of the order that may not be empty."""
    writes: Callable[[Alarm, Order, Mark], Fields] = lambda _alarm, _order, _mark: {}


def _acknowledged(_alarm: Alarm, _order: Order, mark: Mark) -> Fields:
    return {"silent": False, "acknowledged_at_us": mark.at_us, "acknowledged_by": mark.by}


def _closed(_alarm: Alarm, order: Order, mark: Mark) -> Fields:
    return {"finding": order.finding, "closed": mark}


DEEDS: dict[Step, Deed] = {
    Step.ACKNOWLEDGE: Deed(Action.ACKNOWLEDGE, "acknowledged", (), _acknowledged),
    Step.RESET: Deed(Action.RESET, "reset", (), lambda *_: {"active": False, "sources": ()}),
    Step.SILENCE: Deed(Action.HANDLE, "silenced", (), lambda _, __, mark: {"silenced": mark}),
    Step.COMMENT: Deed(
        Action.HANDLE, "commented", ("text",), lambda alarm, *_: {"comments": alarm.comments + 1}
    ),
    Step.ASSIGN: Deed(Action.HANDLE, "assigned", ("to",), lambda _, order, __: {"assigned_to": order.to}),
    Step.TAKE: Deed(Action.HANDLE, "taken", (), lambda _, __, mark: {"taken": mark}),
    Step.VERIFY: Deed(Action.HANDLE, "verified", (), lambda _, __, mark: {"verified": mark}),
    Step.CLOSE: Deed(Action.HANDLE, "closed", ("finding",), _closed),
    Step.REOPEN: Deed(Action.HANDLE, "reopened", ("text",), lambda *_: {"finding": None, "closed": None}),
    Step.SHELVE: Deed(Action.SHELVE, "shelved", ("text", "for_s")),
    Step.UNSHELVE: Deed(Action.SHELVE, "resumed"),
    Step.DISABLE: Deed(Action.DISABLE, "out_of_service", ("text", "for_s")),
    Step.ENABLE: Deed(Action.DISABLE, "resumed"),
}
"""Every step of a person; what inhibits is written by the book."""

_KINDS = {
    Step.SHELVE: Inhibition.SHELVED, Step.UNSHELVE: Inhibition.SHELVED,
    Step.DISABLE: Inhibition.OUT_OF_SERVICE, Step.ENABLE: Inhibition.OUT_OF_SERVICE,
}  # fmt: skip
_WORDS = {
    Inhibition.SHELVED: ("Shelved", "暂时搁置"),
    Inhibition.OUT_OF_SERVICE: ("Out of service", "停用"),
}
_AT_MOST_S = {Step.SHELVE: SHELVED_AT_MOST_S, Step.DISABLE: OUT_OF_SERVICE_AT_MOST_S}


class Desk:
    """Persons' hands on a book."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def act(self, viewer: Viewer, order: Order, *, now_us: int) -> list[Change]:
        """Do what a person orders; the changes, those of the alarm named first.

        Raises:
            UnknownAlarm, NotAllowed, StaleAlarm, Impossible: see there; nothing has changed.
        """
        alarm = self._book.find(order.alarm)
        if alarm is None or not viewer.sees(alarm.unit):
            raise UnknownAlarm(f"no alarm {order.alarm[:64]}")
        deed = DEEDS.get(order.step)
        if deed is None or not viewer.may(deed.action):
            raise NotAllowed(f"{viewer.person} may not {order.step} alarms")
        _check_words(order, deed)
        _check_version(alarm, order)
        mark = Mark(now_us, viewer.person, order.text)
        if order.step in _AT_MOST_S:
            changes = self._disable(alarm, order, mark)
        elif order.step in _KINDS:
            changes = self._enable(alarm, order, mark)
        else:
            changes = self._do(alarm, order, deed, mark)
        return sorted(changes, key=lambda change: change.alarm.id != alarm.id)

    def seen(self, viewer: Viewer, alarms: Iterable[str], *, now_us: int) -> list[Change]:
        """A client reports that these alarms are on an officer's screen; only the first report counts.

        Raises:
            NotAllowed: The screen is no officer's.
        """
        if not viewer.may(Action.HANDLE):
            raise NotAllowed(f"{viewer.person} handles no alarms")
        found = (self._book.find(alarm) for alarm in dict.fromkeys(alarms))
        return [
            self._book.change(alarm, "seen", viewer.person, "person", now_us, seen_at_us=now_us)
            for alarm in found
            if alarm is not None and viewer.sees(alarm.unit) and alarm.seen_at_us is None
        ]

    def _do(self, alarm: Alarm, order: Order, deed: Deed, mark: Mark) -> list[Change]:
        fields = {"state": TABLE[alarm.state, order.step], **deed.writes(alarm, order, mark)}
        change = self._book.change(alarm, deed.what, mark.by, "person", mark.at_us, **fields)
        changes = [change._replace(reason=order.text)]
        if order.step is Step.RESET and alarm.sources:
            changes.append(self._book.again(alarm, mark.at_us))
        return changes

    def _disable(self, alarm: Alarm, order: Order, mark: Mark) -> list[Change]:
        kind = _KINDS[order.step]
        if order.step is Step.SHELVE and alarm.cls in NEVER_INHIBITED:
            raise Impossible(f"an alarm of class {alarm.cls} is never shelved")
        if alarm.point.startswith("/"):
            raise Impossible("a zone is neither shelved nor taken out of service; its points may be")
        cls = alarm.cls if order.step is Step.SHELVE else None
        word = Disablement(kind, cls, mark, mark.at_us + order.for_s * 1_000_000)
        disabling = self._book.disabling(alarm.point)
        if disabling is not None and word.source in disabling.sources:
            raise StaleAlarm(f"it is {kind.replace('_', ' ')} already", alarm)
        en, zh = _WORDS[kind]
        until = f"{datetime.fromtimestamp(word.until_us / 1e6, UTC):%Y-%m-%d %H:%M} UTC"
        reason = Reason(
            word.source, None, None, None, f"{en} by {mark.by} until {until}: {mark.text}",
            f"{mark.by} {zh}，至 {until}：{mark.text}",
        )  # fmt: skip
        claim = Claim(
            subject_of(alarm), AlarmClass.DISABLEMENT, word.source, "desk", 0, 1, mark.at_us, None, None,
            None, mark.at_us, 0, alarm.test, (reason,), "person", person=mark.by,
        )  # fmt: skip
        return self._book.enter(claim, word, mark.at_us)

    def _enable(self, alarm: Alarm, order: Order, mark: Mark) -> list[Change]:
        disabling = self._book.disabling(alarm.point)
        words = disabling.disablements if disabling is not None else ()
        kind, about = _KINDS[order.step], (None, alarm.cls)
        ends = [
            word.source
            for word in words
            if word.kind is kind and (alarm.cls is AlarmClass.DISABLEMENT or word.cls in about)
        ]
        if disabling is None or not ends:
            raise StaleAlarm(f"it is not {kind.replace('_', ' ')}", alarm)
        changes = self._book.lift(disabling, ends, mark.by, "person", mark.at_us)
        return [change._replace(reason=order.text) for change in changes]


def _check_words(order: Order, deed: Deed) -> None:
    for name in deed.needs:
        if not getattr(order, name):
            raise Impossible(f"to {order.step}, say {name}")
    at_most_s = _AT_MOST_S.get(order.step)
    if at_most_s is not None and not 0 < order.for_s <= at_most_s:
        raise Impossible(f"{order.step}: for_s is 1 to {at_most_s}")
    if max(len(order.text), len(order.to)) > TEXT_MAX:
        raise Impossible(f"at most {TEXT_MAX} characters")


def _check_version(alarm: Alarm, order: Order) -> None:
    moved = alarm.moved.version if alarm.moved is not None else alarm.version
    if not moved <= order.version <= alarm.version:
        raise StaleAlarm(f"{_moved(alarm)}; look again", alarm)
    if (alarm.state, order.step) not in TABLE:
        raise StaleAlarm(f"the alarm is {alarm.state.replace('_', ' ')}: {_moved(alarm)}; look again", alarm)
    if order.step is Step.CLOSE and alarm.closed is not None:
        raise StaleAlarm(f"its case is closed: {_moved(alarm)}", alarm)
    if order.step is Step.REOPEN and alarm.closed is None:
        raise StaleAlarm("its case is open", alarm)


def _moved(alarm: Alarm) -> str:
    """What changed last, by whom and when, in words."""
    moved = alarm.moved
    if moved is None:
        return f"it is at version {alarm.version}"
    at = datetime.fromtimestamp(moved.at_us / 1e6, UTC)
    what = moved.what.replace("_", " ")
    return f"{what} by {moved.by or 'the server'} at {at:%H:%M:%S} UTC, version {moved.version}"

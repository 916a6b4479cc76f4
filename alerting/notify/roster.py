"""The roster: who can be told on which channels, who is on duty, and who is called when.

A file in YAML that a person writes and imports; it is checked as a whole and in force as a whole, and every
roster that ever was in force is kept, so that it can be said afterwards who was to be called.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from alerting.detect.schedule import Schedule
from alerting.errors import Problem, RosterRefused
from alerting.notify import duty
from alerting.rulebook.document import Malformed, Node, read
from fengsui.model import AlarmClass
from fengsui.settings import Name

ROTA = "rota:"
"""In front of a rota's name, where the name of a contact may stand."""

UNIT = "unit"
"""In that place: every contact of the unit that the alarm belongs to."""

Moment = Annotated[datetime, Meta(tz=True)]


class Reach(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A channel of the core's settings, and the address of this contact there."""

    channel: Name
    to: str = ""


class Absence(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Days on which somebody else is told instead."""

    since: Moment
    until: Moment
    substitute: Name


class Contact(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A person, or a thing that makes itself noticed such as a siren."""

    id: Name
    name: str = ""
    lang: Annotated[str, Meta(pattern=r"^(zh|en)$")] = "zh"
    reach: Annotated[tuple[Reach, ...], Meta(min_length=1)]
    """In the order in which they are tried."""
    mute: tuple[Name, ...] = ()
    """Channels on which this person wants nothing but fire; never one of the roster's minimum."""
    quiet: Schedule | None = None
    """Hours after whose end everything but fire is told."""
    absent: tuple[Absence, ...] = ()
    unit: str = ""
    """The unit whose contact it is."""
    answers: bool = False
    """May acknowledge by the link or the code in a message; of a unit's contact, alarms of that unit."""


class Shift(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Who is on duty in the hours of a week."""

    when: Schedule
    who: Annotated[tuple[Name, ...], Meta(min_length=1)]


class Rota(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Who is on duty when: shifts by the week, those of a calendar, or both."""

    id: Name
    shifts: tuple[Shift, ...] = ()
    calendar: str = ""
    """Text of an iCalendar file; in the file one may write ``calendar_file`` with its name instead."""
    otherwise: Annotated[tuple[Name, ...], Meta(min_length=1)]
    """Who is on duty when nobody is."""

    def on_duty(self, at_us: int) -> list[str]:
        """Who is on duty at ``at_us`` (us since 1970 UTC); never nobody."""
        shifts = [(shift.when, shift.who) for shift in self.shifts]
        return duty.chosen(shifts, self.calendar, at_us) or list(self.otherwise)


class Stage(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Who is told that long after the alarm, unless somebody has acknowledged it before."""

    after_s: Annotated[float, Meta(ge=0, le=86_400)] = 0.0
    who: Annotated[tuple[str, ...], Meta(min_length=1)]
    channels: tuple[Name, ...] = ()
    """Only these; none = all that a contact has."""
    together: bool = False
    """On all channels at once, not one after the other."""


class Call(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What is done about alarms of some classes, units and buildings; every call that fits is made."""

    id: Name
    classes: Annotated[tuple[AlarmClass, ...], Meta(min_length=1)]
    units: tuple[str, ...] = ()
    buildings: tuple[str, ...] = ()
    severity: int = 0
    """Alarms of at least this severity."""
    forward: bool = False
    """Only of a confirmed fire, each by itself, and whoever acknowledges meanwhile: to the command centre."""
    stages: Annotated[tuple[Stage, ...], Meta(min_length=1)]


class Roster(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Everything about who is called."""

    minimum: Annotated[tuple[Name, ...], Meta(min_length=1)]
    """Channels that nobody can mute."""
    fallback_s: Annotated[float, Meta(gt=0, le=60)] = 45.0
    """A channel that has not delivered by then is followed by the contact's next one."""
    contacts: Annotated[tuple[Contact, ...], Meta(min_length=1)]
    rotas: tuple[Rota, ...] = ()
    calls: Annotated[tuple[Call, ...], Meta(min_length=1)]

    def contact(self, id_: str) -> Contact:
        """The contact of this name, which the check has found to exist."""
        return next(contact for contact in self.contacts if contact.id == id_)

    def members(self, who: str, unit: str, at_us: int) -> list[str]:
        """Names of the contacts that an entry of ``Stage.who`` means at ``at_us``, whoever is absent."""
        if who == UNIT:
            return [contact.id for contact in self.contacts if unit and contact.unit == unit]
        if who.startswith(ROTA):
            return next(rota for rota in self.rotas if rota.id == who.removeprefix(ROTA)).on_duty(at_us)
        return [who]

    def standing_in(self, id_: str, at_us: int) -> str:
        """Who is told in place of a contact at ``at_us``: itself, or the substitute of the substitute ..."""
        at, met = duty.moment(at_us), [id_]
        while True:
            absent = (a for a in self.contact(met[-1]).absent if a.since <= at < a.until)
            absence = next(absent, None)
            if absence is None:
                return met[-1]
            if absence.substitute in met:  # everybody in the ring is away: better the one who was meant
                return id_
            met.append(absence.substitute)


def load(path: Path, channels: Collection[str]) -> Roster:
    """Read a roster file; calendars are read from beside it.

    Args:
        path: A YAML file.
        channels: Names of the channels that the core's settings have.

    Raises:
        RosterRefused: It cannot be used; holds every problem found.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RosterRefused(path.name, [Problem(0, f"cannot be read: {error}")]) from error
    return parse(text, path.name, channels, lambda name: (path.parent / name).read_text(encoding="utf-8"))


def parse(text: str, name: str, channels: Collection[str], read_calendar: Callable[[str], str]) -> Roster:
    """As ``load``, of a text; ``read_calendar`` gives the text of a calendar file."""
    try:
        root = _with_calendars(read(text), read_calendar)
        roster = root.convert(Roster, "roster")
    except Malformed as error:
        raise RosterRefused(name, [error.problem]) from error
    problems = [Problem(root.at(path).line, said) for path, said in faults(roster, channels)]
    if problems:
        raise RosterRefused(name, problems)
    return roster


def dump(roster: Roster) -> dict[str, Any]:
    """The roster as plain values, what is at its default left out; ``parse`` of their YAML gives it again."""
    plain: dict[str, Any] = _sparse(roster)
    return plain


def faults(roster: Roster, channels: Collection[str]) -> Iterator[tuple[str, str]]:
    """What is wrong with a roster: where, as a path such as ``.calls[1].stages[0]``, and what to do."""
    yield from _twice(roster)
    yield from _of_contacts(roster, channels)
    names = {contact.id for contact in roster.contacts}
    for number, rota in enumerate(roster.rotas):
        yield from _of_rota(rota, f".rotas[{number}]", names)
    for number, call in enumerate(roster.calls):
        yield from _of_call(call, f".calls[{number}]", roster, names)
    everywhere = [
        call
        for call in roster.calls
        if AlarmClass.FIRE in call.classes
        and not (call.units or call.buildings or call.severity or call.forward)
    ]
    if not everywhere:
        yield (
            ".calls",
            "there are fires for which nobody is called; one call must be for every fire, everywhere",
        )
    for channel in roster.minimum:
        if channel not in channels:
            yield ".minimum", f"{channel} is no channel of the core's settings; {_known(channels)}"


def _of_contacts(roster: Roster, channels: Collection[str]) -> Iterator[tuple[str, str]]:
    names = {contact.id for contact in roster.contacts}
    for number, contact in enumerate(roster.contacts):
        path = f".contacts[{number}]"
        for reach in contact.reach:
            if reach.channel not in channels:
                yield (
                    f"{path}.reach",
                    f"{reach.channel} is no channel of the core's settings; {_known(channels)}",
                )
        kept = set(contact.mute) & set(roster.minimum)
        if kept:
            yield f"{path}.mute", f"{contact.id} mutes {min(kept)}, which nobody can mute (see minimum)"
        if contact.mute and not {reach.channel for reach in contact.reach} & set(roster.minimum):
            yield f"{path}.mute", f"{contact.id} mutes channels and has none of {', '.join(roster.minimum)}"
        for absence in contact.absent:
            if absence.substitute not in names:
                yield f"{path}.absent", f"{absence.substitute} stands in for {contact.id} and is no contact"
            if absence.until <= absence.since:
                yield f"{path}.absent", f"{contact.id} is away until before it begins"


def _of_rota(rota: Rota, path: str, names: Collection[str]) -> Iterator[tuple[str, str]]:
    named = {name for shift in rota.shifts for name in shift.who} | set(rota.otherwise)
    try:
        named |= (
            {name for event in duty.events(rota.calendar) for name in event.who} if rota.calendar else set()
        )
    except (ValueError, TypeError, AttributeError) as error:
        yield f"{path}.calendar", f"calendar of {rota.id}: {error}"
    for name in sorted(named - set(names)):
        yield path, f"{name} has shifts in {rota.id} and is no contact"


def _of_call(call: Call, path: str, roster: Roster, names: Collection[str]) -> Iterator[tuple[str, str]]:
    known = {*names, UNIT, *(ROTA + rota.id for rota in roster.rotas)}
    before = -1.0
    for number, stage in enumerate(call.stages):
        here = f"{path}.stages[{number}]"
        for who in stage.who:
            if who not in known:
                yield f"{here}.who", f"{who} is no contact and no rota; a rota is written {ROTA}NAME"
        if stage.after_s <= before:
            yield f"{here}.after_s", f"stage {number + 1} of {call.id} is not later than the one before"
        before = stage.after_s
        for who in set(stage.who) & set(names):
            own = {reach.channel for reach in roster.contact(who).reach}
            if stage.channels and not own & set(stage.channels):
                yield f"{here}.channels", f"{who} has none of the channels {', '.join(stage.channels)}"
    if AlarmClass.FIRE in call.classes and call.stages[0].after_s > 0:
        yield f"{path}.stages[0].after_s", f"{call.id} is for fire, so its first stage must be at once (0)"
    if call.forward and set(call.classes) != {AlarmClass.FIRE}:
        yield f"{path}.classes", f"{call.id} forwards, so its class is fire and no other"
    if AlarmClass.FIRE in call.classes and call.stages[0].who == (UNIT,):
        yield (
            f"{path}.stages[0].who",
            f"{call.id}: a unit may have no contact; name a rota or contact as well",
        )


def _twice(roster: Roster) -> Iterator[tuple[str, str]]:
    groups = {
        "contacts": [contact.id for contact in roster.contacts],
        "rotas": [rota.id for rota in roster.rotas],
        "calls": [call.id for call in roster.calls],
    }
    for group, names in groups.items():
        for number, name in enumerate(names):
            if name in names[:number]:
                yield f".{group}[{number}]", f"{name} is there twice"


def _known(channels: Collection[str]) -> str:
    return f"there are {', '.join(sorted(channels))}" if channels else "they have none, see [notify.channels]"


def _with_calendars(root: Node, read_calendar: Callable[[str], str]) -> Node:
    """The tree with the text of every ``calendar_file`` in its place."""
    rotas = root.value.get("rotas") if isinstance(root.value, dict) else None
    for rota in rotas.value if rotas is not None and isinstance(rotas.value, list) else ():
        file = rota.value.pop("calendar_file", None) if isinstance(rota.value, dict) else None
        if file is not None:
            try:
                rota.value["calendar"] = Node(file.line, read_calendar(str(file.value)))
            except (OSError, UnicodeDecodeError) as error:
                raise Malformed(file.line, f"calendar_file: cannot be read: {error}") from error
    return root


def _sparse(value: Any) -> Any:
    match value:
        case msgspec.Struct():
            fields = msgspec.structs.fields(value)
            plain = ((f, getattr(value, f.name)) for f in fields)
            return {f.encode_name: _sparse(inner) for f, inner in plain if f.required or inner != f.default}
        case tuple():
            return [_sparse(inner) for inner in value]
        case datetime():
            return value.isoformat()
        case AlarmClass():
            return str(value)
    return value

"""What a backtest says, as data with a JSON form. All times are us since 1970 UTC, by the source's clock."""

from __future__ import annotations

import msgspec

from alerting.finding import Finding
from fengsui.model import AlarmClass


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """One occurrence: from the first rule that raises a class at a subject until the last has let go."""

    subject: str
    """Registered id of the point, or ``/unit/building/zone`` of a zone."""
    building: str
    """Id; empty when the subject has none."""
    cls: AlarmClass
    rule: str
    """The rule that raised first."""
    version: int
    severity: int
    """The highest of those that raised."""
    begin_us: int
    end_us: int | None
    """None: it stood at the end of the span."""
    value: float | None
    text_en: str
    text_zh: str
    """Why, in the words of the first rule."""
    test: bool
    """Of simulated readings."""


class RuleTally(msgspec.Struct, frozen=True, kw_only=True):
    """What one rule said in the span, point by point."""

    rule: str
    version: int
    cls: AlarmClass
    raises: int
    clears: int


class DayTally(msgspec.Struct, frozen=True, kw_only=True):
    """Alarms that began on a day in a building; complete also where single alarms are left out."""

    day: str
    """ISO date, in the time zone of the span."""
    building: str
    cls: AlarmClass
    alarms: int
    test: int
    """How many of them were of simulated readings."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What one rule set said."""

    days: tuple[DayTally, ...]
    rules: tuple[RuleTally, ...]
    alarms: tuple[Alarm, ...]
    """Those that began in the span, and those that began before it and reach into it; by begin."""
    left_out: int
    """Alarms beyond the bound, which ``alarms`` and the difference do not have; the newest ones."""

    def begun(self, cls: AlarmClass) -> int:
        """How many alarms of a class began in the span."""
        return sum(tally.alarms for tally in self.days if tally.cls is cls)


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """The same happening under both rule sets, at another moment."""

    subject: str
    building: str
    cls: AlarmClass
    draft_us: int
    in_force_us: int
    test: bool

    @property
    def earlier_s(self) -> float:
        """By how much the draft is earlier, s; negative = later."""
        return (self.in_force_us - self.draft_us) / 1e6


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """The draft against the rules in force."""

    added: tuple[Alarm, ...]
    """Alarms of the draft alone."""
    removed: tuple[Alarm, ...]
    """Alarms of the rules in force alone."""
    moved: tuple[Moved, ...]
    same: int
    """Alarms of both that begin at the same moment."""


Label = Finding
"""What a person found an interval to be."""


class FirstFire(msgspec.Struct, frozen=True, kw_only=True):
    """A real fire and how long after its labelled begin the first fire alarm stood, s; None: none did."""

    subject: str
    """Point or building that the label names."""
    begin_us: int
    draft_delay_s: float | None
    in_force_delay_s: float | None


class LabelTally(msgspec.Struct, frozen=True, kw_only=True):
    """How many intervals carry a label, and how many fire alarms began in them."""

    label: Label
    intervals: int
    draft_fires: int
    in_force_fires: int


class Labelled(msgspec.Struct, frozen=True, kw_only=True):
    """Fire alarms against what people found."""

    fires: tuple[FirstFire, ...]
    tallies: tuple[LabelTally, ...]
    unlabelled_draft: int
    """Fire alarms that began outside every label."""
    unlabelled_in_force: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A backtest as a whole."""

    warm_us: int
    """From here on readings were judged, ..."""
    from_us: int
    """... from here on alarms were counted, ..."""
    to_us: int
    """... until before this."""
    offset_s: int
    """Of the days' time zone from UTC, at ``from_us``."""
    days: tuple[str, ...]
    """Every day of the span, with alarms or without."""
    points: int
    readings: int
    """Read in all, those of the warm-up included."""
    first_us: int | None
    """The oldest and the newest of them; None without any."""
    last_us: int | None
    unjudged: tuple[str, ...]
    """Points whose quantity has rules in the draft, but none in their unit of measure."""
    buildings: dict[str, str]
    """What people call each building, by id."""
    draft: Outcome
    in_force: Outcome
    difference: Difference
    labelled: Labelled | None = None
    recorded_fires: int | None = None
    """Fire alarms that the record has of these points in the span; None where there is no record."""
    notes: tuple[str, ...] = ()
    """What a reader must know, such as files that could not be read."""

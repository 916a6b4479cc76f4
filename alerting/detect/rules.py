"""Rules as data: about readings of a point, its silence, a gateway's; :mod:`alerting.rulebook` reads them.

A rule's name and version go with every verdict, so that a record from last year can be explained.
"""

from __future__ import annotations

from math import inf, isfinite
from typing import Literal

import msgspec

from alerting.detect.schedule import Schedule
from alerting.detect.scope import EVERYWHERE, Scope
from alerting.detect.verdict import Level
from fengsui.model import AlarmClass, Point

MOST_SCALES = 4.0
"""One average counts for no more than so many scales off: a single glitch is no change."""


class RuleError(ValueError):
    """A rule that makes no sense; the text names it and says what to change."""


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every rule about readings has; it applies to points of its quantity and unit inside its scope."""

    name: str
    version: int
    cls: AlarmClass
    quantity: str
    uom: str
    severity: int
    """1 low, 2 medium, 3 high, 4 life at risk."""
    label_en: str = ""
    label_zh: str = ""
    scope: Scope = EVERYWHERE
    schedule: Schedule | None = None
    """When it may raise and hold; None: always."""

    def __post_init__(self) -> None:
        """Refuse what no rule can be; a kind of rule adds its own."""
        if not 1 <= self.severity <= 4 or self.version < 1:
            raise RuleError(f"rule {self.name}: severity is 1 to 4, version at least 1")


class Held(Rule, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A rule whose condition, and whose normal, must last for a delay in event time.

    A gap longer than ``max_gap_s`` restarts a running delay: what was not measured did not last.
    """

    on_delay_s: float = 0.0
    off_delay_s: float = 0.0
    max_gap_s: float = 60.0

    def __post_init__(self) -> None:
        """Refuse a delay that is none."""
        Rule.__post_init__(self)
        if min(self.on_delay_s, self.off_delay_s) < 0 or self.max_gap_s <= 0:
            raise RuleError(f"rule {self.name}: delays are not negative, max_gap_s is positive")


class Threshold(Held, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Alarm at and beyond a limit, gone when back beyond ``reset``; both held for a delay in event time.

    With ``relative_to``, limit and reset count from the point's own ``low`` or ``high`` times ``factor``.
    """

    reset: float
    above: float | None = None
    below: float | None = None
    relative_to: Literal["", "low", "high"] = ""
    factor: float = 1.0

    @property
    def limit(self) -> float:
        """The one of ``above`` and ``below`` that is given."""
        limit = self.above if self.above is not None else self.below
        assert limit is not None
        return limit

    def at(self, point: Point) -> Threshold | None:
        """This rule with the limits it has at ``point``; None: they need a ``low`` or ``high`` it has not."""
        if not self.relative_to:
            return self
        base = point.low if self.relative_to == "low" else point.high
        if base is None:
            return None
        shift = base * self.factor
        return msgspec.structs.replace(
            self, relative_to="", factor=1.0, reset=self.reset + shift,
            above=None if self.above is None else self.above + shift,
            below=None if self.below is None else self.below + shift,
        )  # fmt: skip

    def __post_init__(self) -> None:
        """Refuse a rule that could never raise, never clear, or flap at its limit."""
        Held.__post_init__(self)
        if (self.above is None) == (self.below is None):
            raise RuleError(f"rule {self.name}: give exactly one of above and below")
        if not (isfinite(self.limit) and isfinite(self.reset)):
            raise RuleError(f"rule {self.name}: limit and reset must be finite numbers")
        inside = self.reset < self.limit if self.above is not None else self.reset > self.limit
        if not inside:
            raise RuleError(f"rule {self.name}: reset {self.reset:g} must be on the normal side of the limit")
        if not self.relative_to and self.factor != 1.0:
            raise RuleError(f"rule {self.name}: a factor needs relative_to, the bound that it multiplies")


class Rate(Held, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Alarm when a value runs ahead of its surroundings: see ``rate.py`` for the formula."""

    limit_per_min: float
    """How fast the learned surroundings follow upwards: what rises no faster than this never alarms."""
    rise: float
    """How far the value must be ahead of them, in its unit of measure; above every nuisance."""
    reset_rise: float | None = None
    """Ahead by less than this is normal; None = half of ``rise``."""
    falls_per_min: float = 0.5
    """How fast the surroundings follow downwards: slow, so that a value come back from a fault is no rise."""
    falling: bool = False
    """Judge how fast the value falls instead; everything above then counts downwards."""
    min_samples: int = 4
    min_data_s: float = 20.0
    """No verdict before so many readings over so long a time."""
    on_delay_s: float = 2.0
    off_delay_s: float = 60.0
    max_gap_s: float = 150.0

    @property
    def reset(self) -> float:
        """``reset_rise`` as it counts."""
        return self.rise / 2 if self.reset_rise is None else self.reset_rise

    def __post_init__(self) -> None:
        """Refuse a rule that could never raise, never clear, or speak of one reading."""
        Held.__post_init__(self)
        speeds = (self.limit_per_min, self.falls_per_min)
        if not all(isfinite(x) and x > 0 for x in (*speeds, self.rise)) or not 0 < self.reset < self.rise:
            raise RuleError(
                f"rule {self.name}: limit_per_min, falls_per_min and rise are positive, reset_rise below rise"
            )
        if not 2 <= self.min_samples < 100 or not 0 <= self.min_data_s < self.max_gap_s * self.min_samples:
            raise RuleError(
                f"rule {self.name}: min_samples is 2 to 99, min_data_s below min_samples times max_gap_s"
            )


class Change(Held, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Alarm when the mean of a steady quantity has moved: see ``change.py`` for the formula."""

    least_scale: float
    """The learned scale is never taken smaller: what never matters, in the unit of measure."""
    allowance: float = 2.0
    """Off by so many scales is still normal; what counts is the excess."""
    limit: float = 10.0
    """Sum of the excesses, in scales, that raises; normal again below half of it."""
    step_s: float = 10.0
    """Readings are averaged over so long."""
    learn_steps: int = 30
    """No verdict before so many averages."""
    forget_s: float = 21_600.0
    """What was normal fades over so long: a drift that takes longer is for another rule."""
    relearn_s: float = 86_400.0
    """What has lasted so long is the new normal."""
    max_gap_s: float = 3600.0

    def __post_init__(self) -> None:
        """Refuse a rule that could never raise, or that raises on its own resolution."""
        Held.__post_init__(self)
        sizes = (self.least_scale, self.allowance, self.limit, self.step_s, self.relearn_s)
        if not all(isfinite(x) and x > 0 for x in sizes) or self.allowance >= MOST_SCALES:
            raise RuleError(
                f"rule {self.name}: least_scale, limit, step_s and relearn_s are positive numbers, "
                f"allowance is above 0 and below {MOST_SCALES:g}"
            )
        if self.learn_steps < 10 or not self.forget_s >= self.learn_steps * self.step_s:
            raise RuleError(
                f"rule {self.name}: learn_steps is at least 10, forget_s at least learn_steps times step_s"
            )


class Flat(Held, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Fault when a value has not changed for far longer than it ever stayed the same: see ``flat.py``."""

    for_s: float = 7200.0
    """Never for less than this."""
    factor: float = 5.0
    """How many times the longest stretch of sameness that was learned."""
    learn_s: float = 86_400.0
    """No verdict before so long a time with at least ``min_changes``: nights count, too."""
    min_changes: int = 50
    rail_s: float | None = None
    """Fault after so long at an end of the point's registered range, whatever was learned; None = never."""
    off_delay_s: float = 60.0
    max_gap_s: float = 3600.0

    def __post_init__(self) -> None:
        """Refuse a rule that would call every quiet sensor stuck."""
        Held.__post_init__(self)
        times = (self.for_s, self.learn_s, self.for_s if self.rail_s is None else self.rail_s)
        if not all(isfinite(x) and x > 0 for x in times):
            raise RuleError(f"rule {self.name}: for_s, learn_s and rail_s are positive numbers")
        if not 1 < self.factor < 1e6 or self.min_changes < 2:
            raise RuleError(f"rule {self.name}: factor is above 1, min_changes at least 2")


class Range(Held, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Fault when a value is outside what its quantity can be or its point can measure: see ``range.py``."""

    low: float
    high: float
    """A point's registered range narrows both."""
    on_delay_s: float = 10.0
    off_delay_s: float = 60.0
    max_gap_s: float = 3600.0

    def __post_init__(self) -> None:
        """Refuse a range that holds nothing."""
        Held.__post_init__(self)
        if not (isfinite(self.low) and isfinite(self.high) and self.low < self.high):
            raise RuleError(f"rule {self.name}: low and high are finite numbers, low below high")


class Minutely(Held, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every rule about closed minutes has: delays and gaps between minutes that have a reading.

    A gap restarts what was going on; what was learned over days and weeks stays.
    """

    on_delay_s: float = 120.0
    off_delay_s: float = 600.0
    max_gap_s: float = 300.0

    def __post_init__(self) -> None:
        """Refuse a gap that every minute would be."""
        Held.__post_init__(self)
        if not 60 <= self.max_gap_s < inf:
            raise RuleError(f"rule {self.name}: max_gap_s is at least 60, for minutes are compared")


class Trend(Minutely, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A value on its way to a limit: raise when a straight line reaches it within ``within_s``.

    Gone when the limit is further away than ``clear_s``, or nothing moves any more.
    """

    within_s: float
    clear_s: float
    above: float | None = None
    below: float | None = None
    window_minutes: int = 20
    least_change: float
    """Smallest change over the window that means anything: several steps of the sensor's resolution."""
    settles: bool = False
    """The quantity flattens by itself (a temperature under a load): the forecast is made along a curve that
    flattens as the last three thirds of the window did."""

    @property
    def limit(self) -> float:
        """The one of ``above`` and ``below`` that is given."""
        limit = self.above if self.above is not None else self.below
        assert limit is not None
        return limit

    def __post_init__(self) -> None:
        """Refuse a rule that could never raise, never clear, or sees too little."""
        Minutely.__post_init__(self)
        if (self.above is None) == (self.below is None) or not isfinite(self.limit):
            raise RuleError(f"rule {self.name}: give exactly one of above and below, a finite number")
        if not 0 < self.within_s < self.clear_s < 1e7:
            raise RuleError(f"rule {self.name}: clear_s must be longer than within_s, and both positive")
        if not 10 <= self.window_minutes <= 1440:
            raise RuleError(f"rule {self.name}: window_minutes is 10 to 1440 (a day)")
        if not (isfinite(self.least_change) and self.least_change > 0):
            raise RuleError(f"rule {self.name}: least_change is positive, about 5 steps of the sensor")


DRIFT_CELLS = 24
"""A period of a drift rule has so many cells: the hours of a day."""

Direction = Literal["up", "down", "both"]


class Drift(Minutely, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A sensor whose value in quiet times moves away from its reference by ``limit``; gone below ``reset``.

    Judged at the end of each period; what is held against the reference is the median of seven of them.
    """

    on_delay_s: float = 0.0
    off_delay_s: float = 0.0
    limit: float
    reset: float
    direction: Direction = "both"
    reference: float | None = None
    """None: learned, the median of the first seven periods after the rule began to watch the point."""
    period_minutes: int = 1440
    quantile: float = 0.25
    """Which of a period's cells, from the lowest on, stands for its quiet time."""

    def __post_init__(self) -> None:
        """Refuse a rule that could never raise, never clear, or has no cells."""
        Minutely.__post_init__(self)
        if not 0 < self.reset < self.limit < inf:
            raise RuleError(f"rule {self.name}: give 0 < reset < limit, both as distances from the reference")
        if self.reference is not None and not isfinite(self.reference):
            raise RuleError(f"rule {self.name}: reference is a finite number, or left out to be learned")
        if self.period_minutes % DRIFT_CELLS or not DRIFT_CELLS <= self.period_minutes <= 10_080:
            raise RuleError(
                f"rule {self.name}: period_minutes is a multiple of {DRIFT_CELLS}, at most 10080 (a week)"
            )
        if not 0 <= self.quantile <= 1:
            raise RuleError(f"rule {self.name}: quantile is 0 to 1")


class Season(Minutely, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A value far from what is usual in this hour of the week; nothing is said before it has been learned."""

    on_delay_s: float = 1800.0
    off_delay_s: float = 1800.0
    scales: float = 6.0
    """Raise so many scales (as standard deviations) away from the usual."""
    clear_scales: float = 3.0
    least_scale: float
    """Smallest scale to divide by, in the rule's unit: what the sensor can tell, or what nobody minds."""
    direction: Direction = "up"
    utc_offset_minutes: int = 480
    """Local time, in which the week has its hours, minus UTC."""
    warm_weeks: int = 2

    def __post_init__(self) -> None:
        """Refuse a rule that could never raise, never clear, or knows no week."""
        Minutely.__post_init__(self)
        if not 0 < self.clear_scales < self.scales < inf:
            raise RuleError(f"rule {self.name}: give 0 < clear_scales < scales")
        if not 0 < self.least_scale < inf:
            raise RuleError(f"rule {self.name}: least_scale is positive, in {self.uom}")
        if not -720 <= self.utc_offset_minutes <= 840:
            raise RuleError(f"rule {self.name}: utc_offset_minutes is -720 to 840; China is 480")
        if not 2 <= self.warm_weeks <= 52:
            raise RuleError(f"rule {self.name}: warm_weeks is 2 to 52, one week is no habit")


class Noise(Minutely, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Readings that scatter too much in at least half of the minutes of a window: a loose contact.

    Too much is a standard deviation of at least ``above``, or of ``factor`` times what was learned.
    """

    on_delay_s: float = 0.0
    off_delay_s: float = 1800.0
    above: float | None = None
    factor: float | None = None
    least: float = 0.0
    """With ``factor``: less than this is never learned; about half a step of the sensor's resolution."""
    learn_minutes: int = 1440
    window_minutes: int = 20

    def __post_init__(self) -> None:
        """Refuse a rule without a bound, or with two."""
        Minutely.__post_init__(self)
        if (self.above is None) == (self.factor is None):
            raise RuleError(f"rule {self.name}: give exactly one of above and factor")
        if self.above is not None and not 0 < self.above < inf:
            raise RuleError(f"rule {self.name}: above is positive, in {self.uom}")
        if self.factor is not None and not (1 < self.factor < inf and 0 < self.least < inf):
            raise RuleError(f"rule {self.name}: factor is more than 1, and least positive, in {self.uom}")
        if not (60 <= self.learn_minutes <= 100_000 and 5 <= self.window_minutes <= 1440):
            raise RuleError(f"rule {self.name}: learn_minutes is at least 60, window_minutes 5 to 1440")


class Coincidence(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Several devices of one zone agree, or several quantities do: a verdict on top of those of the points.

    It holds while enough of what it counts stands or ended less than ``window_s`` ago, in event time, and is
    gone when that was not so for ``hold_s``. Simulated and real never count together.

    Source: EN 54-2 7.12 (types A, B, C); GB 50116-2013 4.1.6 for ``linkage``.
    """

    name: str
    version: int
    cls: AlarmClass
    """Class of the zone's own alarm; its points keep theirs."""
    severity: int
    level: Level
    classes: tuple[AlarmClass, ...] = (AlarmClass.FIRE, AlarmClass.PREALARM)
    """What of a point counts: its verdicts and its device's events of these classes ..."""
    rules: tuple[str, ...] = ()
    """... by one of these rules (empty: by any, and by device events too) ..."""
    quantities: tuple[str, ...] = ()
    """... about one of these quantities (empty: about any) ..."""
    ignoring: tuple[str, ...] = ()
    """... and about none of these ..."""
    scope: Scope = EVERYWHERE
    """... at one of these points."""
    including: AlarmClass | None = None
    """At least one of them is of this class."""
    devices: int = 1
    """Of at least so many different devices; a point without a device is one of its own."""
    different_quantities: int = 1
    """About at least so many different quantities."""
    window_s: float
    hold_s: float = 60.0
    linkage: bool = False
    """Linkage may be proposed; only points whose device is registered count then."""
    label_en: str = ""
    label_zh: str = ""

    def __post_init__(self) -> None:
        """Refuse what a single signal could raise, and linkage on less than the code of practice asks."""
        if not 1 <= self.severity <= 4 or self.version < 1:
            raise RuleError(f"rule {self.name}: severity is 1 to 4, version at least 1")
        if self.linkage and not (
            self.devices >= 2
            and self.classes == (AlarmClass.FIRE,)
            and self.cls is AlarmClass.FIRE
            and self.level is Level.CONFIRMED
        ):
            raise RuleError(
                f"rule {self.name}: GB 50116-2013 4.1.6 lets linkage follow only from two independent "
                'devices in fire alarm; set devices = 2 or more, classes = ["fire"], cls = "fire" and '
                'level = "confirmed"'
            )
        if self.devices < 2 and self.different_quantities < 2:
            raise RuleError(f"rule {self.name}: one signal is no coincidence; set devices to 2 or more")
        if min(self.devices, self.different_quantities) < 1:
            raise RuleError(f"rule {self.name}: devices and different_quantities are at least 1")
        if not self.classes or (self.including is not None and self.including not in self.classes):
            raise RuleError(f"rule {self.name}: classes must name what counts, also what is in including")
        if self.quantities and len(set(self.quantities) - set(self.ignoring)) < self.different_quantities:
            raise RuleError(f"rule {self.name}: quantities names fewer than different_quantities asks for")
        if not (0 < self.window_s <= 86_400 and 0 <= self.hold_s <= 86_400):
            raise RuleError(f"rule {self.name}: window_s is above 0, hold_s not negative, both at most a day")

    @property
    def needed(self) -> int:
        """The larger of what it asks for: devices, or quantities."""
        return max(self.devices, self.different_quantities)


class Silence(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A point without one usable reading for ``after_s`` of receive time, while its gateway is online.

    Of several that fit a point one counts: with a scope before without, of its quantity before any quantity,
    else the first.
    """

    name: str = "no-data"
    version: int = 1
    quantity: str = ""
    """Empty: every quantity that has no rule of its own."""
    scope: Scope = EVERYWHERE
    after_s: float = 60.0
    plain_after_s: float = 900.0
    """The same for a device without a gateway of ours, which says nothing between two readings."""
    severity: int = 2

    def __post_init__(self) -> None:
        """Refuse a silence that is always or never."""
        if not (0 < self.after_s < 1e6 and 0 < self.plain_after_s < 1e6):
            raise RuleError(f"rule {self.name}: after_s and plain_after_s are between 0 and 1e6 seconds")


class Offline(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A gateway that said nothing for ``after_s`` by the server's receive clock (wire contract: 65 s)."""

    name: str = "gateway-offline"
    version: int = 1
    after_s: float = 65.0
    severity: int = 3


AnyRule = Rule | Coincidence | Silence | Offline


class RuleSet(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything detection judges by."""

    threshold: tuple[Threshold, ...] = ()
    rate: tuple[Rate, ...] = ()
    change: tuple[Change, ...] = ()
    range: tuple[Range, ...] = ()
    flat: tuple[Flat, ...] = ()
    trend: tuple[Trend, ...] = ()
    drift: tuple[Drift, ...] = ()
    season: tuple[Season, ...] = ()
    noise: tuple[Noise, ...] = ()

    coincidence: tuple[Coincidence, ...] = ()
    silence: tuple[Silence, ...] = (Silence(),)
    offline: Offline = Offline()

    def about_readings(self) -> tuple[Rule, ...]:
        """Every rule that judges readings, of all kinds."""
        return (
            *self.threshold,
            *self.rate,
            *self.change,
            *self.range,
            *self.flat,
            *self.trend,
            *self.drift,
            *self.season,
            *self.noise,
        )

    def all(self) -> tuple[AnyRule, ...]:
        """Every rule there is, in the order of the fields."""
        fields = (getattr(self, field) for field in self.__struct_fields__)
        return tuple(rule for field in fields for rule in (field if isinstance(field, tuple) else (field,)))

    def __post_init__(self) -> None:
        """Refuse two rules of one name, and silence that leaves a quantity out."""
        names = [r.name for r in self.about_readings()]
        names += [*sorted({r.name for r in self.silence}), self.offline.name]
        for rule in self.coincidence:
            if unknown := set(rule.rules) - set(names):
                raise RuleError(f"rule {rule.name}: counts rule {min(unknown)}, which there is not")
        names += [rule.name for rule in self.coincidence]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise RuleError(f"rule {sorted(twice)[0]}: the name is used twice")
        if [r.quantity for r in self.silence if r.scope == EVERYWHERE].count("") != 1:
            raise RuleError(
                "silence: exactly one rule must be for every quantity and point (no quantity and no scope)"
            )
        silences = [(r.name, r.quantity) for r in self.silence]
        for name, quantity in silences:
            if silences.count((name, quantity)) > 1:
                about = quantity or "every quantity"
                raise RuleError(f"silence {name}: two are for {about}; give one another name")

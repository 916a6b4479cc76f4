"""What can happen in a scenario: one struct per word of the language, its parameters with their units.

A happening is data; ``course.py`` makes signals of it. ``at`` counts from the beginning of the scenario,
``for`` is how long it lasts (to the end, when left out), ``where`` names a place of the sort in ``places``.
"""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal, get_args

import msgspec

from fengsui.model import What

_UNITS_S = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(-?[0-9]+(?:\.[0-9]+)?) ?(s|min|h|d)")

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
Growth = Literal["slow", "medium", "fast", "ultra_fast"]
Fuel = Literal["wood", "pu_foam", "polystyrene", "heptane"]


class Seconds(float):
    """A time or duration; written as a number of seconds, or as ``90 s``, ``5 min``, ``2 h``, ``1 d``."""

    @classmethod
    def read(cls, value: object) -> Seconds:
        """From what stands in a file.

        Raises:
            ValueError: It is no duration.
        """
        if isinstance(value, int | float) and not isinstance(value, bool):
            return cls(value)
        match = _DURATION.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise ValueError(
                f"{value!r} is no time; write a number of seconds, `90 s`, `5 min`, `2 h` or `1 d`"
            )
        return cls(float(match[1]) * _UNITS_S[match[2]])


FOREVER = Seconds(float("inf"))
ZERO = Seconds(0.0)


def _word(name: str) -> str:
    """``ClockJump`` as it stands in a file: ``clock_jump``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


class Happening(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="what", tag=_word
):
    """Something that happens at a time."""

    places: ClassVar[tuple[str, ...]] = ()
    """Sorts of place that ``where`` may name; empty: it has no ``where``."""
    quantities: ClassVar[tuple[str, ...]] = ()
    """What is measured there must include one of these; empty: it concerns everything."""

    at: Seconds = ZERO

    @property
    def word(self) -> str:
        """Its ``what``."""
        return _word(type(self).__name__)


class Lasting(Happening, frozen=True, kw_only=True):
    """Something that goes on for a while."""

    for_s: Seconds = msgspec.field(default=FOREVER, name="for")

    def __post_init__(self) -> None:
        """Refuse a duration of nothing."""
        if self.for_s <= 0:
            raise ValueError(f"`for` is {self.for_s:g} s; it must be above 0")

    @property
    def until(self) -> float:
        """When it is over."""
        return self.at + self.for_s


# in the air of a room


class Fire(Happening, frozen=True, kw_only=True):
    """A fire on the floor of a room; it may smoulder before it grows."""

    places = ("room",)
    where: str
    growth: Growth = "fast"
    fuel: Fuel = "pu_foam"
    peak_kw: Positive = 1000.0
    distance_m: Positive = 3.0
    """From its axis to the room's detectors."""
    smoulder: Seconds = ZERO


class PutOut(Happening, frozen=True, kw_only=True):
    """Every fire is put out."""


class Nuisance(Lasting, frozen=True, kw_only=True):
    """No fire, and looks like one to a sensor; SYNTHETIC, see ``nuisance.py``."""

    places = ("room", "point")
    where: str


class Cooking(Nuisance, frozen=True, kw_only=True):
    """Frying or toasting."""

    quantities = ("smoke", "temperature", "humidity", "co")
    level: Positive = 8.0
    """Peak, %/m."""


class Steam(Nuisance, frozen=True, kw_only=True):
    """A shower."""

    quantities = ("smoke", "temperature", "humidity")
    level: Positive = 8.0
    """Peak, %/m."""


class Dust(Nuisance, frozen=True, kw_only=True):
    """Building works."""

    quantities = ("smoke",)
    level: Positive = 8.0
    """Highest spike, %/m."""


class Cigarette(Nuisance, frozen=True, kw_only=True):
    """One smoker."""

    quantities = ("smoke", "co")
    level: Positive = 2.0
    """Peak, %/m."""


class Welding(Nuisance, frozen=True, kw_only=True):
    """Twenty seconds of it in every minute."""

    quantities = ("smoke", "temperature", "co")
    level: Positive = 6.0
    """Peak, %/m."""


class Exhaust(Nuisance, frozen=True, kw_only=True):
    """An engine that idles indoors."""

    quantities = ("co", "smoke", "temperature")
    level: Positive = 40.0
    """Peak, ppm of CO."""


# in the pipes of a building


class Leak(Lasting, frozen=True, kw_only=True):
    """Water runs out of the main."""

    places = ("building",)
    quantities = ("water_pressure", "level")
    where: str
    flow_l_s: Positive
    """At 450 kPa."""


class Hydrant(Lasting, frozen=True, kw_only=True):
    """Hydrants are open."""

    places = ("building",)
    quantities = ("water_pressure", "level")
    where: str
    open: Annotated[int, msgspec.Meta(ge=1, le=20)] = 1


class PumpTest(Lasting, frozen=True, kw_only=True):
    """A test valve is opened for 10 s; the fire pump starts, and is stopped when ``for`` is over."""

    places = ("building",)
    quantities = ("water_pressure", "level")
    where: str


class SupplyOff(Lasting, frozen=True, kw_only=True):
    """The pumps have no power: what leaks is gone."""

    places = ("building",)
    quantities = ("water_pressure", "level")
    where: str


# in the wiring


class InsulationFault(Lasting, frozen=True, kw_only=True):
    """Residual current grows by a step and evenly."""

    places = ("point", "device", "room", "zone", "building")
    quantities = ("residual_current",)
    where: str
    step_ma: float = 0.0
    ma_per_h: float = 0.0


class Load(Lasting, frozen=True, kw_only=True):
    """The load of cables, 1 being what they are rated for; half of it before and after."""

    places = ("point", "device", "room", "zone", "building")
    quantities = ("cable_temperature",)
    where: str
    load: Positive


# said by a device


class Panel(Happening, frozen=True, kw_only=True):
    """A device reports an event of its own: a call point is pressed, a panel has a fault."""

    places = ("point",)
    where: str
    event: What
    text: str = ""


# sensors that fail


class SensorFault(Lasting, frozen=True, kw_only=True):
    """A device does not tell what is."""

    places = ("point", "device", "room", "zone", "building")
    where: str


class Drift(SensorFault, frozen=True, kw_only=True):
    """The value moves away."""

    per_h: float
    """In the point's unit of measure."""


class Stuck(SensorFault, frozen=True, kw_only=True):
    """The value stays what it was, to the last digit."""


class Noisy(SensorFault, frozen=True, kw_only=True):
    """Gaussian noise."""

    sigma: Positive
    """In the point's unit of measure."""


class Dropout(SensorFault, frozen=True, kw_only=True):
    """A share of the readings is lost; 1 is silence."""

    share: Share = 1.0


class Battery(SensorFault, frozen=True, kw_only=True):
    """A battery fades: ever more readings are lost, and all of them once ``for`` is over."""

    for_s: Seconds = msgspec.field(name="for")


class ClockJump(SensorFault, frozen=True, kw_only=True):
    """The device's clock is wrong."""

    by: Seconds


class RebootLoop(SensorFault, frozen=True, kw_only=True):
    """The device starts again and again."""

    up: Seconds = Seconds(20.0)
    down: Seconds = Seconds(20.0)

    def __post_init__(self) -> None:
        """Refuse what is no loop."""
        Lasting.__post_init__(self)
        if min(self.up, self.down) <= 0:
            raise ValueError("`up` and `down` must be above 0")


class Chatty(SensorFault, frozen=True, kw_only=True):
    """Each reading is sent many times."""

    times: Annotated[int, msgspec.Meta(ge=2, le=100)] = 10


# between gateway and detection


class LinkFault(Lasting, frozen=True, kw_only=True):
    """The way from the gateway to detection is bad."""

    for_s: Seconds = msgspec.field(default=Seconds(60.0), name="for")


class LinkCut(LinkFault, frozen=True, kw_only=True):
    """Nothing gets through; what was measured meanwhile follows when it is over."""


class Duplicate(LinkFault, frozen=True, kw_only=True):
    """A share of the readings comes again 5 s later."""

    share: Share = 0.2


class Reorder(LinkFault, frozen=True, kw_only=True):
    """A share of the readings comes later than those measured after it."""

    share: Share = 0.2
    within: Seconds = Seconds(10.0)
    """Longest delay."""


class Skew(LinkFault, frozen=True, kw_only=True):
    """The gateway's clock is wrong, and so is every stamp."""

    by: Seconds = Seconds(300.0)


# in the machines: real ones, so in a drill alone


class MachineFault(Lasting, frozen=True, kw_only=True):
    """Something of the servers fails."""

    for_s: Seconds = msgspec.field(default=Seconds(30.0), name="for")


class BrokerKill(MachineFault, frozen=True, kw_only=True):
    """The broker is killed, and again whenever it is back, until ``for`` is over."""

    for_s: Seconds = msgspec.field(default=Seconds(1.0), name="for")


class SlowDatabase(MachineFault, frozen=True, kw_only=True):
    """Every write to the series store takes so much longer."""

    by: Seconds = Seconds(5.0)


class DiskFull(MachineFault, frozen=True, kw_only=True):
    """The journal has no room, so the core commits nothing."""


Entry = (
    Fire | PutOut | Cooking | Steam | Dust | Cigarette | Welding | Exhaust
    | Leak | Hydrant | PumpTest | SupplyOff | InsulationFault | Load | Panel
    | Drift | Stuck | Noisy | Dropout | Battery | ClockJump | RebootLoop | Chatty
    | LinkCut | Duplicate | Reorder | Skew
    | BrokerKill | SlowDatabase | DiskFull
)  # fmt: skip
"""One of everything that can happen."""

WORDS = tuple(kind.__struct_config__.tag for kind in get_args(Entry))
"""Every ``what`` of the language."""

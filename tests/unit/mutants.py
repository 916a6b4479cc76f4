"""Bugs of detection to plant, one at a time: a scenario must turn red on each, or its green means nothing.

Each mutant is a small patch of the code that runs, undone by pytest. A patch whose target has been renamed
fails loudly (``getattr``), and it counts where it did other than the code does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from alerting.detect import trend, zones
from alerting.detect.change import Changes
from alerting.detect.engine import Engine
from alerting.detect.flat import Flats
from alerting.detect.noise import Noises
from alerting.detect.order import NEVER, Order
from alerting.detect.presence import Presence
from alerting.detect.rate import Rates
from alerting.detect.runs import Runs
from alerting.detect.threshold import Thresholds
from alerting.detect.trend import Line, Trends
from fengsui.model import Point
from simulators.rehearsal import BEGIN_US

Make = Callable[[Any], Any]


class Plants:
    """Patches of the code that runs, and how often they did other than it does."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch
        self.acted = 0

    def act(self, done: bool | np.bool_ = True) -> None:
        """The bug has done something, if ``done`` says so."""
        self.acted += bool(done)

    def wrap(self, owner: Any, name: str, make: Make) -> None:
        """Replace ``name`` of ``owner`` by what ``make`` makes of it."""
        self._patch.setattr(owner, name, make(getattr(owner, name)))

    def built(self, owner: Any, change: Callable[[Any], None]) -> None:
        """Change every new instance of ``owner`` as soon as it is there."""

        def make(init: Any) -> Any:
            def build(self: Any, *args: Any, **kwargs: Any) -> None:
                init(self, *args, **kwargs)
                change(self)

            return build

        self.wrap(owner, "__init__", make)

    def overwrite(self, array: Any, value: object) -> None:
        """Put ``value`` everywhere, and count it if anything was otherwise."""
        before = array.copy()
        array[:] = value
        self.act((before != array).any())


class Mutant(NamedTuple):
    """A bug, and the scenario that must not hold under it."""

    scenario: str
    shows: str
    """Words of the line of its oracle that gives the bug away."""
    plant: Callable[[Plants], None]


def hysteresis_dropped(plants: Plants) -> None:
    """A value is normal as soon as it is below its limit."""
    plants.built(Thresholds, lambda new: plants.overwrite(new._reset, new._limit))


def on_delay_ignored(plants: Plants) -> None:
    """A rule raises at the first reading beyond its limit."""
    plants.built(Runs, lambda new: plants.overwrite(new._on_us, 0))


def off_delay_ignored(plants: Plants) -> None:
    """A rule clears at the first reading that is normal."""
    plants.built(Runs, lambda new: plants.overwrite(new._off_us, 0))


def side_mixed_up(plants: Plants) -> None:
    """What is a lower limit is judged as an upper one."""

    def turn(new: Thresholds) -> None:
        for array in (new._limit, new._reset):
            array[:-1] = (array * new._sign)[:-1]
        plants.overwrite(new._sign, 1.0)

    plants.built(Thresholds, turn)


def late_dropped(plants: Plants) -> None:
    """A reading that comes after a newer one is thrown away."""

    def make(late: Any) -> Any:
        def forget(self: Thresholds, readings: Any) -> list[object]:
            plants.act(len(late(self, readings)) > 0)
            return []

        return forget

    plants.wrap(Thresholds, "late", make)


def late_enters_the_series(plants: Plants) -> None:
    """A late reading is judged as if it were the newest."""

    def make(stamps: Any) -> Any:
        def accept(self: Order, readings: Any, held_at_us: Any) -> Any:
            before, late = stamps(self, readings, held_at_us)
            plants.act(late is not None)
            return before, None

        return accept

    plants.wrap(Order, "_stamps", make)


def clock_step_unseen(plants: Plants) -> None:
    """After its clock fell back a device's readings are late until the old time is reached again."""

    def make(stamps: Any) -> Any:
        def stubborn(self: Order, readings: Any, held_at_us: Any) -> Any:
            newest, known = self._newest_us.copy(), self._offset_us.copy()
            before, late = stamps(self, readings, held_at_us)
            point = readings.point
            stepped = (before == NEVER) & (newest[point] != NEVER)
            plants.act(stepped.any())
            if not stepped.any():
                return before, late
            self._newest_us[point[stepped]] = newest[point[stepped]]
            self._offset_us[point[stepped]] = known[point[stepped]]
            return before, stepped if late is None else late | stepped

        return stubborn

    plants.wrap(Order, "_stamps", make)


def receipt_for_event_time(plants: Plants) -> None:
    """Readings count when they are received, so a backlog of minutes is one moment."""

    def make(update: Any) -> Any:
        def restamp(
            self: Engine,
            point: Any,
            at_us: Any,
            value: Any,
            quality: Any,
            received: Any,
            *rest: Any,
            **now: Any,
        ) -> Any:
            plants.act((abs(at_us - received) > 1_000_000).any())
            in_order = received + np.arange(len(received))
            return update(self, point, in_order, value, quality, received, *rest, **now)

        return restamp

    plants.wrap(Engine, "update", make)


def silence_by_event_time(plants: Plants) -> None:
    """A point is as silent as its own stamps are old."""

    def make(judge: Any) -> Any:
        def by_stamp(self: Engine, point: Any, at_us: Any, *rest: Any) -> Any:
            *columns, now_s = rest
            stamp_s = float(at_us.min() - BEGIN_US) / 1e6
            plants.act(abs(stamp_s - now_s) > 60)
            return judge(self, point, at_us, *columns, stamp_s)

        return by_stamp

    plants.wrap(Engine, "_judge", make)


def nothing_is_silent(plants: Plants) -> None:
    """A point without readings is taken for one that is well."""

    def make(fallen_silent: Any) -> Any:
        def hush(self: Presence, now_s: float) -> list[int]:
            plants.act(len(fallen_silent(self, now_s)) > 0)
            return []

        return hush

    plants.wrap(Presence, "fallen_silent", make)


def lost_gateway_not_folded(plants: Plants) -> None:
    """Behind a gateway that is offline every point is silent for itself."""

    def make(lost: Any) -> Any:
        def unfold(self: Presence, now_s: float) -> list[str]:
            self._seen_s[:] = now_s  # as if each gateway had just proved to be alive
            plants.act()
            found: list[str] = lost(self, now_s)
            return found

        return unfold

    plants.wrap(Presence, "lost", make)


def rise_upside_down(plants: Plants) -> None:
    """A fall is taken for a rise."""
    plants.built(Rates, lambda new: plants.overwrite(new._sign, -new._sign))


def surroundings_never_learned(plants: Plants) -> None:
    """A value is held against what it was at first, however slowly it has risen since."""
    plants.built(Rates, lambda new: plants.overwrite(new._up_per_s, 0.0))


def baseline_learns_the_alarm(plants: Plants) -> None:
    """What a change rule has raised about becomes normal while it is raised."""

    def make(close: Any) -> Any:
        def learn_on(self: Changes, number: Any, step: Any, course: Any, now_s: Any, ends: Any) -> None:
            _, _, _, up, down, _ = course
            sums = up.copy(), down.copy()
            stands = ends & (np.maximum(up, down) >= self._limit[number] / 2)
            close(self, number, step, course, now_s, ends)
            up[stands], down[stands] = 0.0, 0.0
            plants.act(stands.any())
            if stands.any():
                close(self, number, step, course, now_s, stands)
                up[stands], down[stands] = sums[0][stands], sums[1][stands]

        return learn_on

    plants.wrap(Changes, "_close", make)


def change_hears_noise(plants: Plants) -> None:
    """A change rule takes the scale of a quiet quantity for as small as it is."""
    plants.built(Changes, lambda new: plants.overwrite(new._least, 1e-9))


def flat_at_once(plants: Plants) -> None:
    """What has not changed for a while is stuck, whatever the point's habits are."""

    def hasten(new: Flats) -> None:
        plants.overwrite(new._factor, 0.0)
        plants.overwrite(new._for_s, 60.0)

    plants.built(Flats, hasten)


def flat_never_learns(plants: Plants) -> None:
    """The longest ordinary stretch of sameness is that since the point was registered."""
    plants.built(Flats, lambda new: plants.overwrite(new._learn_s, np.inf))


def trend_of_two_minutes(plants: Plants) -> None:
    """The line is the one through the last two minutes, whatever the window says."""

    def make(fit: Any) -> Any:
        def last_two(cells: Any) -> Line:
            line: Line = fit(cells)
            step = (cells[:, -1] - cells[:, -2]).astype(np.float64)
            slope = np.where(np.isnan(step), line.slope, step)
            plants.act((abs(slope) > 2 * abs(line.slope)).any())
            return line._replace(slope=slope, scatter=np.zeros(len(cells)))

        return last_two

    plants.wrap(trend, "fit", make)


def trend_backwards(plants: Plants) -> None:
    """What rises is forecast to fall."""
    plants.built(Trends, lambda new: plants.overwrite(new._sign, -new._sign))


def noise_never_learned(plants: Plants) -> None:
    """A noise rule waits for its first day for ever."""
    plants.built(Noises, lambda new: plants.overwrite(new._learn, 2**40))


def one_device_twice(plants: Plants) -> None:
    """Two points of one device count as two devices."""

    def make(device: Any) -> Any:
        def by_point(point: Point) -> tuple[bool, str]:
            plants.act(bool(point.device))
            return True, point.id

        return by_point

    plants.wrap(zones, "_device", make)


def two_devices_once(plants: Plants) -> None:
    """All devices of a zone count as one."""

    def make(device: Any) -> Any:
        def by_zone(point: Point) -> tuple[bool, str]:
            plants.act(bool(point.device))
            return True, point.zone

        return by_zone

    plants.wrap(zones, "_device", make)


def window_ignored(plants: Plants) -> None:
    """A signal counts for ever."""

    def make(reach_us: Any) -> Any:
        def endless(self: zones.Signal, window_us: int) -> float:
            plants.act(reach_us(self, window_us) < np.inf)
            return np.inf

        return endless

    plants.wrap(zones.Signal, "reach_us", make)


MUTANTS: dict[str, Mutant] = {
    mutant.plant.__name__: mutant
    for mutant in (
        Mutant("chatty-sensor", "fire at smoke-a", hysteresis_dropped),
        Mutant("main-leaks-empty", "water-pressure-low", on_delay_ignored),
        Mutant("loose-contact", "1 times", off_delay_ignored),
        Mutant("main-leaks-empty", "water-pressure-low", side_mixed_up),
        Mutant("late-spike", "residual-current", late_dropped),
        Mutant("disorder", "heat-fire", late_enters_the_series),
        Mutant("clock-jumps", "heat-fire", clock_step_unseen),
        Mutant("link-cut", "smoke-prealarm", receipt_for_event_time),
        Mutant("clock-jumps", "never fault", silence_by_event_time),
        Mutant("sensor-silent", "no-data", nothing_is_silent),
        Mutant("link-cut", "never fault at room-302", lost_gateway_not_folded),
        Mutant("heat-ramp", "heat-rise-fire", rise_upside_down),
        Mutant("fire-far-away", "never fire at heat-hall", surroundings_never_learned),
        Mutant("residual-current-step", "residual-current-change", baseline_learns_the_alarm),
        Mutant("natural-leakage", "fault", change_hears_noise),
        Mutant("after-a-day", "temperature-flat", flat_at_once),
        Mutant("after-a-day", "temperature-flat", flat_never_learns),
        Mutant("after-a-day", "temperature-scatters", noise_never_learned),
        Mutant("main-leaks-empty", "water-pressure-falling", trend_backwards),
        Mutant("quiet-day", "supervisory", trend_of_two_minutes),
        Mutant("two-agree", "zone-fire", two_devices_once),
        Mutant("two-chambers", "zone-prealarms", one_device_twice),
        Mutant("two-chambers", "zone-prealarms", window_ignored),
    )
}

"""A scenario, or a capture, played live: a driver in a gateway that feeds a running core, and its rows.

The gateway is a real one with its own spool and connection, so nothing between it and detection can be made
to fail here: link faults are for virtual time. Every reading is marked as simulated, so its alarms are
tests.
"""

from __future__ import annotations

import asyncio
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence

import msgspec

from fengsui.model import Description, Event, Point, Quality, Reading
from fengsui.runtime import Stop
from gateway.app import Gateway
from gateway.config import Settings
from gateway.drivers.base import MAX_BATCH, Pace, Sink
from ingest.inventory import Row, Sort
from simulators.course import unfold
from simulators.scenario import Script
from simulators.timeline import Happening

UNIT = "scenarios"
_LOOK_EVERY_S = 0.2
_MOST_LETTERS = 64


class TimelineDriver(ABC):
    """Plays what happened once; ``run`` returns at its end.

    Event time is the timeline's own, moved so that its end lies at the time at which it is played (as a
    replayed recording's does), however fast that is.

    Args:
        points: By index.
        length_s: How long it takes at speed 1.
        speed: Times as fast as that.
        pace: Real time.
    """

    name = "timeline"

    def __init__(self, points: Sequence[Point], length_s: float, speed: float, pace: Pace) -> None:
        self._points = points
        self._length_s = length_s
        self._speed = speed
        self._pace = pace
        self.begin_us = 0
        """Stamp of the timeline's beginning; 0 before it is played."""
        self.produced = 0
        """Readings that the gateway has accepted."""
        self.reached = 0.0
        """Share of the timeline that was played."""
        self.ended = asyncio.Event()

    @abstractmethod
    def items(self, begin_us: int) -> Iterable[tuple[float, Reading | Event]]:
        """Everything in the order in which it is sent, with the second when it is.

        Args:
            begin_us: Stamp of the timeline's beginning, us since 1970 UTC.
        """

    def describe(self) -> Sequence[Description]:
        """The points."""
        return [
            Description(
                name=p.name,
                quantity=p.quantity,
                unit=p.uom,
                range=None if p.low is None or p.high is None else (p.low, p.high),
                text=p.place,
            )
            for p in self._points
        ]

    async def run(self, sink: Sink) -> None:
        """Play from the beginning to the end."""
        ahead_s = self._length_s * max(0.0, 1 - 1 / self._speed)
        begin_us = self.begin_us = self._pace.now_us() - round(ahead_s * 1e6)
        pace = self._pace.scaled(self._speed, begin_us)
        batch: list[Reading | Event] = []
        for due_s, item in self.items(begin_us):
            due_us = begin_us + round(due_s * 1e6)
            if due_us > pace.now_us() or len(batch) >= MAX_BATCH:
                await self._offer(sink, batch)
                self.reached = due_s / self._length_s if self._length_s else 1.0
                await pace.wait_until(due_us)
            batch.append(item)
        await self._offer(sink, batch)
        self.reached = 1.0
        self.ended.set()

    async def _offer(self, sink: Sink, batch: list[Reading | Event]) -> None:
        if batch:
            await sink.accept(list(batch))
            self.produced += sum(isinstance(item, Reading) for item in batch)
            batch.clear()


class ScenarioDriver(TimelineDriver):
    """Plays the course of a scenario."""

    name = "scenario"

    def __init__(self, script: Script, seed: int, speed: float, pace: Pace) -> None:
        super().__init__(script.site.points, float(script.scenario.length), speed, pace)
        self._course = unfold(script, seed)

    def items(self, begin_us: int) -> list[tuple[float, Reading | Event]]:
        """Everything in the order in which it is sent."""
        course = self._course
        columns = (course.point, course.sent_s, course.stamp_s, course.value)
        items: list[tuple[float, Reading | Event]] = []
        for index, sent_s, stamp_s, value in zip(*(column.tolist() for column in columns), strict=True):
            at_us = begin_us + round(stamp_s * 1e6)
            items.append((sent_s, Reading(self._points[index].name, at_us, value, Quality.SIMULATED)))
        for at_s, event in course.events:
            items.append((at_s, msgspec.structs.replace(event, at=begin_us + event.at)))
        return sorted(items, key=lambda item: item[0])


async def play(
    driver: TimelineDriver, settings: Settings, stop: Stop, progress: Callable[[TimelineDriver], None]
) -> None:
    """Play until the end and until the server has confirmed everything, or until ``stop``.

    Args:
        driver: What to play.
        settings: The gateway's; the drivers in it stay out.
        stop: Ends it early; what is not confirmed then stays in the spool.
        progress: Told a few times a second.
    """
    gateway = Gateway(settings, drivers=[driver])
    done = Stop()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(gateway.run(done), name="simulate.gateway")
        while not stop.is_set() and not (driver.ended.is_set() and gateway.is_drained()):
            progress(driver)
            await asyncio.sleep(_LOOK_EVERY_S)
        progress(driver)
        done.set()


def unplayed(script: Script, *kinds: type[Happening]) -> str:
    """What of the timeline is of these kinds, which this way of playing cannot do; in words."""
    return ", ".join(each.word for each in script.scenario.timeline if isinstance(each, kinds))


def registered(script: Script, gateway: str) -> list[Row]:
    """Rows that register a scenario's points as sent by ``gateway``; a point's id is ``<gateway>.<name>``."""
    return rows_of(script.site.points, gateway, {"id": UNIT, "name": "模拟场景 Scenarios"})


def rows_of(points: Sequence[Point], gateway: str, unit: dict[str, str]) -> list[Row]:
    """Rows that register points, and the places they name, as sent by ``gateway`` and as of one unit."""
    homes = {p.zone: p.building for p in points if p.zone}
    buildings = sorted({p.building for p in points if p.building})
    devices = {p.device: p for p in points if p.device}
    fields: list[tuple[Sort, dict[str, str]]] = [(Sort.UNIT, unit)]
    fields += [(Sort.BUILDING, {"id": b, "name": b, "unit": unit["id"]}) for b in buildings]
    fields += [(Sort.ZONE, {"id": z, "name": z, "building": b}) for z, b in homes.items()]
    for id_, p in devices.items():
        device = {"id": id_, "name": id_, "model": "simulated", "type": p.device_type, "zone": p.zone}
        fields.append((Sort.DEVICE, device if p.zone else device | {"building": p.building}))
    for p in points:
        row = {
            "id": shortened(f"{gateway}.{p.name}"),
            "gateway": gateway,
            "name": p.name,
            "quantity": p.quantity,
            "uom": p.uom,
        }
        row |= {"device": p.device, "zone": p.zone, "place": p.place}
        row |= {} if p.zone or p.device else {"building": p.building}
        row |= {} if p.zone or p.device or p.building else {"unit": unit["id"]}
        row |= {name: str(value) for name, value in (("low", p.low), ("high", p.high)) if value is not None}
        fields.append((Sort.POINT, row))
    return [
        Row(line, sort, {key: text for key, text in row.items() if text})
        for line, (sort, row) in enumerate(fields, 1)
    ]


def shortened(name: str) -> str:
    """A name that may be too long to be one, cut and told from others by its checksum."""
    if len(name) <= _MOST_LETTERS:
        return name
    return f"{name[: _MOST_LETTERS - 9]}-{zlib.crc32(name.encode()):08x}"

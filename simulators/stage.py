"""A scenario played live: a driver in a gateway that feeds a running core, and the registry rows it needs.

The gateway is a real one with its own spool and connection, so nothing between it and detection can be made
to fail here: link faults are for virtual time. Every reading is marked as simulated, so its alarms are
tests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from fengsui.model import Description, Event, Quality, Reading
from fengsui.runtime import Stop
from gateway.app import Gateway
from gateway.config import Settings
from gateway.drivers.base import MAX_BATCH, Pace, Sink
from ingest.inventory import Row, Sort
from simulators.course import unfold
from simulators.scenario import Script
from simulators.timeline import LinkFault

UNIT = "scenarios"
_LOOK_EVERY_S = 0.2


class ScenarioDriver:
    """Plays the course of a scenario once; ``run`` returns at its end.

    Event time is the scenario's own, moved so that its end lies at the time at which it is played (as a
    replayed recording's does), however fast that is.
    """

    name = "scenario"

    def __init__(self, script: Script, seed: int, speed: float, pace: Pace) -> None:
        self._points = script.site.points
        self._course = unfold(script, seed)
        self._length_s = float(script.scenario.length)
        self._speed = speed
        self._pace = pace
        self.produced = 0
        """Readings that the gateway has accepted."""
        self.reached = 0.0
        """Share of the scenario that was played."""
        self.ended = asyncio.Event()

    def describe(self) -> Sequence[Description]:
        """The points of the scenario."""
        return [
            Description(
                name=p.name,
                quantity=p.quantity,
                unit=p.uom,
                range=(p.low or 0.0, p.high or 0.0),
                text=p.place,
            )
            for p in self._points
        ]

    async def run(self, sink: Sink) -> None:
        """Play from the beginning to the end."""
        ahead_s = self._length_s * max(0.0, 1 - 1 / self._speed)
        begin_us = self._pace.now_us() - round(ahead_s * 1e6)
        pace = self._pace.scaled(self._speed, begin_us)
        batch: list[Reading | Event] = []
        for due_s, item in self._items(begin_us):
            due_us = begin_us + round(due_s * 1e6)
            if due_us > pace.now_us() or len(batch) >= MAX_BATCH:
                await self._offer(sink, batch)
                self.reached = due_s / self._length_s
                await pace.wait_until(due_us)
            batch.append(item)
        await self._offer(sink, batch)
        self.reached = 1.0
        self.ended.set()

    def _items(self, begin_us: int) -> list[tuple[float, Reading | Event]]:
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

    async def _offer(self, sink: Sink, batch: list[Reading | Event]) -> None:
        if batch:
            await sink.accept(list(batch))
            self.produced += sum(isinstance(item, Reading) for item in batch)
            batch.clear()


async def play(
    driver: ScenarioDriver, settings: Settings, stop: Stop, progress: Callable[[ScenarioDriver], None]
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


def unplayed(script: Script) -> list[str]:
    """What of the timeline only virtual time can do."""
    return [each.word for each in script.scenario.timeline if isinstance(each, LinkFault)]


def registered(script: Script, gateway: str) -> list[Row]:
    """Rows that register a scenario's points as sent by ``gateway``; a point's id is ``<gateway>.<name>``."""
    points = script.site.points
    homes, zones = {p.zone: p.building for p in points}, {p.device: p.zone for p in points}
    fields = [(Sort.UNIT, {"id": UNIT, "name": "模拟场景 Scenarios"})]
    fields += [(Sort.BUILDING, {"id": b, "name": b, "unit": UNIT}) for b in sorted(set(homes.values()))]
    fields += [(Sort.ZONE, {"id": z, "name": z, "building": b}) for z, b in homes.items()]
    fields += [
        (Sort.DEVICE, {"id": device, "name": device, "model": "simulated", "zone": zone})
        for device, zone in zones.items()
    ]
    for p in points:
        row = {
            "id": f"{gateway}.{p.name}",
            "gateway": gateway,
            "name": p.name,
            "quantity": p.quantity,
            "uom": p.uom,
        }
        row |= {"device": p.device, "zone": p.zone, "place": p.place, "low": str(p.low), "high": str(p.high)}
        fields.append((Sort.POINT, row))
    return [Row(line, sort, row) for line, (sort, row) in enumerate(fields, 1)]

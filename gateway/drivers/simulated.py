"""A simulated district: ordinary days in 72 rooms, and fires that can be started while it runs.

All points are read together every period, and every reading is marked as simulated, so that an alarm made of
it is a test everywhere. Commands: ``start_fire`` (``room`` or ``building``, else any room), ``put_out``,
``press_call_point`` (the same, first where it burns).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from math import pi, sin
from random import Random

from fengsui.model import Description, Event, Quality, Reading, What
from gateway.drivers.base import CommandRefused, Pace, Sink
from gateway.drivers.building import Fire, Fires
from gateway.drivers.config import Simulated
from gateway.drivers.district import BUILDINGS, Room, Signal, call_point, rooms, signals

DAY_US = 86_400_000_000
NOON_US = 4 * 3_600_000_000
"""Noon in China (UTC+8), from midnight UTC."""
MAX_PRESSED = 16
"""Call points pressed and not yet in the spool; more are refused."""
CODE = "simulated"
"""``code`` of every event from here: an event has no quality, this marks it."""


class SimulatedDriver:
    """Gives 200 readings each period; the same seed, stamps and commands give the same readings."""

    def __init__(self, config: Simulated, pace: Pace) -> None:
        self.name = config.name
        self._period_us = round(config.period_s * 1e6)
        self._pace = pace
        self._random = Random(config.seed)
        self._fires = Fires(rooms())
        self._offset = {signal.name: self._random.gauss() for signal in signals()}
        """How far each point stands off its kind, in standard deviations."""
        self._pressed: asyncio.Queue[Event] = asyncio.Queue(MAX_PRESSED)
        self._last_us: int | None = None

    def describe(self) -> Sequence[Description]:
        """The points of the district."""
        return [
            Description(name=s.name, quantity=s.quantity, unit=s.uom, range=(s.low, s.high), text=s.place)
            for s in signals()
        ]

    async def run(self, sink: Sink) -> None:
        """Sweep every period, and pass on a pressed call point at once."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._sweeps(sink), name=f"driver.{self.name}.sweeps")
            tasks.create_task(self._presses(sink), name=f"driver.{self.name}.presses")

    def command(self, what: str, args: Mapping[str, str]) -> str:
        """Start a fire, put all out, or press a call point; the answer names the place.

        Raises:
            CommandRefused: an unknown command, room or building.
        """
        match what:
            case "start_fire":
                room = self._choose(args, burning=False)
                self._fires.ignite(room.id, Fire())
                return f"fire in {room.id}, {room.place}"
            case "put_out":
                burning = self._fires.burning
                self._fires.put_out()
                return f"put out: {', '.join(burning) or 'nothing burns'}"
            case "press_call_point":
                return self._press(self._choose(args, burning=True))
            case _:
                raise CommandRefused(
                    f"{self.name}: no command {what!r}; start_fire, put_out or press_call_point"
                )

    def sweep(self, at_us: int) -> list[Reading]:
        """Every point at ``at_us``, after the fires have burned since the last sweep."""
        if self._last_us is not None:
            self._fires.step(max(0, at_us - self._last_us) / 1e6)
        self._last_us = at_us
        day = sin(2 * pi * (((at_us - NOON_US) % DAY_US) / DAY_US + 0.125))
        return [Reading(s.name, at_us, self._measure(s, day), Quality.SIMULATED) for s in signals()]

    async def _sweeps(self, sink: Sink) -> None:
        due_us = self._pace.now_us()
        while True:
            await sink.accept(self.sweep(self._pace.now_us()))
            # A sweep missed while the spool was full was never measured: it is not made up for.
            due_us = max(due_us + self._period_us, self._pace.now_us())
            await self._pace.wait_until(due_us)

    async def _presses(self, sink: Sink) -> None:
        while True:
            await sink.accept([await self._pressed.get()])

    def _measure(self, signal: Signal, day: float) -> float:
        """An ordinary value and what a fire adds, within the instrument's range; ``day`` is -1 ... 1."""
        noise, offset = self._random.gauss(), self._offset[signal.name]
        air = self._fires.air(signal.room)
        match signal.quantity:
            case "temperature":
                value = 22.0 + 1.5 * day + 0.8 * offset + 0.05 * noise + air.element_k
            case "smoke":
                value = 0.15 + 0.03 * offset + 0.02 * noise + air.chamber_pct_m
            case "co":
                value = 2.0 + 0.8 * day + 0.3 * offset + 0.2 * noise + air.co_ppm
            case "water_pressure":
                value = 450.0 + 15.0 * offset + 1.5 * noise
            case "residual_current":
                value = 60.0 + 15.0 * day + 8.0 * offset + 1.0 * noise
            case _:
                value = 1.0 if signal.name.endswith(":mains") else 0.0
        return round(min(signal.high, max(signal.low, value)), 3)

    def _choose(self, args: Mapping[str, str], *, burning: bool) -> Room:
        if unknown := set(args) - {"room", "building"}:
            raise CommandRefused(f"{self.name}: no argument {', '.join(sorted(unknown))}; room or building")
        if "room" in args:
            if args["room"] not in rooms():
                raise CommandRefused(f"{self.name}: no room {args['room']!r}; rooms are named like b1-3-02")
            return rooms()[args["room"]]
        building = args.get("building", "")
        within = [room for room in rooms().values() if building in ("", room.building)]
        if not within:
            known = ", ".join(b.id for b in BUILDINGS)
            raise CommandRefused(f"{self.name}: no building {building!r}; there are {known}")
        wanted = [room for room in within if (room.id in self._fires.burning) == burning]
        return self._random.choice(wanted or within)

    def _press(self, room: Room) -> str:
        event = Event(
            point=call_point(room),
            at=self._pace.now_us(),
            what=What.FIRE,
            code=CODE,
            text=f"call point pressed, {room.place}",
        )
        try:
            self._pressed.put_nowait(event)
        except asyncio.QueueFull:
            raise CommandRefused(f"{self.name}: {MAX_PRESSED} call points wait for the spool") from None
        return f"call point {event.point} pressed"

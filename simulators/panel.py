"""A simulated fire alarm panel behind a transmitter that speaks GB/T 26875.3-2011 to a centre, by TCP or UDP.

Four components (a smoke detector, a heat detector, a call point, the hydrant pump with its pressure), each
with a state; the transmitter has a clock that the centre may set, and answers a post check after a while.
Questions are answered from the same state that is reported.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from fengsui.runtime import Stop
from gateway.codecs.gbt26875.centre import POST_CHECK, SET_CLOCK
from gateway.codecs.gbt26875.exchange import Retry
from gateway.codecs.gbt26875.unit import Fields, InfoObject, Unit, decode_unit, encode_unit, make
from gateway.drivers.base import Pace
from gateway.drivers.config import Forward
from gateway.drivers.reporter import Report, Reporter

ADDRESS = 889
NORMAL, FIRE, FAULT = 0x0001, 0x0002, 0x0004
POST_CHECK_AFTER_S = 3.0
VALUES_EVERY_S = 10.0
_SYSTEM, _ADDRESS = 1, 1
_PRESSURE = 5

COMPONENTS: dict[str, tuple[int, int, str]] = {
    "smoke": (42, 10 | 2 << 16, "三层走廊感烟"),
    "heat": (31, 10 | 3 << 16, "三层厨房感温"),
    "call-point": (23, 10 | 4 << 16, "三层手动报警按钮"),
    "pump": (91, 1 | 1 << 16, "消防水泵"),
}
"""By name: type, address (zone in the low half, number in the high one), text."""


class Panel:
    """The panel and its transmitter.

    Args:
        centre: Where it reports to, and as whom.
        pace: Time.
        retry: When to send again.
    """

    def __init__(self, centre: Forward, pace: Pace, retry: Retry | None = None) -> None:
        self.clock_off = timedelta(0)
        """How far its clock is from ours."""
        self.line = Reporter(centre, pace, self._answer, self._obey, retry)
        self.states = dict.fromkeys(COMPONENTS, NORMAL)
        self.pressure_kpa = 350.0
        self.controls: list[int] = []
        """Type flags of the control commands it was given."""
        self._pace = pace
        self._post_check = asyncio.Event()

    def set_state(self, component: str, state: int) -> None:
        """A component changes: reported at once."""
        self.states[component] = state
        self.report(2, self._component(component))

    def report(self, type_: int, *objects: Fields) -> None:
        """Report objects of one type."""
        data = encode_unit(type_, [make(type_, fields) for fields in objects])
        self.line.put(Report.of(data, decode_unit(data)))

    def report_values(self) -> None:
        """Report the analog values."""
        self.report(3, self._value())

    async def run(self) -> None:
        """Report until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.line.run(), name="panel.line")
            tasks.create_task(self._values(), name="panel.values")
            while True:
                await self._post_check.wait()
                self._post_check.clear()
                await self._pace.sleep(POST_CHECK_AFTER_S)
                self.report(24, {"operation": 0x20, "operator": 1, "time": self._now()})

    async def _values(self) -> None:
        while True:
            self.report_values()
            await self._pace.sleep(VALUES_EVERY_S)

    def _obey(self, unit: Unit) -> None:
        self.controls.append(unit.type or 0)
        if unit.type == SET_CLOCK and unit.objects and unit.objects[0].time is not None:
            self.clock_off = unit.objects[0].time - self._true_now()
        elif unit.type == POST_CHECK:
            self._post_check.set()

    def _answer(self, type_: int, item: InfoObject | None) -> tuple[int, Sequence[InfoObject]] | None:
        at = self._now()
        where = {"system_type": _SYSTEM, "system_address": _ADDRESS}
        by_address = {address: name for name, (_, address, _) in COMPONENTS.items()}
        named = by_address.get(item.component_address or 0) if item is not None else None
        worst = FIRE if FIRE in self.states.values() else max(self.states.values())
        match type_, named:
            case 61, _:
                return 1, [make(1, {**where, "state": worst, "time": at})]
            case 62, str():
                return 2, [make(2, self._component(named))]
            case 63, "pump":
                return 3, [make(3, self._value())]
            case 64 | 84, _:
                return None
            case 65, _:
                return 5, [make(5, {**where, "version": (1, 2)})]
            case 66, _:
                return 6, [make(6, {**where, "text": "模拟火灾报警控制器"})]
            case 67, str():
                state = self._component(named)
                return 7, [make(7, {key: state[key] for key in state if key not in ("state", "time")})]
            case 68, _:
                return 8, [make(8, {**where, "time": at})]
            case 81, _:
                return 21, [make(21, {"state": worst, "time": at})]
            case 85, _:
                return 25, [make(25, {"version": (1, 0)})]
            case 86, _:
                return 26, [make(26, {"text": "模拟用户信息传输装置"})]
            case 88, _:
                return 28, [make(28, {"time": at})]
            case _:
                return None

    def _component(self, name: str) -> Fields:
        kind, address, text = COMPONENTS[name]
        return {
            "system_type": _SYSTEM,
            "system_address": _ADDRESS,
            "component_type": kind,
            "component_address": address,
            "state": self.states[name],
            "text": text,
            "time": self._now(),
        }

    def _value(self) -> Fields:
        kind, address, _ = COMPONENTS["pump"]
        return {
            "system_type": _SYSTEM,
            "system_address": _ADDRESS,
            "component_type": kind,
            "component_address": address,
            "analog_type": _PRESSURE,
            "value": self.pressure_kpa,
            "time": self._now(),
        }

    def _true_now(self) -> datetime:
        return datetime.fromtimestamp(self._pace.now_us() / 1e6, UTC)

    def _now(self) -> datetime:
        return self._true_now() + self.clock_off


async def play(panel: Panel, stop: Stop, fire_after_s: float | None) -> None:
    """Run a panel until stopped; its smoke detector reports fire after a while, if asked for."""
    async with asyncio.TaskGroup() as tasks:
        work = [tasks.create_task(panel.run(), name="panel")]
        if fire_after_s is not None:
            work.append(tasks.create_task(_burn(panel, fire_after_s), name="panel.fire"))
        await stop.wait()
        for task in work:
            task.cancel()


async def _burn(panel: Panel, after_s: float) -> None:
    await asyncio.sleep(after_s)
    panel.set_state("smoke", FIRE)

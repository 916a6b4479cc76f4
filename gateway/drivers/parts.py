"""What a transmitter's information objects mean here: readings and events of points. Pure.

A part is named by where it is: ``transmitter``, a system ``1.1`` (type, address), a component ``1.1:10-2``,
one of its analog values ``1.1:10-2:3`` (kind). A point is ``<device>:<part>`` unless the configuration names
it. Time is an argument.

**Bits, as met in the field.** A set fire bit is a fire, whatever bit 0 says, and is told every time: many
devices never report that it ended, and the next fire must not be taken for the last. Other bits are told
when they come, and again after ``repeat_s``. *Restored* is told when no fire, fault or supervisory bit is
left; one of several that goes is told as information, so that nothing ends too early.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import isfinite, nan
from zlib import crc32

from fengsui.model import Description, Event, Quality, Reading, What
from gateway.codecs.gbt26875 import codes
from gateway.codecs.gbt26875.layouts import LAYOUTS
from gateway.codecs.gbt26875.profile import Profile
from gateway.codecs.gbt26875.unit import InfoObject, Unit
from gateway.drivers.config import TransmitterPart

MAX_PARTS = 5_000
"""Parts whose state is remembered; of more, the one heard longest ago is forgotten and told anew."""
OLDEST = timedelta(days=7)
"""A label older than this is not believed."""

_FAULTS = (
    "fault",
    "mains_fault",
    "backup_fault",
    "bus_fault",
    "power_fault",
    "channel_fault",
    "panel_link_fault",
)
_RAISE: dict[str, What] = {
    "fire": What.FIRE,
    "supervisory": What.SUPERVISORY,
    "disabled": What.DISABLED,
    "reset": What.RESET,
    **dict.fromkeys(_FAULTS, What.FAULT),
}
"""What a bit that comes raises; every other one is information."""
_DONE: dict[str, What] = {
    "reset": What.RESET,
    "silence": What.SILENCE,
    "manual_alarm": What.FIRE,
    "alarm_cleared": What.RESTORED,
    "self_test": What.TEST,
    "test": What.TEST,
}
"""What an operation is told as; every other one is information."""
_ORDER = (What.FIRE, What.FAULT, What.SUPERVISORY, What.DISABLED, What.RESET)
_ALARMS = frozenset({What.FIRE, What.FAULT, What.SUPERVISORY})
_TRANSMITTER = "transmitter"
_WAY = {"whole": "{0}", "first-second": "{1}-{2}", "second-first": "{2}-{1}"}


@dataclass(slots=True)
class _State:
    bits: frozenset[str]
    told_s: float


class Parts:
    """The parts of one transmitter.

    Args:
        device: Its name.
        profile: How it speaks.
        parts: What the configuration says of them.
        repeat_s: When a state that stays is told again.
    """

    def __init__(
        self, device: str, profile: Profile, parts: Mapping[str, TransmitterPart], repeat_s: float
    ) -> None:
        self.device = device
        self._profile = profile
        self._parts = parts
        self._repeat_s = repeat_s
        self._states: OrderedDict[str, _State] = OrderedDict()

    def describe(self) -> Iterator[Description]:
        """The parts that the configuration names."""
        for key, part in self._parts.items():
            kind = key.split(":")[-1]
            analog = codes.ANALOGS.get(int(kind)) if key.count(":") == 2 and kind.isdecimal() else None
            given = None if part.low is None or part.high is None else (part.low, part.high)
            yield Description(
                name=self._point(key),
                quantity=part.quantity or (analog.quantity if analog else "state"),
                unit=part.uom or (analog.uom if analog else ""),
                range=given or ((analog.low, analog.high) if analog and part.uom is None else None),
                text=part.text,
            )

    def take(
        self, unit: Unit, *, raw: bytes, now_s: float, at: datetime, trusted: bool
    ) -> list[Reading | Event]:
        """What a unit says.

        Args:
            unit: As decoded.
            raw: The frame's bytes, the evidence.
            now_s: Now, on a clock that never steps back.
            at: Now, by the gateway's clock; stamps what has no label to believe.
            trusted: Whether the device's clock is right.
        """
        if not unit.is_known:
            return list(self._unknown(unit, raw, now_s, at))
        return [
            item
            for told in unit.objects
            for item in self._object(unit, told, raw, now_s, at, trusted=trusted)
        ]

    def _object(
        self, unit: Unit, item: InfoObject, raw: bytes, now_s: float, at: datetime, *, trusted: bool
    ) -> Iterator[Reading | Event]:
        key = self._key(item)
        measured = _when(item, at, trusted=trusted)
        if item.value is not None:
            yield self._reading(f"{key}:{item.analog_type}", item, measured)
        elif item.state is not None:
            yield from self._state(key, unit.flags(item), unit, item, raw, now_s, measured)
        elif item.operation is not None:
            for name in unit.operations(item):
                text = f"{name}, operator {item.operator}"
                yield self._event(key, _DONE.get(name, What.INFO), measured, text, unit, raw)
        else:
            yield self._event(key, What.INFO, at, _told(unit, item), unit, raw)

    def _state(
        self,
        key: str,
        flags: list[str],
        unit: Unit,
        item: InfoObject,
        raw: bytes,
        now_s: float,
        at: datetime,
    ) -> Iterator[Event]:
        before, bits = self._states.get(key), frozenset(flags)
        due = before is None or now_s - before.told_s >= self._repeat_s
        came = bits if before is None or due else bits - before.bits
        came |= bits & {"fire"}
        gone = before.bits - bits if before is not None else frozenset[str]()
        self._remember(key, _State(bits, now_s if due or before is None else before.told_s))
        about = _about(item)
        for what in _ORDER:
            named = [flag for flag in flags if flag in came and _RAISE.get(flag) is what]
            if named:
                yield self._event(key, what, at, f"{', '.join(named)}{about}", unit, raw)
        if "disabled" in gone:
            yield self._event(key, What.ENABLED, at, f"enabled{about}", unit, raw)
        held = {_RAISE.get(bit) for bit in bits} & _ALARMS
        ended = {_RAISE.get(bit) for bit in gone} & _ALARMS
        if not held and (ended or before is None):
            yield self._event(key, What.RESTORED, at, f"restored{about}", unit, raw)
        others = [f"{bit} ended" for bit in sorted(gone) if held and _RAISE.get(bit) in _ALARMS]
        others += [bit for bit in flags if bit in came and bit not in _RAISE and bit != "normal"]
        others += [f"not {bit}" for bit in sorted(gone) if bit not in _RAISE and bit != "normal"]
        if others:
            yield self._event(key, What.INFO, at, f"{', '.join(others)}{about}", unit, raw)

    def _unknown(self, unit: Unit, raw: bytes, now_s: float, at: datetime) -> Iterator[Event]:
        """A unit of no known layout: of a known type it may be a fire nobody can read, so it is a fault."""
        memory = f"unit {unit.type} {crc32(unit.objects[0].raw):08x}"
        before = self._states.get(memory)
        if before is not None and now_s - before.told_s < self._repeat_s:
            return
        self._remember(memory, _State(frozenset(), now_s))
        is_odd = unit.type in LAYOUTS
        what = What.FAULT if is_odd else What.INFO
        text = f"type {unit.type} of a form nobody knows" if is_odd else f"unit of unknown type {unit.type}"
        yield self._event(f"{_TRANSMITTER}:unread", what, at, text, unit, raw)

    def _reading(self, key: str, item: InfoObject, at: datetime) -> Reading:
        part = self._parts.get(key) or TransmitterPart()
        value = (item.value if item.value is not None else nan) * part.scale + part.offset
        analog = codes.ANALOGS.get(item.analog_type or 0)
        bounds = (
            (analog.low, analog.high) if analog and part.uom is None and part.scale == 1 else (None, None)
        )
        low = bounds[0] if part.low is None else part.low
        high = bounds[1] if part.high is None else part.high
        if not isfinite(value):
            return Reading(self._point(key), _us(at), nan, Quality.BAD)
        within = (low is None or value >= low) and (high is None or value <= high)
        return Reading(self._point(key), _us(at), value, Quality.GOOD if within else Quality.OUT_OF_RANGE)

    def _event(self, key: str, what: What, at: datetime, text: str, unit: Unit, raw: bytes) -> Event:
        part = self._parts.get(key)
        place = f" ({part.text})" if part is not None and part.text else ""
        return Event(
            point=self._point(key),
            at=_us(at),
            what=what,
            text=f"{text}{place}",
            code=f"gbt26875:{unit.type}",
            raw=raw,
        )

    def _key(self, item: InfoObject) -> str:
        if item.system_type is None:
            return _TRANSMITTER
        system = f"{item.system_type}.{item.system_address}"
        if item.component_address is None:
            return system
        whole = item.component_address
        return f"{system}:{_WAY[self._profile.address].format(whole, whole & 0xFFFF, whole >> 16)}"

    def _point(self, key: str) -> str:
        part = self._parts.get(key)
        return part.name if part is not None and part.name else f"{self.device}:{key}"

    def _remember(self, key: str, state: _State) -> None:
        self._states[key] = state
        self._states.move_to_end(key)
        if len(self._states) > MAX_PARTS:
            self._states.popitem(last=False)


def _when(item: InfoObject, at: datetime, *, trusted: bool) -> datetime:
    """The object's own time if it can be believed, else now."""
    if not trusted or item.time is None or not at - OLDEST <= item.time <= at + timedelta(seconds=5):
        return at
    return item.time


def _about(item: InfoObject) -> str:
    """What a component is, its own text, and its own time, for a person."""
    kind = codes.COMPONENTS.get(item.component_type or 0) if item.component_type else None
    words = [kind.en if kind else "", item.text or ""]
    words += [f"device time {item.time:%Y-%m-%d %H:%M:%S}"] if item.time is not None else []
    told = ", ".join(word for word in words if word)
    return f": {told}" if told else ""


def _told(unit: Unit, item: InfoObject) -> str:
    """An answer that is neither a state, a value nor an operation: versions, texts, clocks."""
    name = LAYOUTS[unit.type].words.en if unit.type in LAYOUTS else f"type {unit.type}"
    told = [f"{item.version[0]}.{item.version[1]}"] if item.version is not None else []
    told += [item.text] if item.text else []
    told += [f"{item.time:%Y-%m-%d %H:%M:%S}"] if item.time is not None else []
    return f"{name}: {', '.join(told)}" if told else name


def _us(at: datetime) -> int:
    return round((at - _EPOCH) / timedelta(microseconds=1))


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

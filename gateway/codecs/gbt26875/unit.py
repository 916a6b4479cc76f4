"""Application data units of GB/T 26875.3-2011 (clause 7): information objects out of bytes, and into them.

::

    0   1  type flag, see ``layouts``
    1   1  count n
    2   .  n information objects

An object keeps its bytes, so that what came goes on unchanged. A unit that fits no known layout (an unknown
type flag, one byte alone, a count that does not match) is one object of nothing but its bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Any, NamedTuple, TypeAlias

import msgspec

from gateway.codecs.gbt26875 import codes, layouts
from gateway.codecs.gbt26875.frame import MAX_UNIT
from gateway.codecs.gbt26875.label import decode_label, encode_label
from gateway.codecs.gbt26875.layouts import LAYOUTS, SIZES
from gateway.codecs.gbt26875.profile import PROFILES, Profile

Value: TypeAlias = int | float | str | tuple[int, int] | datetime | None
Fields: TypeAlias = Mapping[str, Value]

STANDARD = PROFILES["standard"]
_HEAD = 2
_OPERATIONS = {4: codes.SYSTEM_OPERATION, 24: codes.TRANSMITTER_OPERATION}
_STATES = {1: codes.SYSTEM_STATE, 2: codes.COMPONENT_STATE, 21: codes.TRANSMITTER_STATE}


class InfoObject(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One information object (信息对象); a field that its type does not have is None."""

    raw: bytes
    system_type: int | None = None
    system_address: int | None = None
    component_type: int | None = None
    component_address: int | None = None
    state: int | None = None
    analog_type: int | None = None
    value: float | None = None
    """In ``uom``; of a kind of analog value that no table knows, the number as sent."""
    uom: str | None = None
    operation: int | None = None
    operator: int | None = None
    version: tuple[int, int] | None = None
    """Of software: major, minor."""
    text: str | None = None
    time: datetime | None = None
    """None also when the label is no date.

    When it happened; of *clock* and *set clock* the clock itself, of *read operations* from when on.
    """
    count: int | None = None
    timeout_min: int | None = None
    """How long a post check waits for its answer."""


class Unit(NamedTuple):
    """A unit's objects; ``type`` is None when it is empty."""

    type: int | None
    objects: tuple[InfoObject, ...]
    is_known: bool
    """False when its layout is not known: the only object then holds all of its bytes."""

    def flags(self, item: InfoObject) -> list[str]:
        """Names of the bits set in an object's state."""
        return codes.bits(item.state or 0, _STATES.get(self.type or 0, ()))

    def operations(self, item: InfoObject) -> list[str]:
        """Names of the bits set in an object's operation."""
        return codes.bits(item.operation or 0, _OPERATIONS.get(self.type or 0, ()))


def decode_unit(unit: bytes, profile: Profile = STANDARD) -> Unit:
    """The objects of a unit; whatever the bytes are, they are kept."""
    if not unit:
        return Unit(None, (), True)
    type_ = unit[0]
    parts = _split(unit, profile)
    if parts is None:
        return Unit(type_, (InfoObject(raw=unit),), False)
    return Unit(type_, tuple(_decode(raw, fields, profile) for raw, fields in parts), True)


def encode_unit(type_: int, objects: Sequence[InfoObject]) -> bytes:
    """The unit of objects that came in a unit of this type, or that ``make`` made.

    Raises:
        ValueError: More objects than a unit holds.
    """
    most = LAYOUTS[type_].most if type_ in LAYOUTS else 255
    unit = bytes((type_, min(len(objects), 255))) + b"".join(item.raw for item in objects)
    if len(objects) > most or len(unit) > MAX_UNIT:
        raise ValueError(
            f"{len(objects)} objects of type {type_} take {len(unit)} bytes; at most {most} fit a unit"
        )
    return unit


def make(type_: int, fields: Fields, profile: Profile = STANDARD) -> InfoObject:
    """An object from the values of its fields; one that is not given is 0, empty, or no date.

    Args:
        type_: Type flag.
        fields: By name as in ``InfoObject``; text is cut to what fits.
        profile: Of who will read it.

    Raises:
        ValueError: A type, field or value that the standard does not have.
    """
    if type_ not in LAYOUTS:
        raise ValueError(f"no layout for type flag {type_}")
    layout = _body(type_, _shape(type_, LAYOUTS[type_].fields, profile), profile)
    names = {_NAMES.get(field, field) for field in LAYOUTS[type_].fields}
    if strange := set(fields) - names:
        raise ValueError(
            f"type {type_} has no {', '.join(sorted(strange))}; it has {', '.join(sorted(names))}"
        )
    raw = b"".join(_encode_field(field, fields, profile) for field in layout)
    return _decode(raw, layout, profile)


_NAMES = {
    "transmitter_state": "state",
    "long_text": "text",
    "reserved": "raw",
    "label": "raw",
    "unknown": "raw",
}
"""Names of fields in ``InfoObject`` where they differ."""


def _body(type_: int, layout: tuple[str, ...], profile: Profile) -> tuple[str, ...]:
    """The layout of what a maker wants other than the standard says."""
    wanted = {90: profile.clock_body, 91: profile.post_check_body}.get(type_, "")
    if wanted == "none":
        return ()
    return (*layout, "label") if wanted.endswith("-label") else layout


def _split(unit: bytes, profile: Profile) -> list[tuple[bytes, tuple[str, ...]]] | None:
    """Each object's bytes and fields; None = the unit fits no layout of its type."""
    if len(unit) < _HEAD or unit[0] not in LAYOUTS:
        return None
    type_, count, body = unit[0], unit[1], unit[_HEAD:]
    fields = LAYOUTS[type_].fields
    if "long_text" in fields:
        return _walk(body, count, fields)
    if count == 0:
        return None if body else []
    each, rest = divmod(len(body), count)
    if rest:
        return None
    for variant in layouts.variants(type_):
        if layouts.size(variant) == each:
            shape = _shape(type_, variant, profile)
            return [(body[at * each : (at + 1) * each], shape) for at in range(count)]
    return None


def _walk(body: bytes, count: int, fields: tuple[str, ...]) -> list[tuple[bytes, tuple[str, ...]]] | None:
    """Objects that each say how long their text is."""
    before = layouts.size(fields[:-1])
    found: list[tuple[bytes, tuple[str, ...]]] = []
    at = 0
    for _ in range(count):
        if at + before >= len(body):
            return None
        end = at + before + 1 + body[at + before]
        found.append((body[at:end], fields))
        at = end
    return found if at == len(body) else None


def _shape(type_: int, fields: tuple[str, ...], profile: Profile) -> tuple[str, ...]:
    """The fields as this maker orders them."""
    if not LAYOUTS[type_].labelled or fields[-1] != "time":
        return fields
    last = "label" if type_ in profile.unlabelled else "time"
    return (last, *fields[:-1]) if profile.time_first else (*fields[:-1], last)


def _decode(raw: bytes, fields: tuple[str, ...], profile: Profile) -> InfoObject:
    values: dict[str, Any] = dict(_values(raw, fields, profile))
    if (analog := codes.ANALOGS.get(values.get("analog_type", 0))) is not None:
        values |= {"value": values["value"] / analog.per, "uom": analog.uom}
    return InfoObject(raw=raw, **values)


def _values(raw: bytes, fields: tuple[str, ...], profile: Profile) -> Iterator[tuple[str, Value]]:
    at = 0
    for field in fields:
        size = SIZES.get(field, len(raw) - at)
        part = raw[at : at + size]
        at += size
        match field:
            case "text":
                yield field, _text(part)
            case "long_text":
                yield "text", _text(part[1:])
            case "time":
                yield field, decode_label(part, zone(profile))
            case "version":
                yield field, (part[0], part[1])
            case "value":
                yield field, float(int.from_bytes(part, profile.value_order, signed=True))
            case "state":
                yield field, int.from_bytes(part, profile.state_order)
            case "reserved" | "label" | "unknown":
                pass
            case _:
                yield _NAMES.get(field, field), int.from_bytes(part, "little")


def _encode_field(field: str, fields: Fields, profile: Profile) -> bytes:
    value = fields.get(_NAMES.get(field, field))
    match field, value:
        case "text", str() | None:
            text = _fit(value or "", SIZES[field])
            return text.ljust(SIZES[field], b"\0")
        case "long_text", str() | None:
            text = _fit(value or "", 255)
            return bytes((len(text),)) + text
        case "time", datetime():
            return encode_label(value, zone(profile))
        case "version", (int() as major, int() as minor):
            return bytes((major, minor))
        case "value", int() | float():
            analog = codes.ANALOGS.get(_whole(fields.get("analog_type")))
            number, order, signed = round(value * (analog.per if analog else 1)), profile.value_order, True
        case "state", int():
            number, order, signed = value, profile.state_order, False
        case _, None:
            return bytes(SIZES[field])
        case _, int():
            number, order, signed = value, "little", False
        case _:
            raise ValueError(f"{value!r} is no {field}")
    try:
        return number.to_bytes(SIZES[field], order, signed=signed)
    except OverflowError as error:
        raise ValueError(f"{field} {value} does not fit {SIZES[field]} bytes") from error


def _whole(value: Value) -> int:
    return value if isinstance(value, int) else 0


def _text(field: bytes) -> str:
    """GB 18030 up to the first NUL; some devices leave rubbish behind it. No character shows as U+FFFD."""
    return field.partition(b"\0")[0].decode("gb18030", "replace").strip(" ")


def _fit(text: str, most: int) -> bytes:
    """The longest beginning of a text that takes at most so many bytes."""
    encoded = text.partition("\0")[0].encode("gb18030", "replace")
    while len(encoded) > most:
        text = text[:-1]
        encoded = text.encode("gb18030", "replace")
    return encoded


def zone(profile: Profile) -> tzinfo:
    """The zone of a maker's time labels."""
    return timezone(timedelta(hours=profile.utc_offset_h))

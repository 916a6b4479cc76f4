from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fengsui.model import POINT_NAME, Event, Quality, Reading, What
from gateway.codecs.gbt26875.frame import decode
from gateway.codecs.gbt26875.label import CHINA
from gateway.codecs.gbt26875.profile import PROFILES
from gateway.codecs.gbt26875.unit import decode_unit, encode_unit, make
from gateway.drivers.config import TransmitterPart
from gateway.drivers.parts import MAX_PARTS, Parts
from tests.frames import GOOD, frame_bytes

AT = datetime(2012, 9, 26, 10, 0, 0, tzinfo=CHINA)
AT_US = round(AT.timestamp() * 1e6)
SMOKE = {"system_type": 1, "system_address": 1, "component_type": 40, "component_address": 10 | 2 << 16}


def parts(profile: str = "zone-number", named: dict[str, TransmitterPart] | None = None) -> Parts:
    """The parts of transmitter ``t``."""
    return Parts("t", PROFILES[profile], named or {}, 600.0)


def take(it: Parts, unit: bytes, now_s: float = 0.0, *, trusted: bool = True) -> list[Reading | Event]:
    """What a unit says, with itself as evidence."""
    return it.take(decode_unit(unit), raw=unit, now_s=now_s, at=AT, trusted=trusted)


def states(it: Parts, *changes: int, type_: int = 2, every_s: float = 1.0) -> list[list[What]]:
    """What successive states of a part are told as."""
    told = []
    for n, state in enumerate(changes):
        fields: dict[str, Any] = {"state": state}
        fields |= {} if type_ == 21 else {"system_type": 1, "system_address": 1}
        fields |= SMOKE if type_ == 2 else {}
        items = take(it, encode_unit(type_, [make(type_, fields)]), n * every_s)
        told.append([item.what for item in items if isinstance(item, Event)])
    return told


@pytest.mark.parametrize(
    ("name", "point", "what"),
    [
        ("A1", "t:1.1:10-2", What.FIRE),
        ("S1", "t:1.3:217-6", What.FIRE),
        ("D1", "t:1.1:1-1", What.FIRE),
        ("D2", "t:1.1:55-10", What.FAULT),
        ("D3", "t:1.1:55-10", What.RESTORED),
        ("A4", "t:transmitter", What.FAULT),
        ("D4", "t:transmitter", What.FAULT),
        ("D5", "t:transmitter", What.RESTORED),
        ("A5", "t:transmitter", What.INFO),
        ("B2", "t:transmitter", What.RESET),
        ("C1", "t:1.2", What.FAULT),
        ("A6", "t:transmitter", What.INFO),
    ],
)
def test_frames_of_the_field_are_events(name: str, point: str, what: What) -> None:
    """One event each, at the part it speaks of, with the frame as evidence."""
    data = frame_bytes(name)
    decoded = decode(data)
    assert decoded is not None
    (item,) = parts().take(decode_unit(decoded[0].unit), raw=data, now_s=0.0, at=AT, trusted=False)
    assert isinstance(item, Event)
    assert (item.point, item.what, item.raw, item.at) == (point, what, data, AT_US)


@pytest.mark.parametrize(("name", "value"), [("C2", -13.1), ("C3", 350.0), ("M1", 5.11)])
def test_values_of_the_field_are_readings(name: str, value: float) -> None:
    """In the unit of the standard's table, at a point that names the kind of value."""
    decoded = decode(frame_bytes(name))
    assert decoded is not None
    (item,) = take(parts(), decoded[0].unit)
    assert isinstance(item, Reading)
    assert (item.value, item.quality) == (value, Quality.GOOD)


def test_a_fire_is_a_fire_whatever_bit_0_says_and_every_time() -> None:
    """0x0002 and 0x0003 alike; told again without an end between, for many devices never tell of one."""
    assert states(parts(), 0x0002, 0x0003, 0x0002) == [[What.FIRE]] * 3


def test_other_states_are_told_when_they_come_and_again_after_a_while() -> None:
    """A fault that stays is told once, and again after repeat_s, as long as it is reported."""
    told = states(parts(), *[0x0004] * 5, every_s=300.0)
    assert told == [[What.FAULT], [], [What.FAULT], [], [What.FAULT]]


def test_restored_is_told_when_nothing_is_left() -> None:
    """Of fire and fault the fault goes: information only. Then the fire: restored. Disabled is its own."""
    assert states(parts(), 0x0006, 0x0002, 0x0000, 0x0000) == [
        [What.FIRE, What.FAULT],
        [What.FIRE, What.INFO],
        [What.RESTORED],
        [],
    ]
    assert states(parts(), 0x0009, 0x0001, 0x0008, 0x000C, 0x0008, 0x0000) == [
        [What.DISABLED, What.RESTORED],
        [What.ENABLED],
        [What.DISABLED],
        [What.FAULT],
        [What.RESTORED],
        [What.ENABLED],
    ]


def test_the_first_word_of_a_part_may_be_that_it_is_well() -> None:
    """After a restart here nobody knows what was active there, so a normal state is told."""
    assert states(parts(), 0x0001) == [[What.RESTORED]]


def test_supervisory_start_and_feedback() -> None:
    """Supervisory is an alarm of its class; what moves is information."""
    assert states(parts(), 0x0001, 0x0011, 0x0021, 0x0041, 0x0001)[1:] == [
        [What.SUPERVISORY],
        [What.RESTORED, What.INFO],
        [What.INFO],
        [What.INFO],
    ]


@pytest.mark.parametrize("bit", [2, 3, 4, 5, 6])
def test_every_fault_of_a_transmitter_is_a_fault(bit: int) -> None:
    """Itself, mains, battery, the way to the centre, its panel."""
    assert states(parts(), 1 << bit, 0, type_=21) == [[What.FAULT], [What.RESTORED]]


def test_faults_and_reset_of_a_system() -> None:
    """Mains, battery and bus are faults; a panel that was reset ends what its point holds."""
    assert states(parts(), 0x0100, 0x0300, 0x0001, 0x2001, type_=1) == [
        [What.FAULT],
        [What.FAULT],
        [What.RESTORED],
        [What.RESET],
    ]


def test_operations_are_told_one_by_one() -> None:
    """Several bits of one byte; a manual alarm is a fire."""
    unit = encode_unit(24, [make(24, {"operation": 0b0100_0111, "operator": 3})])
    told = [item for item in take(parts(), unit) if isinstance(item, Event)]
    assert [item.what for item in told] == [What.RESET, What.SILENCE, What.FIRE, What.TEST]
    assert told[1].text == "silence, operator 3"
    unit = encode_unit(4, [make(4, {"system_type": 1, "operation": 8})])
    assert [(i.point, i.what) for i in take(parts(), unit) if isinstance(i, Event)] == [
        ("t:1.0", What.RESTORED)
    ]


def test_a_devices_own_time_counts_only_if_its_clock_is_right() -> None:
    """Else, and for a label of another week or from the future, the time is ours; the text names theirs."""
    before = AT - timedelta(minutes=5)
    unit = encode_unit(2, [make(2, {**SMOKE, "state": 2, "time": before})])
    for trusted, at in ((True, before), (False, AT)):
        (item,) = take(parts(), unit, trusted=trusted)
        assert isinstance(item, Event)
        assert item.at == round(at.timestamp() * 1e6)
        assert item.text == "fire: smoke detector, device time 2012-09-26 09:55:00"
    for odd in (AT - timedelta(days=8), AT + timedelta(minutes=1)):
        (item,) = take(parts(), encode_unit(2, [make(2, {**SMOKE, "state": 2, "time": odd})]))
        assert isinstance(item, Event)
        assert item.at == AT_US


def test_configured_parts_have_names_units_and_bounds() -> None:
    """A part's own name; a user's kind of value scaled into its unit; bounds of the instrument."""
    it = parts(
        named={
            "1.1:10-2": TransmitterPart(name="b1-3-02:smoke", text="corridor, 3rd floor"),
            "1.1:10-2:200": TransmitterPart(quantity="co", uom="ppm", scale=0.5, offset=1.0, high=100.0),
        }
    )
    (event,) = take(it, encode_unit(2, [make(2, {**SMOKE, "state": 2})]))
    assert isinstance(event, Event)
    assert (event.point, event.text) == ("b1-3-02:smoke", "fire: smoke detector (corridor, 3rd floor)")
    values = [make(3, {**SMOKE, "analog_type": 200, "value": value}) for value in (20, 1000)]
    got = [item for item in take(it, encode_unit(3, values)) if isinstance(item, Reading)]
    assert [(r.point, r.value, r.quality) for r in got] == [
        ("t:1.1:10-2:200", 11.0, Quality.GOOD),
        ("t:1.1:10-2:200", 501.0, Quality.OUT_OF_RANGE),
    ]
    assert [(d.name, d.quantity, d.unit) for d in it.describe()] == [
        ("b1-3-02:smoke", "state", ""),
        ("t:1.1:10-2:200", "co", "ppm"),
    ]


def test_a_value_that_cannot_be_is_out_of_range() -> None:
    """Bounds of the standard's table: no gas above 100 %LEL."""
    values = [make(3, {**SMOKE, "analog_type": 6, "value": value}) for value in (99.9, 100.1)]
    got = [item for item in take(parts(), encode_unit(3, values)) if isinstance(item, Reading)]
    assert [r.quality for r in got] == [Quality.GOOD, Quality.OUT_OF_RANGE]


@pytest.mark.parametrize(
    ("profile", "point"),
    [("standard", "t:1.1:131082"), ("loop-node", "t:1.1:10-2"), ("number-zone", "t:1.1:2-10")],
)
def test_an_address_is_shown_as_the_maker_splits_it(profile: str, point: str) -> None:
    """One number, or its halves in either order."""
    (item,) = take(parts(profile), encode_unit(2, [make(2, {**SMOKE, "state": 2}, PROFILES[profile])]))
    assert item.point == point


def test_what_nobody_can_read_is_told_with_its_bytes() -> None:
    """Of a known type it may be a fire, so it is a fault; an unknown type is information."""
    odd, strange = bytes.fromhex("02 02 01 01 28 0A"), bytes.fromhex("c8 01 aa")
    it = parts()
    told = [take(it, unit, now_s) for unit in (odd, strange) for now_s in (0.0, 10.0, 700.0)]
    assert [[(i.what, i.raw) for i in items if isinstance(i, Event)] for items in told] == [
        [(What.FAULT, odd)],
        [],
        [(What.FAULT, odd)],
        [(What.INFO, strange)],
        [],
        [(What.INFO, strange)],
    ]


def test_answers_are_information_with_their_text() -> None:
    """Versions, configuration texts and clocks, for a person."""
    texts = []
    answers: list[tuple[int, dict[str, Any]]] = [
        (25, {"version": (1, 3)}),
        (26, {"text": "二层"}),
        (28, {"time": datetime(2012, 9, 26, 1, 0, 0, tzinfo=UTC)}),
        (7, {**SMOKE, "text": "走廊"}),
    ]
    for type_, fields in answers:
        (item,) = take(parts(), encode_unit(type_, [make(type_, fields)]))
        assert isinstance(item, Event)
        assert item.what is What.INFO
        texts.append(item.text)
    assert texts == [
        "transmitter version: 1.3",
        "transmitter configuration: 二层",
        "transmitter clock: 2012-09-26 09:00:00",
        "component configuration: 走廊",
    ]


def test_every_point_has_a_name_that_the_wire_takes() -> None:
    """The longest device name and the largest addresses."""
    it = Parts("d" * 24, PROFILES["zone-number"], {}, 600.0)
    fields = dict.fromkeys(("system_type", "system_address", "component_type", "analog_type"), 255)
    unit = encode_unit(3, [make(3, {**fields, "component_address": 2**32 - 1, "value": 1})])
    (item,) = take(it, unit)
    assert POINT_NAME.fullmatch(item.point)


def test_memory_of_states_is_bounded() -> None:
    """A device that names ever new parts has the oldest ones forgotten."""
    it = parts()
    for n in range(MAX_PARTS + 50):
        take(it, encode_unit(1, [make(1, {"system_type": n % 256, "system_address": n // 256 % 256})]))
    assert len(it._states) == MAX_PARTS


@pytest.mark.parametrize("vector", GOOD, ids=lambda vector: vector["id"])
def test_no_frame_breaks_any_profile(vector: dict[str, Any]) -> None:
    """Each frame of each maker, read as if it were any other maker's, gives items with valid names."""
    decoded = decode(bytes.fromhex(vector["hex"]))
    assert decoded is not None
    for profile in PROFILES.values():
        it = Parts("t", profile, {}, 600.0)
        unit = decode_unit(decoded[0].unit, profile)
        for item in it.take(unit, raw=b"", now_s=0.0, at=AT, trusted=True):
            assert POINT_NAME.fullmatch(item.point)

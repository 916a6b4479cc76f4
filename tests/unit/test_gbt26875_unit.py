from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.codecs.gbt26875 import codes
from gateway.codecs.gbt26875.label import CHINA, decode_label, encode_label
from gateway.codecs.gbt26875.layouts import LAYOUTS, size, variants
from gateway.codecs.gbt26875.profile import PROFILES, Profile
from gateway.codecs.gbt26875.unit import InfoObject, decode_unit, encode_unit, make

LABEL = "02 3A 09 1A 09 0C"
AT = datetime(2012, 9, 26, 9, 58, 2, tzinfo=CHINA)

BYTES = st.integers(0, 255)
TEXTS = st.text(st.characters(codec="gb18030", exclude_characters="\0"), max_size=31)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "state": BYTES,
    "component_address": st.integers(0, 2**32 - 1),
    "value": st.integers(-32_768, 32_767),
    "analog_type": st.just(0),
    "text": TEXTS,
    "version": st.tuples(BYTES, BYTES),
    "time": st.datetimes(datetime(2000, 1, 1), datetime(2099, 12, 31)).map(  # noqa: DTZ001  # zone below
        lambda at: at.replace(microsecond=0, tzinfo=CHINA)
    ),
}
NAMES = {"transmitter_state": "state", "long_text": "text"}


def unit(text: str) -> bytes:
    """Bytes of a unit, ``+t`` for a label."""
    return bytes.fromhex(text.replace("+t", LABEL))


def fields_of(type_: int) -> dict[str, st.SearchStrategy[Any]]:
    """What values the fields of a type may have."""
    names = [NAMES.get(field, field) for field in LAYOUTS[type_].fields if field != "reserved"]
    return {name: VALUES.get(name, BYTES) for name in names}


@given(st.data(), st.sampled_from(sorted(LAYOUTS)), st.sampled_from(sorted(PROFILES)))
def test_every_type_comes_back(data: st.DataObject, type_: int, name: str) -> None:
    """Objects made from values are read as those values by the same maker's profile, however many."""
    profile = PROFILES[name]
    strategy = st.lists(st.fixed_dictionaries(fields_of(type_)), min_size=1, max_size=LAYOUTS[type_].most)
    given_ = data.draw(strategy.filter(lambda made: len(made) * 260 <= 1022 or type_ not in (6, 26)))
    made = [make(type_, fields, profile) for fields in given_]
    assume(2 + sum(len(item.raw) for item in made) <= 1024)
    read = decode_unit(encode_unit(type_, made), profile)
    assert (read.type, read.is_known, list(read.objects)) == (type_, True, made)
    bodyless = (type_ == 90 and profile.clock_body == "none") or (
        type_ == 91 and profile.post_check_body == "none"
    )
    for fields, item in zip(given_, read.objects, strict=True):
        for field, value in fields.items():
            if bodyless or (field == "time" and type_ in profile.unlabelled):
                assert getattr(item, field) is None
            elif field == "text":
                assert value.strip(" ").startswith(item.text)
            else:
                assert getattr(item, field) == value


@given(st.binary(max_size=200))
def test_any_unit_is_read_and_comes_back(data: bytes) -> None:
    """Nothing raises, and the objects hold all bytes of what came."""
    for profile in PROFILES.values():
        read = decode_unit(data, profile)
        if read.is_known and read.type is not None:
            assert (
                encode_unit(read.type, read.objects[: LAYOUTS[read.type].most])[2:]
                == data[2:][: sum(len(item.raw) for item in read.objects[: LAYOUTS[read.type].most])]
            )
        elif data:
            assert [item.raw for item in read.objects] == [data]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "03 01 01 02 28 01 02 03 04 03 20 03 +t",
            {"value": 80.0, "component_address": 0x04030201, "time": AT},
        ),
        ("03 01 01 02 28 01 02 03 04 02 01 50 +t", {"value": 204.81, "uom": "m"}),
        ("03 01 01 02 28 01 02 03 04 80 01 50 +t", {"value": 20_481.0, "uom": None, "analog_type": 128}),
        ("03 01 01 02 28 01 02 03 04 03 00 80 +t", {"value": -3276.8}),
        ("04 01 01 02 84 fa +t", {"operation": 0x84, "operator": 250, "time": AT}),
        ("04 01 01 02 84 fa", {"operation": 0x84, "operator": 250, "time": None}),
        ("05 01 01 02 03 04", {"version": (3, 4), "system_address": 2}),
        ("19 01 03 04", {"version": (3, 4)}),
        ("1a 01 05 c9 cf ba a3 00", {"text": "上海"}),
        ("3d 02 01 01 0d 02", {"system_type": 1, "system_address": 1}),
        ("3e 01 01 01 03 02 11 01", {"component_address": 0x01110203}),
        ("40 01 01 01 0a +t", {"count": 10, "time": AT}),
        ("54 01 10 +t", {"count": 16, "time": AT}),
        ("5b 01 0a", {"timeout_min": 10}),
        ("5b 01 0a +t", {"timeout_min": 10, "time": None}),
        ("5a 01 +t", {"time": AT}),
        ("5a 01 +t +t", {"time": AT}),
        ("5a 01", {"time": None}),
        ("15 01 08", {"state": 8, "time": None}),
        ("08 01 01 02 +t", {"system_address": 2, "time": AT}),
    ],
)
def test_units_as_other_implementations_send_them(text: str, expected: dict[str, Any]) -> None:
    """Objects with and without a label, with a label too many, with a value of the user's own kind."""
    read = decode_unit(unit(text))
    assert read.is_known
    assert {name: getattr(read.objects[0], name) for name in expected} == expected


def test_texts_of_different_lengths_are_walked() -> None:
    """Configurations of two systems in one unit, one of them empty."""
    items = [make(6, {"system_type": 1, "text": "一层"}), make(6, {"system_type": 11, "text": ""})]
    read = decode_unit(encode_unit(6, items))
    assert [(item.system_type, item.text) for item in read.objects] == [(1, "一层"), (11, "")]


@pytest.mark.parametrize(
    "text",
    [
        "16",
        "17",
        "c8 02 01 02 03",
        "00 01 00",
        "02 00 00",
        "02 01",
        "02 02 01 01 28 0A 00 02 00 02 00",
        "06 02 01 01 00",
        "06 01 01 01 05 41",
        "1a 01 04 c9 cf ba",
        "15",
        "01 ff 01",
    ],
)
def test_what_fits_no_layout_is_kept_as_it_is(text: str) -> None:
    """A handshake of one byte, an unknown type, a count that does not match: bytes, never an error."""
    read = decode_unit(unit(text))
    assert (read.is_known, read.objects) == (False, (InfoObject(raw=unit(text)),))


def test_a_component_state_without_text_is_read_by_its_size() -> None:
    """Makers that leave out the text, the label, or send seven bytes nobody explains: the state counts."""
    body = "01 01 28 0A 00 02 00 02 00"
    for tail in ("", "+t", "01 02 03 04 05 06 07"):
        read = decode_unit(unit(f"02 02 {body} {tail} {body} {tail}"))
        assert [(item.component_type, item.state) for item in read.objects] == [(40, 2), (40, 2)]
        assert read.flags(read.objects[0]) == ["fire"]


def test_variants_of_a_type_differ_in_size() -> None:
    """An object's layout follows from its size alone."""
    for type_, layout in LAYOUTS.items():
        if "long_text" not in layout.fields:
            sizes = [size(fields) for fields in variants(type_)]
            assert len(set(sizes)) == len(sizes), type_


def test_full_units_fit_a_frame() -> None:
    """As many objects as the standard allows take at most 1024 bytes; one more is not sent."""
    for type_, layout in LAYOUTS.items():
        one = make(type_, {})
        assert len(encode_unit(type_, [one] * layout.most)) <= 1024
        with pytest.raises(ValueError, match=f"at most {layout.most} fit"):
            encode_unit(type_, [one] * (layout.most + 1))


@pytest.mark.parametrize(
    ("type_", "fields", "text"),
    [
        (99, {}, "no layout for type flag 99"),
        (1, {"value": 1.0}, "type 1 has no value"),
        (1, {"state": 70_000}, "does not fit"),
        (3, {"analog_type": 3, "value": 4000.0}, "does not fit"),
        (3, {"value": "hot"}, "'hot' is no value"),
        (21, {"state": 256}, "does not fit"),
        (90, {"time": datetime(1999, 1, 1, tzinfo=UTC)}, "no label"),
    ],
)
def test_what_fits_no_object_is_not_made(type_: int, fields: dict[str, Any], text: str) -> None:
    """A type, field or value that the standard does not have is refused by name."""
    with pytest.raises(ValueError, match=text):
        make(type_, fields)


def test_text_is_cut_between_characters() -> None:
    """31 bytes hold fifteen characters of two bytes; the rest is left out, not torn."""
    item = make(2, {"text": "层" * 16})
    assert item.text == "层" * 15
    assert len(item.raw) == 46


def test_profiles_change_order_label_and_body() -> None:
    """One key for each difference: byte orders, label first, label that is none, bodies of commands."""
    big = decode_unit(unit("02 01 01 01 28 0A 00 02 00 00 02 +t"), PROFILES["big-endian"])
    assert big.flags(big.objects[0]) == ["fire"]
    value = unit("03 01 01 02 28 01 02 03 04 03 03 20 +t")
    assert decode_unit(value, PROFILES["big-endian"]).objects[0].value == 80.0
    first = decode_unit(unit("01 01 +t 01 02 04 02"), PROFILES["time-first"]).objects[0]
    assert (first.time, first.state, first.system_address) == (AT, 0x204, 2)
    assert decode_unit(value, PROFILES["no-analog-label"]).objects[0].time is None
    assert make(90, {"time": AT}, PROFILES["number-zone"]).raw == unit("+t") + bytes(6)
    assert make(91, {"timeout_min": 5}, PROFILES["number-zone"]).raw == b"\x05" + bytes(6)
    assert make(90, {"time": AT}, PROFILES["bodyless"]).raw == b""
    utc = decode_unit(unit("1c 01 +t"), Profile(utc_offset_h=0)).objects[0]
    assert utc.time == datetime(2012, 9, 26, 9, 58, 2, tzinfo=UTC)


def test_bits_have_names_and_a_strange_one_its_number() -> None:
    """Every bit that is set is told; a clear bit 0 says nothing."""
    assert codes.bits(0x0003, codes.SYSTEM_STATE) == ["normal", "fire"]
    assert codes.bits(0xFFFF, codes.SYSTEM_STATE)[-3:] == ["reset", "bit_14", "bit_15"]
    assert codes.bits(0x18, codes.TRANSMITTER_STATE) == ["mains_fault", "backup_fault"]
    assert codes.bits(0x0100, codes.COMPONENT_STATE) == ["power_fault"]
    assert codes.bits(0, codes.SYSTEM_STATE) == []


@pytest.mark.parametrize(
    "label", [bytes(6), b"\x3c\x00\x00\x01\x01\x00", b"\x00\x00\x00\x1e\x02\x0c", b"\xff" * 6]
)
def test_a_label_that_is_no_date_is_none(label: bytes) -> None:
    """All zero, second 60, the 30th of February, all ones."""
    assert decode_label(label) is None


def test_a_label_is_local_time_of_its_zone() -> None:
    """The same moment gives another label in another zone."""
    assert decode_label(encode_label(AT)) == AT
    assert encode_label(AT, timezone(timedelta(hours=9)))[2] == 10


def test_the_tables_are_the_standards_where_others_differ() -> None:
    """Codes that other implementations have wrong."""
    assert codes.SYSTEMS[23] == ("fire power supply", "消防电源")
    assert codes.SYSTEMS[20].zh == "消防电梯"
    assert codes.ANALOGS[1].quantity == "count"
    assert [(codes.ANALOGS[kind].uom, codes.ANALOGS[kind].per) for kind in (4, 5, 9)] == [
        ("MPa", 10),
        ("kPa", 10),
        ("A", 10),
    ]
    assert codes.bits(0x02, codes.TRANSMITTER_OPERATION) == ["silence"]
    assert codes.bits(0x20, codes.TRANSMITTER_OPERATION) == ["post_check_answer"]
    assert codes.bits(0x20, codes.SYSTEM_OPERATION) == ["confirm"]

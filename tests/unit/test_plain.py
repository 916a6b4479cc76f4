"""JSON of plain devices: strict, bounded, and refused with words that help."""

from __future__ import annotations

import contextlib
import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fengsui.model import Kind, Quality, Reading
from fengsui.wire import HEADER, MAX_BODY, MAX_SPAN_US, Header, Readings, decode_body
from ingest.decode import count_readings
from ingest.plain import MAX_READINGS, PlainError, Refusals, encode, parse, records

NOW = 1_700_000_000_000_000


def test_one_reading_without_time_is_stamped_by_the_server() -> None:
    """The stamp is the server's clock and the quality uncertain."""
    assert parse("dev", b'{"p": "smoke-3f-12", "x": 0.034}', NOW) == [
        Reading("smoke-3f-12", NOW, 0.034, Quality.UNCERTAIN)
    ]


def test_a_time_is_ms_or_us() -> None:
    """Up to 10^14 a time is in milliseconds, beyond in microseconds."""
    payload = b'[{"p":"a","x":1,"t":1700000000000},{"p":"a","x":2,"t":1700000000000001}]'
    assert parse("dev", payload, 0) == [Reading("a", NOW, 1.0), Reading("a", NOW + 1, 2.0)]


def test_readings_of_one_point_without_time_stay_apart() -> None:
    """Several readings of a point in one message get stamps 1 us apart."""
    payload = b'[{"p":"a","x":1},{"p":"b","x":2},{"p":"a","x":3}]'
    assert [(r.point, r.at_us - NOW) for r in parse("dev", payload, NOW)] == [("a", 0), ("b", 0), ("a", 1)]


def test_a_device_may_say_how_good_a_reading_is() -> None:
    """Its quality is taken; without a time it is *uncertain* unless it says something worse."""
    payload = b'[{"p":"a","x":1,"t":1700000000000,"q":4},{"p":"b","x":2,"q":4},{"p":"c","x":3,"q":0}]'
    assert [r.quality for r in parse("dev", payload, NOW)] == [
        Quality.SIMULATED,
        Quality.SIMULATED,
        Quality.UNCERTAIN,
    ]


def test_what_a_device_encodes_is_what_the_server_parses() -> None:
    """The payload a simulated device makes gives the same readings back, stamp and quality included."""
    readings = [Reading("a", NOW, 1.5), Reading("b:1", NOW + 1, -2e-9, Quality.SIMULATED)]
    assert parse("dev", encode(readings), 0) == readings


BOMBS = [
    (b"", "json"),
    (b"[" * 60_000, "json"),
    (b'{"p":' * 10_000, "json"),
    (b'{"p":"a","x":NaN}', "json"),
    (b'{"p":"a","x":Infinity}', "json"),
    (b'{"p":"a","x":1e400}', "json"),
    (b'{"p":"a","x":' + b"1" * 5_000 + b"}", "json"),
    (b'{"p":"a","x":1,"t":' + b"1" * 5_000 + b"}", "json"),
    (b'{"p":"a","x":true}', "json"),
    (b'{"p":"a","x":"1"}', "json"),
    (b'{"p":"a","x":null}', "json"),
    (b'{"p":"a","x":1,"t":1.5}', "json"),
    (b'{"p":"a","x":1,"t":-1}', "json"),
    (b'{"p":"a","x":1,"t":null}', "json"),
    (b'{"p":"a","x":1,"q":5}', "json"),
    (b'{"p":"a","x":1,"q":false}', "json"),
    (b'{"p":"a","x":1,"q":4,"q":0}', "duplicate"),
    (b'{"p":"a","x":1,"gateway":"gw-2"}', "json"),
    (b'{"p":"\\ud800","x":1}', "json"),
    (b'{"p":"\xff","x":1}', "json"),
    (b'{"p":"a"}', "json"),
    (b'{"p":"a","x":1}x', "json"),
    (b'{"p":"a","x":1,"p":"b"}', "duplicate"),
    (b'{"p":"a","x":1,"\\u0078":2}', "duplicate"),
    ('{"p":"a\u202e","x":1}'.encode(), "point"),
    (b'{"p":"a\\u0000","x":1}', "point"),
    (b'{"p":"a\\n","x":1}', "point"),
    (b'{"p":"","x":1}', "point"),
    (b'{"p":"a","x":1,"t":90000000000000}', "time"),
    (b"[]", "count"),
    (json.dumps([{"p": "a", "x": 1}] * (MAX_READINGS + 1)).encode(), "count"),
    (b" " * 65_537, "size"),
    (b"x" * 50_000_000, "size"),
]


@pytest.mark.parametrize(("payload", "reason"), BOMBS, ids=range(len(BOMBS)))
def test_a_hostile_payload_is_refused_at_once(payload: bytes, reason: str) -> None:
    """Each is refused with its reason, in words that name the device."""
    with pytest.raises(PlainError, match=r"^dev: .{10}") as caught:
        parse("dev", payload, NOW)
    assert caught.value.reason == reason


@given(
    st.binary(max_size=300)
    | st.recursive(st.none() | st.floats() | st.text(), st.lists).map(json.dumps).map(str.encode)
)
def test_any_bytes_are_parsed_or_refused(payload: bytes) -> None:
    """Nothing but PlainError comes out."""
    with contextlib.suppress(PlainError):
        assert parse("dev", payload, NOW)


_readings = st.lists(
    st.builds(
        Reading,
        st.from_regex(r"[a-z]{64}", fullmatch=True),
        st.integers(0, 10 * MAX_SPAN_US),
        st.floats(allow_infinity=False, allow_nan=False),
    ),
    min_size=1,
    max_size=30,
)


@given(_readings, st.integers(1, 33))
def test_records_hold_every_reading(readings: list[Reading], times: int) -> None:
    """Records fit the contract whatever the stamps and however long the names, and lose nothing."""
    readings = (readings * times)[:MAX_READINGS]
    held: list[tuple[int, str, float]] = []
    for record in records(readings):
        magic, version, kind, spool, seq, age_ms, crc = HEADER.unpack_from(record)
        assert (magic, version, kind, spool, seq, age_ms) == (b"FS", 1, Kind.READINGS, 0, 0, 0)
        body = record[HEADER.size :]
        assert len(body) <= MAX_BODY
        assert zlib.crc32(body) == crc
        decoded = decode_body(Header(kind, spool, seq, age_ms, crc), body)
        assert isinstance(decoded, Readings)
        assert decoded.count == count_readings(record)
        index, offset, value = (
            memoryview(decoded.i).cast("H"),
            memoryview(decoded.dt).cast("I"),
            memoryview(decoded.x).cast("d"),
        )
        names = decoded.names()
        held += [(decoded.t0 + offset[n], names[index[n]], value[n]) for n in range(decoded.count)]
    assert sorted(held) == sorted((reading.at_us, reading.point, reading.value) for reading in readings)


def test_refusals_are_told_once_a_second_per_device() -> None:
    """A device hears at most one a second; what it does not hear is counted; devices are bounded."""
    refusals = Refusals(devices=2)
    assert [refusals.is_due("a", now_s) for now_s in (10.0, 10.9, 11.0)] == [True, False, True]
    assert refusals.is_due("b", 11.0)
    assert (refusals.total, refusals.untold) == (4, 1)
    assert refusals.is_due("c", 11.1)
    assert refusals.is_due("a", 11.2)  # forgotten to make room, so told again

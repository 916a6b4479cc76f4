from __future__ import annotations

import json
import math
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fengsui import wire
from fengsui.model import AGE_UNKNOWN, Clock, Description, Event, Kind, Lane, Quality, Reading, What
from fengsui.wire import (
    HEADER,
    BodyError,
    Committed,
    Describe,
    Header,
    HeaderError,
    Hello,
    LaneState,
    Readings,
    Shed,
    decode_body,
    decode_header,
    encode_body,
    encode_readings,
    encode_record,
    spool_text,
)
from ingest.gateways import decode_hello
from ingest.plain import parse, records

VECTORS = Path(__file__).parents[1] / "vectors"


def vector(name: str) -> Any:
    """A test vector: part of the contract, never changed."""
    return json.loads((VECTORS / f"{name}.json").read_text())


def plain_json(value: Any) -> Any:
    """Bytes as hex, all through a structure."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {key: plain_json(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain_json(v) for v in value]
    return value


RECORDS = vector("records")


@pytest.mark.parametrize("case", RECORDS, ids=[case["name"] for case in RECORDS])
def test_a_record_of_the_contract_is_read_and_written_to_the_same_bytes(case: dict[str, Any]) -> None:
    """Every kind of record decodes to what the vector says, and encoding it gives the same bytes."""
    record = bytes.fromhex(case["record"])
    header = decode_header(record)
    assert header._asdict() == case["header"] | {"crc": zlib.crc32(record[HEADER.size :])}
    body = decode_body(header, record[HEADER.size :])
    named = msgspec.structs.asdict(body) | {"p": body.names()} if isinstance(body, Readings) else body
    assert plain_json(msgspec.to_builtins(named, builtin_types=(bytes,))) == case["body"]
    if isinstance(body, Readings):
        encoded = encode_readings([Reading(**r) for r in readings_of(case)], body.c)
    else:
        encoded = encode_body(body)
    kind = Kind(header.kind)
    assert encode_record(kind, header.spool, header.seq, header.age_ms, encoded).hex() == case["record"]


def readings_of(case: dict[str, Any]) -> list[dict[str, Any]]:
    """The readings of a vector as a driver gave them."""
    return [
        {**r, "value": float(r["value"]), "quality": Quality(r.get("quality", 0))} for r in case["readings"]
    ]


def test_the_vectors_cover_every_kind() -> None:
    """No kind of record is without a vector."""
    assert {case["header"]["kind"] for case in RECORDS} == set(Kind)


@pytest.mark.parametrize("case", vector("committed"), ids=lambda case: case["name"])
def test_committed_is_read_and_written_to_the_same_bytes(case: dict[str, Any]) -> None:
    """``committed`` as the contract shows it; unknown keys of a later version are no error."""
    committed = msgspec.json.decode(case["payload"], type=Committed)
    assert plain_json(msgspec.to_builtins(committed)) == case["fields"]
    if case["is_canonical"]:
        assert msgspec.json.encode(committed).decode() == case["payload"]


@pytest.mark.parametrize("case", vector("hello"), ids=lambda case: case["name"])
def test_hello_is_read_and_written_to_the_same_bytes(case: dict[str, Any]) -> None:
    """``hello`` from the shortest to the longest."""
    hello = decode_hello(case["payload"].encode())
    assert hello.gone == case["gone"]
    assert {str(lane): [state.first, state.next] for lane, state in hello.lanes.items()} == case["lanes"]
    assert msgspec.json.encode(hello).decode() == case["payload"]


@pytest.mark.parametrize("case", vector("plain"), ids=lambda case: case["name"])
def test_plain_payloads_become_the_same_records(case: dict[str, Any]) -> None:
    """A plain device's JSON gives exactly these records of the server's own hand."""
    found = records(parse("device-1", case["payload"].encode(), case["received_at_us"]))
    assert [record.hex() for record in found] == case["records"]


# hostile bytes

GOOD = encode_record(Kind.READINGS, 7, 9, 5, encode_readings([Reading("a", 1, 2.0)], Clock.SYNCED))


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (b"", "short"),
        (GOOD[:27], "short"),
        (b"XS" + GOOD[2:], "magic"),
        (GOOD[:2] + b"\x02" + GOOD[3:], "version"),
        (encode_record(Kind.READINGS, 7, 0, 5, b""), "seq"),
        (encode_record(Kind.READINGS, 0, 9, 5, b""), "spool"),
    ],
)
def test_what_has_no_header_has_no_number(record: bytes, reason: str) -> None:
    """Each thing that can be wrong with a header has its own word."""
    with pytest.raises(HeaderError) as error:
        decode_header(record)
    assert error.value.reason == reason


def readings_body(**changes: object) -> bytes:
    """The body of a good readings record of two rows, with keys replaced."""
    good: dict[str, object] = {
        "t0": 10, "c": 0, "p": ["a", "b"], "i": bytes([0, 0, 1, 0]), "dt": bytes(8), "x": bytes(16),
    }  # fmt: skip
    return msgspec.msgpack.encode({key: v for key, v in (good | changes).items() if v is not ...})


@pytest.mark.parametrize(
    ("kind", "body", "reason"),
    [
        (1, bytes(wire.MAX_BODY + 1), "size"),
        (9, b"\xc0", "kind"),
        (1, b"", "decode"),
        (1, b"\x91" * 5000, "decode"),
        (1, b"\x81\xa2\xff\xfe\x01", "decode"),
        (1, readings_body(x=...), "decode"),
        (1, readings_body(t0=-1), "decode"),
        (1, readings_body(t0=2**53), "decode"),
        (1, readings_body(c=7), "decode"),
        (1, readings_body(p=[]), "decode"),
        (1, readings_body(x=b"", i=b"", dt=b""), "columns"),
        (1, readings_body(x=bytes(15)), "columns"),
        (1, readings_body(i=bytes(2)), "columns"),
        (1, readings_body(dt=bytes(4)), "columns"),
        (1, readings_body(q=bytes(3)), "columns"),
        (1, readings_body(q=bytes([0, 5])), "columns"),
        (1, readings_body(i=bytes([0, 0, 2, 0])), "index"),
        (1, readings_body(t0=2**53 - 1, dt=b"\1\0\0\0" * 2), "time"),
        (1, readings_body(p=["a", "b c"]), "point"),
        (1, readings_body(p=["a", "b\n"]), "point"),
        (2, encode_body(Event("../x", 1, What.FIRE)), "point"),
        (2, encode_body(Event("a", -1, What.FIRE)), "time"),
        (2, encode_body(Event("a", 2**53, What.FIRE)), "time"),
        (2, msgspec.msgpack.encode({"point": "a", "at": 1, "what": "explosion"}), "decode"),
        (3, encode_body(Shed(5, 4, 0, "quota")), "range"),
        (3, encode_body(Shed(0, 4, 0, "quota")), "decode"),
        (4, encode_body(Describe([Description("a b", "temperature", "degC")])), "point"),
    ],
)
def test_a_body_that_cannot_be_used_says_why(kind: int, body: bytes, reason: str) -> None:
    """Each thing that can be wrong with a body has its own word for the dead letter."""
    with pytest.raises(BodyError) as error:
        decode_body(Header(kind, 1, 1, 0, zlib.crc32(body)), body)
    assert error.value.reason == reason


def test_a_flipped_bit_in_a_body_is_seen() -> None:
    """The crc32 of the header covers the body."""
    header = decode_header(GOOD)
    body = bytearray(GOOD[HEADER.size :])
    body[-1] ^= 1
    with pytest.raises(BodyError, match="crc32"):
        decode_body(header, bytes(body))


@given(st.binary(max_size=200), st.integers(0, 255))
def test_no_bytes_raise_anything_else(body: bytes, kind: int) -> None:
    """A body either decodes or raises ``BodyError``; a header ``HeaderError``."""
    with suppress(BodyError):
        decode_body(Header(kind, 1, 1, 0, zlib.crc32(body)), body)
    with suppress(HeaderError):
        decode_header(body)


NAMES = st.from_regex(r"[A-Za-z0-9_.:-]{1,64}", fullmatch=True)
READINGS = st.lists(
    st.builds(
        Reading,
        point=NAMES,
        at_us=st.integers(10**15, 10**15 + 2**32 - 1),
        value=st.floats(),
        quality=st.sampled_from(Quality),
    ),
    min_size=1,
    max_size=50,
)


@given(READINGS, st.sampled_from(Clock))
def test_readings_come_out_as_they_went_in(readings: list[Reading], clock: Clock) -> None:
    """Columns keep every name, stamp, value and quality; an infinite value becomes a bad NaN."""
    encoded = encode_readings(readings, clock)
    body = decode_body(Header(1, 1, 1, 0, zlib.crc32(encoded)), encoded)
    assert isinstance(body, Readings)
    assert body.c == clock
    assert body.count == len(readings)
    index, offsets = memoryview(body.i).cast("H"), memoryview(body.dt).cast("I")
    values, quality = memoryview(body.x).cast("d"), body.q or bytes(len(readings))
    names = body.names()
    for row, reading in enumerate(readings):
        assert names[index[row]] == reading.point
        assert body.t0 + offsets[row] == reading.at_us
        if math.isinf(reading.value):
            assert math.isnan(values[row])
            assert quality[row] == Quality.BAD
        else:
            assert values[row] == reading.value or (math.isnan(values[row]) and math.isnan(reading.value))
            assert quality[row] == reading.quality


def test_an_age_beyond_its_field_reads_as_unknown() -> None:
    """``age_ms`` never wraps around."""
    assert decode_header(encode_record(Kind.EVENT, 1, 1, 2**40, b"")).age_ms == AGE_UNKNOWN


HELLO = Hello(spool=spool_text(5), lanes={Lane.ALARM: LaneState(first=1, next=1, bytes=0, oldest_age_ms=0)})


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b'{"spool":"' + b"0" * 16 + b'","lanes":{}}',
        b'{"spool":"' + b"A" * 16 + b'","lanes":{}}',
        b'{"spool":"1","lanes":{}}',
        b'{"spool":"\xff","lanes":{}}',
        msgspec.json.encode(HELLO).replace(b'"first":1', b'"first":0'),
        msgspec.json.encode(HELLO).replace(b'"first":1', b'"first":2'),
        msgspec.json.encode(HELLO).replace(b'"next":1', b'"next":9223372036854775808'),
        msgspec.json.encode(HELLO).replace(b'"bytes":0', b'"bytes":1' + b"0" * 100),
        msgspec.json.encode(HELLO).replace(b'"bytes":0', b'"bytes":-1'),
        msgspec.json.encode(HELLO).replace(b'"alarm"', b'"siren"'),
        b'{"deep":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
        msgspec.json.encode(HELLO)[:-1] + b',"faults":[' + b'"",' * 200 + b'""]}',
        msgspec.json.encode(HELLO)[:-1] + b',"software":"' + b"x" * wire.MAX_BODY + b'"}',
    ],
)
def test_a_hostile_hello_raises_what_the_intake_catches(payload: bytes) -> None:
    """Numbers out of range, depth, length, other alphabets: all of it is one refused message."""
    with pytest.raises(wire.UNREADABLE):
        decode_hello(payload)

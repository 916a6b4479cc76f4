"""Journal entries become arrays, or rejects with a reason; every reading is accounted for."""

from __future__ import annotations

import math
import zlib

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fengsui.batch import UNKNOWN_AGE
from fengsui.journal import Entry
from fengsui.model import AGE_UNKNOWN, Clock, Description, Event, Kind, Lane, Point, Quality, Reading, What
from fengsui.wire import (
    HEADER,
    MAX_BODY,
    MAX_STAMP_US,
    Describe,
    Shed,
    encode_body,
    encode_readings,
    encode_record,
)
from ingest.decode import UNKNOWN_POINT, Counts, Decoded, Decoder, count_readings

T0 = 1_700_000_000_000_000


class Registered:
    """Points that gateway ``gw`` calls by these names."""

    def __init__(self, *names: str) -> None:
        self.generation = 1
        self.bound = {("gw", name): self._point(index, name) for index, name in enumerate(names)}

    def point(self, gateway: str, name: str) -> Point | None:
        """What the decoder asks."""
        return self.bound.get((gateway, name))

    def bind(self, name: str) -> None:
        """Register one more name."""
        self.bound["gw", name] = self._point(len(self.bound), name)
        self.generation += 1

    @staticmethod
    def _point(index: int, name: str) -> Point:
        return Point(index=index, id=f"p{index}", gateway="gw", name=name, quantity="temperature", uom="degC")


def entry(record: bytes, n: int = 1, gateway: str = "gw") -> Entry:
    """A journal entry of the telemetry lane."""
    return Entry(n, Lane.TELEMETRY, gateway, T0 + n, count_readings(record), record)


def readings_record(*readings: Reading, age_ms: int = 0, seq: int = 1) -> bytes:
    """A record as a gateway sends it."""
    return encode_record(Kind.READINGS, 7, seq, age_ms, encode_readings(readings, Clock.SYNCED))


def columns_record(**changed: object) -> bytes:
    """A record of two readings with some keys of its body changed."""
    body: dict[str, object] = {
        "t0": T0, "c": 0, "p": ["a"], "i": bytes(4), "dt": bytes(8), "x": bytes(16),
    }  # fmt: skip
    return encode_record(Kind.READINGS, 7, 1, 0, msgspec.msgpack.encode(body | changed))


def is_conserved(decoded: Decoded) -> bool:
    """Is every journalled reading delivered, passed or dead?"""
    return all(
        counts.journalled == counts.delivered + counts.passed + sum(counts.dead.values())
        for counts in decoded.counts.values()
    )


def test_readings_of_several_records_are_joined_in_order() -> None:
    """Points, stamps, values, qualities, receipt and age stand row by row as they were sent."""
    first = readings_record(Reading("b", T0 + 5, 1.5), Reading("a", T0, 2.5, Quality.SIMULATED), age_ms=40)
    second = readings_record(Reading("a", T0 + 9, math.nan), age_ms=AGE_UNKNOWN)
    decoded = Decoder(Registered("a", "b")).decode([entry(first, 1), entry(second, 2)])
    batch = decoded.batch
    assert batch.position == (Lane.TELEMETRY, 2)
    assert batch.point.tolist() == [1, 0, 0]
    assert batch.at_us.tolist() == [T0 + 5, T0, T0 + 9]
    np.testing.assert_array_equal(batch.value, [1.5, 2.5, np.nan])
    assert batch.quality.tolist() == [0, 4, 0]
    assert batch.received_at_us.tolist() == [T0 + 1, T0 + 1, T0 + 2]
    assert batch.age_us.tolist() == [40_000, 40_000, UNKNOWN_AGE]
    columns = (batch.point, batch.at_us, batch.value, batch.quality, batch.received_at_us, batch.age_us)
    types = ["int32", "int64", "float64", "uint8", "int64", "int64"]
    assert [str(column.dtype) for column in columns] == types
    assert decoded.counts == {"gw": Counts(journalled=3, delivered=3)}


def test_infinite_values_become_invalid_ones() -> None:
    """An infinite value is NaN with quality bad in the batch, and counted."""
    record = columns_record(x=np.array([np.inf, 4.0]).tobytes())
    decoded = Decoder(Registered("a")).decode([entry(record)])
    np.testing.assert_array_equal(decoded.batch.value, [np.nan, 4.0])
    assert decoded.batch.quality.tolist() == [Quality.BAD, Quality.GOOD]
    assert decoded.infinite == 1


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (b"FS", "short"),
        (columns_record()[:-1], "crc"),
        (encode_record(Kind.READINGS, 7, 1, 0, bytes(MAX_BODY + 1)), "size"),
        (HEADER.pack(b"FS", 1, 9, 7, 1, 0, zlib.crc32(b"")), "kind"),
        (encode_record(Kind.EVENT, 7, 1, 0, b"\xc1"), "decode"),
        (columns_record(t0=-1), "decode"),
        (columns_record(p=[]), "decode"),
        (columns_record(p="a"), "decode"),
        (columns_record(p=["a", 1]), "decode"),
        (columns_record(x=b""), "columns"),
        (columns_record(x=bytes(17)), "columns"),
        (columns_record(i=bytes(2)), "columns"),
        (columns_record(q=bytes(3)), "columns"),
        (columns_record(q=b"\x00\x05"), "columns"),
        (columns_record(i=b"\x00\x00\x01\x00"), "index"),
        (columns_record(t0=MAX_STAMP_US - 1, dt=b"\x01\0\0\0\0\0\0\0"), "time"),
        (columns_record(p=["a\n"]), "point"),
        (encode_record(Kind.EVENT, 7, 1, 0, encode_body(Event("a b", T0, What.FIRE))), "point"),
        (encode_record(Kind.EVENT, 7, 1, 0, encode_body(Event("a", -1, What.FIRE))), "time"),
        (encode_record(Kind.SHED, 7, 1, 0, encode_body(Shed(5, 4, 1, "full"))), "range"),
    ],
)  # fmt: skip
def test_a_bad_record_is_rejected_and_its_neighbours_are_not(record: bytes, reason: str) -> None:
    """Each kind of wrong body has its reason, and the good records around it are delivered."""
    good = readings_record(Reading("a", T0, 1.0), Reading("a", T0 + 1, 2.0))
    bad = entry(record, 2)
    decoded = Decoder(Registered("a")).decode([entry(good, 1), bad, entry(good, 3)])
    assert [(reject.entry, reject.reason) for reject in decoded.rejects] == [(bad, reason)]
    assert decoded.batch.value.tolist() == [1.0, 2.0, 1.0, 2.0]
    assert decoded.batch.received_at_us.tolist() == [T0 + 1, T0 + 1, T0 + 3, T0 + 3]
    assert decoded.counts["gw"].dead == {reason: bad.readings}
    assert is_conserved(decoded)


def test_unknown_names_leave_the_batch_and_are_named() -> None:
    """Only the readings of unbound names are rejected, one reject per record, their last value seen."""
    record = readings_record(
        Reading("x", T0, 1.0), Reading("a", T0, 2.0), Reading("y", T0, 3.0), Reading("x", T0 + 1, 4.0)
    )
    decoded = Decoder(Registered("a")).decode([entry(record, 1), entry(record, 2)])
    assert decoded.batch.value.tolist() == [2.0, 2.0]
    assert decoded.batch.received_at_us.tolist() == [T0 + 1, T0 + 2]
    assert [(r.entry.n, r.reason, r.readings, r.names) for r in decoded.rejects] == [
        (1, UNKNOWN_POINT, 3, ("x", "y")),
        (2, UNKNOWN_POINT, 3, ("x", "y")),
    ]
    assert {(seen.name, seen.value, seen.count) for seen in decoded.seen} == {("x", 4.0, 4), ("y", 3.0, 2)}
    assert decoded.counts == {"gw": Counts(8, 2, 0, {UNKNOWN_POINT: 6})}


def test_a_name_of_another_gateway_is_unknown() -> None:
    """A gateway cannot speak for a point that is bound to another one."""
    decoded = Decoder(Registered("a")).decode(
        [entry(readings_record(Reading("a", T0, 1.0)), gateway="other")]
    )
    assert decoded.batch.count == 0
    assert decoded.rejects[0].reason == UNKNOWN_POINT


def test_a_new_binding_is_noticed() -> None:
    """When the registry's generation changes, remembered lists of names are looked up again."""
    registry = Registered("a")
    decoder = Decoder(registry)
    entries = [entry(readings_record(Reading("b", T0, 1.0)))]
    assert decoder.decode(entries).batch.count == 0
    registry.bind("b")
    assert decoder.decode(entries).batch.point.tolist() == [1]


def test_events_tombstones_and_descriptions_pass() -> None:
    """Events carry their point if it is registered; shed and describe records are passed on; each is one."""
    known, unknown = Event("a", T0, What.FIRE), Event("z", T0, What.FIRE)
    shed, describe = Shed(3, 9, 70, "full"), Describe([Description("a", "temperature", "degC")])
    bodies: list[tuple[Kind, Event | Shed | Describe]] = [
        (Kind.EVENT, known),
        (Kind.EVENT, unknown),
        (Kind.SHED, shed),
        (Kind.DESCRIBE, describe),
    ]
    entries = [
        entry(encode_record(kind, 7, n, 2_000, encode_body(body)), n)
        for n, (kind, body) in enumerate(bodies, 1)
    ]
    decoded = Decoder(Registered("a")).decode(entries)
    events = decoded.batch.events
    assert [(event.event, event.point and event.point.id, event.age_ms) for event in events] == [
        (known, "p0", 2_000),
        (unknown, None, 2_000),
    ]
    assert [seen.name for seen in decoded.seen] == ["z"]
    assert decoded.given_up == [(entries[2], shed)]
    assert decoded.described == [("gw", describe.points)]
    assert decoded.counts == {"gw": Counts(journalled=4, passed=4)}


def test_a_plain_record_without_a_number_is_read() -> None:
    """Spool 0 and seq 0, as the intake writes for plain devices, decode like any other record."""
    record = encode_record(Kind.READINGS, 0, 0, 0, encode_readings([Reading("a", T0, 1.0)], Clock.UNSYNCED))
    assert Decoder(Registered("a")).decode([entry(record)]).batch.value.tolist() == [1.0]


@given(st.lists(st.binary(max_size=200), min_size=1), st.sampled_from(Kind), st.booleans())
def test_no_bytes_make_it_raise(bodies: list[bytes], kind: Kind, whole: bool) -> None:
    """Any record, and any body under a good header, is read or rejected, and the balance holds."""
    records = bodies if whole else [encode_record(kind, 7, 1, 0, body) for body in bodies]
    decoded = Decoder(Registered("a")).decode([entry(record, n) for n, record in enumerate(records, 1)])
    assert is_conserved(decoded)


_MESSY = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary()


@given(
    st.dictionaries(st.sampled_from(["t0", "c", "p", "i", "dt", "x", "q", "zz"]), _MESSY | st.lists(_MESSY)),
    st.integers(1, 4),
    st.data(),
)
def test_no_columns_make_it_raise(changed: dict[str, object], n: int, data: st.DataObject) -> None:
    """Columns of right and wrong lengths and types are read or rejected, and counting agrees with reading."""
    columns = {
        "i": data.draw(st.binary(min_size=2 * n, max_size=2 * n)),
        "dt": data.draw(st.binary(min_size=4 * n, max_size=4 * n)),
        "x": data.draw(st.binary(min_size=8 * n, max_size=8 * n)),
    }
    good = readings_record(Reading("a", T0, 1.0))
    decoded = Decoder(Registered("a", "b")).decode(
        [
            entry(columns_record(p=["a", "b", "c"], **columns), 1),
            entry(columns_record(**changed), 2),
            entry(good, 3),
        ]
    )
    assert is_conserved(decoded)
    assert decoded.batch.value.tolist()[-1] == 1.0


@pytest.mark.parametrize(
    ("record", "count"),
    [
        (readings_record(*(Reading("a", T0 + n, 1.0) for n in range(37))), 37),
        (readings_record(Reading("a", T0, 1.0))[:-1], 1),
        (encode_record(Kind.EVENT, 7, 1, 0, encode_body(Event("a", T0, What.FIRE))), 1),
        (columns_record(x=b""), 1),
        (columns_record(dt=b""), 1),
        (encode_record(Kind.READINGS, 7, 1, 0, b"\x93" * 300), 1),
        (b"", 1),
    ],
)  # fmt: skip
def test_readings_are_counted_without_decoding(record: bytes, count: int) -> None:
    """A readings record counts its rows, anything else is one."""
    assert count_readings(record) == count

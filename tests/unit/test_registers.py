from __future__ import annotations

import struct
from math import isnan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fengsui.model import Quality
from gateway.drivers.config import ModbusPoint, Number, Order
from gateway.drivers.registers import MAX_BITS, MAX_GAP, MAX_REGISTERS, Block, blocks, value

FORMAT = {"u16": "H", "i16": "h", "u32": "I", "i32": "i", "f32": "f"}


def point(address: int = 0, table: str = "holding", **more: object) -> ModbusPoint:
    """A point, by default a holding register."""
    fields = {"name": f"{table}-{address}", "table": table, "address": address, "quantity": "q", "uom": "1"}
    return ModbusPoint(**{**fields, **more})  # type: ignore[arg-type]


@given(
    addresses=st.sets(st.integers(0, 65_000), min_size=1, max_size=60),
    table=st.sampled_from(["coil", "discrete", "holding", "input"]),
    wide=st.booleans(),
)
def test_blocks_read_every_point_once_within_the_limits(addresses: set[int], table: str, wide: bool) -> None:
    """Every point is in exactly one block, which covers it and keeps the protocol's limits."""
    kind = {"type": "u32"} if wide and table in ("holding", "input") else {}
    points = [point(address, table, **kind) for address in addresses]
    found = blocks(points)
    assert sorted(p.name for block in found for p in block.points) == sorted(p.name for p in points)
    for block in found:
        assert block.width <= (MAX_BITS if table in ("coil", "discrete") else MAX_REGISTERS)
        for p in block.points:
            assert block.address <= p.address
            assert p.address + p.width <= block.address + block.width


def test_small_gaps_are_bridged_and_large_ones_are_not() -> None:
    """A gap of ``MAX_GAP`` addresses joins two points, one more parts them; tables never mix."""
    joined = blocks([point(0), point(1 + MAX_GAP)])
    parted = blocks([point(0), point(2 + MAX_GAP), point(1, "input")])
    assert [(b.table, b.address, b.width) for b in joined] == [("holding", 0, 2 + MAX_GAP)]
    assert [(b.table, b.address, b.width) for b in parted] == [
        ("holding", 0, 1),
        ("holding", 2 + MAX_GAP, 1),
        ("input", 1, 1),
    ]


def test_a_split_block_covers_the_same_points() -> None:
    """The halves of a block hold its points, each no wider than it must be."""
    (block,) = blocks([point(0), point(3, type="u32"), point(6)])
    left, right = block.split()
    assert [p.address for p in left.points + right.points] == [0, 3, 6]
    assert (left.address, left.width, right.address, right.width) == (0, 1, 3, 4)


@given(
    kind=st.sampled_from(["u16", "i16", "u32", "i32", "f32"]),
    word_order=st.sampled_from(["big", "little"]),
    byte_order=st.sampled_from(["big", "little"]),
    raw=st.integers(0, 2**32 - 1),
)
def test_numbers_are_read_in_every_order(
    kind: Number, word_order: Order, byte_order: Order, raw: int
) -> None:
    """What a device of any word and byte order puts into registers comes out as the number it meant."""
    size = struct.calcsize(FORMAT[kind])
    data = raw.to_bytes(4, "big")[-size:]
    (meant,) = struct.unpack(">" + FORMAT[kind], data)
    words = [data[i : i + 2] for i in range(0, size, 2)]
    if word_order == "little":
        words.reverse()
    sent = [int.from_bytes(word, byte_order) for word in words]
    subject = point(5, type=kind, word_order=word_order, byte_order=byte_order)
    got, quality = value(subject, Block("holding", 4, 1 + size // 2, (subject,)), [0, *sent])
    if isinstance(meant, float) and not abs(meant) < float("inf"):
        assert isnan(got)
        assert quality == Quality.BAD
    else:
        assert (got, quality) == (meant, Quality.GOOD)


@pytest.mark.parametrize(
    ("raw", "quality"), [(99, Quality.OUT_OF_RANGE), (100, Quality.GOOD), (201, Quality.OUT_OF_RANGE)]
)
def test_scaled_value_outside_its_bounds_is_marked(raw: int, quality: Quality) -> None:
    """Scale and offset give the value in its unit; outside of low and high it is passed on, marked."""
    subject = point(0, scale=0.5, offset=-40.0, low=10.0, high=60.0)
    assert value(subject, Block("holding", 0, 1, (subject,)), [raw]) == (raw * 0.5 - 40.0, quality)


def test_bits_are_one_and_zero() -> None:
    """A coil is 1.0 or 0.0."""
    subject = point(3, "coil")
    block = Block("coil", 0, 4, (subject,))
    assert value(subject, block, [False, False, False, True]) == (1.0, Quality.GOOD)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"name": "no spaces"}, "a name is 1 to 64"),
        ({"table": "coil", "type": "u16"}, "one bit"),
        ({"address": 65_535, "type": "f32"}, "runs past"),
    ],
)
def test_impossible_points_are_refused(fields: dict[str, object], text: str) -> None:
    """A point that no device can have is refused with the reason."""
    with pytest.raises(ValueError, match=text):
        point(**fields)  # type: ignore[arg-type]

"""Modbus tables without a socket: which addresses to read together, and what the words in them mean.

A request reads at most 125 registers or 2000 bits of one table (Modbus Application Protocol V1.1b3, 6.1
to 6.4). A 16-bit register travels big-endian; the order of the two registers of a 32-bit value, and of the
bytes within one, differs between makers, so each point states both.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import groupby
from math import isfinite, nan
from typing import NamedTuple

from fengsui.model import Quality
from gateway.drivers.config import ModbusPoint

MAX_REGISTERS = 125
MAX_BITS = 2000
MAX_GAP = 8
"""Unasked addresses read along to save a request; a device that refuses them makes the block split."""

_FORMAT = {"u16": ">H", "i16": ">h", "u32": ">I", "i32": ">i", "f32": ">f"}


class Block(NamedTuple):
    """Points of one table that one request reads."""

    table: str
    address: int
    width: int
    points: tuple[ModbusPoint, ...]

    def split(self) -> tuple[Block, Block]:
        """The two halves of a block of at least two points, after a device refused the whole."""
        middle = len(self.points) // 2
        return _block(self.points[:middle]), _block(self.points[middle:])


def blocks(points: Sequence[ModbusPoint]) -> list[Block]:
    """The fewest requests that read every point, bridging gaps up to ``MAX_GAP``."""
    found: list[Block] = []
    ordered = sorted(points, key=lambda point: (point.table, point.address))
    for _table, group in groupby(ordered, key=lambda point: point.table):
        run: list[ModbusPoint] = []
        end = 0
        for point in group:
            limit = MAX_BITS if point.is_bit else MAX_REGISTERS
            reach = max(end, point.address + point.width)
            if run and (point.address - end > MAX_GAP or reach - run[0].address > limit):
                found.append(_block(run))
                run, reach = [], point.address + point.width
            run.append(point)
            end = reach
        found.append(_block(run))
    return found


def value(point: ModbusPoint, block: Block, words: Sequence[int] | Sequence[bool]) -> tuple[float, Quality]:
    """What ``words``, the answer to ``block``, say about ``point``, and how good that is; NaN is *bad*."""
    at = point.address - block.address
    raw = float(words[at]) if point.is_bit else _number(point, words[at : at + point.width])
    if not isfinite(raw):
        return nan, Quality.BAD
    measured = raw * point.scale + point.offset
    low_enough = point.high is None or measured <= point.high
    high_enough = point.low is None or measured >= point.low
    return measured, Quality.GOOD if low_enough and high_enough else Quality.OUT_OF_RANGE


def _number(point: ModbusPoint, words: Sequence[int]) -> float:
    ordered = words if point.word_order == "big" else words[::-1]
    data = b"".join(word.to_bytes(2, point.byte_order) for word in ordered)
    return float(struct.unpack(_FORMAT[point.type or "u16"], data)[0])


def _block(points: Sequence[ModbusPoint]) -> Block:
    first = points[0].address
    end = max(point.address + point.width for point in points)
    return Block(points[0].table, first, end - first, tuple(points))

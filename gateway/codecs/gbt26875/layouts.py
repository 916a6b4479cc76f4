"""What the data units of GB/T 26875.3-2011 (clause 8.3) are made of, type flag by type flag, as data.

A unit is the type flag, the count n, and n information objects (7.1); an object is its fields in the order
given here. All numbers are little-endian unless a maker's profile says otherwise.
"""

from __future__ import annotations

from typing import NamedTuple

from gateway.codecs.gbt26875.codes import Words

SIZES: dict[str, int] = {
    "system_type": 1,
    "system_address": 1,
    "component_type": 1,
    "component_address": 4,
    "state": 2,
    "transmitter_state": 1,
    "analog_type": 1,
    "value": 2,
    "operation": 1,
    "operator": 1,
    "version": 2,
    "text": 31,
    "time": 6,
    "label": 6,
    "count": 1,
    "timeout_min": 1,
    "reserved": 1,
    "unknown": 7,
}
"""Bytes of each field; ``long_text``, a length byte and so many bytes of text, is the only one that varies.

``label`` is a time label where the standard has none, ``unknown`` what one maker sends and nobody explains.
"""

_SYSTEM = ("system_type", "system_address")
_COMPONENT = (*_SYSTEM, "component_type", "component_address")
_ASKED = (*_SYSTEM, "component_address")


class Layout(NamedTuple):
    """The objects of one type flag."""

    fields: tuple[str, ...]
    most: int
    """Objects that a unit holds at most."""
    clause: str
    words: Words
    labelled: bool = False
    """Whether the last field is the label that says when it happened, and so may be missing."""


LAYOUTS: dict[int, Layout] = {
    # up, from a transmitter to the centre
    1: Layout(
        (*_SYSTEM, "state", "time"), 102, "8.3.1.1", Words("system state", "建筑消防设施系统状态"), True
    ),
    2: Layout(
        (*_COMPONENT, "state", "text", "time"),
        22,
        "8.3.1.2",
        Words("component state", "建筑消防设施部件运行状态"),
        True,
    ),
    3: Layout(
        (*_COMPONENT, "analog_type", "value", "time"),
        63,
        "8.3.1.3",
        Words("component analog value", "建筑消防设施部件模拟量值"),
        True,
    ),
    4: Layout(
        (*_SYSTEM, "operation", "operator", "time"),
        102,
        "8.3.1.4",
        Words("facility operation", "建筑消防设施操作信息"),
        True,
    ),
    5: Layout((*_SYSTEM, "version"), 1, "8.3.1.5", Words("facility version", "建筑消防设施软件版本")),
    6: Layout(
        (*_SYSTEM, "long_text"), 3, "8.3.1.6", Words("system configuration", "建筑消防设施系统配置情况")
    ),
    7: Layout(
        (*_COMPONENT, "text"), 26, "8.3.1.7", Words("component configuration", "建筑消防设施部件配置情况")
    ),
    8: Layout((*_SYSTEM, "time"), 1, "8.3.1.8", Words("facility clock", "建筑消防设施系统时间")),
    21: Layout(
        ("transmitter_state", "time"),
        1,
        "8.3.1.9",
        Words("transmitter state", "用户信息传输装置运行状态"),
        True,
    ),
    24: Layout(
        ("operation", "operator", "time"),
        127,
        "8.3.1.10",
        Words("transmitter operation", "用户信息传输装置操作信息"),
        True,
    ),
    25: Layout(("version",), 1, "8.3.1.11", Words("transmitter version", "用户信息传输装置软件版本")),
    26: Layout(("long_text",), 1, "8.3.1.12", Words("transmitter configuration", "用户信息传输装置配置情况")),
    28: Layout(("time",), 1, "8.3.1.13", Words("transmitter clock", "用户信息传输装置系统时间")),
    # down, from the centre to a transmitter
    61: Layout(_SYSTEM, 102, "8.3.2.1", Words("read system state", "读建筑消防设施系统状态")),
    62: Layout(_ASKED, 22, "8.3.2.2", Words("read component state", "读建筑消防设施部件运行状态")),
    63: Layout(_ASKED, 63, "8.3.2.3", Words("read component analog value", "读建筑消防设施部件模拟量值")),
    64: Layout(
        (*_SYSTEM, "count", "time"),
        1,
        "8.3.2.4",
        Words("read facility operations", "读建筑消防设施操作信息"),
    ),
    65: Layout(_SYSTEM, 1, "8.3.2.5", Words("read facility version", "读建筑消防设施软件版本")),
    66: Layout(_SYSTEM, 3, "8.3.2.6", Words("read system configuration", "读建筑消防设施系统配置情况")),
    67: Layout(_ASKED, 26, "8.3.2.7", Words("read component configuration", "读建筑消防设施部件配置情况")),
    68: Layout(_SYSTEM, 1, "8.3.2.8", Words("read facility clock", "读建筑消防设施系统时间")),
    81: Layout(("reserved",), 1, "8.3.2.9", Words("read transmitter state", "读用户信息传输装置运行状态")),
    84: Layout(
        ("count", "time"),
        1,
        "8.3.2.10",
        Words("read transmitter operations", "读用户信息传输装置操作信息记录"),
    ),
    85: Layout(("reserved",), 1, "8.3.2.11", Words("read transmitter version", "读用户信息传输装置软件版本")),
    86: Layout(
        ("reserved",), 1, "8.3.2.12", Words("read transmitter configuration", "读用户信息传输装置配置情况")
    ),
    88: Layout(("reserved",), 1, "8.3.2.13", Words("read transmitter clock", "读用户信息传输装置系统时间")),
    89: Layout(("reserved",), 1, "8.3.2.14", Words("initialise transmitter", "初始化用户信息传输装置")),
    90: Layout(("time",), 1, "8.3.2.15", Words("set transmitter clock", "同步用户信息传输装置时钟")),
    91: Layout(("timeout_min",), 1, "8.3.2.16", Words("post check", "查岗命令")),
}

OTHER: dict[int, tuple[tuple[str, ...], ...]] = {
    2: (
        (*_COMPONENT, "state", "time"),  # without text
        (*_COMPONENT, "state"),
        (*_COMPONENT, "state", "unknown"),  # 16 bytes, one maker's
    ),
    90: ((), ("time", "label")),
    91: ((), ("timeout_min", "label")),
}
"""Layouts that makers use besides the standard's; each has a size of its own."""


def size(fields: tuple[str, ...]) -> int:
    """Bytes of an object with these fields, none of which varies."""
    return sum(SIZES[field] for field in fields)


def variants(type_: int) -> tuple[tuple[str, ...], ...]:
    """Every layout an object of this type is met in, the standard's first; told apart by their sizes."""
    layout = LAYOUTS[type_]
    met = [layout.fields]
    if layout.labelled:
        met.append(layout.fields[:-1])
    elif layout.fields == ("reserved",):
        met.append(())
    elif "time" not in layout.fields and "long_text" not in layout.fields and type_ not in OTHER:
        met.append((*layout.fields, "label"))
    return (*met, *OTHER.get(type_, ()))

"""Levels: one quantity with several limits, written once and judged as thresholds of one family of names.

The first level raises the alarm and its end clears it; each further one escalates and downgrades it. The
alarm book does that by severity, so a level is a threshold ``name.1``, ``name.2``, ... of rising severity.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from alerting.rulebook.document import Malformed, Node

_Seconds = Annotated[float, Meta(ge=0)]


class _Holds(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long each change must have lasted."""

    raise_s: _Seconds = 0.0
    escalate_s: _Seconds = 0.0
    downgrade_s: _Seconds = 0.0
    clear_s: _Seconds = 0.0


class _Level(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    limit: float
    reset: float
    severity: int


def thresholds(node: Node) -> list[Node]:
    """An entry of ``levels:`` as entries of ``threshold:``; keys it does not know are for those to refuse.

    Raises:
        Malformed: Holds or levels that are none, or do not rise.
    """
    if not isinstance(node.value, dict):
        raise Malformed(node.line, "levels: each is a mapping with name, above or below, and holds")
    fields: dict[str, Node] = dict(node.value)
    name = fields.pop("name", Node(node.line, "")).value
    what = f"levels {name}" if isinstance(name, str) and name else "levels"
    if what == "levels":
        raise Malformed(node.line, "levels: key `name` is missing; add it")
    holds = Node(
        node.line, {key: fields.pop(key) for key in _Holds.__struct_fields__ if key in fields}
    ).convert(_Holds, what)
    sides = [side for side in ("above", "below") if side in fields]
    if len(sides) != 1:
        raise Malformed(node.line, f"{what}: give exactly one of above and below, as a list of levels")
    side = sides[0]
    listed = fields.pop(side)
    if not isinstance(listed.value, list) or len(listed.value) < 2:
        raise Malformed(listed.line, f"{what}: {side} is a list of two levels or more; one is a threshold")
    levels = [item.convert(_Level, f"{what}: a level") for item in listed.value]
    sign = 1.0 if side == "above" else -1.0
    for item, level, before in zip(listed.value[1:], levels[1:], levels, strict=False):
        if level.limit * sign <= before.limit * sign or level.severity <= before.severity:
            raise Malformed(
                item.line, f"{what}: each level is further out and of higher severity than the one before it"
            )
    made = []
    for number, item in enumerate(listed.value, 1):
        first = number == 1
        own = {
            "name": Node(item.line, f"{name}.{number}"),
            side: item.value["limit"],
            "reset": item.value["reset"],
            "severity": item.value["severity"],
            "on_delay_s": Node(node.line, holds.raise_s if first else holds.escalate_s),
            "off_delay_s": Node(node.line, holds.clear_s if first else holds.downgrade_s),
        }
        if twice := own.keys() & fields.keys():
            key = min(twice)
            raise Malformed(fields[key].line, f"{what}: {key} belongs to a level or to a hold, not here")
        made.append(Node(item.line, fields | own))
    return made

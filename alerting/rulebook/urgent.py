"""Which readings a gateway must send first: the limits of its points at which a threshold could raise. Pure.

A gateway knows no rules. It is given, for each of its points, the limit that any threshold of class fire or
pre-alarm reaches first, and sends what is beyond by the alarm lane. Delays and hours are left out: what could
raise is urgent, whether it will or not. A rate of rise has no limit by which one reading could be told.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from alerting.detect.rules import Threshold
from alerting.detect.slots import applies
from fengsui.model import AlarmClass, Point

CLASSES = (AlarmClass.FIRE, AlarmClass.PREALARM)


class Limits(NamedTuple):
    """A reading at or beyond one of these is urgent; in the point's unit of measure, None = no such limit."""

    above: float | None
    below: float | None


def limits(rules: Sequence[Threshold], points: Iterable[Point]) -> dict[str, Limits]:
    """The urgent limits of the points that have any, by the name their gateway calls them.

    Args:
        rules: Those of other classes than ``CLASSES`` count for nothing.
        points: Of one gateway. A rule counts where it judges: its quantity, its unit of measure, its scope;
            one relative to the point's range by the limit it has there.
    """
    found: dict[str, Limits] = {}
    for point in points:
        own = [rule.at(point) for rule in rules if rule.cls in CLASSES and applies(rule, point)]
        above = min((rule.above for rule in own if rule is not None and rule.above is not None), default=None)
        below = max((rule.below for rule in own if rule is not None and rule.below is not None), default=None)
        if above is not None or below is not None:
            found[point.name] = Limits(above, below)
    return found


def in_toml(limits: Mapping[str, Limits]) -> str:
    """The limits as blocks of a gateway's settings, or of the file that its ``urgent_file`` names."""
    blocks = []
    for name, (above, below) in sorted(limits.items()):
        keys = (("urgent_above", above), ("urgent_below", below))
        lines = [f"{key} = {float(limit)!r}" for key, limit in keys if limit is not None]
        blocks.append("\n".join([f"[points.{json.dumps(name)}]", *lines, ""]))
    return "\n".join(blocks)

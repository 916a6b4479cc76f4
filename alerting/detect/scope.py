"""For which points a rule is: a selector over unit, building, zone, device type, device and point. Pure."""

from __future__ import annotations

import re

import msgspec

from fengsui.model import Point

Patterns = str | tuple[str, ...]
"""One pattern or several: ``*`` stands for any text, a leading ``!`` takes out again what it names."""


class Scope(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Points that every given part fits; a part that is not given fits all of them.

    A part fits when one of its patterns does, and none that begins with ``!``. Parts with nothing but
    ``!`` patterns fit what none of them names.
    """

    unit: Patterns = ()
    building: Patterns = ()
    zone: Patterns = ()
    device_type: Patterns = ()
    device: Patterns = ()
    point: Patterns = ()

    def __post_init__(self) -> None:
        """Refuse a pattern that can fit nothing."""
        for part, patterns in self.parts().items():
            if any(pattern in ("", "!") for pattern in patterns):
                raise ValueError(f"scope: an empty pattern for {part} fits nothing; leave {part} out")

    def parts(self) -> dict[str, tuple[str, ...]]:
        """The parts that are given, each with its patterns."""
        given = {part: value for part, value in msgspec.structs.asdict(self).items() if value != ()}
        return {part: (value,) if isinstance(value, str) else value for part, value in given.items()}

    def covers(self, point: Point) -> bool:
        """Whether the rule is for ``point``."""
        return all(
            _fits(patterns, point.id if part == "point" else getattr(point, part))
            for part, patterns in self.parts().items()
        )


EVERYWHERE = Scope()


def _fits(patterns: tuple[str, ...], text: str) -> bool:
    wanted = [pattern for pattern in patterns if not pattern.startswith("!")]
    return (not wanted or any(_matches(pattern, text) for pattern in wanted)) and not any(
        _matches(pattern[1:], text) for pattern in patterns if pattern.startswith("!")
    )


def _matches(pattern: str, text: str) -> bool:
    if "*" not in pattern:
        return pattern == text
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text, re.DOTALL) is not None

"""For which points a rule is: a selector over unit, building, zone, device type, device and point. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

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
        return all(_matcher(patterns)(_text(point, part)) for part, patterns in self.parts().items())


EVERYWHERE = Scope()


class Places:
    """Where many points are; what many scopes cover of them costs a look at each different place.

    Args:
        points: In the order of the answers.
    """

    def __init__(self, points: Sequence[Point]) -> None:
        self._points = points
        self._numbered: dict[str, tuple[list[str], NDArray[np.intp]]] = {}

    def covered(self, scope: Scope) -> NDArray[np.bool_]:
        """Which of the points ``scope`` covers, shape (points,)."""
        covered = np.ones(len(self._points), np.bool_)
        for part, patterns in scope.parts().items():
            texts, number = self._number(part)
            fits = _matcher(patterns)
            covered &= np.array([fits(text) for text in texts], np.bool_)[number]
        return covered

    def _number(self, part: str) -> tuple[list[str], NDArray[np.intp]]:
        """The different texts of a part, and which of them each point has."""
        if part not in self._numbered:
            known: dict[str, int] = {}
            numbers = (known.setdefault(_text(point, part), len(known)) for point in self._points)
            number = np.fromiter(numbers, np.intp, len(self._points))
            self._numbered[part] = list(known), number
        return self._numbered[part]


def _text(point: Point, part: str) -> str:
    text: str = getattr(point, "id" if part == "point" else part)
    return text


def _matcher(patterns: tuple[str, ...]) -> Callable[[str], bool]:
    wanted = [_compiled(pattern) for pattern in patterns if not pattern.startswith("!")]
    unwanted = [_compiled(pattern[1:]) for pattern in patterns if pattern.startswith("!")]
    return lambda text: (
        (not wanted or any(one(text) for one in wanted)) and not any(one(text) for one in unwanted)
    )


def _compiled(pattern: str) -> Callable[[str], object]:
    if "*" not in pattern:
        return pattern.__eq__
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL).fullmatch

"""Names that gateways send and nobody has registered, so that a person can accept them. Pure, bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import isfinite

import msgspec

from ingest.decode import Described, Seen
from ingest.inventory import MAX_UOM, display

MAX_NAMES = 10_000
MAX_NAMES_PER_GATEWAY = 1_000
"""One gateway that invents names must not keep the others' out of the list."""


class Discovered(msgspec.Struct, kw_only=True):
    """An unbound name: what is known of it, and how often its readings or events came past."""

    gateway: str
    name: str
    quantity: str = ""
    """As the driver says; empty when it has not said."""
    uom: str = ""
    value: float | None = None
    """The last one; None before the first, for an event, and when it was invalid."""
    at_us: int | None = None
    """Measured at, us since 1970 UTC, gateway clock."""
    count: int = 0


class DiscoveredNames:
    """The unbound names met since this process began, in the order of their first coming."""

    def __init__(self, is_bound: Callable[[str, str], bool]) -> None:
        self._is_bound = is_bound
        self._names: dict[tuple[str, str], Discovered] = {}
        self._per_gateway: dict[str, int] = {}
        self.beyond = 0
        """Readings and descriptions of further names, which there was no room for."""

    def all(self) -> list[Discovered]:
        """Every name in the list."""
        return list(self._names.values())

    def see(self, seen: Iterable[Seen]) -> None:
        """Take note of names as the decoder met them; bound ones are left out."""
        for one in seen:
            name = self._find(one.gateway, one.name, one.count)
            if name is not None:
                name.value = one.value if isfinite(one.value) else None
                name.at_us = one.at_us
                name.count += one.count

    def describe(self, described: Iterable[Described]) -> None:
        """Take note of what drivers say about their points; bound ones are left out."""
        for gateway, points in described:
            for point in points:
                name = self._find(gateway, point.name, 1)
                if name is not None:
                    name.quantity, name.uom = _shown(point.quantity), _shown(point.unit)

    def forget_bound(self) -> None:
        """Drop the names that somebody has registered meanwhile."""
        self.forget([key for key in self._names if self._is_bound(*key)])

    def forget(self, bindings: Iterable[tuple[str, str]]) -> None:
        """Drop these (gateway, name), as far as they are in the list: they were registered just now."""
        for gateway, name in bindings:
            if self._names.pop((gateway, name), None) is None:
                continue
            self._per_gateway[gateway] -= 1
            if not self._per_gateway[gateway]:
                del self._per_gateway[gateway]

    def _find(self, gateway: str, name: str, count: int) -> Discovered | None:
        found = self._names.get((gateway, name))
        if found is not None or self._is_bound(gateway, name):
            return found
        of_gateway = self._per_gateway.get(gateway, 0)
        if len(self._names) >= MAX_NAMES or of_gateway >= MAX_NAMES_PER_GATEWAY:
            self.beyond += count
            return None
        self._per_gateway[gateway] = of_gateway + 1
        found = self._names[gateway, name] = Discovered(gateway=gateway, name=name)
        return found


def _shown(text: str) -> str:
    """A driver's text if people may see it, else nothing."""
    try:
        return display(text, "text", longest=MAX_UOM)
    except ValueError:
        return ""

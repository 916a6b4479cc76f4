"""Which unit of measure a quantity has here, so that a limit in another one is refused and not believed."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import NamedTuple

QUANTITIES: Mapping[str, tuple[str, ...]] = {
    "temperature": ("degC",),
    "cable_temperature": ("degC",),
    "motor_temperature": ("degC",),
    "fluid_temperature": ("degC",),
    "smoke": ("%/m",),
    "light_transmission": ("%",),
    "co": ("ppm",),
    "co2": ("ppm",),
    "voc": ("ppm",),
    "oxygen": ("%",),
    "gas": ("%LEL", "ppm"),
    "humidity": ("%",),
    "pressure": ("kPa",),
    "water_pressure": ("kPa",),
    "air_pressure": ("Pa",),
    "flow": ("L/min",),
    "level": ("m", "%"),
    "residual_current": ("mA",),
    "current": ("A",),
    "voltage": ("V",),
    "power": ("kW",),
    "vibration": ("mm/s", "g"),
    "heat_flux": ("kW/m2",),
    "wind_speed": ("m/s",),
    "battery": ("V", "%"),
    "contact": ("1",),
}
"""Quantity to its units of measure; a site adds its own ones under ``quantities:``."""


class _Conversion(NamedTuple):
    to: str
    factor: float
    offset: float = 0.0


_CONVERSIONS: tuple[tuple[str, _Conversion], ...] = (
    ("bar", _Conversion("kPa", 100.0)),
    ("mbar", _Conversion("kPa", 0.1)),
    ("MPa", _Conversion("kPa", 1000.0)),
    ("Pa", _Conversion("kPa", 0.001)),
    ("psi", _Conversion("kPa", 6.894757)),
    ("kPa", _Conversion("Pa", 1000.0)),
    ("mbar", _Conversion("Pa", 100.0)),
    ("degF", _Conversion("degC", 1 / 1.8, -32 / 1.8)),
    ("K", _Conversion("degC", 1.0, -273.15)),
    ("A", _Conversion("mA", 1000.0)),
    ("mA", _Conversion("A", 0.001)),
    ("mV", _Conversion("V", 0.001)),
    ("kV", _Conversion("V", 1000.0)),
    ("W", _Conversion("kW", 0.001)),
    ("cm", _Conversion("m", 0.01)),
    ("mm", _Conversion("m", 0.001)),
    ("L/s", _Conversion("L/min", 60.0)),
    ("m3/h", _Conversion("L/min", 1000 / 60)),
    ("%", _Conversion("ppm", 10_000.0)),
    ("vol %", _Conversion("ppm", 10_000.0)),
    ("mol/mol", _Conversion("ppm", 1e6)),
    ("cm/s", _Conversion("mm/s", 10.0)),
)


def objection(
    quantity: str, uom: str, limit: float | None, more: Mapping[str, tuple[str, ...]]
) -> str | None:
    """Why a limit of ``quantity`` cannot be in ``uom``, and what it would be; None = it can.

    Args:
        quantity: What the rule is about.
        uom: The rule's unit of measure.
        limit: For the example; None: 1.
        more: Quantities of the site, with their units of measure.
    """
    known = {**QUANTITIES, **more}
    if quantity not in known:
        near = difflib.get_close_matches(quantity, known, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        return f"no quantity {quantity!r} is known; {hint}One of your own goes under quantities: with its uom"
    units = known[quantity]
    if uom in units:
        return None
    wanted = " or ".join(units)
    for other, conversion in _CONVERSIONS:
        if other == uom and conversion.to in units:
            example = 1.0 if limit is None else limit
            same = example * conversion.factor + conversion.offset
            return (
                f"{quantity} is in {wanted} here, not {uom}: {example:g} {uom} = {same:.4g} {conversion.to}"
            )
    return f"{quantity} is in {wanted} here, not {uom}"

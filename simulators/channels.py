"""Which channels of a recording a building would have, and what they say in the units that rules speak.

One written rule over quantity, unit of measure and position words; no file and no family is named anywhere.
``docs/evaluation.md`` tells the same to people.

1. A channel that is *not calibrated* (raw counts, an index, "as in source") says nothing about a limit: left
   out.
2. The quantity and the unit must stand in :data:`CONVERSIONS`; a pair that does not is left out. So a gas
   given as a flow, a flag, a heat release rate and a light transmission without a path are left out.
3. A **temperature** is a *detector* channel when it is near the ceiling
   (:func:`gateway.drivers.recording.near_ceiling`). Where a file places no thermometer near a ceiling, those
   of the room are, which are all that name no thing and no other place.
4. A **gas or smoke probe**, and humidity, is a *detector* channel unless it names a duct, a hood or outdoors.
5. What names a thing (cable, motor, battery cell, water) or measures equipment (pressure in a pipe, flow,
   current, voltage, vibration) is an *equipment* channel: watched for faults, no fire detector. So is a
   temperature whose unit its source does not state: a limit in degC would judge a guess, a change against its
   own past does not.
6. What does not read like a room at rest in its first ten seconds is not connected and left out: an open
   thermocouple, a CO analyser with a wrong zero. O2 or CO2 that is not the air's takes with it every gas of
   the same place (:func:`unplugged`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gateway.drivers.recording import Column, near_ceiling

Floats = NDArray[np.float64]

START_C = 20.0
"""Room temperature that a recorded *rise above the start* is taken to start from, degC."""
REST_S = 10.0
AT_REST = {"temperature": (-40.0, 85.0), "o2": (20.0, 21.8), "co2": (-1000.0, 5000.0), "co": (-50.0, 50.0)}
"""What a connected detector reads before anything burns: degC within the range of industrial electronics, O2
in vol% (20.9 and the error of an analyser), CO2 in ppm up to the limit for a working day, CO in ppm up to the
lowest limit of EN 50291."""


class Use(StrEnum):
    """What a channel is fed for."""

    DETECTOR = "detector"
    EQUIPMENT = "equipment"


class Conversion(NamedTuple):
    """A row of the table: what a quantity in a unit becomes, by which formula, and where that is from."""

    quantity: str
    uom: str
    formula: str
    source: str
    convert: Callable[[Floats], Floats]


class Channel(NamedTuple):
    """A chosen column and what it is to the rules."""

    column: Column
    use: Use
    quantity: str
    uom: str
    convert: Callable[[Floats], Floats]
    absolute_c: bool
    """A detector's temperature in real degC, for the yardsticks; a rise above the start is not."""


class Choice(NamedTuple):
    """The channels of a file in its order, and why the other columns are none."""

    channels: tuple[Channel, ...]
    left_out: dict[str, str]
    """Reason by column name."""

    def reasons(self) -> str:
        """How many columns are left out for which reason, in a few words."""
        counted = Counter(self.left_out.values())
        return "; ".join(f"{count} {reason}" for reason, count in counted.most_common())


def choose(columns: Sequence[Column]) -> Choice:
    """Channels by the rule in the module's text."""
    measured = [column for column in columns if column.quantity != "time" and column.uom != "1"]
    left_out = {c.name: "not calibrated" for c in measured if _UNCALIBRATED.search(f"{c.uom} {c.text}")}
    rest = [c for c in measured if c.name not in left_out]
    stated = [c for c in rest if c.quantity in _TEMPERATURES and not c.uom.endswith("?")]
    near = {c.name for c in near_ceiling(stated)}
    channels: list[Channel] = []
    for column in rest:
        found = _channel(column, near)
        if isinstance(found, str):
            left_out[column.name] = found
        else:
            channels.append(found)
    return Choice(tuple(channels), left_out)


def unplugged(channels: Sequence[Channel], t_s: Floats, values: Floats) -> set[str]:
    """Names of the columns that do not read like a room at rest in the first ten seconds.

    Args:
        channels: Shape (m,).
        t_s: Shape (n,), any origin.
        values: Converted, shape (n, m); NaN = missing, and who has no value then is given the benefit.
    """
    early = values[t_s <= t_s[0] + REST_S]
    bad: set[str] = set()
    for number, channel in enumerate(channels):
        read = early[:, number]
        read = read[np.isfinite(read)]
        if channel.use is not Use.DETECTOR or channel.quantity not in AT_REST or not len(read):
            continue
        low, high = AT_REST[channel.quantity]
        if not low <= float(np.median(read)) <= high:
            name = channel.column.name
            bad |= {name}
            if channel.quantity in _AIR:
                bad |= {c.column.name for c in channels if _station(c.column.name) == _station(name)}
    return bad


def _channel(column: Column, near: set[str]) -> Channel | str:
    conversion = CONVERSIONS.get((column.quantity, column.uom.removesuffix("?")))
    if conversion is None:
        return f"{column.quantity} in {column.uom or 'no unit'}: no rule speaks it"
    words = f"{column.text} {column.name}".lower().replace("_", " ")
    quantity = conversion.quantity
    use = Use.DETECTOR
    absolute_c = False
    if quantity == "temperature":
        thing = next((ours for pattern, ours in _THINGS if pattern.search(words)), None)
        absolute_c = column.quantity == "temperature"
        if column.name in near:
            pass
        elif thing is not None:
            quantity, use = thing, Use.EQUIPMENT
        elif column.uom.endswith("?"):
            quantity, use = "machine_temperature", Use.EQUIPMENT
        elif near:
            return "temperature not near the ceiling"
        elif _NOT_THE_ROOM.search(words):
            return "temperature of another place"
    elif quantity == "pressure":
        if _FIRE_MAIN.search(words):
            quantity = "water_pressure"
        elif not _PIPE.search(words):
            return "pressure of a room"
        use = Use.EQUIPMENT
    elif quantity == "current":
        if _RESIDUAL.search(words):
            return Channel(column, Use.EQUIPMENT, "residual_current", "mA", _times(1000.0, conversion), False)
        use = Use.EQUIPMENT
    elif quantity in _EQUIPMENT:
        use = Use.EQUIPMENT
    elif _DUCTED.search(words):
        return "gas or smoke of another place"
    detects_c = absolute_c and use is Use.DETECTOR
    return Channel(column, use, quantity, conversion.uom, conversion.convert, detects_c)


def _times(factor: float, conversion: Conversion) -> Callable[[Floats], Floats]:
    return lambda x: conversion.convert(x) * factor


def _station(name: str) -> str:
    """Where a gas probe samples: its name without the gas; anything else is a station of its own."""
    return _GAS.sub("*", name.lower(), count=1)


_UNCALIBRATED = re.compile(
    r"uncalibrated|\braw,|^raw\b|as in source|\bindex\b|\bcounts?\b|\badc\b", re.IGNORECASE
)
_THINGS = (
    (re.compile(r"\b(cable|conduit|wire|conductor|busbar|bus bar|joint|lug)s?\b"), "cable_temperature"),
    (re.compile(r"\b(cell|battery|module)\b"), "battery_temperature"),
    (
        re.compile(
            r"\b(motor|machine|bearing|winding|stator|rotor|gearbox|pump|engine|transformer|compressor)\b"
        ),
        "machine_temperature",
    ),
    (re.compile(r"\b(water|fluid|coolant|oil|liquid)\b"), "fluid_temperature"),
)
"""Words that name what a thermometer sits on or in; the first that matches."""
_NOT_THE_ROOM = re.compile(
    r"\b(shroud|surface|wall|steel|plate|target|specimen|heater|oven|plume|door|doorway|lintel|window|sill|vent"
    r"|register|duct|exhaust|hood|stack|flue|chimney|outdoors?|outside|attic|ref|reference|fire)\b|samp"
)
_DUCTED = re.compile(r"\b(duct|exhaust|hood|stack|flue|chimney|outdoors?|outside)\b")
_FIRE_MAIN = re.compile(r"\b(hydrant|sprinkler|standpipe|riser|fire (main|water|pump))\b")
_PIPE = re.compile(r"\b(water|pump|pipe|pipeline|main|hydraulic|fluid|oil|loop|inlet|outlet)\b")
_RESIDUAL = re.compile(r"\b(residual|leakage|earth|ground)\b")
_TEMPERATURES = frozenset({"temperature", "temperature_rise"})
_AIR = frozenset({"o2", "co2"})
"""Gases that are in the air: a probe that reads none, or far too much, does not sample the room."""
_EQUIPMENT = frozenset({"flow", "voltage", "vibration"})
_GAS = re.compile(
    r"(?<![a-z])(carbon_monoxide|carbon_dioxide|oxygen|hydrocarbons?|co2|co|o2|thc|uh)(?=[_\d]|front|rear|move|$)"
)

_SAME = "no conversion"
_SI = "definition of the unit"
_IDEAL_GAS = "parts by volume are parts by amount (ideal gas)"
_CFAST = "CFAST Technical Reference (Mulholland)"


def _linear(factor: float, offset: float = 0.0) -> Callable[[Floats], Floats]:
    return lambda x: x * factor + offset


def _obscured(base: float, scale: float) -> Callable[[Floats], Floats]:
    return lambda x: 100.0 * (1.0 - base ** (-x * scale))


def _per_metre(x: Floats) -> Floats:
    """%/ft to %/m; beyond 100 % is 100 %."""
    clear: Floats = np.maximum(1.0 - x / 100.0, 0.0)
    return 100.0 * (1.0 - clear ** (1.0 / 0.3048))


_KM_PER_MG = 8700e-6
"""Light extinction of soot, m2/mg: 8700 m2/kg."""

CONVERSIONS: dict[tuple[str, str], Conversion] = {
    ("temperature", "degC"): Conversion("temperature", "degC", "x", _SAME, _linear(1)),
    ("temperature", "degF"): Conversion(
        "temperature", "degC", "(x - 32) / 1.8", _SI, _linear(1 / 1.8, -32 / 1.8)
    ),
    ("temperature", "K"): Conversion("temperature", "degC", "x - 273.15", _SI, _linear(1, -273.15)),
    ("temperature_rise", "K"): Conversion(
        "temperature", "degC", "20 + x", "assumed: the room was at 20 degC at the start", _linear(1, START_C)
    ),
    ("smoke", "%/m"): Conversion("smoke", "%/m", "x", _SAME, _linear(1)),
    ("smoke", "%/ft"): Conversion("smoke", "%/m", "100 (1 - (1 - x/100)^(1/0.3048))", _SI, _per_metre),
    ("smoke_density", "1/m"): Conversion("smoke", "%/m", "100 (1 - 10^-x)", _CFAST, _obscured(10.0, 1.0)),
    ("smoke_density", "dB/m"): Conversion(
        "smoke", "%/m", "100 (1 - 10^(-x/10))", "EN 54-7", _obscured(10.0, 0.1)
    ),
    ("smoke_extinction", "1/m"): Conversion(
        "smoke", "%/m", "100 (1 - e^-x)", "Beer-Lambert", _obscured(np.e, 1.0)
    ),
    ("light_transmission", "%/m"): Conversion("smoke", "%/m", "100 - x", _SI, _linear(-1, 100.0)),
    ("soot", "mg/m3"): Conversion(
        "smoke", "%/m", "100 (1 - e^(-0.0087 x))", _CFAST, _obscured(np.e, _KM_PER_MG)
    ),
    **{
        (gas, uom): Conversion(gas, "ppm", formula, _SAME if formula == "x" else _IDEAL_GAS, _linear(factor))
        for gas in ("co", "co2", "hydrocarbons", "voc")
        for uom, formula, factor in (
            ("ppm", "x", 1.0),
            ("ppb", "x / 1000", 1e-3),
            ("vol%", "10^4 x", 1e4),
            ("%", "10^4 x", 1e4),
            ("mol/mol", "10^6 x", 1e6),
        )
    },
    ("co", "mg/m3"): Conversion(
        "co", "ppm", "0.873 x", "24.45 L/mol at 25 degC, 28.01 g/mol", _linear(24.45 / 28.01)
    ),
    ("o2", "vol%"): Conversion("o2", "vol%", "x", _SAME, _linear(1)),
    ("o2", "%"): Conversion("o2", "vol%", "x", _SAME, _linear(1)),
    ("o2", "mol/mol"): Conversion("o2", "vol%", "100 x", _IDEAL_GAS, _linear(100)),
    ("humidity", "%"): Conversion("humidity", "%", "x", _SAME, _linear(1)),
    **{
        ("pressure", uom): Conversion("pressure", "kPa", f"{factor:g} x", _SI, _linear(factor))
        for uom, factor in (
            ("Pa", 1e-3),
            ("kPa", 1.0),
            ("bar", 100.0),
            ("mbar", 0.1),
            ("MPa", 1e3),
            ("psi", 6.894757),
        )
    },
    **{
        ("flow", uom): Conversion("flow", "L/min", f"{factor:.4g} x", _SI, _linear(factor))
        for uom, factor in (("L/min", 1.0), ("L/s", 60.0), ("m3/h", 1000 / 60))
    },
    ("current", "A"): Conversion("current", "A", "x (a residual current: mA, 1000 x)", _SI, _linear(1)),
    ("current", "mA"): Conversion("current", "A", "x / 1000 (a residual current: mA, x)", _SI, _linear(1e-3)),
    ("voltage", "V"): Conversion("voltage", "V", "x", _SAME, _linear(1)),
    ("vibration", "g"): Conversion("vibration", "g", "x", _SAME, _linear(1)),
    ("vibration", "m/s2"): Conversion("vibration", "g", "x / 9.80665", _SI, _linear(1 / 9.80665)),
}
"""(quantity, unit of measure) of a recording to what the rules speak."""

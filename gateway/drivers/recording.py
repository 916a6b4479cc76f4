"""Recordings of real fires, nuisances and faults: a CSV file, ``manifest.csv`` and ``columns.csv``.

The file is UTF-8, comma, one header line, gzip or plain; a blank cell is *no reading*, and so is the cell
that the manifest's ``missing_code`` names. ``columns.csv`` gives each column's quantity and unit in words,
the manifest a row per file. Both are looked for beside the file and one folder up; without them units come
from the ends of the column names (``_c``, ``_ppm``, ...) and every cell that is not blank counts.

The time axis is the column whose quantity is time: seconds (``time_s``), or a timestamp, which is read as UTC
and becomes seconds since 1970. A file without one is sampled evenly, every ``sampling_s`` of the manifest.

**Default column: the first near-ceiling temperature.** Among the columns of quantity temperature in degC, in
the order of the file, the first that is *near the ceiling*, which is any one of

1. at most 0.3 m below the ceiling by its name (``..._25_mm_below_ceiling``, ``..._1_ft_below_ceiling``), or
   at the ceiling in words (``ceiling_temperature``) without a distance;
2. by its name the highest of its stem above the floor, and at least 2 m up (``..._2p41_m_above_floor``);
3. the level that its quantity calls *nearest ceiling*, *highest* or *top* (``1 = nearest ceiling``);
4. the highest of its stem where the numbers at the end are heights in cm, which is when the largest is at
   least 200 (``tr3`` ... ``tr237``).

What stands in a plume, a doorway, a window, an attic, a duct or a surface is never near the ceiling.

Where none is, the first temperature in degC; where there is none of these either, the first temperature of
any unit, a rise above the start included. What a column *measured* plays no part: a broken sensor is not
passed over.
"""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from difflib import get_close_matches
from io import TextIOWrapper
from math import nan
from pathlib import Path
from typing import NamedTuple

from fengsui.errors import FengsuiError
from fengsui.model import POINT_NAME

MAX_TIME_S = 4e9
"""Furthest from 0 that a time axis may reach, s: seconds since 1970 stay below it until 2096."""
NEAR_CEILING_M = 0.305
"""0.3 m, and a foot."""
HIGH_ABOVE_FLOOR_M = 2.0
HEIGHTS_CM = 200
"""Numbers reaching this far are heights in cm, not a count of levels."""


class RecordingError(FengsuiError):
    """A file that is no recording, or a column it does not have; the text names file, line and remedy."""


class Column(NamedTuple):
    """One column: its name in the file, the point's name it becomes, and what it measures in which unit."""

    name: str
    point: str
    quantity: str
    uom: str
    text: str
    """Quantity in the words of ``columns.csv``."""


class Row(NamedTuple):
    """One line: ``t_s`` on the file's own axis, and a value per chosen column (None = no reading).

    NaN is a cell that is there and no number: measured and invalid.
    """

    t_s: float
    values: tuple[float | None, ...]


class Recording:
    """One recorded file, opened: its columns are known, its rows are read as they are asked for."""

    def __init__(self, file: Path) -> None:
        """Read the header and what manifest and columns say.

        Raises:
            RecordingError: no such file, no header, no time axis.
        """
        self.file = file
        with self._lines() as lines:
            self._header = next(lines, [])
        if len(self._header) != len(set(self._header)) or not any(self._header):
            raise RecordingError(f"{file}: the first line must name the columns, each once")
        family, about = _tables(file)
        self.about = about
        """The manifest's row of this file; empty without a manifest."""
        self.missing_code = about.get("missing_code", "").strip()
        self._missing = _number_or_none(self.missing_code)
        self.t_ignition_s = seconds(about.get("t_ignition_s", ""))
        self._sampling_s = _number_or_none(about.get("sampling_s", ""))
        self.columns = tuple(_column(name, *family.get(name, _by_suffix(name))) for name in self._header)
        self._time = next((i for i, c in enumerate(self.columns) if c.quantity == "time"), None)
        if self._time is None and self._sampling_s is None:
            raise RecordingError(f"{file}: no time column, and no sampling_s in a manifest.csv")
        self.skipped = 0
        """Rows without a time, left out by the last reading of :meth:`rows`."""

    def choose(self, names: Sequence[str] = ()) -> tuple[Column, ...]:
        """The named columns in the order given, or the default column.

        Raises:
            RecordingError: an unknown column, or no name given and no temperature in the file.
        """
        if not names:
            default = default_column(self.columns)
            if default is None:
                raise RecordingError(f"{self.file}: has no temperature; name a column: {self._some_names()}")
            return (default,)
        known = {column.name: column for column in self.columns}
        for name in names:
            if name not in known:
                near = get_close_matches(name, known, n=3) or [self._some_names()]
                raise RecordingError(f"{self.file}: no column {name!r}; did you mean {', '.join(near)}?")
        return tuple(known[name] for name in dict.fromkeys(names))

    def rows(self, columns: Sequence[Column]) -> Generator[Row, None, None]:
        """Every row with a time, in the order of the file.

        Raises:
            RecordingError: a line with another number of cells, an unreadable time, or a damaged file.
        """
        places = [self._header.index(column.name) for column in columns]
        self.skipped = 0
        with self._lines() as lines:
            next(lines, None)
            for number, cells in enumerate(lines):
                line = number + 2
                if not cells:
                    continue
                if len(cells) != len(self._header):
                    raise RecordingError(
                        f"{self.file}, line {line}: {len(cells)} cells, the header has {len(self._header)}"
                    )
                t_s = self._at(cells, number)
                if t_s is None:
                    self.skipped += 1
                else:
                    yield Row(t_s, tuple(self._value(cells[place]) for place in places))

    def span(self) -> tuple[float, float]:
        """Time of the first and of the last row, s, on the file's own axis; reads the file once."""
        times = [row.t_s for row in self.rows(())]
        if not times:
            raise RecordingError(f"{self.file}: has no row with a time")
        return times[0], times[-1]

    def _at(self, cells: Sequence[str], number: int) -> float | None:
        if self._time is None:
            return number * (self._sampling_s or 0.0)
        cell = cells[self._time].strip()
        if not cell:
            return None
        t_s = seconds(cell)
        if t_s is None or not abs(t_s) <= MAX_TIME_S:
            raise RecordingError(f"{self.file}, line {number + 2}: {cell[:40]!r} is no time")
        return t_s

    def _value(self, cell: str) -> float | None:
        cell = cell.strip()
        if not cell or cell == self.missing_code:
            return None
        if cell.lower() in ("true", "false"):
            return float(cell.lower() == "true")
        value = _number_or_none(cell)
        if value is None:
            return nan
        return None if value == self._missing else value

    def _some_names(self) -> str:
        return ", ".join(self._header[:5]) + (", ..." if len(self._header) > 5 else "")

    @contextmanager
    def _lines(self) -> Iterator[Iterator[list[str]]]:
        try:
            with self.file.open("rb") as raw:
                packed = raw.read(2) == b"\x1f\x8b"
                raw.seek(0)
                with TextIOWrapper(gzip.open(raw) if packed else raw, "utf-8-sig", newline="") as text:
                    yield csv.reader(text, strict=True)
        except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
            raise RecordingError(f"{self.file}: cannot be read: {error}") from error


def default_column(columns: Sequence[Column]) -> Column | None:
    """The first near-ceiling temperature by the rule in the module's text; None without any temperature."""
    temperatures = [column for column in columns if column.quantity == "temperature" and column.uom == "degC"]
    anything = [column for column in columns if column.quantity.startswith("temperature")]
    return next(iter(near_ceiling(temperatures) or temperatures or anything), None)


def near_ceiling(temperatures: Sequence[Column]) -> tuple[Column, ...]:
    """Those of the given columns that are near the ceiling by the rule in the module's text."""
    return tuple(column for column in temperatures if _is_near_ceiling(column, temperatures))


def _is_near_ceiling(column: Column, others: Sequence[Column]) -> bool:
    if _ELSEWHERE.search(column.name):
        return False
    if below := _BELOW_CEILING.search(column.name):
        return _metres(below) <= NEAR_CEILING_M
    if _CEILING.search(column.name):
        return True
    if above := _ABOVE_FLOOR.search(column.name):
        heights = [_metres(m) for m in _of_stem(_ABOVE_FLOOR, above, others)]
        return _metres(above) == max(heights) >= HIGH_ABOVE_FLOOR_M
    if level := _LEVEL.search(column.name):
        if nearest := _NEAREST.search(column.text):
            return int(level["n"]) == int(nearest["n"])
        levels = [int(m["n"]) for m in _of_stem(_LEVEL, level, others)]
        return int(level["n"]) == max(levels) >= HEIGHTS_CM
    return False


def _of_stem(pattern: re.Pattern[str], of: re.Match[str], others: Sequence[Column]) -> list[re.Match[str]]:
    """The matches in ``others`` that share what stands before the number of ``of``."""
    stem = of.string[: of.start("n")]
    found = (pattern.search(other.name) for other in others)
    return [match for match in found if match and match.string[: match.start("n")] == stem]


def _metres(match: re.Match[str]) -> float:
    return float(match["n"].replace("p", ".")) * _METRES[match["u"]]


_METRES = {"mm": 0.001, "cm": 0.01, "m": 1.0, "in": 0.0254, "ft": 0.3048}
_LENGTH = r"(?P<n>\d+(?:p\d+)?)_?(?P<u>mm|cm|m|in|ft)"
_BELOW_CEILING = re.compile(rf"{_LENGTH}_(below|under|from)_(the_)?ceiling")
_ABOVE_FLOOR = re.compile(rf"{_LENGTH}_above_(the_)?floor")
_CEILING = re.compile(r"(?<!below_)(?<!under_)(?<!from_)(?<!the_)(?<!above_)(?<![a-z])ceiling")
_ELSEWHERE = re.compile(r"(?<![a-z])(plume|door|doorway|lintel|window|sill|attic|duct|surface)(?![a-z])")
_LEVEL = re.compile(r"(?P<n>\d+)_(c|degc|f|k)$")
_NEAREST = re.compile(r"(?P<n>\d+)\s*=?\s*(nearest (the )?ceiling|highest|uppermost|top)\b")

_AXIS = "time_s"
"""The time axis by name, whatever ``columns.csv`` calls its quantity."""

_SUFFIX = {
    "_c": ("temperature", "degC"),
    "_k": ("temperature rise above start", "K"),
    "_ppm": ("gas", "ppm"),
    "_pct": ("relative humidity", "%"),
    "_kw": ("heat release rate", "kW"),
    "_pa": ("pressure", "Pa"),
    "_bar": ("pressure", "bar"),
}

_QUANTITY = tuple(
    (re.compile(pattern, re.IGNORECASE), quantity)
    for pattern, quantity in (
        (r"^(utc )?time\b", "time"),
        (r"\btemp(erature)? (rise|difference)", "temperature_rise"),
        (r"\btemp(erature)?s?\b", "temperature"),
        (r"extinction coefficient", "smoke_extinction"),
        (r"optical density", "smoke_density"),
        (r"light transmi(ssion|ttance)", "light_transmission"),
        (r"obscuration", "smoke"),
        (r"\bsoot\b", "soot"),
        (r"\b(co2?|o2|thc|h2|gas)\b.*\bflow", "gas_flow"),
        (r"\bco2|carbon dioxide", "co2"),
        (r"\bco\b|\bco(front|rear|move)|carbon monoxide", "co"),
        (r"\bo2|\boxygen\b", "o2"),
        (r"\bthc\b|\buh(front|rear|move)?\b|hydrocarbon", "hydrocarbons"),
        (r"humidity|\bhum\b", "humidity"),
        (r"\bvoc\b|volatile organic", "voc"),
        (r"\bpressure\b", "pressure"),
        (r"\bflow\b", "flow"),
        (r"\bcurrent\b", "current"),
        (r"\bvoltage\b", "voltage"),
        (r"\bvibration\b|\bacceleration\b", "vibration"),
    )
)
"""Words of ``columns.csv``, spaces for ``_``, to quantities of ours; the first match, else the words."""

_UOM = {
    "avg. k": "K", "kelvin": "K", "c": "degC", "deg c": "degC", "°c": "degC", "celsius": "degC",
    "f": "degF", "deg f": "degF", "°f": "degF", "fahrenheit": "degF",
    "vol %": "vol%", "vol.%": "vol%", "vol.-%": "vol%", "% vol": "vol%", "%vol": "vol%",
    "% r.h.": "%", "% rh": "%", "%rh": "%", "boolean": "1", "0/1": "1", "-": "1",
    "l/min": "L/min", "lpm": "L/min", "l/s": "L/s", "m^3/h": "m3/h", "m³/h": "m3/h",
    "m-1": "1/m", "m^-1": "1/m", "od/m": "1/m", "mg/m^3": "mg/m3", "mg/m³": "mg/m3",
}  # fmt: skip
"""Other spellings of a unit of measure, in lower case."""


def _column(name: str, text: str, unit: str) -> Column:
    words = "time" if name == _AXIS else text.replace("_", " ")
    plain = re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")[:32] or "value"
    quantity = next((ours for pattern, ours in _QUANTITY if pattern.search(words)), plain)
    return Column(name, point_name(name), quantity, _UOM.get(unit.strip().lower(), unit.strip()), text)


def point_name(column: str) -> str:
    """A column's name as a point's: itself where it is one, else made safe and told apart by its crc."""
    if POINT_NAME.fullmatch(column):
        return column
    return f"{re.sub(r'[^A-Za-z0-9_.:-]', '_', column)[:55]}-{zlib.crc32(column.encode()):08x}"


def _by_suffix(name: str) -> tuple[str, str]:
    found = (told for suffix, told in _SUFFIX.items() if name.endswith(suffix))
    return next(found, (name, "1"))


def _tables(file: Path) -> tuple[dict[str, tuple[str, str]], dict[str, str]]:
    """What ``columns.csv`` says of this family's columns, and the manifest's row of this file."""
    for folder in (file.absolute().parent, file.absolute().parent.parent):
        if (folder / "columns.csv").is_file() and (folder / "manifest.csv").is_file():
            break
    else:
        return {}, {}
    manifest = read_table(folder / "manifest.csv", ("file", "family"))
    named = [row for row in manifest if Path(row["file"]).name == file.name]
    exactly = [row for row in named if folder / row["file"] == file.absolute()]
    about = next(iter(exactly or named), {})
    family = about.get("family", file.absolute().parent.name)
    columns = read_table(folder / "columns.csv", ("family", "column", "quantity", "unit"))
    return {
        row["column"]: (row["quantity"], row["unit"]) for row in columns if row["family"] == family
    }, about


def read_table(file: Path, needed: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a CSV file that has at least the ``needed`` columns.

    Raises:
        RecordingError: it cannot be read, or lacks a column.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            reader = csv.DictReader(text, strict=True, restval="", restkey="")
            if absent := set(needed) - set(reader.fieldnames or ()):
                raise RecordingError(f"{file}: no column {', '.join(sorted(absent))}")
            return list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RecordingError(f"{file}: cannot be read: {error}") from error


def seconds(cell: str) -> float | None:
    """A place on a time axis, s: a number, or a timestamp as seconds since 1970 (UTC unless it says)."""
    number = _number_or_none(cell)
    if number is not None:
        return number
    try:
        stamp = datetime.fromisoformat(cell)
    except ValueError:
        return None
    return (stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)).timestamp()


def _number_or_none(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None

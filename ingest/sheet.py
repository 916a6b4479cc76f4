"""The registry as a file: YAML for people and version control, CSV for spreadsheets.

Pure, bytes in, rows out and back, without loss. YAML is read event by event: a fixed shape, no anchors, no
tags, every value is text, so nothing in a file can grow or turn into something else. In CSV, text that a
spreadsheet would run as a formula is led by an apostrophe, which reading takes off again.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from fengsui.errors import UsageError
from ingest.inventory import FIELDS, Inventory, Item, Mistake, Row, RowsRefused, Sort

MAX_BYTES = 64 << 20

_PLURAL = {sort: f"{sort}s" for sort in Sort}
_SINGULAR = {plural: sort for sort, plural in _PLURAL.items()}
_COLUMNS = list(dict.fromkeys(name for fields in FIELDS.values() for name in fields))
_NUMBERS = frozenset({"low", "high"})
_FORMULA = frozenset("=+-@＝＋－＠\t\r\n")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Format(StrEnum):
    """How a registry file is written."""

    YAML = "yaml"
    CSV = "csv"


def format_of(path: Path) -> Format:
    """The format a file's name asks for.

    Raises:
        UsageError: The name ends in neither.
    """
    match path.suffix.lower():
        case ".yaml" | ".yml":
            return Format.YAML
        case ".csv":
            return Format.CSV
    raise UsageError(f"{path}: a registry file ends in .yaml or .csv")


def read(data: bytes, format_: Format) -> list[Row]:
    """The rows of a file, blank fields left out.

    Raises:
        RowsRefused: Not such a file; says the line.
    """
    if len(data) > MAX_BYTES:
        raise RowsRefused([Mistake(0, f"{len(data)} bytes; at most {MAX_BYTES}, so split the file")])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise RowsRefused([Mistake(line, "is not UTF-8; save the file as UTF-8 text")]) from error
    return list(_read_yaml(text) if format_ is Format.YAML else _read_csv(text))


def write(inventory: Inventory, format_: Format) -> bytes:
    """The file of an inventory; reading it into an empty one gives the same, indices included."""
    if format_ is Format.YAML:
        return "".join(_yaml_lines(inventory)).encode()
    out = io.StringIO(newline="")
    rows = csv.writer(out)
    rows.writerow(["sort", *_COLUMNS])
    for sort, item in inventory.items():
        fields = _texts(sort, item)
        cells = (
            fields.get(name, "") if name in _NUMBERS else guarded(fields.get(name, "")) for name in _COLUMNS
        )
        rows.writerow([sort.value, *cells])
    return out.getvalue().encode("utf-8-sig")  # a spreadsheet takes it for UTF-8 only with the mark


def _texts(sort: Sort, item: Item) -> dict[str, str]:
    """The fields of an item as text, blank ones left out."""
    values = ((name, getattr(item, name)) for name in FIELDS[sort])
    return {
        name: value if isinstance(value, str) else repr(value)
        for name, value in values
        if value not in ("", None)
    }


def _yaml_lines(inventory: Inventory) -> Iterator[str]:
    section = None
    for sort, item in inventory.items():
        if sort != section:
            section = sort
            yield f"{_PLURAL[sort]}:\n"
        # A JSON string is a YAML string as long as it holds no control characters, and these never do.
        cells = (
            f"{name}: {json.dumps(text, ensure_ascii=False)}" for name, text in _texts(sort, item).items()
        )
        yield f"- {{{', '.join(cells)}}}\n"
    if section is None:
        yield "{}\n"


def _read_yaml(text: str) -> Iterator[Row]:
    events = iter(yaml.parse(text, Loader=_LOADER))
    try:
        yield from _sections(events)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise RowsRefused([Mistake(line, f"is not YAML: {error.problem}")]) from error
    except yaml.YAMLError as error:
        raise RowsRefused([Mistake(0, f"is not YAML: {error}")]) from error


def _sections(events: Iterator[Any]) -> Iterator[Row]:
    next(events)  # the start of the stream
    start = next(events)
    if isinstance(start, yaml.StreamEndEvent):
        return
    _expect(
        next(events), yaml.MappingStartEvent, "begin with units:, buildings:, zones:, devices: or points:"
    )
    while not isinstance(event := next(events), yaml.MappingEndEvent):
        name = _scalar(event)
        sort = _SINGULAR.get(name)
        if sort is None:
            raise _mistake(event, f"unknown section {name[:80]!r}; there are {', '.join(_SINGULAR)}")
        _expect(next(events), yaml.SequenceStartEvent, f"{name} must be a list")
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            _expect(event, yaml.MappingStartEvent, f"each of {name} must be like {{id: ..., name: ...}}")
            yield Row(event.start_mark.line + 1, sort, _fields(events))
    next(events)  # the end of the document
    event = next(events)
    if not isinstance(event, yaml.StreamEndEvent):
        raise _mistake(event, "a second document; keep everything in one")


def _fields(events: Iterator[Any]) -> dict[str, str]:
    fields: dict[str, str] = {}
    while not isinstance(event := next(events), yaml.MappingEndEvent):
        name = _scalar(event)
        if name in fields:
            raise _mistake(event, f"{name[:80]} is there twice; keep one")
        value = _scalar(next(events))
        fields[name] = value
    return {name: value for name, value in fields.items() if value}


def _scalar(event: Any) -> str:
    _expect(event, yaml.ScalarEvent, "a plain text or number is needed here")
    text: str = event.value
    return "" if event.implicit[0] and text in ("~", "null") else text


def _expect(event: Any, type_: type[yaml.Event], text: str) -> None:
    is_wanted = isinstance(event, type_)
    if not is_wanted:
        raise _mistake(event, text)
    if event.anchor is not None or event.tag is not None:
        raise _mistake(event, "anchors and tags are not used here; write the value itself")


def _mistake(event: Any, text: str) -> RowsRefused:
    return RowsRefused([Mistake(event.start_mark.line + 1, text)])


def _read_csv(text: str) -> Iterator[Row]:
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in next(lines, [])]
        _check_header(header)
        for cells in lines:
            if any(cells):
                yield _csv_row(lines.line_num, header, cells)
    except csv.Error as error:
        raise RowsRefused([Mistake(lines.line_num, f"is not CSV: {error}")]) from error


def _check_header(header: Iterable[str]) -> None:
    names = list(header)
    columns = f"sort, {', '.join(_COLUMNS)}"
    if "sort" not in names or "id" not in names:
        raise RowsRefused([Mistake(1, f"the first line must name the columns, of these: {columns}")])
    wrong = [name for name in names if (name != "sort" and name not in _COLUMNS) or names.count(name) > 1]
    if wrong:
        raise RowsRefused([Mistake(1, f"unknown or repeated column {wrong[0][:80]!r}; there are {columns}")])


def _csv_row(line: int, header: list[str], cells: list[str]) -> Row:
    if len(cells) > len(header) and any(cells[len(header) :]):
        raise RowsRefused([Mistake(line, f"{len(cells)} cells under {len(header)} columns; quote commas")])
    fields = {name: _unguard(cell) for name, cell in zip(header, cells, strict=False) if cell}
    sort = fields.pop("sort", "")
    if sort not in set(Sort):
        raise RowsRefused([Mistake(line, f"sort {sort[:80]!r}; there are {', '.join(Sort)}")])
    return Row(line, Sort(sort), fields)


def guarded(text: str) -> str:
    """A cell that no spreadsheet runs as a formula."""
    return "'" + text if text[:1] in _FORMULA or text[:1] == "'" else text


def _unguard(cell: str) -> str:
    return cell[1:] if cell[:1] == "'" and (cell[1:2] in _FORMULA or cell[1:2] == "'") else cell

"""What may be registered, and the registry as a YAML or CSV file."""

from __future__ import annotations

import unicodedata
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.inventory import Inventory, Mistake, Row, RowsRefused, Sort, changes, display, merge
from ingest.sheet import MAX_BYTES, Format, read, write

PLACES = [
    Row(1, Sort.UNIT, {"id": "u1", "name": "第一单位"}),
    Row(2, Sort.UNIT, {"id": "u2", "name": "Unit two"}),
    Row(3, Sort.BUILDING, {"id": "b1", "name": "A 座", "unit": "u1"}),
    Row(4, Sort.BUILDING, {"id": "b2", "name": "B 座", "unit": "u2"}),
    Row(5, Sort.ZONE, {"id": "z1", "name": "3F", "building": "b1"}),
    Row(6, Sort.DEVICE, {"id": "d1", "name": "Detector", "zone": "z1"}),
]


def point(line: int = 10, **fields: str) -> Row:
    """A point's row with some fields changed."""
    return Row(
        line, Sort.POINT, {"id": "p", "gateway": "gw", "name": "t", "quantity": "temperature"} | fields
    )


def mistakes(*rows: Row) -> list[Mistake]:
    """What is wrong with rows on top of ``PLACES``."""
    with pytest.raises(RowsRefused) as caught:
        merge(merge(Inventory(), PLACES), rows)
    return caught.value.mistakes


def test_a_point_stands_where_its_device_stands() -> None:
    """Zone, building and unit follow from the device; rows may refer forwards in a file."""
    inventory = merge(Inventory(), [point(device="d1"), *PLACES])
    assert inventory.by_id["p"].unit == "u1"
    assert (inventory.by_id["p"].zone, inventory.by_id["p"].building) == ("z1", "b1")
    assert inventory.by_binding["gw", "t"] is inventory.points[0]


def test_points_follow_a_building_to_another_unit() -> None:
    """Who may see a point is decided by its place, also after the place changed hands."""
    before = merge(Inventory(), [*PLACES, point(device="d1")])
    after = merge(before, [Row(1, Sort.BUILDING, {"id": "b1", "name": "A 座", "unit": "u2"})])
    assert after.by_id["p"].unit == "u2"
    assert before.by_id["p"].unit == "u1"
    moved = merge(before, [Row(1, Sort.ZONE, {"id": "z1", "name": "3F", "building": "b2"})])
    assert (moved.devices["d1"].building, moved.by_id["p"].building, moved.by_id["p"].unit) == (
        "b2",
        "b2",
        "u2",
    )


def test_a_device_does_not_leave_a_points_own_zone_behind() -> None:
    """A device that moves away from a point's zone is refused until the point has a zone there."""
    here = [
        Row(7, Sort.DEVICE, {"id": "d2", "name": "Panel", "building": "b1"}),
        point(device="d2", zone="z1"),
    ]
    before = merge(Inventory(), [*PLACES, *here])
    with pytest.raises(RowsRefused, match="give the point its zone"):
        merge(before, [Row(1, Sort.DEVICE, {"id": "d2", "name": "Panel", "building": "b2"})])


def test_an_index_is_kept_for_ever() -> None:
    """A replaced point keeps its index, a new one gets the next; swapped bindings are no conflict."""
    before = merge(Inventory(), [point(id="p", name="a"), point(id="q", name="b")])
    after = merge(before, [point(id="q", name="a"), point(id="p", name="b"), point(id="r", name="c")])
    assert [(p.index, p.id, p.name) for p in after.points] == [(0, "p", "b"), (1, "q", "a"), (2, "r", "c")]


class Closed(dict[Any, Any]):
    """Things to be found by their key; looking at all of them is an error."""

    def __iter__(self) -> NoReturn:
        raise AssertionError("looked at everything there is")

    keys = values = items = copy = __iter__


class ClosedRow(list[Any]):
    """The same in a row."""

    def __iter__(self) -> NoReturn:
        raise AssertionError("looked at everything there is")


def test_registering_a_point_looks_at_no_other() -> None:
    """Whether it is new, changed or bound otherwise: the work does not grow with what is registered."""
    few = merge(Inventory(), [*PLACES, point(id="p", name="a"), point(id="q", name="b")])
    inventory = Inventory(
        Closed(few.units), Closed(few.buildings), Closed(few.zones), Closed(few.devices),
        ClosedRow(few.points), Closed(few.by_id), Closed(few.by_binding),
    )  # fmt: skip
    for row in (point(id="r", name="c", device="d1"), point(id="p", place="Hall"), point(id="q", name="d")):
        changed = changes(inventory, [row])
        inventory.put(one.item for one in changed)
        assert len(changed) == 1
    assert [inventory.points[index].name for index in range(3)] == ["t", "d", "c"]
    assert inventory.by_binding.get(("gw", "b")) is None
    with pytest.raises(RowsRefused, match="d of gw is bound to both q and p"):
        changes(inventory, [point(id="p", name="d")])


def test_what_is_not_put_in_changes_nothing() -> None:
    """Changes are first written down: until then everybody sees what was there before."""
    inventory = merge(Inventory(), [*PLACES, point(device="d1")])
    before = merge(inventory, [])
    moved = changes(inventory, [Row(1, Sort.ZONE, {"id": "z1", "name": "3F", "building": "b2"})])
    assert [(one.sort, one.item.id, one.unit) for one in moved] == [
        (Sort.ZONE, "z1", "u2"),
        (Sort.DEVICE, "d1", "u2"),
        (Sort.POINT, "p", "u2"),
    ]
    assert [inventory.unit_of(one.before) for one in moved if one.before is not None] == ["u1"] * 3
    assert inventory == before
    inventory.put(one.item for one in moved)
    assert inventory == merge(before, [Row(1, Sort.ZONE, {"id": "z1", "name": "3F", "building": "b2"})])


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (point(id="a b"), "use 1 to 64 of"),
        (point(id="p\n"), "use 1 to 64 of"),
        (point(gateway="a.b"), "gateway 'a.b'"),
        (point(name="x/y"), "name 'x/y'"),
        (point(quantity=""), "say what is measured"),
        (point(zone="nowhere"), "there is no zone"),
        (point(device="nowhere"), "there is no device"),
        (point(unit="nowhere"), "there is no unit"),
        (point(zone="z1", building="b2"), "zone z1 is in b1"),
        (point(building="b1", unit="u2"), "building b1 is in u1"),
        (point(device="d1", building="b2"), "building is 'b2'"),
        (point(low="5", high="5"), "is not below"),
        (point(low="1_0"), "is not a number"),
        (point(high="nan"), "is not a number"),
        (point(high="1e999"), "is not a number"),
        (point(high="٣"), "is not a number"),
        (point(colour="red"), "a point has no 'colour'"),
        (point(place="x" * 81), "at most 80"),
        (point(place="fire\u202eexit"), "U+202E"),
        (point(place="a\u200bb"), "U+200B"),
        (point(uom="a\tb"), "U+0009"),
        (Row(10, Sort.ZONE, {"id": "z9", "name": "x"}), "has no building"),
        (Row(10, Sort.UNIT, {"id": "u9"}), "has no name"),
    ],
)
def test_a_wrong_row_is_refused_with_its_line(row: Row, text: str) -> None:
    """Each mistake names its line and what to do."""
    (mistake,) = mistakes(row)
    assert mistake.line == 10
    assert text in mistake.text


def test_every_mistake_is_listed() -> None:
    """All wrong rows are named at once, with repeated ids and bindings that two points claim."""
    found = mistakes(
        point(10, id="o", low="x"), point(11), point(12), point(13, id="q"), point(14, id="r", zone="?")
    )
    assert [line for line, _ in found] == [10, 12, 13, 14]
    assert "bound to both p and q" in found[2].text


def test_display_names_are_normalised() -> None:
    """Names are kept in NFC without blanks at their ends."""
    assert display(" Cafe\u0301 ", "name") == "Café"


_ids = st.from_regex(r"[A-Za-z0-9_.:-]{1,64}", fullmatch=True)
_gateways = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)


def _is_display(text: str) -> bool:
    try:
        return display(text, "name") == text
    except ValueError:
        return False


_tricky = [
    "=1+1",
    "'=x",
    "'",
    "''",
    "-5",
    "@a",
    "＝x",
    "no",
    "~",
    "null",
    "1.0",
    "a: b",
    "#x",
    '"',
    "\\",
    ",",
]
_names = (
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).map(
        lambda text: unicodedata.normalize("NFC", text.strip())
    )
    | st.sampled_from(_tricky)
).filter(lambda text: bool(text) and _is_display(text))


@st.composite
def _inventories(draw: st.DrawFn) -> Inventory:
    units = draw(st.lists(_ids, unique=True, min_size=1, max_size=3))
    rows = [Row(0, Sort.UNIT, {"id": id_, "name": draw(_names)}) for id_ in units]
    buildings = draw(st.lists(_ids, unique=True, min_size=1, max_size=3))
    for id_ in buildings:
        unit = draw(st.sampled_from(["", *units]))
        rows.append(Row(0, Sort.BUILDING, {"id": id_, "name": draw(_names), "unit": unit}))
    zones = draw(st.lists(_ids, unique=True, max_size=3))
    for id_ in zones:
        building = draw(st.sampled_from(buildings))
        rows.append(Row(0, Sort.ZONE, {"id": id_, "name": draw(_names), "building": building}))
    if zones:
        rows.append(
            Row(0, Sort.DEVICE, {"id": "d", "name": draw(_names), "zone": draw(st.sampled_from(zones))})
        )
    bindings = draw(st.lists(st.tuples(_gateways, _ids), unique=True, max_size=4))
    ids = draw(st.lists(_ids, unique=True, min_size=len(bindings), max_size=len(bindings)))
    numbers = st.none() | st.floats(allow_nan=False, allow_infinity=False)
    for id_, (gateway, name) in zip(ids, bindings, strict=True):
        fields = {"id": id_, "gateway": gateway, "name": name, "quantity": "smoke", "uom": draw(_names)}
        fields |= {"place": draw(st.just("") | _names), "zone": draw(st.sampled_from(["", *zones]))}
        low = draw(numbers)
        rows.append(Row(0, Sort.POINT, fields | ({} if low is None else {"low": repr(low)})))
    return merge(Inventory(), rows)


@given(_inventories(), st.sampled_from(Format))
def test_a_file_gives_the_same_registry_again(inventory: Inventory, format_: Format) -> None:
    """Writing and reading loses nothing in either format, and reading it twice changes nothing."""
    rows = read(write(inventory, format_), format_)
    again = merge(Inventory(), rows)
    assert again == inventory
    assert merge(again, rows) == again


def test_formulas_are_disarmed_in_csv() -> None:
    """No text cell of a CSV begins with a character that a spreadsheet would run."""
    rows = [Row(1, Sort.UNIT, {"id": "-u", "name": name}) for name in ("=cmd|' /C calc'!A0",)]
    data = write(merge(Inventory(), rows), Format.CSV).decode("utf-8-sig")
    assert "'-u,'=cmd" in data


@pytest.mark.parametrize(
    ("data", "line", "text"),
    [
        (b"\xff\xfe", 1, "UTF-8"),
        (b"units:\n- {id: u\n", 3, "not YAML"),
        (b"units:\n- {id: &a u, name: x}\n", 2, "anchors"),
        (b"units:\n- {id: *a, name: x}\n", 2, "plain text"),
        (b"units:\n- {id: !!python/object:os.system u}\n", 2, "tags"),
        (b"units:\n- {id: u, id: v}\n", 2, "twice"),
        (b"units:\n- {id: [u]}\n", 2, "plain text"),
        (b"floors: []\n", 1, "unknown section"),
        (b"units: {}\n", 1, "must be a list"),
        (b"- a\n", 1, "begin with"),
        (b"units: []\n---\nunits: []\n", 2, "second document"),
        (b"[" * 100_000, 1, "begin with"),
        (b"units:\n- {id: \x01}\n", 0, "not YAML"),
    ],
)
def test_yaml_of_another_shape_is_refused(data: bytes, line: int, text: str) -> None:
    """Anything that is not the fixed shape is refused with its line."""
    with pytest.raises(RowsRefused) as caught:
        read(data, Format.YAML)
    assert caught.value.mistakes[0].line == line
    assert text in caught.value.mistakes[0].text


@pytest.mark.parametrize(
    ("data", "line", "text"),
    [
        (b"", 1, "must name the columns"),
        (b"sort,id,colour\n", 1, "'colour'"),
        (b"sort,id,id\n", 1, "repeated"),
        (b"sort,id\nfloor,x\n", 2, "sort 'floor'"),
        (b"sort,id\nunit,x,y\n", 2, "3 cells"),
        (b'sort,id\nunit,"x\n', 2, "not CSV"),
        (b'sort,id\nunit,"' + b"x" * 200_000 + b'"\n', 2, "not CSV"),
    ],
)
def test_csv_of_another_shape_is_refused(data: bytes, line: int, text: str) -> None:
    """Wrong columns, sorts and quotes are refused with their line."""
    with pytest.raises(RowsRefused) as caught:
        read(data, Format.CSV)
    assert caught.value.mistakes[0].line == line
    assert text in caught.value.mistakes[0].text


@given(
    st.binary(max_size=300) | st.text("{}[]:,-\n\"'&*!|>%@# unitsdp0", max_size=80).map(str.encode),
    st.sampled_from(Format),
)
def test_any_bytes_are_read_or_refused(data: bytes, format_: Format) -> None:
    """Nothing but RowsRefused comes out of reading and merging."""
    try:
        merge(Inventory(), read(data, format_))
    except RowsRefused as refused:
        assert str(refused)  # noqa: PT017 - read or refused, both are right


def test_a_large_file_is_refused_unread() -> None:
    """A file beyond the limit is refused before anything looks into it."""
    with pytest.raises(RowsRefused, match="split the file"):
        read(bytes(MAX_BYTES + 1), Format.YAML)

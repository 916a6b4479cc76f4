"""Line protocol as it leaves the encoder."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.store.line import LineError, Lines, prefix
from tests.readings import Points, point, rows


@pytest.mark.parametrize(
    ("value", "quality", "fields"),
    [
        (20, 0, "v=20.0"),
        (21.5, 0, "v=21.5"),
        (-0.0, 0, "v=-0.0"),
        (0.1 + 0.2, 0, "v=0.30000000000000004"),
        (1e22, 0, "v=1e+22"),
        (5e-324, 0, "v=5e-324"),
        (21.5, 4, "v=21.5,q=4.0"),
        (math.nan, 2, "q=2.0"),
        (math.nan, 0, "q=0.0"),
        (math.inf, 2, "q=2.0"),
    ],
)
def test_fields(value: float, quality: int, fields: str) -> None:
    """Fields are floats with the shortest exact text; no value, no ``v``; good quality, no ``q``."""
    lines = Lines(Points.named("attic"))
    encoded = lines.encode(rows([0], [1_790_000_000_000_001], [value], [quality]))
    assert encoded == f"reading,point=attic {fields} 1790000000000001\n".encode()


def test_many_rows_in_order() -> None:
    """Each row is one line, in the order of the rows, whatever mixture they are."""
    lines = Lines(Points.named("a", "b"))
    encoded = lines.encode(rows([1, 0, 1], [5, 6, 7], [1.5, math.nan, 2.0], [0, 3, 1]))
    assert encoded.splitlines() == [
        b"reading,point=b v=1.5 5",
        b"reading,point=a q=3.0 6",
        b"reading,point=b v=2.0,q=1.0 7",
    ]


def test_no_rows_no_bytes() -> None:
    """Nothing in, nothing out."""
    assert Lines(Points()).encode(rows([], [], [])) == b""


@pytest.mark.parametrize(
    ("id_", "tag"),
    [
        ("3F-smoke.12:a", "3F-smoke.12:a"),
        ("a,b", r"a\,b"),
        ("a b", r"a\ b"),
        ("a=b", r"a\=b"),
        ("烟感,一", r"烟感\,一"),
        ('"#', '"#'),
    ],
)
def test_special_characters_are_escaped(id_: str, tag: str) -> None:
    """Comma, space and equals are escaped, everything else stands for itself."""
    assert prefix(id_).decode() == f"reading,point={tag} "


@pytest.mark.parametrize("id_", ["", "a\nb", "a\rb", "a\0b", "a\\", "a\\,b", "a\tb", "\x7f", "\ud800"])
def test_what_cannot_be_said_is_refused(id_: str) -> None:
    """A newline forges a line and a backslash swallows what follows it, so neither is ever written."""
    with pytest.raises(LineError, match="point's id"):
        prefix(id_)


@given(st.text())
def test_a_prefix_is_one_tag_of_one_line(id_: str) -> None:
    """Any text is either refused, or reads back as itself from exactly one tag."""
    try:
        encoded = prefix(id_).decode()
    except LineError:
        return
    assert encoded.startswith("reading,point=")
    tag, end = encoded[len("reading,point=") : -1], encoded[-1]
    assert end == " "
    assert not any(c in tag for c in "\n\r\0")
    unescaped = tag.replace("\\,", "").replace("\\ ", "").replace("\\=", "")
    assert not set(unescaped) & set(", =\\")
    assert tag.replace("\\,", ",").replace("\\ ", " ").replace("\\=", "=") == id_


@given(st.lists(st.floats(), min_size=1, max_size=50))
def test_values_are_exact(values: list[float]) -> None:
    """Every finite float reads back as the same float."""
    encoded = Lines(Points.named("a")).encode(rows([0] * len(values), range(len(values)), values)).decode()
    for line, value in zip(encoded.splitlines(), values, strict=True):
        field = line.split(" ")[1]
        if math.isfinite(value):
            assert float(field.removeprefix("v=")) == value
            assert "." in field or "e" in field
        else:
            assert field == "q=0.0"


def test_a_point_that_cannot_be_named_is_refused_alone() -> None:
    """Its rows are named with the reason, the others can be encoded, and encoding it anyway is an error."""
    registered = Points.named("good", "bad\nreading,point=forged v=1")
    lines = Lines(registered)
    mixed = rows([0, 1, 0], [1, 2, 3], [1.0, 2.0, 3.0])
    refused = lines.refuse(mixed)
    assert [row for row, _ in refused] == [1]
    assert "point's id" in refused[0].text
    with pytest.raises(LineError):
        lines.encode(mixed)
    assert lines.encode(rows([0], [1], [1.0])) == b"reading,point=good v=1.0 1\n"


def test_points_registered_later_are_learnt() -> None:
    """The registry grows at its end while the encoder lives."""
    registered = Points.named("a")
    lines = Lines(registered)
    assert lines.encode(rows([0], [1], [1.0]))
    registered.points.append(point(1, "b"))
    assert lines.encode(rows([1], [1], [1.0])) == b"reading,point=b v=1.0 1\n"

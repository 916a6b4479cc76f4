"""Label files of a backtest."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from alerting.backtest.labels import LabelError, parse_labels, unknown_places
from alerting.backtest.report import Label
from tests.unit.detection import point

HEAD = "point,building,from,to,label\n"
CHINA = timezone(timedelta(hours=8))


def us(*date: int) -> int:
    """A UTC date and time in us."""
    return round(datetime(*date, tzinfo=UTC).timestamp() * 1e6)  # type: ignore[misc,arg-type]  # year to minute


def test_rows_of_points_and_buildings() -> None:
    """Times without an offset are of the zone given, those with one are taken as they are."""
    text = "label,point,building,note,from,to\n" + (
        "real,p1,,kitchen,2026-05-01T08:00,2026-05-01T09:30\n"
        "Cooking,,b1,,2026-05-01T08:00:00Z,2026-05-01T09:00:00+01:00\n"
    )
    one, other = parse_labels(text, CHINA)
    assert one == ("p1", "", us(2026, 5, 1, 0, 0), us(2026, 5, 1, 1, 30), Label.REAL)
    assert other == ("", "b1", us(2026, 5, 1, 8, 0), us(2026, 5, 1, 8, 0), Label.COOKING)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1: no column point, building"),
        ("point,building,from,to\n", "line 1: no column label"),
        ("point,building,from,to,label,why\n", "unknown column 'why'"),
        (HEAD + "p1,b1,2026-05-01,2026-05-02,real\n", "line 2: give a point or a building"),
        (HEAD + ",,2026-05-01,2026-05-02,real\n", "line 2: give a point or a building"),
        (HEAD + "\np1,,2026-05-01,2026-05-02,burnt\n", "line 3: 'burnt' is no label; known: real, test"),
        (HEAD + "p1,,yesterday,2026-05-02,real\n", "line 2: from 'yesterday' is no time"),
        (HEAD + "p1,,2026-05-03,2026-05-02,real\n", "line 2: it ends before it begins"),
        (HEAD + "p1,,2026-05-03\n", "line 2: '' is no label"),
        (HEAD + '"p1,,2026-05-03\n', "not CSV"),
    ],
)
def test_what_cannot_be_read_is_refused(text: str, said: str) -> None:
    """The message names the line and what to change."""
    with pytest.raises(LabelError, match="line") as error:
        parse_labels(text, UTC)
    assert said in str(error.value)


def test_places_that_nobody_knows() -> None:
    """Labels of other points and buildings are named once each, for they judge nothing."""
    rows = "p0,,2026-05-01,2026-05-02,real\nx,,2026-05-01,2026-05-02,dust\n,y,2026-05-01,2026-05-02,test\n"
    labels = parse_labels(HEAD + rows + rows.splitlines()[1] + "\n", UTC)
    assert unknown_places(labels, [point(0)]) == ["x", "y"]

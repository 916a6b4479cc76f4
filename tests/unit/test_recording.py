from __future__ import annotations

import contextlib
import csv
import gzip
from math import isnan
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fengsui.model import POINT_NAME
from gateway.drivers.recording import Column, Recording, RecordingError, default_column, point_name
from tests.recordings import recordings

MANIFEST = "file,family,t_ignition_s,sampling_s,missing_code\n"
COLUMNS = "family,column,original_name,quantity,unit\n"


def written(
    folder: Path, text: str, *, columns: str = "", missing_code: str = "", sampling_s: str = ""
) -> Recording:
    """A recording ``fire/test.csv`` with its manifest and columns."""
    (folder / "fire").mkdir(exist_ok=True)
    file = folder / "fire" / "test.csv"
    file.write_text(text, encoding="utf-8")
    (folder / "manifest.csv").write_text(f"{MANIFEST}fire/test.csv,fire,60,{sampling_s},{missing_code}\n")
    (folder / "columns.csv").write_text(COLUMNS + columns)
    return Recording(file)


def values(recording: Recording, name: str) -> list[float | None]:
    """What one column says, row by row."""
    return [row.values[0] for row in recording.rows(recording.choose([name]))]


def temperatures(*names: str, text: str = "temperature") -> list[Column]:
    """Columns of temperature in degC, described by ``text``."""
    return [Column(name, name, "temperature", "degC", text) for name in names]


def chosen(columns: list[Column]) -> str:
    """Name of the default column."""
    column = default_column(columns)
    assert column is not None
    return column.name


def test_blank_cell_and_missing_code_are_no_reading(tmp_path: Path) -> None:
    """Blank and the manifest's missing code, in any spelling of the number, give no value; text gives NaN."""
    recording = written(
        tmp_path, "time_s,temp_c\n0,20.5\n1,\n2,999.0\n3,999\n4,n/a\n5,-1\n", missing_code="999.0"
    )
    got = values(recording, "temp_c")
    assert got[:4] == [20.5, None, None, None]
    assert got[4] is not None
    assert isnan(got[4])
    assert got[5] == -1.0
    assert recording.t_ignition_s == 60.0


def test_not_a_number_is_missing_only_where_the_manifest_says_so(tmp_path: Path) -> None:
    """``NaN`` is no reading in a family that writes it for *missing*, and an invalid one elsewhere."""
    text = "time_s,temp_c\n0,NaN\n"
    assert values(written(tmp_path, text, missing_code="NaN"), "temp_c") == [None]
    (invalid,) = values(written(tmp_path, text), "temp_c")
    assert invalid is not None
    assert isnan(invalid)


def test_booleans_are_one_and_zero(tmp_path: Path) -> None:
    """True and false, in any case, are 1 and 0."""
    assert values(written(tmp_path, "time_s,flag\n0,TRUE\n1,false\n"), "flag") == [1.0, 0.0]


def test_rows_without_a_time_are_left_out_and_counted(tmp_path: Path) -> None:
    """A row whose time is blank has no place on the axis."""
    recording = written(tmp_path, "time_s,temp_c\n0,20\n,21\n2,22\n")
    assert values(recording, "temp_c") == [20.0, 22.0]
    assert recording.skipped == 1


@pytest.mark.parametrize(
    ("stamp", "t_s"), [("1970-01-02 00:00:00", 86_400.0), ("1970-01-01 08:00:00+08:00", 0.0), ("-3.5", -3.5)]
)
def test_time_axis_is_seconds_or_a_timestamp(tmp_path: Path, stamp: str, t_s: float) -> None:
    """Seconds are taken as they are; a timestamp becomes seconds since 1970, UTC where no zone is given."""
    recording = written(tmp_path, f"timestamp,temp_c\n{stamp},20\n", columns="fire,timestamp,,UTC time,\n")
    assert recording.span() == (t_s, t_s)


def test_file_without_a_time_axis_is_sampled_evenly(tmp_path: Path) -> None:
    """Where no column is the time, the manifest's interval is the step."""
    recording = written(tmp_path, "sample,temp_c\n7,20\n8,21\n9,22\n", sampling_s="0.5")
    assert recording.span() == (0.0, 1.0)


def test_file_alone_is_read_by_the_names_of_its_columns(tmp_path: Path) -> None:
    """Without manifest and columns beside it, a gzip file still has a time axis and a temperature."""
    file = tmp_path / "lonely.csv.gz"
    file.write_bytes(gzip.compress(b"time_s,hrr_kw,ceiling_c\n0,1,20\n", mtime=0))
    (column,) = Recording(file).choose()
    assert (column.name, column.quantity, column.uom) == ("ceiling_c", "temperature", "degC")


@pytest.mark.parametrize(
    ("names", "text", "expected"),
    [
        ("door_0p25_m_below_lintel_c plume_0p65_m_below_ceiling_c b_25_mm_below_ceiling_c", "", 2),
        ("a_0p3_m_above_floor_c a_1p93_m_above_floor_c b_0p3_m_above_floor_c b_2p4_m_above_floor_c", "", 3),
        ("tree_2_c tree_1_c", "gas temperature (1 = nearest ceiling)", 1),
        ("tree_01_c tree_10_c", "gas temperature (01 lowest, 10 nearest ceiling)", 1),
        ("sample_c tr3_c tr120_c tr237_c", "", 3),
        ("cell_1_c cell_2_c cell_9_c", "", 0),
    ],
)
def test_default_is_the_first_near_ceiling_temperature(names: str, text: str, expected: int) -> None:
    """Each way in which a name or quantity tells the height picks the detector's place."""
    columns = temperatures(*names.split(), text=text or "temperature")
    assert chosen(columns) == columns[expected].name


def test_default_prefers_degrees_and_takes_a_rise_at_last() -> None:
    """A temperature in degC comes before a rise, and a rise before no default at all."""
    rise = Column("tc1_rise_k", "tc1_rise_k", "temperature_rise", "K", "temperature rise above start")
    assert chosen([rise, *temperatures("surface_c")]) == "surface_c"
    assert chosen([rise]) == "tc1_rise_k"
    assert default_column([rise._replace(quantity="smoke")]) is None


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "first line"),
        (b"a,a\n", "each once"),
        (b"temp_c\n20\n", "no time column"),
        (b"time_s,temp_c\n0,20,30\n", "line 2: 3 cells"),
        (b"time_s,temp_c\nsoon,20\n", "line 2: 'soon' is no time"),
        (b"time_s,temp_c\n1e300,20\n", "is no time"),
        (b"time_s,temp_c\nnan,20\n", "is no time"),
        (b"time_s,temp_c\n", "no row"),
        (b"time_s,temp_c\n0,\xff\n", "cannot be read"),
        (b'time_s,temp_c\n0,"2"0\n', "cannot be read"),
        (gzip.compress(b"time_s,temp_c\n" + b"0,20\n" * 99, mtime=0)[:-12], "cannot be read"),
        (b"\x1f\x8bnothing", "cannot be read"),
    ],
)
def test_what_is_no_recording_is_refused_with_its_place(tmp_path: Path, content: bytes, text: str) -> None:
    """Any damage is a ``RecordingError`` that names the file and, where there is one, the line."""
    file = tmp_path / "bad.csv"
    file.write_bytes(content)
    with pytest.raises(RecordingError, match=text) as caught:
        Recording(file).span()
    assert str(file) in str(caught.value)


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=200))
def test_any_bytes_are_rows_or_a_clear_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    """No file whatever raises anything but ``RecordingError``."""
    file = tmp_path_factory.getbasetemp() / "any.csv"
    file.write_bytes(b"time_s," + content)
    with contextlib.suppress(RecordingError):
        recording = Recording(file)
        assert all(len(row.values) == len(recording.columns) for row in recording.rows(recording.columns))


def test_missing_file_and_unknown_column_say_what_to_do(tmp_path: Path) -> None:
    """A missing file is named; an unknown column is answered with those that look like it."""
    with pytest.raises(RecordingError, match="cannot be read"):
        Recording(tmp_path / "none.csv")
    recording = written(tmp_path, "time_s,ceiling_c\n0,20\n")
    with pytest.raises(RecordingError, match="did you mean ceiling_c"):
        recording.choose(["celing_c"])
    with pytest.raises(RecordingError, match="has no temperature"):
        written(tmp_path, "time_s,hrr_kw\n0,20\n").choose()


@given(st.text(min_size=1, max_size=200))
def test_any_column_becomes_a_safe_and_stable_point(column: str) -> None:
    """A point's name is always the contract's, and a safe column keeps its own."""
    assert POINT_NAME.fullmatch(point_name(column))
    assert point_name(column) == point_name(column)
    assert point_name("temp_1_c") == "temp_1_c"
    assert point_name("a b") != point_name("a_b") != point_name("a/b")


def test_every_recording_of_the_collection_can_be_played() -> None:
    """All files give the manifest's rows; every fire has a default column, near the ceiling where known."""
    root, seen = recordings(), 0
    with (root / "manifest.csv").open(encoding="utf-8", newline="") as text:
        manifest = list(csv.DictReader(text))
    for entry in manifest:
        recording = Recording(root / entry["file"])
        columns = recording.columns
        assert len(columns) == int(entry["columns"]), entry["file"]
        default = default_column(columns)
        rows = list(recording.rows((default,) if default else ()))
        assert len(rows) + recording.skipped == int(entry["rows"]), entry["file"]
        if entry["kind"] == "fire":
            assert default is not None, entry["file"]
            assert any(row.values[0] is not None for row in rows), entry["file"]
            assert str(recording.t_ignition_s) == str(float(entry["t_ignition_s"])), entry["file"]
        if default and (place := _NEAR_CEILING.get(entry["family"])):
            assert default.name == place or recording.columns[5].name == "temp_tfsampptrh_c", entry["file"]
        seen += 1
    assert seen >= 65


_NEAR_CEILING = {
    "fsri_compartment_2018": "quadrant_a_temperature_25_mm_below_ceiling_c",
    "fsri_house_gasburner_2016": "bedroom_1_temperature_0p02_m_below_ceiling_c",
    "fsri_hvac_gasburner_2019": "bedroom_1_temperature_2p41_m_above_floor_c",
    "nist_smoke_alarms_tn1455": "temp_tree_a_1_c",
    "nist_nrc_compartment_2003": "temp_tree_1_10_c",
    "nist_iso9705_room_2008": "temp_tr237_c",
}


@pytest.mark.parametrize(
    ("manifest", "columns", "text"),
    [
        (b"file,family\n", b"family,column\n", "no column quantity, unit"),
        (b"\xff\n", COLUMNS.encode(), "cannot be read"),
    ],
)
def test_broken_tables_beside_a_recording_are_named(
    tmp_path: Path, manifest: bytes, columns: bytes, text: str
) -> None:
    """A manifest or columns file that cannot serve is an error of its own, not a guess."""
    recording = written(tmp_path, "time_s,temp_c\n0,20\n\n")
    assert values(recording, "temp_c") == [20.0]
    (tmp_path / "manifest.csv").write_bytes(manifest)
    (tmp_path / "columns.csv").write_bytes(columns)
    with pytest.raises(RecordingError, match=text):
        Recording(recording.file)

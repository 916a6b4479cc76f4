"""A capture as a file: what goes in comes out, and a person is told what is wrong with one."""

from __future__ import annotations

from pathlib import Path

import pytest

from alerting.rulebook.file import default_rules
from fengsui.command import main
from fengsui.errors import UsageError
from fengsui.journal import Entry
from fengsui.log import begin, frame
from fengsui.model import SIMULATED_EVENT, AlarmClass, Clock, Event, Kind, Lane, Point, Quality, Reading, What
from fengsui.runtime import WRONG_USAGE
from fengsui.wire import encode_body, encode_readings, encode_record
from ingest.inventory import Inventory, merge
from simulators.capture import Capture, Head, Writer
from simulators.playback import CaptureDriver, play_back, registered
from tests.driving import FreeTime

BEGIN_US = 1_790_000_000_000_000
HEAD = Head(journal="0123456789abcdef", begun_at_us=BEGIN_US)
LONG = "g" * 60


def point(index: int, gateway: str, name: str, quantity: str = "temperature", uom: str = "degC") -> Point:
    """A point of a building of a production server."""
    return Point(
        index=index,
        id=f"P{index}",
        gateway=gateway,
        name=name,
        quantity=quantity,
        uom=uom,
        zone="z1",
        building="b1",
        unit="u1",
        place="3F 302",
    )


POINTS = [point(4, "silent", "t"), point(7, "gw-1", "t"), point(9, "gw-1", "panel", "contact", "1"),
          point(12, LONG, "n" * 40)]  # fmt: skip


def entry(n: int, second: float, gateway: str, record: bytes, readings: int, lane: Lane) -> Entry:
    """A journal entry received at this second."""
    return Entry(n, lane, gateway, BEGIN_US + round(second * 1e6), readings, record)


def sample(n: int, second: float, value: float, gateway: str = "gw-1", name: str = "t") -> Entry:
    """One reading, received when it was measured."""
    at_us = BEGIN_US + round(second * 1e6)
    body = encode_readings([Reading(name, at_us, value)], Clock.SYNCED)
    return entry(n, second, gateway, encode_record(Kind.READINGS, 7, n, 0, body), 1, Lane.TELEMETRY)


def fire(n: int, second: float) -> Entry:
    """A panel's fire."""
    event = Event("panel", BEGIN_US + round(second * 1e6), What.FIRE, code="E17")
    record = encode_record(Kind.EVENT, 7, n, 0, encode_body(event))
    return entry(n, second, "gw-1", record, 1, Lane.ALARM)


def heating() -> list[Entry]:
    """A minute at 70 C, a panel's fire in the middle, and a point with long names."""
    entries = [sample(n, n, 22.0 if n < 30 else 70.0) for n in range(1, 61)]
    return [*entries[:40], fire(1, 40.5), sample(1, 40.6, 20.0, LONG, "n" * 40), *entries[40:]]


def written(path: Path, entries: list[Entry], missed: int = 0) -> Path:
    """A capture of these entries."""
    with Writer(path, HEAD, POINTS) as writer:
        for each in entries:
            writer.add(each)
        writer.missed = missed
    return path


def test_what_was_captured_comes_back(tmp_path: Path) -> None:
    """Every entry comes out as it went in, with the points of the gateways that are heard, and the count."""
    capture = Capture(written(tmp_path / "c", heating(), missed=3))
    said = [(e.lane, e.gateway, e.received_at_us, e.readings, e.record) for e in capture.entries()]
    assert said == [(e.lane, e.gateway, e.received_at_us, e.readings, e.record) for e in heating()]
    assert [(p.index, p.id) for p in capture.points] == [(0, "P7"), (1, "P9"), (2, "P12")]
    assert capture.end is not None
    assert (capture.end.entries, capture.end.readings, capture.end.missed) == (62, 62, 3)
    assert (capture.head, capture.gateways, capture.plain) == (HEAD, [LONG, "gw-1"], set())
    assert capture.span_us == (BEGIN_US + 1_000_000, BEGIN_US + 60_000_000)
    assert (tmp_path / "c").stat().st_mode & 0o777 == 0o600


def test_a_capture_that_was_cut_short_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    """Without its last bytes there is no end, and all whole entries are there."""
    path = written(tmp_path / "c", heating())
    path.write_bytes(path.read_bytes()[:-100])
    capture = Capture(path)
    assert capture.end is None
    assert 60 <= len(list(capture.entries())) < 62


def test_a_damaged_entry_is_counted_and_left_out(tmp_path: Path) -> None:
    """One flipped bit costs one entry."""
    path = written(tmp_path / "c", heating())
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    capture = Capture(path)
    assert capture.damaged == 1
    assert capture.end is not None
    assert len(list(capture.entries())) == 61


def test_virtual_time_judges_it_as_the_core_would_and_as_a_test(tmp_path: Path) -> None:
    """The limit and the panel raise fires when they did, marked as tests; a silent gateway is no fault."""
    played = play_back(Capture(written(tmp_path / "c", heating())), default_rules(), lambda share: None)
    alarms = [(told.at_s, told.change.alarm) for told in played.told if told.change.what == "raised"]
    fires = {alarm.point: at_s for at_s, alarm in alarms if alarm.cls is AlarmClass.FIRE}
    assert 29 <= fires["P7"] <= 40
    assert fires["P9"] == 40
    assert all(alarm.test for _, alarm in alarms)
    assert all(alarm.gateway != "silent" for _, alarm in alarms)
    assert (played.readings, played.unused) == (61, {})
    assert played.length_s == 59


async def test_live_it_is_shifted_renamed_and_marked(tmp_path: Path) -> None:
    """Its end is now; names tell the gateways apart and fit; every reading and event is simulated."""
    capture = Capture(written(tmp_path / "c", heating()))
    time = FreeTime()
    driver = CaptureDriver(capture, 1.0, time.pace)
    items = list(driver.items(BEGIN_US + 1_000_000 + 500))
    readings = [item for _, item in items if isinstance(item, Reading)]
    (event,) = [item for _, item in items if isinstance(item, Event)]
    assert [due_s for due_s, _ in items[:2]] == [0.0, 1.0]
    assert {reading.quality for reading in readings} == {Quality.SIMULATED}
    assert readings[0] == Reading("gw-1.t", BEGIN_US + 1_000_500, 22.0, Quality.SIMULATED)
    assert (event.point, event.code, event.at) == ("gw-1.panel", SIMULATED_EVENT, BEGIN_US + 40_500_500)
    described = {each.name for each in driver.describe()}
    assert {reading.point for reading in readings} | {event.point} == described
    assert all(len(name) <= 64 for name in described)


def test_its_points_are_registered_apart_from_the_real_ones(tmp_path: Path) -> None:
    """No id of the production server is in the file, so importing it there changes nothing of it."""
    capture = Capture(written(tmp_path / "c", heating()))
    inventory = merge(Inventory(), registered(capture, "gw-9"))
    assert {p.gateway for p in inventory.points} == {"gw-9"}
    assert {p.name for p in inventory.points} == {
        e.name for e in CaptureDriver(capture, 1, FreeTime().pace).describe()
    }
    assert set(inventory.units) == {"replay"}
    assert (set(inventory.buildings), set(inventory.zones)) == ({"replay-b1"}, {"replay-z1"})


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "cannot be read: No such file"),
        (b"", "is no capture"),
        (b"time_s,ceiling_c\n0,20\n" * 50, "is no capture"),
        (begin(b"head of a spool") + frame(1, b"x"), "is no capture but another log"),
        (
            begin(b"\x83\xa7capture\x02\xa7journal\xa0\xabbegun_at_us\x00"),
            "is of version 2; this program knows 1",
        ),
    ],
)
def test_a_file_that_is_none_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, text: str
) -> None:
    """The message names the file and what is wrong with it."""
    path = tmp_path / "c"
    if content is not None:
        path.write_bytes(content)
    assert main(["simulate", "--replay", str(path)]) == WRONG_USAGE
    assert text in capsys.readouterr().err


def test_a_capture_never_overwrites_a_file(tmp_path: Path) -> None:
    """What is there stays, and the message says what to do."""
    path = tmp_path / "c"
    path.write_text("mine")
    with pytest.raises(UsageError, match="is there already; choose another file"):
        Writer(path, HEAD, [])
    assert path.read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["fire-fast", "--replay", "c"], "does not go with fire-fast"),
        (["--replay", "c", "--check"], "--check does not go with --replay"),
        (["--replay", "c", "--speed", "2"], "--speed goes with --config"),
    ],
)
def test_words_that_do_not_go_together_are_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    text: str,
) -> None:
    """A replay has no oracle, and a speed only in real time."""
    monkeypatch.chdir(tmp_path)
    written(Path("c"), heating())
    assert main(["simulate", *arguments]) == WRONG_USAGE
    assert text in capsys.readouterr().err

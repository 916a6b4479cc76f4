from __future__ import annotations

from math import isnan
from pathlib import Path

import pytest

from fengsui.model import Quality
from gateway.drivers.base import MAX_BATCH
from gateway.drivers.config import Replay
from gateway.drivers.recording import RecordingError
from gateway.drivers.replay import ReplayDriver
from tests.driving import START_US, FreeTime, Kept

TEXT = "time_s,a_c,b_c\n-2,20,30\n-1,,31\n0,x,32\n2.5,23,\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Four rows, 4.5 s, with blanks and a text."""
    path = tmp_path / "fire.csv"
    path.write_text(TEXT)
    return path


async def test_rows_become_readings_on_the_files_own_axis(file: Path) -> None:
    """Event time is epoch plus the file's time; a blank is no reading, text is an invalid one."""
    time, sink = FreeTime(), Kept()
    driver = ReplayDriver(Replay(name="r", file=file, columns=["a_c", "b_c"], epoch_us=10_000_000), time.pace)
    await driver.run(sink)
    assert [(r.point, r.at_us) for r in sink.readings] == [
        ("a_c", 8_000_000),
        ("b_c", 8_000_000),
        ("b_c", 9_000_000),
        ("a_c", 10_000_000),
        ("b_c", 10_000_000),
        ("a_c", 12_500_000),
    ]
    assert isnan(sink.readings[3].value)
    assert [r.quality for r in sink.readings if r.quality] == [Quality.BAD]
    assert driver.produced == 6


@pytest.mark.parametrize(("speed", "takes_s"), [(0.5, 9.0), (1.0, 4.5), (10.0, 0.45)])
async def test_speed_scales_waiting_and_never_the_stamps(file: Path, speed: float, takes_s: float) -> None:
    """Playing takes the file's span over the speed; stamps keep its intervals and none lies in the future."""
    time, sink = FreeTime(), Kept()
    await ReplayDriver(Replay(name="r", file=file, columns=["b_c"], speed=speed), time.pace).run(sink)
    assert (time.now_us - START_US) / 1e6 == pytest.approx(takes_s, abs=1e-3)
    first, *_, last = [reading.at_us for reading in sink.readings]
    assert last - first == 2_000_000
    assert last <= time.now_us


async def test_rows_that_fell_due_are_offered_in_batches(tmp_path: Path) -> None:
    """After a blocked sink the backlog goes out in order, at most ``MAX_BATCH`` readings a call."""
    file = tmp_path / "long.csv"
    file.write_text("time_s,a_c\n" + "".join(f"{i / 1000},{i}\n" for i in range(1000)))
    time = FreeTime()

    class Slow(Kept):
        async def accept(self, items: object) -> None:
            time.now_us += 500_000
            await super().accept(items)  # type: ignore[arg-type]

    sink = Slow()
    await ReplayDriver(Replay(name="r", file=file), time.pace).run(sink)
    assert [reading.value for reading in sink.readings] == [float(i) for i in range(1000)]
    assert max(len(call) for call in sink.calls) == MAX_BATCH


async def test_a_wide_row_is_split_into_batches(tmp_path: Path) -> None:
    """More columns than a batch holds are several calls with one stamp."""
    names = [f"c{i}_c" for i in range(450)]
    file = tmp_path / "wide.csv"
    file.write_text(f"time_s,{','.join(names)}\n0,{','.join(['1'] * 450)}\n")
    sink = Kept()
    await ReplayDriver(Replay(name="r", file=file, columns=names), FreeTime().pace).run(sink)
    assert [len(call) for call in sink.calls] == [200, 200, 50]


async def test_nothing_is_played_of_a_damaged_file(file: Path) -> None:
    """A bad line at the end is found before the first row is offered."""
    file.write_text(TEXT + "3,1\n")
    sink = Kept()
    with pytest.raises(RecordingError, match="line 6"):
        await ReplayDriver(Replay(name="r", file=file), FreeTime().pace).run(sink)
    assert sink.calls == []


async def test_an_epoch_before_1970_is_refused(file: Path) -> None:
    """An epoch that would stamp a row before 1970 says so."""
    driver = ReplayDriver(Replay(name="r", file=file, epoch_us=0), FreeTime().pace)
    with pytest.raises(RecordingError, match="move epoch_us"):
        await driver.run(Kept())


def test_description_carries_quantity_and_unit(file: Path) -> None:
    """Each chosen column is described, the default one when none is named."""
    driver = ReplayDriver(Replay(name="r", file=file), FreeTime().pace)
    (described,) = driver.describe()
    assert (described.name, described.quantity, described.unit) == ("a_c", "temperature", "degC")

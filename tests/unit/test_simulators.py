from __future__ import annotations

from pathlib import Path

import pytest

from fengsui.command import main
from fengsui.model import POINT_NAME
from fengsui.wire import HEADER, Readings, decode_body, decode_header
from gateway.drivers.config import Simulated
from gateway.drivers.recording import Recording
from gateway.drivers.simulated import SimulatedDriver
from ingest.inventory import Inventory, merge
from ingest.sheet import Format, read
from simulators.building import district, registry_file
from simulators.fleet import Template
from simulators.recordings import registered
from tests.driving import FreeTime
from tests.recordings import recordings

BEGIN_US = 1_700_000_000_000_000
TEMPLATE = Template(points=10, begin_us=BEGIN_US, period_us=100_000)


def test_district_registers_every_point_of_the_driver() -> None:
    """Each described point is bound, with its quantity and unit of measure, and in a zone and a unit."""
    inventory = merge(Inventory(), district("gw-1"))
    described = SimulatedDriver(Simulated(name="d"), FreeTime().pace).describe()
    for description in described:
        point = inventory.by_binding["gw-1", description.name]
        assert (point.quantity, point.uom) == (description.quantity, description.unit)
        assert (point.low, point.high) == description.range
        assert point.zone
        assert point.building
        assert point.unit
    assert len(inventory.points) == len(described)


def test_district_survives_its_file(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """What the verb prints reads back as the district itself."""
    assert main(["simulate", "district", "--gateway", "gw-1"]) == 0
    printed = capfdbinary.readouterr().out
    assert printed == registry_file(district("gw-1"))
    assert merge(Inventory(), read(printed, Format.YAML)) == merge(Inventory(), district("gw-1"))


def test_two_gateways_can_share_the_district() -> None:
    """A second simulated gateway adds its points and changes none of the first's."""
    both = merge(merge(Inventory(), district("gw-1")), district("gw-2"))
    assert len(both.points) == 400


def test_columns_of_a_recording_are_registered(tmp_path: Path) -> None:
    """Chosen columns become points with the quantity that the rules know them by."""
    file = tmp_path / "fire.csv"
    file.write_text("time_s,ceiling_c,a b\n0,20,1\n")
    recording = Recording(file)
    inventory = merge(Inventory(), registered(recording, recording.choose(["ceiling_c", "a b"]), "gw-1"))
    ceiling, other = inventory.points
    assert (ceiling.id, ceiling.quantity, ceiling.uom, ceiling.unit) == (
        "ceiling_c",
        "temperature",
        "degC",
        "recordings",
    )
    assert POINT_NAME.fullmatch(other.id)


def test_every_column_of_the_collection_can_be_registered() -> None:
    """All columns of all recordings pass the registry's own rules."""
    for file in sorted(recordings().glob("*/*.csv.gz")):
        recording = Recording(file)
        merge(Inventory(), registered(recording, recording.columns, "gw-1"))


def test_a_record_is_a_function_of_its_number() -> None:
    """Each number decodes to a sweep with its own stamps, and comes out the same at every sending."""
    record = TEMPLATE.record(7, 1001)
    header = decode_header(record)
    body = decode_body(header, record[HEADER.size :])
    assert isinstance(body, Readings)
    assert (header.spool, header.seq, body.t0, body.count) == (7, 1001, BEGIN_US + 100_000_000, 10)
    assert TEMPLATE.record(7, 1001) == record


def test_a_time_before_the_template_can_hold_it_is_refused() -> None:
    """A begin that is plainly not microseconds since 1970 is refused."""
    with pytest.raises(ValueError, match="too early"):
        Template(points=1, begin_us=1, period_us=1)

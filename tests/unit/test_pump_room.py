from __future__ import annotations

import tomllib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fengsui.command import main
from gateway.drivers.config import Modbus
from ingest.inventory import Inventory, merge
from simulators.pump_room import NAME, POINTS, PumpRoom, driver_block, registered


@given(st.integers(0, 2**32), st.lists(st.floats(0.0, 60.0), max_size=200))
def test_the_room_stays_within_its_instruments(seed: int, steps: list[float]) -> None:
    """However long anyone waits between two readings, every value is within its point's bounds."""
    room = PumpRoom(seed)
    for elapsed_s in steps:
        room.main.step(elapsed_s)
        shown = room.read()
        for point in POINTS:
            assert point.low is not None
            assert point.high is not None
            assert point.low <= shown[point.name] <= point.high
        assert 399 <= room.main.pressure_kpa <= room.main.network.stop_kpa


def test_the_jockey_pump_starts_and_stops() -> None:
    """The main leaks down to the start, is pumped up to the stop, and the tank pays for it."""
    main = PumpRoom().main
    starts = 0
    for _ in range(600):
        before_m, pumped = main.tank_m, main.is_pumping
        main.step(1.0)
        starts += main.is_pumping and not pumped
        assert (main.tank_m < before_m) == pumped
    assert starts >= 2


def test_the_driver_block_is_good_settings() -> None:
    """A gateway takes it as it is, with every point of the room."""
    block = tomllib.loads(driver_block("simulator", 5020))["drivers"][0]
    driver = msgspec.convert(block, Modbus | msgspec.UnsetType)  # the tag says which
    assert isinstance(driver, Modbus)
    assert (driver.host, driver.port, driver.name) == ("simulator", 5020, NAME)
    assert tuple(driver.points) == POINTS


def test_every_point_is_registered() -> None:
    """The registry file binds each point of the block to the gateway."""
    inventory = merge(Inventory(), registered("gw-1"))
    assert [point.name for point in inventory.points] == [point.name for point in POINTS]
    assert {point.gateway for point in inventory.points} == {"gw-1"}
    assert {point.unit for point in inventory.points} == {NAME}


def test_a_wrong_address_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    """`HOST:PORT` without a port ends with a usage error that shows the form."""
    with pytest.raises(SystemExit):
        main(["simulate", "pump-room", "--driver", "simulator"])
    assert "is not HOST:PORT" in capsys.readouterr().err

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from fengsui.errors import SettingsError
from fengsui.settings import fit, sample
from gateway.drivers.config import DriverConfig, Modbus, ModbusPoint, Replay, Simulated

FILE = Path("/etc/fengsui/gateway.toml")


class Drivers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The part of a gateway's settings that is looked at here."""

    drivers: list[DriverConfig]


def read(text: str) -> list[DriverConfig]:
    """The driver blocks of a settings file."""
    return fit(FILE, tomllib.loads(text), Drivers).drivers


def test_every_block_of_the_sample_is_a_driver() -> None:
    """With the comment marks of the optional blocks taken off, the sample gives one driver of each kind."""
    _, _, blocks = sample("gateway").partition("# --- drivers")
    keys = re.sub(r"^# (?=[a-z_]+ = |\[\[)", "", blocks, flags=re.MULTILINE)
    simulated, replay, modbus = read(keys.partition("\n")[2])
    assert simulated == Simulated(name="district")
    assert isinstance(replay, Replay)
    assert replay.file == FILE.parent / "recordings/fire/test_1.csv.gz"
    assert isinstance(modbus, Modbus)
    assert [point.is_bit for point in modbus.points] == [False, True]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('kind = "simulated"\nname = "a"\nperiod = 1', "did you mean `period_s`"),
        ('kind = "simulated"\nname = "a b"', "`drivers[0].name`"),
        ('kind = "simulated"\nname = "a"\nperiod_s = 0', "period_s"),
        ('kind = "replay"\nname = "a"\nfile = "f"\nspeed = -1', "speed"),
        ('kind = "replay"\nname = "a"', "`drivers[0].file` is missing"),
        ('kind = "bacnet"\nname = "a"', "bacnet"),
        ('kind = "modbus"\nname = "a"\nhost = "h"\npoints = []', "points"),
    ],
)
def test_a_wrong_block_is_refused_by_its_key(text: str, expected: str) -> None:
    """Unknown kinds and keys and values out of bounds are refused, naming the key."""
    with pytest.raises(SettingsError) as caught:
        read(f"[[drivers]]\n{text}\n")
    assert expected in str(caught.value)


def test_a_point_named_twice_is_refused() -> None:
    """Two points of one name, or one named like the link, would be told apart by nobody."""
    points = [ModbusPoint(name=name, table="coil", address=0, quantity="q", uom="1") for name in ("a", "a")]
    with pytest.raises(ValueError, match="a is named twice"):
        Modbus(name="m", host="h", points=points)
    link = msgspec.structs.replace(points[0], name="m:link")
    with pytest.raises(ValueError, match="m:link is named twice"):
        Modbus(name="m", host="h", points=[link])

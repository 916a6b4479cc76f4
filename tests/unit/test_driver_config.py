from __future__ import annotations

import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from fengsui.errors import SettingsError
from fengsui.settings import fit, load, sample
from gateway.config import Settings
from gateway.drivers.config import DriverConfig, Gbt26875, Modbus, ModbusPoint, Replay, Simulated, Siren

FILE = Path("/etc/fengsui/gateway.toml")
CENTRE = 'kind = "gbt26875"\nname = "a"\nport = 5200\n'
TWO = '{name = "d", address = 1}, {name = "e", address = 2}'


class Drivers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The part of a gateway's settings that is looked at here."""

    drivers: list[DriverConfig]


def read(text: str) -> list[DriverConfig]:
    """The driver blocks of a settings file."""
    return fit(FILE, tomllib.loads(text), Drivers).drivers


def test_every_block_of_the_sample_is_a_driver() -> None:
    """With the comment marks of the optional blocks taken off, the sample gives one driver of each kind."""
    _, _, blocks = sample("gateway").partition("# --- drivers")
    keys = re.sub(r"^# (?=[a-z_]+ = |\[)", "", blocks, flags=re.MULTILINE)
    simulated, replay, modbus, centre, siren = read(keys.partition("\n")[2])
    assert simulated == Simulated(name="district")
    assert isinstance(replay, Replay)
    assert replay.file == FILE.parent / "recordings/fire/test_1.csv.gz"
    assert isinstance(modbus, Modbus)
    assert [point.is_bit for point in modbus.points] == [False, True]
    assert isinstance(centre, Gbt26875)
    (tower,) = centre.devices
    assert (tower.number, sorted(tower.parts)) == (889, ["1.1:10-2", "1.1:10-9:200", "11.1:1-1:5"])
    assert centre.forward is not None
    assert isinstance(siren, Siren)
    assert siren.command[0] == "gpioset"


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
        (f'{CENTRE}profile = "acme"', "no profile 'acme'; there are "),
        (f'{CENTRE}profile = {{end = "1616"}}', "profile"),
        (f"{CENTRE}inspect_s = 7201", "inspect_s"),
        (f'{CENTRE}devices = [{{name = "d"}}]', "give address or host"),
        (f'{CENTRE}devices = [{{name = "d", address = 1, host = "h"}}]', "give address or host"),
        (f'{CENTRE}devices = [{{name = "d", address = "7903"}}]', "12 hex digits"),
        (f'{CENTRE}devices = [{{name = "d", address = 0}}]', "an address is 1 to"),
        (f'{CENTRE}devices = [{{name = "d", address = 1, profile = "end-35"}}]', "its end mark"),
        (f'{CENTRE}devices = [{{name = "d", address = 1, parts = {{x = {{name = "a b"}}}}}}]', "'a b'"),
        (
            f'{CENTRE}devices = [{{name = "d", address = 889}}, {{name = "e", address = "790300000000"}}]',
            "two devices have number 889",
        ),
        (f"{CENTRE}max_devices = 1\ndevices = [{TWO}]", "max_devices 1"),
        (f'{CENTRE}forward = {{host = "h", port = 1, profile = "x"}}', "no profile 'x'"),
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


def test_the_reception_beside_the_core_is_a_gateway(tmp_path: Path) -> None:
    """The file that comes with Fengsui fits; a clock that is not synced may not be passed on to devices."""
    sample_file = Path(__file__).parents[2] / "deploy/reception.toml"
    (tmp_path / "secrets").mkdir()
    secret = tmp_path / "secrets/reception"
    secret.write_text("a-word-of-its-own")
    secret.chmod(0o600)
    file = tmp_path / "reception.toml"
    file.write_text(sample_file.read_text())
    (driver,) = load(file, Settings).drivers
    assert isinstance(driver, Gbt26875)
    assert [device.number for device in driver.devices] == [889]
    file.write_text(sample_file.read_text().replace("socket = ", "clock = 1\nsocket = "))
    with pytest.raises(SettingsError, match="set_clock = false is needed"):
        load(file, Settings)

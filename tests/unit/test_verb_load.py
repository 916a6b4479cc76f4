"""``fengsui load`` before it connects: its sheet, and what a person can get wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from fengsui.command import main
from fengsui.model import Quality
from fengsui.runtime import WRONG_SETTINGS, WRONG_USAGE
from fengsui.wire import HEADER, Readings, decode_body, decode_header
from ingest.inventory import Inventory, merge
from ingest.sheet import Format, read
from server.verb_run import Ports, write_settings
from simulators import verb_load
from simulators.fleet import Template, registered
from tests.servers import free_port

BEGIN_US = 1_700_000_000_000_000


def fleet(folder: Path, size: int, *, mqtt: int = 1884) -> list[str]:
    """Settings files of a fleet, as ``fengsui run`` makes them."""
    write_settings(folder, Ports(mqtt, 8081), fleet=size)
    return sorted(map(str, (folder / "fleet").glob("*.toml")))


def test_the_sheet_registers_every_point_of_the_fleet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it writes can be imported, and names the points by the fleet's gateways."""
    sheet = tmp_path / "points.csv"
    assert main(["load", *fleet(tmp_path, 3), "--points", "750", "--sheet", str(sheet)]) == 0
    inventory = merge(Inventory(), read(sheet.read_bytes(), Format.CSV))
    assert inventory == merge(Inventory(), registered(["load-000", "load-001", "load-002"], 250))
    assert len(inventory.points) == 750
    assert f"registry --data DIR import {sheet}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--points", "0"], WRONG_USAGE, "--points: 0 a gateway"),
        (["--points", "1000000"], WRONG_USAGE, "--points: 500000 a gateway; 1 to 65536"),
        (["--sheet", "points.txt"], WRONG_USAGE, "ends in .yaml or .csv"),
        (["--sheet", "/nowhere/points.csv"], WRONG_USAGE, "cannot be written"),
        (["nowhere.toml"], WRONG_SETTINGS, "nowhere.toml"),
    ],
)
def test_a_mistake_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, text: str
) -> None:
    """Nothing is sent, and the message names what is wrong."""
    assert main(["load", *fleet(tmp_path, 2), *arguments]) == code
    assert text in capsys.readouterr().err


def test_a_broker_that_lets_nobody_in_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """After some seconds without any connection the reason is told instead of waiting for ever."""
    monkeypatch.setattr(verb_load, "_CONNECT_S", 0.0)
    files = fleet(tmp_path, 2, mqtt=free_port())
    assert main(["load", *files]) == WRONG_USAGE
    assert "no gateway is let in: [Errno 111] Connection refused" in capsys.readouterr().err


def test_a_gateway_given_twice_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two connections of one name would push each other off for ever."""
    (file,) = fleet(tmp_path, 1)
    assert main(["load", file, file]) == WRONG_USAGE
    assert "load-000 is there twice" in capsys.readouterr().err


def test_a_sweep_is_split_into_records_that_the_contract_allows() -> None:
    """450 points are three records of one stamp, each point once, each reading marked as simulated."""
    template = Template(points=450, begin_us=BEGIN_US, period_us=1_000_000)
    bodies = []
    for seq in range(1, 7):
        record = template.record(7, seq, age_ms=5)
        body = decode_body(decode_header(record), record[HEADER.size :])
        assert isinstance(body, Readings)
        bodies.append(body)
    assert [body.count for body in bodies] == [200, 200, 50] * 2
    assert [body.t0 - BEGIN_US for body in bodies] == [0, 0, 0, 1_000_000, 1_000_000, 1_000_000]
    assert [name for body in bodies[:3] for name in body.names()] == template.names
    assert {quality for body in bodies for quality in body.q or b""} == {Quality.SIMULATED}
    assert [template.readings(n) for n in (0, 1, 3, 5)] == [0, 200, 450, 850]
    assert template.taken(2.5) == 9

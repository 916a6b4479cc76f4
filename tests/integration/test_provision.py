from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from alerting.rulebook.file import shipped
from fengsui.errors import UsageError
from fengsui.settings import load
from fengsui.verb_check_config import check
from gateway.collect import Urgent
from gateway.config import Settings
from server.address import Address
from server.certificates import PAIR_LASTS
from server.verb_provision import Plan, provision

NOW = datetime.now(UTC)


def plan_of(folder: Path, *field: str, names: tuple[str, ...] = ("alarm.example",)) -> Plan:
    """What compose would ask for."""
    return Plan(
        folder,
        broker=Address("mosquitto", 8883),
        influxdb=Address("influxdb", 8086),
        console=Address("0.0.0.0", 8443),
        names=names,
        gateway="gw-1",
        modbus=Address("simulator", 5020),
        field=field,
    )


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but the databases, and but the passwords' file, whose salts are new each time."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".db"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if path.name != "passwords"}


def users_of(folder: Path) -> list[str]:
    """Who may connect to the broker."""
    return [line.split(":")[0] for line in (folder / "broker/config/passwords").read_text().splitlines()]


async def test_a_deployment_over_its_life(tmp_path: Path) -> None:
    """Made once, then kept; gateways elsewhere come and go; certificates follow names and time."""
    await provision(plan_of(tmp_path), NOW)
    for process in ("core", "console", "gateway"):
        assert check(tmp_path / process / "config" / f"{process}.toml") == process
    modes = {path.stat().st_mode & 0o777 for path in tmp_path.glob("*/config/*")}
    assert modes == {0o640}
    assert {path.stat().st_mode & 0o777 for path in tmp_path.glob("authority/*.key")} == {0o600}
    assert users_of(tmp_path) == ["core", "probe", "gw-1"]
    limits = load(tmp_path / "gateway/config/gateway.toml", Settings).points
    assert limits["b1-1-01:temperature"] == Urgent(urgent_above=46.0)
    note = tmp_path / "authority/first-login"
    assert note.read_text().split()[0] == "duty"
    note.unlink()  # as its reader is told; no later start may make another
    first = contents(tmp_path)

    settings = tmp_path / "core/config/core.toml"
    settings.write_text(settings.read_text().replace("gateways = 200", "gateways = 300"))
    first["core/config/core.toml"] = settings.read_bytes()
    assert await provision(plan_of(tmp_path), NOW) == ["everything is there"]
    assert contents(tmp_path) == first

    told = await provision(plan_of(tmp_path, "gw-roof"), NOW)
    field = tmp_path / "authority/field/gw-roof"
    assert check(field / "gateway.toml") == "gateway"
    assert 'host = "alarm.example"' in (field / "gateway.toml").read_text()
    assert [line.split()[0] for line in told] == ["certificate", "settings"]
    assert users_of(tmp_path) == ["core", "probe", "gw-1", "gw-roof"]
    assert load(field / "gateway.toml", Settings).points == {}  # nothing of it is registered yet

    rules = tmp_path / "core/data/rules.yaml"
    rules.write_text(shipped().text.replace("above: 46.0", "above: 45.95"))
    told = await provision(plan_of(tmp_path, "gw-roof"), NOW)
    assert told == [f"limits {tmp_path}/gateway/config/urgent.toml changed; restart who uses them"]
    limits = load(tmp_path / "gateway/config/gateway.toml", Settings).points
    assert limits["b1-1-01:temperature"] == Urgent(urgent_above=45.95)
    for path in field.iterdir():
        path.unlink()
    field.rmdir()
    await provision(plan_of(tmp_path), NOW)
    assert users_of(tmp_path) == ["core", "probe", "gw-1"]
    assert "gw-roof" not in (tmp_path / "broker/config/acl").read_text()

    told = await provision(plan_of(tmp_path, names=("fire.example",)), NOW)
    assert sorted(Path(line.split()[1]).name for line in told) == ["broker.crt", "console.crt"]
    told = await provision(plan_of(tmp_path, names=("fire.example",)), NOW + PAIR_LASTS - timedelta(days=29))
    assert len(told) == 6
    assert all("renewed; restart who uses it" in line for line in told)


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a b", "gw\n"])
async def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    """A gateway's name becomes a folder, a user and a topic, so it is checked before anything is made."""
    with pytest.raises(UsageError, match="a gateway's name"):
        await provision(plan_of(tmp_path, name), NOW)
    assert list(tmp_path.iterdir()) == []


async def test_a_gateway_elsewhere_needs_a_name_to_reach(tmp_path: Path) -> None:
    """`localhost` would be the gateway itself."""
    with pytest.raises(UsageError, match="FENGSUI_NAMES"):
        await provision(plan_of(tmp_path, "gw-roof", names=("localhost",)), NOW)

"""The system under measurement as real processes: Mosquitto, InfluxDB, core, console; and its way in."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import orjson

from console.guard import cookie_name
from fengsui.settings import Broker
from server import broker, secrets
from tests.consoles import sign_in
from tests.ledger.core import Core
from tests.ledger.station import REPOSITORY, python
from tests.servers import HOST, Process, answers_http, broker_process, free_port, http, influxd
from tests.waiting import until

DATABASE = "fengsui"
PERSON = "bench"
_PASSWORD = "correct horse 7"  # noqa: S105 - opens nothing but a console that lives for this measurement


class PointRow(NamedTuple):
    """A point to be registered; its id is ``<gateway>-<name>``."""

    gateway: str
    name: str
    quantity: str = "temperature"
    uom: str = "degC"

    @property
    def id(self) -> str:
        """Its id."""
        return f"{self.gateway}-{self.name}"


@dataclass(kw_only=True)
class House:
    """Everything that runs; see :func:`house`."""

    folder: Path
    broker: Process
    database: Process
    core: Core
    console: Process | None

    def login(self, user: str) -> Broker:
        """How this user connects to the broker."""
        password = secrets.keep(self.folder / "secrets" / user)
        return Broker(port=self.broker.port, username=user, password=password)

    def login_toml(self, user: str) -> str:
        """The same as a ``[broker]`` table."""
        key = self.folder / "secrets" / user
        return (
            f'[broker]\nhost = "{HOST}"\nport = {self.broker.port}\n'
            f'username = "{user}"\npassword_file = "{key}"\n'
        )

    async def status(self) -> dict[str, Any]:
        """The core's status."""
        status: dict[str, Any] = await self.core.ask("status")
        return status

    async def journalled(self) -> int:
        """Readings in the journal."""
        return sum(balance["journalled"] for balance in (await self.status())["store_balance"])

    async def stored(self) -> int:
        """Readings the store has taken, as the core counts them."""
        return sum(balance["stored"] for balance in (await self.status())["store_balance"])

    async def wait_stored(self, readings: int, timeout_s: float) -> None:
        """Return when the store has taken so many readings, looking ten times a second."""

        async def done() -> bool:
            return await self.stored() >= readings

        await until(done, timeout_s, f"{readings:,} readings stored", every_s=0.1)

    async def check_nothing_lost(self, readings: int) -> None:
        """Count in the database, and hold the balance against it.

        Raises:
            AssertionError: The measurement did not happen as it claims.
        """
        counted = await count(self.database.port, DATABASE)
        assert counted == readings, f"the database has {counted:,} readings, not {readings:,}"
        status = await self.status()
        for row in [*status["gateways"], *status["store_balance"]]:
            assert row["residue"] == 0, f"residue: {row}"
        for balance in status["store_balance"]:
            assert not balance["dead"], f"dead letters: {balance}"
            assert not balance["shed"], f"shed: {balance}"

    @asynccontextmanager
    async def person(self) -> AsyncIterator[tuple[str, dict[str, str]]]:
        """Somebody signed in to the console: address of the live view, and the headers to open it with."""
        assert self.console is not None
        address = self.console.url
        async with httpx2.AsyncClient(base_url=address, timeout=10.0) as client:
            await sign_in(client, PERSON, _PASSWORD)
            name = cookie_name(secure=False)
            headers = {"Cookie": f"{name}={client.cookies[name]}", "Origin": address}
            yield f"ws://{HOST}:{self.console.port}/api/v1/live", headers


async def count(port: int, database: str) -> int:
    """Readings in a database, by its own counting."""
    question = f"/query?db={database}&q=SELECT+count(v)+FROM+reading"
    _, body = await http(port, "GET", question, timeout_s=120)
    series = orjson.loads(body)["results"][0].get("series", [])
    return int(series[0]["values"][0][1]) if series else 0


@asynccontextmanager
async def house(
    folder: Path,
    *,
    points: Sequence[PointRow],
    devices: Sequence[str] = (),
    with_console: bool = False,
    quota_mb: int = 10_000,
) -> AsyncIterator[House]:
    """Start everything below ``folder`` with these points registered; stop it at the end.

    ``devices`` names those of the points' gateways that are ``plain`` devices.
    """
    async with AsyncExitStack() as open_:
        gateways = sorted({point.gateway for point in points} - set(devices))
        mosquitto = _broker(folder, gateways, devices)
        open_.push_async_callback(mosquitto.stop)
        await mosquitto.start()
        database = await open_.enter_async_context(influxd(folder / "influx", database=DATABASE))
        core = _core(folder, mosquitto.port, database.port, quota_mb)
        open_.push_async_callback(core.process.stop)
        await core.process.start()
        console = None
        if with_console:
            console = await _console(folder)
            open_.push_async_callback(console.stop)
            await console.start()
        await _register(core, folder, points)
        yield House(folder=folder, broker=mosquitto, database=database, core=core, console=console)


def _broker(folder: Path, gateways: Sequence[str], devices: Sequence[str]) -> Process:
    home, port = folder / "broker", free_port()
    home.mkdir(parents=True)
    roles = {"core": broker.Role.CORE} | dict.fromkeys(gateways, broker.Role.GATEWAY)
    roles |= dict.fromkeys(devices, broker.Role.DEVICE)
    users = [broker.User(name, role, secrets.keep(folder / "secrets" / name)) for name, role in roles.items()]
    config = broker.write_mosquitto(home, users, host=HOST, port=port)
    with config.open("a") as file:
        file.write("user root\n" if os.geteuid() == 0 else "")
    return broker_process("mosquitto", config, port)


def _core(folder: Path, broker_port: int, database_port: int, quota_mb: int) -> Core:
    home = folder / "core"
    home.mkdir(parents=True)
    config, socket = home / "core.toml", home / "core.sock"
    config.write_text(
        f"""\
process = "core"
folder = "{home}"
socket = "{socket}"
[journal]
folder = "{home / "journal"}"
quota_mb = {quota_mb}
[broker]
host = "{HOST}"
port = {broker_port}
username = "core"
password_file = "{folder / "secrets" / "core"}"
[store]
kind = "influx"
version = 1
url = "http://{HOST}:{database_port}"
database = "{DATABASE}"
"""
    )
    process = Process("core", python("fengsui", "core", "--config", str(config)), home, cwd=REPOSITORY)
    core = Core(process, socket)
    process.when_ready(core.answers)
    return core


async def _console(folder: Path) -> Process:
    home, port = folder / "console", free_port()
    home.mkdir(parents=True)
    config = home / "console.toml"
    config.write_text(
        f'process = "console"\ncore_socket = "{folder / "core" / "core.sock"}"\n'
        f'database = "{home / "console.db"}"\nport = {port}\n'
    )
    command = python("fengsui", "console", "--config", str(config))
    await _run([*command, "user", "add", PERSON, "--role", "viewer"], stdin=f"{_PASSWORD}\n")
    return Process(
        "console", command, home, ports=[port], cwd=REPOSITORY, ready=lambda: answers_http(port, "/healthz")
    )


async def _register(core: Core, folder: Path, points: Sequence[PointRow]) -> None:
    sheet = folder / "points.csv"
    lines = ["sort,id,gateway,name,quantity,uom"]
    lines += [f"point,{p.id},{p.gateway},{p.name},{p.quantity},{p.uom}" for p in points]
    sheet.write_text("\n".join([*lines, ""]))
    await _run(python("fengsui", "registry", "--data", str(folder / "core"), "import", str(sheet)))

    async def knows_all() -> bool:
        status = await core.ask("status")
        return bool(status["server"]["points"] == len(points))

    await until(knows_all, 60, "the core knows the points", every_s=0.1)


async def _run(command: Sequence[str], *, stdin: str = "") -> None:
    done = await asyncio.to_thread(
        subprocess.run, command, cwd=REPOSITORY, input=stdin, capture_output=True, text=True, timeout=120
    )
    if done.returncode != 0:
        raise RuntimeError(re.sub(r"\s+", " ", f"{command}: {done.stdout}{done.stderr}")[-2000:])

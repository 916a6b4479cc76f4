"""``fengsui provision``: what a deployment needs before its servers start, made once and then kept fresh.

For ``docker-compose.yml``, where it runs to its end before anything else starts, and again at every later
start. It makes what is missing and changes nothing that is there, but for three: the broker's files follow
the users, urgent limits the rules, and certificates are renewed in time (:mod:`server.certificates`).
Folders, each a volume of its own, so that nobody sees another's secrets:

=====================  =====================================================================================
``authority/``         our own authority, the first login, ``field/<gateway>/`` for gateways elsewhere
``broker/config/``     Mosquitto's configuration, users, access list, certificate; ``broker/data/``
``core/config/``       ``core.toml``, its password, certificate, and database token; ``core/data/``
``console/config/``    ``console.toml`` and the pages' certificate; ``console/data/``
``gateway/config/``    ``gateway.toml``, its limits, password, certificate; ``gateway/data/``
``influxdb/config/``   the database's first user, password and token, and its certificate
=====================  =====================================================================================

Files are of mode 640: a container with a user of its own is given our group, and nobody is given more.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from fengsui import settings
from fengsui.errors import UsageError
from fengsui.model import NAME
from fengsui.runtime import OK
from fengsui.settings import Tls, is_loopback
from server import broker, secrets
from server import config as core
from server.address import Address, address
from server.broker import Role, User
from server.certificates import Authority
from server.firststart import PERSON, fengsui, keep_urgent, make_login, register
from server.migrations import upgrade

SUMMARY = "make secrets, certificates and settings of a deployment (docker-compose.yml runs it first)"

GATEWAYS = 200
"""How many gateways the broker and the core are made ready for."""
CONNECTIONS = 2 * 2 * GATEWAYS
"""A gateway holds two; its old ones may still stand while it comes back."""
ORGANISATION = BUCKET = "fengsui"
PROBE = "probe"
URGENT = "urgent.toml"
_LOCAL = ("localhost", "127.0.0.1")
_PROCESSES = ("broker", "core", "console", "gateway")


class Plan(NamedTuple):
    """What the command line says."""

    folder: Path
    broker: Address
    influxdb: Address
    console: Address
    names: Sequence[str]
    gateway: str
    modbus: Address
    field: Sequence[str] = ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("--folder", type=Path, required=True, help="where everything goes")
    for name, what in (
        ("broker", "of the broker"),
        ("influxdb", "of InfluxDB 2"),
        ("console", "where the console listens"),
        ("modbus", "of the Modbus device that the gateway reads"),
    ):
        parser.add_argument(f"--{name}", type=address, required=True, metavar="HOST:PORT", help=what)
    text = "host names and addresses by which browsers and gateways elsewhere reach this machine"
    parser.add_argument("--names", required=True, metavar="NAME,NAME", help=text)
    text = "name of the gateway that is part of the deployment"
    parser.add_argument("--gateway", required=True, metavar="NAME", help=text)
    text = "make one for a gateway elsewhere; may be repeated"
    parser.add_argument("--field", action="append", default=[], metavar="NAME", help=text)


def run(args: argparse.Namespace) -> int:
    """Make what is missing, and tell what was made."""
    names = [name.strip() for name in args.names.split(",") if name.strip()]
    plan = Plan(
        args.folder, args.broker, args.influxdb, args.console, names, args.gateway, args.modbus, args.field
    )
    for line in asyncio.run(provision(plan, datetime.now(UTC))):
        print(f"fengsui provision: {line}")
    return OK


async def provision(plan: Plan, now: datetime) -> list[str]:
    """Make what is missing; what was done, in lines for a person.

    Raises:
        UsageError: A name that cannot be a gateway's, or nothing by which a gateway elsewhere could reach us.
        SettingsError: Something is there and cannot be used.
        PartError: The first login or the first registration failed.
    """
    for gateway in (plan.gateway, *plan.field):
        if not NAME.fullmatch(gateway):
            raise UsageError(f"{gateway!r}: a gateway's name is 1 to 64 letters, digits, `_` or `-`")
    if plan.field and (not plan.names or is_loopback(plan.names[0])):
        raise UsageError("gateways elsewhere need this machine's name first in --names (FENGSUI_NAMES)")
    site = _Site(plan, now)
    users = [
        User("core", Role.CORE, secrets.keep(site.core / "password")),
        User(PROBE, Role.PROBE, secrets.keep(site.broker / "probe-password")),
        User(plan.gateway, Role.GATEWAY, secrets.keep(site.gateway / "password")),
    ]
    for field in site.fields():
        site.keep_gateway(field, field.name, Address(plan.names[0], plan.broker.port))
        users.append(User(field.name, Role.GATEWAY, secrets.keep(field / "password")))
    site.keep_broker(users)
    site.keep_influxdb()
    site.keep_core()
    site.keep_console()
    block = await fengsui("simulate", "pump-room", "--driver", str(plan.modbus))
    drivers = f'\n[[drivers]]\nkind = "simulated"\nname = "district"\n\n{block.decode()}'
    site.keep_gateway(site.gateway, plan.gateway, plan.broker, data="../data/", drivers=drivers)
    await asyncio.gather(site.keep_login(), site.keep_registry())
    await site.keep_urgent()
    site.share()
    return site.told or ["everything is there"]


class _Site:
    """The folders of one deployment, and its authority."""

    def __init__(self, plan: Plan, now: datetime) -> None:
        self.told: list[str] = []
        self._plan = plan
        self._now = now
        folder = plan.folder
        self._owner = folder / "authority"
        self.broker, self.core, self.console, self.gateway, self.influxdb = self._shared = [
            folder / name / "config" for name in (*_PROCESSES, "influxdb")
        ]
        data = [folder / name / "data" for name in _PROCESSES]
        fields = [self._owner / "field" / name for name in plan.field]
        for each in (*self._shared, *data, folder / "core/data/run", self._owner, *fields):
            each.mkdir(mode=0o750, parents=True, exist_ok=True)
        self._authority = Authority.keep(self._owner, now)

    def fields(self) -> list[Path]:
        """Folders of all gateways elsewhere that were ever made and not taken away since."""
        return sorted(path for path in self._owner.glob("field/*") if path.is_dir())

    def keep_broker(self, users: Sequence[User]) -> None:
        """Mosquitto's files, and what its health check connects with."""
        plan, folder = self._plan, self.broker
        self._keep_pair(folder, "broker", "broker", (plan.broker.host, *plan.names, *_LOCAL))
        self._keep_pair(folder, PROBE, PROBE)
        broker.write_mosquitto(
            folder,
            users,
            host=plan.broker.host if is_loopback(plan.broker.host) else "0.0.0.0",
            port=plan.broker.port,
            data=plan.folder / "broker/data",
            tls=Tls(
                ca_file=folder / "ca.crt", cert_file=folder / "broker.crt", key_file=folder / "broker.key"
            ),
            connections=CONNECTIONS,
        )
        options = {
            "-h": "localhost", "-p": plan.broker.port, "-W": 4,
            "--cafile": folder / "ca.crt", "--cert": folder / "probe.crt", "--key": folder / "probe.key",
            "-u": PROBE, "-P": secrets.keep(folder / "probe-password").reveal(),
            "-t": f"probe/{PROBE}", "-e": f"probe/{PROBE}",
        }  # fmt: skip
        secrets.write(folder / "mosquitto_rr", "".join(f"{key} {to}\n" for key, to in options.items()))

    def keep_influxdb(self) -> None:
        """What InfluxDB sets itself up with at its first start, and its certificate."""
        host = self._plan.influxdb.host
        self._keep_pair(self.influxdb, "influxdb", "influxdb", (host, *_LOCAL))
        _keep_text(self.influxdb / "username", "fengsui\n")
        for name in ("password", "token"):
            secrets.keep(self.influxdb / name)

    def keep_core(self) -> None:
        """The core's settings, and the token it first writes with."""
        plan, folder = self._plan, self.core
        self._keep_pair(folder, "core", "core")
        token = folder / "influxdb-token"
        if not token.exists():
            secrets.write(token, (self.influxdb / "token").read_text())
        self._keep_settings(
            folder,
            "core",
            f"""\
folder = "../data"
socket = "../data/run/core.sock"
gateways = {GATEWAYS}
broker_queue = {broker.MAX_QUEUED}
simulated_gateway = "{plan.gateway}"
{_broker_block(plan.broker, "core", "core")}
[journal]
folder = "../data/journal"

[store]
kind = "influx"
version = 2
url = "https://{plan.influxdb}"
ca_file = "ca.crt"
org = "{ORGANISATION}"
database = "{BUCKET}"
secret_file = "influxdb-token"
""",
        )

    def keep_console(self) -> None:
        """The console's settings and the certificate of its pages."""
        plan, folder = self._plan, self.console
        self._keep_pair(folder, "console", "console", (*plan.names, *_LOCAL))
        self._keep_settings(
            folder,
            "console",
            f"""\
core_socket = "../../core/data/run/core.sock"
database = "../data/console.db"
host = "{plan.console.host}"
port = {plan.console.port}

[tls]
cert_file = "console.crt"
key_file = "console.key"
""",
        )

    def keep_gateway(
        self, folder: Path, name: str, reached: Address, *, data: str = "", drivers: str = ""
    ) -> None:
        """A gateway's settings, password and certificate; ``data`` is where its spool goes."""
        self._keep_pair(folder, "gateway", name)
        secrets.keep(folder / "password")
        self._keep_settings(
            folder,
            "gateway",
            f"""\
name = "{name}"
socket = "{data}gateway.sock"
urgent_file = "{URGENT}"
{_broker_block(reached, name, "gateway")}
[spool]
folder = "{data}spool"
{drivers}""",
        )

    async def keep_login(self) -> None:
        """A first person for the console, at the first start alone."""
        note, made = self._owner / "first-login", self._plan.folder / "console/data/first-login-made"
        if made.exists():
            return
        if not note.exists():
            secrets.write(note, f"{PERSON}\n{secrets.passphrase()}\n")
        await make_login(self.console / "console.toml", note.read_text().split()[1])
        made.touch()
        self.told.append(f"the console's first login is in {note}; read it, then delete it")

    async def keep_registry(self) -> None:
        """The state database, and in it the simulated points, at the first start alone."""
        data, gateway = self._plan.folder / "core/data", self._plan.gateway
        database = data / "state.db"
        if not database.exists():
            await asyncio.to_thread(upgrade, f"sqlite:///{database}")
        for simulated in ("district", "pump-room"):
            kept = self._owner / f"registered-{simulated}.yaml"
            await register(data, kept, simulated, "--gateway", gateway)

    async def keep_urgent(self) -> None:
        """Every gateway's urgent limits, as the rules and the registry have them now."""
        rules = settings.load(self.core / "core.toml", core.Settings).rules
        data, gateways = self._plan.folder / "core/data", {self._plan.gateway: self.gateway}
        gateways |= {field.name: field for field in self.fields()}
        for name, folder in gateways.items():
            if await keep_urgent(data, name, folder / URGENT, rules):
                self.told.append(f"limits {folder / URGENT} changed; restart who uses them")

    def share(self) -> None:
        """Let our group read what the containers are given, whatever their users are."""
        for folder in self._shared:
            for file in folder.iterdir():
                file.chmod(0o640)

    def _keep_pair(self, folder: Path, leaf: str, name: str, reached_as: Sequence[str] = ()) -> None:
        file = folder / f"{leaf}.crt"
        word = "renewed; restart who uses it" if file.exists() else "made"
        key = folder / f"{leaf}.key"
        if self._authority.keep_pair(file, key, name, self._now, reached_as=reached_as):
            self.told.append(f"certificate {file} {word}")
        _keep_text(folder / "ca.crt", (self._owner / "ca.crt").read_text())

    def _keep_settings(self, folder: Path, process: str, text: str) -> None:
        path = folder / f"{process}.toml"
        if path.exists():
            return
        head = "# made by `fengsui provision` and yours since; delete it to have it made anew"
        secrets.write(path, f'{head}\nprocess = "{process}"\n{text}')
        self.told.append(f"settings {path} made")


def _keep_text(path: Path, text: str) -> None:
    if not path.exists() or path.read_text() != text:
        secrets.write(path, text)


def _broker_block(reached: Address, username: str, leaf: str) -> str:
    return f"""
[broker]
host = "{reached.host}"
port = {reached.port}
username = "{username}"
password_file = "password"

[broker.tls]
ca_file = "ca.crt"
cert_file = "{leaf}.crt"
key_file = "{leaf}.key"
"""

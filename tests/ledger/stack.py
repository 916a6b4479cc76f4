"""The system under test as real processes: broker, core, store, and gateways that write a ledger."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from fengsui.database import connect
from fengsui.viewer import Role, Viewer
from ingest.registry import Registry
from ingest.sheet import Format
from server import broker, secrets
from server.migrations import upgrade
from simulators.faultproxy import FaultProxy
from tests.databases import Database, Kind, in_cluster, in_folder, own_cluster
from tests.ledger import evidence
from tests.ledger.core import Core
from tests.ledger.driver import fire_point
from tests.ledger.front import Front
from tests.ledger.ledger import Plan, Verdict, classify, classify_fires
from tests.ledger.mutants import MUTANTS
from tests.ledger.station import REPOSITORY, Station, python
from tests.servers import HOST, Process, broker_process, free_port, influxd
from tests.waiting import until

BrokerName = Literal["mosquitto", "nats"]
StoreName = Literal["embedded", "influx"]
LinkName = Literal["gateway", "core", "store"]
QUIET_S = 120.0
DATABASE = "fengsui"
SHEET = "sort,id,gateway,name,quantity,uom,unit"
UNKNOWN_FIRES, MOST_FIRES = 16, 200
"""The first points that report a fire are unknown to the registry: those alarms must sound as well."""
MOST_POINTS = 1_000
ENGINEER = Viewer("ledger", frozenset({Role.ENGINEER}), None)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What to start, and where faults can be put in between."""

    broker: BrokerName = "mosquitto"
    broker_settings: Sequence[str] = ()
    store: StoreName = "embedded"
    plans: Sequence[Plan] = (Plan("g1"),)
    proxied: Collection[LinkName] = ()
    """Links that go through a fault proxy: gateway to broker, core to broker, core to store."""
    store_timeout_s: float = 10.0
    front: Front | None = None
    """What stands between the core and InfluxDB."""
    strangers: Sequence[str] = ()
    """Broker users of gateways that are no gateways of ours (``tests.ledger.stranger``)."""
    spool: Path | None = None
    """Where the spools are, if not beside everything else: a volume that loses its power or is small."""
    state: Kind = "sqlite"
    """What holds the state."""
    state_volume: Path | None = None
    """Where a SQLite state database is, if not beside everything else."""
    quota_mb: int = 64
    mutant: str | None = None


@dataclass(kw_only=True)
class Stack:
    """Everything that runs; see :func:`running_stack`."""

    shape: Shape
    folder: Path
    broker: Process
    core: Core
    stations: list[Station]
    state: Database
    state_server: Process | None = None
    database: Process | None = None
    proxies: dict[LinkName, FaultProxy] = field(default_factory=dict)

    @property
    def station(self) -> Station:
        """The only gateway, or the first."""
        return self.stations[0]

    @property
    def letters(self) -> Path:
        """The dead letters."""
        return self.folder / "core" / "deadletter.db"

    async def register(self, rows: Sequence[str]) -> None:
        """Register rows of a CSV sheet (:data:`SHEET` names their columns) by the product's command."""
        await _register(self.core, self.folder / "sheet.csv", self.state, rows)

    async def quiet(self, timeout_s: float = QUIET_S) -> bool:
        """Stop offering and wait until nothing moves any more; False if that takes too long."""
        for station in self.stations:
            station.order(rate=0.0)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        for station in self.stations:
            if not await station.drain(deadline - loop.time()):
                return False

        async def done() -> bool:
            return await self.core.waiting() == 0 and await self._residue() == 0

        try:
            await until(done, deadline - loop.time(), "the store has everything", every_s=0.2)
        except TimeoutError:
            return False
        return True

    async def verdict(self, timeout_s: float = QUIET_S, *, copied: int = 0) -> Verdict:
        """Wait for quiet, stop everything but the database, and judge by what is on disk.

        ``copied`` readings were rightly offered twice: a spool came back that had been committed already.
        """
        quiet = await self.quiet(timeout_s)
        residue, balances = 0, []
        if self.core.process.running:
            status = await self.core.ask("status")
            residue, balances = _residue_of(status), status["store_balance"]
        upto = {station.name: await station.upto() for station in self.stations}
        for station in self.stations:
            await station.process.stop()
        await self.core.process.stop()
        journalled = {balance["gateway"]: balance["journalled"] - copied for balance in balances}
        total = Verdict(residue=residue)
        for station in self.stations:
            total += await self._judge(station, upto[station.name], journalled.get(station.name))
        return total if quiet else total + Verdict(residue=max(1, total.waiting), examples=("not quiet",))

    async def _judge(self, station: Station, upto: dict[str, int], journalled: int | None) -> Verdict:
        ledger, held = station.ledger(), evidence.in_spool(station.spool, upto)
        names = ledger.plan.names()
        if self.database is None:
            series = self.folder / "core" / "series"
            rows = evidence.in_embedded_store(series, self.state, station.name, names)
        else:
            rows = evidence.in_influx(self.database.port, DATABASE, station.name, names)
        shed = held.shed | await evidence.shed_in_journal(self.folder / "core" / "journal", station.name)
        if journalled is not None:
            journalled -= len(ledger.fires) + len(shed)
        readings = classify(
            ledger,
            rows,
            waiting=held.readings,
            dead=evidence.in_dead_letters(self.letters, station.name),
            shed=sum(shed.values()),
            journalled=journalled,
        )
        raised = evidence.in_alarm_record(self.state, station.name)
        return readings + classify_fires(ledger, raised, waiting=held.fires)

    async def _residue(self) -> int:
        return _residue_of(await self.core.ask("status"))


def _residue_of(status: dict[str, Any]) -> int:
    rows = [*status["gateways"], *status["store_balance"]]
    return sum(abs(row["residue"]) for row in rows)


@asynccontextmanager
async def running_stack(folder: Path, shape: Shape, *, seed: int = 0) -> AsyncIterator[Stack]:
    """Start everything below ``folder``, gateways last and silent; stop it at the end."""
    mutant = MUTANTS[shape.mutant] if shape.mutant else None
    async with AsyncExitStack() as open_:
        gateways = [*(plan.gateway for plan in shape.plans), *shape.strangers]
        users = [("core", broker.Role.CORE), *((name, broker.Role.GATEWAY) for name in gateways)]
        port = free_port()
        server = _broker(folder / "broker", shape, users, folder / "secrets", port)
        open_.push_async_callback(server.stop)
        await server.start()
        database = (
            await open_.enter_async_context(influxd(folder / "influx")) if shape.store == "influx" else None
        )
        targets: dict[LinkName, int] = {"gateway": port, "core": port}
        if database is not None:
            targets["store"] = database.port
            if shape.front is not None:
                targets["store"] = await open_.enter_async_context(shape.front.before(database.port))
        proxies: dict[LinkName, FaultProxy] = {}
        for n, link in enumerate(shape.proxied):
            proxies[link] = await open_.enter_async_context(FaultProxy(targets[link], seed=seed + n))
            targets[link] = proxies[link].port
        (folder / "core").mkdir()
        state_server = await open_.enter_async_context(own_cluster()) if shape.state == "postgresql" else None
        state = await _state(folder, shape, state_server)
        rows = [row for plan in shape.plans for row in _sheet(plan)]
        await _register_before(state.url, rows)
        core = _core(
            folder, targets, shape, state, shape.mutant if mutant and mutant.process == "core" else None
        )
        open_.push_async_callback(core.process.stop)
        await core.process.start()
        stations = [
            Station(
                folder / plan.gateway,
                plan,
                ledger=folder / "ledger",
                spool=(shape.spool or folder) / f"spool-{plan.gateway}",
                broker_port=targets["gateway"],
                login=_login(folder, plan.gateway),
                quota_mb=shape.quota_mb,
                mutant=shape.mutant if mutant and mutant.process == "gateway" else None,
            )
            for plan in shape.plans
        ]
        for station in stations:
            open_.push_async_callback(station.process.stop)
            await station.process.start()
        yield Stack(
            shape=shape,
            folder=folder,
            broker=server,
            core=core,
            stations=stations,
            state=state,
            state_server=state_server,
            database=database,
            proxies=proxies,
        )


def _broker(
    folder: Path, shape: Shape, names: Sequence[tuple[str, broker.Role]], keys: Path, port: int
) -> Process:
    folder.mkdir(parents=True)
    users = [broker.User(name, role, secrets.keep(keys / name)) for name, role in names]
    if shape.broker == "nats":
        return broker_process("nats-server", broker.write_nats(folder, users, host=HOST, port=port), port)
    config = broker.write_mosquitto(folder, users, host=HOST, port=port)
    with config.open("a") as file:
        file.write("\n".join(["user root", *shape.broker_settings, ""]))
    return broker_process("mosquitto", config, port)


async def _state(folder: Path, shape: Shape, server: Process | None) -> Database:
    if server is not None:
        return await asyncio.to_thread(in_cluster, server)
    return in_folder(shape.state_volume or folder / "core")


def _login(folder: Path, user: str) -> list[str]:
    return [f'username = "{user}"', f'password_file = "{folder / "secrets" / user}"']


def _core(
    folder: Path, targets: dict[LinkName, int], shape: Shape, state: Database, mutant: str | None
) -> Core:
    home = folder / "core"
    store = (
        f'[store]\nkind = "influx"\nversion = 1\n'
        f'url = "http://{HOST}:{targets["store"]}"\ndatabase = "{DATABASE}"\n'
        f"timeout_s = {shape.store_timeout_s}"
        if shape.store == "influx"
        else f'[store]\nkind = "embedded"\nfolder = "{home / "series"}"'
    )
    config, socket = home / "core.toml", home / "core.sock"
    config.write_text(
        "\n".join(
            [
                f'process = "core"\nfolder = "{home}"\nsocket = "{socket}"',
                f'database = "{state.url}"',
                f'[journal]\nfolder = "{home / "journal"}"',
                f'[broker]\nhost = "{HOST}"\nport = {targets["core"]}',
                *_login(folder, "core"),
                store,
                "",
            ]
        )
    )
    process = Process(
        "core", python("fengsui", "core", "--config", str(config), mutant=mutant), home, cwd=REPOSITORY
    )
    core = Core(process, socket)
    process.when_ready(core.answers)
    return core


def _sheet(plan: Plan) -> Iterator[str]:
    for name in plan.names():
        yield f"point,{plan.gateway}-{name},{plan.gateway},{name},identity,1,"
    for n in range(UNKNOWN_FIRES + 1, MOST_FIRES + 1):
        name = fire_point(n)
        yield f"point,{plan.gateway}-{name},{plan.gateway},{name},contact,1,"


async def _register_before(url: str, rows: Sequence[str]) -> None:
    """Register rows of a CSV sheet while there is no core yet."""
    await asyncio.to_thread(upgrade, url)
    engine = connect(url)
    registry = await Registry.open(engine)
    await registry.load(ENGINEER, "\n".join([SHEET, *rows, ""]).encode(), Format.CSV)
    engine.dispose()


async def _register(core: Core, sheet: Path, state: Database, rows: Sequence[str]) -> None:
    sheet.write_text("\n".join([SHEET, *rows, ""]))
    command = python("fengsui", "registry", "--database", state.url, "import", str(sheet))
    done = await asyncio.to_thread(
        subprocess.run, command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60
    )
    if done.returncode != 0:
        raise RuntimeError(f"registry import: {done.stdout}{done.stderr}")
    wanted = {(row.split(",")[1], row.split(",")[-1]) for row in rows if row.startswith("point,")}

    async def knows_all() -> bool:
        points = await core.ask("points", limit=MOST_POINTS)
        return wanted <= {(point["id"], point["unit"]) for point in points}

    await until(knows_all, 30, "the core knows the points", every_s=0.1)

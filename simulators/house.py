"""A house for one run: broker, core and gateway on this machine, in a folder that is gone afterwards.

The real ones, put together by their own composition roots: nats-server with made users and rights as a
process, the others in this one. Core and gateway are given a clock; what belongs to the network stays real:
heartbeats, resending, the silence after which a gateway counts as gone.
"""

from __future__ import annotations

import asyncio
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from alerting.rulebook.file import shipped
from fengsui.errors import FengsuiError, UsageError
from fengsui.model import Kind, Lane
from fengsui.runtime import Stop
from fengsui.settings import Broker
from fengsui.spool import Spool
from gateway.app import Gateway
from gateway.config import Settings as GatewaySettings
from gateway.config import SpoolSettings
from server import secrets
from server.app import Core
from server.broker import Role, User, nats_server, write_nats
from server.config import Embedded, JournalSettings
from server.config import Settings as CoreSettings
from server.supervisor import Part, Supervisor

HOST = "127.0.0.1"
BROKER = "broker"
READY_S = 60.0
_GROUP_S = (0.02, 0.2)
"""Shortest and usual time in which a gateway syncs telemetry once; the usual one on the clock it is given."""
_ASK_EVERY_S = 0.05
_LONGEST_FOLDER = 80

Tell = Callable[[str], None]
Serve = Callable[[str, Callable[[Stop], Awaitable[None]]], Awaitable[None]]
"""Runs a process's main function, named, until the house is left."""


class HouseError(FengsuiError):
    """The house could not be put up; the text says where it stopped."""


@contextmanager
def folder() -> Iterator[Path]:
    """A folder that is gone afterwards.

    Raises:
        UsageError: The folder for temporary files has too long a name.
    """
    with tempfile.TemporaryDirectory(prefix="fengsui-") as name:
        if len(name) > _LONGEST_FOLDER:
            raise UsageError(f"{name}: too long a path for the sockets in it; set TMPDIR to a shorter one")
        yield Path(name)


async def start_broker(
    folder: Path, gateway: str, serve: Serve, tell: Tell
) -> tuple[Supervisor, Broker, Broker]:
    """Start nats-server; who keeps it running, and the core's and the gateway's login, made for it."""
    users = [
        User(name, role, secrets.keep(folder / "secrets" / name))
        for name, role in (("core", Role.CORE), (gateway, Role.GATEWAY))
    ]
    port = free_port()
    (folder / "broker").mkdir()
    config = write_nats(folder / "broker", users, host=HOST, port=port)

    async def is_ready() -> bool:
        _, writer = await asyncio.open_connection(HOST, port)
        writer.close()
        return True

    ready = asyncio.Event()

    async def when_ready() -> None:
        ready.set()

    part = Part(BROKER, [str(nats_server()), "-c", str(config)], is_ready)
    supervisor = Supervisor([part], logs=folder / "log", tell=tell)
    await serve("house.broker", lambda stop: supervisor.run(stop, when_ready))
    await wait_ready("broker", ready.is_set)
    core, field = (Broker(port=port, username=user.name, password=user.password) for user in users)
    return supervisor, core, field


def free_port() -> int:
    """A port of this machine that nobody has right now."""
    with socket.create_server((HOST, 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def core_settings(folder: Path, login: Broker, speed: float) -> CoreSettings:
    """Settings of a core on a clock ``speed`` times as fast as real time."""
    rules = folder / "rules.yaml"
    rules.write_text(rules_for(speed), encoding="utf-8")
    return CoreSettings(
        process="core",
        folder=folder / "core",
        socket=folder / "core.sock",
        broker=login,
        journal=JournalSettings(folder=folder / "core" / "journal"),
        store=Embedded(folder=folder / "core" / "series"),
        rules=rules,
    )


def gateway_settings(folder: Path, name: str, login: Broker, speed: float) -> GatewaySettings:
    """Settings of a gateway that is given its drivers; ``speed`` as for the core."""
    shortest_s, usual_s = _GROUP_S
    return GatewaySettings(
        process="gateway",
        name=name,
        broker=login,
        spool=SpoolSettings(folder=folder / "spool"),
        socket=folder / "gateway.sock",
        group_s=min(usual_s, max(shortest_s, usual_s / speed)),
    )


def rules_for(speed: float) -> str:
    """The shipped rules; only the silence of a gateway, whose heartbeats are real, is on real time."""
    file = shipped()
    rules, _, _ = file.text.partition("\noffline:\n")  # what follows are its tests, which are about real time
    return f"{rules}\noffline:\n  after_s: {file.rules.offline.after_s * speed}\n"


@asynccontextmanager
async def serving(
    tasks: asyncio.TaskGroup, name: str, main: Callable[[Stop], Awaitable[None]]
) -> AsyncIterator[None]:
    """A process's main function as a task, told to stop at the end and waited for."""
    stop = Stop()

    async def serve() -> None:
        await main(stop)

    task = tasks.create_task(serve(), name=name)
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait([task])


def is_quiet(core: Core, gateway: Gateway) -> bool:
    """Is everything committed, stored, judged and recorded?"""
    judged = {lane: core.watch.cursor.at(lane) for lane in Lane}
    return (
        gateway.is_drained()
        and not core.journal.is_behind(core.writer.cursor)
        and not core.journal.is_behind(judged)
        and core.watch.recorder.pending == 0
    )


def held_readings(spool: Spool) -> int:
    """Readings that the spool still holds. Blocks on files."""
    count, seq = 0, 1
    while held := spool.read(Lane.TELEMETRY, seq):
        count += sum(record.readings for record in held if record.kind == Kind.READINGS)
        seq = held[-1].seq + 1
    return count


async def wait_ready(what: str, condition: Callable[[], bool]) -> None:
    """Wait until it is so.

    Raises:
        HouseError: That takes too long.
    """
    if not await until(condition, READY_S):
        raise HouseError(f"the {what} was not ready within {READY_S:g} s; is this machine very busy?")


async def until(condition: Callable[[], bool], timeout_s: float, *, every_s: float = _ASK_EVERY_S) -> bool:
    """Wait until it is so; False if that takes too long."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        await asyncio.sleep(every_s)
    return True

"""``fengsui run``: everything on this machine, from nothing: broker, core, console, one simulated gateway.

Writes each process's settings and the broker's users below one folder (``./var``), makes the secrets at the
first start, and keeps the processes running until Ctrl-C.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import json
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from fengsui import runtime
from fengsui.errors import UsageError
from fengsui.runtime import Stop
from server import broker, secrets
from server.broker import Role, User
from server.supervisor import Part, PartError, Supervisor

SUMMARY = "run everything on this machine: broker, core, console, one gateway with simulated sensors"

HOST = "127.0.0.1"
GATEWAY = "gw-1"
DEVICE = "device-1"
PERSON = "duty"
ROLES = ("officer", "engineer", "admin")
_LONGEST_SOCKET = 100
_FENGSUI = (sys.executable, "-m", "fengsui")


class Ports(NamedTuple):
    """Where the outside reaches us, on loopback."""

    mqtt: int
    console: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument(
        "--folder", type=Path, default=Path("var"), help="where everything is kept (default: ./var)"
    )
    parser.add_argument("--mqtt-port", type=int, default=1883, metavar="PORT", help="of the broker (1883)")
    parser.add_argument("--console-port", type=int, default=8080, metavar="PORT", help="of the pages (8080)")
    parser.add_argument("--nats-server", type=Path, metavar="FILE", help="a nats-server program of your own")


def run(args: argparse.Namespace) -> int:
    """Run until Ctrl-C."""
    return runtime.run(partial(_serve, args), name="run")


async def _serve(args: argparse.Namespace, stop: Stop) -> None:
    folder: Path = args.folder
    if len(str(folder / "gateway/gateway.sock")) > _LONGEST_SOCKET:
        raise UsageError(f"{folder}: too long a path for the sockets in it; choose a shorter --folder")
    program = args.nats_server or broker.nats_server()
    with _alone(folder):
        ports = Ports(_port("broker", args.mqtt_port), _port("console", args.console_port))
        password = secrets.passphrase()
        config = write_settings(folder, ports)
        parts = [
            Part(
                "broker",
                [str(program), "-c", str(config)],
                partial(_connects, ports.mqtt),
                note=f"mqtt://{HOST}:{ports.mqtt}",
            ),
            Part(
                "core",
                [*_FENGSUI, "core", "--config", str(folder / "core/core.toml")],
                partial(_core_answers, folder / "core/run/core.sock"),
            ),
            Part(
                "console",
                [*_FENGSUI, "console", "--config", str(folder / "console/console.toml")],
                partial(_console_answers, ports.console),
                note=f"http://{HOST}:{ports.console}/",
                prepare=partial(_make_login, folder / "console/console.toml", password),
            ),
            Part(
                "gateway",
                [*_FENGSUI, "gateway", "run", "--config", str(folder / "gateway/gateway.toml")],
                partial(_gateway_answers, folder / "gateway/gateway.sock"),
                note="72 simulated rooms",
                prepare=partial(_register_district, folder),
            ),
        ]

        async def when_ready() -> None:
            _tell(welcome(folder, ports, password))

        _tell(f"fengsui run: everything is kept in {folder.resolve()}")
        await Supervisor(parts, logs=folder / "log", tell=_tell).run(stop, when_ready)


def write_settings(folder: Path, ports: Ports) -> Path:
    """Write every process's settings, and secrets where there are none yet; the broker's configuration."""
    names = [("core", Role.CORE), (GATEWAY, Role.GATEWAY), (DEVICE, Role.DEVICE)]
    users = [User(name, role, secrets.keep(folder / "secrets" / name)) for name, role in names]
    for name in ("broker", "core", "console", "gateway"):
        (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    texts = {
        "core": f"""\
folder = "."
socket = "run/core.sock"
simulated_gateway = "{GATEWAY}"

[broker]
port = {ports.mqtt}
username = "core"
password_file = "../secrets/core"

[journal]
folder = "journal"

[store]
kind = "embedded"
folder = "series"
""",
        "console": f"""\
core_socket = "../core/run/core.sock"
database = "console.db"
port = {ports.console}
""",
        "gateway": f"""\
name = "{GATEWAY}"
socket = "gateway.sock"

[broker]
port = {ports.mqtt}
username = "{GATEWAY}"
password_file = "../secrets/{GATEWAY}"

[spool]
folder = "spool"

[[drivers]]
kind = "simulated"
name = "district"
""",
    }
    for process, text in texts.items():
        head = f'# made by `fengsui run` at every start; changes are lost\nprocess = "{process}"\n'
        (folder / process / f"{process}.toml").write_text(head + text, encoding="utf-8")
    return broker.write_nats(folder / "broker", users, host=HOST, port=ports.mqtt)


def welcome(folder: Path, ports: Ports, password: str) -> str:
    """What a person needs now that everything runs."""
    return f"""
  Fengsui runs.
    open       http://{HOST}:{ports.console}/
    sign in    {PERSON}
    password   {password}      (made for this start)
    a reading of your own, from another terminal:
      mosquitto_pub -h {HOST} -p {ports.mqtt} -u {DEVICE} -P "$(cat {folder}/secrets/{DEVICE})" \\
        -q 1 -t fs/1/plain/{DEVICE} -m '{{"p": "room-1", "x": 23.5}}'
    stop       Ctrl-C
"""


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder for ourselves.

    Raises:
        UsageError: Another ``fengsui run`` has it, or it cannot be written.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (folder / "run.lock").open("w")
    except OSError as error:
        raise UsageError(f"{folder}: {error.strerror}; choose another --folder") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            text = f"{folder} is in use by another `fengsui run`; stop that one, or choose another --folder"
            raise UsageError(text) from error
        yield


def _port(name: str, wanted: int) -> int:
    """``wanted``, or a free port if somebody has that one."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except (OSError, OverflowError):
                continue
            found: int = probe.getsockname()[1]
            if port != wanted:
                _tell(f"{name:<9}port {wanted} is not free, taking {found}")
            return found
    raise UsageError(f"no free port on {HOST}")


async def _fengsui(*arguments: str, stdin: str = "") -> bytes:
    """Run another verb to its end; its output."""
    process = await asyncio.create_subprocess_exec(
        *_FENGSUI,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    out, err = await process.communicate(stdin.encode())
    if process.returncode != 0:
        raise PartError(f"`fengsui {arguments[0]}` failed: {err.decode(errors='replace').strip()[-2_000:]}")
    return out


async def _make_login(config: Path, password: str) -> None:
    """Give the person of this start a new password; who is signed in with an old one is signed out."""
    roles = [argument for role in ROLES for argument in ("--role", role)]
    await _fengsui("console", "--config", str(config), "user", "add", PERSON, *roles, stdin=password + "\n")


async def _register_district(folder: Path) -> None:
    """At the first start, register the simulated points; later starts keep what people made of them."""
    registered = folder / "gateway/district.yaml"
    if registered.exists():
        return
    new = registered.with_suffix(".new.yaml")
    new.write_bytes(await _fengsui("simulate", "district", "--gateway", GATEWAY))
    await _fengsui("registry", "--data", str(folder / "core"), "import", str(new))
    new.replace(registered)


async def _connects(port: int) -> bool:
    _, writer = await asyncio.open_connection(HOST, port)
    writer.close()
    return True


async def _console_answers(port: int) -> bool:
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(f"GET /healthz HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
        return (await reader.readline()).split()[1:2] == [b"200"]
    finally:
        writer.close()


async def _core_answers(path: Path) -> bool:
    viewer = {"person": "supervisor", "roles": ["viewer"], "units": None}
    return b'"ok"' in await _first_line(path, json.dumps({"id": 1, "do": "status", "viewer": viewer}) + "\n")


async def _gateway_answers(path: Path) -> bool:
    return bool(await _first_line(path))


async def _first_line(path: Path, question: str = "") -> bytes:
    reader, writer = await asyncio.open_unix_connection(path, limit=1 << 20)
    try:
        writer.write(question.encode())
        return await reader.readline()
    finally:
        writer.close()


_tell: Callable[[str], None] = partial(print, flush=True)

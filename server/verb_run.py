"""``fengsui run``: everything on this machine, from nothing: broker, core, console, one simulated gateway.

Writes each process's settings and the broker's users below one folder (``./var``), makes the secrets at the
first start, and keeps the processes running until Ctrl-C.
"""

from __future__ import annotations

import argparse
import fcntl
import shutil
import socket
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
from server.firststart import FENGSUI, PERSON, keep_urgent, make_login, register
from server.health import connects, console_answers, core_faults, gateway_faults
from server.supervisor import Part, Supervisor

SUMMARY = "run everything on this machine: broker, core, console, one gateway with simulated sensors"

HOST = "127.0.0.1"
GATEWAY = "gw-1"
DEVICE = "device-1"
RECEPTION = "reception"
MOST_FLEET = 1_000
_LONGEST_SOCKET = 100


class Ports(NamedTuple):
    """Where the outside reaches us, on loopback."""

    mqtt: int
    console: int
    transmitters: int | None = None
    """Of a reception for user information transmission devices, if there is one."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument(
        "--folder", type=Path, default=Path("var"), help="where everything is kept (default: ./var)"
    )
    parser.add_argument("--mqtt-port", type=int, default=1883, metavar="PORT", help="of the broker (1883)")
    parser.add_argument("--console-port", type=int, default=8080, metavar="PORT", help="of the pages (8080)")
    parser.add_argument(
        "--fleet",
        type=int,
        default=0,
        metavar="N",
        help="let N more gateways in, for `fengsui load`; their settings go to fleet/ in the folder",
    )
    parser.add_argument(
        "--transmitters",
        type=int,
        metavar="PORT",
        help="also take user information transmission devices (GB/T 26875.3), by TCP and UDP on this port",
    )
    parser.add_argument("--nats-server", type=Path, metavar="FILE", help="a nats-server program of your own")


def run(args: argparse.Namespace) -> int:
    """Run until Ctrl-C."""
    return runtime.run(partial(_serve, args), name="run")


async def _serve(args: argparse.Namespace, stop: Stop) -> None:
    folder: Path = args.folder
    if len(str(folder / "gateway/gateway.sock")) > _LONGEST_SOCKET:
        raise UsageError(f"{folder}: too long a path for the sockets in it; choose a shorter --folder")
    if not 0 <= args.fleet <= MOST_FLEET:
        raise UsageError(f"--fleet {args.fleet}: 0 to {MOST_FLEET} gateways are possible")
    program = args.nats_server or broker.nats_server()
    with _alone(folder):
        ports = Ports(
            _port("broker", args.mqtt_port),
            _port("console", args.console_port),
            _port(RECEPTION, args.transmitters) if args.transmitters is not None else None,
        )
        password = secrets.passphrase()
        config = write_settings(folder, ports, fleet=args.fleet)
        parts = [
            Part(
                "broker",
                [str(program), "-c", str(config)],
                partial(connects, HOST, ports.mqtt),
                note=f"mqtt://{HOST}:{ports.mqtt}",
            ),
            Part(
                "core",
                [*FENGSUI, "core", "--config", str(folder / "core/core.toml")],
                partial(_core_answers, folder / "core/run/core.sock"),
            ),
            Part(
                "console",
                [*FENGSUI, "console", "--config", str(folder / "console/console.toml")],
                partial(console_answers, HOST, ports.console),
                note=f"http://{HOST}:{ports.console}/",
                prepare=partial(make_login, folder / "console/console.toml", password),
            ),
            Part(
                "gateway",
                [*FENGSUI, "gateway", "run", "--config", str(folder / "gateway/gateway.toml")],
                partial(_gateway_answers, folder / "gateway/gateway.sock"),
                note="72 simulated rooms",
                prepare=partial(_prepare_gateway, folder),
            ),
        ]

        if ports.transmitters is not None:
            parts.append(
                Part(
                    RECEPTION,
                    [*FENGSUI, "gateway", "run", "--config", str(folder / RECEPTION / "reception.toml")],
                    partial(_gateway_answers, folder / RECEPTION / "gateway.sock"),
                    note=f"GB/T 26875.3 on {HOST}:{ports.transmitters}, TCP and UDP",
                )
            )

        async def when_ready() -> None:
            _tell(welcome(folder, ports, password))

        _tell(f"fengsui run: everything is kept in {folder.resolve()}")
        await Supervisor(parts, logs=folder / "log", tell=_tell).run(stop, when_ready)


def write_settings(folder: Path, ports: Ports, *, fleet: int = 0) -> Path:
    """Write every process's settings, and secrets where there are none yet; the broker's configuration.

    Beside them ``device/device.toml``, for ``fengsui simulate --plain``, and ``fleet/*.toml`` of so many
    gateways for ``fengsui load``.
    """
    members = [f"load-{number:03d}" for number in range(fleet)]
    names = [("core", Role.CORE), (GATEWAY, Role.GATEWAY), (DEVICE, Role.DEVICE)]
    names += [(member, Role.GATEWAY) for member in members]
    names += [(RECEPTION, Role.GATEWAY)] if ports.transmitters is not None else []
    users = [User(name, role, secrets.keep(folder / "secrets" / name)) for name, role in names]
    shutil.rmtree(folder / "fleet", ignore_errors=True)
    for name in ("broker", "core", "console", "gateway", "device", "fleet", RECEPTION):
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
urgent_file = "urgent.toml"
{_gateway_text(GATEWAY, ports)}
[[drivers]]
kind = "simulated"
name = "district"
""",
    }
    for process, text in texts.items():
        _write(folder / process / f"{process}.toml", process, text)
    (folder / "gateway/urgent.toml").touch()  # filled in once the gateway's points are registered
    _write(folder / "device" / "device.toml", "gateway", _gateway_text(DEVICE, ports))
    if ports.transmitters is not None:
        block = (
            f'\n[[drivers]]\nkind = "gbt26875"\nname = "centre"\nport = {ports.transmitters}\naddress = 1\n'
        )
        text = _gateway_text(RECEPTION, ports) + block + 'profile = "zone-number"\n'
        _write(folder / RECEPTION / "reception.toml", "gateway", text)
    for member in members:
        _write(folder / "fleet" / f"{member}.toml", "gateway", _gateway_text(member, ports))
    return broker.write_nats(folder / "broker", users, host=HOST, port=ports.mqtt)


def _gateway_text(name: str, ports: Ports) -> str:
    return f"""\
name = "{name}"
socket = "gateway.sock"

[broker]
port = {ports.mqtt}
username = "{name}"
password_file = "../secrets/{name}"

[spool]
folder = "spool"
"""


def _write(path: Path, process: str, text: str) -> None:
    head = f'# made by `fengsui run` at every start; changes are lost\nprocess = "{process}"\n'
    path.write_text(head + text, encoding="utf-8")


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
                _tell(f"{name:<8} port {wanted} is not free, taking {found}")
            return found
    raise UsageError(f"no free port on {HOST}")


async def _prepare_gateway(folder: Path) -> None:
    core, gateway = folder / "core", folder / "gateway"
    await register(core, gateway / "district.yaml", "district", "--gateway", GATEWAY)
    await keep_urgent(core, GATEWAY, gateway / "urgent.toml")


async def _core_answers(path: Path) -> bool:
    await core_faults(path)
    return True


async def _gateway_answers(path: Path) -> bool:
    await gateway_faults(path)
    return True


_tell: Callable[[str], None] = partial(print, flush=True)

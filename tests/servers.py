"""Real servers for tests: on free ports, in a folder of their own, gone when the block ends.

    async with mosquitto() as broker:
        ...broker.port...
        await broker.kill9()
        await broker.restart()

A server counts as ready when it answers its own protocol *and* the port belongs to our child: a test that
reaches a stranger on the same port would prove nothing.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Literal

import pytest

from tests.waiting import until

HOST = "127.0.0.1"
READY_S = 20.0
STOP_S = 10.0
_given: set[int] = set()


def free_port() -> int:
    """A port nobody listens on, below the range of outgoing connections.

    An outgoing connection could otherwise take a killed server's port before its restart, and a client that
    reconnects to a dead port inside that range can even connect to itself.
    """
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, port))
            if port not in _given:
                _given.add(port)
                return port


def needs(program: str) -> str:
    """The path of a program; without it the test is skipped, or fails where CI promises everything."""
    path = shutil.which(program) or shutil.which(program, path=_PATH)
    if path is None:
        text = f"{program} is not installed"
        if os.environ.get("CI") == "true":
            pytest.fail(text)
        pytest.skip(text)
    return path


_PATH = os.pathsep.join(
    [
        str(Path(sys.executable).parent),
        "/usr/sbin",
        "/usr/local/sbin",
        "/sbin",
        *map(str, Path("/usr/lib/postgresql").glob("*/bin")),
    ]
)


def owner_of(port: int) -> int | None:
    """The pid that listens on a TCP port, from the socket's inode in ``/proc``; None if nobody does."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(FileNotFoundError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rsplit(":", 1)[1], 16) == port:
                    inodes.add(f"socket:[{fields[9]}]")
    if not inodes:
        return None
    for folder in Path("/proc").glob("[0-9]*/fd"):
        with suppress(OSError):
            for entry in folder.iterdir():
                with suppress(OSError):
                    if str(entry.readlink()) in inodes:
                        return int(folder.parent.name)
    return None


class Process:
    """One child process that a test may stop, kill and start again; its output goes to a file.

    ``ready`` is asked until it answers True; ``ports`` must then belong to this very child.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        folder: Path,
        *,
        ports: Sequence[int] = (),
        ready: Callable[[], Awaitable[bool]] | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stop_with: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.name = name
        self.command = list(command)
        self.folder = folder
        self.ports = list(ports)
        self.log = folder / f"{name}.log"
        self.starts = 0
        self._ready = ready
        self._env = dict(env) if env is not None else None
        self._cwd = cwd
        self._stop_with = stop_with
        self._child: subprocess.Popen[bytes] | None = None

    def when_ready(self, ready: Callable[[], Awaitable[bool]]) -> None:
        """Ask this from now on whether it is ready."""
        self._ready = ready

    @property
    def port(self) -> int:
        """The first port, where clients connect."""
        return self.ports[0]

    @property
    def url(self) -> str:
        """The first port as an HTTP address."""
        return f"http://{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        """Process id of the running child."""
        assert self._child is not None, f"{self.name} is not running"
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether the child lives."""
        return self._child is not None and self._child.poll() is None

    @property
    def exit_code(self) -> int | None:
        """The last child's exit code, negative for a signal; None while it lives or before it started."""
        return self._child.poll() if self._child is not None else None

    def output(self) -> str:
        """Everything it has written so far, over all its starts."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def spawn(self) -> None:
        """Start the child and do not wait for it."""
        assert not self.running, f"{self.name} runs already"
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._env, cwd=self._cwd
            )
        self.starts += 1

    async def start(self, timeout_s: float = READY_S) -> None:
        """Start the child and wait until it answers on a port that is its own."""
        self.spawn()
        await self.wait_ready(timeout_s)

    async def wait_ready(self, timeout_s: float = READY_S) -> None:
        """Wait until the child answers.

        Raises:
            RuntimeError: it ended instead, or its port belongs to another process.
        """
        ready = self._ready

        async def answers() -> bool:
            if not self.running:
                raise RuntimeError(f"{self.name} ended with {self.exit_code}:\n{self.output()[-2000:]}")
            return ready is None or await ready()

        await until(answers, timeout_s, f"{self.name} answers")
        for port in self.ports:
            if owner_of(port) != self.pid:
                raise RuntimeError(f"port {port} belongs to pid {owner_of(port)}, not to our {self.name}")

    async def stop(self, timeout_s: float = STOP_S) -> int:
        """The signal that ends it well, and SIGKILL if it does not end in time; the exit code."""
        if self._child is None:
            return 0
        if self.running:
            self._child.send_signal(self._stop_with)
            with suppress(TimeoutError):
                await until(lambda: not self.running, timeout_s, f"{self.name} ends")
        return await self.kill9()

    async def kill9(self) -> int:
        """SIGKILL, no good-bye; the exit code."""
        if self._child is None:
            return 0
        if self.running:
            self._child.kill()
        return await asyncio.to_thread(self._child.wait)

    def pause(self) -> None:
        """SIGSTOP: alive and silent."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    async def restart(self, timeout_s: float = READY_S) -> None:
        """Start again on the same ports and data; stops it first if it lives."""
        await self.stop()
        await self.start(timeout_s)


async def answers_mqtt(port: int) -> bool:
    """Whether a broker answers a CONNECT with a CONNACK, whatever it says in it."""
    with suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
        async with asyncio.timeout(1):
            reader, writer = await asyncio.open_connection(HOST, port)
            try:
                writer.write(b"\x10\x13\x00\x04MQTT\x04\x02\x00\x0a\x00\x07probe-0")
                return (await reader.readexactly(4))[0] == 0x20
            finally:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
    return False


async def answers_http(port: int, path: str) -> bool:
    """Whether a GET answers with a 2xx."""
    with suppress(OSError, TimeoutError):
        status, _ = await http(port, "GET", path, timeout_s=2)
        return 200 <= status < 300
    return False


async def http(
    port: int, method: str, target: str, body: bytes = b"", *, timeout_s: float = 10, head: Sequence[str] = ()
) -> tuple[int, bytes]:
    """One HTTP/1.1 exchange with a local server on a connection of its own: status and body."""
    async with asyncio.timeout(timeout_s):
        reader, writer = await asyncio.open_connection(HOST, port)
        try:
            lines = [f"{method} {target} HTTP/1.1", f"Host: {HOST}", "Connection: close"]
            lines += [f"Content-Length: {len(body)}", *head, "", ""]
            writer.write("\r\n".join(lines).encode() + body)
            top, _, rest = (await reader.read()).partition(b"\r\n\r\n")
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
    if not top:
        raise ConnectionResetError("closed without an answer")
    if b"transfer-encoding: chunked" in top.lower():
        rest = _dechunk(rest)
    return int(top.split()[1]), rest


def _dechunk(body: bytes) -> bytes:
    whole = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        whole, body = whole + body[:length], body[length + 2 :]
    return whole


@asynccontextmanager
async def running(process: Process) -> AsyncIterator[Process]:
    """A process started for the length of the block."""
    try:
        await process.start()
        yield process
    finally:
        await process.stop()


@asynccontextmanager
async def own_folder(folder: Path | None) -> AsyncIterator[Path]:
    """``folder`` itself, or a new one that is removed at the end."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    made = Path(tempfile.mkdtemp(prefix="fengsui-"))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def broker_process(program: Literal["mosquitto", "nats-server"], config: Path, port: int) -> Process:
    """A broker with a configuration that listens on ``port``; not started."""
    command = [needs(program), "-c", str(config)]
    return Process(program, command, config.parent, ports=[port], ready=lambda: answers_mqtt(port))


@asynccontextmanager
async def mosquitto(
    folder: Path | None = None,
    *,
    port: int | None = None,
    persistence: bool = False,
    password_file: Path | None = None,
    acl_file: Path | None = None,
    settings: Sequence[str] = (),
) -> AsyncIterator[Process]:
    """A Mosquitto; ``persistence`` is Debian's default (saved every 30 min and at exit, not before a PUBACK).

    ``settings`` are further lines of its configuration, such as ``max_queued_messages 1000``.
    """
    async with own_folder(folder) as home:
        port = port or free_port()
        lines = ["user root", f"listener {port} {HOST}"]
        lines += [f"persistence {str(persistence).lower()}", f"persistence_location {home}/"]
        lines += [f"allow_anonymous {str(password_file is None).lower()}"]
        lines += [f"password_file {password_file}"] if password_file else []
        lines += [f"acl_file {acl_file}"] if acl_file else []
        lines += settings
        config = home / "mosquitto.conf"
        config.write_text("\n".join([*lines, ""]))
        async with running(broker_process("mosquitto", config, port)) as broker:
            yield broker


@asynccontextmanager
async def nats_server(
    folder: Path | None = None,
    *,
    port: int | None = None,
    sync_interval: str = "1s",
    settings: Sequence[str] = (),
) -> AsyncIterator[Process]:
    """A nats-server that speaks MQTT on ``port``; ``settings`` are further lines, such as ``accounts``."""
    async with own_folder(folder) as home:
        mqtt_port, nats_port = port or free_port(), free_port()
        lines = ["server_name: test", f"listen: {HOST}:{nats_port}", f"mqtt {{ listen: {HOST}:{mqtt_port} }}"]
        lines += [
            f'jetstream {{ store_dir: "{home}/jetstream", sync_interval: "{sync_interval}" }}',
            *settings,
        ]
        config = home / "nats.conf"
        config.write_text("\n".join([*lines, ""]))
        async with running(broker_process("nats-server", config, mqtt_port)) as broker:
            yield broker


@asynccontextmanager
async def influxd(
    folder: Path | None = None,
    *,
    port: int | None = None,
    database: str | None = "fengsui",
    auth: bool = False,
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[Process]:
    """An InfluxDB 1.x with ``database`` created; ``settings`` are ``INFLUXDB_...`` variables.

    With ``auth`` the database is created by the first user, ``admin`` / ``admin``.
    """
    async with own_folder(folder) as home:
        port, rpc = port or free_port(), free_port()
        config = home / "influxdb.conf"
        config.write_text(
            f'reporting-disabled = true\nbind-address = "{HOST}:{rpc}"\n'
            f'[meta]\ndir = "{home}/meta"\n'
            f'[data]\ndir = "{home}/data"\nwal-dir = "{home}/wal"\nquery-log-enabled = false\n'
            f'[http]\nbind-address = "{HOST}:{port}"\nlog-enabled = false\n'
            f"auth-enabled = {str(auth).lower()}\n"
            "[monitor]\nstore-enabled = false\n"
        )
        server = Process(
            "influxd",
            [needs("influxd"), "-config", str(config)],
            home,
            ports=[port, rpc],
            ready=lambda: answers_http(port, "/ping"),
            env={**os.environ, **(settings or {})},
        )
        async with running(server):
            user = "&u=admin&p=admin" if auth else ""
            if auth:
                made = "CREATE+USER+admin+WITH+PASSWORD+'admin'+WITH+ALL+PRIVILEGES"
                status, body = await http(port, "POST", f"/query?q={made}")
                assert status == 200, body
            if database is not None:
                status, body = await http(port, "POST", f'/query?q=CREATE+DATABASE+"{database}"{user}')
                assert status == 200, body
            yield server


@asynccontextmanager
async def victoria_metrics(folder: Path | None = None, *, port: int | None = None) -> AsyncIterator[Process]:
    """A VictoriaMetrics: a second opinion on line protocol and on the v2 write route."""
    async with own_folder(folder) as home:
        port = port or free_port()
        command = [needs("victoria-metrics"), f"-httpListenAddr={HOST}:{port}"]
        command += [f"-storageDataPath={home}/data", "-retentionPeriod=100y", "-search.latencyOffset=0s"]
        server = Process(
            "victoria-metrics", command, home, ports=[port], ready=lambda: answers_http(port, "/health")
        )
        async with running(server):
            yield server


def postgresql(home: Path) -> Process:
    """A PostgreSQL with a cluster of its own in ``home`` (made, and given to user postgres when we are root).

    It trusts everybody who comes over loopback. Not started; it is ready when it answers a query.
    """
    home.mkdir(parents=True, exist_ok=True)
    as_user: list[str] = []
    if os.geteuid() == 0:  # it refuses to run as root
        shutil.chown(home, "postgres", "postgres")
        as_user = [needs("setpriv"), "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    port, data = free_port(), home / "data"
    if not data.exists():
        made = [needs("initdb"), "--no-sync", "--auth=trust", "--username=fengsui", "--encoding=UTF8"]
        subprocess.run([*as_user, *made, f"--pgdata={data}"], check=True, capture_output=True, cwd=home)
    options = {
        "listen_addresses": HOST,
        "port": port,
        "unix_socket_directories": home,
        "shared_buffers": "16MB",
    }
    command = [*as_user, needs("postgres"), "-D", str(data)]
    command += [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    probe = [needs("pg_isready"), "--quiet", f"--host={HOST}", f"--port={port}", "--dbname=postgres"]

    async def answers() -> bool:
        return await asyncio.to_thread(subprocess.call, probe) == 0

    return Process("postgres", command, home, ports=[port], ready=answers, cwd=home, stop_with=signal.SIGINT)

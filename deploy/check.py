"""Prove ``docker-compose.yml`` on a machine without containers: ``deploy/check``.

The rules first (:mod:`deploy.rules`). Then every service runs with exactly the command, the environment and
the health check that the file gives it, in the order its ``depends_on`` asks for, with programs installed
here. What a container sees and what it is here stands in one table, :func:`table_of`. Two things differ
beside: InfluxDB 2 is not packaged, so VictoriaMetrics takes its place for the write route (no token is
checked, and what the image makes of ``DOCKER_INFLUXDB_INIT_*`` is not run); and our own processes run as us.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import ssl
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from deploy.rules import Service, ends_by_itself, is_ours, violations
from fengsui import settings, topics
from fengsui.mqtt import connect
from gateway.config import Settings as GatewaySettings
from server.certificates import Authority
from server.config import Settings as CoreSettings
from tests.servers import HOST, Process, answers_mqtt, free_port
from tests.waiting import until

ROOT = Path(__file__).resolve().parent.parent
LIMIT_S = 60.0
NEEDED = {
    "mosquitto": "mosquitto",
    "mosquitto_rr": "mosquitto-clients",
    "victoria-metrics": "victoria-metrics",
    "setpriv": "util-linux",
}
"""Programs, and the Debian packages that have them."""
POINT = "gw-1.pump-room:hydrant"
_CONNECT = b"\x10\x12\x00\x04MQTT\x04\x02\x00\x0a\x00\x06nobody"
_REFUSED = b"\x20\x02\x00\x05"


def main() -> int:
    """Check everything; 0 if it holds, 1 with what does not."""
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    broken = violations(compose, (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8"))
    for text in broken:
        print(f"deploy/check: {text}", file=sys.stderr)
    if broken:
        return 1
    say(f"the rules hold for {len(compose['services'])} services")
    os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    if missing := [package for program, package in NEEDED.items() if shutil.which(program) is None]:
        print(f"deploy/check: needs more programs; apt-get install {' '.join(missing)}", file=sys.stderr)
        return 1
    started_s = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="fengsui-check-"))
    folder.chmod(0o711)  # other users than ours pass through
    try:
        asyncio.run(_run(compose["services"], folder))
    except (RuntimeError, TimeoutError, AssertionError) as error:
        print(f"deploy/check: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder)
    say(f"everything holds, after {time.monotonic() - started_s:.0f} s")
    return 0


def say(text: str) -> None:
    """One line of progress."""
    print(f"deploy/check: {text}", flush=True)


def table_of(folder: Path) -> dict[str, str]:
    """What a container sees, and what it is here; tried in this order, each replaced wherever it stands."""
    broker, database, pages, device = (f"{free_port()}" for _ in range(4))
    return {
        "${FENGSUI_NAMES:-localhost}": "localhost",
        "mosquitto:8883": f"{HOST}:{broker}",
        "influxdb:8086": f"{HOST}:{database}",
        "0.0.0.0:8443": f"{HOST}:{pages}",
        "simulator:5020": f"{HOST}:{device}",
        "0.0.0.0": HOST,
        "5020": device,
        "/fengsui": f"{folder}/fengsui",
    }


class Site:
    """The services of the file, as processes here."""

    def __init__(self, services: Mapping[str, Service], folder: Path) -> None:
        self.services = services
        self.folder = folder
        self.table = table_of(folder)
        self.parts: dict[str, Process] = {}

    def here(self, text: str) -> str:
        """A text of the file with the table applied."""
        return re.sub("|".join(map(re.escape, self.table)), lambda found: self.table[found[0]], text)

    def port(self, seen: str) -> int:
        """The port here of an address that containers see."""
        return int(self.table[seen].rpartition(":")[2])

    def words(self, service: Service, words: Sequence[str]) -> list[str]:
        """A command of the file as it runs here."""
        if words[0] == "fengsui":
            return [sys.executable, "-m", *map(self.here, words)]
        return [*_as_user(service), shutil.which(words[0]) or words[0], *map(self.here, words[1:])]

    def command(self, name: str) -> list[str]:
        """What a service runs."""
        service = self.services[name]
        if name == "influxdb":
            given = {key: self.here(value) for key, value in service["environment"].items()}
            data = self.folder / "influxdb-data"
            return [
                *_as_user(service),
                "victoria-metrics",
                f"-httpListenAddr={self.here('influxdb:8086')}",
                f"-storageDataPath={data}",
                "-search.latencyOffset=0s",
                "-tls",
                f"-tlsCertFile={given['INFLUXD_TLS_CERT']}",
                f"-tlsKeyFile={given['INFLUXD_TLS_KEY']}",
            ]
        image = ["fengsui"] if is_ours(service) and "entrypoint" not in service else []
        return self.words(service, [*image, *service.get("entrypoint", []), *service.get("command", [])])

    async def is_healthy(self, name: str) -> bool:
        """What the service's own health check says."""
        if name == "influxdb":  # the check is a program of the image that we do not have
            with suppress(OSError):
                await self.get("influxdb", self.here("https://influxdb:8086/health"))
                return True
            return False
        service = self.services[name]
        words = self.words(service, service["healthcheck"]["test"][1:])
        return await _ends(words, self.environment(service)) == 0

    async def get(self, whose: str, url: str) -> bytes:
        """The body of a page, its certificate checked against the authority that ``whose`` was given."""
        tls = ssl.create_default_context(cafile=str(self.folder / f"fengsui/{whose}/config/ca.crt"))

        def ask() -> bytes:
            with urllib.request.urlopen(url, timeout=5, context=tls) as answer:  # noqa: S310 - always https
                body: bytes = answer.read()
                return body

        return await asyncio.to_thread(ask)

    def environment(self, service: Service) -> dict[str, str]:
        """Ours, and what the file adds."""
        given = service.get("environment", {})
        return {**os.environ, **{key: self.here(str(value)) for key, value in given.items()}}

    async def start(self, name: str) -> None:
        """Start a service when those it depends on are as far as it wants."""
        service = self.services[name]
        for other, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                await self.wait_healthy(other)
        part = Process(name, self.command(name), self.folder / "log", env=self.environment(service))
        self.parts[name] = part
        part.spawn()

    async def wait_healthy(self, name: str) -> None:
        """Wait until the service's health check is content."""
        part = self.parts[name]

        async def healthy() -> bool:
            if not part.running:
                raise RuntimeError(f"{name} ended with {part.exit_code}:\n{part.output()[-2000:]}")
            return await self.is_healthy(name)

        try:
            await until(healthy, LIMIT_S, f"{name} is healthy", every_s=0.3)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{part.output()[-2000:]}") from error

    async def stop(self) -> None:
        """End everything, the last started first; ours must end cleanly."""
        codes = {name: await part.stop() for name, part in reversed(self.parts.items())}
        bad = {name: code for name, code in codes.items() if is_ours(self.services[name]) and code != 0}
        assert not bad, f"did not end cleanly: {bad}"


async def _run(services: Mapping[str, Service], folder: Path) -> None:
    site = Site(services, folder)
    try:
        async with asyncio.timeout(LIMIT_S):
            await _provision(site)
            for name in _in_order(services):
                await site.start(name)
                if name == "mosquitto":
                    await site.wait_healthy(name)
                    await _try_broker(site)
            for name in site.parts:
                await site.wait_healthy(name)
            say(f"healthy: {', '.join(site.parts)}")
            await _follow_a_reading(site)
    finally:
        await site.stop()


async def _provision(site: Site) -> None:
    """Run the first start, and the second, which must change nothing."""
    name = next(name for name in site.services if ends_by_itself(name, site.services))
    for mount in site.services[name]["volumes"]:
        Path(site.here(mount.split(":")[1])).mkdir(mode=0o750, parents=True, exist_ok=True)
    (site.folder / "influxdb-data").mkdir()
    told = await _output(site.command(name))
    assert "first login" in told, told
    files = [path for path in (site.folder / "fengsui").rglob("*") if path.is_file()]
    for path in files:
        if path.parent.name == "config":
            assert path.stat().st_mode & 0o777 == 0o640, f"{path} has the wrong mode"
    assert "everything is there" in (again := await _output(site.command(name))), again
    if os.geteuid() == 0:  # whose the volumes would be
        for path in (site.folder / "fengsui").rglob("*"):
            shutil.chown(path, 10001, 10001)
        shutil.chown(site.folder / "influxdb-data", 1000, 1000)
    say(f"provisioned {len(files)} files; a second start changes nothing")


async def _try_broker(site: Site) -> None:
    """Who has no certificate of ours, or no name, is not heard; a gateway speaks on its own topics alone."""
    port = site.port("mosquitto:8883")
    core = settings.load(site.folder / "fengsui/core/config/core.toml", CoreSettings).broker
    gateway = settings.load(site.folder / "fengsui/gateway/config/gateway.toml", GatewaySettings)
    assert core.tls is not None
    assert not await answers_mqtt(port), "the broker answers without TLS"
    strange = site.folder / "stranger"
    strange.mkdir()
    pair = strange / "stranger.crt", strange / "stranger.key"
    Authority.keep(strange, datetime.now(UTC)).keep_pair(*pair, "core", datetime.now(UTC))
    nobody = ssl.create_default_context(cafile=str(core.tls.ca_file))
    assert await _answer(port, nobody) == b"", "the broker hears who has no certificate"
    nobody.load_cert_chain(*pair)
    assert await _answer(port, nobody) == b"", "the broker hears a certificate of another authority"
    assert await _answer(port, core.tls.context()) == _REFUSED, "the broker hears who gives no name"

    own, foreign = (topics.of_gateway(name, "telemetry") for name in (gateway.name, "gw-other"))
    async with connect(core, "check-core") as ear, connect(gateway.broker, "check-gateway") as mouth:
        await ear.subscribe(topics.UP_TELEMETRY)
        for topic, payload in ((own, b"first"), (foreign, b"forged"), (own, b"last")):
            mouth.send(topic, payload)
        heard: list[tuple[str, bytes]] = []
        while (own, b"last") not in heard:
            heard += [(message.topic, message.payload) for message in await ear.receive()]
    assert heard == [(own, b"first"), (own, b"last")], f"delivered: {heard}"
    say("the broker refuses plain text, strangers and anonymous; a gateway speaks for itself alone")


async def _follow_a_reading(site: Site) -> None:
    """A pressure of the Modbus device arrives in the series store, and the pages are served with our TLS."""
    query = f"/api/v1/export?match%5B%5D=reading_v%7Bpoint%3D%22{POINT}%22%7D&start=-5m"
    base = site.here("https://influxdb:8086")

    async def stored() -> bytes:
        await site.get("influxdb", f"{base}/internal/force_flush")
        return await site.get("influxdb", base + query)

    found = await until(stored, 20, f"{POINT} is in the series store", every_s=0.5)
    say(f"stored: {found.decode()[:110]}...")
    page = await site.get("console", f"https://localhost:{site.port('0.0.0.0:8443')}/sign-in")
    assert b"<form" in page, "the console shows no sign-in"


def _in_order(services: Mapping[str, Service]) -> list[str]:
    """Services that stay, each after those it depends on."""
    order: list[str] = []
    left = [name for name in services if not ends_by_itself(name, services)]
    while left:
        ready = [name for name in left if not set(services[name].get("depends_on", {})) & set(left)]
        assert ready, f"{left} wait for each other"
        order += ready
        left = [name for name in left if name not in ready]
    return order


def _as_user(service: Service) -> list[str]:
    """As root: become the service's own user and groups. Else everything runs as us."""
    if os.geteuid() != 0:
        return []
    user, group = service["user"].split(":")
    groups = service.get("group_add", [])
    more = [f"--groups={','.join(groups)}"] if groups else ["--clear-groups"]
    return ["setpriv", f"--reuid={user}", f"--regid={group}", *more]


async def _answer(port: int, tls: ssl.SSLContext) -> bytes:
    """What the broker answers to a CONNECT without a user; nothing if it hangs up."""
    with suppress(OSError, asyncio.IncompleteReadError):
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection(HOST, port, ssl=tls)
            try:
                writer.write(_CONNECT)
                return await reader.readexactly(4)
            finally:
                writer.transport.abort()
    return b""


async def _ends(words: Sequence[str], environment: Mapping[str, str]) -> int:
    quiet: dict[str, Any] = {"stdout": asyncio.subprocess.DEVNULL, "stderr": asyncio.subprocess.DEVNULL}
    return await (await asyncio.create_subprocess_exec(*words, env=environment, **quiet)).wait()


async def _output(words: Sequence[str]) -> str:
    process = await asyncio.create_subprocess_exec(
        *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, f"{words}: {out.decode()}"
    return out.decode()


if __name__ == "__main__":
    sys.exit(main())

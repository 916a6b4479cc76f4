"""The stack of ``make run``: everything comes up, heals, and is gone after Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from pathlib import Path

from fengsui import topics
from tests.servers import HOST, Process, free_port, http, needs, running
from tests.waiting import until


def children_of(pid: int) -> dict[str, int]:
    """Child processes of the supervisor by what they are."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
        name = "broker" if b"nats-server" in words[0] else words[3].decode() if len(words) > 3 else "?"
        found[name] = int(child)
    return found


def is_alive(pid: int) -> bool:
    """Whether the process runs."""
    return Path(f"/proc/{pid}").exists()


async def test_run_comes_up_heals_and_stops_cleanly(tmp_path: Path) -> None:
    """From an empty folder to four processes; a killed core comes back; SIGINT ends all with code 0."""
    mqtt, console = free_port(), free_port()
    command = [sys.executable, "-m", "fengsui", "run", "--folder", str(tmp_path / "var")]
    command += ["--mqtt-port", str(mqtt), "--console-port", str(console)]
    stack = Process("run", command, tmp_path)

    def password() -> str:
        found = re.search(r"password +(\S+)", stack.output())
        return found[1] if found else ""

    async with running(stack):
        await until(lambda: "Fengsui runs." in stack.output() or not stack.running, 60, "everything is ready")
        assert stack.running, stack.output()
        assert re.fullmatch(r"[a-z2-9]{4}(-[a-z2-9]{4}){3}", password())
        status, _ = await http(console, "GET", "/healthz")
        assert status == 200
        limits = (tmp_path / "var/gateway/urgent.toml").read_text()
        assert '[points."b1-1-01:temperature"]\nurgent_above = 46.0\n' in limits
        parts = children_of(stack.pid)
        assert set(parts) == {"broker", "core", "console", "gateway"}

        os.kill(parts["core"], signal.SIGKILL)
        await until(lambda: "core     was killed by SIGKILL; starting again" in stack.output(), 10)
        await until(lambda: stack.output().count("core     ready after") == 2, 30, "the core is back")
        again = children_of(stack.pid)
        assert again["core"] != parts["core"]
        assert {**again, "core": 0} == {**parts, "core": 0}

        os.kill(stack.pid, signal.SIGINT)
        await until(lambda: not stack.running, 30, "everything stops")
    assert stack.exit_code == 0, stack.output()
    order = [line.split()[0] for line in stack.output().splitlines() if line.endswith(" stopped")]
    assert order == ["gateway", "console", "core", "broker"]
    assert not any(is_alive(pid) for pid in again.values())


async def test_a_plain_device_with_the_first_starts_secret_is_heard(tmp_path: Path) -> None:
    """What the README's one-liner does: a reading sent with the device's secret is there to accept."""
    mqtt, console = free_port(), free_port()
    folder = tmp_path / "var"
    command = [sys.executable, "-m", "fengsui", "run", "--folder", str(folder)]
    command += ["--mqtt-port", str(mqtt), "--console-port", str(console)]
    stack = Process("run", command, tmp_path)
    async with running(stack):
        await until(lambda: "Fengsui runs." in stack.output() or not stack.running, 60, "everything is ready")
        secret = (folder / "secrets" / "device-1").read_text().strip()
        words = [
            needs("mosquitto_pub"),
            "-h",
            HOST,
            "-p",
            str(mqtt),
            "-u",
            "device-1",
            "-P",
            secret,
            "-q",
            "1",
        ]
        words += ["-t", topics.of_plain("device-1"), "-m", '{"p": "room-1", "x": 23.5}']
        sent = await asyncio.create_subprocess_exec(*words)
        assert await sent.wait() == 0

        async def is_discovered() -> bool:
            ask = [sys.executable, "-m", "fengsui", "registry", "--data", str(folder / "core"), "discovered"]
            answer = await asyncio.create_subprocess_exec(*ask, stdout=asyncio.subprocess.PIPE)
            out, _ = await answer.communicate()
            return b"device-1" in out and b"room-1" in out

        await until(is_discovered, 30, "the point is in the discovered list", every_s=0.5)

"""The supervisor with real child processes: order, restart, back-off, stop, and never an orphan."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from fengsui.runtime import Stop
from server import supervisor
from server.supervisor import BoundedLog, Part, PartError, Restarts, Supervisor
from tests.waiting import until

CHILD = """
import os, pathlib, signal, sys, time
folder, name, how = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
def end(*_):
    with open(folder / "ended", "a") as file: file.write(name + "\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, signal.SIG_IGN if how == "stubborn" else end)
print(name, "says hello", flush=True)
with open(folder / "started", "a") as file: file.write(name + "\\n")
if how.isdigit(): sys.exit(int(how))
(folder / (name + ".pid")).write_text(str(os.getpid()))
while True: time.sleep(60)
"""


def part(folder: Path, name: str, how: str = "steady") -> Part:
    """A child that tells when it starts and ends, ready when its pid file is there."""

    async def is_ready() -> bool:
        return (folder / f"{name}.pid").exists()

    return Part(
        name, [sys.executable, "-c", CHILD, str(folder), name, how], is_ready, note=f"pid file of {name}"
    )


def pid_of(folder: Path, name: str) -> int:
    """The pid the child wrote down, 0 if it has not yet."""
    with suppress(FileNotFoundError, ValueError):
        return int((folder / f"{name}.pid").read_text())
    return 0


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return b"\nState:\tZ" not in Path(f"/proc/{pid}/status").read_bytes()
    except FileNotFoundError:
        return False


class Told(list[str]):
    """Lines of progress."""

    def has(self, text: str) -> Callable[[], bool]:
        """A condition: some line holds the text."""
        return lambda: any(text in line for line in self)


@asynccontextmanager
async def supervised(folder: Path, *parts: Part) -> AsyncIterator[tuple[Told, Stop, Awaitable[None]]]:
    """A supervisor at work; stopped at the end."""
    told, stop = Told(), Stop()

    async def when_ready() -> None:
        told.append("all ready")

    keeper = Supervisor(parts, logs=folder / "log", tell=told.append)
    work = asyncio.create_task(keeper.run(stop, when_ready))
    try:
        yield told, stop, work
    finally:
        stop.set()
        await asyncio.wait([work])


def lines(path: Path) -> list[str]:
    """Lines of a file."""
    return path.read_text().splitlines()


async def test_parts_start_in_order_and_stop_in_reverse(tmp_path: Path) -> None:
    """Each part waits for the one before; stopping goes the other way and leaves nobody."""
    names = ["broker", "core", "console", "gateway"]
    async with supervised(tmp_path, *(part(tmp_path, name) for name in names)) as (told, stop, work):
        await until(told.has("all ready"))
        pids = [pid_of(tmp_path, name) for name in names]
        assert all(map(is_alive, pids))
        stop.set()
        await work
    assert lines(tmp_path / "started") == names
    assert lines(tmp_path / "ended") == names[::-1]
    assert not any(map(is_alive, pids))
    assert [line.split()[0] for line in told] == [*names, "all", *names[::-1]]
    assert "pid file of broker" in told[0]
    assert lines(tmp_path / "log" / "core.log") == ["core says hello"]


async def test_a_killed_part_is_shown_and_started_again(tmp_path: Path) -> None:
    """Kill -9 of one part: the others keep running, it comes back, and the person is told."""
    async with supervised(tmp_path, part(tmp_path, "core"), part(tmp_path, "gateway")) as (told, _, _):
        await until(told.has("all ready"))
        first, other = pid_of(tmp_path, "core"), pid_of(tmp_path, "gateway")
        os.kill(first, signal.SIGKILL)
        await until(lambda: pid_of(tmp_path, "core") not in (0, first))
        assert told.has("core     was killed by SIGKILL; starting again in ")()
        assert pid_of(tmp_path, "gateway") == other
        assert is_alive(other)


async def test_a_part_that_keeps_crashing_waits_longer_each_time(tmp_path: Path) -> None:
    """Its exit code, its last words and the growing pause are shown; a stop does not wait for the pause."""
    async with supervised(tmp_path, part(tmp_path, "core", "70")) as (told, stop, work):
        await until(lambda: sum("ended with exit code 70" in line for line in told) >= 3)
        assert told.has("core     | core says hello")()
        stop.set()
        await asyncio.wait_for(work, 0.5)
    assert len(lines(tmp_path / "started")) == 3


@pytest.mark.parametrize("code", ["64", "78"])
async def test_wrong_settings_stop_everything(tmp_path: Path, code: str) -> None:
    """What only a person can correct is not tried again; what ran already is stopped."""
    async with supervised(tmp_path, part(tmp_path, "broker"), part(tmp_path, "core", code)) as (_, _, work):
        with pytest.raises(PartError, match="core cannot start: core says hello"):
            await work
    assert lines(tmp_path / "ended") == ["broker"]


async def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    """No traceback for a missing program."""

    async def never() -> bool:
        return False

    async with supervised(tmp_path, Part("broker", ["/no/such/program"], never)) as (_, _, work):
        with pytest.raises(PartError, match="broker cannot start: /no/such/program: No such file"):
            await work


async def test_a_part_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopping takes no longer than the time allowed."""
    monkeypatch.setattr(supervisor, "STOP_S", 0.3)
    async with supervised(tmp_path, part(tmp_path, "core", "stubborn")) as (told, stop, work):
        await until(told.has("all ready"))
        stop.set()
        await asyncio.wait_for(work, 5)
    assert not is_alive(pid_of(tmp_path, "core"))
    assert told.has("did not stop in 0.3 s, killed")()


async def test_a_stop_while_starting_stops_what_runs(tmp_path: Path) -> None:
    """Ctrl-C before everything is up leaves nobody."""

    async def never() -> bool:
        return False

    slow = part(tmp_path, "core")
    parts = [part(tmp_path, "broker"), Part("core", slow.command, never), part(tmp_path, "gateway")]
    async with supervised(tmp_path, *parts) as (_, stop, work):
        await until(lambda: pid_of(tmp_path, "core"))
        stop.set()
        await asyncio.wait_for(work, 5)
    assert sorted(lines(tmp_path / "started")) == ["broker", "core"]
    assert not any(is_alive(pid_of(tmp_path, name)) for name in ("broker", "core"))


async def test_nobody_survives_a_killed_supervisor(tmp_path: Path) -> None:
    """Kill -9 of the supervisor itself takes its children along."""
    program = (
        "import asyncio, pathlib, sys\n"
        "from server.supervisor import Supervisor\n"
        "from tests.integration.test_supervisor import part\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "async def ready(): pass\n"
        "parts = [part(folder, 'core', 'stubborn'), part(folder, 'gateway', 'stubborn')]\n"
        "asyncio.run(Supervisor(parts, logs=folder, tell=print).run(asyncio.Event(), ready))\n"
    )
    root = Path(__file__).parents[2]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(tmp_path), cwd=root, stdout=subprocess.DEVNULL
    )
    try:
        await until(lambda: pid_of(tmp_path, "core") != 0 and pid_of(tmp_path, "gateway") != 0)
    finally:
        process.kill()
        await process.wait()
    pids = [pid_of(tmp_path, "core"), pid_of(tmp_path, "gateway")]
    await until(lambda: not any(is_alive(pid) for pid in pids), 5, "the children die")


def test_the_pause_doubles_to_a_ceiling_and_starts_over_after_a_steady_run() -> None:
    """0.5 s, 1 s, 2 s ... 30 s, never more however often; a minute of running forgives."""
    restarts = Restarts(lambda: 1.0)
    assert [restarts.pause_s(1.0) for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    for _ in range(2_000):
        assert restarts.pause_s(1.0) == 30
    assert restarts.pause_s(61.0) == 0.5
    assert Restarts(lambda: 0.0).pause_s(1.0) == 0.25


def test_a_log_is_bounded_and_remembers_the_last_lines(tmp_path: Path) -> None:
    """At most twice the limit on disk; what is shown of it cannot drive the terminal."""
    with BoundedLog(tmp_path / "core.log", limit_bytes=100) as log:
        for n in range(50):
            log.write(f"line {n}\n".encode())
        log.write(b"half \x1b[2Jline\xff")
    assert log.last_lines() == ["line 46", "line 47", "line 48", "line 49", "half ?[2Jline�"]
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert set(sizes) == {"core.log", "core.log.1"}
    assert all(size <= 100 for size in sizes.values())

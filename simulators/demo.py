"""The demo: one recording through the whole house, from a driver to a duty officer's WebSocket.

The stack is the real one, see ``house.py``, with a console. Only time is another: one clock, which runs
``speed`` times as fast while the file plays, drives the driver, the core's stamps and detection's timers.
Event time is the file's own axis, moved so that its end lies near now.

All readings take the telemetry lane (no limit is *urgent* here), so that the order of the file is the order
of judgement, however fast it is played.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from console.app import open_database
from console.app import run as run_console
from console.auth import create_user
from console.config import Settings as ConsoleSettings
from console.live import WATCHED
from fengsui.model import AlarmClass
from fengsui.runtime import Stop, Timepiece, wall_us
from fengsui.viewer import Role as PersonRole
from gateway.app import Gateway
from gateway.drivers.recording import Column, Recording
from server import secrets
from server.app import Core
from simulators import house
from simulators.desk import Desk
from simulators.house import HouseError, Serve, Tell, held_readings
from simulators.player import PlayClock, Player, Stopwatch
from simulators.recordings import registered

GATEWAY = "demo"
PERSON = "duty"

FILL = 0.75
"""A speed that we choose plays the file in this part of the given time; the rest is for a busy machine."""

DRAIN_S = 60.0
BEHIND_S = 1.0
"""From so much on it is said that the requested speed was not kept."""

_PROGRESS_EVERY_S = 0.5


class Wish(NamedTuple):
    """What is to be played, and how."""

    recording: Path
    columns: Sequence[str]
    """Empty: the first near-ceiling temperature."""
    for_s: float
    """Wall seconds of playing, at most."""
    speed: float | None = None
    """None: as fast as the file needs to fit."""
    headless: bool = True


class SeenAlarm(msgspec.Struct, frozen=True):
    """An alarm as it reached the WebSocket; ``measured_at_s`` is on the file's own axis."""

    point: str
    cls: str = msgspec.field(name="class")
    rule: str
    state: str
    measured_at_s: float


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a demo, counted in readings."""

    produced: int
    """Accepted by the gateway."""
    journalled: int
    stored: int
    duplicate: int
    dead: int
    shed: int
    waiting: int
    """Still at the gateway, or journalled and not yet in the store."""
    residue: int
    """Readings nobody can account for, over the whole way; must be 0."""
    alarms: list[SeenAlarm]
    first_alarm_s: float | None
    """The first alarm of class fire, on the file's own axis."""
    ws_p99_ms: float | None
    """From the driver's hand to the WebSocket; None when nothing arrived there."""


class _Counts(NamedTuple):
    """The core's counters of our gateway."""

    journalled: int = 0
    stored: int = 0
    duplicate: int = 0
    dead: int = 0
    shed: int = 0


class Stack:
    """Everything that runs; see :func:`running`."""

    def __init__(
        self, core: Core, gateway: Gateway, player: Player, desk: Desk, stopwatch: Stopwatch
    ) -> None:
        self.core = core
        self.gateway = gateway
        self.player = player
        self.desk = desk
        self.stopwatch = stopwatch

    def is_watched(self) -> bool:
        """Does the live view follow our points?"""
        return self.desk.number >= 0 and self.core.local.watched.issuperset(self.desk.points)

    def is_quiet(self) -> bool:
        """Is everything committed, stored, judged, recorded and shown?"""
        shown = self.desk.number >= self.core.watch.recorder.number
        return shown and house.is_quiet(self.core, self.gateway)

    def counts(self) -> _Counts:
        """The store's balance of our gateway; records other than readings count as one in it."""
        for balance in self.core.balances().store:
            if balance.gateway == GATEWAY:
                dead, shed = sum(balance.dead.values()), sum(balance.shed.values())
                return _Counts(balance.journalled, balance.stored, balance.duplicate, dead, shed)
        return _Counts()

    async def report(self, before: _Counts, first_s: float) -> Report:
        """What came of it.

        Args:
            before: The counters before the first row, when the stack was quiet.
            first_s: The first row on the file's own axis.
        """
        produced = self.player.produced
        counts = _Counts(*(now - then for now, then in zip(self.counts(), before, strict=True)))
        balances = self.core.balances()
        held = await asyncio.to_thread(held_readings, self.gateway.spool)
        residue = abs(produced - counts.journalled - held) + balances.residue
        residue += abs(counts.stored - await self.core.store.count(None))
        alarms = [
            SeenAlarm(
                alarm.point,
                alarm.cls,
                alarm.rule,
                alarm.state,
                round(first_s + (alarm.measured_at_us - self.player.begin_us) / 1e6, 6),
            )
            for alarm in sorted(self.desk.alarms.values(), key=lambda alarm: alarm.measured_at_us)
        ]
        return Report(
            **counts._asdict(),
            produced=produced,
            waiting=held + sum(balance.waiting for balance in balances.store),
            residue=residue,
            alarms=alarms,
            first_alarm_s=next((a.measured_at_s for a in alarms if a.cls == AlarmClass.FIRE), None),
            ws_p99_ms=self.stopwatch.p99_ms(),
        )


async def demo(wish: Wish, stop: Stop, tell: Tell, progress: Tell) -> Report:
    """Play a recording through the stack.

    Args:
        wish: What to play.
        stop: Set it to end the playing early; what was produced is still accounted for.
        tell: Called with each line that a person should read.
        progress: Called twice a second with how far it is.

    Raises:
        RecordingError: The file is no recording, or lacks a column.
        UsageError: The broker is not installed, or the folder for temporary files has too long a name.
        HouseError: The stack did not come up.
    """
    recording = Recording(wish.recording)
    columns = recording.choose(wish.columns)
    first_s, last_s = await asyncio.to_thread(recording.span)
    span_s = max(0.0, last_s - first_s)
    speed = fitting_speed(span_s, wish.for_s) if wish.speed is None else wish.speed
    shown = ", ".join(f"{column.name} in {column.uom}" for column in columns[:3])
    more = f" and {len(columns) - 3} more" if len(columns) > 3 else ""
    tell(f"{wish.recording.name}: {shown}{more}; {span_s:,.0f} s of recording at speed {speed:g}")
    async with running(wish, recording, columns, speed, span_s, tell) as stack:
        player = stack.player

        def how_far() -> str:
            done = (player.reached_us - player.begin_us) / 1e6 / span_s if player.reached_us and span_s else 0
            fires = sum(alarm.cls == AlarmClass.FIRE for alarm in stack.desk.alarms.values())
            alarms = f"{len(stack.desk.alarms)} alarms, {fires} of them fire"
            return f"{done:4.0%} of the file, {player.produced:,} readings, {alarms}"

        await _stack_ready(stack, stop)
        before = stack.counts()
        begun_s = time.perf_counter()
        asyncio.get_running_loop().call_later(wish.for_s, player.end.set)
        player.begin.set()
        while not player.ended.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(_PROGRESS_EVERY_S):
                    await player.ended.wait()
            if stop.is_set():
                player.end.set()
            progress(how_far())
        took_s = time.perf_counter() - begun_s
        if player.end.is_set():
            tell("ended before the end of the file: its time was over, or it was stopped")
        if not player.produced:
            tell("no reading was played: are the cells of these columns blank?")
        if player.behind_s >= BEHIND_S:
            kept = (player.reached_us - player.begin_us) / 1e6 / took_s
            tell(
                f"speed {speed:g} could not be kept: {player.behind_s:.1f} s behind at worst, {kept:,.0f} on"
                " average. No reading was left out; latency counts from the driver on"
            )
        if not await house.until(stack.is_quiet, DRAIN_S):
            tell(f"not everything was committed, stored, judged and shown within {DRAIN_S:g} s")
        tell(f"{how_far()}; played in {took_s:.1f} s")
        return await stack.report(before, first_s)


def fitting_speed(span_s: float, for_s: float) -> float:
    """The speed at which ``span_s`` of recording fits well into ``for_s``; never slower than it happened."""
    return max(1.0, float(math.ceil(span_s / (FILL * for_s))))


# starting and stopping


@asynccontextmanager
async def running(
    wish: Wish, recording: Recording, columns: Sequence[Column], speed: float, span_s: float, tell: Tell
) -> AsyncIterator[Stack]:
    """The stack in a folder of its own, its player waiting for ``begin``; stopped in reverse, and gone."""
    with house.folder() as folder:
        async with asyncio.TaskGroup() as tasks, AsyncExitStack() as services:

            async def serve(task: str, main: Callable[[Stop], Awaitable[None]]) -> None:
                await services.enter_async_context(house.serving(tasks, task, main))

            _, core_login, gateway_login = await house.start_broker(folder, GATEWAY, serve, tell)
            clock = PlayClock(wall_us() - round(span_s * 1e6))
            core = await Core.open(
                house.core_settings(folder, core_login, speed), clock=Timepiece(clock.now_us, clock.now_s)
            )
            await core.registry.add(registered(recording, columns, GATEWAY))
            await serve("demo.core", core.run)

            address, password = await _start_console(folder, serve)
            if not wish.headless:
                tell(f"open {address} and sign in as {PERSON}, password {password} (made for this run)")
            points = [column.point for column in columns][:WATCHED]
            stopwatch = Stopwatch(points)
            desk = Desk(address, points, stopwatch.arrived)
            following = tasks.create_task(desk.run(PERSON, password), name="demo.desk")
            services.push_async_callback(_cancelled, following)

            player = Player(wish.recording, columns, clock, speed, stopwatch)
            gateway = Gateway(house.gateway_settings(folder, GATEWAY, gateway_login, speed), drivers=[player])
            await serve("demo.gateway", gateway.run)
            yield Stack(core, gateway, player, desk, stopwatch)


async def _start_console(folder: Path, serve: Serve) -> tuple[str, str]:
    """Start the console on a free port; its address, and the password of a person made for this run."""
    settings = ConsoleSettings(
        process="console",
        core_socket=folder / "core.sock",
        database=folder / "console" / "console.db",
        port=0,
    )
    password = secrets.passphrase()
    await asyncio.to_thread(_make_person, settings.database, password)
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    await serve("demo.console", lambda stop: run_console(settings, stop, ready.set_result))
    await house.wait_ready("console", ready.done)
    return ready.result(), password


def _make_person(database: Path, password: str) -> None:
    engine = open_database(database)
    create_user(engine, PERSON, password, [PersonRole.OFFICER, PersonRole.ENGINEER], now_us=wall_us())
    engine.dispose()


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


async def _stack_ready(stack: Stack, stop: Stop) -> None:
    await house.wait_ready("stack", lambda: (stack.is_quiet() and stack.is_watched()) or stop.is_set())
    if stop.is_set():
        raise HouseError("stopped before the first row was played")

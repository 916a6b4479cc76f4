"""Keeps the processes of one machine running: started in order, restarted with back-off, stopped in reverse.

The restart policy is pure (:class:`Restarts`); around it, one task per process starts it, collects what it
prints into a bounded log file, and starts it again when it ends. A child dies with its supervisor, whatever
kills that, so nothing is left behind.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import random
import signal
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from fengsui.errors import FengsuiError
from fengsui.runtime import WRONG_SETTINGS, WRONG_USAGE, Stop
from fengsui.shell import plain

FIRST_S = 0.5
LONGEST_S = 30.0
STEADY_S = 60.0
"""Who ran for so long has recovered: the next crash starts again from the shortest pause."""

STOP_S = 10.0
"""A process that has not ended so long after SIGTERM is killed."""

_ASK_EVERY_S = 0.1
_ANSWER_S = 2.0
_LOG_BYTES = 5_000_000
_LAST_LINES = 5
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


class PartError(FengsuiError):
    """A process that will not run whatever is tried: a person has to correct something first."""


class Restarts:
    """How long to wait before a process that ended is started again; pure."""

    def __init__(self, jitter: Callable[[], float]) -> None:
        """``jitter`` gives numbers in [0, 1), so that a herd of processes does not restart in step."""
        self._jitter = jitter
        self.in_a_row = 0

    def pause_s(self, ran_s: float) -> float:
        """The pause after a run of ``ran_s`` seconds: doubles from 0.5 s to 30 s, half of it jittered."""
        self.in_a_row = 1 if ran_s >= STEADY_S else self.in_a_row + 1
        longest = min(LONGEST_S, FIRST_S * 2.0 ** min(self.in_a_row - 1, 16))
        return longest * (0.5 + 0.5 * self._jitter())


@dataclass(frozen=True)
class Part:
    """One process to keep running; ``is_ready`` is asked until it says so, then the next part starts."""

    name: str
    command: Sequence[str]
    is_ready: Callable[[], Awaitable[bool]]
    note: str = ""
    """Shown once it is ready, such as its address."""
    prepare: Callable[[], Awaitable[None]] | None = None
    """Done once, before its first start; what it raises stops everything."""


class Supervisor:
    """Runs parts until told to stop.

    Args:
        parts: In the order they need each other.
        logs: Folder for ``<part>.log``.
        tell: Called with each line of progress.
    """

    def __init__(self, parts: Sequence[Part], *, logs: Path, tell: Callable[[str], None]) -> None:
        self._keepers = [_Keeper(part, logs / f"{part.name}.log", tell) for part in parts]

    async def run(self, stop: Stop, when_ready: Callable[[], Awaitable[None]]) -> None:
        """Start everything, call ``when_ready`` once all are, and stop everything when ``stop`` is set.

        Raises:
            PartError: A part refused its settings or usage; everything has been stopped.
        """
        running: list[asyncio.Task[None]] = []
        stopping = asyncio.create_task(stop.wait(), name="supervisor.stop")
        try:
            for keeper in self._keepers:
                running.append(asyncio.create_task(keeper.keep(), name=f"supervisor.{keeper.part.name}"))
                ready = asyncio.create_task(keeper.ready.wait(), name=f"supervisor.{keeper.part.name}.ready")
                await asyncio.wait({stopping, ready, *running}, return_when=asyncio.FIRST_COMPLETED)
                ready.cancel()
                if stop.is_set() or any(task.done() for task in running):
                    break
            else:
                await when_ready()
                await asyncio.wait({stopping, *running}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            for keeper in reversed(self._keepers[: len(running)]):
                await keeper.stop()
        await asyncio.gather(*running)

    def kill(self, name: str) -> bool:
        """Kill a part, as a crash would; it is started again. False when it does not run right now."""
        return any(keeper.kill() for keeper in self._keepers if keeper.part.name == name)


class _Keeper:
    """Keeps one part running."""

    def __init__(self, part: Part, log: Path, tell: Callable[[str], None]) -> None:
        self.part = part
        self.ready = asyncio.Event()
        self._log = log
        self._tell = tell
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None

    def _say(self, text: str) -> None:
        self._tell(f"{self.part.name:<8} {text}")

    async def keep(self) -> None:
        """Start the part again and again until ``stop``."""
        restarts = Restarts(random.random)
        clock = asyncio.get_running_loop().time
        try:
            if self.part.prepare is not None:
                await self.part.prepare()
            while not self._stopping.is_set():
                started = clock()
                code, last = await self._run_once()
                if self._stopping.is_set():
                    break
                for line in last:
                    self._say(f"| {line}")
                if code in (WRONG_SETTINGS, WRONG_USAGE):
                    raise PartError(f"{self.part.name} cannot start: {' '.join(last) or self._log}")
                pause_s = restarts.pause_s(clock() - started)
                self._say(f"{_ending(code)}; starting again in {pause_s:.1f} s (its log: {self._log})")
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), pause_s)
        finally:
            self._ended.set()

    async def _run_once(self) -> tuple[int, list[str]]:
        """Run the part to its end: its exit code and its last lines."""
        clock = asyncio.get_running_loop().time
        started = clock()
        parent = os.getpid()

        def die_with_parent() -> None:  # in the child, between fork and exec
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # the parent died before the line above
                os._exit(1)

        try:
            process = await asyncio.create_subprocess_exec(
                *self.part.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the supervisor, who stops everybody in order
                preexec_fn=die_with_parent,
            )
        except OSError as error:
            raise PartError(
                f"{self.part.name} cannot start: {self.part.command[0]}: {error.strerror}"
            ) from error
        self._process = process
        if self._stopping.is_set():  # asked to stop between fork and here
            process.terminate()
        asking = asyncio.create_task(self._wait_ready(started), name=f"supervisor.{self.part.name}.asking")
        assert process.stdout is not None
        try:
            with BoundedLog(self._log) as log:
                while chunk := await process.stdout.read(65_536):
                    log.write(chunk)
                code = await process.wait()
            return code, log.last_lines()
        finally:
            asking.cancel()
            if process.returncode is None:
                process.kill()

    async def _wait_ready(self, started: float) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(_ANSWER_S):
                    if await self.part.is_ready():
                        break
            await asyncio.sleep(_ASK_EVERY_S)
        self._say(f"ready after {clock() - started:.1f} s  {self.part.note}".rstrip())
        self.ready.set()

    def kill(self) -> bool:
        """SIGKILL, if there is a process."""
        if self._process is None or self._process.returncode is not None:
            return False
        self._process.kill()
        return True

    async def stop(self) -> None:
        """SIGTERM, SIGKILL if it takes too long; returns when the process is gone."""
        self._stopping.set()
        runs = self._process is not None and self._process.returncode is None
        if self._process is not None and runs:
            self._process.terminate()
        try:
            await asyncio.wait_for(self._ended.wait(), STOP_S)
        except TimeoutError:
            self._say(f"did not stop in {STOP_S:g} s, killed")
            if self._process is not None:
                self._process.kill()
            await self._ended.wait()
        else:
            if runs:
                self._say("stopped")


class BoundedLog:
    """What a process prints, in a file that is set aside as ``.1`` when full, its last lines in memory."""

    def __init__(self, path: Path, limit_bytes: int = _LOG_BYTES) -> None:
        self._path = path
        self._limit = limit_bytes
        self._tail: deque[bytes] = deque(maxlen=_LAST_LINES)
        self._open_line = b""
        self._file: IO[bytes] | None = None

    def __enter__(self) -> BoundedLog:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("ab", buffering=0)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._file is not None
        self._file.close()

    def write(self, chunk: bytes) -> None:
        """Append; a full disk loses log lines, never the process."""
        assert self._file is not None
        *whole, rest = (self._open_line + chunk).split(b"\n")
        self._tail.extend(line[:1_000] for line in whole if line.strip())
        self._open_line = rest[:1_000]
        with suppress(OSError):
            if self._file.tell() + len(chunk) > self._limit:
                self._file.close()
                self._path.replace(self._path.with_name(self._path.name + ".1"))
                self._file = self._path.open("ab", buffering=0)
            self._file.write(chunk)

    def last_lines(self) -> list[str]:
        """The last few lines, fit for a terminal whatever the process printed."""
        lines = [*self._tail, self._open_line] if self._open_line.strip() else list(self._tail)
        texts = (line.decode(errors="replace") for line in lines[-_LAST_LINES:])
        return [plain(text) for text in texts]


def _ending(code: int) -> str:
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"

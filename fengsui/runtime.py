"""What every process does the same way: logs, signals, exit codes, signs of life, and the two clocks.

Exit codes (as in ``sysexits.h``): 0 a clean stop, 64 a wrong command line, 70 an unhandled error, 78 wrong
settings. A supervisor restarts on 70 and waits for a person on 64 and 78.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any, Final, NamedTuple, TypeAlias

import structlog

from fengsui.errors import FengsuiError, SettingsError, Unavailable

Stop: TypeAlias = asyncio.Event
"""Set once when the process is asked to stop; everything then finishes what it holds and returns."""

OK: Final = 0
WRONG_USAGE: Final = 64
UNAVAILABLE: Final = 69
FAILED: Final = 70
WRONG_SETTINGS: Final = 78

_TRACEBACKS = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)

GRACE = 3
"""A beat is stale after this many of its own periods: one late turn of the event loop is no fault."""


def monotonic_ms() -> int:
    """Milliseconds on the clock that never steps back; only differences mean anything."""
    return time.monotonic_ns() // 1_000_000


def wall_us() -> int:
    """Microseconds since 1970 UTC by this machine's wall clock."""
    return time.time_ns() // 1_000


class Timepiece(NamedTuple):
    """The clocks a process goes by; a demo runs on faster ones.

    ``wall_us`` is microseconds since 1970 UTC, ``monotonic_s`` seconds of which only differences mean
    anything.
    """

    wall_us: Callable[[], int]
    monotonic_s: Callable[[], float]


MACHINE: Final = Timepiece(wall_us, time.monotonic)
"""This machine's own clocks."""


def run(main: Callable[[Stop], Awaitable[None]], *, name: str, log_json: bool | None = None) -> int:
    """Run a process to its end and return its exit code.

    Args:
        main: The composition root; returns when ``stop`` is set and its work is put away.
        name: Bound to every log line as ``process``.
        log_json: JSON lines, or text for a person; None: JSON unless stdout is a terminal.
    """
    configure_logs(name, log_json=log_json)
    log = structlog.get_logger("runtime")
    settle()
    try:
        asyncio.run(_until_stopped(main))
    except Exception as error:  # the rim of the process: told once, then the exit code speaks
        told = list(_leaves(error, FengsuiError))
        if not told:
            log.critical("process_failed", exc_info=error)
            return FAILED
        for one in told:
            print(f"fengsui {name}: {one}", file=sys.stderr)  # noqa: T201 - a person reads this, not a log
        if any(isinstance(one, SettingsError) for one in told):
            return WRONG_SETTINGS
        return UNAVAILABLE if all(isinstance(one, Unavailable) for one in told) else WRONG_USAGE
    return OK


def settle() -> None:
    """Tell the garbage collector that what is loaded by now stays.

    A full collection that walks through it all would stop the process for 30 ms every few seconds.
    """
    gc.collect()
    gc.freeze()


async def _until_stopped(main: Callable[[Stop], Awaitable[None]]) -> None:
    stop = Stop()
    loop = asyncio.get_running_loop()

    def asked(number: signal.Signals) -> None:
        if stop.is_set():  # asked twice: whoever asks no longer wants to wait
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked, number)
    await main(stop)


def _leaves(error: BaseException, kind: type[FengsuiError]) -> Iterator[FengsuiError]:
    """The errors in ``error`` if *all* of them are of ``kind``; one foreign error makes it a failure."""
    if isinstance(error, BaseExceptionGroup):
        _, rest = error.split(kind)
        if rest is None:
            for inner in error.exceptions:
                yield from _leaves(inner, kind)
    elif isinstance(error, kind):
        yield error


def configure_logs(process: str, *, log_json: bool | None = None) -> None:
    """Send structlog and the standard library's loggers to stdout, one line per happening.

    Steady state is quiet at INFO; libraries are heard from WARNING on.
    """
    if log_json is None:
        log_json = not sys.stdout.isatty()

    def name_process(
        _logger: object, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        event["process"] = process
        return event

    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        name_process,
    ]
    # Neither form shows local variables: they may hold a secret.
    render: list[structlog.typing.Processor] = (
        [_TRACEBACKS, structlog.processors.JSONRenderer(ensure_ascii=False)]
        if log_json
        else [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("fengsui").setLevel(logging.INFO)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=_own_logger,
        cache_logger_on_first_use=False,
    )


def _own_logger(*names: str) -> logging.Logger:
    """Our loggers live below ``fengsui`` in the standard library's tree, which is open from INFO on."""
    return logging.getLogger(".".join(("fengsui", *names)))


class Beats:
    """Signs of life of a process's tasks: each promises to stamp its beat at least every so often.

    The watchdog of systemd is fed only while *every* beat is fresh, so one dead task is enough to be
    restarted, and a blocked event loop feeds nothing.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._beats: dict[str, tuple[float, float]] = {}

    def beat(self, name: str, every_s: float) -> Callable[[], None]:
        """Register a beat, fresh as of now; call what is returned at least every ``every_s`` seconds."""

        def stamp() -> None:
            self._beats[name] = (self._clock(), every_s)

        stamp()
        return stamp

    def stale(self, now_s: float) -> list[str]:
        """Names of the beats missed for ``GRACE`` periods, by the monotonic clock."""
        return [name for name, (at, every_s) in self._beats.items() if now_s - at > GRACE * every_s]

    async def feed_watchdog(self) -> None:
        """Tell systemd ``READY=1``, then ``WATCHDOG=1`` while all beats are fresh; runs until cancelled."""
        log = structlog.get_logger("beats")
        notify("READY=1")
        every_s = int(os.environ.get("WATCHDOG_USEC", "20000000")) / 2e6
        known: list[str] = []
        while True:
            stale = self.stale(self._clock())
            if stale != known:
                log.error("beats_stale", beats=stale) if stale else log.info("beats_fresh_again", beats=known)
                known = stale
            if not stale:
                notify("WATCHDOG=1")
            await asyncio.sleep(every_s)


def notify(state: str) -> bool:
    """Send one sd_notify state to the service manager; False when there is none to hear it."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as link:
        link.setblocking(False)
        try:
            link.sendto(state.encode(), "\0" + address[1:] if address[0] == "@" else address)
        except OSError:
            return False
    return True

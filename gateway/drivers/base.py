"""What a driver is to the gateway: who calls what, and when.

A driver speaks one field protocol and turns it into readings and events. It never sees the spool, the
network or the wall clock: it is given a :class:`Pace` (so that a demo can run on scaled time) and a
:class:`Sink` (which is the spool behind a small face).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from fengsui.errors import FengsuiError
from fengsui.model import Description, Event, Reading

MAX_BATCH = 200
"""Items that a driver offers in one call: a record of the wire holds as many readings."""


class Sink(Protocol):
    """Where a driver leaves what it has measured; the gateway's application owns it."""

    async def accept(self, items: Sequence[Reading | Event]) -> None:
        """Take up to ``MAX_BATCH`` items into the spool.

        Returns when they are fsynced, which is what *accepted* means: a driver that keeps a place in its
        source (a cursor, a protocol acknowledgement) moves it only after this. Waits while the spool is full.
        """
        ...


class Driver(Protocol):
    """One source of readings; the gateway's application makes it, names its task and watches it."""

    @property
    def name(self) -> str:
        """Name of the driver's configuration block, unique in its gateway."""
        ...

    def describe(self) -> Sequence[Description]:
        """Every point this driver can speak for; called once, before ``run``, for a *describe* record."""
        ...

    async def run(self, sink: Sink) -> None:
        """Feed ``sink`` until cancelled; returns only when the source itself has an end (a recording).

        An error ends this driver alone: the application counts it, raises a fault, and calls ``run``
        again after a back-off. A driver mends what it can (a lost connection) itself.
        """
        ...


@runtime_checkable
class Commandable(Protocol):
    """A driver that also acts on commands from the server, such as *start a fire* in a simulated building."""

    def command(self, what: str, args: Mapping[str, str]) -> str:
        """Do ``what`` now and answer in one line of text; called by the application for a checked command.

        Raises:
            CommandRefused: this driver does not know ``what``, or ``args`` make no sense.
        """
        ...


class CommandRefused(FengsuiError):
    """A command that a driver will not do; the text goes back to who asked."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Time as a driver knows it: what time it is, and how to wait.

    ``now_us`` gives microseconds since 1970 UTC, ``sleep`` waits that many seconds *of the same clock*: on a
    clock that runs ten times faster, ``sleep(10)`` takes one second.
    """

    now_us: Callable[[], int]
    sleep: Callable[[float], Awaitable[None]]

    async def wait_until(self, at_us: int) -> None:
        """Wait until ``at_us``; gives way to other tasks once even if that is past."""
        await self.sleep(max(0, at_us - self.now_us()) / 1e6)

    def scaled(self, speed: float, from_us: int) -> Pace:
        """A pace that stands at ``from_us`` now and runs ``speed`` times as fast as this one."""
        begin_us = self.now_us()
        return Pace(
            now_us=lambda: from_us + round((self.now_us() - begin_us) * speed),
            sleep=lambda seconds: self.sleep(seconds / speed),
        )

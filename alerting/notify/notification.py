"""Notification of one core: the roster in force, what the record's transaction plans, and what does it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from sqlalchemy import Engine

from alerting.alarms.lifecycle import Alarm
from alerting.alarms.record import Within
from alerting.errors import RecordUnavailable
from alerting.notify import kept
from alerting.notify.answer import code_of, token_of
from alerting.notify.bell import Bell
from alerting.notify.channels.base import Way
from alerting.notify.channels.siren import Command
from alerting.notify.config import NotifySettings, open_channel
from alerting.notify.dispatch import Dispatch
from alerting.notify.roster import Roster, faults
from alerting.notify.steps import Calling
from fengsui.runtime import Timepiece
from fengsui.settings import Broker

FOLLOW_EVERY_S = 2.0

log = structlog.get_logger()


class Notification:
    """Everything about who is called, of a core whose settings have a channel.

    Args:
        engine: The state database, migrated.
        settings: The channels.
        broker: The core's own broker.
        command: Asks a gateway to do something.
        named: Puts the names of places in an alarm in the stead of their ids.
        told: Called with the id of each alarm that a delivered message was about.
        key: What links and codes of messages are made with.
        clock: The server's clocks.
        beat: Stamped while the dispatcher is alive.
    """

    def __init__(
        self,
        engine: Engine,
        settings: NotifySettings,
        broker: Broker,
        *,
        command: Command,
        named: Callable[[Alarm], Alarm],
        told: Callable[[str], None],
        key: bytes,
        clock: Timepiece,
        beat: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._key = key
        self._kept: kept.KeptRoster | None = None
        self._roster_fault = ""
        self._calling = Calling(self.roster, settings.inside)
        ways = {
            name: Way(open_channel(channel, broker, command), channel.timeout_s)
            for name, channel in settings.channels.items()
        }
        self._dispatch = Dispatch(
            engine,
            ways,
            self.roster,
            invite=self._invite if settings.replies is not None else None,
            named=named,
            told=told,
            utc_offset=settings.offset,
            wall_us=clock.wall_us,
            beat=beat,
        )

        hour, minute = settings.bell_at.split(":")
        self._bell = Bell(
            engine,
            ways,
            settings.bells,
            at=(int(hour), int(minute)),
            canary=settings.canary,
            utc_offset=settings.offset,
            wall_us=clock.wall_us,
            monotonic_s=clock.monotonic_s,
        )

    @property
    def within(self) -> Within:
        """What the record's transaction has to write, see ``Recorder``."""
        return self._calling.within

    async def start(self) -> None:
        """Read the roster in force.

        Raises:
            RecordUnavailable: The state database cannot be read.
        """
        self._kept = await asyncio.to_thread(kept.in_force, self._engine)
        self._judge()

    async def run(self) -> None:
        """Tell whom there is to tell, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._dispatch.run(), name="notify.dispatch")
            tasks.create_task(self._follow(), name="notify.roster")
            tasks.create_task(self._bell.run(), name="notify.bell")

    def faults(self) -> dict[str, str]:
        """What is wrong, by a name for each."""
        found = {f"channel {name}": text for name, text in self._dispatch.faults.items()} | self._bell.faults
        if self._roster_fault:
            found["roster"] = self._roster_fault
        if self._dispatch.fault:
            found["database"] = self._dispatch.fault
        return found

    def roster(self) -> Roster | None:
        """The roster in force; None = nobody is called."""
        return None if self._kept is None else self._kept.roster

    def _invite(self, message: int) -> tuple[str, str]:
        replies = self._settings.replies
        assert replies is not None
        link = f"{replies.public_url.rstrip('/')}/a/{token_of(self._key, message)}"
        return link, code_of(self._key, message) if replies.secret is not None else ""

    async def _follow(self) -> None:
        """Take over a roster that another process put in force."""
        while True:
            await asyncio.sleep(FOLLOW_EVERY_S)
            number = 0 if self._kept is None else self._kept.number
            try:
                if await asyncio.to_thread(kept.newest_number, self._engine) == number:
                    continue
                await self.start()
            except RecordUnavailable:
                continue  # the record, which uses the same database, says so
            log.info("notify.roster", number=None if self._kept is None else self._kept.number)

    def _judge(self) -> None:
        """Hold the roster against the channels, which may have changed since it was imported."""
        if self._kept is None:
            self._roster_fault = "nobody is called: import a roster with `fengsui notify import`"
            return
        found = [text for _, text in faults(self._kept.roster, self._settings.channels)]
        self._roster_fault = "; ".join(found)[:300]

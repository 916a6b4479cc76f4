"""A database with steps in it, a dispatcher on channels of a test, and channels that do what a test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

from sqlalchemy import Engine, func, select

from alerting.alarms.book import Change
from alerting.alarms.lifecycle import Alarm
from alerting.errors import DeliveryError
from alerting.notify.channels.base import Way
from alerting.notify.dispatch import Dispatch
from alerting.notify.message import Message
from alerting.notify.steps import Calling
from alerting.notify.tables import step_table
from fengsui.database import connect, writing
from fengsui.runtime import wall_us
from server.migrations import upgrade
from tests.rosters import AT_ANY_HOUR, INSIDE, roster
from tests.waiting import background


class House:
    """A migrated database, what the record would write into it, and a dispatcher."""

    def __init__(self, url: str) -> None:
        self.url = url
        upgrade(url)
        self.engine: Engine = connect(url)
        self.notified: list[str] = []
        self.roster = roster(AT_ANY_HOUR)
        self.calling = Calling(lambda: self.roster, INSIDE)

    def tell(self, told: Alarm, what: str) -> None:
        """One change of an alarm."""
        change = Change(told, what, "0417", "person", wall_us())
        with writing(self.engine) as connection:
            self.calling.within(connection, [change])

    def count(self, **where: object) -> int:
        """Steps with these columns."""
        which = [step_table.c[name] == value for name, value in where.items()]
        with self.engine.connect() as connection:
            return (
                connection.execute(select(func.count()).select_from(step_table).where(*which)).scalar() or 0
            )

    @asynccontextmanager
    async def dispatching(self, ways: dict[str, Way]) -> AsyncIterator[Dispatch]:
        """A dispatcher on these channels, for as long as the block lasts."""
        dispatch = Dispatch(
            self.engine, ways, lambda: self.roster, named=lambda alarm: alarm,
            told=self.notified.append, utc_offset=timedelta(hours=8), wall_us=wall_us, beat=lambda: None,
            poll_s=0.02,
        )  # fmt: skip
        async with background(dispatch.run()):
            yield dispatch


class Told:
    """A channel that notes what it is told, and does what a test says."""

    def __init__(self, do: Callable[[], str] = lambda: "taken") -> None:
        self.messages: list[Message] = []
        self._do = do

    async def send(self, message: Message) -> str:
        """Note it."""
        self.messages.append(message)
        return self._do()


def refuse() -> str:
    """A channel that is down."""
    raise DeliveryError("down", retryable=True)


def break_() -> str:
    """A channel with a mistake in it."""
    raise TypeError("mistake")


async def hang() -> str:
    """Never."""
    await asyncio.Event().wait()
    return ""


class Hanging(Told):
    """A channel that never answers."""

    async def send(self, message: Message) -> str:
        """Note it, and hang."""
        self.messages.append(message)
        return await hang()

"""The dispatcher: claims steps that are due, sends them, records what came of it. Survives what kills it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import timedelta

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from alerting.alarms.lifecycle import Alarm
from alerting.errors import DeliveryError
from alerting.notify.channels.base import Way
from alerting.notify.message import Message, compose
from alerting.notify.roster import Roster
from alerting.notify.steps import Bundle, Kind, claim, delivered, refused, release

POLL_S = 0.25
PER_CHANNEL = 4
"""Messages in the hands of one channel at a time; one of them is kept free for fire."""
_RECORD_AGAIN_S = 0.5

log = structlog.get_logger()


class Dispatch:
    """Does what is due.

    Args:
        engine: The state database.
        ways: By the names that the roster uses.
        roster: The one in force by now.
        named: Puts the names of places in an alarm in the stead of their ids.
        told: Called with the id of each alarm that a delivered message was about.
        utc_offset: Of the times that messages tell.
        wall_us: The server's wall clock, in us since 1970 UTC.
        beat: Stamped with every look: proof that the dispatcher is alive.
        invite: Gives the link and the code for a message by its number; None = nobody can answer.
        poll_s: How often it looks.
    """

    def __init__(
        self,
        engine: Engine,
        ways: Mapping[str, Way],
        roster: Callable[[], Roster | None],
        *,
        named: Callable[[Alarm], Alarm],
        told: Callable[[str], None],
        utc_offset: timedelta,
        wall_us: Callable[[], int],
        beat: Callable[[], None],
        invite: Callable[[int], tuple[str, str]] | None = None,
        poll_s: float = POLL_S,
    ) -> None:
        self._engine = engine
        self._ways = ways
        self._roster = roster
        self._named = named
        self._told = told
        self._utc_offset = utc_offset
        self._wall_us = wall_us
        self._beat = beat
        self._invite = invite
        self._poll_s = poll_s
        self._busy: Counter[str] = Counter()
        self._held: set[int] = set()
        self._unsure = True
        self.fault = ""
        """Why the database does not say what is due; empty = it does."""
        self.faults: dict[str, str] = {}
        """By channel: why its last message was not delivered."""
        self.given_up = 0
        """Steps that were given up since the start."""

    async def run(self) -> None:
        """Work until cancelled; what was being sent when the last process died is sent again."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._beat()
                for bundle in await self._claim():
                    self._busy[bundle.channel] += 1
                    self._held.add(bundle.numbers[0])
                    tasks.create_task(self._deliver(bundle), name=f"notify.{bundle.channel}")
                await asyncio.sleep(self._poll_s)

    async def _claim(self) -> list[Bundle]:
        room = {
            name: (PER_CHANNEL - self._busy[name], PER_CHANNEL - 1 - self._busy[name]) for name in self._ways
        }
        try:
            if self._unsure:
                if left := await asyncio.to_thread(release, self._engine, frozenset(self._held)):
                    log.warning("notify.sent_again", steps=left)
                self._unsure = False
            taken = await asyncio.to_thread(claim, self._engine, room, self._wall_us())
        except (SQLAlchemyError, OSError) as error:
            self._unsure = True  # it may have taken steps and only its answer was lost
            self._refused(error)
            return []
        self.fault = ""
        return taken

    async def _deliver(self, bundle: Bundle) -> None:
        way = self._ways[bundle.channel]
        try:
            reason, retryable = "", True
            try:
                async with asyncio.timeout(way.timeout_s):
                    receipt = await way.channel.send(self._compose(bundle))
            except DeliveryError as error:
                reason, retryable = str(error) or "not delivered", error.retryable
            except TimeoutError:
                reason = f"no answer within {way.timeout_s:g} s"
            except Exception as error:  # the rim of a channel: one that breaks never takes the core down
                log.exception("notify.channel_broke", channel=bundle.channel)
                reason = f"{type(error).__name__}: {error}"
            if reason:
                await self._not_delivered(bundle, reason, retryable=retryable)
            else:
                await self._until_answered(
                    lambda: delivered(self._engine, bundle.numbers, receipt, self._wall_us())
                )
                for alarm in bundle.ids if bundle.kind is Kind.ALARM else ():
                    self._told(alarm)
                if self.faults.pop(bundle.channel, None) is not None:
                    log.info("notify.channel_back", channel=bundle.channel)
        finally:
            self._busy[bundle.channel] -= 1
            self._held.discard(bundle.numbers[0])

    async def _not_delivered(self, bundle: Bundle, reason: str, *, retryable: bool) -> None:
        if self.faults.get(bundle.channel) != reason:
            log.error("notify.not_delivered", channel=bundle.channel, contact=bundle.contact, reason=reason)
        self.faults[bundle.channel] = reason
        self.given_up += await self._until_answered(
            lambda: refused(self._engine, bundle.numbers, reason, retryable=retryable, now_us=self._wall_us())
        )

    def _compose(self, bundle: Bundle) -> Message:
        roster = self._roster()
        known = {contact.id: contact for contact in roster.contacts} if roster else {}
        contact = known.get(bundle.contact)
        link, code = "", ""
        if contact is not None and contact.answers and bundle.kind is Kind.ALARM and self._invite is not None:
            link, code = self._invite(bundle.numbers[0])
        return compose(
            bundle,
            contact.lang if contact is not None else "zh",
            self._wall_us(),
            named=self._named,
            utc_offset=self._utc_offset,
            link=link,
            code=code,
        )

    async def _until_answered(self, work: Callable[[], int | None]) -> int:
        """What the database answers in the end; what was sent is recorded, however long that takes."""
        while True:
            try:
                return await asyncio.to_thread(work) or 0
            except (SQLAlchemyError, OSError) as error:
                self._refused(error)
                await asyncio.sleep(_RECORD_AGAIN_S)

    def _refused(self, error: Exception) -> None:
        text = str(getattr(error, "orig", None) or error)[:200]
        if text != self.fault:
            log.error("notify.database_refused", error=text)
        self.fault = text

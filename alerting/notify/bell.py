"""Proof that the bell works: every day each channel is rung, every minute a canary flies through the steps.

Both are steps like those of an alarm, done by the dispatcher on the real channels with a receipt. Whether the
canary came back is watched apart from it, and told directly on another channel: what watches must not stand
on what it watches.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import NamedTuple

import structlog
from sqlalchemy import Engine, delete, func, insert, select
from sqlalchemy.exc import SQLAlchemyError

from alerting.errors import DeliveryError
from alerting.notify.channels.base import Way
from alerting.notify.config import CanarySettings
from alerting.notify.message import Message
from alerting.notify.steps import Kind, StepState, blank
from alerting.notify.tables import step_table
from fengsui.database import writing

CANARY_EVERY_S = 60.0
MISSED_S = 100.0
"""A canary that has not come back for so long is missed; told within two minutes of the last one."""
TELL_AGAIN_S = 600.0
LATE_US = 600_000_000
"""A bell that has not rung by then is a fault."""
WATCH_EVERY_S = 5.0

_OPEN = (StepState.PENDING, StepState.SENDING)
_s = step_table.c

log = structlog.get_logger()


class Ring(NamedTuple):
    """The newest ring of a channel."""

    channel: str
    due_us: int
    state: StepState
    took_s: float | None
    """From when it was sent to the receipt; None = no receipt."""
    outcome: str


def ring(engine: Engine, name: str, channels: Mapping[str, str], now_us: int) -> int:
    """Ring channels by the addresses given, each at most once under this name; how many were not yet."""
    with writing(engine) as connection:
        rung = connection.execute(select(_s.channel).where(_s.kind == Kind.BELL, _s.alarm == name)).scalars()
        known = set(rung)
        rows = [
            blank(Kind.BELL, "bell", channel, to, now_us) | {"alarm": name}
            for channel, to in channels.items()
            if channel not in known
        ]
        if rows:
            connection.execute(insert(step_table), rows)
        return len(rows)


def rings(engine: Engine) -> list[Ring]:
    """The newest ring of every channel that ever rang, by name."""
    newest = select(func.max(_s.number)).where(_s.kind == Kind.BELL).group_by(_s.channel)
    with engine.connect() as connection:
        rows = connection.execute(
            select(step_table).where(_s.number.in_(newest)).order_by(_s.channel)
        ).mappings()
        return [
            Ring(
                row["channel"],
                row["due_us"],
                StepState(row["state"]),
                (row["done_us"] - row["claimed_us"]) / 1e6 if row["state"] == StepState.SENT else None,
                row["outcome"],
            )
            for row in rows
        ]


def fly(engine: Engine, canary: CanarySettings, now_us: int, every_us: int) -> int:
    """Let a canary fly if it is time and none is in the air; when the last one came back, 0 = none did."""
    mine = _s.kind == Kind.CANARY
    returned = (mine, _s.state == StepState.SENT)
    with writing(engine) as connection:
        back_us = connection.execute(select(func.max(_s.done_us)).where(*returned)).scalar() or 0
        flying = connection.execute(select(_s.number).where(mine, _s.state.in_(_OPEN))).first()
        newest_us = connection.execute(select(func.max(_s.due_us)).where(mine)).scalar() or 0
        if flying is None and not 0 <= now_us - newest_us < every_us:
            done = (_s.state != StepState.SENT) | (_s.done_us < back_us)
            connection.execute(delete(step_table).where(mine, done))
            row = blank(Kind.CANARY, "canary", canary.channel, canary.to, now_us)
            connection.execute(insert(step_table).values(**row | {"alarm": str(now_us)}))
        return int(back_us)


class Bell:
    """Rings every day and lets the canary fly.

    Args:
        engine: The state database.
        ways: The channels.
        bells: By channel, the address of its daily ring.
        at: Hour and minute of the day, at ``utc_offset``.
        canary: Where it flies; None = it does not.
        utc_offset: Of the day.
        wall_us: The server's wall clock, in us since 1970 UTC.
        monotonic_s: The server's monotonic clock, in seconds.
        every_s: How often a canary flies.
        missed_s: See ``MISSED_S``.
    """

    def __init__(
        self,
        engine: Engine,
        ways: Mapping[str, Way],
        bells: Mapping[str, str],
        *,
        at: tuple[int, int],
        canary: CanarySettings | None,
        utc_offset: timedelta,
        wall_us: Callable[[], int],
        monotonic_s: Callable[[], float],
        every_s: float = CANARY_EVERY_S,
        missed_s: float = MISSED_S,
    ) -> None:
        self._engine = engine
        self._ways = ways
        self._bells = bells
        self._at = at
        self._canary = canary
        self._zone = timezone(utc_offset)
        self._wall_us = wall_us
        self._monotonic_s = monotonic_s
        self._every_s = every_s
        self._missed_s = missed_s
        self._back_us = 0
        self._back_s = monotonic_s()
        self.faults: dict[str, str] = {}
        """By what was to ring: why it is not known to work."""

    async def run(self) -> None:
        """Ring, fly and watch until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._daily(), name="notify.bell")
            if self._canary is not None:
                tasks.create_task(self._fly(self._canary), name="notify.canary")
                tasks.create_task(self._watch(self._canary), name="notify.watch")

    async def _daily(self) -> None:
        while True:
            now_us = self._wall_us()
            now = datetime.fromtimestamp(now_us / 1e6, self._zone)
            try:
                if (now.hour, now.minute) >= self._at:
                    await asyncio.to_thread(ring, self._engine, f"{now:%Y-%m-%d}", self._bells, now_us)
                rung = await asyncio.to_thread(rings, self._engine)
            except (SQLAlchemyError, OSError):
                log.warning("notify.bell_database", exc_info=True)
            else:
                self.faults = {
                    f"bell of {one.channel}": one.outcome or "has not rung"
                    for one in rung
                    if one.channel in self._bells
                    if one.state is StepState.FAILED or (one.took_s is None and now_us - one.due_us > LATE_US)
                }
            await asyncio.sleep(min(self._every_s, CANARY_EVERY_S))

    async def _fly(self, canary: CanarySettings) -> None:
        every_us = round(self._every_s * 1e6)
        while True:
            try:
                back_us = await asyncio.to_thread(fly, self._engine, canary, self._wall_us(), every_us)
            except (SQLAlchemyError, OSError) as error:
                log.warning("notify.canary_database", error=str(error)[:200])
            else:
                if back_us != self._back_us:
                    self._back_us, self._back_s = back_us, self._monotonic_s()
            await asyncio.sleep(self._every_s / 4)

    async def _watch(self, canary: CanarySettings) -> None:
        told_s: float | None = None
        while True:
            away_s = self._monotonic_s() - self._back_s
            if away_s <= self._missed_s:
                told_s = None
            elif told_s is None or self._monotonic_s() - told_s > TELL_AGAIN_S:
                told_s = self._monotonic_s()
                await self._tell(canary, away_s)
            await asyncio.sleep(min(WATCH_EVERY_S, self._missed_s / 10))

    async def _tell(self, canary: CanarySettings, away_s: float) -> None:
        way = self._ways[canary.tell]
        title = "通知系统故障 Notification does not work"
        text = (
            f"{away_s:.0f} 秒内没有心跳返回,通知可能无法送达,请检查核心。\n"
            f"No canary has come back for {away_s:.0f} s: alarms may not be told to anybody. See to the core."
        )
        message = Message(
            f"canary-{self._wall_us()}",
            canary.tell_to,
            title,
            text,
            urgent=True,
            test=False,
            alarms=(),
            total=0,
        )
        log.error("notify.canary_missed", away_s=round(away_s))
        try:
            async with asyncio.timeout(way.timeout_s):
                await way.channel.send(message)
        except (DeliveryError, TimeoutError) as error:
            log.critical("notify.canary_untold", error=str(error))

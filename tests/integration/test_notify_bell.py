"""The daily bell and the canary: rung on real steps, and missed where something in between is dead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta, timezone

from alerting.notify.bell import MISSED_S, WATCH_EVERY_S, Bell, fly, ring, rings
from alerting.notify.channels.base import Way
from alerting.notify.config import CanarySettings
from alerting.notify.steps import StepState, claim, delivered
from fengsui.runtime import MACHINE
from tests.calling import House, Told, refuse
from tests.waiting import background, until

CANARY = CanarySettings(channel="board", to="canary", tell="sms", tell_to="13800000000")
BEFORE_US = round(datetime(2026, 1, 5, 0, 59, tzinfo=UTC).timestamp()) * 1_000_000
"""08:59 in Shanghai."""
SHANGHAI = timezone(timedelta(hours=8))
DAY_US = 86_400_000_000
S = 1_000_000


@asynccontextmanager
async def bell(
    house: House,
    ways: dict[str, Way],
    canary: CanarySettings | None = CANARY,
    wall_us: Callable[[], int] = MACHINE.wall_us,
    missed_s: float = 1.0,
) -> AsyncIterator[Bell]:
    """A bell at 09:00 in Shanghai with a quick canary, for as long as the block lasts."""
    it = Bell(
        house.engine, ways, {name: f"{name}-bell" for name in ways}, at=(9, 0), canary=canary,
        utc_offset=timedelta(hours=8), wall_us=wall_us, monotonic_s=MACHINE.monotonic_s,
        every_s=0.2, missed_s=missed_s,
    )  # fmt: skip
    async with background(it.run()):
        yield it


async def test_every_channel_is_rung_once_a_day(house: House) -> None:
    """Not before the hour, once after it, again the next day; each with its receipt and how long it took."""
    now = {"us": BEFORE_US}
    board, sms = Told(), Told()
    ways = {"board": Way(board, 5.0), "sms": Way(sms, 5.0)}
    async with house.dispatching(ways), bell(house, ways, None, lambda: now["us"]) as it:
        for day in range(2):
            now["us"] = BEFORE_US + day * DAY_US
            await asyncio.to_thread(rings, house.engine)
            assert len(board.messages) == day
            now["us"] += 60 * S
            await until(lambda rung=day + 1: len(board.messages) == len(sms.messages) == rung, 10.0, "rung")  # type: ignore[misc]
        await until(lambda: all(one.took_s is not None for one in rings(house.engine)), 10.0, "receipts")
        assert it.faults == {}
    assert [message.to for message in board.messages] == ["board-bell"] * 2
    assert "铃声测试" in sms.messages[0].title


async def test_a_channel_that_does_not_ring_is_a_fault_that_outlives_the_process(house: House) -> None:
    """Ten minutes after the hour the bell of a dead channel is told as a fault, by the next process too."""
    ways = {"board": Way(Told(), 5.0), "sms": Way(Told(refuse), 5.0)}
    now_us = MACHINE.wall_us()
    later_us = now_us + 700 * S
    today = f"{datetime.fromtimestamp(later_us / 1e6, SHANGHAI):%Y-%m-%d}"
    assert ring(house.engine, today, {"board": "1", "sms": "2"}, now_us) == 2
    assert ring(house.engine, today, {"board": "1", "sms": "2"}, now_us) == 0
    async with house.dispatching(ways):
        await until(lambda: house.count(channel="board", state="sent") == 1, 10.0, "board rung")
        await until(lambda: house.count(channel="sms", outcome="down") == 1, 10.0, "sms tried")
    async with bell(house, ways, None, lambda: later_us) as it:
        await until(lambda: it.faults, 10.0, "fault")
        assert it.faults == {"bell of sms": "down"}


async def test_the_canary_comes_back_and_leaves_one_row(house: House) -> None:
    """While everything works nobody is told, and the table does not grow."""
    board, sms = Told(), Told()
    ways = {"board": Way(board, 5.0), "sms": Way(sms, 5.0)}
    async with house.dispatching(ways), bell(house, ways, missed_s=60.0):
        await until(lambda: len(board.messages) >= 1, 10.0, "canary")
        await until(lambda: house.count(kind="canary", state="sent") == 1, 10.0, "back")
    assert sms.messages == []
    assert house.count(kind="canary") <= 2


async def test_a_canary_that_does_not_come_back_is_told_on_another_channel(house: House) -> None:
    """Whether the channel is dead or nobody works on the steps at all."""
    for dead in (True, False):
        sms = Told()
        ways = {"board": Way(Told(refuse), 5.0), "sms": Way(sms, 5.0)}
        async with bell(house, ways):
            if dead:
                async with house.dispatching({"board": ways["board"]}):
                    await until(lambda sms=sms: sms.messages, 10.0, "told")  # type: ignore[misc]
            else:
                await until(lambda sms=sms: sms.messages, 10.0, "told")  # type: ignore[misc]
        assert len(sms.messages) == 1
        assert "Notification does not work" in sms.messages[0].title
        assert sms.messages[0].to == "13800000000"


def test_it_is_told_within_two_minutes() -> None:
    """With a look every five seconds, and a channel's longest time-out of ten, 100 s become at most 120."""
    assert MISSED_S + 2 * WATCH_EVERY_S + 10.0 <= 120.0


def test_only_one_canary_is_in_the_air(house: House) -> None:
    """A dead channel does not fill the table with canaries; one that came back is followed a minute later."""
    minute_us = 60 * S
    back = [fly(house.engine, CANARY, BEFORE_US + n * minute_us, minute_us) for n in range(5)]
    assert back == [0] * 5
    assert house.count(kind="canary") == house.count(kind="canary", state=StepState.PENDING) == 1
    (bundle,) = claim(house.engine, {"board": (4, 3)}, BEFORE_US)
    delivered(house.engine, bundle.numbers, "here", BEFORE_US + S)
    assert fly(house.engine, CANARY, BEFORE_US + minute_us - 1, minute_us) == BEFORE_US + S
    assert house.count(kind="canary", state=StepState.PENDING) == 0
    fly(house.engine, CANARY, BEFORE_US + minute_us, minute_us)
    assert house.count(kind="canary", state=StepState.PENDING) == 1

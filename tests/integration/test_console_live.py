"""The live view: numbered events, resume, bounds, and what a page may see, over a real WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from console import live
from tests.consoles import PEOPLE, Console, Person, console
from tests.fakecore import alarm
from tests.waiting import until


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Console]:
    """A console, and the whole cast."""
    async with console(tmp_path) as one:
        one.add(*PEOPLE)
        yield one


@contextlib.asynccontextmanager
async def page(served: Console, person: Person, after: int | None = None) -> AsyncIterator[ClientConnection]:
    """An open live view of a person."""
    address = served.address.replace("http", "ws") + "api/v1/live"
    async with connect(
        address if after is None else f"{address}?after={after}",
        origin=served.address.rstrip("/"),  # type: ignore[arg-type]
        additional_headers={"Cookie": person.cookie},
        proxy=None,
        max_size=None,
    ) as socket:
        yield socket


async def hear(socket: ClientConnection, *kinds: str) -> dict[str, Any]:
    """The next message of one of these kinds."""
    async with asyncio.timeout(10):
        while True:
            message: dict[str, Any] = json.loads(await socket.recv())
            if message["do"] in kinds:
                return message


async def closing(socket: ClientConnection, heard: list[dict[str, Any]] | None = None) -> int:
    """The code the server closes this socket with; what came before goes to ``heard``."""
    heard = [] if heard is None else heard
    async with asyncio.timeout(30):
        try:
            while True:
                heard.append(json.loads(await socket.recv()))
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else 0


async def test_page_gets_a_snapshot_then_numbered_events(served: Console) -> None:
    """What is open comes first, then each change with the next number; unrecorded ones without."""
    served.core.put(alarm("P-1"))
    async with served.person("officer") as person, page(served, person) as socket:
        snapshot = await hear(socket, "snapshot")
        if snapshot["number"] == 0:
            snapshot = await hear(socket, "snapshot", "alarm")
        served.core.put(alarm("P-2"))
        event = await hear(socket, "alarm")
        assert (event["number"], event["recorded"], event["alarm"]["point"]) == (2, True, "P-2")
        served.core.put(alarm("P-3"), recorded=False)
        event = await hear(socket, "alarm")
        assert (event["number"], event["recorded"], event["alarm"]["point"]) == (None, False, "P-3")


async def test_cut_off_page_resumes_with_what_it_missed(served: Console) -> None:
    """A page that comes back with its number gets every later event once, and what is not recorded yet."""
    async with served.person("officer") as person:
        async with page(served, person) as socket:
            await hear(socket, "snapshot")
            served.core.put(alarm("P-1"))
            assert (await hear(socket, "alarm"))["number"] == 1
            for n in range(2, 5):
                served.core.put(alarm(f"P-{n}"))
            served.core.put(alarm("P-9"), recorded=False)
            await until(lambda: hear(socket, "alarm"), what="the last event")
            while (await hear(socket, "alarm"))["number"] is not None:
                pass
        async with page(served, person, after=2) as socket:
            heard = [await hear(socket, "alarm", "resumed", "snapshot") for _ in range(4)]
            assert [one["do"] for one in heard] == ["alarm", "alarm", "alarm", "resumed"]
            assert [one["number"] for one in heard] == [3, 4, None, 4]
        async with page(served, person, after=99) as socket:
            assert (await hear(socket, "alarm", "resumed", "snapshot"))["do"] == "snapshot"


async def test_nothing_is_missed_while_the_core_is_gone(served: Console) -> None:
    """Beats go on and say that the core is gone; when it is back, a snapshot brings what happened."""
    served.core.put(alarm("P-1"))
    async with served.person("officer") as person, page(served, person) as socket:
        await hear(socket, "snapshot")
        await served.core.stop()
        async with asyncio.timeout(5):
            while (await hear(socket, "beat"))["core_closed_s"] is None:
                pass
        served.core.put(alarm("P-2"))
        await served.core.start()
        snapshot = await hear(socket, "snapshot")
        assert sorted(one["point"] for one in snapshot["alarms"]) == ["P-1", "P-2"]


async def test_lost_push_is_found_by_its_number(served: Console) -> None:
    """An event number that was skipped makes the console ask for everything again."""
    async with served.person("officer") as person, page(served, person) as socket:
        await hear(socket, "snapshot")
        lost = alarm("P-lost")
        served.core.number += 1
        lost["number"] = served.core.number
        served.core.alarms[lost["id"]] = lost
        served.core.put(alarm("P-2"))
        assert (await hear(socket, "alarm"))["alarm"]["point"] == "P-2"
        snapshot = await hear(socket, "snapshot")
        assert {one["point"] for one in snapshot["alarms"]} == {"P-lost", "P-2"}


async def test_page_sees_alarms_and_readings_of_its_units_only(served: Console) -> None:
    """Events, snapshots and watched points of another unit never reach a page."""
    served.core.put(alarm("P-1"))
    served.core.units["P-2"] = "unit-b"
    async with served.person("elsewhere") as person, page(served, person) as socket:
        served.core.put(alarm("P-1", version=2))
        served.core.put(alarm("P-2", unit="unit-b"))
        event = await hear(socket, "alarm")
        assert event["alarm"]["unit"] == "unit-b"
        await socket.send('{"do":"watch","points":["P-1","P-2"]}')
        await until(lambda: [one for one in served.core.asked_for("subscribe") if one["points"] == ["P-2"]])
        served.core.read("P-1", 20.0)
        served.core.read("P-2", 21.0)
        rows = (await hear(socket, "readings"))["rows"]
        assert [row[0] for row in rows] == ["P-2"]


async def test_watched_points_are_subscribed_until_the_page_goes(served: Console) -> None:
    """The core is asked for exactly the points that open pages draw."""
    async with served.person("officer") as person:
        async with page(served, person) as socket:
            await socket.send('{"do":"watch","points":["P-1"]}')
            await until(lambda: served.core.asked_for("subscribe")[-1]["points"] == ["P-1"])
        await until(lambda: served.core.asked_for("subscribe")[-1]["points"] == [])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"do":"acknowledge"}',
        '{"do":"watch","points":"P"}',
        '{"do":"watch","points":["P"],"x":1}',
        json.dumps({"do": "watch", "points": [str(i) for i in range(17)]}),
    ],
)
async def test_page_that_says_anything_else_is_closed(served: Console, text: str) -> None:
    """A message that is not a watch closes the socket with a policy code, and nothing else."""
    async with served.person("officer") as person, page(served, person) as other:
        async with page(served, person) as socket:
            await socket.send(text)
            assert await closing(socket) == live.CLOSE_BAD_MESSAGE
        assert await hear(other, "beat")


async def test_sign_out_closes_the_page_at_once(served: Console) -> None:
    """Signing out closes every live view of that session, and only those."""
    async with (
        served.person("officer") as first,
        served.person("officer") as second,
        page(served, first) as mine,
        page(served, second) as other,
    ):
        await hear(mine, "beat")
        await first.post("/sign-out", {})
        async with asyncio.timeout(2):
            assert await closing(mine) == live.CLOSE_SIGNED_OUT
        assert await hear(other, "beat")


async def test_page_too_slow_is_cut_and_never_skipped(
    served: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that takes nothing is closed when its queue is full; the others get every event."""
    monkeypatch.setattr(live, "QUEUE", 50)
    monkeypatch.setattr(live, "SEND_S", 0.5)
    big = "x" * 20_000
    async with served.person("officer") as person, page(served, person) as quick:
        await hear(quick, "snapshot")
        async with page(served, person) as slow:
            await hear(slow, "snapshot")
            slow.transport.pause_reading()
            for n in range(1, 601):
                served.core.put(alarm(f"P-{n}", place=big))
                assert (await hear(quick, "alarm"))["number"] == n
            slow.transport.resume_reading()
            heard: list[dict[str, Any]] = []
            assert await closing(slow, heard) == live.CLOSE_TOO_SLOW
            numbers = [one["number"] for one in heard if one["do"] == "alarm"]
            assert numbers == list(range(1, len(numbers) + 1))
            assert len(numbers) < 600
        async with page(served, person, after=numbers[-1]) as slow:
            snapshot = await hear(slow, "snapshot")
            assert len(snapshot["alarms"]) == snapshot["number"] == 600

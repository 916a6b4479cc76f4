"""The core's local socket: one JSON object per line, questions in, answers and news out."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from server.local import Local, Question, Refused
from tests.waiting import until

VIEWER = {"person": "0417", "roles": ["officer"], "units": None}


class News(msgspec.Struct):
    """Stands in for an alarm."""

    id: str


async def answer(question: Question) -> Any:
    """Echoes, refuses, or takes its time."""
    if question.do == "no":
        raise Refused("forbidden", "not you")
    if question.do == "slow":
        await asyncio.sleep(0.2)
    return {"person": question.viewer.person, "args": question.args}


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[tuple[Local, asyncio.StreamReader, asyncio.StreamWriter]]:
    """A socket, and one line to it."""
    local = Local(folder / "run" / "core.sock", answer)
    task = asyncio.create_task(local.run())
    await until((folder / "run" / "core.sock").exists, 5, "the socket is there")
    reader, writer = await asyncio.open_unix_connection(str(folder / "run" / "core.sock"))
    try:
        yield local, reader, writer
    finally:
        writer.close()
        task.cancel()
        await asyncio.wait([task])


async def ask(writer: asyncio.StreamWriter, **fields: Any) -> None:
    """One question."""
    writer.write(json.dumps(fields).encode() + b"\n")
    await writer.drain()


async def line(reader: asyncio.StreamReader) -> dict[str, Any]:
    """The next line."""
    async with asyncio.timeout(5):
        decoded: dict[str, Any] = json.loads(await reader.readline())
        return decoded


async def test_only_its_owner_can_open_the_socket(tmp_path: Path) -> None:
    """Mode 600 in a folder of mode 700: who can open it is the core's own user."""
    async with serving(tmp_path):
        assert stat.S_IMODE((tmp_path / "run" / "core.sock").stat().st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700


async def test_an_answer_carries_its_question_number(tmp_path: Path) -> None:
    """A slow answer does not hold up the one behind it."""
    async with serving(tmp_path) as (_, reader, writer):
        await ask(writer, id=1, do="slow", viewer=VIEWER)
        await ask(writer, id=2, do="quick", viewer=VIEWER, text="烟")
        assert await line(reader) == {"id": 2, "ok": {"person": "0417", "args": {"text": "烟"}}}
        assert (await line(reader))["id"] == 1


async def test_a_refusal_says_why(tmp_path: Path) -> None:
    """Code and words go back to who asked."""
    async with serving(tmp_path) as (_, reader, writer):
        await ask(writer, id=3, do="no", viewer=VIEWER)
        assert await line(reader) == {"id": 3, "error": {"code": "forbidden", "text": "not you"}}


async def test_what_is_no_question_is_refused_and_the_line_stays(tmp_path: Path) -> None:
    """Not JSON, no viewer, an unknown role: an error each, and the next question is answered."""
    async with serving(tmp_path) as (_, reader, writer):
        king = b'{"id":1,"do":"x","viewer":{"person":"a","roles":["king"],"units":null}}'
        for bad in (b"{", b'{"id":1,"do":"x"}', king):
            writer.write(bad + b"\n")
            assert (await line(reader))["error"]["code"] == "invalid"
        await ask(writer, id=4, do="subscribe", viewer=VIEWER, points="all")
        assert (await line(reader))["error"]["code"] == "invalid"
        await ask(writer, id=5, do="quick", viewer=VIEWER)
        assert (await line(reader))["id"] == 5


async def test_a_question_that_cannot_be_read_is_answered_under_its_number(tmp_path: Path) -> None:
    """Half of a surrogate pair is JSON and no text: who sent it must not wait for an answer in vain."""
    unread: list[tuple[dict[str, Any], int | None]] = [
        ({"id": 7, "do": "quick", "viewer": VIEWER, "text": "\ud99a"}, 7),
        ({"id": 8, "do": "quick"}, 8),
        ({"id": True}, None),
        ({"id": 2**64}, None),
        ({"id": "\ud99a"}, None),
    ]
    async with serving(tmp_path) as (_, reader, writer):
        for question, number in unread:
            await ask(writer, **question)
            answer = await line(reader)
            assert (answer["id"], answer["error"]["code"]) == (number, "invalid")


async def test_news_reach_only_who_subscribed(tmp_path: Path) -> None:
    """Alarms and status for every subscriber, readings of the points it named."""
    async with serving(tmp_path) as (local, reader, writer):
        local.tell_alarm(1, True, News("early"))
        await ask(writer, id=1, do="subscribe", viewer=VIEWER, points=["p1"])
        assert await line(reader) == {"id": 1, "ok": True}
        assert local.watched == {"p1"}
        local.tell_alarm(2, False, News("a"))
        local.tell_readings([("p1", 5, 20.5, 0, 6), ("p2", 5, 1.0, 0, 6)])
        local.tell_status({"at_us": 9})
        assert await line(reader) == {"push": "alarm", "number": 2, "recorded": False, "alarm": {"id": "a"}}
        assert await line(reader) == {"push": "readings", "rows": [["p1", 5, 20.5, 0, 6]]}
        assert await line(reader) == {"push": "status", "status": {"at_us": 9}}


async def test_who_does_not_read_is_cut_off(tmp_path: Path) -> None:
    """Nothing grows without bound, and no alarm is left out of a line that stays open."""
    async with serving(tmp_path) as (local, reader, writer):
        await ask(writer, id=1, do="subscribe", viewer=VIEWER, points=[])
        assert (await line(reader))["ok"]
        big = News("x" * 10_000)
        for number in range(30_000):
            local.tell_alarm(number, True, big)
        await until(lambda: local.cut_off == 1, 10, "the line was cut off")

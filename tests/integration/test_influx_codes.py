"""What the Influx store does with every answer a server can give, and with those that are none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Literal

import pytest

from ingest.store.base import Rows, StoreMisconfigured, StoreUnavailable
from ingest.store.influx import InfluxStore
from ingest.store.line import Lines
from tests.rawhttp import RawServer, Request, raw_server, reply
from tests.readings import EVERYBODY, NOW_US, Points, point, steady
from tests.servers import HOST, free_port

BOTH = pytest.mark.parametrize("version", [1, 2])


@asynccontextmanager
async def store_at(
    answer: Callable[[Request], Awaitable[bytes | None]], version: Literal[1, 2] = 1, timeout_s: float = 10.0
) -> AsyncIterator[tuple[InfluxStore, RawServer]]:
    """A store on a server that answers writes by ``answer`` and makes any database."""

    async def answer_all(request: Request) -> bytes | None:
        if request.path == "/query" and b"CREATE" in request.body:
            return reply(200, b'{"results":[{"statement_id":0}]}')
        return await answer(request)

    async with raw_server(answer_all) as server:
        store = InfluxStore(
            Points.named("a", "b"),
            url=server.url,
            version=version,
            database="fengsui",
            org="fire",
            secret="token" if version == 2 else "",
            timeout_s=timeout_s,
        )
        try:
            yield store, server
        finally:
            await store.aclose()


def always(said: bytes | None) -> Callable[[Request], Awaitable[bytes | None]]:
    """The same answer to everything."""

    async def answer(request: Request) -> bytes | None:
        return said

    return answer


@BOTH
async def test_what_is_sent(version: Literal[1, 2]) -> None:
    """One request, microseconds, the database or bucket, and the secret in the header only."""
    async with store_at(always(reply(204)), version) as (store, server):
        assert await store.write(steady(2)) == (2, [], [])
    (request,) = server.writes()
    assert request.lines == [
        b"reading,point=a v=0.0 1790000000000000",
        b"reading,point=a v=0.25 1790000001000000",
    ]
    if version == 1:
        assert request.target == "/write?db=fengsui&precision=u"
    else:
        assert request.path == "/api/v2/write"
        assert {"bucket=fengsui", "org=fire", "precision=us"} <= set(request.target.split("?")[1].split("&"))
        assert request.headers["authorization"] == "Token token"
    assert "token" not in request.target


async def test_many_lines_are_made_in_pieces_and_sent_in_one_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """The event loop turns after every 2,000 lines; what is sent is every row, once, in order."""
    turns = 0
    made: list[tuple[int, int]] = []
    encode = Lines.encode

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    def noted(lines: Lines, rows: Rows) -> bytes:
        made.append((turns, rows.count))
        return encode(lines, rows)

    monkeypatch.setattr(Lines, "encode", noted)
    async with store_at(always(reply(204))) as (store, server):
        turning = asyncio.create_task(turn(), name="others")
        assert (await store.write(steady(20_000))).stored == 20_000
        turning.cancel()
    (request,) = server.writes()
    assert len(request.lines) == len(set(request.lines)) == 20_000
    assert request.lines[-1] == encode(Lines(Points.named("a", "b")), steady(20_000)).splitlines()[-1]
    assert [count for _, count in made] == [2_000] * 10
    assert len({at for at, _ in made}) == 10


@BOTH
@pytest.mark.parametrize("status", [401, 403, 404, 301, 405, 418])
async def test_only_a_person_can_help(version: Literal[1, 2], status: int) -> None:
    """Rights, names and wrong addresses hold the data; the server's words are told after one request."""
    said = reply(status, b'{"error":"who are you","message":"who are you"}', Location="http://elsewhere/")
    async with store_at(always(said), version) as (store, server):
        with pytest.raises(StoreMisconfigured, match=f"{status}: who are you"):
            await store.write(steady(500))
    assert len(server.writes()) == 1


@BOTH
@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_later(version: Literal[1, 2], status: int) -> None:
    """A server in trouble is asked again later, when it does not say otherwise."""
    async with store_at(always(reply(status, b"busy")), version) as (store, server):
        with pytest.raises(StoreUnavailable, match=f"{status}: busy") as caught:
            await store.write(steady(500))
    assert caught.value.retry_after_s is None
    assert len(server.writes()) == 1


@BOTH
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("after", "date", "expected_s"),
    [
        ("7", "", 7.0),
        ("0", "", 0.0),
        ("86400", "", 3600.0),
        ("Mon, 21 Sep 2026 12:00:30 GMT", "Mon, 21 Sep 2026 12:00:00 GMT", 30.0),
        ("Mon, 21 Sep 2026 11:00:00 GMT", "Mon, 21 Sep 2026 12:00:00 GMT", 0.0),
        ("soon", "", None),
        ("-5", "", None),
    ],
)
async def test_retry_after(
    version: Literal[1, 2], status: int, after: str, date: str, expected_s: float | None
) -> None:
    """Seconds and dates are understood, dates by the server's own clock; nonsense counts as not said."""
    said = reply(status, b"", Retry_After=after, **({"Date": date} if date else {}))
    async with store_at(always(said), version) as (store, _):
        with pytest.raises(StoreUnavailable) as caught:
            await store.write(steady(1))
    assert caught.value.retry_after_s == expected_s


async def test_retry_after_date_without_the_servers_clock() -> None:
    """A server that sends no ``Date`` is measured by ours."""
    async with raw_server(always(reply(503, Retry_After="Mon, 21 Sep 2026 12:00:30 GMT"))) as server:
        store = InfluxStore(
            Points.named("a"),
            url=server.url,
            version=2,
            database="d",
            org="o",
            wall_s=lambda: 1_789_992_025.0,
        )
        with pytest.raises(StoreUnavailable) as caught:
            await store.write(steady(1))
        await store.aclose()
    assert caught.value.retry_after_s == 5.0


@BOTH
@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"\x00" * 100_000,
        b"HTTP/1.1 503 Busy\r\nContent-Length: 50\r\n\r\ncut",
        reply(200, b"<html>welcome</html>"),
        reply(200, b""),
    ],
)
async def test_no_answer_is_no_success(version: Literal[1, 2], said: bytes) -> None:
    """A cut, another protocol, half an answer, or a 200 that is not a 204: nothing counts as stored."""
    async with store_at(always(said), version) as (store, _):
        with pytest.raises(StoreUnavailable):
            await store.write(steady(5))


@BOTH
async def test_a_hang_is_bounded(version: Literal[1, 2]) -> None:
    """A server that takes the request and says nothing is one that does not answer."""
    async with store_at(always(None), version, timeout_s=0.2) as (store, _):
        with pytest.raises(StoreUnavailable, match="does not answer"):
            await store.write(steady(5))


@BOTH
async def test_nobody_there(version: Literal[1, 2]) -> None:
    """A refused connection is one that does not answer."""
    store = InfluxStore(
        Points.named("a"), url=f"http://{HOST}:{free_port()}", version=version, database="d", org="o"
    )
    with pytest.raises(StoreUnavailable, match="does not answer"):
        await store.write(steady(5))
    await store.aclose()


@BOTH
@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("bad", [{0}, {499}, {250}, {3, 4, 400}, set(range(100, 120))])
async def test_refused_readings_are_found(version: Literal[1, 2], status: int, bad: set[int]) -> None:
    """Whatever is refused is found, one bad in 500 with at most 20 extra requests; the rest is stored."""
    stored: set[bytes] = set()
    batch = steady(500)
    stamps = {str(int(batch.at_us[row])).encode() for row in bad}

    async def answer(request: Request) -> bytes:
        found = [line for line in request.lines if line.rsplit(b" ")[-1] in stamps]
        if found and status == 422:
            return reply(422, b'{"code":"unprocessable entity","message":"bad point: ' + found[0] + b'"}')
        if not found:
            stored.update(request.lines)
            return reply(204)
        stored.update(set(request.lines) - set(found))  # as version 1 does
        return reply(400, b'{"error":"partial write: bad point: ' + found[0] + b' dropped=0"}')

    async with store_at(answer, version) as (store, server):
        outcome = await store.write(batch)
    assert {row for row, _ in outcome.refused} == bad
    assert all(str(int(batch.at_us[row])) in text for row, text in outcome.refused)
    assert outcome.stored == len(stored) == 500 - len(bad)
    if len(bad) == 1:
        assert len(server.writes()) <= 21


async def test_all_refused_in_one_word() -> None:
    """When the server says that it dropped every line, nobody asks again for each."""
    said = reply(422, b'{"message":"partial write: points beyond retention policy dropped=500"}')
    async with store_at(always(said), 2) as (store, server):
        outcome = await store.write(steady(500))
    assert (outcome.stored, len(outcome.refused)) == (0, 500)
    assert "beyond retention policy" in outcome.refused[0].text
    assert len(server.writes()) == 1


@BOTH
async def test_too_large_is_halved_and_remembered(version: Literal[1, 2]) -> None:
    """413 refuses no reading: requests are halved until they fit, and stay that short."""
    stored: list[bytes] = []

    async def answer(request: Request) -> bytes:
        if len(request.body) > 6_000:
            return reply(413, b"too large")
        stored.extend(request.lines)
        return reply(204)

    async with store_at(answer, version) as (store, server):
        assert await store.write(steady(500)) == (500, [], [])
        assert len(set(stored)) == 500
        before = len(server.writes())
        await store.write(steady(500, begin_us=NOW_US + 10**9))
        assert len(set(stored)) == 1000
        assert len(server.writes()) - before <= 8


async def test_one_line_too_large_is_for_a_person() -> None:
    """A server that takes no line at all has a wrong limit; no reading is given up for it."""
    async with store_at(always(reply(413))) as (store, _):
        with pytest.raises(StoreMisconfigured, match="single line"):
            await store.write(steady(4))


@BOTH
async def test_a_proxys_page_is_no_verdict(version: Literal[1, 2]) -> None:
    """A 400 with a web page is from something in between, and gives no reading up."""
    said = reply(400, b"<html>plain HTTP sent to HTTPS port</html>", Content_Type="text/html")
    async with store_at(always(said), version) as (store, _):
        with pytest.raises(StoreMisconfigured, match="web page"):
            await store.write(steady(4))


async def test_trouble_in_the_middle_of_a_search() -> None:
    """A server that goes away while the bad reading is looked for leaves the whole batch to be sent again."""
    seen: list[int] = []

    async def answer(request: Request) -> bytes:
        seen.append(len(request.lines))
        return reply(503, b"gone") if len(seen) == 4 else reply(400, b'{"error":"bad"}')

    async with store_at(answer) as (store, _):
        with pytest.raises(StoreUnavailable, match="gone"):
            await store.write(steady(500))


@BOTH
@pytest.mark.parametrize(
    "said",
    [
        reply(200, b"not json\n"),
        reply(200, b'{"results":[{"error":"timeout"}]}\n'),
        reply(500, b"{}"),
        b"",
    ],
)
async def test_a_history_that_cannot_be_read(version: Literal[1, 2], said: bytes) -> None:
    """A question without a proper answer is an error, never an empty history."""
    async with store_at(always(said), version) as (store, _):
        with pytest.raises(StoreUnavailable):
            await store.history(EVERYBODY, point(0, "a"), NOW_US, NOW_US + 1, 10)


async def test_a_history_without_rights() -> None:
    """A refused question is for a person."""
    async with store_at(always(reply(401, b'{"error":"unauthorized access"}'))) as (store, _):
        with pytest.raises(StoreMisconfigured, match="unauthorized access"):
            await store.count(None)

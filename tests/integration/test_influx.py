"""The Influx store on a real InfluxDB 1.6.7, and its version 2 route on VictoriaMetrics."""

from __future__ import annotations

import asyncio
import json
import math
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal
from urllib.parse import quote

import numpy as np
import pytest

from fengsui.viewer import Role, Viewer
from ingest.store import base, influx
from ingest.store.base import PointHidden, StoreMisconfigured, StoreUnavailable
from ingest.store.influx import InfluxStore
from ingest.store.line import LineError, prefix
from tests.hostile import hostile_texts
from tests.rawhttp import Request, pass_on, raw_server
from tests.reading import read_back, read_crowded
from tests.readings import EVERYBODY, NOW_US, Points, rows, steady
from tests.servers import Process, http, influxd, victoria_metrics
from tests.waiting import until

DAY_US = 86_400_000_000


@asynccontextmanager
async def store_on(
    url: str, registered: Points | None = None, *, version: Literal[1, 2] = 1, **more: Any
) -> AsyncIterator[InfluxStore]:
    """A store of three points, closed at the end."""
    store = InfluxStore(
        registered or Points.named("a", "b", "c"),
        url=url,
        version=version,
        database="fengsui",
        org="fire",
        **more,
    )
    try:
        yield store
    finally:
        await store.aclose()


async def ask(server: Process, question: str) -> Any:
    """The series of an InfluxQL answer, by our own request."""
    status, body = await http(server.port, "POST", f"/query?db=fengsui&epoch=u&q={quote(question)}")
    assert status == 200, body
    return json.loads(body)["results"][0].get("series", [])


async def test_round_trip() -> None:
    """What was written comes back exactly: values, invalid readings, qualities, range and count."""
    points = Points.named("a", "b", "c")
    values = [0.1 + 0.2, math.nan, -0.0, 1e22, 5e-324, 1.7976931348623157e308, 20.0]
    at = [NOW_US + i for i in range(len(values))]
    async with influxd(database=None) as server, store_on(server.url, points) as store:
        assert (await store.write(rows([0] * 7, at, values, [0, 2, 4, 0, 0, 1, 0]))).stored == 7
        assert (await store.write(rows([1, 2], [NOW_US, NOW_US], [7.0, math.nan], [0, 3]))).stored == 2
        series = await store.history(EVERYBODY, points.points[0], NOW_US, NOW_US + 7, 100)
        assert series.at_us.tolist() == at
        np.testing.assert_array_equal(series.value, values)
        assert series.quality.tolist() == [0, 2, 4, 0, 0, 1, 0]
        part = await store.history(EVERYBODY, points.points[0], NOW_US + 1, NOW_US + 3, 100)
        assert part.at_us.tolist() == at[1:3]
        assert [await store.count(point) for point in (*points.points, None)] == [7, 1, 1, 9]
        stranger = Viewer("x", frozenset({Role.OFFICER}), frozenset({"unit-b"}))
        with pytest.raises(PointHidden):
            await store.history(stranger, points.points[0], 0, NOW_US, 9)


async def test_ten_thousand_pairs_in_one_millisecond() -> None:
    """R30: two readings of one point in one millisecond are two readings, 20,000 in all."""
    points = Points.named("a")
    at = [NOW_US + 1000 * (i // 2) + i % 2 for i in range(20_000)]
    async with influxd() as server, store_on(server.url, points) as store:
        await store.write(rows([0] * 20_000, at, [float(i) for i in range(20_000)]))
        await store.write(rows([0] * 20_000, at, [float(i) for i in range(20_000)]))
        assert await store.count(points.points[0]) == 20_000
        series = await store.history(EVERYBODY, points.points[0], at[0], at[-1] + 1, 20_000)
        assert series.value.tolist() == [float(i) for i in range(20_000)]
        few = await store.history(EVERYBODY, points.points[0], at[0], at[-1] + 1, 500)
        assert few.count <= 500
        assert (few.value[0], few.value[-1]) == (0.0, 19_999.0)


async def test_one_expired_reading_in_five_hundred() -> None:
    """R17: a reading beyond the retention is refused alone, in the server's words, by few extra requests."""
    async with influxd(database=None) as server:
        made = quote('CREATE DATABASE "fengsui" WITH DURATION 7d')
        assert (await http(server.port, "POST", f"/query?q={made}"))[0] == 200
        now_us = time.time_ns() // 1000
        batch = steady(500, begin_us=now_us - 500_000_000)
        batch.at_us[123] = now_us - 30 * DAY_US

        async def forward(request: Request) -> bytes:
            return await pass_on(server.port, request)

        async with raw_server(forward) as between, store_on(between.url) as store:
            outcome = await store.write(batch)
            assert [row for row, _ in outcome.refused] == [123]
            assert "beyond retention policy" in outcome.refused[0].text
            assert outcome.stored == 499
            assert await store.count(None) == 499
            assert len(between.writes()) <= 21


async def test_one_type_conflict_in_five_hundred() -> None:
    """R17: a reading whose field is an integer in its shard is refused alone; the rest is stored."""
    async with influxd() as server, store_on(server.url) as store:
        old_us = NOW_US - 30 * DAY_US
        line = f"reading,point=z v=1i {old_us}".encode()
        assert (await http(server.port, "POST", "/write?db=fengsui&precision=u", line))[0] == 204
        batch = steady(500)
        batch.at_us[456] = old_us + 1
        outcome = await store.write(batch)
        assert [row for row, _ in outcome.refused] == [456]
        assert "field type conflict" in outcome.refused[0].text
        (series,) = await ask(server, "SELECT v FROM reading WHERE point = 'a'")
        assert len(series["values"]) == 499


async def test_answers_that_never_arrive() -> None:
    """R18: a cut between body and reply, 1,000 times, loses nothing, doubles nothing and changes no field."""
    dice = random.Random(18)
    points = Points.named("a", "b", "c")
    cuts = 0

    async with influxd() as server:

        async def cut_or_forward(request: Request) -> bytes:
            nonlocal cuts
            answer = await pass_on(server.port, request)
            if request.path == "/write" and dice.random() < 0.8:
                cuts += 1
                return answer[: dice.choice([0, 0, 5, 12])]
            return answer

        async with raw_server(cut_or_forward) as between, store_on(between.url, points) as store:
            batches = 0
            while cuts < 1_000:
                batch = steady(20, points=3, begin_us=NOW_US + batches * 20_000_000)
                batches += 1
                for _ in range(200):
                    try:
                        await store.write(batch)
                        break
                    except StoreUnavailable:
                        continue
                else:
                    pytest.fail("never stored")
        async with store_on(server.url, points) as store:
            assert await store.count(None) == 20 * batches
            for point in points.points:
                series = await store.history(EVERYBODY, point, NOW_US, NOW_US + batches * 20_000_000, 10**6)
                row = (series.at_us - NOW_US) // 1_000_000 % 20
                np.testing.assert_array_equal(series.value, row / 4)


async def test_hostile_ids() -> None:
    """R42: 10,000 hostile ids give either exactly their own series, or a refusal; no foreign point, ever."""
    ids = hostile_texts(10_000)
    points = Points.named(*ids)
    n = len(ids)
    async with influxd() as server, store_on(server.url, points) as store:
        outcome = await store.write(rows(range(n), [NOW_US] * n, [float(i) for i in range(n)]))
        refused = {row for row, _ in outcome.refused}
        stored = {ids[row]: float(row) for row in range(n) if row not in refused}
        assert len(stored) > n / 4
        for row in refused:
            with pytest.raises(LineError):
                prefix(ids[row])
        found = await ask(server, "SELECT v, q FROM reading GROUP BY *")
        assert {series["tags"]["point"]: series["values"] for series in found} == {
            id_: [[NOW_US, value, None]] for id_, value in stored.items()
        }
        assert (await ask(server, "SHOW MEASUREMENTS"))[0]["values"] == [["reading"]]
        for point in random.Random(42).sample([points.points[ids.index(id_)] for id_ in stored], 50):
            series = await store.history(EVERYBODY, point, NOW_US, NOW_US + 1, 9)
            assert series.value.tolist() == [stored[point.id]]


async def test_rights() -> None:
    """A wrong password is for a person; with the right one the database is made and written."""
    async with influxd(database=None, auth=True) as server:
        async with store_on(server.url, username="admin", secret="wrong") as store:
            with pytest.raises(StoreMisconfigured, match="401"):
                await store.write(steady(5))
        async with store_on(server.url, username="admin", secret="admin") as store:
            assert (await store.write(steady(5))).stored == 5
            assert await store.count(None) == 5


async def test_a_database_that_vanishes_is_made_again() -> None:
    """A dropped database is told once, and the next attempt makes it."""
    async with influxd() as server, store_on(server.url) as store:
        await store.write(steady(5))
        await ask(server, 'DROP DATABASE "fengsui"')
        with pytest.raises(StoreMisconfigured, match="database not found"):
            await store.write(steady(5))
        assert (await store.write(steady(5))).stored == 5


async def test_a_killed_server() -> None:
    """While it is away nothing counts as stored; after its restart the same store goes on."""
    async with influxd() as server, store_on(server.url) as store:
        await store.write(steady(5))
        await server.kill9()
        with pytest.raises(StoreUnavailable):
            await store.write(steady(50))
        await server.restart()
        assert (await store.write(steady(50))).stored == 50
        assert await store.count(None) == 50


async def exported(server: Process, name: str) -> dict[int, float]:
    """What VictoriaMetrics holds of one field: ms to value."""
    target = f"/api/v1/export?match%5B%5D={name}&reduce_mem_usage=1&start=1700000000"
    _, body = await http(server.port, "GET", target)
    lines = [json.loads(line) for line in body.splitlines()]
    return {t: v for line in lines for t, v in zip(line["timestamps"], line["values"], strict=True)}


async def test_the_version_2_route() -> None:
    """VictoriaMetrics takes the version 2 writes, with values, and qualities where they say something."""
    batch = rows([0, 0, 0], [NOW_US, NOW_US + 1000, NOW_US + 2000], [21.5, math.nan, 22.0], [0, 2, 4])
    async with victoria_metrics() as server, store_on(server.url, version=2) as store:
        assert (await store.write(batch)).stored == 3
        assert (await store.write(steady(20_000, points=3, begin_us=NOW_US + 10**9))).stored == 20_000
        at = NOW_US // 1000

        async def all_there() -> bool:
            await http(server.port, "GET", "/internal/force_flush")
            return len(await exported(server, "reading_v")) >= 20_000

        await until(all_there, 20, "20,000 exported")
        values = await exported(server, "reading_v")
        assert (values[at], values[at + 2]) == (21.5, 22.0)
        assert at + 1 not in values
        assert await exported(server, "reading_q") == {at + 1: 2, at + 2: 4}


async def test_two_writes_at_once() -> None:
    """The writer has two requests in flight: they do not disturb each other."""
    async with influxd() as server, store_on(server.url) as store:
        await asyncio.gather(*(store.write(steady(5_000, begin_us=NOW_US + i * 10**10)) for i in range(2)))
        assert await store.count(None) == 10_000


@pytest.mark.parametrize("named", [2, 200])
async def test_reading_many_points(monkeypatch: pytest.MonkeyPatch, named: int) -> None:
    """Readings of many points come back in order of time, whole, in one question or in several."""
    monkeypatch.setattr(influx, "_NAMED", named)
    points = Points.named("a", "b'; DROP", 'c, "d"=\u70bd')
    async with influxd() as server, store_on(server.url, points) as store:
        await read_back(store, points.points)


async def test_a_piece_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However dense the readings are, a piece holds no more than it may."""
    monkeypatch.setattr(base, "ROWS_PER_PIECE", 100)
    points = Points.named("a", "b", "c")
    async with influxd() as server, store_on(server.url, points) as store:
        await read_crowded(store, points.points, 100)

"""Rows about the series store: it is away, it refuses, its answers vanish, and names try to forge points."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from fengsui.model import Clock, Kind, Lane, Reading
from fengsui.wire import encode_readings
from ingest.writer import IN_FLIGHT
from tests.hostile import hostile_texts
from tests.ledger import evidence
from tests.ledger.core import CoreError
from tests.ledger.front import Front
from tests.ledger.ledger import Plan, Verdict
from tests.ledger.run import Bell, Run, p99
from tests.ledger.stack import DATABASE, Stack
from tests.ledger.stranger import Stranger, stranger
from tests.rawhttp import Request, reply
from tests.servers import http
from tests.waiting import background, until

BASE_RATE = 1_000.0
DAY_US = 86_400_000_000
OUTAGE_READINGS = 20_000
RSS_MB = 512.0
CATCH_UP = 5.0
MOST_EXTRA = 20
BATCH = 500
OTHER = "g2"
FAULT_S = 10.0


async def r5_database_down(run: Run) -> None:
    """The series store is down for 20,000 readings per cycle (60 cycles: 1:12 of 4 h at 1,000/s)."""
    async with run.stack(store="influx") as stack:
        assert stack.database is not None
        bell, station = Bell(), stack.station
        fires = min(4 * run.cycles, 120)
        async with background(bell.listen(stack.core)):
            station.order(rate=BASE_RATE, block=200)
            await station.accepted(1_000)
            await stack.database.kill9()
            run.faults += 1
            station.order(rate=5 * BASE_RATE)
            for fire in range(1, fires + 1):
                await station.accepted(run.cycles * OUTAGE_READINGS * fire // (fires + 1), timeout_s=120)
                station.order(fires=fire)
            await station.accepted(run.cycles * OUTAGE_READINGS, fires=fires, timeout_s=120)
            await until(partial(bell.has_rung, fires), 10, "all alarms are shown")
            station.order(rate=BASE_RATE)
            await stack.database.start()
            await _catches_up(run, stack)
            run.judge(await stack.verdict(600))
        worst = p99(bell.delays_s(station.ledger().fires))
        run.expect(worst <= 2, f"alarms with the store down: p99 {worst:.3f} s <= 2 s")


async def _catches_up(run: Run, stack: Stack) -> None:
    """The backlog goes into the store at five times the live rate and more, once the writer asks again."""
    backlog = await stack.core.waiting() or 0

    async def has_begun() -> bool:
        return (await _store_state(stack)) == "ok"

    await until(has_begun, 60, "the writer asks again (it pauses for at most 30 s)", every_s=0.05)
    began = time.monotonic()

    async def is_live() -> bool:
        return (await stack.core.waiting() or 0) <= 2 * BASE_RATE

    await until(is_live, 600, "the store has caught up", every_s=0.05)
    rate = backlog / (time.monotonic() - began) / BASE_RATE
    run.expect(rate >= CATCH_UP, f"{backlog} readings caught up at {rate:.1f} times the live rate")
    mb = _most_rss_mb(stack.core.process.pid)
    run.expect(mb <= RSS_MB, f"the core never took more than {mb:.0f} MB of memory")


def _most_rss_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))


async def _store_state(stack: Stack) -> str:
    state: str = (await stack.core.ask("status"))["server"]["store"]["state"]
    return state


async def _is_fault(stack: Stack) -> bool:
    return any(
        fault["key"] == "store_state" for fault in (await stack.core.ask("status"))["server"]["faults"]
    )


async def _has_nothing_waiting(stack: Stack) -> bool:
    return await stack.core.waiting() == 0


# --- R17 ---------------------------------------------------------------------------------------------


async def r17_one_bad_in_500(run: Run) -> None:
    """One reading that the store will never take in a batch of 500: the other 499 are stored, once."""
    front = Front()
    async with run.stack(store="influx", front=front, strangers=[OTHER]) as stack:
        names = await _register_other(stack, 10)
        old_us = await _make_traps(stack)
        stack.station.order(rate=BASE_RATE)
        await stack.station.accepted(500)
        run.expect(await stack.quiet(), "nobody else writes from here on")
        kinds = [
            ("expired", old_us - 30 * DAY_US, None),
            ("type conflict", old_us, None),
            ("422", old_us + 1_000, partial(_as_version_2, front)),
        ]
        async with stranger(stack, OTHER) as other:
            for cycle in range(run.cycles):
                what, bad_us, front.say = kinds[cycle % len(kinds)]
                await until(partial(_has_nothing_waiting, stack), 60, "the store has everything")
                front.writes.clear()
                await _send_batch(other, names, bad_us + cycle)
                run.faults += 1
                await until(partial(_is_settled, stack, (cycle + 1) * BATCH), 60, "the batch is settled")
                extra = len(front.writes) - 1
                run.expect(extra <= MOST_EXTRA, f"{what}: {extra} extra requests")
                writes = len(front.writes)
                await asyncio.sleep(2)  # a loop would write again within the first pause of a second
                run.expect(len(front.writes) == writes, f"{what}: no further request")
                front.say = None
        assert stack.database is not None
        run.judge(await stack.verdict())
        stored = evidence.in_influx(stack.database.port, DATABASE, OTHER, names)
        good = run.cycles * (BATCH - 1)
        run.judge(Verdict(accepted=good, stored=len(stored.value), lost=max(0, good - len(stored.value))))
        dead = evidence.dead_reasons(stack.letters, OTHER)
        run.expect(dead == {"store_refused": run.cycles}, f"one dead letter each: {dead}")


async def _register_other(stack: Stack, count: int) -> list[str]:
    """Register points of the other gateway; their names."""
    names = [f"n{n:03d}" for n in range(count)]
    await stack.register([f"point,{OTHER}-{name},{OTHER},{name},identity,1," for name in names])
    return names


async def _make_traps(stack: Stack) -> int:
    """Let the database forget after a week, and take an integer three days ago; that time, us."""
    old_us = time.time_ns() // 1000 - 3 * DAY_US
    await _ask(stack, f'ALTER RETENTION POLICY "autogen" ON "{DATABASE}" DURATION 7d SHARD DURATION 1d')
    assert stack.database is not None
    line = f"reading,point=trap v=1i {old_us}".encode()
    status, body = await http(
        stack.database.port, "POST", f"/write?db={DATABASE}&precision=u", line, timeout_s=30
    )
    assert status == 204, body
    return old_us + 1


async def _ask(stack: Stack, question: str) -> Any:
    assert stack.database is not None
    target = f"/query?db={DATABASE}&epoch=u&q={quote(question)}"
    status, body = await http(stack.database.port, "POST", target, timeout_s=30)
    assert status == 200, body
    return json.loads(body)["results"][0].get("series", [])


async def _send_batch(other: Stranger, names: list[str], bad_us: int) -> None:
    now_us = time.time_ns() // 1000
    for bad, size in ((False, BATCH - 1), (True, 1)):
        begin = bad_us if bad else now_us
        readings = [Reading(names[n % len(names)], begin + n, n / 4) for n in range(size)]
        await other.send(Lane.TELEMETRY, Kind.READINGS, encode_readings(readings, Clock.SYNCED))


async def _is_settled(stack: Stack, readings: int) -> bool:
    balances = (await stack.core.ask("status"))["store_balance"]
    mine = [one for one in balances if one["gateway"] == OTHER]
    return bool(mine) and mine[0]["journalled"] == readings and mine[0]["waiting"] == 0


async def _as_version_2(front: Front, request: Request) -> bytes:
    """InfluxDB 2 says 422 where 1.x says 400."""
    answer = await front.ask_database(request)
    return answer.replace(b"HTTP/1.1 400 ", b"HTTP/1.1 422 ", 1)


# --- R18 ---------------------------------------------------------------------------------------------


async def r18_ambiguous_write(run: Run) -> None:
    """The store's answer is cut off after it has stored, and the next one is not, again and again."""
    async with run.stack(store="influx", proxied=["store"]) as stack:
        proxy = stack.proxies["store"]
        stack.station.order(rate=BASE_RATE, fires=1)
        for _ in range(run.cycles):
            proxy.cut_replies = 1
            await until(lambda: proxy.cut_replies == 0, 120, "a reply is cut", every_s=0.1)
            proxy.replies = 0
            await until(lambda: proxy.replies > 0, 120, "the write came again", every_s=0.1)
        run.faults += proxy.counts["reply_cut"]
        run.judge(await stack.verdict())


# --- R19 ---------------------------------------------------------------------------------------------


class _Case(NamedTuple):
    """An answer of a database in trouble, and what must follow from it."""

    name: str
    answer: bytes | None
    judge: Callable[[Run, Stack, Front], Awaitable[None]]


async def r19_every_answer(run: Run) -> None:
    """Every code a database can answer with, silence, garbage: obeyed, and nothing lost."""
    front = Front()
    async with run.stack(store="influx", store_timeout_s=2, front=front) as stack:
        stack.station.order(rate=BASE_RATE)
        await stack.station.accepted(500)
        for case in itertools.islice(itertools.cycle(CASES), run.cycles):
            await until(partial(_is_well, stack), 90, "the store is up to date", every_s=0.1)
            front.writes.clear()
            front.say = partial(_always, case.answer)
            run.faults += 1
            try:
                await case.judge(run, stack, front)
            except TimeoutError as error:
                run.expect(False, f"{case.name}: {error}")
            front.say = None
            print(f"answered {case.name} {len(front.writes)} times")
        run.judge(await stack.verdict())


async def _always(answer: bytes | None, request: Request) -> bytes | None:
    return answer


async def _is_well(stack: Stack) -> bool:
    """No batch is still being asked for again, with the long pause that it has come to.

    Nor is the last answer's fault still told, which the next one's would be mistaken for: faults are looked
    for once a second.
    """
    is_ok = await _store_state(stack) == "ok" and not await _is_fault(stack)
    return is_ok and await _has_little_waiting(stack)


async def _has_little_waiting(stack: Stack) -> bool:
    return (await stack.core.waiting() or 0) <= BASE_RATE


async def _needs_a_person(run: Run, stack: Stack, front: Front) -> None:
    """A fault within 10 s, the data held; whoever puts it right starts the core again."""
    began = time.monotonic()
    await until(partial(_is_fault, stack), FAULT_S + 5, "the fault", every_s=0.1)
    took = time.monotonic() - began
    run.expect(took <= FAULT_S, f"a fault after {took:.1f} s")
    run.expect(await _store_state(stack) == "misconfigured", "it is one for a person")
    await until(partial(_holds_back, stack), 20, "readings wait")
    run.expect(
        len(front.writes) <= IN_FLIGHT,
        f"{len(front.writes)} requests, no more than are in flight: no hot loop",
    )
    await stack.core.process.stop()
    front.say = None
    await stack.core.process.start()


async def _holds_back(stack: Stack) -> bool:
    return (await stack.core.waiting() or 0) >= BASE_RATE


async def _comes_back_when_told(run: Run, stack: Stack, front: Front) -> None:
    """The same request comes again after what Retry-After said, to 10 %."""
    await until(lambda: bool(_times_of_again(front)), RETRIED_S, "the request is sent again")
    first, second = _times_of_again(front)[:2]
    pause = second - first
    run.expect(RETRY_AFTER_S <= pause <= 1.1 * RETRY_AFTER_S + 0.1, f"came again after {pause:.2f} s")


def _times_of_again(front: Front) -> list[float]:
    """When the first request came that came again; of two in flight the younger waits for the older one."""
    times: dict[bytes, list[float]] = {}
    for write in front.writes:
        times.setdefault(write.body, []).append(write.at_s)
    return next((at_s for at_s in times.values() if len(at_s) >= 2), [])


async def _comes_back(run: Run, stack: Stack, front: Front) -> None:
    """It is a fault, and the same request comes again after a pause."""
    await until(lambda: bool(_times_of_again(front)), RETRIED_S, "the request is sent again")
    run.expect(await _store_state(stack) == "unavailable", "the fault is shown")


async def _is_halved(run: Run, stack: Stack, front: Front) -> None:
    """Requests become shorter until they fit, and everything gets in meanwhile."""

    async def too_large(request: Request) -> bytes:
        if len(request.body) > MOST_BODY:
            return reply(413, b'{"error":"request entity too large"}')
        return await front.ask_database(request)

    front.say = too_large
    await until(lambda: any(len(w.body) > MOST_BODY for w in front.writes), 20, "one is too large")
    await until(lambda: any(len(w.body) <= MOST_BODY for w in front.writes), 20, "it is halved")
    await until(partial(_has_little_waiting, stack), 60, "everything gets in", every_s=0.1)
    run.expect(await _store_state(stack) == "ok", "a store with a limit is no fault")


RETRY_AFTER_S = 3
RETRIED_S = 40
"""Beyond the longest pause of the writer."""
MOST_BODY = 4_000
CASES = [
    _Case("401", reply(401, b'{"error":"authorization failed"}'), _needs_a_person),
    _Case(
        "429, Retry-After", reply(429, b"slow down", Retry_After=str(RETRY_AFTER_S)), _comes_back_when_told
    ),
    _Case("413", b"", _is_halved),
    _Case("503, Retry-After", reply(503, b"busy", Retry_After=str(RETRY_AFTER_S)), _comes_back_when_told),
    _Case("no answer", None, _comes_back),
    _Case("garbage", b"SSH-2.0-OpenSSH_9.2\r\n", _comes_back),
    _Case("404", reply(404, b'{"error":"not found"}'), _needs_a_person),
    _Case("403", reply(403, b'{"error":"forbidden"}'), _needs_a_person),
    _Case("500", reply(500, b'{"error":"timeout"}'), _comes_back),
    _Case("half an answer", b"HTTP/1.1 204 No Con", _comes_back),
    _Case("200 and a page", reply(200, b"<html>welcome</html>"), _comes_back),
    _Case("503", reply(503, b""), _comes_back),
]


# --- R30 ---------------------------------------------------------------------------------------------


async def r30_same_stamp(run: Run) -> None:
    """Pairs of readings of one point in one stamp: both are kept."""
    plan = Plan("g1", points=1, per_stamp=2, slack_us=1)
    async with run.stack(store="influx", plans=[plan]) as stack:
        pairs = 500 * run.cycles
        stack.station.order(rate=4 * BASE_RATE, block=200, readings=2 * pairs)
        await stack.station.accepted(2 * pairs, timeout_s=120)
        run.faults += pairs
        verdict = await stack.verdict()
        run.judge(verdict)
        run.expect(verdict.stored == 2 * pairs, f"{verdict.stored} of {2 * pairs} are retrievable")


# --- R42 ---------------------------------------------------------------------------------------------


async def r42_hostile_names(run: Run) -> None:
    """Hostile ids and names, 500 per cycle: exactly their own series, or a refusal; never a foreign point."""
    async with run.stack(store="influx", strangers=[OTHER]) as stack:
        stack.station.order(rate=BASE_RATE, fires=1)
        texts = hostile_texts(500 * run.cycles, run.seed)
        texts += [f"{text[:8]}-{n}" for n, text in enumerate(random.Random(run.seed).sample(texts, 50))]
        texts += ["smoke-3f-12", "a.b:c_d"]
        run.faults += len(texts)
        taken = {text: n for n, text in enumerate(texts) if await _is_registered(stack, f"n{n}", text)}
        print(f"{len(taken)} of {len(texts)} hostile ids were taken, the others refused")
        at_us = time.time_ns() // 1000
        async with stranger(stack, OTHER) as other:
            last = 0
            for first in range(0, len(texts), 200):
                names = range(first, min(first + 200, len(texts)))
                readings = [Reading(f"n{n}", at_us, float(n)) for n in names]
                last = await other.send(
                    Lane.TELEMETRY, Kind.READINGS, encode_readings(readings, Clock.SYNCED)
                )
            for text in texts:
                reading = [Reading(text, at_us, 666.0)]
                try:
                    body = encode_readings(reading, Clock.SYNCED)
                except UnicodeEncodeError:  # a lone surrogate is no text on any wire
                    continue
                last = await other.send(Lane.TELEMETRY, Kind.READINGS, body)
            async with asyncio.timeout(60):
                await other.committed({Lane.TELEMETRY: last})
        run.judge(await stack.verdict())
        series = await _ask(stack, 'SELECT "v", "q" FROM /.*/ GROUP BY *')
        found = {one["tags"]["point"]: one["values"] for one in series}
        ours = {f"g1-{name}" for name in stack.station.plan.names()}
        exact = sum(found.get(text) == [[at_us, float(n), None]] for text, n in taken.items())
        foreign = found.keys() - ours - taken.keys()
        run.judge(
            Verdict(accepted=len(taken), stored=exact, lost=len(taken) - exact, unexpected=len(foreign))
        )
        measurements = (await _ask(stack, "SHOW MEASUREMENTS"))[0]["values"]
        run.expect(measurements == [["reading"]], f"measurements: {measurements}")


async def _is_registered(stack: Stack, name: str, id_: str) -> bool:
    try:
        await stack.core.ask("accept", gateway=OTHER, name=name, point=id_, quantity="identity", uom="1")
    except CoreError as error:
        if error.code != "invalid":
            raise
        return False
    return True

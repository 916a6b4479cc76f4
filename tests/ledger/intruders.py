"""Rows about those who send what they should not: garbage, foreign names, and people without the right."""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from console import api, pages
from console.config import Settings
from console.guard import LIVE, Door
from fengsui import topics, wire
from fengsui.model import Clock, Event, Kind, Lane, Reading, What
from fengsui.viewer import Action, Role, Viewer
from tests.consoles import Person, add_person, serving, signed_in
from tests.ledger import evidence
from tests.ledger.driver import fire_point
from tests.ledger.ledger import Verdict
from tests.ledger.run import Bell, Run, p99
from tests.ledger.stack import UNKNOWN_FIRES, Stack
from tests.ledger.stranger import SPOOL, stranger
from tests.ordering import bodies
from tests.waiting import background, until

BASE_RATE = 1_000.0
OTHER = "g2"


async def r16_poison_flood(run: Run) -> None:
    """2,000 undecodable records before an alarm, in both lanes: the alarm does not notice."""
    async with run.stack(strangers=[OTHER]) as stack:
        bell = Bell()
        async with background(bell.listen(stack.core)), stranger(stack, OTHER) as other:
            stack.station.order(rate=BASE_RATE)
            await stack.station.accepted(500)
            last = dict.fromkeys(Lane, 0)
            for n in range(1_000):
                for lane in Lane:
                    last[lane] = await other.send(lane, Kind.READINGS, b"poison %d" % n)
            run.faults += 2_000
            stack.station.order(fires=run.cycles)
            await stack.station.accepted(0, fires=run.cycles)
            await until(lambda: len(bell.shown_s) == run.cycles, 10, "the alarms are shown")
            async with asyncio.timeout(20):
                await other.committed(last)
        worst = p99(bell.delays_s(stack.station.ledger().fires))
        run.expect(worst <= 2, f"alarm behind the poison: {worst:.3f} s <= 2 s")
        run.judge(await stack.verdict())
        dead = evidence.dead_reasons(stack.letters, OTHER)
        run.expect(dead == {"decode": 2_000}, f"2,000 dead letters with their reason: {dead}")


async def r37_foreign_name(run: Run) -> None:
    """A gateway that speaks under another's name is not heard: the broker's ACL is the proof, by delivery."""
    async with run.stack(strangers=[OTHER]) as stack:
        stack.station.order(rate=BASE_RATE / 10, fires=1)
        await stack.station.accepted(100, fires=1)
        at_us = time.time_ns() // 1000
        reading = wire.encode_readings([Reading("p000", at_us, 99.0)], Clock.SYNCED)
        fire = wire.encode_body(Event("a-9999", at_us, What.FIRE))
        forged = {
            topics.of_gateway("g1", Lane.TELEMETRY): wire.encode_record(Kind.READINGS, SPOOL, 1, 0, reading),
            topics.of_gateway("g1", Lane.ALARM): wire.encode_record(Kind.EVENT, SPOOL, 1, 0, fire),
            topics.of_gateway("g1", "status"): b'{"gone": true}',
            topics.of_gateway("g1", "committed"): b'{"upto": 4000000000}',
            topics.of_plain("g1"): b'{"p": "p000", "x": 99.0}',
        }
        for _ in range(run.cycles):
            for topic, payload in forged.items():
                for qos in (0, 1, 2):
                    async with stranger(stack, OTHER) as other:
                        await other.shout(topic, payload, qos=qos)
                        await other.shout(topic, payload, qos=qos, retain=True)
                        run.faults += 2
                async with stranger(stack, OTHER, will=(topic, payload)) as other:
                    await other.drop()
                    run.faults += 1
            async with stranger(stack, OTHER) as other:
                info = wire.encode_body(Event("x", at_us, What.INFO))
                own = await other.send(Lane.ALARM, Kind.EVENT, info)
                async with asyncio.timeout(20):
                    await other.committed({Lane.ALARM: own})
        spools = _spools_of(await stack.core.ask("status"), "g1")
        run.judge(await stack.verdict())
        run.expect(wire.spool_text(SPOOL) not in spools, "g1 still has its own spool")
        dead = evidence.dead_reasons(stack.letters, "g1")
        run.expect(not dead, f"no forged record has reached the core: {dead}")


def _spools_of(status: dict[str, list[dict[str, str]]], gateway: str) -> set[str]:
    return {one["spool"] for one in status["gateways"] if one["gateway"] == gateway}


async def r74_undecodable_in_each_lane(run: Run) -> None:
    """One undecodable record in each lane: the lane moves on, with one dead letter each."""
    async with run.stack(strangers=[OTHER]) as stack:
        stack.station.order(rate=BASE_RATE, fires=run.cycles)
        async with stranger(stack, OTHER) as other:
            for _ in range(run.cycles):
                for lane in Lane:
                    await other.send(lane, Kind.EVENT, b"\xc1 no MessagePack at all")
                    run.faults += 1
                    good = wire.encode_body(Event("x", time.time_ns() // 1000, What.INFO))
                    seq = await other.send(lane, Kind.EVENT, good)
                    began = time.monotonic()
                    async with asyncio.timeout(10):
                        await other.committed({lane: seq})
                    took = time.monotonic() - began
                    run.expect(took <= 2, f"{lane} moved on in {took:.3f} s")
        await stack.station.accepted(500, fires=run.cycles)
        run.judge(await stack.verdict())
        dead = evidence.dead_reasons(stack.letters, OTHER)
        run.expect(dead == {"decode": 2 * run.cycles}, f"one dead letter each: {dead}")


# --- R47 ---------------------------------------------------------------------------------------------

UNITS = ("unit-a", "unit-b")
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
REFUSED = (401, 403, 404)
OPEN = ("/sign-in", "/sign-out", "/healthz")
DOORS = [door for door in (*pages.DOORS, *api.DOORS) if door.method != LIVE and door.path not in OPEN]

ACTIONS = {(door.method, door.path): door.action for door in DOORS}


def _is_of_a_unit(door: Door) -> bool:
    """Whether its path names something that belongs to a unit."""
    return any(what in door.path for what in ("{alarm}", "{point}", "{ticket}"))


class _Try(NamedTuple):
    """Somebody's request at a door, with one of its own methods or another, about something of a unit."""

    viewer: Viewer
    door: Door
    method: str
    point: str
    unit: str

    @property
    def is_lawful(self) -> bool:
        """Whether it may pass.

        A dead letter may be of any unit, so only who sees all units reads them; the ticket is nobody's.
        """
        action = ACTIONS.get((self.method, self.door.path))
        return (
            action is not None
            and self.viewer.may(action)
            and (not _is_of_a_unit(self.door) or self.viewer.sees(self.unit))
            and "{ticket}" not in self.door.path
            and (self.door.action is not Action.READ_DEAD_LETTERS or self.viewer.units is None)
        )

    def __str__(self) -> str:
        return f"{self.viewer.person}: {self.method} {self.door.path} of {self.unit}"


async def r47_every_door(run: Run) -> None:
    """Every role of every unit at every door of the console, with every method, about every unit's alarm."""
    async with run.stack() as stack:
        points = [fire_point(UNKNOWN_FIRES + 1 + n) for n in range(len(UNITS))]
        await stack.register(
            [
                *(f"unit,{unit},,{unit},,," for unit in UNITS),
                *(f"point,g1-{p},g1,{p},contact,1,{unit}" for p, unit in zip(points, UNITS, strict=True)),
            ]
        )
        fires = UNKNOWN_FIRES + len(UNITS)
        stack.station.order(rate=BASE_RATE / 10, fires=fires)
        await stack.station.accepted(100, fires=fires)
        console = Settings(
            process="console", core_socket=stack.core.socket, database=run.folder / "console.db", port=0
        )
        people = [
            Viewer(f"{role}.{unit or 'all'}", frozenset({role}), frozenset({unit}) if unit else None)
            for role in Role
            for unit in (*UNITS, None)
        ]
        async with serving(console) as address:
            for viewer in people:
                units = None if viewer.units is None else sorted(viewer.units)
                add_person(console.database, viewer.person, viewer.roles, units)
            for _ in range(run.cycles):
                for viewer in people:
                    async with signed_in(address, viewer.person) as person:
                        await _try_doors(run, stack, viewer, person, points)
                        await _try_live(run, address, viewer, person, points)
        run.judge(await stack.verdict())


async def _try_doors(run: Run, stack: Stack, viewer: Viewer, person: Person, points: list[str]) -> None:
    """Lawful requests count as *accepted* and *stored*; unlawful ones that do anything as *unexpected*."""
    for door in DOORS:
        about = list(zip(points, UNITS, strict=True))
        for method in METHODS:
            for point, unit in about if _is_of_a_unit(door) else about[:1]:
                one = _Try(viewer, door, method, point, unit)
                before = _acts(stack, viewer.person)
                status = await _ask(stack, person, one)
                passed = status not in REFUSED
                acted = _acts(stack, viewer.person) - before
                if one.is_lawful:
                    lost = () if passed else (f"{one}: {status}",)
                    run.judge(Verdict(accepted=1, stored=int(passed), lost=len(lost), examples=lost))
                    if "{alarm}" in door.path and method == "POST" and status == 200:
                        # What inhibits a point is recorded with each alarm there that it concerns.
                        good = acted >= 1 if door.action is Action.DISABLE else acted == 1
                        run.count(good, f"{one}: {acted} entries in the record")
                else:
                    run.faults += 1
                    wrong = (f"{one}: {status}, {acted} changes",) if passed or acted else ()
                    run.judge(Verdict(unexpected=len(wrong), examples=wrong))


async def _ask(stack: Stack, person: Person, one: _Try) -> int:
    alarms = (await stack.core.ask("alarms"))["alarms"]
    alarm = next(alarm for alarm in alarms if alarm["name"] == one.point and alarm["cls"] == "fire")
    path = one.door.path.replace("{alarm}", alarm["id"]).replace("{point}", f"g1-{one.point}")
    path = path.replace("{ticket}", "0" * 16).replace("{table}", "bad_actors")
    contents: dict[str, dict[str, object]] = bodies(alarm["version"]) | {
        "/api/v1/alarms/seen": {"alarms": [alarm["id"]]},
        "/api/v1/discovered/accept": {
            "gateway": "g1", "name": f"new-{one.viewer.person}", "id": f"new-{one.viewer.person}",
            "quantity": "identity", "uom": "1", "unit": min(one.viewer.units or [""]),
        },
        "/api/v1/lab/fire": {},
        "/api/v1/backtest/{ticket}/cancel": {},
        "/api/v1/lab/runs/{ticket}/cancel": {},
    }  # fmt: skip
    answer = await person.client.request(
        one.method,
        path + ("?from_us=0&to_us=1000000" if "history" in path or "statistics" in path else ""),
        json=contents.get(one.door.path, {"version": alarm["version"]}),
        headers={"x-fengsui-token": person.token, "accept": "application/json"},
    )
    return answer.status_code


def _acts(stack: Stack, person: str) -> int:
    """What this person has changed: entries of the alarm record, and points."""
    acts = stack.state.query("SELECT 1 FROM alarm_record WHERE actor = :person", person=person)
    points = stack.state.query("SELECT 1 FROM point WHERE name = :name", name=f"new-{person}")
    return len(acts) + len(points)


async def _try_live(run: Run, address: str, viewer: Viewer, person: Person, points: list[str]) -> None:
    """The WebSocket wants a session and our own origin, and tells of the viewer's units only."""
    url, ours = address.replace("http", "ws") + "api/v1/live", address.rstrip("/")
    cookie = {"Cookie": person.cookie}
    for origin, headers in ((ours, {}), (None, cookie), ("http://evil.example", cookie), ("null", cookie)):
        run.faults += 1
        try:
            async with connect(url, origin=origin, additional_headers=headers, proxy=None):  # type: ignore[arg-type]
                run.judge(Verdict(unexpected=1, examples=(f"WebSocket from {origin} with {headers.keys()}",)))
        except InvalidStatus as refused:
            run.count(refused.response.status_code == 403, f"WebSocket refused: {refused}")
    async with connect(url, origin=ours, additional_headers=cookie, proxy=None) as socket:  # type: ignore[arg-type]
        snapshot = ""
        async with asyncio.timeout(10):
            while '"alarms"' not in snapshot:
                snapshot = str(await socket.recv())
    for point, unit in zip(points, UNITS, strict=True):
        sees = f'"g1-{point}"' in snapshot
        run.judge(Verdict(accepted=int(viewer.sees(unit)), stored=int(sees and viewer.sees(unit))))
        run.count(sees <= viewer.sees(unit), f"{viewer.person} sees {unit}'s alarm in the live view")

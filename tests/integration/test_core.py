"""The core put together, on a real broker with a real gateway: one reading all the way to an officer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from alerting.notify import kept
from alerting.notify.channels.http import HttpSettings
from alerting.notify.channels.siren import SirenSettings
from alerting.notify.config import NotifySettings, RepliesSettings
from alerting.notify.steps import log_of
from fengsui.database import connect
from fengsui.model import Description, Event, Lane, Reading, What
from fengsui.runtime import wall_us
from fengsui.settings import Broker
from fengsui.viewer import Role, Viewer
from gateway.app import Gateway
from gateway.config import Settings as GatewaySettings
from gateway.config import SpoolSettings
from gateway.drivers.base import Driver, Sink
from gateway.drivers.config import Siren
from gateway.drivers.siren import SirenDriver
from ingest.inventory import Row, Sort
from ingest.registry import Registry
from server.answers import Answers
from server.app import Core
from server.config import Embedded, JournalSettings, Settings
from server.local import Question, Refused
from server.rulebook import Rulebook
from tests.rawhttp import Request, raw_server, reply
from tests.rosters import ANSWERING, AT_ANY_HOUR, roster
from tests.servers import HOST, free_port, mosquitto
from tests.waiting import until

OFFICER = Viewer("0417", frozenset({Role.OFFICER}), None)
ENGINEER = Viewer("e1", frozenset({Role.ENGINEER}), None)
ELSEWHERE = Viewer("0999", frozenset({Role.OFFICER, Role.ENGINEER}), frozenset({"another-unit"}))


class Hand:
    """A driver that offers what the test tells it to."""

    name = "hand"

    def __init__(self) -> None:
        self._told: asyncio.Queue[tuple[Sequence[Reading | Event], asyncio.Event]] = asyncio.Queue()

    def describe(self) -> list[Description]:
        """One point more than the registry knows."""
        return [Description("t1", "temperature", "degC"), Description("new", "temperature", "degC")]

    async def run(self, sink: Sink) -> None:
        """Pass on until cancelled."""
        while True:
            items, accepted = await self._told.get()
            await sink.accept(items)
            accepted.set()

    async def offer(self, *items: Reading | Event) -> None:
        """Returns when they are in the spool."""
        accepted = asyncio.Event()
        await self._told.put((items, accepted))
        await accepted.wait()


def settings(folder: Path, broker: Broker, notify: NotifySettings | None = None) -> Settings:
    """A core that keeps everything in ``folder``."""
    return Settings(
        notify=notify or NotifySettings(),
        process="core",
        folder=folder / "core",
        socket=folder / "core" / "core.sock",
        broker=broker,
        journal=JournalSettings(folder=folder / "journal", quota_mb=16),
        store=Embedded(folder=folder / "series"),
    )


@asynccontextmanager
async def chain(
    folder: Path, *more: Driver, notify: NotifySettings | None = None
) -> AsyncIterator[tuple[Core, Hand]]:
    """Broker, core and gateway (with ``more`` drivers), one registered point ``p1`` of unit ``school``."""
    async with mosquitto(folder / "broker") as process:
        broker = Broker(port=process.port)
        core = await Core.open(settings(folder, broker, notify))
        await core.registry.add(
            [
                Row(0, Sort.UNIT, {"id": "school", "name": "Qinghai Road School"}),
                Row(0, Sort.BUILDING, {"id": "b1", "name": "Block 1", "unit": "school"}),
                Row(
                    0,
                    Sort.POINT,
                    {
                        "id": "p1", "gateway": "gw-1", "name": "t1", "quantity": "temperature",
                        "uom": "degC", "building": "b1",
                    },
                ),
            ]
        )  # fmt: skip
        hand = Hand()
        gateway = Gateway(
            GatewaySettings(
                process="gateway",
                name="gw-1",
                broker=broker,
                spool=SpoolSettings(folder=folder / "spool", quota_mb=8),
                socket=folder / "gateway.sock",
            ),
            drivers=[hand, *more],
        )
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(core.run(stop))
            tasks.create_task(gateway.run(stop))
            await core.intake.is_listening.wait()
            yield core, hand
            stop.set()


async def ask(core: Core, viewer: Viewer, do: str, **args: Any) -> Any:
    """A question, as the console asks it."""
    answer = await Answers(core).answer(Question(1, do, viewer, args))
    return json.loads(json.dumps(answer, default=_plain))


def _plain(value: Any) -> Any:
    return msgspec.to_builtins(value)


async def test_a_hot_reading_becomes_a_recorded_alarm_that_an_officer_acknowledges(tmp_path: Path) -> None:
    """Sensor, spool, broker, journal, detection, book, record: and the same reading is in the store."""
    async with chain(tmp_path) as (core, hand):
        now_us = wall_us()
        await hand.offer(Reading("t1", now_us - 1_000_000, 24.0), Reading("t1", now_us, 61.25))
        await until(lambda: core.watch.recorder.number >= 1, 10, "an alarm is recorded")
        alarms = (await ask(core, OFFICER, "alarms"))["alarms"]
        (fire,) = [alarm for alarm in alarms if alarm["cls"] == "fire"]
        assert (fire["point"], fire["value"], fire["unit"], fire["test"]) == ("p1", 61.25, "school", False)
        assert fire["building"] == "Block 1"
        after = await ask(core, OFFICER, "acknowledge", alarm=fire["id"], version=fire["version"])
        assert (after["state"], after["acknowledged_by"]) == ("acknowledged", "0417")

        async def is_stored() -> bool:
            return await core.store.count(None) == 2

        await until(is_stored, 10, "both readings are stored")
        history = await ask(core, OFFICER, "history", point="p1", from_us=0, to_us=now_us + 1, max_points=10)
        assert history["value"] == [24.0, 61.25]
        await until(lambda: core.balances().residue == 0, 10, "everything is accounted for")


async def test_a_hot_reading_is_told_to_people_until_one_acknowledges(tmp_path: Path) -> None:
    """A provider has the fire with the names of places; the acknowledgement cancels what was to follow."""
    taken = reply(200, b"taken")

    async def receive(_request: Request) -> bytes:
        return taken

    async with raw_server(receive) as provider:
        http = HttpSettings(url=provider.url)
        door = free_port()
        replies = RepliesSettings(port=door, public_url=f"http://{HOST}:{door}")
        notify = NotifySettings(
            replies=replies, channels=dict.fromkeys(("sms", "mail", "desk", "centre"), http)
        )
        async with chain(tmp_path, notify=notify) as (core, hand):
            told = core.notification
            assert told is not None
            assert "notify import" in told.faults()["roster"]
            await asyncio.to_thread(kept.put_in_force, core.database, roster(ANSWERING), "e1", wall_us())
            await until(lambda: not told.faults(), 10, "roster taken over")
            await hand.offer(Reading("t1", wall_us() - 1_000_000, 24.0), Reading("t1", wall_us(), 61.25))
            await until(lambda: len(provider.requests) == 3, 10, "sounder and officer told")
            facts = json.loads(provider.requests[0].body)
            assert (facts["alarms"][0]["building"], facts["urgent"]) == ("Block 1", True)

            async def fire() -> Any:
                return next(a for a in (await ask(core, OFFICER, "alarms"))["alarms"] if a["cls"] == "fire")

            async def is_stamped() -> bool:
                return (await fire())["notified_at_us"] is not None

            await until(is_stamped, 10, "stamped as notified")
            await until(lambda: len(log_of(core.database)) == 3, 10, "receipts recorded")
            alarm = await fire()
            links = [json.loads(request.body)["link"] for request in provider.requests]
            async with httpx2.AsyncClient() as client:
                assert (await client.post(next(filter(None, links)))).status_code == 200
            assert (await fire())["acknowledged_by"] == "contact:wang"

            async def are_cancelled() -> bool:
                steps = await asyncio.to_thread(log_of, core.database, alarm=alarm["id"])
                return sorted(step["state"] for step in steps) == ["cancelled"] * 2 + ["sent"] * 3

            await until(are_cancelled, 10, "what was to follow is cancelled")


async def test_a_fire_sounds_the_siren_of_a_gateway(tmp_path: Path) -> None:
    """Through the broker to the gateway's driver and back: its answer is the receipt in the call log."""
    siren = SirenDriver(Siren(name="hall", command=("touch", f"{tmp_path}/sounded")))
    names = ("sms", "mail", "desk", "centre")
    settings = NotifySettings(channels={name: SirenSettings() for name in names})
    text = AT_ANY_HOUR.replace("reach: [{channel: desk}]", "reach: [{channel: desk, to: gw-1/hall}]")
    async with chain(tmp_path, siren, notify=settings) as (core, hand):
        await asyncio.to_thread(kept.put_in_force, core.database, roster(text), "e1", wall_us())
        told = core.notification
        assert told is not None
        await until(lambda: told.roster() is not None, 10, "roster taken over")
        await hand.offer(Reading("t1", wall_us() - 1_000_000, 24.0), Reading("t1", wall_us(), 61.25))
        await until((tmp_path / "sounded").exists, 10, "siren")

        async def receipt() -> bool:
            log = await asyncio.to_thread(log_of, core.database)
            return [step["outcome"] for step in log if step["contact"] == "sounder"] == ["hall sounds"]

        await until(receipt, 10, "receipt")
        with pytest.raises(Refused, match="hall: is not 'roof'"):
            await core.command("gw-1", "siren", {"driver": "roof"})


RULES = """\
threshold:
  - name: heat-fire
    version: {version}
    cls: fire
    quantity: temperature
    uom: degC
    above: {above}
    reset: {reset}
    severity: 4
tests:
  - name: it burns
    points:
      - {{quantity: temperature, uom: degC, series: 20 {above}}}
    expect:
      - {{rule: heat-fire, raise_s: 1}}
"""


async def test_an_engineer_puts_rules_in_force_and_they_stay(tmp_path: Path) -> None:
    """Checked, replaced at once without a restart, kept over one; what is refused changes nothing."""
    low = RULES.format(version=2, above=30, reset=25)
    async with chain(tmp_path) as (core, hand):
        shown = await ask(core, OFFICER, "rules")
        assert shown["rules"][0]["name"] == "heat-fire"
        assert "57 degC" in shown["rules"][0]["text_en"]
        checked = await ask(core, ENGINEER, "check_rules", text=low)
        assert checked["tests"] == 1
        (changed,) = (one for one in checked["differences"] if one.startswith("~"))
        assert changed.startswith("~ heat-fire@1 -> @2: ")
        assert "reset 50 -> 25; above 57 -> 30" in changed
        now = shown["digest"]
        for viewer, text, digest, code, said in (
            (OFFICER, low, now, "forbidden", "change rules"),
            (ELSEWHERE, low, now, "forbidden", "every unit"),
            (ENGINEER, low, "0" * 16, "stale", "read them again"),
            (
                ENGINEER,
                low.replace("raise_s: 1", "raise_s: 0"),
                shown["digest"],
                "invalid",
                "rules.yaml:15: test",
            ),
            (
                ENGINEER,
                low.replace("30", "false", 1),
                shown["digest"],
                "invalid",
                "rules.yaml:7: threshold heat",
            ),
            (ENGINEER, low.replace("version: 2", "version: 1"), now, "invalid", "it version 2"),
        ):
            with pytest.raises(Refused) as refused:
                await ask(core, viewer, "replace_rules", text=text, digest=digest)
            assert (refused.value.code, said in str(refused.value)) == (code, True), str(refused.value)
        now_us = wall_us()
        await hand.offer(Reading("t1", now_us, 40.0))
        await until(lambda: core.latest.of(0) is not None, 10, "a reading below the shipped limits is judged")
        assert (await ask(core, OFFICER, "alarms"))["alarms"] == []
        done = await ask(core, ENGINEER, "replace_rules", text=low, digest=shown["digest"])
        assert done["digest"] == (await ask(core, OFFICER, "rules"))["digest"] != shown["digest"]
        await hand.offer(Reading("t1", now_us + 1_000_000, 40.0))
        await until(lambda: core.watch.recorder.number >= 1, 10, "the new rule raises")
        (fire,) = (await ask(core, OFFICER, "alarms"))["alarms"]
        assert (fire["rule"], fire["rule_version"], fire["limit"]) == ("heat-fire", 2, 30.0)
    again, path = Rulebook.read(None, tmp_path / "core")
    assert (again.text, path.name) == (low, "rules.yaml")


async def test_nobody_reads_or_acts_beyond_units_and_roles(tmp_path: Path) -> None:
    """Another unit's alarm does not exist, a viewer acknowledges nothing, an unknown question is refused."""
    async with chain(tmp_path) as (core, hand):
        await hand.offer(Reading("t1", wall_us(), 80.0))
        await until(lambda: core.watch.recorder.number >= 1, 10, "an alarm is recorded")
        (fire,) = [a for a in (await ask(core, OFFICER, "alarms"))["alarms"] if a["cls"] == "fire"]
        assert (await ask(core, ELSEWHERE, "alarms"))["alarms"] == []
        assert await ask(core, ELSEWHERE, "points") == []
        assert (await ask(core, ELSEWHERE, "status"))["gateways"] == []
        nobody = Viewer("0001", frozenset({Role.VIEWER}), None)
        for viewer, do, args, code in (
            (ELSEWHERE, "acknowledge", {"alarm": fire["id"], "version": fire["version"]}, "unknown"),
            (nobody, "acknowledge", {"alarm": fire["id"], "version": fire["version"]}, "forbidden"),
            (OFFICER, "acknowledge", {"alarm": fire["id"], "version": fire["version"] + 7}, "stale"),
            (OFFICER, "acknowledge", {"alarm": fire["id"]}, "invalid"),
            (ELSEWHERE, "history", {"point": "p1", "from_us": 0, "to_us": 1}, "unknown"),
            (OFFICER, "history", {"point": "p1", "from_us": 5, "to_us": 1}, "invalid"),
            (OFFICER, "discovered", {}, "forbidden"),
            (OFFICER, "deadletters", {}, "forbidden"),
            (OFFICER, "check_rules", {"text": ""}, "forbidden"),
            (ENGINEER, "start_fire", {}, "unavailable"),
            (ENGINEER, "drop_tables", {}, "invalid"),
        ):
            with pytest.raises(Refused) as refused:
                await ask(core, viewer, do, **args)
            assert refused.value.code == code, (do, args)
        (still,) = [a for a in (await ask(core, OFFICER, "alarms"))["alarms"] if a["cls"] == "fire"]
        assert still["state"] == "unacknowledged"


async def test_an_accepted_name_brings_its_past_with_it(tmp_path: Path) -> None:
    """An unbound name is dead-lettered and discovered; once accepted its readings are history."""
    async with chain(tmp_path) as (core, hand):
        now_us = wall_us()
        await hand.offer(*(Reading("new", now_us + i, 20.0 + i) for i in range(5)))
        await until(lambda: len(core.registry.names.all()) == 1, 10, "the name is discovered")

        async def is_aside() -> bool:
            letters = await ask(core, ENGINEER, "deadletters", limit=10)
            return [letter["reason"] for letter in letters] == ["unknown_point"]

        await until(is_aside, 10, "the record is dead-lettered")
        (name,) = await ask(core, ENGINEER, "discovered")
        assert (name["gateway"], name["name"], name["uom"]) == ("gw-1", "new", "degC")
        await ask(
            core,
            ENGINEER,
            "accept",
            gateway="gw-1",
            name="new",
            point="p2",
            quantity="temperature",
            uom="degC",
        )
        point = core.registry.by_id("p2")
        assert point is not None

        async def is_history() -> bool:
            return await core.store.count(point) == 5

        await until(is_history, 10, "its past is in the store")
        await hand.offer(Reading("new", now_us + 100, 26.0))
        await until(lambda: core.latest.of(point.index) is not None, 10, "it is live")


async def test_names_accepted_together_wait_once_for_the_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under a steady flow the writer is always a little behind: ten names do not wait ten times for it."""
    monkeypatch.setattr("ingest.writer.SAVE_EVERY_S", 3.0)
    names = [f"n{n}" for n in range(10)]

    async def flow(hand: Hand) -> None:
        while True:
            await hand.offer(Reading("t1", wall_us(), 20.0))
            await asyncio.sleep(0.02)

    async with chain(tmp_path) as (core, hand):
        for name in names:
            await hand.offer(Reading(name, wall_us(), 20.0))

        async def are_aside() -> bool:
            return len(await ask(core, ENGINEER, "deadletters")) == len(names)

        await until(are_aside, 10, "each name has its letter")
        flowing = asyncio.create_task(flow(hand))
        common = {"gateway": "gw-1", "quantity": "temperature", "uom": "degC"}
        for name in names:
            await ask(core, ENGINEER, "accept", name=name, point=name, **common)

        async def are_history() -> bool:
            points = [point for name in names if (point := core.registry.by_id(name)) is not None]
            return [await core.store.count(point) for point in points] == [1] * len(names)

        await until(are_history, 20, "the past of all is in the store")
        flowing.cancel()


async def test_what_another_process_registers_is_known_within_seconds(tmp_path: Path) -> None:
    """`fengsui registry import` beside a running core: no restart, and nothing stays in the dead letter."""
    async with chain(tmp_path) as (core, hand):
        now_us = wall_us()
        await hand.offer(*(Reading("new", now_us + i, 20.0) for i in range(5)))
        await until(lambda: core.balances().store and core.balances().store[0].dead, 10, "it is put aside")
        other = await Registry.open(connect(core.settings.database_url))
        fields = {"id": "p2", "gateway": "gw-1", "name": "new", "quantity": "temperature", "uom": "degC"}
        await other.add([Row(0, Sort.POINT, fields)])
        await until(lambda: core.registry.by_id("p2") is not None, 10, "the core knows it")

        async def is_history() -> bool:
            return await core.store.count(core.registry.by_id("p2")) == 5

        await until(is_history, 10, "what was put aside is history")
        assert await ask(core, ENGINEER, "deadletters") == []


async def test_a_fire_event_of_an_unregistered_point_sounds_at_once(tmp_path: Path) -> None:
    """Nobody registered the call point; whoever pressed it is heard all the same."""
    async with chain(tmp_path) as (core, hand):
        await hand.offer(Event("call-point-9", wall_us(), What.FIRE))
        await until(lambda: core.watch.recorder.number >= 1, 10, "an alarm is recorded")
        (fire,) = (await ask(core, OFFICER, "alarms"))["alarms"]
        assert (fire["point"], fire["cls"], fire["gateway"]) == ("gw-1/call-point-9", "fire", "gw-1")


async def test_two_devices_of_a_zone_reach_the_officers_list_as_one_confirmed_alarm(tmp_path: Path) -> None:
    """A hot detector and a pressed call point of another device: both alarms, and the zone's on top."""
    async with chain(tmp_path) as (core, hand):
        place = {"gateway": "gw-1", "zone": "z1"}
        await core.registry.add(
            [
                Row(0, Sort.ZONE, {"id": "z1", "name": "North stairs", "building": "b1"}),
                Row(0, Sort.DEVICE, {"id": "head-1", "name": "Head 1", "zone": "z1"}),
                Row(0, Sort.DEVICE, {"id": "call-1", "name": "Call point 1", "zone": "z1"}),
                Row(
                    0,
                    Sort.POINT,
                    place
                    | {
                        "id": "h1",
                        "name": "t9",
                        "quantity": "temperature",
                        "uom": "degC",
                        "device": "head-1",
                    },
                ),
                Row(
                    0,
                    Sort.POINT,
                    place
                    | {"id": "c1", "name": "c9", "quantity": "call_point", "uom": "", "device": "call-1"},
                ),
            ]
        )
        now_us = wall_us()
        await hand.offer(Event("c9", now_us, What.FIRE), Reading("t9", now_us, 61.25))
        await until(lambda: core.watch.recorder.number >= 4, 10, "everything is recorded")
        alarms = (await ask(core, OFFICER, "alarms"))["alarms"]
        fires = {alarm["point"]: alarm for alarm in alarms if alarm["cls"] == "fire"}
        assert set(fires) == {"h1", "c1", "/school/b1/z1"}
        zone = fires["/school/b1/z1"]
        assert (zone["level"], zone["linkage"], sorted(zone["points"])) == ("confirmed", True, ["c1", "h1"])
        assert (zone["unit"], zone["building"], zone["zone"]) == ("school", "Block 1", "North stairs")
        assert sorted(zone["sources"]) == ["zone-fire", "zone-linkage"]
        assert any("61.25" in reason["text_en"] for reason in zone["reasons"])
        assert (await ask(core, ELSEWHERE, "alarms"))["alarms"] == []
        after = await ask(core, OFFICER, "acknowledge", alarm=zone["id"], version=zone["version"])
        assert after["state"] == "acknowledged"


async def test_a_full_journal_gives_up_history_but_never_an_alarm(tmp_path: Path) -> None:
    """With a store that takes nothing, its oldest telemetry is shed, counted, and detection goes on."""
    async with chain(tmp_path) as (core, hand):
        core.journal.limit(5 << 20)

        async def refuse(_rows: Any) -> Any:
            await asyncio.Event().wait()

        core.store.write = refuse  # type: ignore[method-assign,assignment]
        begun_us = wall_us()
        step = 0
        while not any(balance.shed for balance in core.balances().store):
            await hand.offer(*(Reading("t1", begun_us + step * 4_000 + i, 20.0) for i in range(4_000)))
            step += 1
            assert step < 2_000, "the journal never filled up"
        assert core.journal.first(Lane.ALARM) == 1
        await hand.offer(Event("t1", wall_us(), What.FIRE))
        await until(lambda: core.watch.recorder.number >= 1, 10, "detection goes on")
        (balance,) = core.balances().store
        assert balance.shed["store_down"] > 0
        await until(lambda: core.balances().residue == 0, 15, "what was given up is accounted for")


async def test_a_core_that_starts_again_says_nothing_twice(tmp_path: Path) -> None:
    """The book, the record and the cursors are as they were; the same alarm is not raised again."""
    async with chain(tmp_path) as (core, hand):
        await hand.offer(Reading("t1", wall_us(), 70.0))
        await until(lambda: core.watch.recorder.number >= 1, 10, "an alarm is recorded")
        before = core.watch.recorder.number
        fires = [a.id for a in core.watch.book.alarms(OFFICER) if a.cls == "fire"]
    again = await Core.open(settings(tmp_path, Broker()))
    assert again.watch.recorder.number == before
    assert [a.id for a in again.watch.book.alarms(OFFICER) if a.cls == "fire"] == fires
    await again.store.aclose()
    await again.deadletter.aclose()
    again.journal.close()

"""The desk over a running core's socket: every step, who may do it, the story after it, and the terminal."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from alerting.alarms.audit import Heads, verify
from alerting.alarms.desk import DEEDS
from fengsui.batch import GatewayEvent
from fengsui.command import main
from fengsui.database import connect
from fengsui.model import Event, What
from fengsui.settings import Broker
from fengsui.viewer import Role, Viewer
from ingest.inventory import Row, Sort
from server.answers import Answers
from server.app import Core
from server.local import Question, Refused
from tests import coring
from tests.ordering import WORDS
from tests.servers import mosquitto
from tests.waiting import until

OFFICER = Viewer("0417", frozenset({Role.OFFICER}), None)
ROWS = [
    Row(0, Sort.UNIT, {"id": unit, "name": unit}) for unit in ("school", "mill")
] + [
    Row(0, Sort.POINT, {"id": f"p-{unit}", "gateway": "gw-1", "name": f"n-{unit}", "quantity": "contact",
                        "uom": "1", "unit": unit})
    for unit in ("school", "mill")
]  # fmt: skip


class Desk:
    """A running core, asked as the console asks it."""

    def __init__(self, core: Core, folder: Path) -> None:
        self.core = core
        self.data = folder / "core"
        self._at = 0

    def says(self, unit: str, what: What) -> None:
        """A device of a unit says something."""
        self._at += 1_000_000
        now_us = self.core.clock.wall_us()
        point = self.core.registry.by_id(f"p-{unit}")
        assert point is not None
        event = Event(point=point.name, at=now_us + self._at, what=what)
        heard = GatewayEvent("gw-1", event, point, now_us, 0)
        changes = self.core.watch.book.apply((), [heard], now_us=now_us, now_s=self.core.clock.monotonic_s())
        self.core.watch.recorder.submit(changes, None)

    async def ask(self, viewer: Viewer, do: str, **args: Any) -> Any:
        """A question; the answer as it goes over the socket."""
        answer = await Answers(self.core).answer(Question(1, do, viewer, args))
        return json.loads(msgspec.json.encode(answer))

    async def alarm(self, unit: str, cls: str) -> Any:
        """The open alarm of a unit's point."""
        alarms = (await self.ask(OFFICER, "alarms"))["alarms"]
        return next(one for one in alarms if (one["point"], one["cls"]) == (f"p-{unit}", cls))

    async def shell(self, *words: str) -> tuple[int, str]:
        """``fengsui alarms``: its exit code and all that it printed."""
        out = io.StringIO()

        def run() -> int:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
                return main(["alarms", "--data", str(self.data), *words])

        return await asyncio.to_thread(run), out.getvalue()


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """A core with a point of each of two units."""
    async with (
        mosquitto(tmp_path / "broker") as broker,
        coring.core(tmp_path, Broker(port=broker.port), ROWS) as core,
    ):
        (tmp_path / "core" / "run").mkdir()
        (tmp_path / "core" / "run" / "core.sock").symlink_to(core.settings.socket)
        core.watch.book.follow(core.registry.points)
        yield Desk(core, tmp_path)


async def test_every_role_of_every_unit_at_every_step(desk: Desk) -> None:
    """Who may not is refused as forbidden, who may not see it as unknown, in the words of what never was."""
    desk.says("school", What.FAULT)
    alarm = await desk.alarm("school", "fault")
    for role in Role:
        for units in (None, frozenset({"school"}), frozenset({"mill"})):
            viewer = Viewer("0001", frozenset({role}), units)
            for step, deed in DEEDS.items():
                words = {name: WORDS[name] for name in deed.needs}
                before = desk.core.watch.book.find(alarm["id"])
                assert before is not None
                code = "done"
                try:
                    await desk.ask(viewer, step, alarm=alarm["id"], version=before.version, **words)
                except Refused as refused:
                    code = refused.code
                if not viewer.may(deed.action):
                    assert code == "forbidden"
                elif units is not None and "school" not in units:
                    assert code == "unknown"
                else:
                    assert code in ("done", "stale")
                if code != "done":
                    assert desk.core.watch.book.find(alarm["id"]) == before
                if code == "unknown":
                    with pytest.raises(Refused, match="no alarm nothing"):
                        await desk.ask(viewer, step, alarm="nothing", version=1, **words)


async def test_a_stale_order_says_what_changed_and_the_story_holds_everything(desk: Desk) -> None:
    """Over the socket, with the words of persons; and the audit finds the record whole."""
    desk.says("school", What.FIRE)
    fire = await desk.alarm("school", "fire")
    await desk.ask(OFFICER, "seen", alarms=[fire["id"], "nothing"])
    chief = Viewer("0002", frozenset({Role.OFFICER}), frozenset({"school"}))
    await desk.ask(chief, "take", alarm=fire["id"], version=fire["version"], text="on my way")
    with pytest.raises(Refused) as refused:
        await desk.ask(OFFICER, "acknowledge", alarm=fire["id"], version=fire["version"])
    assert refused.value.changed is not None
    changed = refused.value.changed
    assert (refused.value.code, changed["what"], changed["by"]) == ("stale", "taken", "0002")
    again = await desk.ask(OFFICER, "acknowledge", alarm=fire["id"], version=changed["version"])
    desk.says("school", What.RESET)
    latched = await desk.alarm("school", "fire")
    assert latched["reset_on_site"]["by"] == "gw-1"
    await desk.ask(OFFICER, "close", alarm=fire["id"], version=latched["version"], finding="cooking")
    ended = await desk.alarm("school", "fire")
    gone = await desk.ask(OFFICER, "reset", alarm=fire["id"], version=ended["version"])
    assert (again["state"], gone["state"]) == ("acknowledged", "closed")
    assert [one["id"] for one in await desk.ask(OFFICER, "closed")] == [fire["id"]]
    told = await desk.ask(OFFICER, "alarm", alarm=fire["id"])
    assert [(row["what"], row["actor"], row["reason"]) for row in told["record"]] == [
        ("raised", "gw-1", ""), ("seen", "0417", ""), ("taken", "0002", "on my way"),
        ("acknowledged", "0417", ""), ("returned", "gw-1", ""), ("reset_on_site", "gw-1", ""),
        ("closed", "0417", ""), ("reset", "0417", ""),
    ]  # fmt: skip
    stamps = told["stamps"]
    assert stamps["detected"] <= stamps["seen"] <= stamps["acknowledged"]
    assert stamps["notified"] is None
    stranger = Viewer("0003", frozenset({Role.OFFICER}), frozenset({"mill"}))
    assert await desk.ask(stranger, "closed") == []
    with pytest.raises(Refused, match="no alarm"):
        await desk.ask(stranger, "alarm", alarm=fire["id"])
    heads = Heads(desk.core.settings.heads)
    engine = connect(desk.core.settings.database_url)
    assert heads.export(engine, desk.core.clock.wall_us()) == ""
    assert verify(engine, heads.read()) == []
    engine.dispose()


async def test_the_terminal_does_all_of_it_when_the_console_is_down(desk: Desk) -> None:
    """List, show and every step by the beginning of an id, recorded under the name of the shell's user."""
    assert await desk.shell("list") == (0, "no alarms\n")
    desk.says("school", What.FAULT)
    desk.says("mill", What.FIRE)
    code, text = await desk.shell("list")
    lines = text.splitlines()
    assert (code, len(lines)) == (0, 2)
    assert "fire" in lines[0]
    fault = (await desk.alarm("school", "fault"))["id"]
    for words, expected in (
        (("silence",), "unacknowledged"),
        (("take", "--text", "I go"), "taken by shell:"),
        (("assign", "0002"), "unacknowledged"),
        (("comment", "--text", "loose wire"), "unacknowledged"),
        (("verify", "--text", "seen"), "unacknowledged"),
        (("shelve", "--minutes", "30", "--text", "electrician"), "[shelved"),
        (("unshelve",), "unacknowledged"),
        (("disable", "--minutes", "60", "--text", "electrician"), "[out_of_service"),
        (("enable",), "unacknowledged"),
        (("acknowledge",), "acknowledged"),
    ):
        code, text = await desk.shell(words[0], fault[:8], *words[1:])
        assert (code, expected in text) == (0, True), (words, text)
    desk.says("school", What.RESTORED)
    code, text = await desk.shell("close", fault[:8], "fault", "--text", "wire\x1b[2Jfixed")
    assert (code, "[fault" in text) == (0, True), text
    assert (await desk.shell("reopen", fault[:8], "--text", "no"))[0] == 0
    code, text = await desk.shell("list", "--closed")
    assert fault[:8] in text
    code, text = await desk.shell("show", fault[:8])
    assert (code, "loose wire" in text, "\x1b" in text) == (0, True, False)
    assert "wire?[2Jfixed" in text
    code, text = await desk.shell("acknowledge", fault[:8])
    assert (code, "closed" in text) == (64, True)
    assert await desk.shell("take", "zz") == (64, "fengsui: zz: no such alarm\n")
    told = await desk.ask(OFFICER, "alarm", alarm=fault)
    assert {row["actor"].partition(":")[0] for row in told["record"] if row["origin"] == "person"} == {
        "shell"
    }


async def test_a_core_exports_heads_while_it_runs_and_shows_a_cut_record(desk: Desk) -> None:
    """The export at the next turn finds that the newest head is gone, as a fault in words."""
    desk.says("school", What.FAULT)
    await until(lambda: desk.core.watch.recorder.number == 1, 5, "recorded")
    await desk.core._export_head()
    assert [head.number for head in Heads(desk.core.settings.heads).read()] == [1]
    engine = connect(desk.core.settings.database_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM alarm_record")
    engine.dispose()
    await desk.core._export_head()
    (fault,) = [one for one in desk.core.faults.told() if one["key"] == "audit"]
    assert "the record ends with row 0" in fault["text_en"]

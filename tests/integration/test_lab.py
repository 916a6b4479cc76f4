"""The lab as the core runs it: a process for every question, answers as JSON."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from alerting.rulebook.file import parse, shipped
from fengsui import settings
from fengsui.viewer import Role, Viewer
from server.answers import Answers
from server.app import Core
from server.config import Settings
from server.errands import Errands
from server.lab import Keep, Play, Question, Sources, lab
from server.local import Question as Asking
from server.local import Refused
from simulators.lab import Report
from tests.integration.test_backtest import embedded_past
from tests.unit.test_lab import FIRE, burns, folder
from tests.waiting import background, until

ENGINEER = Viewer("e1", frozenset({Role.ENGINEER}), None)
OF_ONE_UNIT = Viewer("e2", frozenset({Role.ENGINEER}), frozenset({"u1"}))


@asynccontextmanager
async def running(recordings: Path | None = None) -> AsyncIterator[Errands[Question]]:
    """A lab at work, beside the shipped rules."""
    ours = lab(recordings, lambda: shipped().text)
    async with background(ours.run()):
        yield ours


async def answer(ours: Errands[Question], question: Question, viewer: Viewer = ENGINEER) -> Any:
    """What comes of a question, decoded."""
    ticket = await ours.start(viewer, question)
    return msgspec.json.decode(await until(lambda: ours.look(viewer, ticket)["report"]))


async def test_questions_are_answered_by_a_process_of_its_own(tmp_path: Path) -> None:
    """The list, a run under an edited draft, and a test that is kept come back over the pipe."""
    text = shipped().text
    async with running(folder(tmp_path / "made", burns())) as ours:
        ids = {one["id"] for one in await answer(ours, Sources())}
        assert {FIRE, "recording/room.csv"} <= ids
        report = msgspec.convert(
            await answer(ours, Play(source="recording/room.csv", rules=text)), type=Report
        )
        assert report.draft.alarms == report.in_force.alarms
        kept = await answer(
            ours, Keep(source=FIRE, rules=text, point="heat-302", from_s=0, to_s=200, name="kept")
        )
        assert parse(kept["text"], "draft").tests[-1].test.name == "kept"
        assert "heat-fire raises" in " ".join(kept["said"])


async def test_recordings_are_for_who_sees_every_unit(tmp_path: Path) -> None:
    """They belong to no unit: who sees some has the scenarios alone."""
    async with running(folder(tmp_path / "made", burns())) as ours:
        groups = {one["group"] for one in await answer(ours, Sources(), OF_ONE_UNIT)}
        assert groups == {"scenario"}
        with pytest.raises(Refused, match="choose one of the list"):
            await answer(ours, Play(source="recording/room.csv", rules=shipped().text), OF_ONE_UNIT)


async def test_what_cannot_be_done_is_refused_in_words(tmp_path: Path) -> None:
    """A wrong draft says line and reason, a folder that is none its name."""
    async with running(tmp_path / "nothing") as ours:
        wrong = Play(source=FIRE, rules="threshold:\n  - {name: x, above: false}\n")
        with pytest.raises(Refused, match="draft:2: ") as error:
            await answer(ours, wrong)
        assert error.value.code == "invalid"
        with pytest.raises(Refused, match=r"has no manifest\.csv"):
            await answer(ours, Sources())


async def test_the_core_answers_engineers_alone(tmp_path: Path) -> None:
    """Over the core's socket: an engineer has a run, an officer nothing, and nobody another's."""
    core = await Core.open(settings.load(await embedded_past(tmp_path, days=1), Settings))
    answers = Answers(core)
    working = asyncio.create_task(core.lab.run(), name="test.lab")

    async def ask(viewer: Viewer, do: str, **args: Any) -> Any:
        return await answers.answer(Asking(1, do, viewer, args))

    try:
        officer = Viewer("o1", frozenset({Role.OFFICER}), None)
        asked = {"source": FIRE, "rules": shipped().text, "point": "smoke-302"}
        ticket = {"ticket": "0" * 16}
        for do, args in (
            ("lab_sources", {}), ("lab_play", asked), ("lab_keep", asked), ("look_lab", ticket),
            ("cancel_lab", ticket),
        ):  # fmt: skip
            with pytest.raises(Refused) as error:
                await ask(officer, do, **args)
            assert error.value.code == "forbidden"
        with pytest.raises(Refused, match="unknown field"):
            await ask(ENGINEER, "lab_play", **asked, more=1)
        mine = (await ask(ENGINEER, "lab_play", **asked))["ticket"]
        told = await until(lambda: core.lab.look(ENGINEER, mine)["report"])
        assert msgspec.json.decode(told, type=Report).point == "smoke-302"
        with pytest.raises(Refused) as error:
            await ask(OF_ONE_UNIT, "look_lab", ticket=mine)
        assert error.value.code == "unknown"
        await ask(ENGINEER, "cancel_lab", ticket=mine)
    finally:
        working.cancel()
        await asyncio.wait({working})
        await core.store.aclose()
        await core.deadletter.aclose()
        core.journal.close()

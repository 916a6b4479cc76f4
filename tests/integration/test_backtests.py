"""Backtests asked for at the core: real processes, one at a time, given up when nobody looks."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from alerting.backtest.report import Report
from fengsui import settings
from fengsui.model import AlarmClass
from fengsui.settings import Secret
from fengsui.viewer import Role, Viewer
from server.answers import Answers
from server.app import Core
from server.backtest import Kept, Question
from server.backtest_worker import Job
from server.backtests import BOUNDS, WORKER, backtests
from server.config import Embedded, Influx, Settings
from server.errands import LEASE_S, Errands
from server.local import Question as Asking
from server.local import Refused
from tests.integration.test_backtest import embedded_past, kept, question
from tests.past import IN_FORCE
from tests.waiting import background, until

ENGINEER = Viewer("e1", frozenset({Role.ENGINEER}), None)
OTHER = Viewer("e2", frozenset({Role.ENGINEER}), None)
NOWHERE = Kept(Embedded(folder=Path("/nowhere")), "sqlite:////nowhere/state.db", "")
STUCK = (
    sys.executable, "-c",
    "import os, sys, time; sys.stdin.readline(); print('{\"progress\": {\"at_us\": %d, \"readings\": 1}}'"
    " % os.getpid(), flush=True); time.sleep(600)",
)  # fmt: skip
"""A worker that tells its process id as progress and then nothing."""


class Clock:
    """Seconds that stand until they are moved."""

    s = 100.0

    def __call__(self) -> float:
        """Now."""
        return self.s


@asynccontextmanager
async def running(
    past: Kept, worker: Sequence[str] = WORKER, clock: Clock | None = None
) -> AsyncIterator[Errands[Question]]:
    """Backtests at work."""
    ours = backtests(lambda: past, worker=worker, monotonic_s=clock or Clock())
    async with background(ours.run()):
        yield ours


async def looked(ours: Errands[Question], ticket: str) -> Any:
    """The report, as JSON."""
    return await until(lambda: ours.look(ENGINEER, ticket)["report"])


async def process_of(ours: Errands[Question], ticket: str) -> int:
    """The id of a stuck worker's process."""
    await until(lambda: ours.look(ENGINEER, ticket)["progress"] is not None)
    return int(ours.look(ENGINEER, ticket)["progress"].at_us)


def is_there(process: int) -> bool:
    """Whether a process runs."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_question_has_its_report(tmp_path: Path) -> None:
    """The process reads the core's past as the viewer, and its report comes back whole."""
    file = await embedded_past(tmp_path)
    async with running(kept(file)) as ours:
        report = msgspec.json.decode(await looked(ours, await ours.start(ENGINEER, question())), type=Report)
        assert report.draft.begun(AlarmClass.FIRE) == 6
        one_unit = Viewer("e1", frozenset({Role.ENGINEER}), frozenset({"u2"}))
        ticket = await ours.start(one_unit, question())
        await until(lambda: bool(ours.look(one_unit, ticket)["report"]))
        scoped = msgspec.json.decode(ours.look(one_unit, ticket)["report"], type=Report)
        assert (scoped.points, list(scoped.buildings)) == (3, ["mill"])


async def test_what_cannot_be_done_is_refused_with_its_reason(tmp_path: Path) -> None:
    """A wrong draft, too long a span and a past that is not there come back as refusals."""
    file = await embedded_past(tmp_path, days=1)
    wrong = ((question(rules="x"), "the draft"), (question(warm_s=1e7), "100 are allowed"))
    async with running(kept(file)) as ours:
        for asked, said in wrong:
            with pytest.raises(Refused, match=said) as error:
                await looked(ours, await ours.start(ENGINEER, asked))
            assert error.value.code == "invalid"
    async with running(NOWHERE) as ours:
        with pytest.raises(Refused, match="is not there"):
            await looked(ours, await ours.start(ENGINEER, question()))


async def test_one_at_a_time_and_nobody_elses() -> None:
    """A second question waits for its turn, and no other person sees or ends the first."""
    async with running(NOWHERE, STUCK) as ours:
        ticket = await ours.start(ENGINEER, question())
        process = await process_of(ours, ticket)
        with pytest.raises(Refused, match="e1 is running a backtest"):
            await ours.start(OTHER, question())
        for viewer, known in ((OTHER, ticket), (ENGINEER, "0" * 16)):
            with pytest.raises(Refused, match="no such backtest"):
                ours.look(viewer, known)
            with pytest.raises(Refused, match="no such backtest"):
                await ours.cancel(viewer, known)
        await ours.cancel(ENGINEER, ticket)
        assert not is_there(process)
        with pytest.raises(Refused, match="given up"):
            ours.look(ENGINEER, ticket)
        assert await ours.start(OTHER, question()) != ticket


async def test_what_nobody_looks_at_is_given_up() -> None:
    """When the browser has gone, the process goes soon after."""
    clock = Clock()
    async with running(NOWHERE, STUCK, clock) as ours:
        ticket = await ours.start(ENGINEER, question())
        process = await process_of(ours, ticket)
        clock.s += LEASE_S - 1
        ours.look(ENGINEER, ticket)
        clock.s += LEASE_S - 1
        await asyncio.sleep(1.5)  # one check of the lease
        assert is_there(process)
        clock.s += 2
        await until(lambda: not is_there(process))


async def test_a_stopping_core_takes_its_backtest_along() -> None:
    """No process outlives the core's own end."""
    async with running(NOWHERE, STUCK) as ours:
        process = await process_of(ours, await ours.start(ENGINEER, question()))
    assert not is_there(process)


@pytest.mark.parametrize(
    "worker", [("false",), ("/nowhere/python",), ("echo", "no JSON"), ("echo", '{"refused": 1}')]
)
async def test_a_worker_that_breaks_is_told(worker: Sequence[str]) -> None:
    """However the process fails, the core goes on, the person is told, and the next question is taken."""
    async with running(NOWHERE, worker) as ours:
        for _ in range(2):
            with pytest.raises(Refused) as error:
                await looked(ours, await ours.start(ENGINEER, question()))
            assert error.value.code == "unavailable"


def test_a_job_goes_through_a_pipe() -> None:
    """Settings with paths and a secret arrive as they were; the secret is not in what is printed of it."""
    store = Influx(url="https://db.example", database="f", secret=Secret("s3cret"), ca_file=Path("/ca.pem"))
    job = Job(Kept(store, "sqlite:///x", "rules"), ENGINEER, question(), BOUNDS)
    line = job.encode()
    assert line.count(b"\n") == 1
    again = Job.decode(line)
    assert isinstance(again.kept.store, Influx)
    assert again.kept.store.secret is not None
    assert again.kept.store.secret.reveal() == "s3cret"
    assert again.kept.store.ca_file == Path("/ca.pem")
    assert (again.viewer, again.question, again.bounds) == (ENGINEER, question(), BOUNDS)
    assert "s3cret" not in repr(again)
    assert isinstance(again.question, Question)


async def test_the_core_answers_engineers(tmp_path: Path) -> None:
    """Over the core's socket: engineers have the rules in force and a backtest, officers no backtest."""
    file = await embedded_past(tmp_path)
    core = await Core.open(settings.load(file, Settings))
    answers = Answers(core)
    working = asyncio.create_task(core.backtests.run(), name="test.backtests")

    async def ask(viewer: Viewer, do: str, **args: Any) -> Any:
        return await answers.answer(Asking(1, do, viewer, args))

    try:
        officer = Viewer("o1", frozenset({Role.OFFICER}), None)
        asked = msgspec.to_builtins(question())
        for do, args in (("start_backtest", asked), ("look_backtest", {"ticket": "0" * 16})):
            with pytest.raises(Refused) as error:
                await ask(officer, do, **args)
            assert error.value.code == "forbidden"
        assert (await ask(ENGINEER, "rules"))["text"] == IN_FORCE
        with pytest.raises(Refused, match="unknown field"):
            await ask(ENGINEER, "start_backtest", **asked, more=1)
        ticket = (await ask(ENGINEER, "start_backtest", **asked))["ticket"]
        await until(lambda: bool(core.backtests.look(ENGINEER, ticket)["report"]))
        told = await ask(ENGINEER, "look_backtest", ticket=ticket)
        report = msgspec.json.decode(msgspec.json.encode(told["report"]), type=Report)
        assert report.draft.begun(AlarmClass.FIRE) == 6
        with pytest.raises(Refused) as error:
            await ask(OTHER, "cancel_backtest", ticket=ticket)
        assert error.value.code == "unknown"
    finally:
        working.cancel()
        await asyncio.wait({working})
        await core.store.aclose()
        await core.deadletter.aclose()
        core.journal.close()

"""Work asked for at the core: one at a time, in a process of its own, for as long as somebody looks.

Whoever asks gets a ticket and looks again and again; an errand that nobody looked at for ``LEASE_S`` is
given up, so a browser that was closed costs nothing for longer than that. Reports are kept until the next
question, for the person who asked and nobody else.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import msgspec
import structlog

from fengsui.viewer import Viewer
from fengsui.wire import UNREADABLE
from server.errand import Progress
from server.local import Refused

LEASE_S = 75.0
"""A browser lets a page that is hidden look once a minute."""
_CHECK_S = 1.0
MAX_LINE = 12 << 20

QuestionT = TypeVar("QuestionT")

log = structlog.get_logger()


class _Line(msgspec.Struct):
    """What the worker says."""

    progress: Progress | None = None
    report: msgspec.Raw = msgspec.Raw(b"")
    refused: dict[str, str] | None = None


@dataclass(eq=False, slots=True)
class _Running(Generic[QuestionT]):
    ticket: str
    viewer: Viewer
    question: QuestionT
    seen_s: float
    progress: Progress | None = None
    report: bytes = b""
    refused: Refused | None = None
    is_cancelled: bool = False
    over: asyncio.Event = field(default_factory=asyncio.Event)


class Errands(Generic[QuestionT]):
    """The errands of one sort; :meth:`run` must run beside them.

    Args:
        sort: What a person calls one of them.
        worker: Command of the process that does the work.
        job: The line that the process is told.
        monotonic_s: For the lease.
    """

    def __init__(
        self,
        sort: str,
        worker: Sequence[str],
        job: Callable[[Viewer, QuestionT], bytes],
        *,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sort = sort
        self._worker = worker
        self._job = job
        self._monotonic_s = monotonic_s
        self._newest: _Running[QuestionT] | None = None
        self._asked = asyncio.Event()

    async def start(self, viewer: Viewer, question: QuestionT) -> str:
        """Begin; the ticket to look with.

        Raises:
            Refused: one is running.
        """
        while (before := self._newest) is not None and not before.over.is_set():
            if not before.report and before.refused is None:
                raise Refused(
                    "unavailable", f"{before.viewer.person} is running a {self._sort}; try again later"
                )
            await before.over.wait()  # its process is on its way out
        self._newest = _Running(secrets.token_hex(8), viewer, question, self._monotonic_s())
        self._asked.set()
        return self._newest.ticket

    def look(self, viewer: Viewer, ticket: str) -> dict[str, Any]:
        """How far it is, and the report when it is done; looking keeps it going.

        Raises:
            Refused: there is no such errand of this person, or why it cannot be done.
        """
        one = self._of(viewer, ticket)
        one.seen_s = self._monotonic_s()
        if one.refused is not None:
            raise one.refused
        done = msgspec.Raw(one.report) if one.report else None
        return {"progress": one.progress, "report": done}

    async def cancel(self, viewer: Viewer, ticket: str) -> None:
        """Give it up; returns when its process has gone.

        Raises:
            Refused: there is no such errand of this person.
        """
        one = self._of(viewer, ticket)
        one.is_cancelled = True
        self._asked.set()
        await one.over.wait()

    async def run(self) -> None:
        """Do what is asked for, until cancelled; a worker never outlives this."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            one = self._newest
            if one is not None and not one.over.is_set():
                try:
                    await self._work(one)
                finally:
                    one.over.set()

    def _of(self, viewer: Viewer, ticket: str) -> _Running[QuestionT]:
        one = self._newest
        if one is None or one.viewer != viewer or not secrets.compare_digest(one.ticket, ticket):
            raise Refused("unknown", f"there is no such {self._sort}, or a newer one has taken its place")
        return one

    async def _work(self, one: _Running[QuestionT]) -> None:
        try:
            process = await asyncio.create_subprocess_exec(
                *self._worker, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=MAX_LINE
            )
        except OSError as error:
            one.refused = Refused("unavailable", f"no process for the {self._sort}: {error.strerror}")
            return
        assert process.stdin is not None
        assert process.stdout is not None
        following = asyncio.create_task(self._follow(one, process.stdout), name="errand.follow")
        try:
            process.stdin.write(self._job(one.viewer, one.question))
            while not following.done():
                asked = asyncio.create_task(self._asked.wait(), name="errand.asked")
                await asyncio.wait({following, asked}, timeout=_CHECK_S, return_when=asyncio.FIRST_COMPLETED)
                asked.cancel()
                self._asked.clear()
                if one.is_cancelled or self._monotonic_s() - one.seen_s > LEASE_S:
                    one.refused = Refused("unknown", f"this {self._sort} was given up")
                    break
        finally:
            following.cancel()
            await asyncio.wait({following})
            await _end(process)
        told = one.progress or Progress(0, 0)
        log.info(
            "core.errand", sort=self._sort, person=one.viewer.person, readings=told.readings,
            done=bool(one.report),
        )  # fmt: skip

    async def _follow(self, one: _Running[QuestionT], lines: asyncio.StreamReader) -> None:
        try:
            while text := await lines.readline():
                line = msgspec.json.decode(text, type=_Line)
                if line.progress is not None:
                    one.progress = line.progress
                elif line.refused is not None:
                    one.refused = Refused(line.refused["code"], line.refused["text"])
                    return
                else:
                    one.report = bytes(line.report)
                    return
        except (*UNREADABLE, ValueError) as error:  # no JSON of ours, or a line too long
            log.warning("core.errand_unreadable", sort=self._sort, reason=str(error))
        one.refused = Refused("unavailable", f"the {self._sort} broke off; see the core's log")


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill the process if it runs, and wait for its end even when cancelled meanwhile."""
    if process.returncode is None:
        process.kill()
    ending = asyncio.ensure_future(process.communicate())
    try:
        await asyncio.shield(ending)
    except asyncio.CancelledError:
        await ending
        raise

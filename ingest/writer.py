"""The store writer: follows the journal with its own cursor and puts every reading into the series store.

At most three batches are in flight; the cursor moves in journal order, and only after a batch's readings are
in the store, or in the dead letter under their entry's number. It is written down at most once a second:
after a crash the last second is read again, and the store takes the same reading twice without harm. An error
of the store holds the data for as long as it lasts; the oldest batch alone asks again, the next one follows
it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

import msgspec
import numpy as np
import structlog

from fengsui.journal import Entry
from fengsui.log import write_durably
from fengsui.model import Lane
from ingest.deadletter import DeadLetterUnavailable, Letter
from ingest.decode import Decoded, Reject
from ingest.store.base import (
    Outcome,
    Rows,
    StoreMisconfigured,
    StoreUnavailable,
    Writable,
)

REFUSED_BY_STORE = "store_refused"
"""Reason of a reject whose readings the series store will never take."""
STORE_DOWN = "store_down"
"""Reason of readings given up because the journal was full and the store did not come back."""

MAX_READINGS = 20_000
"""A write is begun with what there is, and with no more than this and one chunk of the feed."""
IN_FLIGHT = 3
"""While two are on their way, the lines of a third are made; with two, the store waited for lines."""
RETRY_S = (1.0, 30.0)
MISCONFIGURED_RETRY_S = 30.0
SAVE_EVERY_S = 1.0

_MAX_PARTS = 64
_SMALL = 1_000
_LINGER_S = 0.1
_T = TypeVar("_T")

Read = Callable[[Mapping[Lane, int]], Awaitable[Decoded]]
"""What follows a cursor, of one lane, decoded; waits until there is something (``Feed.read``)."""
Bury = Callable[[Sequence[Letter]], Awaitable[object]]
"""Keep letters durably; the same ones again change nothing (``DeadLetter.put``)."""


class Journal(Protocol):
    """What the writer asks the journal."""

    @property
    def identity(self) -> str:
        """Which journal this is."""

    def end(self) -> dict[Lane, int]:
        """The last entry of each lane."""

    def is_behind(self, cursor: Mapping[Lane, int]) -> bool:
        """Whether there is anything a reader at ``cursor`` has not read."""


class StoreState(StrEnum):
    """What the writer knows of the store since its last request."""

    OK = "ok"
    UNAVAILABLE = "unavailable"
    MISCONFIGURED = "misconfigured"


class Balance(msgspec.Struct):
    """One gateway's readings behind the cursor: ``read == stored + duplicate + passed + dead + shed``."""

    read: int = 0
    stored: int = 0
    duplicate: int = 0
    """Readings whose (point, stamp) was in the store before."""
    passed: int = 0
    """Events, shed and describe records, one each: nothing for the series store."""
    dead: dict[str, int] = {}
    shed: dict[str, int] = {}


class Statistics(NamedTuple):
    """The writer's own figures, cumulative since it started."""

    state: StoreState
    text: str
    """Why the state is not ok, in the store's words."""
    batches: int
    readings: int
    retries: int
    in_flight: int
    """Batches read and not settled."""


class _Saved(msgspec.Struct):
    """Content of the cursor file."""

    journal: str
    cursor: dict[Lane, int]
    balances: dict[str, Balance]


@dataclass(frozen=True, slots=True)
class _Skip:
    lane: Lane
    since: int
    n: int
    readings: Mapping[str, int]
    reason: str
    done: asyncio.Future[bool]


class _Load:
    """Chunks of the feed that are written by one request, in journal order."""

    def __init__(self, parts: list[Decoded]) -> None:
        self.parts = parts
        self.rows = Rows.of(*(part.batch for part in parts))
        self._starts = np.cumsum([0, *(part.batch.count for part in parts)])

    def entry(self, row: int) -> Entry:
        """The journal entry that a row came in."""
        place = int(np.searchsorted(self._starts, row, side="right")) - 1
        part = self.parts[place]
        return part.entries[int(part.origin[row - int(self._starts[place])])]

    def rejects(self, outcome: Outcome) -> list[Reject]:
        """One reject for each entry of which the store refused readings, in the first refusal's words."""
        texts: dict[Entry, list[str]] = {}
        for row, text in outcome.refused:
            texts.setdefault(self.entry(row), []).append(text)
        return [Reject(entry, REFUSED_BY_STORE, said[0], len(said)) for entry, said in texts.items()]


class Writer:
    """Moves readings from the journal into the series store.

    Args:
        journal: Whose entries ``read`` gives.
        read: See :data:`Read`.
        store: Where readings go.
        bury: See :data:`Bury`.
        cursor_file: The writer's memory; a damaged one is moved aside and everything still in the journal is
            read again.
        sleep: Waits so many seconds.
        uniform: Draws the jitter.
    """

    def __init__(
        self,
        journal: Journal,
        read: Read,
        store: Writable,
        bury: Bury,
        cursor_file: Path,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._journal = journal
        self._read = read
        self._store = store
        self._bury = bury
        self._file = cursor_file
        self._sleep = sleep
        self._uniform = uniform
        self._log = structlog.get_logger("store")
        self._faults: dict[str, str] = {}
        self._state = StoreState.OK
        self._text = ""
        self._batches = self._readings = self._retries = self._in_flight = self._insisting = 0
        self._skips: asyncio.Queue[_Skip] = asyncio.Queue(1)
        self._changed = asyncio.Event()
        self._now = self._load(journal)
        self._durable = dict(self._now.cursor)

    @property
    def cursor(self) -> dict[Lane, int]:
        """Per lane the last entry that is settled and written down: the journal may forget up to here."""
        return dict(self._durable)

    @property
    def balances(self) -> Mapping[str, Balance]:
        """By gateway, cumulative since the journal began."""
        return self._now.balances

    @property
    def faults(self) -> list[str]:
        """What a person must be told, a sentence each: of the cursor, the store, and why it takes nothing."""
        told = [*self._faults.values(), *self._store.faults]
        return told if self._state is StoreState.OK else [*told, self._text]

    def statistics(self) -> Statistics:
        """The figures for ``/metrics`` and the status."""
        return Statistics(
            self._state, self._text, self._batches, self._readings, self._retries, self._in_flight
        )

    async def run(self) -> None:
        """Write until cancelled; then the cursor is written down a last time."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keep_saving(), name="store.cursor")
                while True:
                    drain = group.create_task(self._drain(), name="store.drain")
                    skip = await self._skips.get()
                    drain.cancel()
                    await asyncio.wait([drain])
                    await self._skip(skip)
        finally:
            await self._save()

    async def skip_to(
        self, lane: Lane, n: int, readings: Mapping[str, int], *, since: int, reason: str = STORE_DOWN
    ) -> bool:
        """Give up the entries after ``since`` up to ``n``; call it before they leave the journal.

        Args:
            lane: Their lane.
            n: The last of them; the cursor will stand here, written down, when this returns True.
            readings: What they count for, by gateway.
            since: ``cursor[lane]`` when ``readings`` was counted.
            reason: Under which they are counted as shed.

        Returns:
            False when the cursor has moved meanwhile: count again.
        """
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        await self._skips.put(_Skip(lane, since, n, readings, reason, done))
        return await done

    # the way of a batch

    async def _drain(self) -> None:
        reached = dict(self._now.cursor)
        slots = asyncio.Semaphore(IN_FLIGHT)
        before = asyncio.Event()
        before.set()
        self._in_flight = self._insisting = 0
        async with asyncio.TaskGroup() as group:
            while True:
                await slots.acquire()
                load = await self._gather(reached)
                settled = asyncio.Event()
                group.create_task(self._carry(load, before, settled, slots), name="store.batch")
                before = settled
                if load.rows.count < _SMALL:
                    await self._sleep(_LINGER_S)  # let a batch gather: requests and syncs cost, not rows

    async def _gather(self, reached: dict[Lane, int]) -> _Load:
        """Wait for something after ``reached``, take what else is there, and move ``reached`` behind it."""
        parts: list[Decoded] = []
        count = 0
        while not parts or (
            count < MAX_READINGS and len(parts) < _MAX_PARTS and self._journal.is_behind(reached)
        ):
            part = await self._read(reached)
            reached[part.batch.position.lane] = part.batch.position.n
            parts.append(part)
            count += part.batch.count
            await asyncio.sleep(0)  # each was perhaps decoded just now: an alarm must not wait for them all
        return _Load(parts)

    async def _carry(
        self, load: _Load, before: asyncio.Event, settled: asyncio.Event, slots: asyncio.Semaphore
    ) -> None:
        self._in_flight += 1
        await self._put_away([reject for part in load.parts for reject in part.rejects], before)
        outcome = Outcome(0, [], [])
        if load.rows.count:
            outcome = await self._insist(lambda: self._store.write(load.rows), before)
        refused = load.rejects(outcome)
        await self._put_away(refused, before)
        await before.wait()
        self._settle(load, outcome, refused)
        self._in_flight -= 1
        settled.set()
        slots.release()

    async def _insist(self, ask: Callable[[], Awaitable[_T]], before: asyncio.Event) -> _T:
        """Ask until it is done; ``before`` is set when no older batch is waiting."""
        failed = 0
        while True:
            try:
                result = await ask()
            except StoreUnavailable as error:
                self._tell(StoreState.UNAVAILABLE, str(error))
                delay_s = self._delay_s(failed, error.retry_after_s)
            except StoreMisconfigured as error:
                self._tell(StoreState.MISCONFIGURED, str(error))
                delay_s = MISCONFIGURED_RETRY_S * self._uniform(0.9, 1.1)
            else:
                self._insisting -= failed > 0
                if not self._insisting:  # another batch's success says nothing of what is still refused
                    self._tell(StoreState.OK, "")
                return result
            self._insisting += failed == 0
            failed += 1
            self._retries += 1
            if before.is_set():
                await self._sleep(delay_s)
            else:
                await before.wait()

    def _delay_s(self, failed: int, retry_after_s: float | None) -> float:
        shortest, longest = RETRY_S
        if retry_after_s is not None:
            return max(0.1, retry_after_s * self._uniform(1.0, 1.1))
        return self._uniform(shortest, min(longest, shortest * 2.0 ** min(failed + 1, 16)))

    async def _put_away(self, rejects: Sequence[Reject], before: asyncio.Event) -> None:
        letters = [Letter.of(reject, self._journal.identity) for reject in rejects]

        async def bury() -> None:
            try:
                await self._bury(letters)
            except DeadLetterUnavailable as error:
                raise StoreUnavailable(None, str(error)) from error

        if letters:
            await self._insist(bury, before)

    def _settle(self, load: _Load, outcome: Outcome, refused: Sequence[Reject]) -> None:
        for part in load.parts:
            for gateway, counts in part.counts.items():
                balance = self._balance(gateway)
                balance.read += counts.journalled
                balance.stored += counts.delivered
                balance.passed += counts.passed
                _add(balance.dead, counts.dead)
            self._now.cursor[part.batch.position.lane] = part.batch.position.n
        for row in outcome.duplicates:
            balance = self._balance(load.entry(row).gateway)
            balance.stored -= 1
            balance.duplicate += 1
        for reject in refused:
            balance = self._balance(reject.entry.gateway)
            balance.stored -= reject.readings
            _add(balance.dead, {reject.reason: reject.readings})
        self._batches += 1
        self._readings += load.rows.count
        self._changed.set()

    def _balance(self, gateway: str) -> Balance:
        return self._now.balances.setdefault(gateway, Balance())

    def _tell(self, state: StoreState, text: str) -> None:
        if (state, text) == (self._state, self._text):
            return
        self._state, self._text = state, text
        if state is StoreState.OK:
            self._log.info("store_ok")
        else:
            self._log.warning("store_does_not_take", state=state, reason=text)

    # memory

    async def _skip(self, skip: _Skip) -> None:
        moved = self._now.cursor[skip.lane] != skip.since
        if not moved:
            for gateway, readings in skip.readings.items():
                balance = self._balance(gateway)
                balance.read += readings
                _add(balance.shed, {skip.reason: readings})
            self._now.cursor[skip.lane] = skip.n
            self._log.warning("store_readings_given_up", lane=skip.lane, upto=skip.n, reason=skip.reason)
            await self._save()
        if not skip.done.done():
            skip.done.set_result(not moved and self._durable[skip.lane] == skip.n)

    async def _keep_saving(self) -> None:
        while True:
            await self._changed.wait()
            await self._save()
            await self._sleep(SAVE_EVERY_S)

    async def _save(self) -> None:
        self._changed.clear()
        cursor, data = dict(self._now.cursor), msgspec.json.encode(self._now)
        try:
            await asyncio.to_thread(write_durably, self._file, data)
        except OSError as error:
            self._faults["save"] = f"the store writer's cursor cannot be written to {self._file}: {error}"
            self._changed.set()
        else:
            self._faults.pop("save", None)
            self._durable = cursor

    def _load(self, journal: Journal) -> _Saved:
        fresh = _Saved(journal.identity, dict.fromkeys(Lane, 0), {})
        if not self._file.exists():
            return fresh
        try:
            saved = msgspec.json.decode(self._file.read_bytes(), type=_Saved)
        except (msgspec.DecodeError, UnicodeDecodeError):
            aside = self._file.with_name(f"{self._file.name}.{time.time_ns()}.damaged")
            self._file.replace(aside)
            self._faults["load"] = f"{aside} was damaged: the journal is stored again from its first entry on"
            return fresh
        if saved.journal != journal.identity:
            self._faults["load"] = f"{self._file} counted in another journal: its balances end here"
            return fresh
        for lane, end in journal.end().items():
            if saved.cursor.setdefault(lane, 0) > end:
                self._faults["load"] = f"the journal ends at {lane} {end}, before the store's cursor"
                saved.cursor[lane] = end
        return saved


def _add(counts: dict[str, int], more: Mapping[str, int]) -> None:
    for reason, count in more.items():
        counts[reason] = counts.get(reason, 0) + count

"""Bugs to plant, one at a time: the ledger must turn red on each, or its green means nothing.

Each mutant names the process it lives in and the row that kills it; ``plant`` runs in that process before its
main module. A mutant whose target has been renamed fails loudly (``getattr``) instead of doing nothing.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal
from uuid import uuid4

FSYNC_LATE_S = 3.0


@dataclass(frozen=True)
class Mutant:
    """A bug: where it lives, which row must turn red, and how it is planted."""

    process: Literal["gateway", "core"]
    row: str
    plant: Callable[[], None]
    shows: str
    """The count of the row's last line that gives it away, or the words of the condition it breaks."""


def _wrap(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
    setattr(owner, name, make(getattr(owner, name)))


def ack_before_fsync() -> None:
    """The spool says accepted, and writes seconds later."""
    from fengsui.spool import Spool

    def later(sync: Any) -> Any:
        def start(self: Any, lane: Any) -> None:
            threading.Timer(FSYNC_LATE_S, sync, (self, lane)).start()

        return start

    _wrap(Spool, "_sync", later)


def commit_before_fsync() -> None:
    """The journal says committed, and writes seconds later."""
    from fengsui.journal import Journal

    def later(commit: Any) -> Any:
        pending: set[asyncio.Task[None]] = set()

        async def start(self: Any, lane: Any) -> None:
            async def write() -> None:
                await asyncio.sleep(FSYNC_LATE_S)
                await commit(self, lane)

            task = asyncio.create_task(write())
            pending.add(task)
            task.add_done_callback(pending.discard)

        return start

    _wrap(Journal, "commit", later)


def skip_fsync() -> None:
    """Nothing is ever synced; only a power cut can tell."""
    for name in ("fsync", "fdatasync"):
        _wrap(os, name, lambda _: lambda fd: None)


def reuse_seq() -> None:
    """Every tenth record takes the number of the one before it."""
    from gateway import uplink

    def reused(encode: Any) -> Any:
        return lambda kind, spool, seq, age, body: encode(kind, spool, seq - (seq % 10 == 0), age, body)

    _wrap(uplink, "encode_record", reused)


def free_before_commit() -> None:
    """A record leaves the spool when it is sent."""
    from gateway.uplink import Uplink

    def freeing(fetch: Any) -> Any:
        async def fetch_and_free(self: Any, lane: Any, seqs: Any) -> Any:
            found = await fetch(self, lane, seqs)
            if found:
                await asyncio.to_thread(self._spool.commit, lane, found[-1].seq)
            return found

        return fetch_and_free

    _wrap(Uplink, "_fetch", freeing)


def delete_on_puback() -> None:
    """A record leaves the spool when the broker has acknowledged it."""
    from fengsui.model import Lane
    from fengsui.mqtt import Connection
    from fengsui.packets import PUBACK, find_packet
    from fengsui.spool import Spool
    from fengsui.wire import decode_header

    spools: list[Any] = []
    sent: dict[tuple[Any, int], tuple[Any, int]] = {}

    def remembering(init: Any) -> Any:
        def start(self: Any, *args: Any, **kwargs: Any) -> None:
            init(self, *args, **kwargs)
            spools.append(self)

        return start

    def publishing(send: Any) -> Any:
        def send_and_note(self: Any, topic: str, payload: bytes) -> None:
            send(self, topic, payload)
            leaf = topic.rpartition("/")[2]
            if leaf in tuple(Lane):
                sent[self, self._mid] = Lane(leaf), decode_header(payload).seq

        return send_and_note

    def acknowledged(take: Any) -> Any:
        def look_and_take(self: Any) -> None:
            at, data = self._at, self._data
            while at < len(data) and (found := find_packet(data, at)) is not None:
                place = (self, int.from_bytes(data[found[0] : found[1]]))
                if data[at] == PUBACK and place in sent:
                    spools[0].commit(*sent.pop(place))
                at = found[1]
            take(self)

        return look_and_take

    _wrap(Spool, "__init__", remembering)
    _wrap(Connection, "send", publishing)
    _wrap(Connection, "_take_packets", acknowledged)


def drop_on_full_queue() -> None:
    """A busy collector answers at once and drops what it was given."""
    from fengsui.model import Lane
    from gateway.collect import Collector

    def dropping(accept: Any) -> Any:
        async def accept_or_drop(self: Any, items: Any) -> None:
            if len(self._queues[Lane.TELEMETRY]) < 100:
                await accept(self, items)

        return accept_or_drop

    _wrap(Collector, "accept", dropping)


def forget_marks_on_restart() -> None:
    """A core that starts again does not know what it has committed."""
    from fengsui import journal

    def forgetting(restore: Any) -> Any:
        def restore_and_forget(self: Any, *args: Any) -> None:
            restore(self, *args)
            self.accounts.clear()

        return restore_and_forget

    _wrap(journal._Lane, "restore", forgetting)


def swallow_one_exception() -> None:
    """The first write that the series store does not answer counts as done."""
    from ingest.store.base import Outcome, StoreUnavailable
    from ingest.store.influx import InfluxStore

    def swallowing(write: Any) -> Any:
        swallowed: list[StoreUnavailable] = []

        async def write_once(self: Any, rows: Any) -> Outcome:
            try:
                outcome: Outcome = await write(self, rows)
            except StoreUnavailable as error:
                if swallowed:
                    raise
                swallowed.append(error)
                return Outcome(rows.count, [], [])
            return outcome

        return write_once

    _wrap(InfluxStore, "write", swallowing)


def re_raise_on_replay() -> None:
    """A core that starts again reads its journal from the beginning and says everything again.

    Cursor, loaded book and deterministic id each stand in for the others: the bug is all three gone.
    """
    from alerting.alarms import book
    from alerting.detect.snapshot import Cursor
    from alerting.watch import Watch

    def forgetting(start: Any) -> Any:
        async def start_and_forget(self: Any) -> None:
            await start(self)
            self._said = self.cursor = Cursor(self.cursor.journal)

        return start_and_forget

    _wrap(Watch, "start", forgetting)
    _wrap(book.Book, "load", lambda _: lambda self, alarms, closed, gone: None)
    _wrap(book, "alarm_id", lambda _: lambda point, cls, raised_at_us: str(uuid4()))


def silence_late_active_fire() -> None:
    """An alarm that was learned late stays silent although it is still active."""
    from alerting.alarms.book import Book

    _wrap(Book, "advance", lambda _: lambda self, *, now_us, now_s: [])


MUTANTS: dict[str, Mutant] = {
    "ack_before_fsync": Mutant("gateway", "R4", ack_before_fsync, "lost"),
    "skip_fsync": Mutant("gateway", "R4", skip_fsync, "lost"),
    "commit_before_fsync": Mutant("core", "R2", commit_before_fsync, "lost"),
    "reuse_seq": Mutant("gateway", "R3", reuse_seq, "residue"),
    "free_before_commit": Mutant("gateway", "R3", free_before_commit, "lost"),
    "delete_on_puback": Mutant("gateway", "R3", delete_on_puback, "lost"),
    "drop_on_full_queue": Mutant("gateway", "R3", drop_on_full_queue, "lost"),
    "forget_marks_on_restart": Mutant("core", "R2", forget_marks_on_restart, "duplicated"),
    "swallow_one_exception": Mutant("core", "R5", swallow_one_exception, "lost"),
    "re_raise_on_replay": Mutant("core", "R2", re_raise_on_replay, "duplicated"),
    "silence_late_active_fire": Mutant(
        "core", "R76", silence_late_active_fire, "the fire sounds: not within"
    ),
}

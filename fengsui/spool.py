"""The gateway's spool: every record gets its identity here and stays until the server has committed it.

A record's identity is (gateway, spool, lane, seq); the lane's log number is the seq. *Accepted means synced*:
``store`` returns after the medium has the records. ``telemetry`` may fill nine tenths of the quota; beyond,
its oldest records are shed, and a ``shed`` record (a tombstone) with the range and the reason takes their
place in the account. Alarm records are never shed; room is made for them out of telemetry, and a ballast
file is given up first when the medium itself is full.

On disk: ``identity`` names the folder ``<identity>/`` with one log per lane; ``ballast`` holds the reserve.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from fengsui.errors import FengsuiError
from fengsui.hold import Stamp, age_ms
from fengsui.log import (
    FRAME_BYTES,
    NO_END,
    Chunk,
    Log,
    LogError,
    LogNoSpace,
    holds_records,
    lock_folder,
    write_durably,
)
from fengsui.model import Clock, Kind, Lane
from fengsui.wire import LaneState, Shed, encode_body, spool_text

_TAKEN = struct.Struct("<BBHIQQ")
_TELEMETRY_SHARE = 0.9
_BALLAST_BYTES = 256 * 1024


class SpoolError(FengsuiError):
    """The spool cannot be opened; the text says which file and what a person can do."""


class SpoolFull(SpoolError):
    """Nothing can be shed any more: the driver must wait."""


class Item(NamedTuple):
    """What is to be stored; ``readings`` is how many readings the body carries, for the account."""

    kind: Kind
    body: bytes
    readings: int


class Held(NamedTuple):
    """A record in the spool's hands."""

    seq: int
    kind: Kind
    readings: int
    taken: Stamp
    body: bytes


class Tombstone(msgspec.Struct, frozen=True, array_like=True):
    """A ``shed`` record not yet committed: its own seq, and what it stands for."""

    seq: int
    shed: Shed


class _LaneHead(msgspec.Struct, frozen=True, array_like=True):
    """State of a lane as it stands at the head of each of its segments."""

    tombstones: list[Tombstone]
    shed: int


class _Lane:
    """A log and its account of what was given up; ``lock`` guards both.

    Whoever needs both lanes takes the alarm lane's lock first.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.log: Log
        self.tombstones: list[Tombstone] = []
        self.shed = 0
        self.upto = 0
        self.damaged: set[tuple[int, int]] = set()

    def head(self) -> bytes:
        return _pack.encode(_LaneHead(self.tombstones, self.shed))

    def restore(self, head: bytes, chunk: Chunk) -> None:
        try:
            state = _unpack_head.decode(head)
        except msgspec.DecodeError as error:
            raise SpoolError(f"{self.log.folder}: the lane's head cannot be read: {error}") from error
        self.tombstones, self.shed = list(state.tombstones), state.shed
        self.upto, self.damaged = 0, set()
        for number, payload in chunk.records:
            held = _held(number, payload)
            if held.kind == Kind.SHED:
                self.bury(number, _unpack_shed.decode(held.body))

    def bury(self, seq: int, shed: Shed) -> None:
        """Remember a tombstone; one that covers an older one replaces it."""
        covered = [t.shed for t in self.tombstones if shed.first <= t.shed.first and t.shed.last <= shed.last]
        self.tombstones = [t for t in self.tombstones if t.shed not in covered]
        self.tombstones.append(Tombstone(seq, shed))
        self.shed += shed.last - shed.first + 1 - sum(c.last - c.first + 1 for c in covered)

    def copy(self, record: Held) -> None:
        """Take over a record under a number of its own; a tombstone then stands for itself alone."""
        if record.kind != Kind.SHED:
            self.log.append(
                _payload(record.kind, record.readings, record.taken, record.body), beyond_quota=True
            )
            return
        old, seq = _unpack_shed.decode(record.body), self.log.next
        shed = Shed(seq, seq, old.readings, old.reason)
        self.log.append(_payload(Kind.SHED, 0, record.taken, encode_body(shed)), beyond_quota=True)
        self.bury(seq, shed)

    @property
    def first(self) -> int:
        """The oldest seq this lane still answers for, with a record or a tombstone."""
        return max(self.upto + 1, min([self.log.first, *(t.shed.first for t in self.tombstones)]))


class Spool:
    """Two lanes of records, synced before they count, kept until they are committed.

    Every method blocks on files and may be called from any thread; call them off the event loop.

    Args:
        folder: The spool's own folder.
        quota_bytes: Bound of both lanes together.
        now: The holding clock.
        segment_bytes: Grain in which space is given back and telemetry is shed.

    Attributes:
        taken_bytes: Bytes taken over since the spool was opened.
    """

    def __init__(
        self, folder: Path, *, quota_bytes: int, now: Callable[[], Stamp], segment_bytes: int | None = None
    ) -> None:
        self.folder = folder
        self.quota_bytes = quota_bytes
        self._now = now
        self._segment_bytes = segment_bytes or max(64 * 1024, min(4 << 20, quota_bytes // 32))
        self._identity = 0
        self.taken_bytes = 0
        folder.mkdir(parents=True, exist_ok=True)
        self._lanes = {lane: _Lane() for lane in Lane}
        self._lock = lock_folder(folder)
        if self._lock is None:
            raise SpoolError(f"{folder} is in use by another process; stop that gateway first")
        try:
            self._open()
        except BaseException:
            self._unlock()
            raise
        self._set_ballast()

    @property
    def identity(self) -> int:
        """Drawn at random when the spool was created; an emptied spool can never use a number twice."""
        return self._identity

    def store(self, lane: Lane, items: Sequence[Item]) -> range:
        """Take over records; they are on the medium when this returns. Their seqs, in order.

        Raises:
            SpoolFull: No room, and nothing left that may be shed. Nothing was accepted.
            LogFailed: The medium failed; the process must stop and read it back.
        """
        state = self._lanes[lane]
        with state.lock:
            stamp = self._now()
            payloads = [_payload(i.kind, i.readings, stamp, i.body) for i in items]
            size = sum(map(len, payloads))
            self._make_room(lane, size + FRAME_BYTES * len(payloads))
            while True:
                first = state.log.next
                for payload in payloads:
                    state.log.append(payload, beyond_quota=True)
                try:
                    self._sync(lane)
                except LogNoSpace:
                    state.log.withdraw(first)  # whoever waits offers it again: it must not be there twice
                    self._find_space(lane)
                else:
                    self.taken_bytes += size
                    return range(first, first + len(payloads))

    def read(self, lane: Lane, seq: int, *, last: int = NO_END, max_bytes: int = 256 * 1024) -> list[Held]:
        """Records from ``seq`` (or the oldest there is) to ``last`` that are not committed yet.

        Damage found on the way is given up at once, reason ``damaged``.
        """
        state = self._lanes[lane]
        with state.lock:
            chunk = state.log.read(max(seq, state.upto + 1), last=last, max_bytes=max_bytes)
            new_damage = [d for d in chunk.damage if d not in state.damaged]
            for damage in new_damage:
                state.damaged.add(damage)
                self._store_shed(lane, Shed(damage.first, damage.last, 0, "damaged"))
            if not chunk.records and chunk.damage:
                return self.read(lane, chunk.next, last=last, max_bytes=max_bytes)
            return [_held(number, payload) for number, payload in chunk.records]

    def commit(self, lane: Lane, upto: int) -> bool:
        """Forget everything up to ``upto``; False when it is not ahead of what was committed before."""
        state = self._lanes[lane]
        with state.lock:
            if upto <= state.upto:
                return False
            state.upto = upto
            state.tombstones = [t for t in state.tombstones if t.seq > upto]
            state.damaged = {d for d in state.damaged if d[1] > upto}
            before = state.log.size
            state.log.release(upto)
            if state.log.size < before:
                self._set_ballast()
            return True

    def refuse(self, lane: Lane, seq: int) -> None:
        """Set one record aside that the server never answers, reason ``refused``."""
        state = self._lanes[lane]
        with state.lock:
            held = self.read(lane, seq, max_bytes=1)
            readings = held[0].readings if held and held[0].seq == seq else 0
            for tombstone in [t for t in state.tombstones if t.seq == seq]:
                self._store_shed(lane, tombstone.shed)  # what it stands for needs another
            self._store_shed(lane, Shed(seq, seq, readings, "refused"))

    def renew(self) -> None:
        """Draw a new identity and renumber what is held: this spool turned out to be an old copy.

        Raises:
            SpoolFull: No room for the copy, and nothing left that may be shed; the spool is as it was.
        """
        with self._lanes[Lane.ALARM].lock, self._lanes[Lane.TELEMETRY].lock:
            identity = secrets.randbits(64) or 1
            old = self.folder / spool_text(self._identity)
            while True:
                try:
                    self._create(identity, self._everything)
                    break
                except LogNoSpace:
                    shutil.rmtree(self.folder / spool_text(identity))
                    self._find_space(Lane.ALARM)
            write_durably(self.folder / "identity", spool_text(identity).encode())
            for state in self._lanes.values():
                state.log.close()
            shutil.rmtree(old)
            self._open()

    def tombstones(self, lane: Lane) -> list[int]:
        """Seqs of ``shed`` records not committed yet; they are sent before anything else of their lane.

        Does not wait for a sync that is under way, so an event loop may ask.
        """
        return [t.seq for t in list(self._lanes[lane].tombstones)]

    def state(self, lane: Lane) -> LaneState:
        """The lane as ``hello`` reports it."""
        state = self._lanes[lane]
        with state.lock:
            oldest = 0
            if state.upto + 1 < state.log.next:
                held = self.read(lane, state.upto + 1, max_bytes=1)
                oldest = age_ms(held[0].taken, self._now()) if held else 0
            return LaneState(state.first, state.log.next, state.log.size, oldest, state.shed)

    @property
    def size(self) -> int:
        """Bytes that both lanes use."""
        return sum(state.log.size for state in self._lanes.values())

    def held(self, lane: Lane) -> range:
        """The seqs from the lane's oldest record on disk to its newest one that is synced."""
        log = self._lanes[lane].log
        return range(log.first, log.synced + 1)

    def age_ms(self, held: Held) -> int:
        """How long a record has been held, ms; ``AGE_UNKNOWN`` after a reboot with an unsynced clock."""
        return age_ms(held.taken, self._now())

    def close(self) -> None:
        """Close the files; nothing accepted is lost by it."""
        for state in self._lanes.values():
            with state.lock:
                state.log.close()
        self._unlock()

    # inside

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _open(self) -> None:
        pointer = self.folder / "identity"
        if not pointer.exists():
            leftovers = [home for home in self._homes() if any(holds_records(home / lane) for lane in Lane)]
            if leftovers:
                names = ", ".join(home.name for home in leftovers)
                raise SpoolError(
                    f"{self.folder} holds records ({names}) but no file 'identity'. Write the name of the "
                    "folder that is the spool into 'identity', or move the folders away to begin a new spool."
                )
            identity = secrets.randbits(64) or 1
            self._create(identity, lambda lane: iter(()))
            write_durably(pointer, spool_text(identity).encode())
        try:
            self._identity = int(pointer.read_text(), 16)
        except ValueError as error:
            raise SpoolError(f"{pointer} does not hold a spool's identity (16 hexadecimal digits)") from error
        home = self.folder / spool_text(self._identity)
        for other in self._homes():
            if other != home:
                shutil.rmtree(other)  # left by a renewal that was interrupted
        for lane, state in self._lanes.items():
            try:
                state.log, head, chunk = Log.open(
                    home / lane,
                    head=state.head,
                    quota_bytes=self.quota_bytes,
                    segment_bytes=self._segment_bytes,
                )
            except LogError as error:
                raise SpoolError(
                    f"{error}. Restore it, or remove {pointer} and {home} to begin anew."
                ) from error
            state.restore(head, chunk)

    def _homes(self) -> list[Path]:
        """Folders that are a spool's; others (such as ``lost+found``) are none of our business."""
        return [p for p in self.folder.iterdir() if _HOME.fullmatch(p.name) and p.is_dir()]

    def _create(self, identity: int, content: Callable[[Lane], Iterator[list[Held]]]) -> None:
        home = self.folder / spool_text(identity)
        if home.exists():
            shutil.rmtree(home)
        for lane in Lane:
            state = _Lane()
            state.log = Log.create(
                home / lane, head=state.head, quota_bytes=self.quota_bytes, segment_bytes=self._segment_bytes
            )
            try:
                for batch in content(lane):
                    for record in batch:
                        state.copy(record)
                    state.log.sync()
            finally:
                state.log.close()

    def _everything(self, lane: Lane) -> Iterator[list[Held]]:
        seq = 1
        while batch := self.read(lane, seq):
            yield batch
            seq = batch[-1].seq + 1

    def _make_room(self, lane: Lane, size: int) -> None:
        """Shed telemetry until ``size`` more bytes fit.

        Raises:
            SpoolFull: Everything that is left are alarm records.
        """
        telemetry = self._lanes[Lane.TELEMETRY].log
        while self.size + size > self.quota_bytes or (
            lane is Lane.TELEMETRY and telemetry.size + size > _TELEMETRY_SHARE * self.quota_bytes
        ):
            if not self._shed_oldest():
                raise SpoolFull(f"{self.folder}: quota of {self.quota_bytes} bytes is full of alarm records")

    def _sync(self, lane: Lane) -> None:
        self._lanes[lane].log.sync()

    def _find_space(self, lane: Lane) -> None:
        """The medium is full: shed telemetry; an alarm may take the ballast's room when there is none left.

        Raises:
            SpoolFull: There is nothing more to give up.
        """
        had_ballast = self._ballast.exists()
        self._ballast.unlink(missing_ok=True)
        if self._shed_oldest():
            self._set_ballast()
        elif lane is not Lane.ALARM or not had_ballast:
            if had_ballast:
                self._set_ballast()
            raise SpoolFull(f"{self.folder}: the medium is full")

    def _shed_oldest(self) -> bool:
        """Give up the oldest telemetry segment, tombstone first; False when there is nothing to gain."""
        state = self._lanes[Lane.TELEMETRY]
        with state.lock:
            segment = self._oldest_segment(state)
            if segment is None:
                return False
            first, last = max(segment[0], state.upto + 1), segment[1]
            if first <= last:
                self._bury_segment(state, first, last)
            state.log.drop_oldest()
            with contextlib.suppress(LogNoSpace):  # what is pending still goes out with the next sync
                state.log.sync()
            return True

    @staticmethod
    def _oldest_segment(state: _Lane) -> tuple[int, int] | None:
        segment = state.log.oldest_segment
        if segment is None:
            held = range(state.log.first, state.log.next)
            if all(any(t.seq == seq for t in state.tombstones) for seq in held):
                return None  # tombstones alone would only be written anew, for ever
            with contextlib.suppress(LogNoSpace):
                state.log.roll()
            segment = state.log.oldest_segment
        return segment

    def _bury_segment(self, state: _Lane, first: int, last: int) -> None:
        readings, seq = 0, first
        while seq <= last:
            chunk = state.log.read(seq, max_bytes=4 << 20)
            readings += sum(_held(n, p).readings for n, p in chunk.records if first <= n <= last)
            seq = max(chunk.next, seq + 1)  # a file that somebody deleted gives nothing
        inside = [t.shed for t in state.tombstones if first <= t.seq <= last]
        before = [t.shed for t in state.tombstones if t.shed.last == first - 1 and t.shed.reason == "quota"]
        for shed in before:
            first, readings = min(first, shed.first), readings + shed.readings
        for shed in inside:  # the tombstone itself goes: what it stands for needs another
            if shed not in before and not first <= shed.first <= shed.last <= last:
                self._store_shed(Lane.TELEMETRY, shed)
        self._store_shed(Lane.TELEMETRY, Shed(first, last, readings, "quota"))

    def _store_shed(self, lane: Lane, shed: Shed) -> None:
        state = self._lanes[lane]
        payload = _payload(Kind.SHED, 0, self._now(), encode_body(shed))
        seq = state.log.append(payload, beyond_quota=True)
        state.bury(seq, shed)
        with contextlib.suppress(LogNoSpace):  # it stays pending and goes out with the next sync
            state.log.sync()

    @property
    def _ballast(self) -> Path:
        return self.folder / "ballast"

    def _set_ballast(self) -> None:
        size = min(_BALLAST_BYTES, self.quota_bytes // 32)
        if self._ballast.exists() and self._ballast.stat().st_size == size:
            return
        with contextlib.suppress(OSError), self._ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)


def _held(number: int, payload: bytes) -> Held:
    kind, clock, readings, boot, since_boot_ms, wall_ms = _TAKEN.unpack_from(payload)
    taken = Stamp(boot, since_boot_ms, wall_ms, Clock(clock))
    return Held(number, Kind(kind), readings, taken, payload[_TAKEN.size :])


def _payload(kind: Kind, readings: int, taken: Stamp, body: bytes) -> bytes:
    return _TAKEN.pack(kind, taken.clock, readings, taken.boot, taken.since_boot_ms, taken.wall_ms) + body


_HOME = re.compile(r"[0-9a-f]{16}")
_pack = msgspec.msgpack.Encoder()
_unpack_head = msgspec.msgpack.Decoder(_LaneHead)
_unpack_shed = msgspec.msgpack.Decoder(Shed)

r"""An append-only log of numbered records in segment files: what the spool and the journal are made of.

*Appended* is in memory, *synced* is on the medium: one write and one ``fdatasync`` for everything appended
since the last sync. Space is given back by unlinking whole segments; numbers are never used twice.

A segment file, named by the number of its first record, little-endian::

    8  magic "FSLOG\0\0\1"
    4  length of the head   4  crc32 of the head   head   and all of this once more
    then per record: 4 length  4 crc32(length, number, payload)  8 number  payload

The *head* is a blob of the owner's, taken when the segment is begun: the owner's state just before the
segment's first record, so that recovery reads the last segment only. It stands there twice; when both are
damaged, recovery begins one segment earlier.

The length takes 21 bits, the other 11 check length and number by themselves. So a tail that a crash has
*torn* (a true beginning of a frame, never accepted: it is cut) is told from a *damaged* record (accepted: it
is reported, stepped over, and its number is not used again). Every frame carries its number, so the next
good one is found again and nothing is renumbered.

Sources: shared measurements (WAL and rename traps) and ADR 0002.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

MAGIC = b"FSLOG\x00\x00\x01"
MAX_PAYLOAD = 1 << 20
NO_END = 2**64
"""Beyond every number."""

_PLACES = 64
"""Where a reader may go on, remembered by number: without it the segment is scanned from its beginning."""
_PRELUDE = struct.Struct("<8sII")
_FRAME = struct.Struct("<IIQ")
_SEALED = struct.Struct("<IQ")
_SUFFIX = ".log"
_LENGTH_BITS = 21
_LENGTH_MASK = (1 << _LENGTH_BITS) - 1
_READ = 256 * 1024
_LOOK_FURTHER = 4 << 20
_FAR = 1 << 32
"""No stretch of damage holds that many records: a number beyond it is no neighbour's."""

FRAME_BYTES = _FRAME.size
"""What a record costs beyond its payload."""


class LogError(Exception):
    """The log cannot do what was asked; the tree: LogMissing, LogFull, LogNoSpace, LogFailed."""


class LogMissing(LogError):
    """There is no log where one must be; it is never begun anew in silence."""


class LogFull(LogError):
    """The quota is reached: give something up (``drop_oldest``) or wait."""


class LogNoSpace(LogError):
    """The medium has no room. What was appended stays in memory; sync again once there is room."""


class LogFailed(LogError):
    """A write or sync failed: what is on the medium is unknown. Stop, start again and read it back."""


class Damage(NamedTuple):
    """Records ``first`` to ``last`` cannot be read any more."""

    first: int
    last: int


class Chunk(NamedTuple):
    """Records in ascending order, the damage between them, and the number to read next."""

    records: list[tuple[int, bytes]]
    damage: list[Damage]
    next: int


@dataclass(slots=True)
class Segment:
    """A file of a log, and how much of it is used."""

    first: int
    path: Path
    size: int = 0


class Log:
    """Numbered records on disk; one writer, any number of readers in the same process.

    ``sync`` may run in another thread than ``append``; the owner appends nothing meanwhile.

    Args:
        folder: Holds this log's segments and nothing else.
        head: Gives the owner's state as bytes; called in ``append`` when a segment is begun.
        quota_bytes: Bound of all segments together.
        segment_bytes: A segment is closed when it has grown to this size.
    """

    def __init__(
        self, folder: Path, *, head: Callable[[], bytes], quota_bytes: int, segment_bytes: int
    ) -> None:
        self.folder = folder
        self.quota_bytes = quota_bytes
        self._segment_bytes = segment_bytes
        self._head = head
        self._segments: list[Segment] = []
        self._frames = bytearray()
        self._new_head: bytes | None = None
        self._size = 0
        self._next = 1
        self._synced = 0
        self._open_size = 0
        self._file: int | None = None
        self._failed: str | None = None
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._places: dict[int, tuple[int, int]] = {}

    @classmethod
    def create(
        cls, folder: Path, *, head: Callable[[], bytes], quota_bytes: int, segment_bytes: int, first: int = 1
    ) -> Log:
        """Begin a log whose first record will have the number ``first``; the folder must not hold one."""
        folder.mkdir(parents=True, exist_ok=True)
        if segments_in(folder):
            raise LogError(f"{folder} already holds a log")
        log = cls(folder, head=head, quota_bytes=quota_bytes, segment_bytes=segment_bytes)
        log._next, log._synced = first, first - 1
        log._begin_segment(first, head())
        sync_folder(folder.parent)
        return log

    @classmethod
    def open(
        cls, folder: Path, *, head: Callable[[], bytes], quota_bytes: int, segment_bytes: int
    ) -> tuple[Log, bytes, Chunk]:
        """Recover a log; return it, the head of its last segment, and that segment's records.

        Raises:
            LogMissing: No segment with a readable head is there.
        """
        log = cls(folder, head=head, quota_bytes=quota_bytes, segment_bytes=segment_bytes)
        return (log, *log._recover())

    # what is there

    @property
    def first(self) -> int:
        """Number of the oldest record still on disk; equals ``next`` when there is none."""
        return self._segments[0].first

    @property
    def next(self) -> int:
        """Number that the next record will get."""
        return self._next

    @property
    def synced(self) -> int:
        """Every record up to this number is on the medium."""
        return self._synced

    @property
    def size(self) -> int:
        """Bytes in use, pending ones included."""
        return self._size

    @property
    def oldest_segment(self) -> tuple[int, int] | None:
        """First and last number of the oldest closed segment, the one ``drop_oldest`` would give up."""
        if len(self._segments) < 2:
            return None
        return self._segments[0].first, self._segments[1].first - 1

    # writing

    def append(self, payload: bytes, *, beyond_quota: bool = False) -> int:
        """Give a record its number; it counts for nothing until ``sync`` has returned.

        Raises:
            LogFull: The quota is reached and ``beyond_quota`` is not set.
            LogFailed: An earlier sync failed.
        """
        self._check_usable()
        if len(payload) > MAX_PAYLOAD:
            raise LogError(f"a record of {len(payload)} bytes; at most {MAX_PAYLOAD}")
        with self._lock:
            size = _FRAME.size + len(payload)
            if not beyond_quota and self._size + size > self.quota_bytes:
                raise LogFull(f"{self.folder}: quota of {self.quota_bytes} bytes is reached")
            if self._open_size >= self._segment_bytes and not self._frames:
                self._begin_next()
            number = self._next
            self._next = number + 1
            self._frames += frame(number, payload)
            self._open_size += size
            self._size += size
            return number

    def withdraw(self, number: int) -> None:
        """Take back what was appended from ``number`` on and not synced; these numbers are given again."""
        with self._lock:
            cut = 0
            for _ in range(self._synced + 1, number):
                cut += _FRAME.size + _length_of(self._frames, cut)
            withdrawn = len(self._frames) - cut
            del self._frames[cut:]
            self._open_size -= withdrawn
            self._size -= withdrawn
            self._next = number

    def roll(self) -> None:
        """Sync, then close the open segment, so that what is in it can be given up.

        Raises:
            LogNoSpace, LogFailed: As ``sync``.
        """
        self.sync()
        with self._lock:
            if self._open_size:
                self._begin_next()
        self.sync()

    def sync(self) -> int:
        """Put everything appended on the medium; return the number up to which that now holds.

        Raises:
            LogNoSpace: No room; nothing is lost, call again once there is.
            LogFailed: The medium failed; this object is of no more use.
        """
        with self._writing:
            self._check_usable()
            try:
                if self._new_head is not None:
                    self._begin_segment(self._synced + 1, self._new_head)
                    self._new_head = None
                if self._frames:
                    self._write_frames()
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise LogNoSpace(f"{self.folder}: no space left on the medium") from error
                raise self._fail(error) from error
            return self._synced

    def release(self, upto: int) -> None:
        """Give back the space of whole segments whose records are all numbered ``upto`` or less."""
        if self._open_size >= self._segment_bytes and upto + 1 == self._next:
            with contextlib.suppress(LogNoSpace):
                self.roll()  # one group may have outgrown a segment, and even the quota
        while len(self._segments) > 1 and self._segments[1].first <= upto + 1:
            self.drop_oldest()

    def drop_oldest(self) -> None:
        """Unlink the oldest closed segment, read or not; the owner accounts for what was in it."""
        with self._lock:
            segment = self._segments.pop(0)
            self._size -= segment.size
        segment.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the open file; what was not synced is not kept."""
        with self._writing:
            if self._file is not None:
                os.close(self._file)
                self._file = None

    # reading

    def read(self, number: int, *, last: int = NO_END, max_bytes: int = 1 << 20) -> Chunk:
        """Synced records from ``number`` (or the oldest there is) to ``last``, about ``max_bytes`` of them.

        Blocking file I/O, normally out of the page cache. An empty chunk means there is nothing yet.
        """
        with self._lock:
            number = max(number, self.first)
            if number > min(last, self._synced):
                return Chunk([], [], number)
            index = self._segment_of(number)
            segment = self._segments[index]
            last_of_segment = (
                self._segments[index + 1].first - 1 if index + 1 < len(self._segments) else self._synced
            )
            cached = self._places.get(number)
            size = segment.size
        place = cached[1] if cached and cached[0] == segment.first else None
        try:
            with segment.path.open("rb", buffering=0) as file:
                chunk, end = scan(file.fileno(), segment, place, number, size, max_bytes, last)
        except FileNotFoundError:  # given up while we looked
            return Chunk([], [], number)
        if chunk.next <= last_of_segment and (end >= size or not chunk.records):
            damage = [*chunk.damage, Damage(chunk.next, last_of_segment)]
            chunk = Chunk(chunk.records, damage, last_of_segment + 1)
        with self._lock:
            self._places[chunk.next] = (segment.first, end)
            if len(self._places) > _PLACES:
                del self._places[next(iter(self._places))]
        return chunk

    # inside

    def _check_usable(self) -> None:
        if self._failed:
            raise LogFailed(self._failed)

    def _fail(self, error: OSError) -> LogFailed:
        self._failed = f"{self.folder}: {error}"
        return LogFailed(self._failed)

    def _begin_next(self) -> None:
        self._new_head = self._head()
        self._open_size = 0

    def _write_frames(self) -> None:
        segment = self._segments[-1]
        with self._lock:
            frames, self._frames = self._frames, bytearray()
            last = self._next - 1
        if self._file is None:
            self._file = os.open(segment.path, os.O_WRONLY)
        try:
            os.lseek(self._file, segment.size, os.SEEK_SET)
            _write_all(self._file, frames)
        except OSError:
            self._cut(segment)
            with self._lock:
                self._frames[:0] = frames
            raise
        try:
            os.fdatasync(self._file)
        except OSError as error:
            # The kernel may have dropped the dirty pages and call the next sync good: never try the same file
            # again, and leave nothing in it that the next start would take for synced.
            self._cut(segment)
            raise self._fail(error) from error
        with self._lock:
            segment.size += len(frames)
            self._synced = last

    def _cut(self, segment: Segment) -> None:
        assert self._file is not None
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, segment.size)

    def _begin_segment(self, first: int, head: bytes) -> None:
        """A new segment exists on the medium, head and name, before a record is written into it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        segment = Segment(first, self.folder / f"{first:020d}{_SUFFIX}")
        file = os.open(segment.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            prelude = begin(head)
            _write_all(file, prelude)
            os.fsync(file)
            sync_folder(self.folder)
        except OSError:
            os.close(file)
            segment.path.unlink(missing_ok=True)
            raise
        segment.size = len(prelude)
        self._file = file
        with self._lock:
            self._segments.append(segment)
            self._size += segment.size

    def _recover(self) -> tuple[bytes, Chunk]:
        segments = [Segment(int(p.stem), p, p.stat().st_size) for p in segments_in(self.folder)]
        while segments and not _is_begun(segments[-1].path):
            segments.pop().path.unlink()  # a crash while it was begun: no record was ever written into it
        self._segments = segments
        at, found = len(segments) - 1, None
        while at >= 0 and (found := read_head(segments[at].path)) is None:
            at -= 1
        if found is None:
            raise LogMissing(f"{self.folder} holds no readable log")
        records: list[tuple[int, bytes]] = []
        damage: list[Damage] = []
        expected, end = segments[at].first, 0
        for segment in segments[at:]:
            with segment.path.open("rb") as file:
                chunk, end = scan(file.fileno(), segment, None, expected, segment.size, segment.size)
            if expected < segment.first:
                damage.append(Damage(expected, segment.first - 1))
            records += chunk.records
            damage += chunk.damage
            expected = max(chunk.next, segment.first)
        if self._keep_tail(segments[-1], end, expected):
            damage.append(Damage(expected, expected))
            expected += 1
        self._open_size = segments[-1].size - (found[1] if at == len(segments) - 1 else 0)
        self._size = sum(s.size for s in segments)
        self._next, self._synced = expected, expected - 1
        return found[0], Chunk(records, damage, expected)

    def _keep_tail(self, segment: Segment, end: int, number: int) -> bool:
        """Cut a torn tail; True when it is a damaged record. After this, what was read is on the medium."""
        with segment.path.open("r+b") as file:
            torn = _is_torn(os.pread(file.fileno(), segment.size - end, end), number)
            if torn:
                file.truncate(end)
                segment.size = end
            os.fsync(file.fileno())  # a process killed between write and sync has left pages in memory only
        sync_folder(self.folder)
        return not torn

    def _segment_of(self, number: int) -> int:
        for index in range(len(self._segments) - 1, -1, -1):
            if self._segments[index].first <= number:
                return index
        raise LogError(f"{self.folder}: record {number} is not here")


def write_durably(path: Path, data: bytes) -> None:
    """Replace a small file so that after any crash either the old or the new content is there, whole."""
    temporary = path.with_name(path.name + ".new")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make names in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def segments_in(folder: Path) -> list[Path]:
    """The segment files of a folder, in order; their names are the numbers of their first records."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.suffix == _SUFFIX and p.stem.isdigit())


def holds_records(folder: Path) -> bool:
    """Is there a record in a folder's log? A log whose creation was interrupted has none."""
    return any(int(path.stem) > 1 or _has_frames(path.read_bytes(), 1) for path in segments_in(folder))


def lock_folder(folder: Path) -> int | None:
    """Keep other processes out of a folder: a handle to close at the end, or None when another one is in."""
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


def _is_begun(path: Path) -> bool:
    found = read_head(path)
    if found is not None:
        return path.stat().st_size >= found[1]
    return _has_frames(path.read_bytes(), int(path.stem))


def _has_frames(data: bytes, first: int) -> bool:
    return next(_frames(data, first, True), None) is not None


def read_head(path: Path) -> tuple[bytes, int] | None:
    """The head of a segment, from either copy, and where its records begin; None when both are damaged."""
    with path.open("rb") as file:
        head = _head_at(file, 0)
        if head is not None:
            return head, 2 * (_PRELUDE.size + len(head))
        file.seek(0)
        data = file.read()
        at = data.find(MAGIC, 1)
        while at != -1:
            head = _head_at(file, at)
            if head is not None:
                return head, at + _PRELUDE.size + len(head)
            at = data.find(MAGIC, at + 1)
    return None


def _head_at(file: BinaryIO, place: int) -> bytes | None:
    file.seek(place)
    prelude = file.read(_PRELUDE.size)
    if len(prelude) < _PRELUDE.size:
        return None
    magic, length, crc = _PRELUDE.unpack(prelude)
    if magic != MAGIC or length > os.fstat(file.fileno()).st_size:
        return None
    head = file.read(length)
    return head if len(head) == length and zlib.crc32(head) == crc else None


def scan(
    file: int,
    segment: Segment,
    place: int | None,
    number: int,
    size: int,
    max_bytes: int,
    last: int = NO_END,
) -> tuple[Chunk, int]:
    """Records from ``number`` to ``last``; where the scan ended, in bytes from the start of the file.

    ``place`` is where ``number`` stands, None = unknown: scan from the segment's beginning.
    """
    expected = number
    if place is None:
        found = read_head(segment.path)
        place, expected = (found[1] if found else 0), segment.first
    records: list[tuple[int, bytes]] = []
    damage: list[Damage] = []
    taken, window = 0, max(_READ, min(max_bytes, _LOOK_FURTHER))
    while place < size and taken < max_bytes and expected <= last:
        data = os.pread(file, min(size - place, window), place)
        whole = place + len(data) >= size
        used = 0
        for begin, end, found_number in _frames(data, expected, whole):
            if found_number > expected:
                damage.append(Damage(expected, found_number - 1))
            if found_number >= number:
                records.append((found_number, data[begin:end]))
                taken += end - begin
            expected, used = found_number + 1, end
            if taken >= max_bytes or found_number >= last:
                break
        if used:
            place += used
        elif whole:
            break
        elif window < _LOOK_FURTHER:  # a long record, or damage
            window = _LOOK_FURTHER
        else:  # nothing but damage; a record may begin in the last part of it
            place += len(data) - MAX_PAYLOAD - _FRAME.size
    damage = [d for d in damage if d.last >= number]
    return Chunk(records, damage, max(expected, number)), place


def _write_all(file: int, data: bytes | bytearray) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def begin(head: bytes) -> bytes:
    """What a segment begins with."""
    return 2 * (_PRELUDE.pack(MAGIC, len(head), zlib.crc32(head)) + head)


def frame(number: int, payload: bytes) -> bytes:
    """A record as it stands in a segment."""
    sealed = zlib.crc32(_SEALED.pack(len(payload), number))
    length = len(payload) | sealed >> _LENGTH_BITS << _LENGTH_BITS
    return _FRAME.pack(length, zlib.crc32(payload, sealed), number) + payload


def _length_of(frames: bytes | bytearray, offset: int) -> int:
    return int(_FRAME.unpack_from(frames, offset)[0]) & _LENGTH_MASK


def _is_torn(tail: bytes, number: int) -> bool:
    """Are these bytes the beginning of a frame that a crash cut short, and not a whole one with damage?"""
    return len(tail) < _FRAME.size or not any(tail) or _may_continue(tail, 0, number)


def _frames(data: bytes, expected: int, whole: bool) -> Iterator[tuple[int, int, int]]:
    """Good frames in ``data``: where the payload begins and ends, and its number.

    Stops where ``data`` ends inside a frame unless it is ``whole``; steps over bytes that are no frame.
    """
    offset = 0
    while offset + _FRAME.size <= len(data):
        at = _good_frame(data, offset, expected)
        if at is None:
            if not whole and _may_continue(data, offset, expected):
                return
            found = _next_good_frame(data, offset + 1, expected)
            if found is None:
                return
            offset = found
            continue
        end, number = at
        yield offset + _FRAME.size, end, number
        offset, expected = end, number + 1


def _good_frame(data: bytes, offset: int, expected: int) -> tuple[int, int] | None:
    checked, crc, number = _FRAME.unpack_from(data, offset)
    length = checked & _LENGTH_MASK
    begin = offset + _FRAME.size
    end = begin + length
    if length > MAX_PAYLOAD or end > len(data) or not expected <= number < expected + _FAR:
        return None
    sealed = zlib.crc32(_SEALED.pack(length, number))
    if (checked ^ sealed) >> _LENGTH_BITS or zlib.crc32(data[begin:end], sealed) != crc:
        return None
    return end, number


def _may_continue(data: bytes, offset: int, expected: int) -> bool:
    """Does a frame begin here whose end has not been read yet?"""
    checked, _, number = _FRAME.unpack_from(data, offset)
    length = checked & _LENGTH_MASK
    sealed = zlib.crc32(_SEALED.pack(length, number))
    return bool(
        number == expected
        and length <= MAX_PAYLOAD
        and not (checked ^ sealed) >> _LENGTH_BITS
        and offset + _FRAME.size + length > len(data)
    )


def _next_good_frame(data: bytes, offset: int, expected: int) -> int | None:
    # the upper half of a record's number is the same for its neighbours: a cheap landmark to search by
    halves = {expected >> 32, (expected + len(data)) >> 32}
    return min(
        (at for half in halves if (at := _find_frame(data, offset, expected, half)) is not None), default=None
    )


def _find_frame(data: bytes, offset: int, expected: int, half: int) -> int | None:
    landmark = struct.pack("<I", half)
    at = data.find(landmark, offset + 12)
    while at != -1:
        if at + 4 <= len(data) and _good_frame(data, at - 12, expected) is not None:
            return at - 12
        at = data.find(landmark, at + 1)
    return None

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fengsui.log import (
    FRAME_BYTES,
    MAX_PAYLOAD,
    Chunk,
    Damage,
    Log,
    LogError,
    LogFailed,
    LogFull,
    LogMissing,
    LogNoSpace,
    holds_records,
    lock_folder,
    write_durably,
)

HEAD = b"the state of its owner"
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
HEAD_BYTES = 2 * (16 + len(HEAD))


def make(folder: Path, *, segment: int = 1 << 20, quota: int = 1 << 30, first: int = 1) -> Log:
    """A new log."""
    return Log.create(folder, head=lambda: HEAD, quota_bytes=quota, segment_bytes=segment, first=first)


def reopen(folder: Path, *, segment: int = 1 << 20) -> tuple[Log, bytes, Chunk]:
    """The log again, as after any crash."""
    return Log.open(folder, head=lambda: HEAD, quota_bytes=1 << 30, segment_bytes=segment)


def put(log: Log, *payloads: bytes) -> None:
    """Append and sync."""
    for payload in payloads:
        log.append(payload)
    log.sync()


def everything(log: Log, max_bytes: int = 1 << 20) -> tuple[dict[int, bytes], list[Damage]]:
    """All records and all damage, read in pieces."""
    records: dict[int, bytes] = {}
    damage: list[Damage] = []
    number = log.first
    while number <= log.synced:
        chunk = log.read(number, max_bytes=max_bytes)
        assert chunk.next > number, "a reader must get on"
        assert not records.keys() & {n for n, _ in chunk.records}, "nothing is given twice"
        records.update(chunk.records)
        damage += chunk.damage
        number = chunk.next
    return records, damage


def lost(damage: list[Damage]) -> set[int]:
    """The numbers that damage names."""
    return {number for d in damage for number in range(d.first, d.last + 1)}


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where a log goes; in memory, because these tests sync thousands of times."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        yield Path(name) / "log"


class Owner(RuleBasedStateMachine):
    """A log against a dictionary, through any order of everything an owner can do."""

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp(dir=MEMORY))
        self.released = 0
        self.folder = self.home / "log"
        self.records: dict[int, bytes] = {}
        self.appended: dict[int, bytes] = {}
        self.given: set[int] = set()

    @initialize()
    def begin(self) -> None:
        """Begin small: three records fill a segment."""
        self.log = make(self.folder, segment=200)

    @rule(payload=st.binary(max_size=120))
    def append(self, payload: bytes) -> None:
        """A number that was accepted is never given again."""
        number = self.log.append(payload)
        assert number not in self.given
        self.appended[number] = payload

    @rule()
    def sync(self) -> None:
        """What was appended counts from now on."""
        assert self.log.sync() == self.log.next - 1
        self.records |= self.appended
        self.given |= self.appended.keys()
        self.appended.clear()

    @rule(keep=st.floats(0, 1))
    def withdraw(self, keep: float) -> None:
        """Take some of it back."""
        number = self.log.synced + 1 + int(keep * len(self.appended))
        self.log.withdraw(number)
        self.appended = {n: p for n, p in self.appended.items() if n < number}

    @rule()
    def roll(self) -> None:
        """Close a segment early."""
        self.log.roll()
        self.sync()

    @rule(share=st.floats(0, 1))
    def release(self, share: float) -> None:
        """Give up whole segments, and none too many."""
        upto = int(share * self.log.synced)
        self.released = max(self.released, upto)
        self.log.release(upto)
        assert self.log.first <= self.released + 1

    @rule()
    def die_and_recover(self) -> None:
        """What was synced is there again, what was not is gone."""
        self.log.close()
        self.appended.clear()
        before = self.log.synced
        self.log, head, chunk = reopen(self.folder, segment=200)
        assert head == HEAD
        assert not chunk.damage
        assert self.log.synced == before
        assert all(self.records[n] == payload for n, payload in chunk.records)

    @invariant()
    def holds_what_was_synced(self) -> None:
        """Reading gives exactly what was synced; the size is the files' size."""
        records, damage = everything(self.log, max_bytes=150)
        assert not damage
        assert records == {n: p for n, p in self.records.items() if n >= self.log.first}
        assert self.log.next == self.log.synced + 1 + len(self.appended)
        on_disk = sum(path.stat().st_size for path in self.folder.iterdir())
        assert self.log.size == on_disk + sum(FRAME_BYTES + len(p) for p in self.appended.values())

    def teardown(self) -> None:
        """Leave nothing behind."""
        self.log.close()
        shutil.rmtree(self.home)


TestOwner = Owner.TestCase
TestOwner.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)

OLDER = [b"older", b"than these"]
PAYLOADS = [b"one", b"", b"\0" * 40, b"four" * 9, b"FSLOG\0\0\1" * 3, b"the last one"]
GOOD = dict(enumerate([*OLDER, *PAYLOADS], 1))
LAST_BYTES = HEAD_BYTES + sum(FRAME_BYTES + len(p) for p in PAYLOADS)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of two segments, ``GOOD`` in them."""
    folder = tmp_path_factory.mktemp("pristine") / "log"
    log = make(folder)
    put(log, *OLDER)
    log.roll()
    put(log, *PAYLOADS)
    log.close()
    assert max(folder.iterdir()).stat().st_size == LAST_BYTES
    return folder


def damaged(pristine: Path, folder: Path, *, flip: tuple[int, int] = (0, 0), cut: int | None = None) -> Path:
    """A copy with a byte of the last segment flipped, or cut short."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(pristine, folder)
    path = max(folder.iterdir())
    data = bytearray(path.read_bytes())
    data[flip[0]] ^= flip[1]
    path.write_bytes(data[:cut])
    return folder


@pytest.mark.parametrize("mask", [0x01, 0x10, 0x80, 0xFF])
def test_any_flipped_byte_costs_at_most_the_record_it_hit_and_is_reported(
    pristine: Path, folder: Path, mask: int
) -> None:
    """Whatever byte of a segment rots, the other records are delivered, and no number is used again."""
    for place in range(LAST_BYTES):
        log, _, chunk = reopen(damaged(pristine, folder, flip=(place, mask)))
        records, damage = everything(log)
        missing = GOOD.keys() - records.keys()
        assert records == {n: p for n, p in GOOD.items() if n not in missing}, place
        assert len(missing) == (0 if place < HEAD_BYTES else 1), place
        assert lost(damage) == missing, place
        assert lost(chunk.damage) == missing, f"{place}: not told at recovery"
        assert log.next == 9, place
        put(log, b"new")
        log.close()
        log, _, _ = reopen(folder)
        records, damage = everything(log)
        assert records[9] == b"new"
        assert lost(damage) == missing, place
        log.close()


def test_a_log_cut_at_any_byte_keeps_every_whole_record(pristine: Path, folder: Path) -> None:
    """A torn tail, wherever it is torn, is cut in silence: it was never accepted."""
    ends = [HEAD_BYTES]
    for payload in PAYLOADS:
        ends.append(ends[-1] + FRAME_BYTES + len(payload))
    for cut in range(LAST_BYTES):
        log, _, chunk = reopen(damaged(pristine, folder, cut=cut))
        whole = 2 + max(0, sum(end <= cut for end in ends) - 1)
        records, damage = everything(log)
        assert records == {n: p for n, p in GOOD.items() if n <= whole}, cut
        assert not damage
        assert not chunk.damage
        assert log.next == whole + 1
        put(log, b"next")
        log.close()
        log, _, _ = reopen(folder)
        assert everything(log)[0] == {n: p for n, p in GOOD.items() if n <= whole} | {whole + 1: b"next"}
        log.close()


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 3000), min_size=3, max_size=30),
    place=st.floats(0, 1, exclude_max=True),
    length=st.integers(1, 4000),
    zeros=st.booleans(),
)
def test_a_damaged_stretch_in_a_closed_segment_costs_only_what_it_touched(
    sizes: list[int], place: float, length: int, zeros: bool
) -> None:
    """Damage of any length in the middle is stepped over; records that it did not touch are all there."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        log = make(Path(name) / "log")
        put(log, *(os.urandom(size) for size in sizes))
        log.roll()
        put(log, b"after")
        good, _ = everything(log)
        path = min(log.folder.iterdir())
        data = bytearray(path.read_bytes())
        begin = int(place * len(data))
        end = min(len(data), begin + length)
        data[begin:end] = bytes(end - begin) if zeros else os.urandom(end - begin)
        path.write_bytes(data)
        at, touched = HEAD_BYTES, set()
        for number, size in enumerate(sizes, 1):
            if at < end and begin < at + FRAME_BYTES + size:
                touched.add(number)
            at += FRAME_BYTES + size
        records, damage = everything(log, max_bytes=2000)
        assert good.keys() - records.keys() <= touched
        assert lost(damage) == good.keys() - records.keys()
        log.close()


def test_megabytes_of_damage_do_not_hide_what_follows(folder: Path) -> None:
    """A whole erased block of flash costs the records in it, not the rest of the segment."""
    log = make(folder, segment=64 << 20)
    put(log, *(bytes([n]) * 400_000 for n in range(40)))
    good, _ = everything(log)
    with min(folder.iterdir()).open("r+b") as file:
        file.seek(2_000_000)
        file.write(b"\xff" * 9_000_000)
    for _ in range(2):
        records, damage = everything(log)
        assert len(good) - len(records) in (23, 24)
        assert lost(damage) == good.keys() - records.keys()
        log.close()
        log, _, chunk = reopen(folder, segment=64 << 20)
        assert log.next == 41
        assert lost(chunk.damage) == lost(damage)
    log.close()


def test_records_longer_than_one_read_are_read_whole(folder: Path) -> None:
    """A record may be longer than the piece the reader looks at first."""
    log = make(folder, segment=8 << 20)
    payloads = [os.urandom(MAX_PAYLOAD), b"small", os.urandom(300_000)]
    put(log, *payloads)
    assert [p for _, p in sorted(everything(log, max_bytes=1)[0].items())] == payloads
    with pytest.raises(LogError, match="at most"):
        log.append(bytes(MAX_PAYLOAD + 1))
    log.close()


@pytest.mark.parametrize("first", [2**31 - 3, 2**32 - 3, 2**40, 2**53 - 3, 2**63])
def test_numbers_go_on_across_every_power(folder: Path, first: int) -> None:
    """No width of a counter refuses or reuses a number, and damage is stepped over there as anywhere."""
    log = make(folder, first=first)
    put(log, *(b"%d" % n for n in range(6)))
    log.close()
    path = min(folder.iterdir())
    data = bytearray(path.read_bytes())
    data[HEAD_BYTES + 3 * (FRAME_BYTES + 1) - 1] ^= 1
    path.write_bytes(data)
    log, _, chunk = reopen(folder)
    assert log.next == first + 6
    assert chunk.damage == [Damage(first + 2, first + 2)]
    assert [n for n, _ in chunk.records] == [first + n for n in (0, 1, 3, 4, 5)]
    log.close()


def test_a_segment_whose_head_is_lost_twice_is_recovered_from_the_one_before(folder: Path) -> None:
    """A bad sector over both copies of the head costs no record; with no other segment it is an error."""
    log = make(folder)
    put(log, b"a", b"b")
    log.roll()
    put(log, b"c", b"d")
    log.close()
    path = max(folder.iterdir())
    data = bytearray(path.read_bytes())
    data[:HEAD_BYTES] = bytes(HEAD_BYTES)
    path.write_bytes(data)
    log, head, chunk = reopen(folder)
    assert head == HEAD
    assert chunk == Chunk([(1, b"a"), (2, b"b"), (3, b"c"), (4, b"d")], [], 5)
    assert everything(log)[0] == {1: b"a", 2: b"b", 3: b"c", 4: b"d"}
    log.close()
    min(folder.iterdir()).unlink()
    with pytest.raises(LogMissing, match="no readable log"):
        reopen(folder)
    assert path.exists(), "nothing is deleted that may hold records"


def test_damage_at_the_end_of_a_closed_segment_is_told_at_recovery_too(folder: Path) -> None:
    """When recovery begins one segment earlier, the damage between the two is in its account."""
    log = make(folder)
    put(log, b"a", b"bb")
    log.roll()
    put(log, b"c")
    log.close()
    first, last = sorted(folder.iterdir())
    first.write_bytes(first.read_bytes()[:-1])
    last.write_bytes(bytes(HEAD_BYTES) + last.read_bytes()[HEAD_BYTES:])
    log, _, chunk = reopen(folder)
    assert chunk == Chunk([(1, b"a"), (3, b"c")], [Damage(2, 2)], 4)
    assert everything(log) == ({1: b"a", 3: b"c"}, [Damage(2, 2)])
    log.close()


def test_a_missing_segment_in_the_middle_is_damage(folder: Path) -> None:
    """A file somebody deleted is told by number."""
    log = make(folder)
    for payload in (b"a", b"b", b"c"):
        put(log, payload)
        log.roll()
    log.close()
    sorted(folder.iterdir())[1].unlink()
    log, _, _ = reopen(folder)
    assert everything(log) == ({1: b"a", 3: b"c"}, [Damage(2, 2)])
    log.close()


def test_a_segment_that_was_only_begun_is_forgotten(folder: Path) -> None:
    """A crash while a segment was begun, at any byte of its head, leaves nothing behind."""
    log = make(folder)
    put(log, b"a")
    log.roll()
    log.close()
    path = max(folder.iterdir())
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        log, _, chunk = reopen(folder)
        assert chunk.records == [(1, b"a")]
        assert log.next == 2
        assert not path.exists()
        log.close()


def test_reading_waits_for_the_sync(folder: Path) -> None:
    """What is appended and not synced is seen by nobody, and is gone after a crash."""
    log = make(folder)
    log.append(b"a")
    assert log.read(1) == Chunk([], [], 1)
    log.sync()
    log.append(b"b")
    assert log.read(1).records == [(1, b"a")]
    log.close()
    log, _, chunk = reopen(folder)
    assert chunk.records == [(1, b"a")]
    log.close()


def test_quota_is_a_bound_that_a_tombstone_may_pass(folder: Path) -> None:
    """At the quota an append is refused and nothing is numbered; the owner may insist."""
    log = make(folder, quota=150)
    put(log, b"x" * 10)
    with pytest.raises(LogFull, match="quota"):
        log.append(b"x" * 100)
    assert log.next == 2
    assert log.append(b"x" * 100, beyond_quota=True) == 2
    log.close()


def test_there_is_never_a_silent_new_beginning(folder: Path) -> None:
    """No log is begun over another one, and none is opened where there is none."""
    assert not holds_records(folder)
    with pytest.raises(LogMissing):
        reopen(folder)
    make(folder).close()
    assert not holds_records(folder)
    with pytest.raises(LogError, match="already holds a log"):
        make(folder)
    log, _, _ = reopen(folder)
    put(log, b"a")
    log.close()
    assert holds_records(folder)


def test_release_frees_whole_segments_only(folder: Path) -> None:
    """A segment goes when all its records are released; the open one stays."""
    log = make(folder)
    put(log, b"a", b"b")
    log.roll()
    put(log, b"c")
    seen = [(log.first, log.oldest_segment)]
    for upto in (1, 3):
        log.release(upto)
        seen.append((log.first, log.oldest_segment))
    assert seen == [(1, (1, 2)), (1, (1, 2)), (3, None)]
    assert log.read(1).records == [(3, b"c")]
    assert len(list(folder.iterdir())) == 1
    log.close()


def test_a_segment_given_up_while_it_is_read_is_no_error(folder: Path) -> None:
    """A reader whose segment is unlinked under it gets an empty chunk and asks again."""
    log = make(folder)
    put(log, b"a")
    log.roll()
    put(log, b"b")
    min(folder.iterdir()).unlink()
    assert log.read(1) == Chunk([], [], 1)
    log.drop_oldest()
    assert log.read(1).records == [(2, b"b")]
    log.close()


class Disk:
    """Stands in for one call of ``os`` and fails it as told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, call: str, number: int) -> None:
        self.fails = False
        real = getattr(os, call)

        def maybe(*args: object) -> object:
            if self.fails:
                raise OSError(number, os.strerror(number))
            return real(*args)

        monkeypatch.setattr(os, call, maybe)


@pytest.mark.parametrize("is_new_segment", [False, True])
@pytest.mark.parametrize("call", ["write", "open", "fsync"])
def test_no_space_at_any_step_loses_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, call: str, is_new_segment: bool
) -> None:
    """What could not be written stays in memory and goes out, once, when there is room again."""
    log = make(folder, segment=1 if is_new_segment else 1 << 20)
    put(log, b"a")
    log.append(b"b")
    disk = Disk(monkeypatch, call, errno.ENOSPC)
    disk.fails = True
    if call == "write" or is_new_segment:
        for _ in range(2):
            with pytest.raises(LogNoSpace):
                log.sync()
            assert log.synced == 1
            assert len(list(folder.iterdir())) == 1, "a segment that cannot be begun is not there"
    disk.fails = False
    log.append(b"c")
    log.sync()
    expected = {1: b"a", 2: b"b", 3: b"c"}
    assert everything(log)[0] == expected
    assert log.size == sum(path.stat().st_size for path in folder.iterdir())
    log.close()
    log, _, _ = reopen(folder)
    assert everything(log)[0] == expected
    log.close()


@pytest.mark.parametrize(
    ("call", "number"), [("fdatasync", errno.EIO), ("fdatasync", errno.ENOSPC), ("write", errno.EIO)]
)
def test_a_failed_medium_is_final_and_leaves_nothing_doubtful(
    folder: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    """After a failed sync the log refuses all work, and the next start does not see what was refused."""
    log = make(folder)
    put(log, b"a")
    disk = Disk(monkeypatch, call, number)
    disk.fails = True
    log.append(b"never accepted")
    with pytest.raises(LogFailed):
        log.sync()
    disk.fails = False
    for work in (lambda: log.append(b"x"), log.sync, log.roll):
        with pytest.raises(LogFailed):
            work()
    log.close()
    log, _, chunk = reopen(folder)
    assert chunk == Chunk([(1, b"a")], [], 2)
    log.close()


def test_recovery_syncs_what_it_has_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records a killed process wrote and did not sync are on the medium before anybody counts on them."""
    log = make(folder)
    monkeypatch.setattr(os, "fdatasync", lambda _: None)
    put(log, b"a")
    log.close()
    synced: list[str] = []
    real = os.fsync

    def watched(file: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{file}").readlink()))
        real(file)

    monkeypatch.setattr(os, "fsync", watched)
    log, _, _ = reopen(folder)
    assert synced == [str(max(folder.iterdir())), str(folder)]
    log.close()


def test_a_file_is_replaced_whole_and_a_folder_is_held_by_one(tmp_path: Path) -> None:
    """``write_durably`` replaces; ``lock_folder`` keeps a second one out until the first has gone."""
    write_durably(tmp_path / "f", b"1")
    write_durably(tmp_path / "f", b"2")
    assert (tmp_path / "f").read_bytes() == b"2"
    handle = lock_folder(tmp_path)
    assert handle is not None
    assert lock_folder(tmp_path) is None
    os.close(handle)
    again = lock_folder(tmp_path)
    assert again is not None
    os.close(again)

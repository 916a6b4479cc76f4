from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fengsui.hold import Stamp
from fengsui.log import LogFailed
from fengsui.marks import Marks
from fengsui.model import AGE_UNKNOWN, Clock, Kind, Lane
from fengsui.spool import Held, Item, Spool, SpoolError, SpoolFull
from fengsui.wire import Shed

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
NOW = Stamp(boot=1, since_boot_ms=5_000, wall_ms=1_795_000_000_000, clock=Clock.SYNCED)
ALARM, TELEMETRY = Lane.ALARM, Lane.TELEMETRY


def item(body: bytes = b"x", readings: int = 1) -> Item:
    """A record to store."""
    return Item(Kind.READINGS, body, readings)


def make(folder: Path, *, quota: int = 1 << 20, segment: int = 64 << 10, now: Stamp = NOW) -> Spool:
    """A spool with a clock that stands still."""
    return Spool(folder, quota_bytes=quota, segment_bytes=segment, now=lambda: now)


def held(spool: Spool, lane: Lane) -> list[Held]:
    """Everything that the lane still holds."""
    found: list[Held] = []
    seq = 1
    while batch := spool.read(lane, seq, max_bytes=500):
        found += batch
        seq = batch[-1].seq + 1
    return found


def sheds(spool: Spool) -> list[Shed]:
    """The bodies of the tombstones that telemetry holds."""
    wanted = set(spool.tombstones(TELEMETRY))
    found = [h for h in held(spool, TELEMETRY) if h.seq in wanted]
    assert {h.seq for h in found} == wanted, "a tombstone that is not on the medium can never be sent"
    return [msgspec.msgpack.decode(h.body, type=Shed) for h in found]


def account_for(spool: Spool, lane: Lane) -> tuple[set[int], set[int]]:
    """What a server that gets everything now would have: seqs of records, and seqs that were given up."""
    records: set[int] = set()
    shed: set[int] = set()
    for one in held(spool, lane):
        if one.kind == Kind.SHED:
            given_up = msgspec.msgpack.decode(one.body, type=Shed)
            shed |= set(range(given_up.first, given_up.last + 1))
        records.add(one.seq)
    return records, shed


def fill(spool: Spool) -> int:
    """Store alarms until no more are taken; how many were."""
    for stored in range(10_000):
        try:
            spool.store(ALARM, [item(b"%4d" % stored + bytes(400))])
        except SpoolFull:
            return stored
    raise AssertionError("the spool has no bound")


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where a spool goes; in memory, because these tests sync thousands of times."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        yield Path(name) / "spool"


def test_a_record_keeps_its_number_until_it_is_committed(folder: Path) -> None:
    """Seqs begin at 1 per lane, go on over a restart, and a committed record is not read again."""
    spool = make(folder)
    assert spool.store(TELEMETRY, [item(b"a", 3), item(b"b")]) == range(1, 3)
    assert spool.store(ALARM, [Item(Kind.EVENT, b"fire", 1)]) == range(1, 2)
    assert spool.taken_bytes > 0
    identity = spool.identity
    spool.close()
    spool = make(folder)
    assert spool.identity == identity
    assert [(h.seq, h.kind, h.readings, h.body, h.taken) for h in held(spool, TELEMETRY)] == [
        (1, Kind.READINGS, 3, b"a", NOW),
        (2, Kind.READINGS, 1, b"b", NOW),
    ]
    assert spool.commit(TELEMETRY, 1)
    assert not spool.commit(TELEMETRY, 1)
    assert not spool.commit(TELEMETRY, 0)
    assert [h.seq for h in held(spool, TELEMETRY)] == [2]
    assert spool.store(TELEMETRY, [item()]) == range(3, 4)
    assert [h.seq for h in held(spool, ALARM)] == [1]
    spool.close()


def test_the_lanes_are_reported_as_they_are(folder: Path) -> None:
    """``hello`` tells the oldest number answered for, the next one, and the age of the oldest record."""
    spool = make(folder)
    assert spool.state(TELEMETRY).next == 1
    spool.store(TELEMETRY, [item(), item()])
    spool.close()
    spool = make(folder, now=NOW._replace(since_boot_ms=7_500))
    state = spool.state(TELEMETRY)
    assert (state.first, state.next, state.oldest_age_ms, state.shed) == (1, 3, 2_500, 0)
    assert state.bytes > 0
    spool.commit(TELEMETRY, 2)
    state = spool.state(TELEMETRY)
    assert (state.first, state.next, state.oldest_age_ms) == (3, 3, 0)
    spool.close()
    spool = make(folder, now=Stamp(2, 10, NOW.wall_ms, Clock.UNSYNCED))
    assert spool.age_ms(held(spool, TELEMETRY)[0]) == AGE_UNKNOWN
    spool.close()


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("store"), st.sampled_from([ALARM, TELEMETRY]), st.integers(0, 900)),
        st.tuples(st.just("commit"), st.sampled_from([ALARM, TELEMETRY]), st.integers(0, 100)),
        st.tuples(st.just("refuse"), st.just(TELEMETRY), st.integers(0, 100)),
        st.tuples(st.just("restart"), st.just(ALARM), st.just(0)),
    ),
    min_size=10,
    max_size=120,
)


@settings(max_examples=60, deadline=None)
@given(operations=OPERATIONS)
def test_every_number_ever_given_is_held_committed_or_under_a_tombstone(
    operations: list[tuple[str, Lane, int]],
) -> None:
    """Whatever is stored, shed, refused, committed or restarted: a server that gets all of it has no hole."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        folder = Path(name)
        spool = make(folder, quota=12_000, segment=600)
        marks = {lane: Marks() for lane in Lane}
        accepted = dict.fromkeys(Lane, 0)
        bodies: dict[int, bytes] = {}
        for n, (what, lane, amount) in enumerate(operations):
            if what == "store":
                body = b"%d." % n + bytes(amount)
                try:
                    accepted[lane] = spool.store(lane, [item(body)])[-1]
                except SpoolFull:
                    continue
                if lane is ALARM:
                    bodies[accepted[lane]] = body
                assert spool.size <= 12_000 + 3_000
            elif what == "commit":
                records, shed = account_for(spool, lane)
                for seq in sorted(records | shed)[: amount + 1]:
                    marks[lane].add(seq, seq)
                spool.commit(lane, marks[lane].upto)
            elif what == "refuse" and (there := held(spool, lane)):
                spool.refuse(lane, there[amount % len(there)].seq)
            elif what == "restart":
                spool.close()
                spool = make(folder, quota=12_000, segment=600)
                for each, mark in marks.items():
                    assert spool.held(each).stop > mark.upto
                    spool.commit(each, mark.upto)
        for lane in Lane:
            before = marks[lane].upto
            records, shed = account_for(spool, lane)
            for seq in records | shed:
                marks[lane].add(seq, seq)
            assert marks[lane].missing() == []
            assert marks[lane].upto == spool.held(lane).stop - 1
            assert marks[lane].upto >= accepted[lane]
            assert spool.state(lane).first == before + 1
        alarms = {h.seq: h.body for h in held(spool, ALARM)}
        assert alarms == {seq: body for seq, body in bodies.items() if seq in alarms}
        assert len(alarms) == sum(seq > spool.state(ALARM).first - 1 for seq in bodies)
        spool.close()


def test_telemetry_is_shed_oldest_first_and_counted(folder: Path) -> None:
    """At nine tenths of the quota the oldest telemetry goes; one tombstone tells how many readings went."""
    spool = make(folder, quota=20_000, segment=1_000)
    for n in range(100):
        spool.store(TELEMETRY, [item(b"%3d" % n + bytes(400), readings=7)])
        assert spool.size <= 18_500
    (shed,) = sheds(spool)
    assert (shed.first, shed.reason) == (1, "quota")
    kept = [h for h in held(spool, TELEMETRY) if h.kind == Kind.READINGS]
    assert shed.readings == 7 * (100 - len(kept))
    assert kept[0].seq > shed.last
    assert spool.state(TELEMETRY).shed == shed.last
    assert spool.state(TELEMETRY).first == 1
    spool.close()
    spool = make(folder, quota=20_000, segment=1_000)
    assert sheds(spool) == [shed]
    assert spool.state(TELEMETRY).shed == shed.last
    spool.close()


def test_alarms_push_telemetry_out_and_are_never_shed(folder: Path) -> None:
    """Alarm records take all of the quota; then the driver waits, and no alarm is stored twice for it."""
    spool = make(folder, quota=20_000, segment=1_000)
    for _ in range(40):
        spool.store(TELEMETRY, [item(bytes(400))])
    stored = fill(spool)
    for _ in range(3):
        with pytest.raises(SpoolFull):
            spool.store(ALARM, [item(bytes(400))])
    assert stored > 40
    assert [h.seq for h in held(spool, ALARM)] == list(range(1, stored + 1))
    assert {h.kind for h in held(spool, TELEMETRY)} == {Kind.SHED}
    assert sheds(spool)[0].readings == 40
    with pytest.raises(SpoolFull):
        spool.store(TELEMETRY, [item(bytes(400))])
    spool.commit(ALARM, stored)
    assert spool.store(ALARM, [item()]) == range(stored + 1, stored + 2)
    spool.close()


def test_a_refused_record_is_set_aside_and_so_is_a_refused_tombstone(folder: Path) -> None:
    """What a refused tombstone stood for gets another one, so that no hole stays open."""
    spool = make(folder)
    spool.store(TELEMETRY, [item(readings=5), item()])
    spool.refuse(TELEMETRY, 1)
    assert sheds(spool) == [Shed(1, 1, 5, "refused")]
    spool.refuse(TELEMETRY, 3)
    assert sheds(spool) == [Shed(1, 1, 5, "refused"), Shed(3, 3, 0, "refused")]
    assert spool.tombstones(TELEMETRY) == [4, 5]
    spool.close()


def damage(folder: Path, lane: Lane, needle: bytes) -> None:
    """Flip a bit where ``needle`` stands."""
    for path in folder.rglob(f"{lane}/*.log"):
        data = bytearray(path.read_bytes())
        at = data.find(needle)
        if at >= 0:
            data[at] ^= 1
            path.write_bytes(data)
            return
    raise AssertionError("nothing to damage")


def test_a_damaged_record_becomes_a_tombstone_once(folder: Path) -> None:
    """Damage is found while reading and given up with its reason; the lane goes on behind it."""
    spool = make(folder)
    spool.store(TELEMETRY, [item(b"first"), item(b"second"), item(b"third")])
    damage(folder, TELEMETRY, b"second")
    assert [h.seq for h in held(spool, TELEMETRY)] == [1, 3, 4]
    assert [h.seq for h in held(spool, TELEMETRY)] == [1, 3, 4]
    assert sheds(spool) == [Shed(2, 2, 0, "damaged")]
    spool.commit(TELEMETRY, 4)
    assert held(spool, TELEMETRY) == []
    spool.close()


def test_the_last_record_damaged_at_rest_is_given_up_by_number(folder: Path) -> None:
    """A record that was accepted and cannot be read after a restart does not lend its number to another."""
    spool = make(folder)
    spool.store(ALARM, [item(b"first"), item(b"second")])
    spool.close()
    damage(folder, ALARM, b"second")
    spool = make(folder)
    assert spool.store(ALARM, [item(b"third")]) == range(3, 4)
    assert [h.seq for h in held(spool, ALARM)] == [1, 3, 4]
    assert held(spool, ALARM)[-1].kind == Kind.SHED
    spool.close()


def test_a_segment_damaged_altogether_is_passed(folder: Path) -> None:
    """Reading goes on in the next segment when nothing of this one is left."""
    spool = make(folder, segment=1)
    for body in (b"one", b"two", b"three"):
        spool.store(TELEMETRY, [item(body)])
    damage(folder, TELEMETRY, b"one")
    damage(folder, TELEMETRY, b"two")
    assert spool.read(TELEMETRY, 1)[0].body == b"three"
    assert [s.reason for s in sheds(spool)] == ["damaged", "damaged"]
    spool.close()


def test_an_old_copy_is_renumbered_with_everything_it_holds(folder: Path) -> None:
    """A renewed spool has another identity, its records in order, tombstones that stand for themselves."""
    spool = make(folder, segment=300)
    spool.store(ALARM, [item(b"fire")])
    for n in range(20):
        spool.store(TELEMETRY, [item(b"%2d" % n + bytes(40), readings=2)])
    spool.refuse(TELEMETRY, 20)
    spool.commit(TELEMETRY, 15)
    before, identity = held(spool, TELEMETRY), spool.identity
    spool.renew()
    assert spool.identity != identity
    after = held(spool, TELEMETRY)
    assert [h.seq for h in after] == list(range(1, 7))
    assert [(h.kind, h.readings, h.taken) for h in after] == [(h.kind, h.readings, h.taken) for h in before]
    assert [h.body for h in after[:-1]] == [h.body for h in before[:-1]]
    assert sheds(spool) == [Shed(6, 6, 2, "refused")]
    assert [h.body for h in held(spool, ALARM)] == [b"fire"]
    assert spool.store(TELEMETRY, [item()]) == range(7, 8)
    assert [p.name for p in folder.iterdir() if p.is_dir()] == [f"{spool.identity:016x}"]
    spool.close()
    spool = make(folder, segment=300)
    assert [h.seq for h in held(spool, TELEMETRY)] == list(range(1, 8))
    spool.close()


class Cut(Exception):
    """The power goes."""


@pytest.mark.parametrize("step", range(1, 14))
def test_a_renewal_cut_at_any_step_leaves_the_old_spool_or_the_new_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """A crash at any sync of a renewal loses nothing, and the next start finds one whole spool."""
    spool = make(folder)
    spool.store(ALARM, [item(b"fire")])
    spool.store(TELEMETRY, [item(b"a"), item(b"b")])
    steps = 0
    real = os.fsync

    def cut(file: int) -> None:
        nonlocal steps
        steps += 1
        if steps == step:
            raise Cut
        real(file)

    monkeypatch.setattr(os, "fsync", cut)
    with contextlib.suppress(Cut):
        spool.renew()
    monkeypatch.setattr(os, "fsync", real)
    spool.close()
    spool = make(folder)
    assert [h.body for h in held(spool, ALARM)] == [b"fire"]
    assert [h.body for h in held(spool, TELEMETRY)] == [b"a", b"b"]
    assert sum(p.is_dir() for p in folder.iterdir()) == 1
    spool.close()


@pytest.mark.parametrize("step", range(1, 8))
def test_a_creation_cut_at_any_step_is_begun_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """A power cut in a gateway's very first second does not keep it from starting."""
    steps = 0
    real = os.fsync

    def cut(file: int) -> None:
        nonlocal steps
        steps += 1
        if steps == step:
            raise Cut
        real(file)

    monkeypatch.setattr(os, "fsync", cut)
    with pytest.raises(Cut):
        make(folder)
    monkeypatch.setattr(os, "fsync", real)
    spool = make(folder)
    assert spool.store(ALARM, [item()]) == range(1, 2)
    spool.close()


def test_a_spool_never_begins_anew_over_records(folder: Path) -> None:
    """Without its identity, with a wrong one, or with a log gone, it refuses and says what to do."""
    spool = make(folder)
    spool.store(ALARM, [item()])
    spool.close()
    pointer = folder / "identity"
    text = pointer.read_text()
    pointer.unlink()
    with pytest.raises(SpoolError, match="no file 'identity'"):
        make(folder)
    pointer.write_text("not a number")
    with pytest.raises(SpoolError, match="16 hexadecimal digits"):
        make(folder)
    pointer.write_text(text)
    shutil.move(folder / text / "alarm", folder / "away")
    with pytest.raises(SpoolError, match="to begin anew"):
        make(folder)
    shutil.move(folder / "away", folder / text / "alarm")
    (folder / "lost+found").mkdir()
    spool = make(folder)
    assert [h.seq for h in held(spool, ALARM)] == [1]
    assert (folder / "lost+found").is_dir()
    spool.close()


def test_a_head_of_another_make_is_refused(folder: Path) -> None:
    """A lane whose head is sound and not understood is not guessed at."""
    spool = make(folder)
    spool.close()
    home = folder / f"{spool.identity:016x}" / "alarm"
    shutil.rmtree(home)
    from fengsui.log import Log

    Log.create(home, head=lambda: b"\xc1", quota_bytes=1 << 20, segment_bytes=1 << 20).close()
    with pytest.raises(SpoolError, match="head cannot be read"):
        make(folder)


def test_one_gateway_at_a_time(folder: Path) -> None:
    """A second process on the same spool would use the same numbers: it is refused."""
    spool = make(folder)
    with pytest.raises(SpoolError, match="in use by another process"):
        make(folder)
    spool.close()
    spool.close()
    make(folder).close()


class FullMedium:
    """The medium takes ``room`` more bytes; unlinking gives room back."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room = 1 << 40
        write, unlink = os.write, Path.unlink

        def limited_write(file: int, data: bytes) -> int:
            if len(data) > self.room:
                raise OSError(errno.ENOSPC, "full")
            self.room -= len(data)
            return write(file, data)

        def freeing_unlink(path: Path, missing_ok: bool = False) -> None:
            if path.exists():
                self.room += path.stat().st_size
            unlink(path, missing_ok)

        monkeypatch.setattr(os, "write", limited_write)
        monkeypatch.setattr(Path, "unlink", freeing_unlink)

        def no_room(file: int, offset: int, size: int) -> None:
            if size > self.room:
                raise OSError(errno.ENOSPC, "full")
            self.room -= size
            os.ftruncate(file, size)

        monkeypatch.setattr(os, "posix_fallocate", no_room)


def test_on_a_full_medium_alarms_get_in_by_shedding_telemetry(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No space: telemetry goes, counted, and the alarm is stored once; at last the ballast is used up."""
    medium = FullMedium(monkeypatch)
    spool = make(folder, quota=1 << 20, segment=2_000)
    for n in range(30):
        spool.store(TELEMETRY, [item(b"%2d" % n + bytes(300), readings=3)])
    medium.room = 100
    stored = fill(spool)
    assert not (folder / "ballast").exists()
    assert [h.body[:4] for h in held(spool, ALARM)] == [b"%4d" % n for n in range(stored)]
    (shed,) = sheds(spool)
    assert (shed.first, shed.readings) == (1, 90)
    with pytest.raises(SpoolFull):
        spool.store(TELEMETRY, [item(bytes(200))])
    medium.room = 1 << 30
    assert spool.store(ALARM, [item(b"after")]) == range(stored + 1, stored + 2)
    spool.commit(ALARM, stored)
    assert (folder / "ballast").exists()
    spool.close()
    spool = make(folder, segment=2_000)
    assert [h.body for h in held(spool, ALARM)][-1] == b"after"
    spool.close()


def test_telemetry_that_found_no_room_is_stored_once_when_there_is_some(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was refused leaves nothing behind: the driver's second try is the only one on the medium."""
    medium = FullMedium(monkeypatch)
    spool = make(folder, segment=2_000)
    medium.room = 0
    for _ in range(3):
        with pytest.raises(SpoolFull):
            spool.store(TELEMETRY, [item(b"again"), item(b"and again")])
    assert (folder / "ballast").exists()
    medium.room = 1 << 30
    assert spool.store(TELEMETRY, [item(b"again"), item(b"and again")]) == range(1, 3)
    assert [h.body for h in held(spool, TELEMETRY)] == [b"again", b"and again"]
    spool.close()


def test_a_renewal_without_room_sheds_or_leaves_everything_as_it_was(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy needs room: telemetry is given up for it, alarms never."""
    medium = FullMedium(monkeypatch)
    spool = make(folder, segment=2_000)
    spool.store(ALARM, [item(bytes(3_000)) for _ in range(50)])
    for n in range(20):
        spool.store(TELEMETRY, [item(b"%2d" % n + bytes(300))])
    identity = spool.identity
    medium.room = 100
    with pytest.raises(SpoolFull):
        spool.renew()
    assert spool.identity == identity
    assert len(held(spool, ALARM)) == 50
    medium.room = 1 << 30
    spool.renew()
    assert len(held(spool, ALARM)) == 50
    spool.close()


def test_a_failed_sync_is_never_accepted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """EIO: the store fails, the spool refuses from then on, and the next start has what was accepted."""
    spool = make(folder)
    spool.store(ALARM, [item(b"accepted")])
    real = os.fdatasync

    def broken(_: int) -> None:
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(os, "fdatasync", broken)
    with pytest.raises(LogFailed):
        spool.store(ALARM, [item(b"not accepted")])
    monkeypatch.setattr(os, "fdatasync", real)
    with pytest.raises(LogFailed):
        spool.store(ALARM, [item(b"nor this")])
    spool.close()
    spool = make(folder)
    assert [h.body for h in held(spool, ALARM)] == [b"accepted"]
    spool.close()


def test_a_file_deleted_under_a_running_spool_stalls_nothing(folder: Path) -> None:
    """Somebody's ``rm`` costs what was in the file; storing and shedding go on."""
    spool = make(folder, quota=20_000, segment=1_000)
    for _ in range(20):
        spool.store(TELEMETRY, [item(bytes(400))])
    min((folder / f"{spool.identity:016x}" / "telemetry").iterdir()).unlink()
    for _ in range(40):
        spool.store(TELEMETRY, [item(bytes(400))])
    assert sheds(spool)[0].first == 1
    spool.close()

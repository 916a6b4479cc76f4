"""A log read beside its owner: nothing is changed, nothing half-written is taken, what is missed is told."""

from __future__ import annotations

from pathlib import Path

from fengsui.log import Damage, Log
from fengsui.tail import Tail

HEAD = b"head"


def log_in(folder: Path, segment_bytes: int = 200) -> Log:
    """A log with small segments."""
    return Log.create(folder, head=lambda: HEAD, quota_bytes=1 << 20, segment_bytes=segment_bytes)


def write(log: Log, *numbers: int) -> None:
    """Append and sync one after the other, so that segments are closed in between."""
    for number in numbers:
        assert log.append(payload(number)) == number
        log.sync()


def payload(number: int) -> bytes:
    """What record ``number`` says."""
    return f"record {number} ".encode() * 8


def everything(tail: Tail) -> tuple[list[int], list[Damage]]:
    """All that is there now, its contents checked."""
    numbers: list[int] = []
    damage: list[Damage] = []
    while True:
        chunk = tail.read(300)
        damage += chunk.damage
        if not chunk.records:
            return numbers, damage
        assert all(data == payload(number) for number, data in chunk.records)
        numbers += [number for number, _ in chunk.records]


def test_records_come_once_and_in_order_over_all_segments(tmp_path: Path) -> None:
    """What is there is read over many segments; what comes later is read later; an empty log is nothing."""
    tail = Tail(tmp_path / "log")
    assert everything(tail) == ([], [])
    log = log_in(tmp_path / "log")
    assert everything(tail) == ([], [])
    write(log, *range(1, 11))
    assert len(list((tmp_path / "log").iterdir())) > 3
    assert everything(tail) == (list(range(1, 11)), [])
    assert everything(tail) == ([], [])
    write(log, 11, 12)
    assert everything(tail) == ([11, 12], [])
    tail.close()


def test_skipping_begins_with_what_comes_next(tmp_path: Path) -> None:
    """After a skip only new records come."""
    log = log_in(tmp_path / "log")
    write(log, *range(1, 8))
    tail = Tail(tmp_path / "log")
    tail.skip()
    write(log, 8)
    assert everything(tail) == ([8], [])
    tail.close()


def test_half_a_record_waits_for_its_other_half(tmp_path: Path) -> None:
    """A record that is being written is not taken, and not reported as damage, until it is whole."""
    log = log_in(tmp_path / "log", 1 << 16)
    write(log, 1, 2)
    (file,) = (tmp_path / "log").iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:-5])
    tail = Tail(tmp_path / "log")
    assert everything(tail) == ([1], [])
    file.write_bytes(whole)
    assert everything(tail) == ([2], [])
    tail.close()


def test_a_segment_given_up_while_it_is_read_is_read_to_its_end(tmp_path: Path) -> None:
    """Unlinking takes nothing from a reader that has begun; what it never saw is told as missed."""
    log = log_in(tmp_path / "log")
    write(log, 1)
    tail = Tail(tmp_path / "log")
    assert [number for number, _ in tail.read().records] == [1]
    write(log, *range(2, 10))
    log.release(7)
    numbers, (missed,) = everything(tail)
    assert missed.last + 1 in numbers
    assert numbers == [*range(2, missed.first), *range(missed.last + 1, 10)]
    tail.close()


def test_damage_at_the_end_of_a_closed_segment_is_told_and_left(tmp_path: Path) -> None:
    """A broken last record of a segment is damage, and the reader goes on with the next segment."""
    log = log_in(tmp_path / "log")
    write(log, *range(1, 6))
    first, *_ = sorted((tmp_path / "log").iterdir())
    data = bytearray(first.read_bytes())
    data[-3] ^= 0xFF
    first.write_bytes(data)
    numbers, damage = everything(Tail(tmp_path / "log"))
    assert len(damage) == 1
    assert damage[0].first == damage[0].last
    assert sorted([*numbers, damage[0].first]) == list(range(1, 6))

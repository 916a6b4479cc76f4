from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fengsui.marks import Marks
from fengsui.model import Lane
from fengsui.wire import Committed
from gateway.lane import CONFIRM_S, MOST_SENDINGS, MOST_WINDOW, START_WINDOW, LaneSender

HOLE_S = 2.0
EVERY_S = 1.0


def committed(upto: int, missing: list[tuple[int, int]] | None = None, **fields: int) -> Committed:
    """The server's word."""
    window = fields.get("window", 64)
    return Committed("s", Lane.TELEMETRY, upto, missing or [], window, fields.get("epoch", 1))


def sender(lane: Lane = Lane.TELEMETRY) -> LaneSender:
    """A sender whose first hello was answered."""
    made = LaneSender(lane, seed=1)
    made.connected(0.0)
    made.confirmed(committed(0), 0.0)
    return made


def send(
    sender: LaneSender, now_s: float, end: int, tombstones: tuple[int, ...] = (), first: int = 1
) -> list[int]:
    """Send what is due; every record is there."""
    due = sender.due(now_s, end, tombstones, first=first)
    for seq in due:
        sender.sent(seq, now_s)
    return due


def test_a_connection_begins_small_and_doubles_with_progress() -> None:
    """The window opens from 4 (alarm lane 8) to what the server allows, and no further than ours."""
    for lane in Lane:
        one = sender(lane)
        assert len(send(one, 0.0, 10_000)) == START_WINDOW[lane]
        assert send(one, 0.1, 10_000) == []
        sizes = []
        for n in range(1, 12):
            one.confirmed(committed(one.upto + one.in_flight, window=10**9), n)
            assert one.in_flight == 0
            sizes.append(len(send(one, n, 10_000)))
        assert sizes[:3] == [START_WINDOW[lane] * 2**k for k in (1, 2, 3)]
        assert sizes[-1] == MOST_WINDOW
        one.confirmed(committed(one.upto, window=0), 20.0)
        assert send(one, 20.0, 10_000) == []
        one.confirmed(committed(one.upto + one.in_flight, window=-5), 21.0)
        assert len(send(one, 21.0, 10_000)) == 1


def test_a_hole_is_sent_again_at_once_and_what_lies_beyond_is_not() -> None:
    """Records that arrived beyond a hole free the window and never go out again."""
    one = sender()
    assert send(one, 0.0, 5) == [1, 2, 3, 4]
    assert one.confirmed(committed(1, [(2, 2)]), 2.0) == []
    assert send(one, 2.0, 5) == [2]
    assert one.confirmed(committed(1, [(2, 2)]), 2.5) == []
    assert send(one, 2.5, 5) == [], "sent half a second ago"
    one.confirmed(committed(4), 2.6)
    assert one.in_flight == 0


def test_a_young_hole_named_late_is_still_mended() -> None:
    """A server that names an old hole only, and a younger one before it later: nothing is forgotten."""
    one = sender()
    send(one, 0.0, 5)
    one.confirmed(committed(0, [(3, 3)]), 2.0)
    assert send(one, 2.0, 5) == [3]
    one.confirmed(committed(0, [(1, 2)]), 4.0)
    assert send(one, 4.0, 5) == [1, 2]


def test_silence_sends_again_what_is_old_enough_and_backs_off() -> None:
    """No answer for 10 s: what was in flight so long goes out again, later and later, up to 30 s."""
    one = sender()
    send(one, 0.0, 3)
    assert one.wait_s(4.0) == CONFIRM_S[Lane.TELEMETRY] - 4.0
    send(one, 4.0, 4)
    assert not one.check(9.9)
    assert one.check(10.0)
    assert one.is_silent
    assert send(one, 10.0, 4) == [1, 2]
    now_s, pauses = 10.0, []
    for _ in range(6):
        pause = one.wait_s(now_s)
        pauses.append(pause)
        now_s += pause
        assert one.check(now_s)
        assert send(one, now_s, 4) == [1, 2, 3]
    assert pauses == pytest.approx(sorted(pauses))
    assert pauses[-1] == pytest.approx(30.0)
    one.confirmed(committed(3), now_s)
    assert one.wait_s(now_s) == 30.0
    assert not one.check(now_s + 1_000)


def test_progress_puts_off_the_timeout() -> None:
    """A slow server that gets on is not silent."""
    one = sender()
    send(one, 0.0, 5)
    one.confirmed(committed(1), 9.0)
    assert not one.check(18.9)
    assert one.check(19.0)


def test_a_record_that_stays_in_a_hole_is_refused_after_five_sendings_into_it() -> None:
    """Only sendings while later records were committed count: an outage refuses nothing."""
    one = sender()
    for outage in range(10):
        one.connected(outage)
        one.confirmed(committed(0), outage)
        assert send(one, outage, 3) == [1, 2]
        assert one.check(outage + 10.0)
        assert send(one, outage + 10.0, 3) == [1, 2]
    now_s, sendings = 30.0, 0
    while not (refused := one.confirmed(committed(0, [(1, 1)]), now_s)):
        sendings += len(send(one, now_s, 3))
        now_s += 0.5
    assert refused == [1]
    assert sendings == MOST_SENDINGS
    assert send(one, now_s, 4, tombstones=(3,)) == [3]


def test_tombstones_go_first_and_what_they_stand_for_is_not_sent() -> None:
    """After a long gap the lane begins with its tombstones and the oldest record that is still there."""
    one = sender()
    assert send(one, 0.0, 300_000, tombstones=(250_000, 270_000), first=200_000) == [
        250_000, 270_000, 200_000, 200_001,
    ]  # fmt: skip
    one.confirmed(committed(0, [(1, 199_999), (200_002, 249_999), (250_001, 269_999)]), 2.0)
    assert send(one, 2.0, 300_000, tombstones=(250_000, 270_000), first=200_000) == [
        200_002, 200_003, 200_004, 200_005,
    ]  # fmt: skip


def test_a_tombstone_beyond_the_records_it_overtook_does_not_keep_them_back() -> None:
    """With a window of 1 the tombstone goes out, the hole before it is named, and the hole is filled."""
    one = sender()
    one.confirmed(committed(0, window=1), 0.0)
    assert send(one, 0.0, 5, tombstones=(4,)) == [4]
    assert send(one, 1.0, 5, tombstones=(4,)) == []
    one.confirmed(committed(0, [(1, 3)], window=1), 2.0)
    assert send(one, 2.0, 5, tombstones=(4,)) == [1]


def test_a_tombstone_that_is_not_synced_yet_is_not_due() -> None:
    """Nothing is sent that could still vanish."""
    assert send(sender(), 0.0, 3, tombstones=(3,)) == [1, 2]


def test_an_old_copy_is_known_by_what_it_never_sent() -> None:
    """The server's ``upto`` beyond everything that was ever sent, whatever was stored meanwhile."""
    one = LaneSender(Lane.TELEMETRY, given=5)
    one.connected(0.0)
    assert not one.is_old_copy(committed(5))
    assert one.is_old_copy(committed(6))
    one.confirmed(committed(5), 0.0)
    assert one.is_known
    assert send(one, 0.0, 8) == [6, 7]
    assert not one.is_old_copy(committed(7))
    assert one.is_old_copy(committed(8))


def test_a_word_of_the_past_changes_nothing() -> None:
    """A lower epoch is ignored altogether; a lower ``upto`` brings nothing back."""
    one = sender()
    send(one, 0.0, 5)
    one.confirmed(committed(3, epoch=2), 1.0)
    assert one.confirmed(committed(4, epoch=1), 1.0) == []
    one.confirmed(committed(1, [(2, 2)], epoch=2), 1.0)
    assert (one.upto, one.in_flight) == (3, 1)
    one.connected(2.0)
    assert not one.is_answered
    assert send(one, 2.0, 6) == [4, 5]


def test_a_server_that_listens_anew_gets_at_once_what_was_on_its_way() -> None:
    """A higher epoch names a new listening: what was in flight was lost with the old one."""
    one = sender()
    assert send(one, 0.0, 4) == [1, 2, 3]
    one.confirmed(committed(1, epoch=2), 0.1)
    assert send(one, 0.1, 4) == [2, 3]


def test_a_server_whose_clock_went_back_is_heard_on_the_next_connection_or_after_silence() -> None:
    """Epochs come from a wall clock; one that was set back must not stall a lane."""
    one = sender()
    one.confirmed(committed(0, epoch=1_000), 0.0)
    one.connected(1.0)
    one.confirmed(committed(0, epoch=10), 1.0)
    assert one.is_answered
    assert send(one, 1.0, 2) == [1]
    one.confirmed(committed(1, epoch=5), 2.0)
    assert one.upto == 0
    assert one.check(11.0)
    one.confirmed(committed(1, epoch=5), 11.0)
    assert [one.upto] == [1]


class Server:
    """A server behind a lossy line: journal, holes by age, answers once a second."""

    def __init__(self, window: int) -> None:
        self.marks = Marks()
        self.window = window
        self.holes: dict[int, float] = {}

    def take(self, seq: int, stands_for: int | None = None) -> None:
        """A record arrives."""
        self.marks.add(seq, seq)
        if stands_for is not None:
            self.marks.add(stands_for, stands_for)

    def answer(self, now_s: float) -> Committed:
        """``committed`` as the intake makes it."""
        missing = self.marks.missing()
        self.holes = {first: self.holes.get(first, now_s) for first, _ in missing}
        while missing and now_s - self.holes[missing[-1][0]] < HOLE_S:
            missing.pop()
        return committed(self.marks.upto, missing[:100], window=self.window)


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    records=st.integers(1, 60),
    loss=st.floats(0, 0.5),
    delay_s=st.floats(0, 3),
    window=st.integers(1, 64),
    drops=st.lists(st.floats(0, 60), max_size=4),
)
def test_everything_is_committed_over_any_line_that_lets_something_through(
    seed: int, records: int, loss: float, delay_s: float, window: int, drops: list[float]
) -> None:
    """Loss, delay, reordering, reconnects: all is committed in the end, the window is never exceeded."""
    chance = random.Random(seed)
    one, server = LaneSender(Lane.TELEMETRY, seed=seed), Server(window)
    up: list[tuple[float, int]] = []
    down: list[tuple[float, Committed]] = []
    now_s, answered_s, end = 0.0, 0.0, records + 1
    tombstones: dict[int, int] = {}
    was, progress_s = (-1, 0), 0.0
    one.connected(now_s)
    while one.upto < end - 1:
        progress = (server.marks.count(1, end), one.upto) != was
        progress_s, was = (now_s, (server.marks.count(1, end), one.upto)) if progress else (progress_s, was)
        assert now_s - progress_s < 900, f"stalled at {one.upto} of {records}: {server.marks}"
        if drops and now_s >= min(drops):
            drops = [at for at in drops if at > now_s]
            up, down = [], []
            one.connected(now_s)
        for seq in [seq for at, seq in up if at <= now_s]:
            server.take(seq, tombstones.get(seq))
        up = [(at, seq) for at, seq in up if at > now_s]
        if now_s - answered_s >= EVERY_S or not one.is_answered:
            answered_s = now_s
            if chance.random() >= loss:
                down.append((now_s + chance.uniform(0, delay_s), server.answer(now_s)))
        for _, word in sorted((one for one in down if one[0] <= now_s), key=lambda pair: pair[0]):
            assert not one.is_old_copy(word)
            for refused in one.confirmed(word, now_s):
                assert loss > 0
                for stands_for in {refused, tombstones.get(refused, refused)}:
                    tombstones[end] = stands_for
                    end += 1
        down = [pair for pair in down if pair[0] > now_s]
        one.check(now_s)
        if one.is_answered:
            before = one.in_flight
            for seq in one.due(now_s, end, tombstones):
                one.sent(seq, now_s)
                if chance.random() >= loss:
                    up.append((now_s + chance.uniform(0, delay_s), seq))
            assert one.in_flight <= max(before, window, START_WINDOW[Lane.TELEMETRY])
        now_s += 0.25
    assert server.marks.upto == end - 1


@given(records=st.integers(1, 500), window=st.integers(1, 64))
def test_over_a_good_line_every_record_is_sent_once(records: int, window: int) -> None:
    """Without loss nothing goes out twice."""
    one, server, now_s = sender(), Server(window), 0.0
    sent: list[int] = []
    while one.upto < records:
        due = send(one, now_s, records + 1)
        sent += due
        for seq in due:
            server.take(seq)
        now_s += 0.5
        assert not one.check(now_s)
        one.confirmed(server.answer(now_s), now_s)
    assert sent == list(range(1, records + 1))

"""Which record of a lane goes out next: the pure half of the uplink. No I/O; time is an argument.

Records are sent in order within a window of unconfirmed ones. ``committed`` moves the window; a hole it names
is sent again at once; silence makes what is unconfirmed go out again, with a back-off. A record that stays in
a hole though it was sent into it five times, while later ones are committed, is to be set aside (wire
contract, ``refused``).
"""

from __future__ import annotations

import random
from collections.abc import Iterable

from fengsui.model import Lane
from fengsui.wire import Committed

START_WINDOW = {Lane.ALARM: 8, Lane.TELEMETRY: 4}
MOST_WINDOW = 1_024
CONFIRM_S = {Lane.ALARM: 3.0, Lane.TELEMETRY: 10.0}
MOST_CONFIRM_S = 30.0
MOST_SENDINGS = 5
_HOLE_PAUSE_S = 1.0


class LaneSender:
    """The state of sending one lane under one spool identity.

    Args:
        lane: Which lane.
        given: The highest seq that an earlier process may have sent.
        seed: Of the jitter.

    Attributes:
        upto: Everything up to this seq is committed.
        is_answered: Has the server answered this connection's hello?
        is_known: Has the server ever answered for this identity, so that it is no old copy?
        is_silent: Has the server confirmed nothing for a whole time-out (a local fault)?
    """

    def __init__(self, lane: Lane, *, given: int = 0, seed: int | None = None) -> None:
        self.lane = lane
        self.upto = 0
        self.epoch = 0
        self.is_answered = False
        self.is_known = False
        self.is_silent = False
        self._given = given
        self._next = 1
        self._window = START_WINDOW[lane]
        self._sent_at: dict[int, float] = {}
        self._arrived: set[int] = set()
        self._mended: dict[int, int] = {}
        self._again: list[int] = []
        self._progress_at = 0.0
        self._timeout_s = CONFIRM_S[lane]
        self._random = random.Random(seed)

    @property
    def in_flight(self) -> int:
        """Records sent on this connection and not confirmed."""
        return len(self._sent_at)

    def connected(self, now_s: float) -> None:
        """A new connection: nothing counts as sent, the window is small, whoever answers is the server."""
        self.is_answered = False
        self.epoch = 0
        self._window = START_WINDOW[self.lane]
        self._next = self.upto + 1
        self._sent_at.clear()
        self._arrived.clear()
        self._mended.clear()
        self._again.clear()
        self._progress_at = now_s
        self._timeout_s = CONFIRM_S[self.lane]

    def is_old_copy(self, committed: Committed) -> bool:
        """Does the server know a seq that this spool has never sent? Then another copy of it has."""
        return committed.upto > self._given

    def confirmed(self, committed: Committed, now_s: float) -> list[int]:
        """Take the server's word; return seqs to be set aside as ``refused``."""
        if committed.epoch < self.epoch:
            return []
        if committed.epoch > self.epoch > 0:  # the server listens anew: what was on its way to it is lost
            self._again = sorted(self._sent_at)
        self.epoch = committed.epoch
        self.is_answered = True
        self.is_known = True
        self.is_silent = False
        if committed.upto > self.upto:
            self.upto = committed.upto
            self._next = max(self._next, self.upto + 1)
            self._progress_at = now_s
            self._timeout_s = CONFIRM_S[self.lane]
            self._window *= 2
            self._arrived = {seq for seq in self._arrived if seq > self.upto}
            self._mended = {seq: n for seq, n in self._mended.items() if seq > self.upto}
        self._window = max(1, min(self._window, committed.window, MOST_WINDOW))
        return self._mend(committed.missing, now_s)

    def due(self, now_s: float, end: int, tombstones: Iterable[int] = (), *, first: int = 1) -> list[int]:
        """Seqs to send now; call ``sent`` for each that is still there.

        Args:
            now_s: Monotonic seconds.
            end: The seq that the next record will get.
            tombstones: Seqs of ``shed`` records; they go before anything else.
            first: The oldest seq that is still there; a tombstone stands for what was before it.
        """
        seqs = [seq for seq in self._again if first <= seq < end]
        self._again.clear()
        room = self._window - self.in_flight
        for seq in sorted(tombstones):
            if room > 0 and self.upto < seq < end and not self._is_out(seq) and seq not in seqs:
                seqs.append(seq)
                room -= 1
        self._next = max(self._next, first)
        while room > 0 and self._next < end:
            if not self._is_out(self._next) and self._next not in seqs:
                seqs.append(self._next)
                room -= 1
            self._next += 1
        if seqs and not self._sent_at:
            self._progress_at = now_s
        return seqs

    def sent(self, seq: int, now_s: float) -> None:
        """A record went out."""
        self._sent_at[seq] = now_s
        self._given = max(self._given, seq)

    def wait_s(self, now_s: float) -> float:
        """Seconds until ``check`` has to be called."""
        if not self._sent_at:
            return MOST_CONFIRM_S
        return max(0.0, max(self._progress_at, min(self._sent_at.values())) + self._timeout_s - now_s)

    def check(self, now_s: float) -> bool:
        """True when the server has been silent too long: what it has not confirmed by now goes out again."""
        if not self._sent_at or self.wait_s(now_s) > 0:
            return False
        self.is_silent = True
        self.epoch = 0  # whoever speaks next is the server
        self._again = sorted(seq for seq, at in self._sent_at.items() if now_s - at >= self._timeout_s)
        self._progress_at = now_s
        self._timeout_s = min(MOST_CONFIRM_S, self._timeout_s * self._random.uniform(1.5, 2.0))
        return True

    def _is_out(self, seq: int) -> bool:
        return seq in self._sent_at or seq in self._arrived

    def _mend(self, missing: list[tuple[int, int]], now_s: float) -> list[int]:
        """Free what has arrived beyond the holes, queue what is in them."""
        known = missing[-1][1] + 1 if missing else self.upto  # a hole ends where something has arrived
        for seq in [seq for seq in self._sent_at if seq <= known and not _is_in(seq, missing)]:
            del self._sent_at[seq]
            if seq > self.upto:
                self._arrived.add(seq)
        self._again = [seq for seq in self._again if seq in self._sent_at]
        for seq in [seq for seq in self._arrived if _is_in(seq, missing)]:
            self._arrived.discard(seq)  # a young hole, not named before
            self._sent_at[seq] = now_s - _HOLE_PAUSE_S
        refused = []
        for seq in sorted(self._sent_at):
            if not _is_in(seq, missing) or now_s - self._sent_at[seq] < _HOLE_PAUSE_S or seq in self._again:
                continue
            self._mended[seq] = self._mended.get(seq, 0) + 1
            if self._mended[seq] > MOST_SENDINGS:
                refused.append(seq)
                del self._sent_at[seq]
            else:
                self._again.append(seq)
        self._again.sort()
        return refused


def _is_in(seq: int, ranges: list[tuple[int, int]]) -> bool:
    return any(first <= seq <= last for first, last in ranges)

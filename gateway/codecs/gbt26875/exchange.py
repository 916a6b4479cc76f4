"""Exchanges of GB/T 26875.3-2011 (6.1 to 6.5) between two ends: serial numbers, answers, sending again.

Who begins an exchange gives it the next serial number; confirmation, answer or denial repeats it. Unanswered
or denied, the same bytes are sent again, three times by default; then the exchange has failed. One object
serves one peer in either role. Time is an argument, seconds of a clock that never steps back.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from gateway.codecs.gbt26875.frame import Command, Frame, encode
from gateway.codecs.gbt26875.label import encode_label
from gateway.codecs.gbt26875.profile import Profile
from gateway.codecs.gbt26875.unit import zone

MAX_PENDING = 16
"""Exchanges under way with one peer; a device that answers nothing holds no more."""
REMEMBERED_S = 60.0
_REMEMBERED = 64
_ANSWERS = {
    Command.CONTROL: (Command.CONFIRM, Command.RESPONSE),
    Command.SEND: (Command.CONFIRM,),
    Command.REQUEST: (Command.RESPONSE,),
}
"""What ends an exchange; some devices answer a control command instead of confirming it."""


class ExchangesFull(RuntimeError):
    """``MAX_PENDING`` exchanges are under way; try again when one has ended."""


class Retry(NamedTuple):
    """When to send again (6.5.4, 6.5.5; both adjustable)."""

    timeout_s: float = 10.0
    times: int = 3


class Sent(NamedTuple):
    """An exchange that we began."""

    serial: int
    command: int
    unit: bytes
    data: bytes
    """The frame, the same at every sending."""
    due_s: float
    left: int
    """How often it may be sent again."""


class Due(NamedTuple):
    """What time has brought: frames to send again, exchanges that have failed."""

    again: list[bytes]
    failed: list[Sent]


class Exchange:
    """The exchanges with one peer.

    Args:
        own: Our address.
        peer: The peer's address.
        profile: How the peer speaks.
        retry: When to send again.
    """

    def __init__(self, own: int, peer: int, profile: Profile, retry: Retry | None = None) -> None:
        self.own = own
        self.peer = peer
        self.profile = profile
        self._retry = retry or Retry()
        self._end = bytes.fromhex(profile.end)
        self._serial = 0
        self._pending: OrderedDict[int, Sent] = OrderedDict()
        self._heard: OrderedDict[tuple[int, bytes], float] = OrderedDict()

    @property
    def pending(self) -> Iterable[Sent]:
        """Exchanges that we began and that have not ended, the oldest first."""
        return self._pending.values()

    def begin(
        self, command: int, unit: bytes, now_s: float, at: datetime, *, own: int | None = None
    ) -> bytes:
        """Begin an exchange, for another address than ours if ``own`` is given; the bytes to send now.

        Raises:
            ExchangesFull: Too many are under way.
            ValueError: The unit is too long.
        """
        if len(self._pending) >= MAX_PENDING:
            raise ExchangesFull(f"{MAX_PENDING} exchanges with {self.peer} are under way")
        serial, self._serial = self._serial, (self._serial + 1) & 0xFFFF
        label = encode_label(at, zone(self.profile))
        source = self.own if own is None else own
        data = encode(Frame(serial, (1, 0), label, source, self.peer, command, unit), self._end)
        due_s = now_s + self._retry.timeout_s
        self._pending[serial] = Sent(serial, command, unit, data, due_s, self._retry.times)
        return data

    def answer(self, frame: Frame, command: int, at: datetime, unit: bytes = b"") -> bytes:
        """The bytes that confirm, answer or deny ``frame``: addresses exchanged, number repeated."""
        echo = self.profile.confirm_label == "echo" and command == Command.CONFIRM
        label = frame.sent if echo else encode_label(at, zone(self.profile))
        answer = Frame(frame.serial, frame.version, label, frame.destination, frame.source, command, unit)
        return encode(answer, self._end)

    def end(self, frame: Frame, now_s: float) -> tuple[Sent | None, Due]:
        """What a confirmation, answer or denial does: the exchange it ended well, and what to send again."""
        sent = self._pending.get(frame.serial)
        if sent is None:
            return None, Due([], [])
        if frame.command == Command.DENY:
            return None, self._again([sent], now_s)
        if frame.command in _ANSWERS.get(Command(sent.command), ()):
            return self._pending.pop(frame.serial), Due([], [])
        return None, Due([], [])

    def due(self, now_s: float) -> Due:
        """What was not answered in time."""
        return self._again([sent for sent in self._pending.values() if sent.due_s <= now_s], now_s)

    def is_repeated(self, frame: Frame, now_s: float) -> bool:
        """Whether the peer sends this again because our answer was lost; remembers it if not."""
        for key, until_s in list(self._heard.items()):
            if until_s > now_s and len(self._heard) <= _REMEMBERED:
                break
            del self._heard[key]
        key = frame.serial, frame.unit
        is_known = key in self._heard
        self._heard[key] = now_s + REMEMBERED_S
        self._heard.move_to_end(key)
        return is_known

    def _again(self, overdue: list[Sent], now_s: float) -> Due:
        due = Due([], [])
        for sent in overdue:
            if sent.left == 0:
                due.failed.append(self._pending.pop(sent.serial))
                continue
            due.again.append(sent.data)
            due_s = now_s + self._retry.timeout_s
            self._pending[sent.serial] = sent._replace(due_s=due_s, left=sent.left - 1)
        return due

"""The centre's side of GB/T 26875.3-2011 towards one transmitter. No I/O; time is an argument.

It confirms what the transmitter sends (after the caller has taken it), tells a repetition from news, keeps
the transmitter's clock right, and asks: when a link begins, every ``inspect_s`` (the centre's inspection, at
most 2 h, GB 50440), and when nothing was heard for ``silent_s``. The standard has no heartbeat; devices send
empty units every 20 to 30 s, or their state, or nothing, so only a question left unanswered means *lost*.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from gateway.codecs.gbt26875.exchange import Due, Exchange, ExchangesFull, Sent
from gateway.codecs.gbt26875.frame import Command, Frame
from gateway.codecs.gbt26875.label import decode_label
from gateway.codecs.gbt26875.unit import Fields, Unit, decode_unit, encode_unit, make, zone

READ_STATE = 81
INITIALISE = 89
SET_CLOCK = 90
POST_CHECK = 91
_CONTROLS = (SET_CLOCK, POST_CHECK)
CLOCK_EVERY_S = 86_400.0
"""A transmitter's clock is set once a day (GB 50440), and when it is off."""
CLOCK_AGAIN_S = 600.0
"""A clock that does not stay right is not set more often than this."""


class Habits(NamedTuple):
    """What a centre does on its own."""

    silent_s: float = 90.0
    inspect_s: float = 3600.0
    set_clock: bool = True
    clock_tolerance_s: float = 5.0


class Heard(NamedTuple):
    """What a frame means to the centre."""

    unit: Unit | None
    """News to take; None = nothing new."""
    reply: bytes | None
    """To send once the news has been taken."""
    others: list[bytes]
    """To send in any case: what the peer denied, again."""
    ended: Sent | None
    """An exchange of ours that this answer ended well."""
    failed: list[Sent]


class Turn(NamedTuple):
    """What the passing of time brings."""

    frames: list[bytes]
    failed: list[Sent]


class Centre:
    """One transmitter as its centre knows it.

    Args:
        exchange: The exchanges with it.
        habits: What to do on our own.
        now_s: Now.
    """

    def __init__(self, exchange: Exchange, habits: Habits, now_s: float) -> None:
        self.exchange = exchange
        self._habits = habits
        self._asked_s = self._heard_s = now_s
        self._clock_s = float("-inf")
        self._is_off = False
        """Whether its clock is off, or it has none."""
        self.is_lost = False
        """It did not answer; any good frame ends that."""

    @property
    def is_clock_right(self) -> bool:
        """Whether the last frame's time label was within tolerance of our clock."""
        return not self._is_off

    def linked(self, now_s: float) -> None:
        """A link begins: its state is asked for in the next turn."""
        self._asked_s = min(self._asked_s, now_s - self._habits.inspect_s)

    def receive(self, frame: Frame, now_s: float, at: datetime) -> Heard:
        """Take a good frame of this transmitter."""
        self._heard_s, self.is_lost = now_s, False
        self._mind_clock(frame, at)
        nothing = Heard(None, None, [], None, [])
        match frame.command:
            case Command.SEND:
                reply = self.exchange.answer(frame, Command.CONFIRM, at)
                if not frame.unit or self.exchange.is_repeated(frame, now_s):
                    return nothing._replace(reply=reply)
                return nothing._replace(reply=reply, unit=self._read(frame))
            case Command.CONFIRM | Command.RESPONSE | Command.DENY:
                ended, due = self.exchange.end(frame, now_s)
                unit = self._read(frame) if ended is not None and frame.unit else None
                return nothing._replace(unit=unit, ended=ended, others=due.again, failed=due.failed)
            case _:  # a centre is neither controlled nor asked, and what it does not know it denies (6.5.3)
                return nothing._replace(reply=self.refuse(frame, at))

    def refuse(self, frame: Frame, at: datetime) -> bytes | None:
        """The denial of a frame that is damaged or not for a centre; None = this maker wants none."""
        return self.exchange.answer(frame, Command.DENY, at) if self.exchange.profile.deny else None

    def turn(self, now_s: float, at: datetime) -> Turn:
        """What is due: answers that did not come, the inspection, the clock."""
        due: Due = self.exchange.due(now_s)
        frames = list(due.again)
        habits = self._habits
        silent = now_s - self._heard_s >= habits.silent_s and now_s - self._asked_s >= habits.silent_s
        if silent or now_s - self._asked_s >= habits.inspect_s:
            self._asked_s = now_s
            frames += self._try(READ_STATE, {}, now_s, at)
        since_s = now_s - self._clock_s
        if habits.set_clock and since_s >= (CLOCK_AGAIN_S if self._is_off else CLOCK_EVERY_S):
            self._clock_s, self._is_off = now_s, False
            frames += self._try(SET_CLOCK, {"time": at}, now_s, at)
        if any(sent.unit[:1] == bytes((READ_STATE,)) for sent in due.failed):
            self.is_lost = self.is_lost or self._heard_s <= now_s - habits.silent_s
        return Turn(frames, due.failed)

    def ask(self, type_: int, fields: Fields, now_s: float, at: datetime) -> bytes:
        """Begin an exchange with a unit of this type: a question, or a control command.

        Raises:
            ExchangesFull: Too many questions are open.
            ValueError: The type or a field is not the standard's.
        """
        profile = self.exchange.profile
        is_control = type_ in _CONTROLS or (type_ == INITIALISE and profile.initialise_command == "control")
        command = Command.CONTROL if is_control else Command.REQUEST
        unit = encode_unit(type_, [make(type_, fields, profile)])
        return self.exchange.begin(command, unit, now_s, at)

    def _try(self, type_: int, fields: Fields, now_s: float, at: datetime) -> list[bytes]:
        """What the centre asks on its own waits when too much is open already."""
        if type_ in {sent.unit[0] for sent in self.exchange.pending if sent.unit}:
            return []
        try:
            return [self.ask(type_, fields, now_s, at)]
        except ExchangesFull:
            return []

    def _mind_clock(self, frame: Frame, at: datetime) -> None:
        sent = decode_label(frame.sent, zone(self.exchange.profile))
        self._is_off = sent is None or abs((sent - at).total_seconds()) > self._habits.clock_tolerance_s

    def _read(self, frame: Frame) -> Unit:
        return decode_unit(frame.unit, self.exchange.profile)

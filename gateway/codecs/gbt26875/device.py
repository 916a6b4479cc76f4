"""The transmitter's side of GB/T 26875.3-2011 towards its centre. No I/O; time is an argument.

It reports and waits to be confirmed, answers questions, obeys control commands, and says that it lives with
an empty unit every ``HEARTBEAT_S``. What it is asked is answered by whoever plays the transmitter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple, TypeAlias

from gateway.codecs.gbt26875.exchange import Due, Exchange, Sent
from gateway.codecs.gbt26875.frame import Command, Frame
from gateway.codecs.gbt26875.unit import InfoObject, Unit, decode_unit, encode_unit

HEARTBEAT_S = 20.0

Answer: TypeAlias = "Callable[[int, InfoObject | None], tuple[int, Sequence[InfoObject]] | None]"
"""Answers a question or obeys a command, by type flag and object: type and objects; None = it cannot."""


class Told(NamedTuple):
    """What a frame from the centre means."""

    replies: list[bytes]
    confirmed: Sent | None
    """A report of ours that the centre has taken."""
    failed: list[Sent]
    control: Unit | None
    """A control command that is news."""


class Device:
    """A transmitter as it behaves to its centre.

    Args:
        exchange: The exchanges with the centre.
        answer: What the transmitter says when it is asked.
    """

    def __init__(self, exchange: Exchange, answer: Answer) -> None:
        self.exchange = exchange
        self._answer = answer
        self._heartbeat_s = float("-inf")

    def report(
        self,
        unit: bytes,
        now_s: float,
        at: datetime,
        *,
        source: int | None = None,
    ) -> bytes:
        """The frame that tells the centre something, by default of ourselves; sent until it is confirmed.

        Raises:
            ExchangesFull: Too many reports are not confirmed yet.
            ValueError: The unit is too long.
        """
        return self.exchange.begin(Command.SEND, unit, now_s, at, own=source)

    def receive(self, frame: Frame, now_s: float, at: datetime) -> Told:
        """Take a good frame of the centre."""
        match frame.command:
            case Command.CONFIRM | Command.RESPONSE | Command.DENY:
                ended, due = self.exchange.end(frame, now_s)
                return Told(due.again, ended, due.failed, None)
            case Command.CONTROL | Command.REQUEST:
                return self._serve(frame, now_s, at)
            case _:
                return Told([self.exchange.answer(frame, Command.DENY, at)], None, [], None)

    def turn(self, now_s: float, at: datetime) -> Due:
        """What is due: reports not confirmed, the heartbeat."""
        due = self.exchange.due(now_s)
        if now_s - self._heartbeat_s >= HEARTBEAT_S and not list(self.exchange.pending):
            self._heartbeat_s = now_s
            due.again.append(self.exchange.begin(Command.SEND, b"", now_s, at))
        return due

    def _serve(self, frame: Frame, now_s: float, at: datetime) -> Told:
        unit = decode_unit(frame.unit, self.exchange.profile)
        if frame.command == Command.CONTROL:
            news = unit if not self.exchange.is_repeated(frame, now_s) else None
            return Told([self.exchange.answer(frame, Command.CONFIRM, at)], None, [], news)
        asked = unit.objects[0] if unit.objects else None
        answer = self._answer(unit.type, asked) if unit.type is not None and unit.is_known else None
        if answer is None:
            return Told([self.exchange.answer(frame, Command.DENY, at)], None, [], None)
        reply = self.exchange.answer(frame, Command.RESPONSE, at, encode_unit(*answer))
        return Told([reply], None, [], None)

"""Frames out of a stream of bytes: whole, in pieces, with rubbish between, cut anywhere.

Bytes that are no frame are stepped over up to the next start mark. A frame that never ends (its length was
damaged, or the link broke in it) is given up as soon as another one lies whole behind its beginning, so that
one good frame is enough to find the way again. The price: a frame that carries another one whole in its data
unit, and whose own end comes later than that, is read as the inner one; the standard has no such frame.
"""

from __future__ import annotations

from typing import NamedTuple

from gateway.codecs.gbt26875.frame import (
    END,
    MAX_FRAME,
    OVERHEAD,
    START,
    Frame,
    FrameError,
    Reason,
    decode,
    find_fault,
    size_of,
)


class Found(NamedTuple):
    """A frame, or what was refused in its place."""

    frame: Frame | None
    skipped: int
    """Bytes before the frame that belong to none; of a refusal, those given up with it."""
    error: str | None
    raw: bytes
    """The frame's bytes, or the beginning of what was refused, at most a frame's length."""
    reason: Reason | None = None
    """Of a refusal."""


class Stream:
    """Takes bytes as they come; holds at most one frame's length of them between two calls.

    Args:
        end: The end mark; one maker's differs.
    """

    def __init__(self, end: bytes = END) -> None:
        self._end = end
        self._buffer = bytearray()
        self._at = 0
        """Where the buffer begins in the stream."""
        self._inside = 0
        """Up to here lies the frame refused last: what is wrong within is part of that."""
        self._skipped = 0

    @property
    def held(self) -> int:
        """Bytes that wait for more."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Found]:
        """What is complete with ``data``."""
        found: list[Found] = []
        for first in range(0, len(data), MAX_FRAME):
            self._buffer += data[first : first + MAX_FRAME]
            while (one := self._next()) is not None:
                found.append(one)
        return found

    def close(self) -> list[Found]:
        """What is left when nothing more comes; the stream is empty then."""
        found: list[Found] = []
        while self._buffer:
            if (refused := self._refuse(self._cut_short())) is not None:
                found.append(refused)
            while (one := self._next()) is not None:
                found.append(one)
        if self._skipped and self._at > self._inside:
            found.append(Found(None, self._skipped, f"no frame in {self._skipped} bytes", b"", "start"))
        self._skipped = 0
        return found

    def _next(self) -> Found | None:
        """The next frame or refusal; None = more bytes are needed."""
        while self._buffer:
            try:
                decoded = decode(self._buffer, self._end)
                if decoded is None:
                    self._look_ahead()
                    return None
            except FrameError as error:
                if (refused := self._refuse(error)) is not None:
                    return refused
                continue
            frame, used = decoded
            raw, skipped = bytes(self._buffer[:used]), self._skipped
            self._drop(used)
            self._skipped = 0
            return Found(frame, skipped, None, raw)
        return None

    def _cut_short(self) -> FrameError:
        """What to say of a frame whose rest will not come."""
        size, at = size_of(self._buffer, 0), self._buffer.find(START, 1)
        wanted = f"the {size} that its length says" if size else f"at least {OVERHEAD}"
        return FrameError(
            "incomplete",
            f"incomplete: {len(self._buffer)} bytes of {wanted}",
            skip=at if at > 0 else len(self._buffer),
            size=size or OVERHEAD,
        )

    def _look_ahead(self) -> None:
        """Look for a whole frame behind the beginning of one that still waits for its end.

        Raises:
            FrameError: There is one: the first will not end.
        """
        at = self._buffer.find(START, 1)
        while at >= 0:
            size = size_of(self._buffer, at)
            if size is None:
                return
            whole = size <= MAX_FRAME and at + size <= len(self._buffer)
            if whole and find_fault(self._buffer, at, size, self._end) is None:
                own = size_of(self._buffer, 0) or OVERHEAD
                raise FrameError(
                    "incomplete",
                    f"incomplete: another frame begins {at} bytes into one of {own}",
                    skip=at,
                    size=at,
                )
            at = self._buffer.find(START, at + 1)

    def _refuse(self, error: FrameError) -> Found | None:
        """Drop what is wrong; None = it is no more than the inside of what was refused before."""
        at, raw = self._at, bytes(self._buffer[: min(error.size, MAX_FRAME)])
        self._drop(error.skip)
        self._skipped += error.skip
        if error.reason == "start" or at < self._inside:
            return None
        self._inside = at + error.size
        skipped, self._skipped = self._skipped, 0
        return Found(None, skipped, str(error), raw, error.reason)

    def _drop(self, count: int) -> None:
        del self._buffer[:count]
        self._at += count

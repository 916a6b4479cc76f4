"""What a channel is: one way to reach somebody, which says whether it did."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from alerting.notify.message import Message


class Channel(Protocol):
    """Sends messages of the dispatcher; made once, used by several tasks at a time."""

    async def send(self, message: Message) -> str:
        """Deliver, and return what proves it (a receipt, or where it was put).

        Called at most once at a time for one message. The dispatcher ends a call that takes too long, so a
        channel has no time limit of its own.

        Raises:
            DeliveryError: Not delivered, as far as can be known.
        """
        ...


class Way(NamedTuple):
    """A channel with how long one message may take."""

    channel: Channel
    timeout_s: float

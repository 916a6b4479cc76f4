"""An MQTT topic for each address: boards, lamps and other people's systems listen there."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
from msgspec import Meta

from alerting.errors import DeliveryError
from alerting.notify.message import Message
from fengsui import topics
from fengsui.model import NAME
from fengsui.mqtt import Disconnected, connect
from fengsui.settings import Broker

_IDENTIFIER = "core-notify"


class MqttSettings(
    msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True, tag_field="kind", tag="mqtt"
):
    """Messages to ``fs/1/notice/ADDRESS`` at the core's own broker."""

    inside: bool = True
    """The receivers are in this house: they may be told of TEST alarms."""
    timeout_s: Annotated[float, Meta(gt=0, le=30)] = 10.0
    bell_to: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_-]{1,64}\Z")] = "bell"
    """Address of the daily bell test."""


class Mqtt:
    """Publishes with a connection for each message, one after the other."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._one_at_a_time = asyncio.Lock()

    async def send(self, message: Message) -> str:
        """Publish at QoS 1; the topic, once the broker says that it has it.

        Raises:
            DeliveryError: No broker, or it did not answer.
        """
        if not NAME.fullmatch(message.to):
            raise DeliveryError(
                f"{message.to!r} is no name for a topic: letters, digits, _ and -", retryable=False
            )
        topic = topics.of_notice(message.to)
        try:
            async with self._one_at_a_time, connect(self._broker, _IDENTIFIER) as connection:
                connection.send(topic, msgspec.json.encode(message.facts()))
                await connection.linger()
                if connection.unread:
                    raise DeliveryError("the broker has not said that it has it", retryable=True)
        except Disconnected as error:
            raise DeliveryError(f"no broker: {error}", retryable=True) from error
        return topic

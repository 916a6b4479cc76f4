"""A siren at a gateway, by the wire contract's command ``siren``; the gateway's answer is the receipt."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from alerting.notify.message import Message

Command: TypeAlias = Callable[[str, str, Mapping[str, str]], Awaitable[str]]
"""Asks a gateway to do something and gives its answer; raises ``DeliveryError`` when it does not."""


class SirenSettings(
    msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True, tag_field="kind", tag="siren"
):
    """Addresses are ``GATEWAY`` or ``GATEWAY/DRIVER``."""

    inside: bool = False
    """It may sound for TEST alarms."""
    timeout_s: Annotated[float, Meta(gt=0, le=30)] = 10.0
    bell_to: str = ""
    """Address that is sounded by the daily bell test; empty = none is."""


class Siren:
    """Every siren of every gateway."""

    def __init__(self, command: Command) -> None:
        self._command = command

    async def send(self, message: Message) -> str:
        """Let it sound; what the gateway answered.

        Raises:
            DeliveryError: The gateway does not answer, or refused.
        """
        gateway, _, driver = message.to.partition("/")
        return await self._command(gateway, "siren", {"driver": driver} if driver else {})

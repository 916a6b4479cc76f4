"""A sounder on the core's own machine: a command that makes a noise, whether any browser lives or not."""

from __future__ import annotations

import asyncio
import shutil
from typing import Annotated

import msgspec
from msgspec import Meta

from alerting.errors import DeliveryError
from alerting.notify.message import Message


class SounderSettings(
    msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True, tag_field="kind", tag="sounder"
):
    """What makes the noise."""

    command: Annotated[tuple[str, ...], Meta(min_length=1)]
    """For fire, such as ``["aplay", "-q", "/etc/fengsui/fire.wav"]``."""
    other: tuple[str, ...] = ()
    """For everything else; empty = the same."""
    timeout_s: Annotated[float, Meta(gt=0, le=30)] = 20.0
    bell_to: str = ""

    @property
    def inside(self) -> bool:
        """It is on this machine."""
        return True

    def __post_init__(self) -> None:
        """Refuse a command that is not there."""
        for command in (self.command, self.other or self.command):
            if shutil.which(command[0]) is None:
                raise ValueError(f"command {command[0]!r} is not on this machine")


class Sounder:
    """Runs the command; one noise at a time."""

    def __init__(self, settings: SounderSettings) -> None:
        self._settings = settings
        self._one_at_a_time = asyncio.Lock()

    async def send(self, message: Message) -> str:
        """Make the noise, to its end.

        Raises:
            DeliveryError: The command failed.
        """
        fire = message.urgent or not self._settings.other
        command = self._settings.command if fire else self._settings.other
        async with self._one_at_a_time:
            try:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.PIPE,
                )
            except OSError as error:
                raise DeliveryError(f"{command[0]}: {error.strerror}", retryable=True) from error
            try:
                _, said = await process.communicate()
            finally:
                if process.returncode is None:  # it took too long, or we are told to stop
                    process.kill()
                    await process.wait()
        if process.returncode:
            raise DeliveryError(
                f"{command[0]} ended with {process.returncode}: {said.decode(errors='replace')[:200]}",
                retryable=True,
            )
        return command[0]

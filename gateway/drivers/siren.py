"""A siren on this gateway: a command that makes it sound, run when the server says so."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from fengsui.model import Description
from gateway.drivers.base import CommandRefused, Sink
from gateway.drivers.config import Siren


class SirenError(Exception):
    """The command failed: the siren may not have sounded."""


class SirenDriver:
    """Sounds on the command ``siren``, once at a time; measures nothing."""

    def __init__(self, config: Siren) -> None:
        self.name = config.name
        self._config = config
        self._asked = asyncio.Event()
        self._last = ""

    def describe(self) -> Sequence[Description]:
        """No points."""
        return []

    def command(self, what: str, args: Mapping[str, str]) -> str:
        """Sound; while it sounds, saying so again changes nothing.

        Raises:
            CommandRefused: Another command, another siren, or the command failed the last time.
        """
        if what != "siren":
            raise CommandRefused(f"{self.name}: no command {what!r}; siren")
        if args.get("driver", self.name) != self.name:
            raise CommandRefused(f"{self.name}: is not {args['driver']!r}")
        self._asked.set()
        if self._last:
            raise CommandRefused(f"{self.name}: tried again, but {self._last}")
        return f"{self.name} sounds"

    async def run(self, sink: Sink) -> None:
        """Run the command each time it is asked for, until cancelled.

        Raises:
            SirenError: It failed, or ran for longer than ``at_most_s``.
        """
        while True:
            await self._asked.wait()
            self._asked.clear()
            try:
                async with asyncio.timeout(self._config.at_most_s):
                    await self._sound()
            except (OSError, TimeoutError, SirenError) as error:
                self._last = str(error) or f"the command ran longer than {self._config.at_most_s:g} s"
                raise SirenError(self._last) from error
            self._last = ""

    async def _sound(self) -> None:
        process = await asyncio.create_subprocess_exec(
            *self._config.command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            code = await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if code:
            raise SirenError(f"{self._config.command[0]} ended with {code}")

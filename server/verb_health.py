"""``fengsui health FILE``: ask the process that runs with these settings whether it does its work.

For a container's health check, and for a person. Healthy is: the core answers and none of its tasks stands
still (what else is wrong is told on the pages, and printed here); the console serves and hears the core; the
gateway answers and has no fault.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import ClassVar

import msgspec

from fengsui.errors import SettingsError
from fengsui.runtime import OK
from fengsui.settings import fit, read_toml
from server.health import console_answers, core_faults, gateway_faults

SUMMARY = "ask a running core, console or gateway whether it does its work"

UNHEALTHY = 1
_FATAL = "beats"


class Core(msgspec.Struct, frozen=True):
    """Of a core's settings, where it answers."""

    socket: Path

    async def look(self) -> tuple[bool, str]:
        """Whether it does its work, and what there is to tell."""
        faults = await core_faults(self.socket)
        return _FATAL not in faults, "; ".join(faults.values())


class Gateway(msgspec.Struct, frozen=True):
    """Of a gateway's settings, where it answers."""

    socket: Path

    async def look(self) -> tuple[bool, str]:
        """Whether it does its work, and what there is to tell."""
        faults = await gateway_faults(self.socket)
        return not faults, "; ".join(faults)


class Console(msgspec.Struct, frozen=True):
    """Of a console's settings, where it answers."""

    class Tls(msgspec.Struct, frozen=True):
        """Its certificate."""

        cert_file: Path

    any_address: ClassVar = {"0.0.0.0": "127.0.0.1", "::": "::1"}

    host: str = "127.0.0.1"
    port: int = 8080
    tls: Tls | None = None

    async def look(self) -> tuple[bool, str]:
        """Whether it does its work, and what there is to tell."""
        host = self.any_address.get(self.host, self.host)
        heard = await console_answers(host, self.port, self.tls.cert_file if self.tls else None)
        return heard, "" if heard else "the console does not hear the core"


_KINDS: dict[object, type[Core | Gateway | Console]] = {"core": Core, "gateway": Gateway, "console": Console}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("file", type=Path, help="settings file of the process")


def run(args: argparse.Namespace) -> int:
    """Ask, and print what is wrong; 0 healthy, 1 not."""
    tables = read_toml(args.file)
    kind = _KINDS.get(tables.get("process"))
    if kind is None:
        raise SettingsError(args.file, 'the first key must say process = "gateway", "core" or "console"')
    try:
        healthy, text = asyncio.run(fit(args.file, tables, kind).look())
    except OSError as error:
        healthy, text = False, f"no answer: {str(error) or 'not in time'}"
    print(("healthy" if healthy else "not healthy") + (f": {text}" if text else ""))
    return OK if healthy else UNHEALTHY

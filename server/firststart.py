"""What a first start does by way of other verbs: the first login, and points that are only simulated."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from server.supervisor import PartError

FENGSUI = (sys.executable, "-m", "fengsui")
PERSON = "duty"
ROLES = ("officer", "engineer", "admin")


async def fengsui(*arguments: str, stdin: str = "") -> bytes:
    """Run another verb to its end; its output.

    Raises:
        PartError: It failed, with what it said.
    """
    process = await asyncio.create_subprocess_exec(
        *FENGSUI,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    out, err = await process.communicate(stdin.encode())
    if process.returncode != 0:
        raise PartError(f"`fengsui {arguments[0]}` failed: {err.decode(errors='replace').strip()[-2_000:]}")
    return out


async def make_login(console: Path, password: str) -> None:
    """Give the first person this password; who is signed in with an old one is signed out.

    Args:
        console: The console's settings file.
        password: For ``PERSON``, in all ``ROLES``.
    """
    roles = [argument for role in ROLES for argument in ("--role", role)]
    await fengsui("console", "--config", str(console), "user", "add", PERSON, *roles, stdin=password + "\n")


async def register(core: Path, kept: Path, *simulated: str) -> None:
    """Register simulated points once; later starts keep what people made of them.

    Args:
        core: The core's data directory.
        kept: Where the registry file stays, as the sign that it was imported.
        simulated: Arguments of ``fengsui simulate`` that print it.
    """
    if kept.exists():
        return
    new = kept.with_suffix(".new.yaml")
    new.write_bytes(await fengsui("simulate", *simulated))
    await fengsui("registry", "--data", str(core), "import", str(new))
    new.replace(kept)

"""What a start does by way of other verbs: first login, points that are only simulated, urgent limits."""

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


async def keep_urgent(core: Path, gateway: str, path: Path, rules: Path | None = None) -> bool:
    """Write the urgent limits of a gateway as rules and registry have them now; whether that changed them.

    Args:
        core: The core's data directory.
        gateway: Its name.
        path: What the ``urgent_file`` of its settings names.
        rules: Rule file of the core's settings; None = none is named there.
    """
    named = () if rules is None else ("--rules", str(rules))
    made = await fengsui("rules", "urgent", gateway, "--data", str(core), *named)
    before = path.read_bytes() if path.exists() else None
    if made != before:
        new = path.with_suffix(".new.toml")
        new.write_bytes(made)
        new.replace(path)
    return before is not None and made != before

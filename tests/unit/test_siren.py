"""The siren driver: sounds when told, once at a time, and says when it may not have."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from fengsui.model import Event, Reading
from gateway.drivers.base import CommandRefused
from gateway.drivers.config import Siren
from gateway.drivers.siren import SirenDriver, SirenError
from tests.waiting import until


class Nowhere:
    """A sink that nothing is given to."""

    async def accept(self, items: Sequence[Reading | Event]) -> None:
        """Never called."""
        raise AssertionError(items)


@asynccontextmanager
async def running(driver: SirenDriver) -> AsyncIterator[asyncio.Task[None]]:
    """The driver's task, for as long as the block lasts."""
    task = asyncio.create_task(driver.run(Nowhere()))
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, SirenError):
            await task


async def test_it_sounds_each_time_it_is_told(tmp_path: Path) -> None:
    """The command runs for each command of the server, by name or without one."""
    driver = SirenDriver(Siren(name="hall", command=("sh", "-c", f"echo >> {tmp_path}/heard")))
    heard = tmp_path / "heard"
    async with running(driver):
        assert driver.command("siren", {}) == "hall sounds"
        await until(lambda: heard.exists() and heard.read_text() == "\n", 10, "sounded")
        assert driver.command("siren", {"driver": "hall"}) == "hall sounds"
        await until(lambda: heard.read_text() == "\n\n", 10, "sounded again")
    assert list(driver.describe()) == []


async def test_another_command_or_another_siren_is_refused() -> None:
    """A gateway may have several drivers: each answers for itself."""
    driver = SirenDriver(Siren(name="hall", command=("true",)))
    with pytest.raises(CommandRefused, match="no command 'start_fire'"):
        driver.command("start_fire", {})
    with pytest.raises(CommandRefused, match="is not 'roof'"):
        driver.command("siren", {"driver": "roof"})


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("false",), "false ended with 1"),
        (("no-such-program",), "No such file"),
        (("sleep", "60"), "ran longer than 0.1 s"),
    ],
)
async def test_one_that_fails_is_a_fault_and_is_told_the_next_time(
    command: tuple[str, ...], said: str
) -> None:
    """The driver ends with the reason, and refuses the next command, which it tries all the same."""
    driver = SirenDriver(
        Siren(name="hall", command=command, at_most_s=0.1 if command[0] == "sleep" else 10.0)
    )
    driver.command("siren", {})
    with pytest.raises(SirenError, match=said):
        async with asyncio.timeout(10):
            await driver.run(Nowhere())
    with pytest.raises(CommandRefused, match=f"tried again, but .*{said}"):
        driver.command("siren", {})

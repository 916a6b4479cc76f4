"""A gateway under test: its process, its ledger, its orders, and what it says of itself."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from fengsui.errors import UsageError
from gateway import verb
from tests.ledger.driver import Orders
from tests.ledger.ledger import Ledger, Plan
from tests.servers import HOST, Process
from tests.waiting import until

REPOSITORY = Path(__file__).parents[2]


def python(module: str, *arguments: str, mutant: str | None = None) -> list[str]:
    """The command line of one of our processes, with a bug planted in it if a mutant is named."""
    run = [sys.executable, "-m"]
    return (
        [*run, "tests.ledger.mutated", mutant, module, *arguments] if mutant else [*run, module, *arguments]
    )


class Station:
    """One gateway process.

    Args:
        folder: For its settings, socket and log.
        plan: Its name and readings.
        ledger: Folder for ledger and orders; never on the volume whose power is cut.
        spool: Folder of its spool.
        broker_port: Where it connects.
        login: Lines of the ``[broker]`` table beyond host and port.
        quota_mb: Of the spool.
        mutant: A bug to plant.
    """

    def __init__(
        self,
        folder: Path,
        plan: Plan,
        *,
        ledger: Path,
        spool: Path,
        broker_port: int,
        login: Sequence[str] = (),
        quota_mb: int = 64,
        mutant: str | None = None,
    ) -> None:
        self.plan = plan
        self.spool = spool
        self.orders = Orders()
        self._orders_file = ledger / f"{plan.gateway}.orders"
        self._ledger_file = ledger / f"{plan.gateway}.ledger"
        self._socket = folder / "gateway.sock"
        ledger.mkdir(parents=True, exist_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        self.orders.write(self._orders_file)
        config = folder / "gateway.toml"
        config.write_text(
            "\n".join(
                [
                    f'process = "gateway"\nname = "{plan.gateway}"\nsocket = "{self._socket}"',
                    f'[spool]\nfolder = "{spool}"\nquota_mb = {quota_mb}',
                    f'[broker]\nhost = "{HOST}"\nport = {broker_port}',
                    *login,
                    "",
                ]
            )
        )
        arguments = ["--config", config, "--ledger", self._ledger_file, "--orders", self._orders_file]
        self.process = Process(
            "gateway",
            python(
                "tests.ledger.gateway",
                *map(str, arguments),
                "--plan",
                json.dumps(asdict(plan)),
                mutant=mutant,
            ),
            folder,
            ready=self._answers,
            cwd=REPOSITORY,
        )

    @property
    def name(self) -> str:
        """The gateway's name."""
        return self.plan.gateway

    def order(self, **changes: Any) -> None:
        """Change the orders: ``rate``, ``block``, ``readings``, ``fires``."""
        self.orders = msgspec.structs.replace(self.orders, **changes)
        self.orders.write(self._orders_file)

    def ledger(self) -> Ledger:
        """The ledger as it stands on disk now."""
        return Ledger.load(self._ledger_file)

    async def status(self) -> dict[str, Any] | None:
        """What ``fengsui gateway status --json`` would say; None while nobody answers."""
        try:
            return await asyncio.to_thread(verb.ask, self._socket)
        except UsageError:
            return None

    async def newest(self) -> int:
        """The newest seq of its telemetry lane."""
        status = await self.status()
        assert status is not None
        following: int = status["hello"]["lanes"]["telemetry"]["next"]
        return following - 1

    async def upto(self) -> dict[str, int]:
        """By lane, the seq up to which it knows everything committed; nothing while it does not answer."""
        status = await self.status()
        return status["upto"] if status else {}

    async def waiting(self) -> int | None:
        """Records it holds that the server has not committed; None while it does not answer."""
        status = await self.status()
        if status is None:
            return None
        lanes: dict[str, dict[str, int]] = status["hello"]["lanes"]
        upto: dict[str, int] = status["upto"]
        return sum(lane["next"] - 1 - max(upto[name], lane["first"] - 1) for name, lane in lanes.items())

    async def accepted(self, readings: int, fires: int = 0, timeout_s: float = 60) -> None:
        """Wait until so many readings and fires were accepted."""

        def enough() -> bool:
            ledger = self.ledger()
            return int(ledger.accepted.sum()) >= readings and len(ledger.sounded) >= fires

        what = f"{self.name} accepted {readings} readings, {fires} fires"
        await until(enough, timeout_s, what, every_s=0.1)

    async def drain(self, timeout_s: float) -> bool:
        """Wait until everything it took is committed; False if that does not happen in time."""
        try:
            await until(self._has_drained, timeout_s, f"{self.name} drained", every_s=0.1)
        except TimeoutError:
            return False
        return True

    async def _has_drained(self) -> bool:
        return await self.waiting() == 0

    async def _answers(self) -> bool:
        return await self.status() is not None

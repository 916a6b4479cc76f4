"""One run of a row: its parameters, what it counts, and how it reports."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path

from tests.databases import Kind
from tests.ledger.core import Core
from tests.ledger.ledger import Verdict
from tests.ledger.nemesis import Fault, Nemesis
from tests.ledger.stack import BrokerName, Shape, Stack, running_stack
from tests.servers import Process


class RowFailed(RuntimeError):
    """A row's own condition (a time, a bound) does not hold; the ledger may still be clean."""


@dataclass
class Run:
    """What a row is given and what it leaves behind."""

    row: str
    seed: int
    cycles: int
    folder: Path
    broker: BrokerName = "mosquitto"
    state: Kind = "sqlite"
    mutant: str | None = None
    full: bool = False
    """Take the acceptance list's own durations where a quick run shortens them."""
    faults: int = 0
    verdict: Verdict = field(default_factory=Verdict)
    failures: list[str] = field(default_factory=list)

    def shape(self, **changes: object) -> Shape:
        """The row's stack: this run's broker, state database and mutant, and what the row needs."""
        chosen = {"broker": self.broker, "state": self.state, "mutant": self.mutant}
        return Shape(**(chosen | changes))  # type: ignore[arg-type]

    def stack(self, part: str = "stack", **changes: object) -> AbstractAsyncContextManager[Stack]:
        """Start a stack of that shape; ``part`` names its folder."""
        return running_stack(self.folder / part, self.shape(**changes), seed=self.seed)

    async def torment(
        self, faults: Sequence[Fault], *, down_s: tuple[float, float] = (0.05, 0.5), cycles: int | None = None
    ) -> None:
        """Let the nemesis loose for this run's cycles."""
        nemesis = Nemesis(self.seed, faults, down_s=down_s)
        try:
            await nemesis.run(self.cycles if cycles is None else cycles)
        finally:
            self.faults += nemesis.faults

    def judge(self, verdict: Verdict) -> None:
        """Add to the verdict of this run."""
        self.verdict += verdict

    def expect(self, holds: bool, text: str) -> None:
        """A condition beside the ledger; a broken one makes the row fail and is told."""
        print(f"{'holds' if holds else 'BROKEN'}: {text}")
        if not holds:
            self.failures.append(text)

    def count(self, holds: bool, text: str) -> None:
        """As ``expect``, of something tried so often that only what is broken is worth telling."""
        if not holds:
            self.expect(False, text)

    @property
    def holds(self) -> bool:
        """The verdict is clean, every condition held, and something was really done to the system."""
        return self.verdict.holds and not self.failures and self.faults > 0 and self.verdict.accepted > 0

    def line(self) -> str:
        """The result as one JSON object."""
        v = self.verdict
        return json.dumps(
            {
                "row": self.row,
                "cycles": self.cycles,
                "faults": self.faults,
                "accepted": v.accepted,
                "stored": v.stored,
                "lost": v.lost,
                "duplicated": v.duplicated,
                "corrupted": v.corrupted,
                "unexpected": v.unexpected,
                "residue": v.residue,
            }
        )


def killing(process: Process, *, restart_s: float = 30.0) -> Fault:
    """Kill -9 of a process, started again to heal."""

    async def inject() -> None:
        if await process.kill9() != -9:
            raise RowFailed(f"{process.name} had already ended with {process.exit_code}")

    async def heal() -> None:
        await process.start(restart_s)

    return Fault(f"kill -9 {process.name}", inject, heal)


class Bell:
    """Listens for fires as a console does.

    Attributes:
        shown_s: When each point's fire first sounded (a silent one does not count), Unix seconds.
        recorded: Points whose fire has been told as recorded.
    """

    def __init__(self) -> None:
        self.shown_s: dict[str, float] = {}
        self.recorded: set[str] = set()

    async def listen(self, core: Core) -> None:
        """Collect until the connection ends or the task is cancelled."""
        async with core.connect() as line:
            await line.ask("subscribe", points=[])
            async for push in line.pushes():
                alarm = push.get("alarm")
                if alarm is None or alarm["cls"] != "fire":
                    continue
                if not alarm["silent"]:
                    self.shown_s.setdefault(alarm["name"], time.time())
                if push["recorded"]:
                    self.recorded.add(alarm["name"])

    def has_rung(self, count: int) -> bool:
        """Whether so many fires have sounded."""
        return len(self.shown_s) >= count

    def has_told(self, count: int) -> bool:
        """Whether so many fires have been told as recorded."""
        return len(self.recorded) >= count

    def delays_s(self, offered_us: dict[str, int]) -> list[float]:
        """Seconds from the event's own stamp to its first showing, for those that were shown."""
        return [self.shown_s[name] - at / 1e6 for name, at in offered_us.items() if name in self.shown_s]


def p99(values: Sequence[float]) -> float:
    """The 99th percentile by nearest rank; infinite when there is nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))] if ordered else float("inf")

"""The real gateway process with a driver that makes samples for the latency measurement.

``python -m bench.station --config gateway.toml``

Urgent points measure 60 C in turn, none more often than a gateway sends an urgent reading again; ordinary
points measure 22 C at random moments, so that every phase of the collector's grouping is met.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

from fengsui import runtime, settings
from fengsui.model import Description, Reading
from fengsui.runtime import Stop, wall_us
from gateway.app import Gateway
from gateway.collect import URGENT_EVERY_S
from gateway.config import Settings
from gateway.drivers.base import Sink

URGENT_PER_S = 40.0
ORDINARY_PER_S = 12.0
LIMIT_C = 57.0
URGENT = [f"u{i:03d}" for i in range(int(URGENT_PER_S * URGENT_EVERY_S * 1.2))]
ORDINARY = [f"t{i:03d}" for i in range(64)]


class Sampler:
    """Implements ``gateway.drivers.base.Driver``; a reading's stamp is the moment it is made."""

    name = "sampler"

    def describe(self) -> Sequence[Description]:
        """Nothing: its points are registered."""
        return ()

    async def run(self, sink: Sink) -> None:
        """Make samples until cancelled; the sink is never waited for."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._urgent(sink, tasks))
            tasks.create_task(self._ordinary(sink, tasks))

    async def _urgent(self, sink: Sink, tasks: asyncio.TaskGroup) -> None:
        for name in cycle(URGENT):
            tasks.create_task(sink.accept([Reading(name, wall_us(), LIMIT_C + 3)]))
            await asyncio.sleep(1 / URGENT_PER_S)

    async def _ordinary(self, sink: Sink, tasks: asyncio.TaskGroup) -> None:
        for name in cycle(ORDINARY):
            tasks.create_task(sink.accept([Reading(name, wall_us(), 22.0)]))
            await asyncio.sleep(random.expovariate(ORDINARY_PER_S))


def main(arguments: list[str]) -> int:
    """Run until told to stop; the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    config = settings.load(parser.parse_args(arguments).config, Settings)

    async def serve(stop: Stop) -> None:
        await Gateway(config, drivers=[Sampler()]).run(stop)

    return runtime.run(serve, name="gateway")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

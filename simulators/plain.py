"""A device without a gateway, played: the readings of a scenario as plain JSON, marked as simulated.

It keeps one message at a time, until the broker has acknowledged it. What such a device cannot say (events,
invalid readings) is left out and counted.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence

from fengsui import topics
from fengsui.model import Event, Reading
from fengsui.mqtt import Backoff, Connection, Disconnected, connect
from fengsui.runtime import Stop
from fengsui.settings import Broker
from ingest.plain import encode
from simulators.stage import TimelineDriver

_LOOK_EVERY_S = 0.2


class PlainDevice:
    """A plain device (a ``Sink``).

    Args:
        name: Its name, equal to its broker user.
        broker: Where to publish.

    Attributes:
        published: Readings that the broker has acknowledged.
        left_out: Events and invalid readings.
        refused: Messages the server has refused, as far as it said so.
        reason: What it said last.
        trouble: Why there is no connection; empty while there is one.
    """

    def __init__(self, name: str, broker: Broker) -> None:
        self.name = name
        self.published = 0
        self.left_out = 0
        self.refused = 0
        self.reason = ""
        self.trouble = ""
        self._broker = broker
        self._batches: asyncio.Queue[list[Reading]] = asyncio.Queue(maxsize=1)
        self._batch: list[Reading] | None = None

    async def accept(self, items: Sequence[Reading | Event]) -> None:
        """Take what is next; waits while the message before is not acknowledged."""
        readings = [item for item in items if isinstance(item, Reading) and math.isfinite(item.value)]
        self.left_out += len(items) - len(readings)
        if readings:
            await self._batches.put(readings)

    async def emptied(self) -> None:
        """Wait until everything is acknowledged."""
        await self._batches.join()

    async def run(self) -> None:
        """Publish until cancelled, through any number of lost connections."""
        backoff = Backoff(first_s=0.2, most_s=5.0)
        while True:
            try:
                async with connect(self._broker, self.name) as connection:
                    await connection.subscribe(topics.of_plain_error(self.name))
                    backoff.reset()
                    self.trouble = ""
                    async with asyncio.TaskGroup() as tasks:
                        tasks.create_task(self._listen(connection), name=f"{self.name}.listen")
                        tasks.create_task(self._publish(connection), name=f"{self.name}.publish")
            except* Disconnected as errors:
                self.trouble = str(errors.exceptions[0])
                await asyncio.sleep(backoff.pause_s())

    async def _publish(self, connection: Connection) -> None:
        while True:
            if self._batch is None:
                self._batch = await self._batches.get()
            connection.send(topics.of_plain(self.name), encode(self._batch))
            await connection.acknowledged()
            self.published += len(self._batch)
            self._batch = None
            self._batches.task_done()

    async def _listen(self, connection: Connection) -> None:
        while True:
            for message in await connection.receive():
                self.refused += 1
                self.reason = message.payload.decode(errors="replace")[:500]


async def publish(
    driver: TimelineDriver, device: PlainDevice, stop: Stop, progress: Callable[[], None]
) -> None:
    """Play until the end and until the broker has acknowledged everything, or until ``stop``.

    Args:
        driver: What to play.
        device: Publishes it.
        stop: Ends it early.
        progress: Told a few times a second.
    """

    async def play() -> None:
        await driver.run(device)
        await device.emptied()

    async with asyncio.TaskGroup() as tasks:
        publishing = tasks.create_task(device.run(), name="plain.publish")
        playing = tasks.create_task(play(), name="plain.play")
        while not stop.is_set() and not playing.done():
            progress()
            await asyncio.wait([playing], timeout=_LOOK_EVERY_S)
        progress()
        playing.cancel()
        publishing.cancel()

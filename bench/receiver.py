"""The yardstick of ``bench.plain``: the core's MQTT client, which receives and acknowledges and does no more.

``python -m bench.receiver PORT PASSWORD_FILE COUNT``
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from fengsui import topics
from fengsui.mqtt import connect
from fengsui.settings import Broker, read_secret

_NAME = "bench-receiver"


async def main(port: int, password_file: Path, count: int) -> None:
    """Say that it listens, and end when so many messages have come."""
    broker = Broker(port=port, username="core", password=read_secret(password_file))
    async with connect(broker, _NAME, clean_session=False, manual_ack=True) as connection:
        await connection.subscribe(topics.UP_PLAIN)
        print("listening", flush=True)  # the parent stops us, publishes, and lets us go on
        while count > 0:
            messages = await connection.receive()
            connection.acknowledge(messages)
            count -= len(messages)
    async with connect(broker, _NAME):  # a clean session: the broker forgets the one that lasted
        pass


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))

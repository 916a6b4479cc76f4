"""A dispatcher as a process of its own, so that a test can kill it: DATABASE and the URL of a webhook."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta

from alerting.notify.channels.base import Way
from alerting.notify.channels.http import Http, HttpSettings
from alerting.notify.dispatch import Dispatch
from fengsui.database import connect
from fengsui.runtime import wall_us


async def main(database: str, url: str) -> None:
    """Dispatch until killed."""
    dispatch = Dispatch(
        connect(database),
        {"sms": Way(Http(HttpSettings(url=url)), 10.0)},
        lambda: None,
        named=lambda alarm: alarm,
        told=lambda alarm: None,
        utc_offset=timedelta(hours=8),
        wall_us=wall_us,
        beat=lambda: None,
        poll_s=0.02,
    )
    await dispatch.run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

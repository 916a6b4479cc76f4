"""A duty officer's desk without a screen: signs in like a browser and follows the live view by WebSocket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

import httpx2
import msgspec
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from fengsui.errors import FengsuiError

_ANSWER_S = 10.0
_PAUSE_S = 0.2
_MAX_MESSAGE = 16 << 20


class DeskError(FengsuiError):
    """The console did not let us in."""


class SeenAlarm(msgspec.Struct):
    """What the desk keeps of an alarm; times are us since 1970 by the source's clock."""

    id: str
    version: int
    point: str
    cls: str
    rule: str
    state: str
    measured_at_us: int


class _News(msgspec.Struct):
    """One message of the live view; which fields it has depends on ``do``."""

    do: str
    number: int | None = None
    alarm: SeenAlarm | None = None
    alarms: list[SeenAlarm] = []
    rows: list[tuple[str, int, float | None, int, int]] = []


class Desk:
    """One open page.

    Args:
        address: Of the console, as it prints it.
        points: Ids of the points to follow, at most ``console.live.WATCHED``.
        on_reading: Told of each reading: point, at_us, and ``time.perf_counter`` at its arrival.
    """

    def __init__(
        self, address: str, points: Sequence[str], on_reading: Callable[[str, int, float], None]
    ) -> None:
        self._address = address
        self.points = list(points)
        self._on_reading = on_reading
        self.alarms: dict[str, SeenAlarm] = {}
        """Every alarm that was ever shown, as it was last shown."""
        self.number = -1
        """Number of the newest recorded event shown; -1 before the first snapshot."""

    async def run(self, name: str, password: str) -> None:
        """Follow until cancelled; a line that breaks is opened again and resumes where it was.

        Raises:
            DeskError: Name or password is not accepted.
        """
        cookie = await self._sign_in(name, password)
        live = f"{self._address.replace('http', 'ws', 1)}api/v1/live"
        while True:
            after = f"?after={self.number}" if self.number >= 0 else ""
            try:
                async with connect(
                    live + after,
                    additional_headers={"Cookie": cookie, "Origin": self._address.rstrip("/")},
                    compression=None,
                    max_size=_MAX_MESSAGE,
                    proxy=None,
                    open_timeout=_ANSWER_S,
                ) as socket:
                    await socket.send(msgspec.json.encode({"do": "watch", "points": self.points}).decode())
                    async for text in socket:
                        self._take(text, time.perf_counter())
            except (ConnectionClosed, OSError, TimeoutError):
                pass  # the console is busy or was restarted: come back, as the page does
            await asyncio.sleep(_PAUSE_S)

    async def _sign_in(self, name: str, password: str) -> str:
        async with httpx2.AsyncClient(
            base_url=self._address, timeout=_ANSWER_S, trust_env=False, follow_redirects=False
        ) as browser:
            await browser.get("/sign-in")
            field = browser.cookies["fengsui_form"]
            form = {"name": name, "password": password, "field": field}
            answer = await browser.post("/sign-in", data=form)
            if answer.status_code != httpx2.codes.SEE_OTHER:
                host = urlsplit(self._address).netloc
                raise DeskError(f"the console at {host} does not let {name} in ({answer.status_code})")
            return "; ".join(f"{key}={value}" for key, value in browser.cookies.items())

    def _take(self, text: str | bytes, arrived_s: float) -> None:
        news = _decoder.decode(text)
        for point, at_us, *_ in news.rows:
            self._on_reading(point, at_us, arrived_s)
        for alarm in news.alarms if news.alarm is None else [news.alarm]:
            known = self.alarms.get(alarm.id)
            if known is None or alarm.version >= known.version:
                self.alarms[alarm.id] = alarm
        if news.number is not None:
            self.number = max(self.number, news.number)


_decoder = msgspec.json.Decoder(_News)

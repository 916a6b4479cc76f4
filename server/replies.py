"""The core's own door for answers from outside: links of messages, and replies that a provider hands on.

It works when the console does not. It listens on this machine; a proxy in front speaks TLS. What comes in is
a signed token, or a code with the address it came from; everything else is told nothing.
"""

from __future__ import annotations

import asyncio
import hmac
import html
import json
import socket
from collections.abc import Callable
from typing import Protocol
from urllib.parse import parse_qs

import structlog
import uvicorn
from sqlalchemy import Engine
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from alerting.alarms.desk import Order
from alerting.alarms.lifecycle import UNACKNOWLEDGED, Alarm, Step
from alerting.errors import AlarmRefused
from alerting.notify.answer import Told, coded, look, message_of, use_up
from alerting.notify.config import RepliesSettings
from alerting.notify.roster import Contact, Roster
from fengsui.runtime import Timepiece
from fengsui.serving import Server
from fengsui.throttle import Throttle
from fengsui.viewer import Role, Viewer

MAX_BODY = 16 * 1024
WRONG_PER_10_MIN = 5
"""Replies without a good code that one address may send."""

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; form-action 'self'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_PAGE = """<!doctype html><html lang="zh"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><meta name="robots" content="noindex">
<title>烽燧 Fengsui</title><h1>{title}</h1>{lines}{form}</html>"""
_FORM = '<form method="post"><button style="font-size:2em">确认 Acknowledge</button></form>'

log = structlog.get_logger()


class Alarms(Protocol):
    """What of the watch an answer needs."""

    def find(self, alarm: str) -> Alarm | None:
        """An alarm of the book."""

    async def act(self, viewer: Viewer, order: Order) -> Alarm:
        """Do what a person orders; raises ``AlarmRefused``."""


class Replies:
    """Serves the door.

    Args:
        settings: Where it listens.
        engine: The state database.
        key: What tokens and codes are made with.
        roster: The one in force by now.
        alarms: Where they are acknowledged.
        named: Puts the names of places in an alarm in the stead of their ids.
        clock: The server's clocks.
    """

    def __init__(
        self,
        settings: RepliesSettings,
        engine: Engine,
        key: bytes,
        roster: Callable[[], Roster | None],
        alarms: Alarms,
        *,
        named: Callable[[Alarm], Alarm],
        clock: Timepiece,
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._key = key
        self._roster = roster
        self._alarms = alarms
        self._named = named
        self._clock = clock
        self._wrong = Throttle(WRONG_PER_10_MIN, 600.0)
        routes = [
            Route("/a/{token}", self._show, methods=["GET"]),
            Route("/a/{token}", self._press, methods=["POST"]),
        ]
        if settings.secret is not None:
            routes.append(Route("/reply", self._replied, methods=["POST"]))
        self.app = Starlette(routes=routes)

    async def run(self) -> None:
        """Serve until cancelled.

        Raises:
            OSError: The port is in use.
        """
        listener = socket.create_server((self._settings.host, self._settings.port))
        server = Server(
            uvicorn.Config(
                self.app, lifespan="off", log_config=None, access_log=False, server_header=False,
                limit_concurrency=100, timeout_graceful_shutdown=1,
            )
        )  # fmt: skip
        serving = asyncio.create_task(server.serve(sockets=[listener]), name="replies.http")
        try:
            await asyncio.shield(serving)
        finally:
            server.should_exit = True
            await asyncio.wait([serving])
            listener.close()

    async def _show(self, request: Request) -> Response:
        """What the message told, with a button: a link that a mail scanner opens acknowledges nothing."""
        told = await self._told(request.path_params["token"])
        if told is None:
            return _page(404, "此链接无效或已使用 This link is not valid any more.", [])
        return _page(200, "报警 Alarm", self._lines(told), form=_FORM)

    async def _press(self, request: Request) -> Response:
        told = await self._told(request.path_params["token"])
        if told is None:
            return _page(404, "此链接无效或已使用 This link is not valid any more.", [])
        done = await self._acknowledge(told)
        return _page(200, "已处理 Done", done)

    async def _replied(self, request: Request) -> Response:
        """A provider hands on what somebody replied: from which address, and the text."""
        secret = self._settings.secret
        assert secret is not None
        given = request.headers.get("authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {secret.reveal()}".encode()):
            return JSONResponse({"error": "forbidden"}, 403, headers=_HEADERS)
        fields = await _fields(request)
        address, text = fields.get(self._settings.from_field, ""), fields.get(self._settings.text_field, "")
        now_s = self._clock.monotonic_s()
        if not self._wrong.take([address], now_s):
            return JSONResponse({"error": "too many wrong codes"}, 429, headers=_HEADERS)
        now_us = self._clock.wall_us()
        message = await asyncio.to_thread(coded, self._engine, self._key, address, text, now_us)
        told = None if message is None else await asyncio.to_thread(look, self._engine, message, now_us)
        if told is None or self._contact(told) is None:
            log.warning("notify.reply_unknown", address=address[:80])
            return JSONResponse({"error": "no open message has this code"}, 404, headers=_HEADERS)
        self._wrong.give_back([address])
        return JSONResponse({"done": await self._acknowledge(told)}, headers=_HEADERS)

    async def _told(self, token: str) -> Told | None:
        message = message_of(self._key, token)
        if message is None:
            return None
        told = await asyncio.to_thread(look, self._engine, message, self._clock.wall_us())
        return told if told is not None and self._contact(told) is not None else None

    def _contact(self, told: Told) -> Contact | None:
        """Who was told, if the roster in force still lets them answer."""
        roster = self._roster()
        found = [c for c in roster.contacts if c.id == told.contact and c.answers] if roster else []
        return found[0] if found else None

    async def _acknowledge(self, told: Told) -> list[str]:
        """Acknowledge every alarm of a message as the contact; what came of each."""
        contact = self._contact(told)
        if contact is None or not await asyncio.to_thread(
            use_up, self._engine, told.message, self._clock.wall_us()
        ):
            return ["已使用 It was used before."]
        units = frozenset({contact.unit}) if contact.unit else None
        viewer = Viewer(f"contact:{contact.id}", frozenset({Role.OFFICER}), units)
        return [await self._one(viewer, alarm, told.sent_us) for alarm in told.alarms]

    async def _one(self, viewer: Viewer, id_: str, sent_us: int) -> str:
        alarm = self._alarms.find(id_)
        if alarm is None or alarm.state not in UNACKNOWLEDGED:
            by = alarm.acknowledged_by if alarm is not None else None
            return f"{id_}: 已由他人确认 acknowledged before, by {by or '-'}"
        where = self._where(alarm)
        moved = alarm.moved
        if moved is not None and moved.what in ("raised", "escalated") and moved.at_us > sent_us:
            return f"{where}: 警情已升级,未确认 it has got worse since, and is not acknowledged"
        try:
            await self._alarms.act(viewer, Order(step=Step.ACKNOWLEDGE, alarm=id_, version=alarm.version))
        except AlarmRefused as error:
            return f"{where}: {error}"
        return f"{where}: 已确认 acknowledged"

    def _lines(self, told: Told) -> list[str]:
        alarms = (self._alarms.find(id_) for id_ in told.alarms)
        return [self._where(alarm) for alarm in alarms if alarm is not None]

    def _where(self, alarm: Alarm) -> str:
        named = self._named(alarm)
        parts = (str(named.cls), named.unit, named.building, named.zone, named.place or named.point)
        return " ".join(part for part in parts if part)


async def _fields(request: Request) -> dict[str, str]:
    """The fields of a form or of a JSON object; empty when it is neither, or too long."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY:
            return {}
    try:
        if "json" in request.headers.get("content-type", ""):
            read = json.loads(body)
            return {str(k): str(v) for k, v in read.items()} if isinstance(read, dict) else {}
        return {name: values[-1] for name, values in parse_qs(body.decode()).items()}
    except (ValueError, RecursionError):
        return {}


def _page(status: int, title: str, lines: list[str], *, form: str = "") -> Response:
    told = "".join(f"<p>{html.escape(line)}</p>" for line in lines)
    return HTMLResponse(
        _PAGE.format(title=html.escape(title), lines=told, form=form), status, headers=_HEADERS
    )

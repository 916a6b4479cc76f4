"""At every door of the console: who may pass, from where, and which headers the answer carries.

Deny by default: a request that matches no declared :class:`Door` gets 404, and a route that somebody
added without declaring who may use it gets 403. What acts is POST or PUT, needs the session's token in a
header that no other site can set, and an Origin of ours if the browser names one.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from console.auth import Accounts
from console.problem import problem
from fengsui.viewer import Action

ANYONE = None
"""Instead of an action: open to those who have not signed in (the sign-in, its files, health)."""

TOKEN_HEADER = "x-fengsui-token"  # noqa: S105 - the name of a header
LIVE = "WEBSOCKET"

log = structlog.get_logger()

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)


class Door(NamedTuple):
    """One method of one path, and the action that somebody who uses it must be allowed."""

    method: str
    path: str
    endpoint: Callable[..., Any]
    action: Action | None


def cookie_name(*, secure: bool) -> str:
    """Name of the session cookie; the prefix makes browsers refuse one set by another host."""
    return "__Host-fengsui" if secure else "fengsui"


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        routes: Sequence[BaseRoute],
        doors: Iterable[Door],
        files: str,
        accounts: Accounts,
        origins: Iterable[str],
        secure: bool,
    ) -> None:
        self._app = app
        self._routes = routes
        self._actions = {(door.method, door.path): door.action for door in doors}
        self._actions["GET", files] = ANYONE
        self._accounts = accounts
        self._origins = frozenset(origins)
        self._secure = secure
        self._cookie = cookie_name(secure=secure)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it here."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        refusal = await self._judge(scope)
        if scope["type"] == "websocket":
            if refusal is not None:
                await send({"type": "websocket.close", "code": 1008})  # before accept: HTTP 403
            else:
                await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._harden(MutableHeaders(scope=message), scope)
            await send(message)

        await (refusal or self._app)(scope, receive, send_with_headers)

    async def _judge(self, scope: Scope) -> Response | None:
        path = self._path(scope)
        method = LIVE if scope["type"] == "websocket" else scope["method"]
        method = "GET" if method == "HEAD" else method
        if path is None:
            return problem("unknown", "There is nothing here.")
        if (method, path) not in self._actions:
            return problem("forbidden", "Nobody has been given access to this.")
        action = self._actions[method, path]
        connection = HTTPConnection(scope)
        secret = connection.cookies.get(self._cookie)
        session = await self._accounts.session(secret) if secret else None
        scope.setdefault("state", {})["session"] = session
        if method != "GET" and not self._is_ours(connection.headers, must_be_named=method == LIVE):
            return problem("forbidden", "This request comes from another site.")
        if action is ANYONE:
            return None
        if session is None:
            if method == "GET" and "text/html" in connection.headers.get("accept", ""):
                return RedirectResponse("/sign-in", status_code=303)
            return problem("signed_out", "Sign in first.")
        if not session.viewer.may(action):
            log.warning("guard.refused", person=session.viewer.person, method=method, path=path)
            return problem("forbidden", "Your role does not allow this.")
        if method not in ("GET", LIVE):
            token = connection.headers.get(TOKEN_HEADER, "")
            if not secrets.compare_digest(token.encode(), session.token.encode()):
                return problem("forbidden", "The request does not carry the token of your session.")
        return None

    def _path(self, scope: Scope) -> str | None:
        """The path as declared of the route that takes this request; None where there is none."""
        for route in self._routes:
            match, _ = route.matches(scope)
            if match is Match.FULL:
                return str(getattr(route, "path", ""))
        return None

    def _is_ours(self, headers: Headers, *, must_be_named: bool) -> bool:
        origin = headers.get("origin")
        if origin is None:
            return not must_be_named and headers.get("sec-fetch-site", "same-origin") == "same-origin"
        return origin in self._origins or urlsplit(origin).netloc == headers.get("host")

    def _harden(self, headers: MutableHeaders, scope: Scope) -> None:
        headers["Content-Security-Policy"] = POLICY
        headers["X-Content-Type-Options"] = "nosniff"
        headers["X-Frame-Options"] = "DENY"
        headers["Referrer-Policy"] = "same-origin"
        headers["Cross-Origin-Opener-Policy"] = "same-origin"
        headers["Cross-Origin-Resource-Policy"] = "same-origin"
        headers["Permissions-Policy"] = "camera=(), geolocation=(), microphone=()"
        # Files are asked for again and answered 304; everything else belongs to one person.
        headers["Cache-Control"] = "no-cache" if scope["path"].startswith("/static/") else "no-store"
        if self._secure:
            headers["Strict-Transport-Security"] = "max-age=31536000"

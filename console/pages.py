"""The pages a browser opens: sign-in, and the one page that holds desk, gateways, backtest and lab."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from typing import Annotated

from fastapi import Form, Request
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from console import words
from console.auth import Accounts, Session
from console.config import Settings
from console.core import Core
from console.guard import ANYONE, Door, cookie_name
from console.live import Hub
from console.metrics import exposition
from fengsui.viewer import Action

HERE = Path(__file__).parent
STATIC = HERE / "static"
FORM_COOKIE = "fengsui_form"
HEALTHY_S = 10.0

_templates = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=select_autoescape(default=True),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_words = {language: words.load(language) for language in words.LANGUAGES}


def _render(request: Request, template: str, **values: object) -> HTMLResponse:
    language = words.choose(request.cookies.get("fengsui_lang"), request.headers.get("accept-language", ""))
    theme = request.cookies.get("fengsui_theme")
    return HTMLResponse(
        _templates.get_template(template).render(
            t=_words[language],
            language=language,
            theme=theme if theme in ("light", "dark") else "dark",
            **values,
        )
    )


async def sign_in_page(request: Request) -> Response:
    """The sign-in form; its hidden field and a cookie must come back equal."""
    return _form(request, wrong=False)


def _form(request: Request, *, wrong: bool) -> Response:
    settings: Settings = request.app.state.settings
    field = secrets.token_urlsafe(32)
    response = _render(request, "sign_in.html", field=field, wrong=wrong)
    response.status_code = 401 if wrong else 200
    response.set_cookie(
        FORM_COOKIE, field, max_age=3600, httponly=True, samesite="strict", secure=settings.secure
    )
    return response


async def sign_in(
    request: Request,
    name: Annotated[str, Form(max_length=64)] = "",
    password: Annotated[str, Form(max_length=128)] = "",
    field: Annotated[str, Form(max_length=64)] = "",
) -> Response:
    """Open a session and go to the desk; the session's id is always a new one."""
    settings: Settings = request.app.state.settings
    accounts: Accounts = request.app.state.accounts
    if not secrets.compare_digest(request.cookies.get(FORM_COOKIE, "?").encode(), field.encode()):
        return _form(request, wrong=True)
    address = request.client.host if request.client else ""
    secret = await accounts.sign_in(name, password, address)
    if secret is None:
        return _form(request, wrong=True)
    response = RedirectResponse("/", status_code=303)
    response.set_cookie(
        cookie_name(secure=settings.secure),
        secret,
        max_age=settings.absolute_s,
        httponly=True,
        samesite="lax",
        secure=settings.secure,
        path="/",
    )
    response.delete_cookie(FORM_COOKIE)
    return response


async def sign_out(request: Request) -> Response:
    """End the session, here and on every page of it that is open."""
    settings: Settings = request.app.state.settings
    session: Session = request.state.session
    await request.app.state.accounts.sign_out(session)
    request.app.state.hub.sign_out(session)
    response = JSONResponse({"signed_out": True})
    response.delete_cookie(cookie_name(secure=settings.secure), path="/")
    return response


async def console(request: Request) -> Response:
    """The page that stays open: desk, gateways and conservation."""
    settings: Settings = request.app.state.settings
    session: Session = request.state.session
    return _render(
        request,
        "console.html",
        screen=request.url.path.strip("/") or "desk",
        person=session.viewer.person,
        may=[action for action in Action if session.viewer.may(action)],
        token=session.token,
        standby=settings.standby,
    )


async def health(request: Request) -> Response:
    """200 while the core is heard; 503 with the reason otherwise. Tells nothing else."""
    core: Core = request.app.state.core
    heard_s = core.heard_s
    age_s = None if heard_s is None else asyncio.get_running_loop().time() - heard_s
    if core.closed_s is not None or age_s is None or age_s > HEALTHY_S:
        return JSONResponse({"console": "ok", "core": "lost"}, 503)
    return JSONResponse({"console": "ok", "core": "ok"})


async def metrics(request: Request) -> Response:
    """Both balances, latency and the console's own counters, in Prometheus' text form."""
    hub: Hub = request.app.state.hub
    text = exposition(hub, request.app.state.core, request.app.state.accounts)
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4")


DOORS = [
    Door("GET", "/sign-in", sign_in_page, ANYONE),
    Door("POST", "/sign-in", sign_in, ANYONE),
    Door("POST", "/sign-out", sign_out, Action.READ),
    Door("GET", "/", console, Action.READ),
    Door("GET", "/gateways", console, Action.READ),
    Door("GET", "/backtest", console, Action.BACKTEST),
    Door("GET", "/lab", console, Action.BACKTEST),
    Door("GET", "/healthz", health, ANYONE),
    Door("GET", "/metrics", metrics, Action.ADMINISTER),
]

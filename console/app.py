"""Composition root of the console process: settings in, a serving console out."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from pathlib import Path

import structlog
import uvicorn
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from sqlalchemy import Engine
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.staticfiles import StaticFiles

from console import api, pages
from console.auth import Accounts, prepare
from console.config import Settings
from console.core import Core
from console.errors import CoreError
from console.guard import LIVE, Guard
from console.live import Hub
from fengsui.database import connect
from fengsui.runtime import Stop, wall_us
from fengsui.serving import Server

log = structlog.get_logger("console.app")

MAX_BODY = 1024 * 1024
FILES = "/static"


def open_database(path: Path) -> Engine:
    """The console's own database, its folder and tables made where they are missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    engine = connect(f"sqlite:///{path}")
    prepare(engine)
    return engine


def create_app(
    settings: Settings,
    engine: Engine,
    *,
    wall_us: Callable[[], int] = wall_us,
    monotonic_s: Callable[[], float] = time.monotonic,
) -> FastAPI:
    """The console as an ASGI application; ``app.state.hub.run()`` must run beside it."""
    core = Core(settings.core_socket, monotonic_s)
    accounts = Accounts(
        engine,
        idle_s=settings.idle_s,
        absolute_s=settings.absolute_s,
        wall_us=wall_us,
        monotonic_s=monotonic_s,
    )
    hub = Hub(core, accounts, wall_us=wall_us, monotonic_s=monotonic_s)
    doors = [*pages.DOORS, *api.DOORS]
    app = FastAPI(openapi_url=None, redirect_slashes=False, max_body_size=MAX_BODY)
    app.add_middleware(
        Guard,
        routes=app.routes,
        doors=doors,
        files=FILES,
        accounts=accounts,
        origins=settings.origins,
        secure=settings.secure,
    )
    for door in doors:
        if door.method == LIVE:
            app.add_api_websocket_route(door.path, door.endpoint)
        else:
            app.add_api_route(door.path, door.endpoint, methods=[door.method], response_model=None)
    app.mount(FILES, StaticFiles(directory=pages.STATIC))
    app.add_exception_handler(CoreError, api.core_refused)
    app.add_exception_handler(RequestValidationError, api.not_valid)
    app.state.settings, app.state.core, app.state.accounts, app.state.hub = settings, core, accounts, hub
    return app


def _server(app: FastAPI | Starlette, settings: Settings | None) -> Server:
    tls = settings.tls if settings else None
    return Server(
        uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=bool(settings and settings.tls_by_proxy),
            timeout_graceful_shutdown=2,
            ws_max_size=8 * 1024,
            ws_per_message_deflate=False,  # a fire is painted sooner; a local network carries it
            ws_ping_interval=10.0,
            ws_ping_timeout=10.0,
            ssl_certfile=tls.cert_file if tls else None,
            ssl_keyfile=tls.key_file if tls else None,
        )
    )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=256)


async def run(settings: Settings, stop: Stop, ready: Callable[[str], None] = lambda _address: None) -> None:
    """Serve until ``stop`` is set; ``ready`` is told the address once it can be asked."""
    engine = await asyncio.to_thread(open_database, settings.database)
    app = create_app(settings, engine)
    servers = [(_server(app, settings), _listen(settings.host, settings.port))]
    if settings.metrics_port:
        own = Starlette(routes=[Route("/metrics", pages.metrics), Route("/healthz", pages.health)])
        own.state = app.state
        servers.append((_server(own, None), _listen("127.0.0.1", settings.metrics_port)))
    host, port = servers[0][1].getsockname()[:2]
    address = f"{'https' if settings.tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}/"
    try:
        async with asyncio.TaskGroup() as tasks:
            hub = tasks.create_task(app.state.hub.run(), name="console.hub")
            serving = [
                tasks.create_task(server.serve(sockets=[listener]), name="console.http")
                for server, listener in servers
            ]
            log.info("console_ready", address=address)
            ready(address)
            await stop.wait()
            app.state.hub.stop()
            for server, _ in servers:
                server.should_exit = True
            await asyncio.wait(serving)
            hub.cancel()
    finally:
        for _, listener in servers:
            listener.close()
        await asyncio.to_thread(engine.dispose)

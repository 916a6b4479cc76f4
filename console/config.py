"""Settings of the console process; the commented sample is ``fengsui/samples/console.toml``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from fengsui.settings import is_loopback

PortOrNone = Annotated[int, Meta(ge=0, le=65535)]


class PageTls(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Certificate of the pages, PEM. Browsers show none of their own: people sign in with a password."""

    cert_file: Path
    key_file: Path


class Settings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What the officers' console is told at start; paths are relative to the settings file."""

    process: Literal["console"]
    core_socket: Path
    """Where the core listens on this machine."""
    database: Path
    """Accounts and sessions. Of the console alone, so that a locked state database locks nobody out."""
    host: str = "127.0.0.1"
    port: PortOrNone = 8080
    """0 asks the system for a free port; the address is logged when the console is ready."""
    tls: PageTls | None = None
    tls_by_proxy: bool = False
    """A proxy in front speaks TLS and sets X-Forwarded-For; allows a plain socket off loopback."""
    origins: tuple[str, ...] = ()
    """Further origins (``https://desk.example``) that may open the live view; its own always may."""
    idle_s: Annotated[int, Meta(ge=60)] = 900
    """A session that nobody used for so long is over; an open live view is use."""
    absolute_s: Annotated[int, Meta(ge=60)] = 45_000
    """A session ends so long after the sign-in: a shift of 12 h and 30 min for the handover."""
    metrics_port: PortOrNone = 0
    """Loopback port for ``/metrics`` and ``/healthz`` without login; 0 leaves it closed."""
    standby: str = ""
    """Where to go when this screen is dead, in words; shown on the banner."""

    def __post_init__(self) -> None:
        if self.tls is None and not self.tls_by_proxy and not is_loopback(self.host):
            raise ValueError(
                f"host {self.host!r} is not this machine: add a tls block with cert_file and key_file, or "
                "set tls_by_proxy = true if a proxy in front speaks TLS"
            )

    @property
    def secure(self) -> bool:
        """Whether browsers reach this console by TLS, so that cookies may be marked Secure."""
        return self.tls is not None or self.tls_by_proxy

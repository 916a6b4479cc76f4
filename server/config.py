"""Settings of the core; the commented sample is ``fengsui/samples/core.toml``."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from alerting.notify.config import NotifySettings
from fengsui.database import STATE, parse_url
from fengsui.errors import SettingsError
from fengsui.settings import Broker, Secret, is_loopback

HEADS = "record.heads"
"""The name of the file of heads in a core's data directory, unless it is somewhere else."""


class Embedded(
    msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True, tag_field="kind", tag="embedded"
):
    """Readings in SQLite, a file per day."""

    folder: Path
    retention_days: Annotated[int, Meta(ge=1)] = 400


class Influx(
    msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True, tag_field="kind", tag="influx"
):
    """Readings in InfluxDB: 1.x by user and password, 2.x by organisation and token."""

    url: Annotated[str, Meta(pattern=r"^https?://")]
    version: Literal[1, 2] = 2
    database: Annotated[str, Meta(min_length=1)]
    """Database of 1.x, bucket of 2.x."""
    org: str = ""
    username: str = ""
    secret: Secret | None = msgspec.field(name="secret_file", default=None)
    ca_file: Path | None = None
    """Authority that signed the server's certificate, PEM; none = the system's own."""
    timeout_s: Annotated[float, Meta(gt=0, le=120)] = 10.0

    def __post_init__(self) -> None:
        address = urlsplit(self.url)
        if address.scheme == "http" and not is_loopback(address.hostname or ""):
            raise ValueError(f"{self.url!r} is not this machine, so its url must begin with https://")

    @property
    def tls(self) -> ssl.SSLContext | None:
        """Whom to believe; None: the system's authorities.

        Raises:
            SettingsError: ``ca_file`` is missing or is no certificate.
        """
        if self.ca_file is None:
            return None
        try:
            return ssl.create_default_context(cafile=str(self.ca_file))
        except OSError as error:
            raise SettingsError(self.ca_file, f"no usable certificate of an authority: {error}") from error


class JournalSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Where everything is kept until detection and the store have it."""

    folder: Path
    quota_mb: Annotated[int, Meta(ge=16)] = 10_000


class Settings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The core's whole configuration."""

    process: Literal["core"]
    folder: Path
    """For what the core alone keeps: dead letters, snapshots, cursors, the state database."""
    socket: Path
    """Local socket that the console asks; its mode is 600."""
    broker: Broker = msgspec.field(default_factory=Broker)
    journal: JournalSettings
    store: Embedded | Influx
    database: str = ""
    """URL of the state database, see ``fengsui.database.connect``; empty = SQLite in ``folder``."""
    heads_file: Path | None = None
    """Where heads of the alarm record are appended, best on another disk; none = in ``folder``."""
    rules: Path | None = None
    """Rule file; none = the rules that Fengsui ships."""
    notify: NotifySettings = msgspec.field(default_factory=NotifySettings)
    window: Annotated[int, Meta(ge=8, le=1_000)] = 64
    """Unconfirmed records a gateway may have in flight, per lane."""
    broker_queue: Annotated[int, Meta(ge=100)] = 100_000
    """What the broker queues for the core (``max_queued_messages``)."""
    gateways: Annotated[int, Meta(ge=1)] = 200
    """How many gateways this core is meant for."""
    recordings: Path | None = None
    """Folder of recordings for the lab page, with its ``manifest.csv``; none = scenarios alone."""
    simulated_gateway: str = ""
    """Gateway whose simulated building the console may set on fire; empty = none."""

    def __post_init__(self) -> None:
        in_flight = self.window * self.gateways
        if 2 * in_flight > self.broker_queue:
            raise ValueError(
                f"{self.gateways} gateways with a window of {self.window} may have {in_flight} messages in "
                f"flight; that must be at most half of broker_queue ({self.broker_queue}), or the broker "
                "drops them"
            )
        if self.database:
            _check_database(self.database)

    @property
    def heads(self) -> Path:
        """Where heads of the alarm record are."""
        return self.heads_file or self.folder / HEADS

    @property
    def database_url(self) -> str:
        """Where the state is."""
        return self.database or f"sqlite:///{self.folder / STATE}"


def _check_database(text: str) -> None:
    """Refuse what would show a password, or send one in the clear."""
    url = parse_url(text)
    if url.password is not None:
        raise ValueError(
            "database must hold no password: keep it in a file of libpq's form, mode 600, "
            "and name that with ?passfile=/path"
        )
    host = url.host or ""
    if host and not is_loopback(host) and url.query.get("sslmode") != "verify-full":
        raise ValueError(
            f"{host!r} is not this machine, so database needs ?sslmode=verify-full&sslrootcert=..."
        )

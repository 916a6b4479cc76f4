"""The series store that the core's settings name: opened to write, or only to read beside a running core."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ingest.store.base import History, Registered, SeriesStore
from ingest.store.embedded import EmbeddedHistory, EmbeddedStore
from server.config import Embedded, Influx

if TYPE_CHECKING:
    from ingest.store.influx import InfluxStore


OpenSeries = Callable[[Embedded | Influx, Registered], SeriesStore]
"""How a core gets its store; :func:`open_store`, but for one that is to be made slow."""


def open_store(settings: Embedded | Influx, registered: Registered) -> SeriesStore:
    """The store itself, inside a running event loop; one process writes."""
    match settings:
        case Embedded(folder=folder, retention_days=days):
            return EmbeddedStore(folder, retention_days=days)
        case _:
            return _influx(settings, registered)


def open_history(settings: Embedded | Influx, registered: Registered) -> History:
    """Its readings, inside a running event loop; nothing is changed, made or moved."""
    match settings:
        case Embedded(folder=folder):
            return EmbeddedHistory(folder)
        case _:
            return _influx(settings, registered)


def _influx(settings: Influx, registered: Registered) -> InfluxStore:
    from ingest.store.influx import InfluxStore  # its client takes a third of a start to import

    return InfluxStore(
        registered,
        url=settings.url,
        version=settings.version,
        database=settings.database,
        org=settings.org,
        username=settings.username,
        secret=settings.secret.reveal() if settings.secret else "",
        timeout_s=settings.timeout_s,
        tls=settings.tls,
    )

"""The console's and, through its status, the whole system's figures in Prometheus' text form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from console.auth import Accounts
from console.core import Core
from console.live import Hub

STORE_TERMS = ("journalled", "stored", "duplicate", "waiting")


def exposition(hub: Hub, core: Core, accounts: Accounts) -> str:
    """The text that ``GET /metrics`` answers; without a status yet, only the console's own figures."""
    registry = CollectorRegistry()
    registry.register(_Figures(hub, core, accounts))
    return generate_latest(registry).decode()


class _Figures:
    """Reads everything at the moment it is asked."""

    def __init__(self, hub: Hub, core: Core, accounts: Accounts) -> None:
        self._hub = hub
        self._core = core
        self._accounts = accounts

    def collect(self) -> Iterator[Metric]:
        """Every figure, by prometheus_client's protocol."""
        hub = self._hub
        yield GaugeMetricFamily("fengsui_console_pages", "Open live views.", value=len(hub.clients))
        yield GaugeMetricFamily(
            "fengsui_console_core_up", "Whether the core can be asked.", value=self._core.closed_s is None
        )
        yield CounterMetricFamily("fengsui_console_core_openings", "Lines opened to it.", self._core.opened)
        yield CounterMetricFamily("fengsui_console_too_slow", "Pages cut off: too slow.", hub.too_slow)
        yield CounterMetricFamily("fengsui_console_sign_in_refused", "Sign-ins.", self._accounts.refused)
        if hub.status is not None:
            status = msgspec.json.decode(hub.status, type=dict[str, Any])
            yield from _server(status.get("server") or {}, status.get("latency") or {})
            yield from _wire(status.get("gateways") or [])
            yield from _store(status.get("store_balance") or [])


def _server(server: dict[str, Any], latency: dict[str, Any]) -> Iterator[Metric]:
    seconds = GaugeMetricFamily(
        "fengsui_latency_seconds", "Measured to alarm decided, live.", labels=["quantile"]
    )
    for quantile, key in (("0.5", "p50_ms"), ("0.99", "p99_ms")):
        if latency.get(key) is not None:
            seconds.add_metric([quantile], latency[key] / 1e3)
    yield seconds
    store, database = server.get("store") or {}, server.get("database") or {}
    yield GaugeMetricFamily(
        "fengsui_store_up", "Whether the series store takes data.", value=store.get("state") == "ok"
    )
    yield GaugeMetricFamily(
        "fengsui_store_waiting", "Readings journalled, not yet stored.", value=store.get("waiting") or 0
    )
    yield GaugeMetricFamily(
        "fengsui_record_pending",
        "Alarm transitions shown, not yet recorded.",
        value=database.get("pending") or 0,
    )
    yield GaugeMetricFamily("fengsui_faults", "Faults of the server.", value=len(server.get("faults") or []))


def _wire(gateways: list[dict[str, Any]]) -> Iterator[Metric]:
    """Wire balance, in records: next - 1 = committed + waiting + shed."""
    up = GaugeMetricFamily("fengsui_gateway_up", "Heard within 65 s.", labels=["gateway"])
    records = GaugeMetricFamily(
        "fengsui_wire_records", "Terms of the wire balance.", labels=["gateway", "lane", "term"]
    )
    residue = GaugeMetricFamily("fengsui_wire_residue", "Records unaccounted for.", labels=["gateway"])
    for gateway in gateways:
        name = gateway["gateway"]
        up.add_metric([name], bool(gateway.get("online")))
        residue.add_metric([name], gateway.get("residue") or 0)
        for lane, terms in (gateway.get("lanes") or {}).items():
            for term in ("next", "upto", "waiting", "shed"):
                records.add_metric([name, lane, term], terms.get(term) or 0)
    yield from (up, records, residue)


def _store(balance: list[dict[str, Any]]) -> Iterator[Metric]:
    """Store balance, in readings: journalled = stored + duplicate + dead + shed + waiting."""
    readings = GaugeMetricFamily(
        "fengsui_store_readings", "Terms of the store balance.", labels=["gateway", "term", "reason"]
    )
    residue = GaugeMetricFamily("fengsui_store_residue", "Readings unaccounted for.", labels=["gateway"])
    for row in balance:
        name = row["gateway"]
        for term in STORE_TERMS:
            readings.add_metric([name, term, ""], row.get(term) or 0)
        for term in ("dead", "shed"):
            for reason, count in (row.get(term) or {}).items():
                readings.add_metric([name, term, reason], count)
        residue.add_metric([name], row.get("residue") or 0)
    yield from (readings, residue)

"""The console's and, through its status, the whole system's figures; ``docs/metrics.md`` explains each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from console.auth import Accounts
from console.core import Core
from console.live import Hub
from fengsui.model import Lane
from ingest.conservation import BalanceCollector, Balances, StoreBalance, WireBalance


def exposition(hub: Hub, core: Core, accounts: Accounts) -> str:
    """The text that ``GET /metrics`` answers; before the first status, only the console's own figures."""
    registry = CollectorRegistry()
    registry.register(_Console(hub, core, accounts))
    if hub.status is not None:
        status = msgspec.json.decode(hub.status, type=dict[str, Any])
        registry.register(_Server(status))
        registry.register(BalanceCollector(lambda: balances(status)))
    return generate_latest(registry).decode()


def balances(status: dict[str, Any]) -> Balances:
    """Both balances as the core's status tells them."""
    wire = [
        WireBalance(
            gateway=gateway["gateway"],
            spool=gateway.get("spool") or "",
            lane=Lane(lane),
            next=terms["next"],
            committed=terms["committed"],
            waiting=terms["waiting"],
            shed=terms["shed"],
            lost=terms.get("lost", 0),
        )
        for gateway in status.get("gateways", ())
        for lane, terms in gateway.get("lanes", {}).items()
        if "committed" in terms
    ]
    return Balances(wire, msgspec.convert(status.get("store_balance", []), list[StoreBalance]))


class _Console(Collector):
    """The console itself."""

    def __init__(self, hub: Hub, core: Core, accounts: Accounts) -> None:
        self._hub = hub
        self._core = core
        self._accounts = accounts

    def collect(self) -> Iterator[Metric]:
        """Read at the moment of asking."""
        core, hub = self._core, self._hub
        yield GaugeMetricFamily("fengsui_console_pages", "Open live views.", len(hub.clients))
        yield GaugeMetricFamily(
            "fengsui_console_core_up", "Whether the core is heard.", core.closed_s is None
        )
        yield CounterMetricFamily("fengsui_console_core_lines", "Lines opened to the core.", core.opened)
        yield CounterMetricFamily("fengsui_console_pages_cut", "Pages cut: too slow.", hub.too_slow)
        yield CounterMetricFamily("fengsui_console_sign_ins_refused", "Refused.", self._accounts.refused)


class _Server(Collector):
    """The core, by its newest status."""

    def __init__(self, status: dict[str, Any]) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """Unknown figures are left out, never 0."""
        server = self._status.get("server", {})
        latency = self._status.get("latency", {})
        seconds = GaugeMetricFamily("fengsui_latency_seconds", "Measured to decided.", labels=["quantile"])
        for quantile, key in (("0.5", "p50_ms"), ("0.99", "p99_ms")):
            if latency.get(key) is not None:
                seconds.add_metric([quantile], latency[key] / 1e3)
        yield seconds
        up = server.get("store", {}).get("state") == "ok"
        yield GaugeMetricFamily("fengsui_store_up", "Whether the series store takes data.", up)
        pending = server.get("database", {}).get("pending", 0)
        yield GaugeMetricFamily("fengsui_record_pending", "Shown, not yet recorded.", pending)
        yield GaugeMetricFamily("fengsui_faults", "Faults of the core.", len(server.get("faults", ())))
        open_ = GaugeMetricFamily("fengsui_alarms", "Open alarms, no tests.", labels=["class", "state"])
        for cls, state, count in self._status.get("alarms", ()):
            open_.add_metric([cls, state], count)
        yield open_
        heard = GaugeMetricFamily("fengsui_gateway_up", "Heard within 65 s.", labels=["gateway"])
        for gateway in self._status.get("gateways", ()):
            heard.add_metric([gateway["gateway"]], bool(gateway["online"]))
        yield heard

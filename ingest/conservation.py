"""Nothing gets lost without a number: the two balances, their residues, and how both are shown.

Pure. The wire balance counts records per (gateway, spool, lane), the store balance readings per gateway::

    next - 1   = committed + waiting + shed + lost
    journalled = stored + duplicate + sum(dead) + sum(shed) + waiting

All numbers are cumulative; an hour is the difference between two. A residue other than 0 is a fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from fengsui.model import Lane


class WireBalance(msgspec.Struct, frozen=True, kw_only=True):
    """The records of one spool's lane, as far as the gateway had numbered them at its last hello."""

    gateway: str
    spool: str
    lane: Lane
    next: int
    """The number the gateway will give next."""
    committed: int
    """Records in the server's journal."""
    waiting: int
    """Records the gateway still holds."""
    shed: int = 0
    """Numbers the gateway gave up."""
    lost: int = 0
    """Numbers closed as ``lost_by_server``: nobody holds them any more."""

    @property
    def residue(self) -> int:
        """Records nobody can account for; negative when something is counted twice."""
        return self.next - 1 - self.committed - self.waiting - self.shed - self.lost


class StoreBalance(msgspec.Struct, frozen=True, kw_only=True):
    """The readings of one gateway from the journal on; an event, shed or describe record counts as one."""

    gateway: str
    journalled: int
    stored: int
    """In the series store, and what the store has nothing to do with (events, shed, describe)."""
    duplicate: int = 0
    dead: dict[str, int] = {}
    """By reason, in the dead letter."""
    shed: dict[str, int] = {}
    """By reason, given up for the store."""
    waiting: int = 0
    """In the journal, not read by the store writer yet."""

    @property
    def residue(self) -> int:
        """Readings nobody can account for; negative when something is counted twice."""
        gone = sum(self.dead.values()) + sum(self.shed.values())
        return self.journalled - self.stored - self.duplicate - gone - self.waiting


class Balances(NamedTuple):
    """Both balances at one moment."""

    wire: list[WireBalance]
    store: list[StoreBalance]

    @property
    def residue(self) -> int:
        """Sum of the absolute residues: 0 only when every single one is 0."""
        return sum(abs(wire.residue) for wire in self.wire) + sum(abs(store.residue) for store in self.store)


def as_json(balance: WireBalance | StoreBalance) -> dict[str, Any]:
    """A balance with its residue, as the status carries it."""
    fields: dict[str, Any] = msgspec.to_builtins(balance)
    return fields | {"residue": balance.residue}


class BalanceCollector(Collector):
    """The balances as metrics; ``balances`` is asked once per scrape. ``docs/metrics.md`` explains each."""

    def __init__(self, balances: Callable[[], Balances]) -> None:
        self._balances = balances

    def collect(self) -> Iterable[CounterMetricFamily | GaugeMetricFamily]:
        """The metric families of this moment."""
        wire, store = self._balances()
        yield from _wire(wire)
        yield from _store(store)

    def describe(self) -> Iterable[CounterMetricFamily | GaugeMetricFamily]:
        """The families without samples, so that registering asks for nothing."""
        yield from _wire([])
        yield from _store([])


def render(balances: Balances) -> str:
    """The balances in Prometheus text form."""
    registry = CollectorRegistry()
    registry.register(BalanceCollector(lambda: balances))
    return generate_latest(registry).decode()


def _wire(balances: list[WireBalance]) -> Iterable[CounterMetricFamily | GaugeMetricFamily]:
    labels = ("gateway", "spool", "lane")
    produced = _counter("wire_records_produced", "Records a gateway has numbered.", labels)
    committed = _counter("wire_records_committed", "Records in the journal.", labels)
    shed = _counter("wire_records_shed", "Numbers a gateway gave up.", labels)
    lost = _counter("wire_records_lost", "Numbers closed as lost by the server.", labels)
    waiting = _gauge("wire_records_waiting", "Records a gateway still holds.", labels)
    residue = _gauge("wire_residue_records", "Records nobody can account for; must be 0.", labels)
    for balance in balances:
        of = (balance.gateway, balance.spool, balance.lane)
        produced.add_metric(of, balance.next - 1)
        committed.add_metric(of, balance.committed)
        shed.add_metric(of, balance.shed)
        lost.add_metric(of, balance.lost)
        waiting.add_metric(of, balance.waiting)
        residue.add_metric(of, balance.residue)
    return produced, committed, shed, lost, waiting, residue


def _store(balances: list[StoreBalance]) -> Iterable[CounterMetricFamily | GaugeMetricFamily]:
    labels = ("gateway",)
    journalled = _counter("store_readings_journalled", "Readings in the journal, ever.", labels)
    stored = _counter("store_readings_stored", "Readings stored or passed on.", labels)
    duplicate = _counter("store_readings_duplicate", "Readings the store had already.", labels)
    dead = _counter("store_readings_dead", "Readings in the dead letter.", ("gateway", "reason"))
    shed = _counter("store_readings_shed", "Readings given up for the store.", ("gateway", "reason"))
    waiting = _gauge("store_readings_waiting", "Readings the store writer has not read yet.", labels)
    residue = _gauge("store_residue_readings", "Readings nobody can account for; must be 0.", labels)
    for balance in balances:
        of = (balance.gateway,)
        journalled.add_metric(of, balance.journalled)
        stored.add_metric(of, balance.stored)
        duplicate.add_metric(of, balance.duplicate)
        for reason, readings in balance.dead.items():
            dead.add_metric((balance.gateway, reason), readings)
        for reason, readings in balance.shed.items():
            shed.add_metric((balance.gateway, reason), readings)
        waiting.add_metric(of, balance.waiting)
        residue.add_metric(of, balance.residue)
    return journalled, stored, duplicate, dead, shed, waiting, residue


def _counter(name: str, text: str, labels: tuple[str, ...]) -> CounterMetricFamily:
    return CounterMetricFamily(f"fengsui_{name}", text, labels=labels)


def _gauge(name: str, text: str, labels: tuple[str, ...]) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"fengsui_{name}", text, labels=labels)

"""Both balances, their residues, and how they are shown."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from fengsui.model import Lane
from ingest.conservation import BalanceCollector, Balances, StoreBalance, WireBalance, as_json, render

WIRE = WireBalance(
    gateway="gw", spool="00ff", lane=Lane.ALARM, next=101, committed=80, waiting=15, shed=3, lost=2
)
STORE = StoreBalance(
    gateway="gw",
    journalled=100,
    stored=60,
    duplicate=10,
    dead={"crc": 4, "unknown_point": 6},
    shed={"store_down": 5},
    waiting=15,
)


def test_a_balance_that_holds_has_no_residue() -> None:
    """Every record and reading is in one place."""
    assert (WIRE.residue, STORE.residue, Balances([WIRE], [STORE]).residue) == (0, 0, 0)


def test_residues_do_not_cancel() -> None:
    """One record too many and one too few are two faults, not none."""
    lost = WireBalance(gateway="a", spool="1", lane=Lane.TELEMETRY, next=3, committed=1, waiting=0)
    twice = WireBalance(gateway="b", spool="1", lane=Lane.TELEMETRY, next=2, committed=2, waiting=0)
    assert (lost.residue, twice.residue) == (1, -1)
    assert Balances([lost, twice], []).residue == 2


def test_json_carries_the_residue() -> None:
    """The status shows all terms and the residue by its own name."""
    assert as_json(STORE) == {
        "gateway": "gw", "journalled": 100, "stored": 60, "duplicate": 10,
        "dead": {"crc": 4, "unknown_point": 6}, "shed": {"store_down": 5}, "waiting": 15, "residue": 0,
    }  # fmt: skip
    assert as_json(WIRE)["lane"] == "alarm"


def test_metrics_show_every_term() -> None:
    """The text form parses and its samples add up to the balance."""
    samples = {
        (sample.name, sample.labels.get("reason", "")): sample.value
        for family in text_string_to_metric_families(render(Balances([WIRE], [STORE])))
        for sample in family.samples
    }
    assert samples["fengsui_wire_records_produced_total", ""] == 100
    assert samples["fengsui_wire_records_committed_total", ""] == 80
    assert samples["fengsui_store_readings_dead_total", "unknown_point"] == 6
    assert samples["fengsui_store_residue_readings", ""] == 0


def test_registering_asks_for_nothing() -> None:
    """The balances are asked at a scrape only: at start there may be none yet."""

    def too_early() -> Balances:
        raise AssertionError("asked before a scrape")

    CollectorRegistry(auto_describe=True).register(BalanceCollector(too_early))


def test_every_metric_is_documented() -> None:
    """``docs/metrics.md`` names exactly these metrics of conservation."""
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    section = page.split("## Conservation")[1].split("\n## ")[0]
    documented = set(re.findall(r"`(fengsui_\w+)`", section))
    shown = set(re.findall(r"^(fengsui_\w+)\{", render(Balances([WIRE], [STORE])), re.MULTILINE))
    assert documented == shown

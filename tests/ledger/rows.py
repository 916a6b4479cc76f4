"""The rows of the acceptance list that the ledger proves: their names, cycles, and who runs them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.ledger import chain, history, intruders, state
from tests.ledger.run import Run


@dataclass(frozen=True)
class Row:
    """A row: what it proves, its cycles in a quick and in a full run, and how it is run."""

    text: str
    quick: int
    full: int
    run: Callable[[Run], Awaitable[None]]
    both_brokers: bool = False
    both_states: bool = False
    needs_root: bool = False


ROWS: dict[str, Row] = {
    "R2": Row("core killed", 3, 30, chain.r2_core_killed, both_brokers=True, both_states=True),
    "R3": Row("broker killed after PUBACK", 3, 20, chain.r3_broker_killed, both_brokers=True),
    "R4": Row("gateway power cut", 2, 30, chain.r4_power_cut, needs_root=True),
    "R5": Row("series store down", 1, 60, history.r5_database_down),
    "R8": Row("core absent, broker queue full", 2, 6, chain.r8_core_absent),
    "R12": Row("gateway disk full", 1, 3, chain.r12_gateway_disk_full, needs_root=True),
    "R16": Row("poison flood before an alarm", 1, 5, intruders.r16_poison_flood),
    "R17": Row("one bad reading in 500", 3, 12, history.r17_one_bad_in_500),
    "R18": Row("ambiguous write", 5, 1_000, history.r18_ambiguous_write),
    "R19": Row("every answer of a database", 6, 24, history.r19_every_answer),
    "R30": Row("two readings in one stamp", 2, 20, history.r30_same_stamp),
    "R31": Row("every message five times, reordered", 2, 10, chain.r31_five_times_reordered, True),
    "R37": Row("gateway speaks as another", 1, 10, intruders.r37_foreign_name, both_brokers=True),
    "R42": Row("hostile names", 1, 20, history.r42_hostile_names),
    "R47": Row("every door, role, unit and method", 1, 5, intruders.r47_every_door),
    "R73": Row(
        "state database locked, full, gone", 3, 3, state.r73_state_database, both_states=True, needs_root=True
    ),
    "R74": Row("undecodable record in each lane", 1, 10, intruders.r74_undecodable_in_each_lane),
    "R75": Row("spool restored from an old copy", 1, 10, chain.r75_spool_from_yesterday),
    "R76": Row("fire behind a cut link", 1, 1, chain.r76_fire_behind_a_cut_link),
}

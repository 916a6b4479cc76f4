"""Every row of the ledger with few cycles, and every mutant against the row that must find it."""

from __future__ import annotations

import pytest

from tests.ledger.__main__ import run_row
from tests.ledger.mutants import MUTANTS
from tests.ledger.rows import ROWS
from tests.ledger.stack import BrokerName
from tests.powercut import needs_mounts

SEED = 7
CASES: list[tuple[str, BrokerName]] = [
    *((row, "mosquitto") for row in ROWS),
    *((row, "nats") for row in ROWS if ROWS[row].both_brokers),
]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("row", "broker"), CASES)
async def test_row_holds(row: str, broker: BrokerName) -> None:
    """Nothing is lost, duplicated, corrupted or forged, and the system's own books close."""
    if ROWS[row].needs_root:
        needs_mounts()
    run = await run_row(row, seed=SEED, cycles=ROWS[row].quick, broker=broker)
    assert run.holds, run.line()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("mutant", MUTANTS)
async def test_mutant_is_killed(mutant: str) -> None:
    """A planted bug turns its row red: the ledger can fail."""
    row = MUTANTS[mutant].row
    if ROWS[row].needs_root:
        needs_mounts()
    run = await run_row(row, seed=SEED, cycles=ROWS[row].quick, mutant=mutant)
    assert run.faults > 0
    assert not run.holds, run.line()

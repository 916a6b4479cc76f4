"""``python -m tests.ledger --row R3 --seed 7 --cycles 3``: run rows of the acceptance list.

The last line of a row is one JSON object; the exit code is 0 only if every row that ran holds.
``--all`` runs every row with few cycles, ``--full`` with the counts of the acceptance list.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
import traceback
from pathlib import Path

from tests.databases import KINDS, Kind
from tests.ledger.mutants import MUTANTS
from tests.ledger.rows import ROWS
from tests.ledger.run import Run
from tests.ledger.stack import BrokerName


async def run_row(
    row: str,
    *,
    seed: int,
    cycles: int,
    broker: BrokerName = "mosquitto",
    state: Kind = "sqlite",
    mutant: str | None = None,
    full: bool = False,
) -> Run:
    """Run one row in a folder of its own; the folder stays when it does not hold."""
    folder = Path(tempfile.mkdtemp(prefix=f"ledger-{row}-"))
    run = Run(row, seed, cycles, folder, broker, state, mutant, full)
    parts = ", ".join(filter(None, (broker, state, mutant)))
    print(f"{row} {ROWS[row].text}: seed {seed}, {cycles} cycles, {parts}")
    try:
        await ROWS[row].run(run)
    except (RuntimeError, TimeoutError, OSError) as error:  # the system under test did not do its part
        traceback.print_exc(file=sys.stdout)
        run.expect(False, f"{type(error).__name__}: {error}")
    for example in run.verdict.examples:
        print(f"  {example}")
    print(f"verdict {run.verdict}")
    if run.holds:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"does not hold; kept: {folder}")
    return run


async def _main(args: argparse.Namespace) -> int:
    names = [args.row] if args.row else list(ROWS)
    held = True
    for name in names:
        row = ROWS[name]
        cycles = args.cycles or (row.full if args.full else row.quick)
        brokers: list[BrokerName] = [args.broker]
        if not args.row and row.both_brokers:
            brokers = ["mosquitto", "nats"]
        for broker in brokers:
            run = await run_row(
                name,
                seed=args.seed,
                cycles=cycles,
                broker=broker,
                state=args.state,
                mutant=args.mutant,
                full=args.full,
            )
            print(run.line(), flush=True)
            held = held and run.holds
    return 0 if held else 1


def main(arguments: list[str]) -> int:
    """Parse, run, and tell."""
    parser = argparse.ArgumentParser(prog="python -m tests.ledger")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--row", choices=list(ROWS))
    what.add_argument("--all", action="store_true", help="every row, few cycles")
    what.add_argument("--full", action="store_true", help="every row, all cycles")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cycles", type=int, default=0, help="0: as many as the row has")
    parser.add_argument("--broker", choices=["mosquitto", "nats"], default="mosquitto")
    parser.add_argument("--state", choices=KINDS, default="sqlite", help="the state database")
    parser.add_argument("--mutant", choices=list(MUTANTS))
    return asyncio.run(_main(parser.parse_args(arguments)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

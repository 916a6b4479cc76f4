"""Every row of the ledger with few cycles, and every mutant against the row that must find it.

A run of a row is a process of its own, and mostly waits: a few run beside each other.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import pytest

from tests.ledger.mutants import MUTANTS
from tests.ledger.rows import ROWS
from tests.ledger.station import REPOSITORY
from tests.powercut import needs_mounts

SEED = 7
BESIDE = 2
MOST_S = 300


class Case(NamedTuple):
    """A run of a row."""

    row: str
    broker: str = "mosquitto"
    mutant: str = ""
    state: str = "sqlite"

    def __str__(self) -> str:
        return "-".join(filter(None, self))


class Outcome(NamedTuple):
    """How it ended: the exit code, the last line, everything it printed."""

    code: int
    line: dict[str, int]
    output: str


HEALTHY = [
    *(Case(row) for row in ROWS),
    *(Case(row, "nats") for row in ROWS if ROWS[row].both_brokers),
    *(Case(row, state="postgresql") for row in ROWS if ROWS[row].both_states),
]
SICK = [Case(mutant.row, mutant=name) for name, mutant in MUTANTS.items()]


def run(case: Case) -> Outcome:
    """Run a row as a person would."""
    command = [sys.executable, "-m", "tests.ledger", "--row", case.row, "--seed", str(SEED)]
    command += ["--broker", case.broker, "--state", case.state]
    if case.mutant:
        command += ["--mutant", case.mutant, "--cycles", "1"]
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=MOST_S,
        check=False,
    )
    last = done.stdout.strip().rpartition("\n")[2]
    return Outcome(done.returncode, json.loads(last) if last.startswith("{") else {}, done.stdout)


@pytest.fixture(scope="module")
def outcome(request: pytest.FixtureRequest) -> Iterator[Callable[[Case], Outcome]]:
    """Waits for a case's end; all that were chosen are under way from the first question on."""
    chosen: list[Case] = [
        item.callspec.params["case"]  # type: ignore[misc]
        for item in request.session.items
        if item.path == request.path and isinstance(item, pytest.Function)
    ]
    beside = 1 if hasattr(request.config, "workerinput") else BESIDE
    under_way: dict[Case, Future[Outcome]] = {}
    with ThreadPoolExecutor(beside) as pool:

        def wait(case: Case) -> Outcome:
            for one in chosen if beside > 1 else [case]:
                if one not in under_way:
                    under_way[one] = pool.submit(run, one)
            return under_way[case].result()

        yield wait
        pool.shutdown(cancel_futures=True)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("case", HEALTHY, ids=str)
def test_row_holds(case: Case, outcome: Callable[[Case], Outcome]) -> None:
    """Nothing is lost, duplicated, corrupted or forged, and the system's own books close."""
    if ROWS[case.row].needs_root:
        needs_mounts()
    done = outcome(case)
    assert done.code == 0, done.output
    assert done.line["faults"] > 0


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("case", SICK, ids=str)
def test_mutant_is_killed(case: Case, outcome: Callable[[Case], Outcome]) -> None:
    """A planted bug turns its row red, and shows as what it is: the ledger can fail."""
    if ROWS[case.row].needs_root:
        needs_mounts()
    done, shows = outcome(case), MUTANTS[case.mutant].shows
    assert done.code == 1, done.output
    assert done.line["faults"] > 0
    assert done.line.get(shows, 0) > 0 or shows in done.output, done.output

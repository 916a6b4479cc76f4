"""The scenarios notice bugs of detection: each planted one turns the scenario red that is named beside it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from alerting.rulebook.file import default_rules
from simulators.oracle import Answer, judge
from simulators.rehearsal import rehearse
from simulators.scenario import load
from tests.unit.mutants import MUTANTS, Plants


def answers(scenario: str) -> list[Answer]:
    """The oracle of a shipped scenario under the shipped rules."""
    script = load(scenario)
    rehearsal = rehearse(script, default_rules(), script.scenario.seed, lambda _share: None)
    return judge(script, rehearsal.told)


@cache
def unharmed(scenario: str) -> bool:
    """Whether the scenario holds as the code is."""
    return all(answer.holds for answer in answers(scenario))


@pytest.mark.parametrize("name", MUTANTS)
def test_a_scenario_turns_red(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line of the oracle that the mutant names holds, and does not once it is planted and has acted."""
    scenario, shows, plant = MUTANTS[name]
    assert unharmed(scenario)
    plants = Plants(monkeypatch)
    plant(plants)
    broken = [answer.wanted for answer in answers(scenario) if not answer.holds]
    assert plants.acted, "the bug was never in force"
    assert any(shows in wanted for wanted in broken), broken


def test_the_manual_names_each() -> None:
    """The table in docs/simulation.md has a row for every mutant and no other."""
    rows = [f"| {mutant.plant.__doc__} | `{mutant.scenario}` |" for mutant in MUTANTS.values()]
    text = Path(__file__).parents[2].joinpath("docs", "simulation.md").read_text(encoding="utf-8")
    table = text.partition("| planted bug | red |\n|---|---|\n")[2].partition("\n\n")[0]
    assert table.split("\n") == rows

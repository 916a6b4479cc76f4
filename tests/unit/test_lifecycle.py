"""The transition table: every pair is decided, and the properties that must hold of it."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from alerting.alarms.lifecycle import TABLE, State, Step, alarm_id, diagram
from fengsui.model import AlarmClass

_S, _T = State, Step
REFUSED: dict[State, set[Step]] = {
    _S.UNACKNOWLEDGED: {_T.RESET, _T.CLOSE, _T.REOPEN},
    _S.ACKNOWLEDGED: {_T.ACKNOWLEDGE, _T.SILENCE, _T.CLOSE, _T.REOPEN},
    _S.RETURNED_UNACKNOWLEDGED: {_T.ESCALATE, _T.RETURN, _T.LATCH, _T.RESET, _T.CLOSE, _T.REOPEN},
    _S.LATCHED_UNACKNOWLEDGED: {_T.ESCALATE, _T.RETURN, _T.LATCH, _T.RESET, _T.CLOSE, _T.REOPEN},
    _S.LATCHED_ACKNOWLEDGED: {_T.ESCALATE, _T.RETURN, _T.LATCH, _T.ACKNOWLEDGE, _T.SILENCE},
    _S.CLOSED: set(Step) - {_T.COMMENT, _T.CLOSE, _T.REOPEN},
}


@pytest.mark.parametrize("pair", list(product(State, Step)), ids=lambda pair: f"{pair[0]}-{pair[1]}")
def test_every_pair_is_decided(pair: tuple[State, Step]) -> None:
    """A pair is in the table, or refused on purpose; the condition of a closed alarm never changes."""
    state, step = pair
    assert (pair in TABLE) != (step in REFUSED[state])


def test_what_stands_beside_the_state_does_not_move_it() -> None:
    """Silence, handling and inhibition leave condition and acknowledgement as they are."""
    moving = {step for (before, step), after in TABLE.items() if before is not after}
    assert moving == {_T.RAISE, _T.ESCALATE, _T.RETURN, _T.LATCH, _T.ACKNOWLEDGE, _T.RESET}


def test_a_latched_alarm_is_closed_by_a_reset_only() -> None:
    """Fire stays until a person resets it."""
    assert {
        step for (state, step), after in TABLE.items() if "latched" in state and after is State.CLOSED
    } == {Step.RESET}


def test_a_raise_is_always_visible_again() -> None:
    """After a raise no alarm is returned, latched or closed."""
    after = {state for (_, step), state in TABLE.items() if step in (Step.RAISE, Step.ESCALATE)}
    assert after == {State.UNACKNOWLEDGED, State.ACKNOWLEDGED}
    assert TABLE[State.ACKNOWLEDGED, Step.ESCALATE] is State.UNACKNOWLEDGED


def test_the_diagram_in_the_documentation_is_printed_from_the_table() -> None:
    """The documentation cannot say anything else."""
    page = (Path(__file__).parents[2] / "docs/alarms.md").read_text(encoding="utf-8")
    assert f"```mermaid\n{diagram()}\n```" in page
    assert diagram().count("-->") == len({(before, after) for (before, _), after in TABLE.items()}) + 1


def test_an_id_is_the_same_for_whoever_computes_it() -> None:
    """Replay and the gateway's own alarm find the same occurrence."""
    assert alarm_id("p1", AlarmClass.FIRE, 5) == alarm_id("p1", AlarmClass.FIRE, 5)
    assert (
        len(
            {
                alarm_id("p1", AlarmClass.FIRE, 5),
                alarm_id("p1", AlarmClass.FAULT, 5),
                alarm_id("p1", AlarmClass.FIRE, 6),
            }
        )
        == 3
    )

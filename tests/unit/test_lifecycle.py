"""The transition table: every pair is decided, and the properties that must hold of it."""

from __future__ import annotations

from itertools import product

import pytest

from alerting.alarms.lifecycle import TABLE, State, Step, alarm_id, diagram
from fengsui.model import AlarmClass

REFUSED = {
    (State.RETURNED_UNACKNOWLEDGED, Step.ESCALATE), (State.RETURNED_UNACKNOWLEDGED, Step.RETURN),
    (State.RETURNED_UNACKNOWLEDGED, Step.LATCH), (State.RETURNED_UNACKNOWLEDGED, Step.RESET),
    (State.LATCHED_UNACKNOWLEDGED, Step.ESCALATE), (State.LATCHED_UNACKNOWLEDGED, Step.RETURN),
    (State.LATCHED_UNACKNOWLEDGED, Step.LATCH), (State.LATCHED_UNACKNOWLEDGED, Step.RESET),
    (State.LATCHED_ACKNOWLEDGED, Step.ESCALATE), (State.LATCHED_ACKNOWLEDGED, Step.RETURN),
    (State.LATCHED_ACKNOWLEDGED, Step.LATCH), (State.LATCHED_ACKNOWLEDGED, Step.ACKNOWLEDGE),
    (State.UNACKNOWLEDGED, Step.RESET), (State.ACKNOWLEDGED, Step.ACKNOWLEDGE),
    (State.ACKNOWLEDGED, Step.RESET),
}  # fmt: skip


@pytest.mark.parametrize("pair", list(product(State, Step)), ids=lambda pair: f"{pair[0]}-{pair[1]}")
def test_every_pair_is_decided(pair: tuple[State, Step]) -> None:
    """A pair is in the table, or refused on purpose; a closed alarm never changes."""
    assert (pair in TABLE) != (pair in REFUSED or pair[0] is State.CLOSED)


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


def test_the_diagram_is_printed_from_the_table() -> None:
    """The documentation cannot say anything else."""
    assert diagram().count("-->") == len(TABLE) + 1


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

"""Who may see and do what: denied unless a role says so."""

from __future__ import annotations

import pytest

from fengsui.viewer import Action, Role, Viewer


def viewer(*roles: Role, units: frozenset[str] | None = None) -> Viewer:
    """A person with these roles."""
    return Viewer(person="0417", roles=frozenset(roles), units=units)


def test_a_viewer_has_no_default() -> None:
    """Nobody is somebody by accident."""
    with pytest.raises(TypeError):
        Viewer(person="0417")  # type: ignore[call-arg]  # that is the test


def test_without_a_role_nothing_is_allowed() -> None:
    """Deny by default."""
    nobody = viewer()
    assert not any(nobody.may(action) for action in Action)
    assert not nobody.sees("u1")


@pytest.mark.parametrize(
    ("role", "actions"),
    [
        (Role.VIEWER, {Action.READ}),
        (
            Role.OFFICER,
            {
                Action.READ,
                Action.ACKNOWLEDGE,
                Action.RESET,
                Action.HANDLE,
                Action.SHELVE,
                Action.SIMULATE,
            },
        ),
        (Role.ENGINEER, set(Action) - {Action.ADMINISTER}),
        (
            Role.ADMIN,
            set(Action)
            - {
                Action.ACKNOWLEDGE,
                Action.RESET,
                Action.HANDLE,
                Action.SHELVE,
                Action.DISABLE,
                Action.SIMULATE,
            },
        ),
    ],
)
def test_every_role_and_action(role: Role, actions: set[Action]) -> None:
    """The whole table: who may do what."""
    assert {action for action in Action if viewer(role).may(action)} == actions


def test_units() -> None:
    """None is every unit; what belongs to no unit is only for who sees every unit."""
    assert viewer(Role.VIEWER).sees("")
    assert viewer(Role.VIEWER, units=frozenset({"u1"})).sees("u1")
    assert not viewer(Role.VIEWER, units=frozenset({"u1"})).sees("u2")
    assert not viewer(Role.VIEWER, units=frozenset({"u1"})).sees("")

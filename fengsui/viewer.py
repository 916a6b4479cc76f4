"""Who asks: the person, the roles and the units every read and every action is judged by.

Nothing has a default: who is not named may do nothing, and an action that nobody is named for is denied.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Role(StrEnum):
    """What somebody may do; a person can hold several."""

    VIEWER = "viewer"
    OFFICER = "officer"
    ENGINEER = "engineer"
    ADMIN = "admin"


class Action(StrEnum):
    """What a person can ask for; everything else is not an action of a person."""

    READ = "read"
    ACKNOWLEDGE = "acknowledge"
    RESET = "reset"
    HANDLE = "handle"
    """Silence, comment, assign, take, verify, close and reopen an alarm; report that it was seen."""
    SHELVE = "shelve"
    """Let an alarm that is no fire be still for a while."""
    DISABLE = "disable"
    """Take a point out of service for maintenance, and back."""
    REGISTER = "register"
    """Accept a discovered point, import or change the registry."""
    READ_DEAD_LETTERS = "read_dead_letters"
    REPLAY_DEAD_LETTERS = "replay_dead_letters"
    CHANGE_RULES = "change_rules"
    """Try rules, and put them in force."""
    SIMULATE = "simulate"
    BACKTEST = "backtest"
    """Hold a draft of the rules against the past, and against recordings and scenarios in the lab."""
    ADMINISTER = "administer"
    """People, roles, sessions."""


_MAY: dict[Action, frozenset[Role]] = {
    Action.READ: frozenset({Role.VIEWER, Role.OFFICER, Role.ENGINEER, Role.ADMIN}),
    Action.ACKNOWLEDGE: frozenset({Role.OFFICER, Role.ENGINEER}),
    Action.RESET: frozenset({Role.OFFICER, Role.ENGINEER}),
    Action.HANDLE: frozenset({Role.OFFICER, Role.ENGINEER}),
    Action.SHELVE: frozenset({Role.OFFICER, Role.ENGINEER}),
    Action.DISABLE: frozenset({Role.ENGINEER}),
    Action.REGISTER: frozenset({Role.ENGINEER, Role.ADMIN}),
    Action.READ_DEAD_LETTERS: frozenset({Role.ENGINEER, Role.ADMIN}),
    Action.REPLAY_DEAD_LETTERS: frozenset({Role.ENGINEER, Role.ADMIN}),
    Action.CHANGE_RULES: frozenset({Role.ENGINEER, Role.ADMIN}),
    Action.SIMULATE: frozenset({Role.OFFICER, Role.ENGINEER}),
    Action.BACKTEST: frozenset({Role.ENGINEER, Role.ADMIN}),
    Action.ADMINISTER: frozenset({Role.ADMIN}),
}


class Viewer(msgspec.Struct, frozen=True):
    """A person as the code sees them; ``units`` None means every unit (单位)."""

    person: str
    roles: frozenset[Role]
    units: frozenset[str] | None

    def sees(self, unit: str) -> bool:
        """Whether what belongs to ``unit`` may be shown; what belongs to nobody, only to who sees all."""
        return self.may(Action.READ) and (self.units is None or unit in self.units)

    def may(self, action: Action) -> bool:
        """Whether one of the roles allows ``action``; an action without roles is denied to everybody."""
        return not self.roles.isdisjoint(_MAY.get(action, frozenset()))
